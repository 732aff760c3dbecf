"""Results of runs: how one is written, and the recorded ones that ship with the course."""

import dataclasses
import functools
import json
import platform
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gamlib._paths import PACKAGE, recorded
from gamlib.attention._checks import unknown_name
from gamlib.data import puzzles

SCHEMA = 1


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
    curves: list[dict[str, float]]  # one entry an epoch
    seconds: float  # of training and testing, over all sittings
    schema: int = SCHEMA

    @property
    def label(self) -> str:
        """A name for tables and charts: "none", "se", "gam" ..."""
        return str(self.network.get("attention", self.network["name"]))

    @property
    def top1_error(self) -> float:
        """Of the last epoch, on the test images, %."""
        return self.curves[-1]["test_top1_error"]

    @property
    def top5_error(self) -> float:
        """Of the last epoch, on the test images, %."""
        return self.curves[-1]["test_top5_error"]


def save(runs: Sequence[Result], path: Path) -> None:
    """Write runs as one JSON file, in one go: a reader sees the old file or the new one."""
    content = {"schema": SCHEMA, "runs": [dataclasses.asdict(run) for run in runs]}
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n")
    partial.replace(path)


def read(path: Path) -> list[Result]:
    """Runs from a JSON file that `save` wrote. Raises ValueError where its schema is another."""
    content = json.loads(path.read_text())
    if content.get("schema") != SCHEMA:
        raise ValueError(f"{path}: schema {content.get('schema')!r}, expected {SCHEMA}; written by another gamlib?")
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
    """The runs as a Markdown table: a line for each data set, network and attention, with the seeds behind it.

    Puzzles have a column more: the least error that is possible without the cue.
    """
    with_puzzles = any(run.data.startswith("puzzles-") for run in runs)
    columns = [
        "data",
        "network",
        "attention",
        "parameters",
        "top-1 error (%)",
        "top-5 error (%)",
        "seeds",
        "minutes a run",
    ]
    if with_puzzles:
        columns.insert(6, "best without the cue (%)")
    rows = []
    for group in _groups(runs):
        first = group[0]
        row = [
            first.data,
            str(first.network["name"]),
            first.label,
            f"{first.parameters:,}",
            _spread([run.top1_error for run in group]),
            _spread([run.top5_error for run in group]),
            str(len(group)),
            f"{statistics.mean(run.seconds for run in group) / 60:.1f}",
        ]
        if with_puzzles:
            task = first.data.removeprefix("puzzles-")
            row.insert(6, f"{100 * (1 - puzzles.ceiling(task)):.2f}" if task in puzzles.TASKS else "")
        rows.append(row)
    rule = ["---" if column in ("data", "network", "attention") else "---:" for column in columns]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [columns, rule, *rows])


def _groups(runs: Sequence[Result]) -> list[list[Result]]:
    """Runs that differ in their seed alone, together."""
    groups: dict[str, list[Result]] = {}
    for run in runs:
        groups.setdefault(json.dumps([run.data, run.network, run.recipe], sort_keys=True), []).append(run)
    return list(groups.values())


def _spread(values: Sequence[float]) -> str:
    """The mean; with two seeds or more, also their standard deviation."""
    mean = f"{statistics.mean(values):.2f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.2f}"


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
    """The checkout's commit, with "+" where tracked files differ from it; None outside a checkout.

    The first answer holds for the process: what is edited later is not the code that runs.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None
