"""Carries out the plan of runs (plan.json, beside this file) and records each run the moment it ends.

    python data/record.py owed                what the plan still owes, and what that costs on this machine
    python data/record.py run --hours 3       the owed runs, in the plan's order, as far as they end in time
    python data/record.py pages               what is recorded, into the tables and the chart of both READMEs

A run that was cut, by whatever, goes on where it stopped. Results go to results/STUDY.json; where a study keeps its
weights, those of its first seed go to zoo/. Checkpoints lie in runs/STUDY/, which git ignores. Commit what is new.
"""

import argparse
import dataclasses
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from check_plan import check
from safetensors.torch import load_file

from gamlib import cli, create_model, data, results
from gamlib._device import device_name, device_of
from gamlib._files import write
from gamlib._paths import PACKAGE
from gamlib.cli.options import UsageError, usable
from gamlib.course import cheatsheet, claims, plan, variants
from gamlib.course.plan import Planned, Study
from gamlib.data import DataError
from gamlib.models import fitting_stem
from gamlib.models.weights import pack
from gamlib.training import Diverged, Speed, checkpoint, evaluate, fit, recipes
from gamlib.training.folder import LOG
from gamlib.training.forecast import duration, forecast
from gamlib.training.interrupt import Interrupt
from gamlib.training.trainer import Trainer

ROOT = PACKAGE.parent
# What decides how a network is trained: commits between which none of it differs train alike.
DECIDES = ("gamlib/attention", "gamlib/models", "gamlib/data", "gamlib/training", "gamlib/_device.py")
# Between the first losses of a compiled and of an uncompiled network; later ones drift, as after any other rounding.
AGREE = 1e-2


class Refused(UsageError):
    """A study that can't be carried out here; the message says why, and what to do."""


def main(argv: list[str]) -> int:
    """Returns the exit code: 0, 2 for a mistake of the user's or of the plan, 130 and 143 after Ctrl-C and SIGTERM."""
    arguments = parser().parse_args(argv)
    variants.register()

    def work() -> int:
        if arguments.plan is not None:
            check(arguments.plan)
        studies = plan.read(arguments.plan)
        if arguments.threads is not None:
            torch.set_num_threads(arguments.threads)
        {"owed": owed, "run": run, "pages": pages}[arguments.command](studies, arguments)
        return 0

    with cli.guarded_output():
        return cli.exit_code("record.py", lambda: usable(work))


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("pages", help="renew the tables and the chart of README.md and data/README.md").set_defaults(
        plan=None, threads=None
    )
    for name, text in (("owed", "what is owed, and its cost on this machine"), ("run", "carry it out")):
        command = commands.add_parser(name, help=text)
        command.add_argument("--study", metavar="NAME", help="this one alone; by default all that this machine can run")
        command.add_argument("--gpu", action="store_true", help="only what needs a GPU")
        command.add_argument(
            "--threads", type=positive(int), metavar="N", help="of the CPU; by default PyTorch's choice"
        )
        command.add_argument("--root", type=Path, help="data root, as of `gamlib train`")
        command.add_argument(
            "--plan", type=Path, default=Path(__file__).resolve().with_name("plan.json"), help="another"
        )
        if name == "run":
            command.add_argument(
                "--hours", type=positive(float), help="start no run that would not end in them; by default all are run"
            )
            command.add_argument(
                "--save-every", type=positive(float), default=300.0, metavar="SECONDS", help="between two checkpoints"
            )
    return top


def positive(kind: type):
    def read(text: str):
        try:
            value = kind(text)
        except ValueError:
            value = 0
        if not 0 < value <= 1024:
            raise argparse.ArgumentTypeError(f"expected a number above 0 and up to 1024, got {text!r}")
        return value

    return read


