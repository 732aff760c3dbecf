"""The course's grid: which mechanism solves which puzzle, in how many recorded runs. Each notebook adds a row."""

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from gamlib import results
from gamlib.data import puzzles
from gamlib.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ASKS = {"channel": "what", "spatial": "where", "joint": "what and where"}
VARIANTS = (
    "variants-se",
    "variants-bam",
    "variants-cbam",
    "variants-cbam-reach",
    "ablation-halves",
    "puzzles-reach",
    "puzzles-joint-added",
)
NONE, ALL = (0.94, 0.94, 0.94), (0.0, 0.62, 0.45)  # colours of cells where none of the runs solves it, and where all do


@cache
def _recorded() -> list[Result]:
    """Of the mechanisms, and of their variants; read once for all cells."""
    names = (*(f"puzzles-{task}" for task in ASKS), *VARIANTS)
    return [run for name in names for run in results.load(name)]


def _runs(task: str) -> list[Result]:
    return [run for run in _recorded() if run.data == f"puzzles-{task}"]


def solved(label: str, task: str) -> tuple[int, int]:
    """How many of the recorded runs of a network solve a puzzle, and how many there are."""
    runs = [run for run in _runs(task) if run.label == label]
    return sum(run.top1_error < results.SOLVED for run in runs), len(runs)


def grid(labels: Sequence[str], tasks: Sequence[str] = tuple(ASKS)) -> tuple["Figure", str]:
    """A row for each network, a column for each puzzle; and the same in words, for `show`."""
    from matplotlib.figure import Figure

    counts = [[solved(label, task) for task in tasks] for label in labels]
    figure = Figure(figsize=(1.4 + 1.6 * len(tasks), 0.8 + 0.42 * len(labels)), layout="constrained", facecolor="white")
    panel = figure.subplots()
    shares = [[count / number for count, number in row] for row in counts]
    cells = [[[a + s * (b - a) for a, b in zip(NONE, ALL, strict=True)] for s in row] for row in shares]
    panel.imshow(cells, aspect="auto")
    for y, row in enumerate(counts):
        for x, (count, number) in enumerate(row):
            colour = "white" if count / number > 0.6 else "black"
            panel.text(x, y, f"{count} of {number}", ha="center", va="center", fontsize=12, color=colour)
    panel.set_xticks(range(len(tasks)), [f"{task}: {ASKS[task]}?" for task in tasks])
    panel.set_yticks(range(len(labels)), labels)
    panel.set_xticks([x - 0.5 for x in range(1, len(tasks))], minor=True)
    panel.set_yticks([y - 0.5 for y in range(1, len(labels))], minor=True)
    panel.grid(which="minor", color="white", linewidth=3)
    panel.tick_params(which="both", length=0)
    panel.xaxis.tick_top()
    for side in panel.spines.values():
        side.set_visible(False)
    lines = (
        f"{label} solves " + ", ".join(f"{task} in {c} of {n} runs" for task, (c, n) in zip(tasks, row, strict=True))
        for label, row in zip(labels, counts, strict=True)
    )
    return figure, f"A grid of networks and puzzles. {'; '.join(lines)}."


def numbers(labels: Sequence[str]) -> str:
    """The recorded runs behind the grid as a table, folded."""
    recorded = [run for task in puzzles.TASKS for run in _runs(task) if run.label in labels]
    return f"<details><summary>The numbers behind it</summary>\n\n{results.table(recorded)}\n\n</details>"
