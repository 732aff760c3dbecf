"""The result of a training run, and how it is written and read."""

import dataclasses
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_origin, get_type_hints

from gamlib._files import write
from gamlib.attention import label_of

SCHEMA = 1
# Of each epoch: learning rate at its end; errors in %; seconds of training and testing.
CURVE = (
    *("epoch", "lr", "train_loss", "train_top1_error", "train_top5_error"),
    *("test_loss", "test_top1_error", "test_top5_error", "seconds"),
)
# Images left out; seconds waited for images; training images a second; most bytes in use on a GPU. The first recorded
# runs do not tell them.
CURVE_OPTIONAL = ("skipped", "waited", "images_per_second", "memory")
SWITCHES = ("channels_last", "fused", "compile")
VERSIONS = ("python", "torch", "torchvision", "gamlib")
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
    precision: str  # "bf16", "fp16" or "fp32"
    device: str  # the processor's name, and its threads where it is a CPU
    versions: dict[str, str]  # of python, torch, torchvision, gamlib
    commit: str | None  # of the checkout; "+" behind it means that files had been changed
    command: str  # as typed
    curves: list[dict[str, int | float]]  # one entry an epoch
    seconds: float  # of training and testing, over all sittings
    # channels_last, fused, compile; None: not recorded, as before November 2026
    switches: dict[str, bool] | None = None
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
        """Top-1 error of the last epoch, on the test images, %."""
        return self.curves[-1]["test_top1_error"]

    @property
    def top5_error(self) -> float:
        """Top-5 error of the last epoch, on the test images, %."""
        return self.curves[-1]["test_top5_error"]


def save(runs: Sequence[Result], path: Path) -> None:
    """Write runs as one JSON file, in one go: a reader sees the old file or the new one."""
    content = {"schema": SCHEMA, "runs": [dataclasses.asdict(run) for run in runs]}
    write((json.dumps(content, indent=1, default=describe) + "\n").encode(), path)


def describe(value: object) -> str:
    """A name for what JSON has no form for, such as a class among a mechanism's options; the same in every process."""
    return getattr(value, "__qualname__", type(value).__qualname__)


def digest(content: object) -> str:
    """sha256 of anything that JSON can hold, or `describe` can name."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=describe).encode()).hexdigest()


def digest_of(runs: Sequence[Result]) -> str:
    """sha256 over all that is recorded of some runs."""
    return digest([dataclasses.asdict(run) for run in runs])


def read(path: Path) -> list[Result]:
    """Runs from a JSON file that `save` wrote.

    Raises:
        ValueError: where it is damaged, its schema is another, or a run has unknown or missing fields, or one of
            another type; the message names run and field.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise ValueError("it is no file")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not complete JSON ({error}); restore it, or delete it") from None
    schema = content.get("schema") if isinstance(content, dict) else None
    if schema != SCHEMA:
        raise ValueError(f"{path}: schema {schema!r}, expected {SCHEMA}; written by another gamlib?")
    _check_fields(f"{path}", content, {"schema": int, "runs": list})
    if not content["runs"]:
        raise ValueError(f"{path} holds no runs")
    for number, run in enumerate(content["runs"]):
        where = f"{path}, run {number}"
        if isinstance(run, dict):
            run.setdefault("switches", None)
        _check_fields(where, run, get_type_hints(Result) | {"switches": dict | None})
        if not run["curves"]:
            raise ValueError(f"{where}: curves is empty; a result has one entry for each epoch")
        for entry in run["curves"]:
            optional = [field for field in CURVE_OPTIONAL if isinstance(entry, dict) and field in entry]
            _check_fields(f"{where}, curves", entry, dict.fromkeys((*CURVE, *optional), int | float))
            if bad := [field for field in CURVE if field.endswith("error") and not 0 <= entry[field] <= 100]:
                raise ValueError(f"{where}, curves: {bad[0]} must lie in 0 to 100 (%), got {entry[bad[0]]}")
            if bad := [field for field in (*optional, "seconds") if entry[field] < 0]:
                raise ValueError(f"{where}, curves: {bad[0]} must be 0 or more, got {entry[bad[0]]}")
        if run["switches"] is not None:
            optional = {"graph": bool} if "graph" in run["switches"] else {}  # where it was on
            _check_fields(f"{where}, switches", run["switches"], dict.fromkeys(SWITCHES, bool) | optional)
        _check_fields(f"{where}, versions", run["versions"], dict.fromkeys(VERSIONS, str))
        if "name" not in run["network"] or not run["recipe"].keys() >= {"name", "epochs"}:
            raise ValueError(f"{where}: network and recipe must have a name, and the recipe its epochs")
        _check_fields(f"{where}, data_md5", run["data_md5"], dict.fromkeys(run["data_md5"], str))
        options = run["network"].get("attention_options", {})
        if not isinstance(options, dict) or not isinstance(run["network"].get("attention", ""), str):
            raise ValueError(f"{where}: network's attention must be a name, and attention_options an object")
        if run in content["runs"][:number]:
            raise ValueError(f"{where}: the same run stands there twice; take one out")
        if [entry["epoch"] for entry in run["curves"]] != list(range(1, len(run["curves"]) + 1)):
            raise ValueError(f"{where}: curves must hold the epochs 1, 2, 3 ... in order")
    return [Result(**run) for run in content["runs"]]


def _check_fields(where: str, content: object, types: dict[str, object]) -> None:
    """Raise ValueError unless `content` is a JSON object with just these fields, each of its type."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: expected a JSON object, got {type(content).__name__}")
    problems = {"missing": sorted(types.keys() - content.keys()), "unknown": sorted(content.keys() - types.keys())}
    wrong = [f"{what} {', '.join(fields)}" for what, fields in problems.items() if fields]
    if wrong:
        raise ValueError(f"{where}: fields that do not fit schema {SCHEMA}: {'; '.join(wrong)}")
    for field, kind in types.items():
        kind = get_origin(kind) if get_origin(kind) in (dict, list) else kind  # what lies inside is checked by itself
        allowed = int | float if kind is float else kind
        if not isinstance(content[field], allowed) or (isinstance(content[field], bool) and kind is not bool):
            got = f"{content[field]!r:.60}"
            raise ValueError(f"{where}: {field} must be {getattr(kind, '__name__', kind)}, got {got}")
        if isinstance(content[field], int | float) and not abs(content[field]) < 2**63:
            raise ValueError(f"{where}: {field} must be a finite number, got {content[field]!r:.60}")