def owed(studies: list[Study], arguments: argparse.Namespace) -> None:
    """Print the plan's state, then what is owed and its cost here: recorded on this device, else measured."""
    print(f"{plan.table(studies, arguments.plan.parent / 'results')}\n\nOf these, on this machine:")
    for study, runs in chosen(studies, arguments):
        costs = Costs(study, arguments)
        print(f"{study.name}: {len(runs)} runs")
        by_label: dict[str, list[Planned]] = {}
        for planned in runs:
            by_label.setdefault(planned.label, []).append(planned)
        for label, group in by_label.items():
            seeds = " ".join(str(planned.seed) for planned in group)
            try:
                cost = duration(sum(costs.left(planned) for planned in group))
            except Diverged as error:
                cost = f"does not train here: {error}"
            print(f"    {label:<24} seeds {seeds:<10} {cost}", flush=True)


def run(studies: list[Study], arguments: argparse.Namespace) -> None:
    """Carry out what is owed, and record it."""
    end = None if arguments.hours is None else time.monotonic() + 3600 * arguments.hours
    for study, runs in chosen(studies, arguments):
        costs, diverged = Costs(study, arguments), set()
        for planned in runs:
            if planned.label in diverged:
                continue
            try:
                if end is not None and costs.left(planned) > (left := max(0.0, end - time.monotonic())):
                    print(f"{study.name}: {planned.label}, seed {planned.seed}, would not end in {duration(left)}")
                    return
                carry_out(study, planned, arguments)
            except Diverged as error:  # the others may train all the same
                print(f"left out: {study.name}: {planned.label}, seed {planned.seed}: {error}", file=sys.stderr)
                diverged.add(planned.label)


def pages(studies: list[Study], arguments: argparse.Namespace) -> None:
    """Renew what stands between the marks of both READMEs, and the chart. Tests compare them with the records."""

    def renew(path: Path, mark: str, table: Callable[..., str]) -> None:
        pattern = rf"(<!-- {mark}(?::((?: \S+)+))? -->\n\n).*?(\n\n<!-- /{mark} -->)"

        def renewed(match: re.Match) -> str:
            return match[1] + table(*(match[2] or "").split()) + match[3]

        text, count = re.subn(pattern, renewed, path.read_text(encoding="utf-8"), flags=re.S)
        path.write_text(text, encoding="utf-8")
        print(f"{path.relative_to(ROOT)}: {count} x {mark}")

    renew(ROOT / "README.md", "results", lambda name: results.table(results.load(name)))
    renew(ROOT / "README.md", "differences", lambda name, label: results.differences(results.load(name), label))
    renew(ROOT / "data" / "README.md", "claims", claims.table)
    chart = ROOT / "notebooks" / "images" / "cifar100_errors.png"
    cli.run(["results", "cifar100-resnet20-laptop", "--against", "none-width25", "--chart", str(chart)])
    cheatsheet.write(chart.with_name("cheatsheet.png"))


def chosen(studies: list[Study], arguments: argparse.Namespace) -> list[tuple[Study, list[Planned]]]:
    """The studies that this machine and this checkout can carry out, with what they owe. Says why it leaves one out."""
    folder, found = arguments.plan.parent / "results", []
    for study in studies if arguments.study is None else [plan.get(arguments.study, studies)]:
        runs = study.owed(folder)
        if not runs or (arguments.gpu and study.needs != "gpu"):
            continue
        if study.needs == "gpu" and device_of("auto").type == "cpu":
            print(f"{study.name}: {len(runs)} runs that need a GPU")
        elif missing := [
            name for name in study.data if name.startswith("photos-") and not is_there(name, arguments.root)
        ]:
            print(f"{study.name}: {len(runs)} runs that need {missing[0]} in the data root")
        else:
            try:
                check_recorded(study, folder)
                check_commit(known_commits(study, studies, folder), study.name)
            except Refused as error:
                if arguments.study is not None:
                    raise
                print(f"left out: {error}")
            else:
                found.append((study, runs))
    if not found:
        print("Nothing is owed that this machine can run.")
    return found


def loaded(name: str, root: Path | None) -> data.Data:
    """A data set by the name that a record has for it: photos-FOLDER@SIZE lies in that folder of the data root."""
    if not name.startswith("photos-"):
        return data.load(name, root, download=True)
    folder, at, size = name.removeprefix("photos-").partition("@")
    return data.load(f"imagenet{at}{size}", data.data_root(root) / folder)


def is_there(dataset: str, root: Path | None) -> bool:
    """Whether a data set that can't be downloaded is in the data root."""
    try:
        loaded(dataset, root)
    except DataError:
        return False
    return True


def check_recorded(study: Study, folder: Path) -> None:
    """Raise Refused where a recorded run is not of the plan, or recorded twice: to add a run would lose it."""
    planned = {plan.identity(run) for run in study.runs}
    runs = study.recorded(folder)
    recorded = [plan.identity(run) for run in runs]
    for run in recorded:
        if run not in planned or recorded.count(run) > 1:
            why = "stands there twice" if run in planned else "is not in the plan"
            raise Refused(f"{folder / study.name}.json: the run {run} {why}; mend plan.json or the file first")
    if any(run.recipe != recipes.get(study.recipe).as_dict() for run in runs):
        raise Refused(f"{folder / study.name}.json: a run there has another recipe than {study.recipe!r} is now")


def known_commits(study: Study, studies: list[Study], folder: Path) -> list[str]:
    """Commits that a run must train like: the study's own, else those of its recorded runs and its neighbour's."""
    beside = [plan.get(study.beside, studies)] if study.beside else []
    return study.commits or sorted(
        {run.commit for one in (study, *beside) for run in one.recorded(folder) if run.commit}
    )


def check_commit(known: list[str], what: str) -> None:
    """Raise Refused unless this checkout trains as one of the `known` commits does, where there are any."""
    commit = results.commit()
    if commit is None:
        raise Refused(
            "gamlib runs from no git checkout; a recorded run must say which commit it is of. Clone the project"
        )
    if known and not any(alike(one, commit) for one in known):
        changed = " and has changes that are not committed" if commit.endswith("+") else ""
        raise Refused(
            f"{what} was run at commit {' or '.join(known)}. This checkout, at {commit[:40]}{changed}, may train "
            "otherwise, or its history does not reach back so far (git fetch --unshallow). Check that commit out; or, "
            "once a test shows that both train alike, add this one to the study's commits in plan.json"
        )


def alike(one: str, other: str) -> bool:
    """Whether nothing that decides how a network is trained differs between commits, those of a resumed run among them.

    What is not committed ("+") is like nothing: nobody can tell what it was.
    """
    first, *rest = [*one.split(", then "), *other.split(", then ")]
    if any(commit.endswith("+") for commit in (first, *rest)):
        return False
    git = ["git", "-C", str(PACKAGE.parent), "diff", "--quiet"]
    return all(
        first == commit or subprocess.run([*git, first, commit, "--", *DECIDES], capture_output=True).returncode == 0
        for commit in rest
    )


def built(study: Study, planned: Planned, dataset) -> tuple[torch.nn.Module, recipes.Recipe, Speed]:
    """The network, its recipe and its switches."""
    stem = planned.network.get("stem") or fitting_stem(study.model, dataset.image_shape)
    torch.manual_seed(planned.seed)
    model = create_model(**planned.network | {"stem": stem}, num_classes=dataset.num_classes)
    return model, recipes.get(study.recipe), Speed(**study.switches)


class Costs:
    """Seconds that runs of a study take on this machine: recorded on this very device, else a forecast."""

    def __init__(self, study: Study, arguments: argparse.Namespace) -> None:
        self.study, self.arguments = study, arguments
        self.known: dict[tuple, float] = {}
        here = device_name(device_of("auto"))
        for run in study.recorded(arguments.plan.parent / "results"):
            if run.device == here:
                self.known[plan.identity(run)[:3]] = run.seconds

    def left(self, planned: Planned) -> float:
        """What is left of one run: the epochs that its folder does not hold yet."""
        log = folder_of(self.study, planned, self.arguments) / LOG
        done = len(log.read_text().splitlines()) if log.is_file() else 0
        return self.of(planned) * (1 - done / recipes.get(self.study.recipe).epochs)

    def of(self, planned: Planned) -> float:
        """The whole of one run."""
        key = plan.identity(planned)[:3]
        if key not in self.known:
            dataset = loaded(planned.data, self.arguments.root)
            model, recipe, speed = built(self.study, planned, dataset)
            self.known[key] = forecast(model, dataset, recipe, speed).seconds
        return self.known[key]


