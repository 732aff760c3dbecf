"""One picture of what each gate is told, measured with gradients and shuffles. Each notebook adds a column."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gamlib import create_attention
from gamlib.course.drawing import GATE, INK, OUT

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CHANNELS, SIDE = 16, 25
MIDDLE = SIDE // 2
GATES = {  # in the course's order -> mechanism, and the part of it that computes the gate, or its logits
    "SE": ("se", "channel_gate"),
    "BAM, channels": ("bam", "gate.channel_branch"),
    "BAM, positions": ("bam", "gate.spatial_branch"),
    "CBAM, channels": ("cbam", "channel_gate"),
    "CBAM, positions": ("cbam", "spatial_gate"),
    "TAM, C-W": ("tam", "cw_gate"),
    "TAM, H-C": ("tam", "ch_gate"),
    "TAM, H-W": ("tam", "hw_gate"),
    "GAM, channels": ("gam", "channel_gate"),
    "GAM, positions": ("gam", "spatial_gate"),
}
TURNS = {"cw_gate": (1, 2), "ch_gate": (1, 3)}  # the maps that TAM rotates before it looks
SHADES = ("#D6EBF7", "#7FBFE5", OUT)  # pooled along both sides, along one, and along none
SEEDS = 8  # a closed ReLU, or another value that is the largest, hides what is behind it


def gate_of(name: str) -> Callable[[Tensor], Tensor]:
    """The gate, on the map that it scales: (N, C, H, W) -> what broadcasts to it."""
    mechanism, part = GATES[name]
    options = {} if mechanism == "tam" else {"reduction": 4}
    module = create_attention(mechanism, CHANNELS, **options).eval().get_submodule(part)
    turn = TURNS.get(part, (1, 1))
    return lambda x: module(x.transpose(*turn)).transpose(*turn)


def seen(name: str) -> Tensor:
    """(C, H, W): what the gate of channel C / 2 in the middle of the map depends on."""
    found = torch.zeros(CHANNELS, SIDE, SIDE, dtype=torch.bool)
    for seed in range(SEEDS):
        torch.manual_seed(seed)
        gate, x = gate_of(name), torch.randn(1, CHANNELS, SIDE, SIDE, requires_grad=True)
        gate(x).expand_as(x)[0, CHANNELS // 2, MIDDLE, MIDDLE].backward()
        found |= x.grad[0] != 0
    return found


def told_apart(name: str) -> dict[str, bool]:
    """Whether the gate notices that what it sees is put in another order: along C, H or W."""
    torch.manual_seed(0)
    gate, x = gate_of(name), torch.randn(1, CHANNELS, SIDE, SIDE)
    with torch.no_grad():
        before = gate(x).expand_as(x)
        noticed = {}
        for dim, axis in enumerate("CHW", 1):
            after = gate(x.index_select(dim, torch.randperm(x.shape[dim]))).expand_as(x)
            noticed[axis] = not torch.allclose(after, before, atol=1e-5)
    return noticed


def sees(names: Sequence[str]) -> tuple["Figure", str]:
    """A column for each gate (keys of GATES), and the same in words, for `show`."""
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(max(1.55 * len(names) + 1.5, 5.2), 3.6), layout="constrained", facecolor="white")
    panels = figure.subplots(2, len(names), squeeze=False, height_ratios=[SIDE, CHANNELS])
    words = []
    for column, name in enumerate(names):
        cells, known = seen(name), told_apart(name)
        torch.manual_seed(0)
        shape = gate_of(name)(torch.randn(1, CHANNELS, SIDE, SIDE)).shape[1:]
        numbers = [axis if n > 1 else "1" for axis, n in zip("CHW", shape, strict=True)]
        for panel, view, axes in zip(panels[:, column], (cells.any(0), cells[:, MIDDLE]), ("HW", "CW"), strict=True):
            shade = SHADES[sum(known[axis] for axis in axes)]
            panel.imshow(view.numpy(), cmap=ListedColormap(["#F2F2F2", shade]), vmin=0, vmax=1)
            panel.set(xticks=[], yticks=[])
            row = MIDDLE if axes == "HW" else CHANNELS // 2
            panel.plot(MIDDLE, row, "s", markerfacecolor=GATE, markeredgecolor=INK, markersize=5)
        panels[0, column].set_title(f"{name}\n({', '.join(numbers)})", fontsize=9)
        words.append(
            f"{name}, of shape ({', '.join(numbers)}): {int(cells.any(0).sum())} of {SIDE * SIDE} positions and "
            f"{int(cells.any((1, 2)).sum())} of {CHANNELS} channels; it tells apart "
            + (", ".join(axis for axis in "CHW" if known[axis]) or "nothing")
        )
    panels[0, 0].set_ylabel("the map from the front:\nH × W", fontsize=9)
    panels[1, 0].set_ylabel("from above:\nC × W", fontsize=9)
    labels = ("only pooled", "pooled along one side", "each by itself")
    patches = [Patch(facecolor=shade, edgecolor=INK, label=label) for shade, label in zip(SHADES, labels, strict=True)]
    figure.legend(handles=patches, loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    return figure, f"What one number of each gate, the orange square, depends on. {'; '.join(words)}."
