"""Results of runs: how one is written, and the recorded ones that ship with the course."""

import dataclasses
import functools
import hashlib
import json
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gamlib._paths import PACKAGE, checkout_data, recorded
from gamlib.attention import full_options, list_attention
from gamlib.attention._checks import unknown_name
from gamlib.data import puzzles

SCHEMA = 1
SOLVED = 10  # a puzzle counts as solved below this error, %: outcomes are nearly all or nothing


@dataclass(frozen=True)
class Result:
    """One training run: what was done, with what, and what came out. Errors are in percent."""

    network: dict[str, object]  # create_model's arguments; for a reader's own network, its class name
    reduction: int | None  # r of the mechanism; None where it has none
    parameters: int
    data: str
    data_md5: dict[str, str]  # of each file read, or of each split generated
    recipe: dict[str, object]
    seed: int
    precision: str  # "bf16" or "fp32"
    device: str  # the processor's name, and its threads where it is a CPU
    versions: dict[str, str]  # of python, torch, torchvision, gamlib
    commit: str | None  # of the checkout; "+" behind it means that files had been changed
    command: str  # as typed
    curves: list[dict[str, int | float]]  # one entry an epoch
    seconds: float  # of training and testing, over all sittings
    schema: int = SCHEMA

    @property
    def label(self) -> str:
        """A name for tables, charts and folders: "none", "gam", "gam-kernel_size9", "none-width49" ..."""
        return label_of(self.network)

    @property
    def epochs_to_solve(self) -> int | None:
        """The first epoch with less than SOLVED % error on the test images; None where there is none."""
        return next((entry["epoch"] for entry in self.curves if entry["test_top1_error"] < SOLVED), None)

    @property
    def top1_error(self) -> float:
        """Of the last epoch, on the test images, %."""
        return self.curves[-1]["test_top1_error"]

    @property
    def top5_error(self) -> float:
        """Of the last epoch, on the test images, %."""
        return self.curves[-1]["test_top5_error"]


def label_of(network: dict[str, object]) -> str:
    """A name for a network's `spec`: its attention, its unusual options (but for the reduction), and its width."""
    name = str(network.get("attention", network["name"]))
    usual = full_options(name, {}) if name in list_attention() else {}
    options = {key: value for key, value in network.get("attention_options", {}).items() if key != "reduction"}
    unusual = {key: value for key, value in options.items() if value != usual.get(key, value)}
    unusual |= {"width": network["width"]} if "width" in network else {}
    return "-".join([name, *(f"{key}{value}" for key, value in unusual.items())])


def save(runs: Sequence[Result], path: Path) -> None:
    """Write runs as one JSON file, in one go: a reader sees the old file or the new one."""
    content = {"schema": SCHEMA, "runs": [dataclasses.asdict(run) for run in runs]}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1, default=describe) + "\n")
    partial.replace(path)


def describe(value: object) -> str:
    """A name for what JSON has no form for, such as a class among a mechanism's options; the same in every process."""
    return getattr(value, "__qualname__", type(value).__qualname__)


def digest(content: object) -> str:
    """sha256 of anything that JSON can hold, or `describe` can name."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=describe).encode()).hexdigest()


def read(path: Path) -> list[Result]:
    """Runs from a JSON file that `save` wrote. Raises ValueError where it is damaged, or its schema is another."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{path} is not complete JSON ({error}); delete it") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema {schema!r}, expected {SCHEMA}; written by another gamlib?")
    return [Result(**run) for run in content["runs"]]


def list_recorded() -> list[str]:
    """Names of the recorded runs that ship with the course."""
    return sorted(path.stem for path in recorded("results").glob("*.json"))


def load(name: str) -> list[Result]:
    """Recorded runs by name. Raises ValueError, with all names, for an unknown one."""
    if name not in list_recorded():
        raise unknown_name("recorded result", name, list_recorded())
    return read(recorded("results") / f"{name}.json")


def table(runs: Sequence[Result]) -> str:
    """The runs as Markdown tables: a line for each data set, network and attention, and how many seeds it rests on.

    Errors are those of the last epoch on the test images. For photographs: of one seed, or mean ± standard deviation
    of several. For puzzles, where a network solves the task or does not: of one seed, or the median and the range of
    several; how many solve it (end below SOLVED % error); of those, the median of the first epoch below it; and the
    least error that is possible without the cue.
    """
    on_photographs, on_puzzles = [], []
    for group in _groups(runs):
        first = group[0]
        cells = [first.data, str(first.network["name"]), first.label, f"{first.parameters:,}"]
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
        _markdown([*headings, "top-1 error (%)", "top-5 error (%)", "seeds"], on_photographs),
        _markdown([*headings, "top-1 error (%), median (range)", *solving], on_puzzles),
    ]
    return "\n\n".join(text for text in tables if text)


def puzzle_task(data: str) -> str | None:
    """The task, where the data is a puzzle."""
    task = data.removeprefix("puzzles-")
    return task if data.startswith("puzzles-") and task in puzzles.TASKS else None


def _groups(runs: Sequence[Result]) -> list[list[Result]]:
    """Runs that differ in their seed alone, together."""
    groups: dict[str, list[Result]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.data, run.network, run.recipe, run.precision], sort_keys=True), []).append(
            run
        )
    return list(groups.values())


def _mean(values: Sequence[float]) -> str:
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


def _median(values: Sequence[float]) -> str:
    median = f"{statistics.median(values):.2f}"
    return median if len(values) < 2 else f"{median} ({min(values):.2f} to {max(values):.2f})"


def _markdown(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    rule = ["---"] * 3 + ["---:"] * (len(headings) - 3)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [headings, rule, *rows])


def versions() -> dict[str, str]:
    """Of python and of the packages that a result depends on."""
    import torch
    import torchvision

    import gamlib

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "gamlib": gamlib.__version__,
    }


@functools.cache
def commit() -> str | None:
    """The checkout's commit, with "+" where tracked files differ from it; None where gamlib runs from no checkout.

    The first answer holds for the process: what is edited later is not the code that runs.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    if checkout_data() is None:
        return None
    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
