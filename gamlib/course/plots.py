"""Draws gates, maps and curves so that they can be read from the last row: one scale for all, few panels."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST = 8  # rows, and columns, that a slide can show
MARKERS = "osD^vXP*"


def draw_gates(gates: Mapping[str, Tensor], example: int = 0) -> "Figure":
    """The gates of one picture, a panel each, from 0 (dark) to 1 (bright).

    A gate of channels alone is drawn as a strip of C cells. One that depends on places is drawn as a map, (N, C, H, W)
    as its mean over the channels; TAM's two with channels as channels x columns and rows x channels.

    Args:
        gates: from `capture_gates`.
        example: which picture of the batch.

    Raises:
        ValueError: for no gate, one that is not (N, C, H, W), or a picture that is not there.
    """
    from matplotlib.figure import Figure

    if not gates:
        raise ValueError("there is no gate to draw; capture_gates returns them")
    for name, gate in gates.items():
        if gate.ndim != 4 or not 0 <= example < len(gate):
            raise ValueError(
                f"example {example} of gate {name!r}: expected (N, C, H, W) with N above {example}, got "
                f"{tuple(gate.shape)}"
            )
    columns = 2 if len(gates) == 4 else min(3, len(gates))
    rows = -(-len(gates) // columns)
    figure = Figure(figsize=(3.4 * columns, 3.0 * rows + 0.4), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes, (name, gate) in zip(grid.flat, gates.items(), strict=False):
        plane, across, down = _plane(gate[example].float().cpu())
        image = axes.imshow(plane.numpy(), vmin=0, vmax=1, cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set_title(name.replace(".attention.", "\n"), fontsize=10)
        axes.set(xlabel=across, ylabel=down)
        if len(plane) == 1:
            axes.set_yticks([])
    for axes in grid.flat[len(gates) :]:
        axes.axis("off")
    figure.colorbar(image, ax=grid, label="gate")
    return figure


def draw_maps(images: Tensor, maps: Mapping[str, Tensor]) -> "Figure":
    """Pictures in the first row, and under each its maps: a row for each kind, all of a row on one colour scale.

    Args:
        images: uint8 (N, 3, H, W), or floats in [0, 1]; the first 8 are drawn.
        maps: a name for each kind -> (N, h, w).

    Raises:
        ValueError: for maps of another number of pictures, or more than 8 kinds.
    """
    from matplotlib.figure import Figure

    if len(maps) > MOST:
        raise ValueError(f"{len(maps)} kinds of maps are too many to be read; draw {MOST} at most")
    for name, kind in maps.items():
        if kind.ndim != 3 or len(kind) != len(images):
            raise ValueError(f"maps {name!r} must be ({len(images)}, h, w), got {tuple(kind.shape)}")
    n = min(MOST, len(images))
    rows = 1 + len(maps)
    figure = Figure(figsize=(1.5 * n + 1.2, 1.55 * rows + 0.2), layout="constrained", facecolor="white")
    grid = figure.subplots(rows, n, squeeze=False)
    for axes, image in zip(grid[0], images, strict=False):
        axes.imshow(image.permute(1, 2, 0).cpu().numpy())
    for row, (name, kind) in zip(grid[1:], maps.items(), strict=True):
        kind = kind[:n].float().cpu()
        for axes, plane in zip(row, kind, strict=True):
            drawn = axes.imshow(
                plane.numpy(), vmin=float(kind.min()), vmax=float(kind.max()), cmap="viridis", interpolation="nearest"
            )
        row[0].set_ylabel(name)
        figure.colorbar(drawn, ax=list(row), pad=0.01)
    grid[0][0].set_ylabel("picture")
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])
    return figure


def draw_curves(curves: Mapping[str, Tensor], title: str, part: str = "deleted") -> "Figure":
    """Deletion or insertion curves: the mean over the pictures, and a band of its 95% interval.

    Args:
        curves: a name for each kind of map -> (N, steps + 1), from `deletion` or `insertion`; 8 at most.
        title: of the figure.
        part: what is on the x axis: pixels "deleted" or "inserted".
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    if len(curves) > MOST:
        raise ValueError(f"{len(curves)} curves are too many to be read; draw {MOST} at most")
    figure = Figure(figsize=(6.5, 4), layout="constrained", facecolor="white")
    axes = figure.subplots()
    for (name, curve), colour, marker in zip(
        curves.items(), sns.color_palette("colorblind", len(curves)), MARKERS, strict=False
    ):
        x = torch.linspace(0, 100, curve.shape[1]).numpy()
        mean, error = curve.mean(0).cpu().numpy(), _half(curve).cpu().numpy()
        axes.plot(x, mean, color=colour, marker=marker, markersize=5, label=name)
        if len(curve) > 1:
            axes.fill_between(x, mean - error, mean + error, color=colour, alpha=0.2, linewidth=0)
    axes.set(xlabel=f"pixels {part} (%)", ylabel="probability of the label", ylim=(0, 1), title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    return figure


def draw_scores(scores: Mapping[str, tuple[Tensor, Tensor]], title: str) -> "Figure":
    """How maps score at deletion and at insertion, a row for each kind: the mean over the pictures with its 95%
    interval, and, where a kind was drawn several times, a small dot for each draw.

    Args:
        scores: a name for each kind of map -> areas (N,) or (draws, N), for deletion and for insertion.
        title: of the figure.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 1.2 + 0.33 * len(scores)), layout="constrained", facecolor="white")
    panels = figure.subplots(1, 2, sharey=True)
    titles = ("deletion: less is better", "insertion: more is better")
    for side, (axes, better) in enumerate(zip(panels, titles, strict=True)):
        for row, areas in enumerate(pair[side] for pair in scores.values()):
            draws = areas.reshape(-1, areas.shape[-1])
            means = draws.mean(0)  # of each picture, over the draws
            axes.errorbar(float(means.mean()), row, xerr=float(_half(means)), fmt="o", color="#0072B2", capsize=3)
            if len(draws) > 1:
                axes.plot(draws.mean(1), [row] * len(draws), "o", color="#D55E00", markersize=3, alpha=0.7, zorder=3)
        axes.set(xlabel="mean probability of the label", title=better)
        axes.set_xlim(0, min(1.0, 1.05 * axes.get_xlim()[1]))
        axes.grid(alpha=0.3)
    panels[0].set_yticks(range(len(scores)), list(scores))
    panels[0].set_ylim(len(scores) - 0.5, -0.5)
    figure.suptitle(title)
    return figure


def _half(values: Tensor) -> Tensor:
    """Half of the 95% interval of the mean over the first side."""
    return 1.96 * values.std(0) / len(values) ** 0.5


def _plane(gate: Tensor) -> tuple[Tensor, str, str]:
    """A gate (C, H, W) as something flat, and what lies across and down."""
    c, h, w = gate.shape
    if h * w == 1:
        return gate[:, 0, 0][None], "channel", ""
    if c > 1 and h == 1:
        return gate[:, 0], "column", "channel"
    if c > 1 and w == 1:
        return gate[:, :, 0].T, "channel", "row"
    return gate.mean(0), "column", "row"
