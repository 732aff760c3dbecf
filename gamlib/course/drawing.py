"""The course's pictures of modules: a tensor is a box, an operation an arrow, a gate is orange and multiplies.

A box's sides follow its shape by the logarithm, so that 1 stays visible: C goes to the right, H up, W to the back.
Shapes, arrows and the words on them are read from a forward pass (`recording.record`). Only which tensors are shown,
and where they stand, is written by hand.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from gamlib.course.recording import Step, record

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAP, SMALL, GATE, OUT = "#56B4E9", "#009E73", "#E69F00", "#0072B2"  # Okabe and Ito's, which all eyes tell apart
INK, WIRE = "#222222", "#555555"
SLANT = (0.42, 0.30)  # of what goes to the back
COLUMN, ROW = 1.75, 1.9
LABELS = 0.3  # above and below the boxes
RADIUS = 0.17  # of the circle in which several arrows meet
SIGNS = {"mul": "×", "add": "+", "cat": "cat", "matmul": "@"}
# What the arrows say; an operation that is not here only changes how a shape is written.
WORDS = {"AdaptiveAvgPool2d": "mean", "mean": "mean", "amax": "max", "permute": "permute", "Sigmoid": "sigmoid"}
WORDS |= {"Linear": "Linear", "ReLU": "ReLU", "BatchNorm1d": "BN", "BatchNorm2d": "BN", "div": "divide", "add": "add 1"}
WORDS |= {
    "channel_shuffle": "shuffle",
    "Sequential": "stage",
    "expand": "repeated",
    "Conv1d": "conv 1-D",
    "Softmax": "softmax",
}


@dataclass(frozen=True)
class Box:
    """A tensor of the pass, and where it stands."""

    column: float
    row: float
    colour: str = MAP
    name: str = ""
    axes: str = "CHW"  # along which of them the sides of its shape are drawn, in their order
    is_open: bool = False  # a place for something: outlines alone


def draw(module: nn.Module, x: Tensor, boxes: dict[str, Box], whole: Sequence[str] = ()) -> "Figure":
    """The picture of one forward pass, on a white card.

    Args:
        module: whose pass is recorded.
        x: (N, C, H, W); C, H and W best all different.
        boxes: a step's name (see `recording.record`) -> where it stands. Two arrows or more meet in a circle before it.
        whole: names of parts that are one operation, whatever is in them.

    Raises:
        KeyError: for a step that does not occur in the pass.
    """
    from matplotlib.figure import Figure

    steps = record(module, x, whole)
    edges = list(arrows(steps, boxes))
    figure = Figure(facecolor="white", layout="constrained")
    panel = figure.subplots()
    placed = {name: _draw_box(panel, steps[name], box) for name, box in boxes.items()}
    for child in boxes:
        into = [(parent, words) for parent, to, words in edges if to == child]
        left, _, y, _ = placed[child]
        if len(into) > 1:
            centre = left - 0.25 - RADIUS
            _draw_circle(panel, centre, y, SIGNS[steps[child].operation])
            _arrow(panel, [(centre + RADIUS, y), (left, y)])
        for parent, words in into:
            _, start, level, _ = placed[parent]
            between = [placed[name] for name, box in boxes.items() if box.row == boxes[parent].row]
            crossed = [one for one in between if start < one[0] and one[1] < left]
            if len(into) == 1:
                turn = start + 0.2
                path = [(start, y), (left, y)] if level == y else [(start, level), (turn, level), (turn, y), (left, y)]
            elif level == y and crossed:  # over what stands between
                over = max(one[3] for one in (*crossed, placed[parent])) + 0.42
                path = [(start, y), (start + 0.12, y), (start + 0.12, over), (centre, over), (centre, y + RADIUS)]
            elif level == y:
                path = [(start, y), (centre - RADIUS, y)]
            else:
                path = [(start, level), (centre, level), (centre, y + math.copysign(RADIUS, level - y))]
            _arrow(panel, path, words)
    panel.set_aspect("equal")
    panel.axis("off")
    panel.autoscale_view()
    (low, high), (bottom, up) = panel.get_xlim(), panel.get_ylim()
    bottom, up = bottom - LABELS, up + LABELS
    panel.set_ylim(bottom, up)
    figure.set_size_inches(0.78 * (high - low), 0.78 * (up - bottom) + 0.1)
    return figure


def arrows(steps: dict[str, Step], shown: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """From which shown step to which, and the operations on the way: what is not shown in between is on the arrow."""
    begin = next(name for name in steps if name in shown)  # what leads to the first is not in the picture
    for child in shown:
        found: dict[str, list[str]] = {}
        for parent, way in _ways(steps, child, shown) if child != begin else ():
            said = [word for step in way if len(step.parents) < 2 and (word := _word(step))]
            found.setdefault(parent, []).append("\n".join(said))
        for parent, words in found.items():
            yield parent, child, ", ".join(words)  # such as max and mean, of one tensor


def _ways(steps: dict[str, Step], child: str, shown: Collection[str]) -> Iterator[tuple[str, list[Step]]]:
    for parent in steps[child].parents:
        for start, way in [(parent, [])] if parent in shown else _ways(steps, parent, shown):
            yield start, [*way, steps[child]]


def _word(step: Step) -> str:
    if isinstance(step.layer, nn.Conv2d):
        side, dilation = step.layer.kernel_size[0], step.layer.dilation[0]
        return f"conv {side}×{side}" + (f"\ndilation {dilation}" if dilation > 1 else "")
    return WORDS.get(step.operation, "")


def _side(n: int) -> float:
    return 0.13 + 0.16 * math.log2(n)


def _draw_box(panel: "Axes", step: Step, box: Box) -> tuple[float, float, float, float]:
    """Its left and right edge, the level of its middle, and its top."""
    from matplotlib.colors import to_rgb
    from matplotlib.patches import Polygon

    x, y = box.column * COLUMN, -box.row * ROW
    sides = dict(zip(box.axes, map(_side, step.shape), strict=False))
    w, h, d = (sides.get(axis, _side(1)) for axis in "CHW")
    dx, dy = SLANT[0] * d, SLANT[1] * d
    bottom = y - (h + dy) / 2
    front, roof, end = (0, 0), (0, h), (w, 0)
    faces = [
        ([front, end, (w, h), roof], 0.0),
        ([roof, (w, h), (w + dx, h + dy), (dx, h + dy)], 0.35),
        ([end, (w + dx, dy), (w + dx, h + dy), (w, h)], -0.22),
    ]
    for corners, light in faces:
        face = [part + light * (1 - part if light > 0 else part) for part in to_rgb(box.colour)]
        points = [(x + a, bottom + b) for a, b in corners]
        look = {"facecolor": face, "edgecolor": INK, "linewidth": 0.8}
        if box.is_open:
            look = {"facecolor": "white", "edgecolor": box.colour, "linewidth": 2, "linestyle": "--"}
        panel.add_patch(Polygon(points, joinstyle="round", **look))
    numbers = " × ".join(map(str, step.shape))
    axes = "" if box.axes == "CHW" or len(box.axes) < 3 else f"\n({', '.join(box.axes)})"
    below = {"ha": "center", "va": "top", "fontsize": 8.5, "color": INK}
    panel.text(x + (w + dx) / 2, bottom - 0.1, numbers + axes, **below)
    top = bottom + h + dy
    if box.name:
        panel.text(x + (w + dx) / 2, top + 0.06, box.name, ha="center", va="bottom", fontsize=11, color=INK)
    return x, x + w + dx, y, top + (0.3 if box.name else 0)


def _draw_circle(panel: "Axes", x: float, y: float, sign: str) -> None:
    from matplotlib.patches import Circle

    panel.add_patch(Circle((x, y), RADIUS, facecolor="white", edgecolor=INK, linewidth=1.2, zorder=3))
    size = 14 if len(sign) == 1 else 7
    panel.text(x, y - 0.015, sign, ha="center", va="center", fontsize=size, color=INK, zorder=4)


def _arrow(panel: "Axes", path: Sequence[tuple[float, float]], words: str = "") -> None:
    xs, ys = zip(*path, strict=True)
    panel.plot(xs[:-1], ys[:-1], color=WIRE, linewidth=1.2, solid_joinstyle="round")
    look = {"arrowstyle": "-|>", "color": WIRE, "linewidth": 1.2, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 11}
    panel.annotate("", path[-1], path[-2], arrowprops=look)
    if words:
        # Above the arrow; where it turns, above its last level stretch, or its first, if it ends upright.
        (left, y), (right, _) = path[-2:] if ys[-2] == ys[-1] else path[:2]
        panel.text((left + right) / 2, y + 0.06, words, ha="center", va="bottom", fontsize=8.5, color=INK)
