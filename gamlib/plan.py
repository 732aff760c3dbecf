"""The plan of runs (data/plan.json): what the course wants to know, what is recorded for it, and what is still owed."""

import dataclasses
import json
import re
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gamlib import data, results
from gamlib._checks import check_integer, check_seed, unknown_name
from gamlib._paths import recorded
from gamlib.attention import full_options, is_known, label_of, list_attention, list_controls
from gamlib.models import list_models
from gamlib.results import Result
from gamlib.training import Speed, recipes

NEEDS = ("cpu", "gpu")
ENTRY = ("attention", "options", "width", "stem", "seeds", "turn")


@dataclass(frozen=True)
class Planned:
    """One run of a study."""

    data: str
    network: dict[str, Any]  # create_model's arguments, but for num_classes
    seed: int
    line: int  # of plan.json

    @property
    def label(self) -> str:
        """Label of the result that it will have."""
        return label_of(self.network)

    @property
    def reduction(self) -> int | None:
        """Reduction of the result that it will have."""
        attention = self.network["attention"]
        options = full_options(attention, self.network["attention_options"]) if is_known(attention) else {}
        return options.get("reduction")


@dataclass(frozen=True)
class Study:
    """A question, and the runs that it takes to answer it: one backbone, recipe, commit and set of switches."""

    name: str  # of data/results/NAME.json, too
    question: str
    data: list[str]  # data sets
    model: str
    recipe: str
    needs: str  # "cpu" or "gpu"
    switches: dict[str, Any] = field(default_factory=dict)  # Speed's arguments, where they differ from its own
    commits: list[str] = field(default_factory=list)  # that train alike; none: that of its first recorded run
    beside: str | None = None  # the study with which it shares all of this, and whose runs it is compared with
    weights: bool = False  # whether the zoo keeps the networks of its first seed
    runs: list[Planned] = field(default_factory=list)  # in the order in which they are carried out

    def recorded(self, folder: Path | None = None) -> list[Result]:
        """Recorded runs of the study, from NAME.json in `folder`; by default those that ship with gamlib."""
        path = (folder or recorded("results")) / f"{self.name}.json"
        return results.read(path) if path.is_file() else []

    def owed(self, folder: Path | None = None) -> list[Planned]:
        """Runs of the study that are not recorded yet, in the plan's order."""
        done = {identity(run) for run in self.recorded(folder)}
        return [run for run in self.runs if identity(run) not in done]


def identity(run: Planned | Result) -> tuple[str, str, int | None, int]:
    """What tells the runs of a study apart; a label leaves out the reduction."""
    return run.data, run.label, run.reduction, run.seed


def read(path: Path | None = None) -> list[Study]:
    """The studies of a plan, in its order; by default of the one that ships with gamlib.

    Raises:
        ValueError: for a plan that can't be read, or a study that can't be carried out; the message names the line.
    """
    path = path or recorded("plan.json")
    try:
        content = _Located().decode(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("studies"), list):
        raise ValueError(f"{path}: expected an object with a list of studies")
    studies: dict[str, Study] = {}
    for entry in content["studies"]:
        at = getattr(entry, "line", 1)
        try:
            study = _study(entry, studies)
            if study.name in studies:
                raise ValueError(f"a second study of the name {study.name!r}")
        except _LineError as error:
            raise ValueError(f"{path}, line {error.line}: {error}") from None
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}, line {at}: {error}") from None
        studies[study.name] = study
    return list(studies.values())


def get(name: str, studies: Sequence[Study]) -> Study:
    """A study by name. Raises ValueError, with all names, for an unknown one."""
    found = [study for study in studies if study.name == name]
    if not found:
        raise unknown_name("study", name, [study.name for study in studies])
    return found[0]


def table(studies: Sequence[Study]) -> str:
    """The state of the plan as a Markdown table.

    What is owed costs what recorded runs of the same networks took, on the machines that they were run on; a dash
    stands where one of them has no such run.
    """
    rows = []
    for study in studies:
        owed = study.owed()
        hours = _hours(study, owed)
        cost = "" if not owed else "–" if hours is None else f"{hours:.1f} h"
        done = f"{len(study.runs) - len(owed)} of {len(study.runs)}"
        rows.append([study.name, study.question, study.needs, done, str(len(owed) or ""), cost])
    return results.markdown(["study", "question", "needs", "done", "owed", "cost"], rows)


def _hours(study: Study, owed: Sequence[Planned]) -> float | None:
    seconds: dict[tuple, list[float]] = {}
    for run in study.recorded():
        seconds.setdefault(identity(run)[:3], []).append(run.seconds)
    if any(identity(run)[:3] not in seconds for run in owed):
        return None
    return sum(statistics.mean(seconds[identity(run)[:3]]) for run in owed) / 3600


# ------------------------------------------------------------------ reading, with line numbers


class _Object(dict):
    """A JSON object that knows the line it begins on."""

    line = 0


