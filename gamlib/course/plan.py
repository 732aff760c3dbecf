"""The plan of runs (data/plan.json): what the course wants to know, what is recorded for it, and what is still owed."""

import json
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gamlib import results
from gamlib._checks import unknown_name
from gamlib._paths import recorded
from gamlib.attention import full_options, is_known, label_of
from gamlib.results import Result

SHARED = ("data", "model", "recipe", "needs", "switches", "commits")  # by a study and the one that it stands beside


@dataclass(frozen=True)
class Planned:
    """One run of a study."""

    data: str
    network: dict[str, Any]  # create_model's arguments, but for num_classes
    seed: int

    @property
    def label(self) -> str:
        """Label of the result that it will have."""
        return label_of(self.network)

    @property
    def reduction(self) -> int | None:
        """Reduction of the result that it will have."""
        attention = self.network["attention"]
        options = self.network["attention_options"]
        options = full_options(attention, options) if is_known(attention) else options
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

    What may be wrong with one that was edited, `data/check_plan.py` looks for.
    """
    studies: dict[str, Study] = {}
    for entry in json.loads((path or recorded("plan.json")).read_text(encoding="utf-8"))["studies"]:
        if beside := entry.get("beside"):
            entry |= {key: getattr(studies[beside], key) for key in SHARED}
        networks = entry.pop("networks")
        turns = [(network.get("turn", 1), run) for network in networks for run in planned(network, entry)]
        # By turn, then by seed, then as listed.
        runs = [run for _, run in sorted(turns, key=lambda pair: (pair[0], pair[1].seed))]
        studies[entry["name"]] = Study(**entry, runs=runs)
    return list(studies.values())


def planned(network: dict[str, Any], study: dict[str, Any]) -> Iterator[Planned]:
    """Runs of one network of a study, both as the plan's file has them."""
    arguments = {"name": study["model"], "attention": network["attention"]}
    arguments |= {"attention_options": network.get("options", {})}
    arguments |= {key: network[key] for key in ("width", "stem") if key in network}
    for name in study["data"]:
        for seed in network["seeds"]:
            yield Planned(name, arguments, seed)


def get(name: str, studies: Sequence[Study]) -> Study:
    """A study by name. Raises ValueError, with all names, for an unknown one."""
    found = [study for study in studies if study.name == name]
    if not found:
        raise unknown_name("study", name, [study.name for study in studies])
    return found[0]


def table(studies: Sequence[Study], folder: Path | None = None) -> str:
    """The state of the plan as a Markdown table; `folder` as for `Study.recorded`.

    What is owed costs what recorded runs of the same networks took, on the machines that they were run on; a dash
    stands where one of them has no such run.
    """
    rows = []
    for study in studies:
        owed = study.owed(folder)
        hours = _hours(study.recorded(folder), owed)
        cost = "" if not owed else "–" if hours is None else f"{hours:.1f} h"
        done = f"{len(study.runs) - len(owed)} of {len(study.runs)}"
        rows.append([study.name, study.question, study.needs, done, str(len(owed) or ""), cost])
    return results.markdown(["study", "question", "needs", "done", "owed", "cost"], rows)


def _hours(recorded: Sequence[Result], owed: Sequence[Planned]) -> float | None:
    seconds: dict[tuple, list[float]] = {}
    for run in recorded:
        seconds.setdefault(identity(run)[:3], []).append(run.seconds)
    if any(identity(run)[:3] not in seconds for run in owed):
        return None
    return sum(statistics.mean(seconds[identity(run)[:3]]) for run in owed) / 3600
