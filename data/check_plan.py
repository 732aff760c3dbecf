"""Looks for mistakes in a plan of runs that was edited, and names the line."""

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gamlib import create_model, data, list_models
from gamlib._checks import check_integer, check_seed, unknown_name
from gamlib.attention import list_attention, list_controls
from gamlib.course import plan
from gamlib.training import Speed, recipes

FIELDS = [field.name for field in dataclasses.fields(plan.Study) if field.name != "runs"]
KINDS = (("name", str), ("question", str), ("weights", bool), ("commits", list), ("switches", dict))
OF_NETWORKS = ("attention", "options", "width", "stem", "seeds", "turn")


def check(path: Path) -> None:
    """Raise ValueError for a plan that can't be read, or a study that can't be carried out; it names the line."""
    try:
        content = _Located().decode(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"the plan {path} can't be read ({error.strerror})") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("studies"), list):
        raise ValueError(f"{path}: expected an object with a list of studies")
    known: dict[str, dict[str, Any]] = {}
    for entry in content["studies"]:
        line = getattr(entry, "line", 1)
        try:
            _check_study(entry, known)
            seen: set[tuple] = set()
            for network in entry["networks"]:
                line = getattr(network, "line", line)
                _check_network(network, entry, seen)
        except (ValueError, TypeError, RuntimeError, OverflowError) as error:  # PyTorch's, of sizes no machine has
            raise ValueError(f"{path}, line {line}: {str(error).partition(chr(10))[0]}") from None
        known[entry["name"]] = entry


def _check_study(entry: dict[str, Any], known: dict[str, dict[str, Any]]) -> None:
    _check_keys("study", entry, [*FIELDS, "networks"])
    if (beside := entry.get("beside")) is not None:
        if beside not in known:
            raise unknown_name("study in beside", beside, known)
        if changed := [key for key in plan.SHARED if key in entry]:
            raise ValueError(f"a study beside {beside!r} shares its {', '.join(plan.SHARED)}; take {changed[0]!r} out")
        entry |= {key: known[beside][key] for key in plan.SHARED if key in known[beside]}
    for key in ("name", "question", "data", "model", "recipe", "needs", "networks"):
        if key not in entry:
            raise ValueError(f"a study must have a {key}")
    for key, kind in KINDS:
        if key in entry and not isinstance(entry[key], kind):
            raise ValueError(f"{key} must be {kind.__name__}, got {entry[key]!r}")
    if not re.fullmatch(r"\w[\w.-]{0,99}", entry["name"]):
        raise ValueError(f"name must be letters, digits, _ . - alone: it names a file; got {entry['name']!r}")
    for commit in entry.get("commits", []):  # they are handed to git, which would take --output for an option
        if not isinstance(commit, str) or not re.fullmatch(r"[0-9a-f]{7,40}", commit):
            raise ValueError(f"commits must be hexadecimal, 7 to 40 digits each, got {commit!r}")
    if entry["name"] in known:
        raise ValueError(f"a second study of the name {entry['name']!r}")
    for key, what in (("data", "data set"), ("networks", "network")):
        if not isinstance(entry[key], list) or not entry[key]:
            raise ValueError(f"{key} must be a list of one {what} or more, got {entry[key]!r}")
    for what, name, allowed in (
        *(("data set", re.sub("^photos-[^@]+", "imagenet", name), data.list_datasets()) for name in entry["data"]),
        ("model", entry["model"], list_models()),
        ("recipe", entry["recipe"], recipes.RECIPES),
        ("needs", entry["needs"], ("cpu", "gpu")),
    ):
        if name not in allowed:
            raise unknown_name(what, name, allowed)
    if named := [name for name in entry["data"] if name.startswith("imagenet")]:
        raise ValueError(f"photographs go by the name of their records: photos-FOLDER for {named[0]!r}")
    Speed(**entry.get("switches", {}))


def _check_network(entry: dict[str, Any], study: dict[str, Any], seen: set[tuple]) -> None:
    _check_keys("network", entry, OF_NETWORKS)
    if not isinstance(entry.get("attention"), str):
        raise ValueError(f"a network must have an attention, by its name; got {entry.get('attention')!r}")
    known = ["none", *list_attention(), *list_controls(), "abn"]
    if entry["attention"] not in known:  # create_model's advice would leave out the controls
        raise unknown_name("attention", entry["attention"], known)
    if not isinstance(entry.get("options", {}), dict):
        raise ValueError(f"options must be an object, got {entry['options']!r}")
    if isinstance(entry.get("width", 1), bool) or not isinstance(entry.get("width", 1), int | float):
        raise ValueError(f"width must be a number, got {entry['width']!r}")
    if not isinstance(entry.get("seeds"), list) or not entry["seeds"]:
        raise ValueError(f"seeds must be a list of one or more, got {entry.get('seeds')!r}")
    for seed in entry["seeds"]:
        check_seed(seed)
    check_integer("turn", entry.get("turn", 1))
    runs = list(plan.planned(entry, study))
    with torch.device("meta"):
        create_model(**runs[0].network)  # for its own complaints
    for run in runs:
        if plan.identity(run) in seen:
            raise ValueError(f"{run.label} with seed {run.seed} stands in the study twice")
        seen.add(plan.identity(run))


def _check_keys(what: str, entry: dict[str, Any], allowed: Sequence[str]) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"a {what} must be an object, got {entry!r:.60}")
    for key in entry:
        if key not in allowed:
            raise unknown_name(f"field of a {what}", key, allowed)


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