class _Located(json.JSONDecoder):
    """Reads JSON into `_Object`s."""

    def __init__(self) -> None:
        super().__init__()

        def parse_object(text_and_end: tuple[str, int], *rest: Any) -> tuple[_Object, int]:
            value, end = json.decoder.JSONObject(text_and_end, *rest)
            value = _Object(value)
            value.line = text_and_end[0].count("\n", 0, text_and_end[1]) + 1
            return value, end

        self.parse_object = parse_object
        self.scan_once = json.scanner.py_make_scanner(self)  # the one in C has its own parse_object


class _LineError(ValueError):
    """What is wrong, in a network's own line."""

    def __init__(self, error: Exception, line: int) -> None:
        super().__init__(str(error))
        self.line = line


def _study(entry: dict[str, Any], known: dict[str, Study]) -> Study:
    if not isinstance(entry, dict):
        raise ValueError(f"a study must be an object, got {entry!r:.60}")
    fields = [f.name for f in dataclasses.fields(Study) if f.name != "runs"]
    _check_keys("study", entry, [*fields, "networks"])
    if (beside := entry.get("beside")) is not None:
        if beside not in known:
            raise unknown_name("study in beside", beside, known)
        shared = ("data", "model", "recipe", "needs", "switches", "commits")
        if changed := [key for key in shared if key in entry]:
            raise ValueError(f"a study beside {beside!r} shares its {', '.join(shared)}; take {changed[0]!r} out")
        entry.update({key: getattr(known[beside], key) for key in shared})
    for key in ("name", "question", "data", "model", "recipe", "needs", "networks"):
        if key not in entry:
            raise ValueError(f"a study must have a {key}")
    for key, kind in (("name", str), ("question", str), ("weights", bool), ("commits", list), ("switches", dict)):
        if key in entry and not isinstance(entry[key], kind):
            raise ValueError(f"{key} must be {kind.__name__}, got {entry[key]!r}")
    if not re.fullmatch(r"[\w.-]+", entry["name"]):
        raise ValueError(f"name must be letters, digits, _ . - alone: it names a file; got {entry['name']!r}")
    for key, what in (("data", "data set"), ("networks", "network")):
        if not isinstance(entry[key], list) or not entry[key]:
            raise ValueError(f"{key} must be a list of one {what} or more, got {entry[key]!r}")
    for what, name, allowed in (
        *(("data set", name, data.list_datasets()) for name in entry["data"]),
        ("model", entry["model"], list_models()),
        ("recipe", entry["recipe"], recipes.RECIPES),
        ("needs", entry["needs"], NEEDS),
    ):
        if name not in allowed:
            raise unknown_name(what, name, allowed)
    Speed(**entry.get("switches", {}))
    turns = []
    for network in entry["networks"]:
        try:
            turns += [run for name in entry["data"] for run in _runs(network, entry["model"], name)]
        except (ValueError, TypeError) as error:
            raise _LineError(error, getattr(network, "line", getattr(entry, "line", 1))) from None
    # By turn, then by seed, then as listed.
    runs = [run for _, run in sorted(turns, key=lambda pair: (pair[0], pair[1].seed))]
    seen: dict[tuple[str, str, int | None, int], Planned] = {}
    for run in runs:
        if seen.setdefault(identity(run), run) is not run:
            raise _LineError(ValueError(f"{run.label} with seed {run.seed} stands in the study twice"), run.line)
    return Study(**{key: value for key, value in entry.items() if key in fields}, runs=runs)


def _runs(entry: dict[str, Any], model: str, dataset: str) -> Iterator[tuple[int, Planned]]:
    _check_keys("network", entry, ENTRY)
    if "attention" not in entry:
        raise ValueError("a network must have an attention")
    attention, options = entry["attention"], entry.get("options", {})
    if not isinstance(options, dict):
        raise ValueError(f"options must be an object, got {options!r}")
    if isinstance(entry.get("width", 1), bool) or not isinstance(entry.get("width", 1), int | float):
        raise ValueError(f"width must be a number, got {entry['width']!r}")
    if attention in ("none", "abn"):
        if options:
            raise ValueError(f"attention {attention!r} has no options, got {options}")
    elif not is_known(attention):
        raise unknown_name("attention", attention, ["none", *list_attention(), *list_controls(), "abn"])
    else:
        full_options(attention, options)
    network = {"name": model, "attention": attention, "attention_options": dict(options)}
    network |= {key: entry[key] for key in ("width", "stem") if key in entry}
    if not isinstance(entry.get("seeds"), list) or not entry["seeds"]:
        raise ValueError(f"seeds must be a list of one or more, got {entry.get('seeds')!r}")
    turn = entry.get("turn", 1)
    check_integer("turn", turn)
    for seed in entry["seeds"]:
        check_seed(seed)
        yield turn, Planned(dataset, network, seed, getattr(entry, "line", 1))


def _check_keys(what: str, entry: dict[str, Any], allowed: Sequence[str]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"a {what} must be an object, got {entry!r:.60}")
    for key in entry:
        if key not in allowed:
            raise unknown_name(f"field of a {what}", key, allowed)
