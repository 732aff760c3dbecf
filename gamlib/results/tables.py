"""Runs as Markdown tables."""

import statistics
from collections import Counter
from collections.abc import Sequence

from gamlib._checks import unknown_name
from gamlib.data import puzzles
from gamlib.results.schema import SOLVED, Result
from gamlib.results.summary import conditions, groups, paired_difference


def table(runs: Sequence[Result]) -> str:
    """The runs as Markdown tables: a line for each data set, network and attention, and how many seeds it rests on.

    Errors are those of the last epoch on the test images. For photographs: of one seed, or mean ± standard deviation
    of several. For puzzles, where a network solves the task or does not: of one seed, or the median and the range of
    several; how many solve it (end below SOLVED % error); of those, the median of the first epoch below it; and the
    least error that is possible without the cue. Where two networks have one label, each says its reduction.
    """
    on_photographs, on_puzzles = [], []
    found = groups(runs)
    names = Counter((group[0].data, group[0].network["name"], group[0].label) for group in found)
    for group in found:
        first = group[0]
        reduction = first.network.get("attention_options", {}).get("reduction")
        is_shared = reduction is not None and names[first.data, first.network["name"], first.label] > 1
        label = f"{first.label}, r = {reduction}" if is_shared else first.label
        cells = [first.data, str(first.network["name"]), label, f"{first.parameters:,}"]
        errors = [run.top1_error for run in group]
        if task := puzzle_task(first.data):
            solved = [run for run in group if run.top1_error < SOLVED]
            epochs = f"{statistics.median(run.epochs_to_solve for run in solved):g}" if solved else "–"
            ceiling = f"{100 * (1 - puzzles.ceiling(task)):.2f}"
            on_puzzles.append([*cells, _median(errors), f"{len(solved)} of {len(group)}", epochs, ceiling])
        else:
            top5 = _mean([run.top5_error for run in group])
            on_photographs.append([*cells, _mean(errors), top5, str(len(group))])
    headings = ["data", "network", "attention", "parameters"]
    solving = ["seeds that solve it", "epochs to solve", "least error without the cue (%)"]
    tables = [
        markdown([*headings, "top-1 error (%)", "top-5 error (%)", "seeds"], on_photographs),
        markdown([*headings, "top-1 error (%), median (range)", *solving], on_puzzles),
    ]
    return "\n\n".join(text for text in tables if text)


def differences(runs: Sequence[Result], control: str) -> str:
    """A Markdown table: each network's top-1 error minus that of `control`, in points, paired seed by seed.

    Args:
        runs: of one or more data sets and networks.
        control: a label, such as "none"; runs without one to compare with are left out.

    Raises:
        ValueError: where no run has that label, or nothing is left to compare it with.
    """
    if control not in {run.label for run in runs}:
        raise unknown_name("label", control, dict.fromkeys(run.label for run in runs))
    rows = []
    for group in groups(runs):
        first = group[0]
        others = [run for run in runs if run.label == control and conditions(run) == conditions(first)]
        if first.label == control or not {run.seed for run in group} & {run.seed for run in others}:
            continue
        difference = paired_difference(group, others)
        interval = "–" if difference.low is None else f"{difference.low:+.2f} to {difference.high:+.2f}"
        cells = [first.data, str(first.network["name"]), first.label]
        rows.append([*cells, f"{difference.mean:+.2f}", interval, str(difference.n)])
    if not rows:
        raise ValueError(f"there is nothing to compare {control!r} with")
    headings = ["data", "network", "attention", f"error minus that of {control} (points)", "95% interval", "seeds"]
    return markdown(headings, rows)


def puzzle_task(data: str) -> str | None:
    """The task, where the data is a puzzle."""
    task = data.removeprefix("puzzles-")
    return task if data.startswith("puzzles-") and task in puzzles.TASKS else None


def _mean(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


def _median(values: Sequence[float]) -> str:
    median = f"{statistics.median(values):.2f}"
    return median if len(values) < 2 else f"{median} ({min(values):.2f} to {max(values):.2f})"


def markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table, its first three columns to the left and the others to the right; "" without rows."""
    if not rows:
        return ""
    rule = ["---"] * 3 + ["---:"] * (len(headings) - 3)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [headings, rule, *rows])
