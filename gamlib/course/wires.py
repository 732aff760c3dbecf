"""Pictures of wires: channels through grouped convolutions and a shuffle, numbers through a permutation."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gamlib.course.drawing import INK

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#E69F00", "#56B4E9", "#009E73", "#CC79A7")  # of groups, or of channels; Okabe and Ito's
FAINT = "#D9D9D9"
# Where a channel shuffle may stand, of the two grouped convolutions of GAM's spatial gate.
PLACES = ("none", "before", "between", "after")


def convolution(channels_in: int, channels_out: int, groups: int) -> Tensor:
    """(out, in): which channels a grouped convolution connects, by the gradients of one."""
    layer = nn.Conv2d(channels_in, channels_out, 1, groups=groups, bias=False)
    jacobian = torch.autograd.functional.jacobian(layer, torch.zeros(1, channels_in, 1, 1))
    return jacobian.reshape(channels_out, channels_in) != 0


def dealt(channels: int, groups: int) -> Tensor:
    """(out, in): where PyTorch's channel shuffle puts each channel."""
    order = F.channel_shuffle(torch.arange(float(channels)).view(1, -1, 1, 1), groups).flatten().long()
    return F.one_hot(order, channels).bool()


def layers(channels: int, reduction: int, groups: int, place: str) -> list[tuple[str, Tensor]]:
    """GAM's spatial gate, channels alone: what each step is called, and its (out, in)."""
    hidden = channels // reduction
    narrow = ("convolution", convolution(channels, hidden, groups))
    widen = ("convolution", convolution(hidden, channels, groups))
    deal, deal_hidden = ("shuffle", dealt(channels, groups)), ("shuffle", dealt(hidden, groups))
    return {
        "none": [narrow, widen],
        "before": [deal, narrow, widen],
        "between": [narrow, deal_hidden, widen],
        "after": [narrow, widen, deal],
    }[place]


def draw_groups(channels: int, reduction: int, groups: int, places: Sequence[str] = PLACES, gate: int = 1) -> "Figure":
    """A panel for each place: all wires, and in colour those that lead to one gate."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.6 * len(places), 3.3), layout="constrained", facecolor="white")
    for panel, place in zip(figure.subplots(1, len(places), squeeze=False)[0], places, strict=True):
        steps = layers(channels, reduction, groups, place)
        wanted = [torch.eye(channels, dtype=torch.bool)[gate]]
        for _, step in reversed(steps):
            wanted.append((wanted[-1].float() @ step.float()) > 0)
        wanted.reverse()  # for each column of dots, which of them lead to the gate
        for x, (_, step) in enumerate(steps):
            _draw_wires(panel, x, step, wanted[x], wanted[x + 1])
        for x, leads in enumerate(wanted):
            n = len(leads)
            for i, led in enumerate(leads.tolist()):
                colour = COLOURS[i * groups // n]
                panel.plot(x, _level(i, n), "o", color=colour if led else FAINT, markeredgecolor=colour, markersize=9)
        panel.set_title({"none": "no shuffle", "after": "after both"}.get(place, place), fontsize=11)
        called = iter(("hidden", "gates"))
        names = ["map", *(next(called) if name == "convolution" else "shuffled" for name, _ in steps)]
        panel.set_xticks(range(len(wanted)), names, fontsize=8)
        panel.set(yticks=[], xlim=(-0.3, len(wanted) - 0.7), ylim=(-8.3, 0.3))
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
        count = int(wanted[0].sum())
        own = "its own among them" if wanted[0][gate] else "not its own"
        panel.set_xlabel(f"gate {gate} sees {count} of {channels} channels,\n{own}", fontsize=9)
    return figure


def draw_permutation(channels: int, height: int, width: int) -> "Figure":
    """A small map's numbers as they lie in memory, and in the order in which the MLP reads them."""
    from matplotlib.figure import Figure

    places = torch.arange(channels * height * width).view(1, channels, height, width)
    order = places.permute(0, 2, 3, 1).flatten()  # the place in memory of each number that is read
    figure = Figure(figsize=(9, 2.5), layout="constrained", facecolor="white")
    panel = figure.subplots()
    for read, place in enumerate(order.tolist()):
        colour = COLOURS[place // (height * width)]
        x = read + 0.6 * (read // channels) - 0.3 * (height * width - 1)  # a gap after each pixel
        panel.plot([place, x], [0.88, 0.12], color=colour, linewidth=1.2, zorder=1)
        for left, y in ((place, 1.0), (x, 0.0)):
            box = {"facecolor": colour, "edgecolor": INK, "boxstyle": "square,pad=0.35"}
            channel, pixel = divmod(place, height * width)
            label = f"{channel},{pixel // width},{pixel % width}"
            panel.text(left, y, label, ha="center", va="center", fontsize=8, bbox=box, zorder=2)
    panel.text(-4.2, 1, "in memory:\nchannel by channel", ha="right", va="center", fontsize=9)
    panel.text(-4.2, 0, "as the MLP reads:\npixel by pixel", ha="right", va="center", fontsize=9)
    panel.set(xlim=(-6, channels * height * width + 3), ylim=(-0.4, 1.35))
    panel.axis("off")
    return figure


def _level(index: int, count: int) -> float:
    return -(index + 0.5) * 8 / count


def _draw_wires(panel: "Axes", x: int, step: Tensor, before: Tensor, after: Tensor) -> None:
    n_out, n_in = step.shape
    for out, into in step.nonzero().tolist():
        leads = bool(before[into] and after[out])
        look = {"color": INK if leads else FAINT, "linewidth": 1.3 if leads else 0.8, "zorder": 2 if leads else 1}
        panel.plot([x, x + 1], [_level(into, n_in), _level(out, n_out)], **look)
