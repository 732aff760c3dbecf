"""Charts of runs: errors by epoch, and errors with intervals."""

import warnings
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING

from gamlib._files import whole
from gamlib.data import puzzles
from gamlib.results.schema import Result
from gamlib.results.summary import groups, summarise
from gamlib.results.tables import puzzle_task

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vXP*"


def draw_curves(runs: Sequence[Result]) -> "Figure":
    """A figure of test error by epoch: a panel per data set, a line per run, a colour and a marker per attention.

    The dashed line of a puzzle is the least error that is possible without its cue.
    """
    import seaborn as sns
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(run.data for run in runs))
    labels = list(dict.fromkeys(run.label for run in runs))
    looks = dict(zip(labels, zip(cycle(sns.color_palette("colorblind")), cycle(MARKERS), strict=False), strict=False))
    figure = Figure(figsize=(6 * len(names), 4), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        named = set()
        for run in (run for run in runs if run.data == name):
            epochs = [entry["epoch"] for entry in run.curves]
            errors = [entry["test_top1_error"] for entry in run.curves]
            colour, marker = looks[run.label]
            label = None if run.label in named else run.label
            named.add(run.label)
            axes.plot(epochs, errors, color=colour, marker=marker, markersize=5, label=label)
        if task := puzzle_task(name):
            error = 100 * (1 - puzzles.ceiling(task))
            axes.axhline(error, color="black", linestyle="--", linewidth=1, label="least without the cue")
        axes.set(title=name.replace("$", r"\$"), xlabel="epoch", ylabel="test top-1 error (%)", ylim=(-3, 100))
        axes.grid(alpha=0.3)
        axes.legend()
    return figure


def write_curves(runs: Sequence[Result], path: Path) -> None:
    """Draw the curves of some runs into a PNG. Where that fails it warns: no chart stands between a run and its end."""
    try:
        with whole(path) as partial:
            draw_curves(runs).savefig(partial, dpi=150, format="png")
    except Exception as error:
        warnings.warn(f"{path} could not be drawn: {str(error).strip().splitlines()[-1]}", stacklevel=2)


def draw_errors(runs: Sequence[Result], control: str | None = None) -> "Figure":
    """A figure of the errors at the end: a row per network, a dot per seed, the mean with its 95% interval.

    Filled: on the test images; hollow: on the training images, in the last epoch, as they were shown (shifted,
    mirrored, and by weights that still moved). Fewer than three seeds have no interval here: that of two is 12.7 of
    their standard errors long to each side, and would leave no room for the others.

    Args:
        runs: of one data set and backbone.
        control: the label whose mean is drawn through all rows, to compare with.

    Raises:
        ValueError: for no runs, or runs of several data sets or backbones.
    """
    from matplotlib.figure import Figure

    kinds = sorted({f"{run.network['name']} on {run.data}" for run in runs})
    if len(kinds) != 1:
        raise ValueError(f"a chart shows runs of one network on one data set, got {', '.join(kinds) or 'no runs'}")
    rows = groups(runs)
    figure = Figure(figsize=(8, 1.3 + 0.55 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for at, group in enumerate(rows):
        is_control = group[0].label == control
        for key, shift, colour, filled in (
            ("train_top1_error", 0.17, "#888888", False),
            ("test_top1_error", -0.17, "#D55E00" if is_control else "#0072B2", True),
        ):
            errors = [run.curves[-1][key] for run in group]
            mean = summarise(errors)
            if is_control and filled:
                axes.axvline(mean.mean, color=colour, linestyle="--", linewidth=1.2, label=f"mean of {control}, test")
            if mean.n > 2:
                axes.plot([mean.low, mean.high], [at + shift] * 2, color=colour, linewidth=2)
                axes.plot(mean.mean, at + shift, "|", color=colour, markersize=14, markeredgewidth=2.5)
            face = colour if filled else "white"
            axes.plot(errors, [at + shift] * len(errors), "o", color=colour, markerfacecolor=face, markersize=5)
    for label, face in (("test", "black"), ("training", "white")):
        axes.plot([], [], "o", color="black", markerfacecolor=face, label=f"{label}, a dot per seed")
    axes.plot([], [], "-|", color="black", markersize=12, label="mean and its 95% interval")
    axes.set_yticks(range(len(rows)), [f"{g[0].label}\n{g[0].parameters / 1e6:.2f} M parameters" for g in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    first = runs[0]
    title = f"{first.data}, {first.network['name']}, {first.recipe['epochs']} epochs"
    axes.set_title(title.replace("$", r"\$"))
    axes.set_xlabel("top-1 error (%), lower is better")
    axes.grid(axis="x", alpha=0.3)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure
