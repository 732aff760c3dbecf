"""One page of the six mechanisms: drawn, with equation, gate, price, and which puzzles each solves."""

import io
import json
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from gamlib import create_model, results
from gamlib.cost import count_macs, count_parameters
from gamlib.course import grid
from gamlib.course.pictures import drawing
from gamlib.data import puzzles
from gamlib.results import SOLVED

if TYPE_CHECKING:
    from matplotlib.figure import Figure

A4 = (8.27, 11.69)  # inches
DPI = 200
TEXT = 1.15  # times the size in a notebook, since the drawings are shrunk here


@dataclass(frozen=True)
class Entry:
    """What the page says of a mechanism, but for what is counted or recorded."""

    attention: str
    title: str
    drawings: tuple[str, ...]
    equations: tuple[str, str]
    gate: str
    can: str
    cannot: str


ENTRIES = (
    Entry(
        "se",
        "SE: Hu, Shen, Sun 2018",
        ("se",),
        (r"$s = \sigma(W_2\,\mathrm{ReLU}(W_1\,\mathrm{mean}_{hw}\,x))$", r"$y = s\cdot x$"),
        "C numbers",
        "let the channels’ means over the whole picture decide which channels count",
        "say where: all places get one gate",
    ),
    Entry(
        "bam",
        "BAM: Park, Woo, Lee, Kweon 2018",
        ("bam",),
        (r"$M = \sigma(M_c \cdot M_s)$", r"$y = x\cdot(1 + M)$"),
        "C × H × W numbers, after a stage",
        "see far, by dilated convolutions, for every channel at every place",
        "see without gaps: 25 of the 289 cells of its window",
    ),
    Entry(
        "cbam",
        "CBAM: Woo, Park, Lee, Kweon 2018",
        ("cbam channel", "cbam spatial"),
        (
            r"$x' = \sigma(\mathrm{MLP}(\mathrm{mean}\,x) + \mathrm{MLP}(\max x))\cdot x$",
            r"$y = \sigma(\mathrm{BN}(f^{7\times 7}[\max x';\ \mathrm{mean}\,x']))\cdot x'$",
        ),
        "C numbers, then H × W",
        "say first what, then where",
        "say “this channel, here”: its second gate is told two numbers of each place",
    ),
    Entry(
        "tam",
        "TAM, triplet attention: Misra and others 2021",
        ("tam",),
        (
            r"$\omega = \sigma(\mathrm{BN}(f^{7\times 7}[\max;\ \mathrm{mean}]))$",
            r"$y = \frac{1}{3}\,x\cdot(\omega_{cw} + \omega_{hc} + \omega_{hw})$",
        ),
        "C × W, H × C and H × W numbers",
        "see whole columns and rows; 300 weights per module",
        "let a gate of channels see beyond 7 neighbours, whose order means nothing",
    ),
    Entry(
        "abn",
        "ABN, attention branch: Fukui and others 2019",
        ("abn",),
        (r"$M = \sigma(\mathrm{BN}(f^{3\times 3}(a)))$", r"$y = x\cdot(1 + M),\quad L = \mathrm{CE} + \mathrm{CE}_a$"),
        "H × W numbers, once in a network",
        "show a map that was trained to name the class",
        "be put into a block: it is a branch of the whole network, and dear",
    ),
    Entry(
        "gam",
        "GAM: Liu, Shao, Hoffmann 2021",
        ("gam",),
        (
            r"$x' = \sigma(W_2\,\mathrm{ReLU}(W_1 x_{ij} + b_1) + b_2)\cdot x$",
            r"$y = \sigma(f^{7\times 7}(\mathrm{ReLU}(\mathrm{BN}(f^{7\times 7}(x')))))\cdot x'$",
        ),
        "C × H × W numbers, twice",
        "gate each channel at each place, with nothing pooled",
        "see beyond 13 × 13 cells; nor be cheap",
    ),
)