def folder_of(study: Study, planned: Planned, arguments: argparse.Namespace) -> Path:
    """Where a run's checkpoints lie."""
    reduction = "" if planned.reduction is None else f"-reduction{planned.reduction}"
    name = f"{planned.label}{reduction}-seed{planned.seed}"
    return arguments.plan.parent / "runs" / study.name / planned.data / name


def carry_out(study: Study, planned: Planned, arguments: argparse.Namespace) -> None:
    """Train one network, and add it to the study's results."""
    folder = arguments.plan.parent
    dataset = loaded(planned.data, arguments.root)
    model, recipe, speed = built(study, planned, dataset)
    if speed.compile:
        check_compiled(study, planned, dataset, speed)
    out = folder_of(study, planned, arguments)
    for path in checkpoint.paths(out)[:1]:
        begun = checkpoint.read(path)["commit"]
        if begun != results.commit():
            check_commit([begun or "+"], f"what lies in {out}")
    print(f"{study.name}: {planned.data}, {planned.label}, seed {planned.seed}, in {out}", flush=True)
    result = fit(model, dataset, recipe, planned.seed, out, speed=speed, save_every=arguments.save_every)
    add(study, result, dataset, out, folder)
    print(results.table([result]), flush=True)


def check_compiled(study: Study, planned: Planned, dataset, speed: Speed) -> None:
    """Raise Refused unless the compiled network's first three losses are the uncompiled one's, to AGREE."""
    losses = {}
    for switched in (dataclasses.replace(speed, compile=False), speed):
        model, recipe, _ = built(study, planned, dataset)
        trainer = Trainer(model, dataset, recipe, planned.seed, switched)
        try:
            losses[switched.compile] = [
                trainer.sums[1].item() for _ in zip(trainer.train_epoch(Interrupt()), range(3), strict=False)
            ]
        except Diverged:
            raise
        except Exception as error:  # torch.compile's own are of many kinds
            if not switched.compile:
                raise
            raise Refused(
                f"{study.name} was run with torch.compile, which fails here ({type(error).__name__}). On a CPU "
                "it needs a C++ compiler, such as g++"
            ) from error
    for eager, compiled in zip(losses[False], losses[True], strict=True):
        if not abs(eager - compiled) <= AGREE * abs(eager):
            raise Refused(
                f"{planned.label}: compiled, the first losses are {losses[True]}, and {losses[False]} without"
            )


def add(study: Study, result: results.Result, dataset, out: Path, folder: Path) -> None:
    """Put a run into the study's results, in the plan's order, and its weights into the zoo where it keeps them."""
    result = dataclasses.replace(result, command=re.sub(r" --(plan|root)[ =]\S+", "", result.command))
    if study.weights and result.seed == min(planned.seed for planned in study.runs):
        (folder / "zoo").mkdir(exist_ok=True)
        keep_weights(result, dataset, out, folder / "zoo" / f"{result.data}-{study.model}-{result.label}.safetensors")
    runs = {plan.identity(run): run for run in (*study.recorded(folder / "results"), result)}
    labels = list(dict.fromkeys(plan.identity(planned)[:3] for planned in study.runs))
    ordered = sorted(
        runs.items(), key=lambda item: (study.data.index(item[0][0]), item[0][3], labels.index(item[0][:3]))
    )
    (folder / "results").mkdir(exist_ok=True)
    results.save([run for _, run in ordered], folder / "results" / f"{study.name}.json")


def keep_weights(result: results.Result, dataset, out: Path, path: Path) -> None:
    """Kernels and matrices in float16, the few numbers of a channel in float32; and the error of just these weights."""
    halves = {
        key: value.half() if value.ndim > 1 else value for key, value in load_file(out / "weights.safetensors").items()
    }
    model = create_model(**result.network)
    model.load_state_dict(halves)
    error = evaluate(model, dataset, Speed(precision="fp32"))["test_top1_error"]
    about = {"network": json.dumps(result.network), "data": result.data, "top1_error": f"{error:.2f}"}
    write(pack(halves, about | {"classes": json.dumps(list(dataset.classes))}), path)
    print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, error {error:.2f}%, in training {result.top1_error:.2f}%")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