def price(attention: str) -> tuple[int, int]:
    """Parameters and multiply-accumulates that a mechanism adds to ResNet-20 on 32 x 32, with r = 4."""

    def both(attention: str) -> tuple[int, int]:
        options = {} if attention in ("none", "tam", "abn") else {"reduction": 4}
        with torch.device("meta"):
            network = create_model("resnet20", attention, options, num_classes=100)
        return count_parameters(network), count_macs(network, (3, 32, 32))

    (parameters, macs), (plain_parameters, plain_macs) = both(attention), both("none")
    return parameters - plain_parameters, macs - plain_macs


def solved(attention: str) -> dict[str, tuple[int, int]]:
    """How many of the recorded runs of the probe solve each puzzle, and how many there are; of ABN, of ResNet-20."""

    if attention == "abn":  # the probe has no place for a branch
        runs = [run for run in results.load("puzzles-joint-resnet20") if run.label == attention]
        return {"joint, on ResNet-20": (sum(run.top1_error < SOLVED for run in runs), len(runs))}
    return {task: grid.solved(attention, task) for task in puzzles.TASKS}


def facts(entry: Entry) -> list[str]:
    """What stands under the equations."""
    parameters, macs = price(entry.attention)
    seeds = [f"{task} {good}/{runs}" for task, (good, runs) in solved(entry.attention).items()]
    return [
        f"Gate: {entry.gate}",
        f"Price: {parameters:,} parameters, {macs / 1e6:.2f} million MACs",
        f"Can {entry.can}",
        f"Can’t {entry.cannot}",
        f"Solves: {', '.join(seeds)}" + (", as without attention" if entry.attention == "abn" else ""),
    ]


def page() -> "Figure":
    """The page, A4: a row for each mechanism, words on the left and its drawing on the right."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    figure = Figure(figsize=A4, facecolor="white")
    figure.text(0.05, 0.968, "Six attention mechanisms on a page", fontsize=15, weight="bold")
    about = (
        "x: a feature map, C × H × W. σ: sigmoid. f: a convolution. Orange: gates. Drawn with r = 16. Price: what "
        "ResNet-20 pays for it on 32 × 32 with r = 4. Solves: how many recorded runs of a small network solve each "
        "puzzle. The why: notebooks 02 to 08."
    )
    figure.text(0.05, 0.961, textwrap.fill(about, 125), fontsize=7.5, va="top", linespacing=1.4)
    height = 0.93 / len(ENTRIES)
    for row, entry in enumerate(ENTRIES):
        top = 0.925 - row * height
        figure.add_artist(Line2D([0.05, 0.96], [top, top], color="#bbbbbb", linewidth=0.7))
        figure.text(0.05, top - 0.017, entry.title, fontsize=9.5, weight="bold", color="#0072B2")
        for line, equation in enumerate(entry.equations):
            figure.text(0.05, top - 0.038 - 0.021 * line, equation, fontsize=9)
        lines = [textwrap.fill(fact, 57, subsequent_indent="    ") for fact in facts(entry)]
        figure.text(0.05, top - 0.072, "\n".join(lines), fontsize=7.2, va="top", linespacing=1.35)
        pictures = [_rendered(name) for name in entry.drawings]
        share = 0.54 / sum(picture.shape[1] for picture in pictures)  # of the page's width, for a pixel
        left = 0.43
        for picture in pictures:  # side by side, at one scale
            axes = figure.add_axes((left, top - height + 0.005, share * picture.shape[1], height - 0.01))
            axes.imshow(picture, interpolation="lanczos")
            axes.axis("off")
            left += share * picture.shape[1]
    return figure


def write(path: Path) -> None:
    """The page as a PNG, with its facts as text in it, so that a test can tell whether they still hold."""
    said = json.dumps([facts(entry) for entry in ENTRIES])
    page().savefig(path, dpi=DPI, format="png", metadata={"Description": said})


def _rendered(name: str) -> np.ndarray:
    from matplotlib import pyplot
    from matplotlib.text import Text

    picture, content = drawing(name), io.BytesIO()
    for text in picture.findobj(Text):
        text.set_fontsize(TEXT * text.get_fontsize())
    picture.savefig(content, dpi=300, bbox_inches="tight", format="png")
    content.seek(0)
    return pyplot.imread(content)
