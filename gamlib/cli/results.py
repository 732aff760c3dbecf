"""gamlib results: recorded runs, or a reader's own, as tables."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from gamlib import results
from gamlib._files import whole
from gamlib.cli.options import Command, UsageError, folder, name, usable
from gamlib.results import Result
from gamlib.training.folder import LOG


def add(commands) -> None:
    """Add the command and its options."""
    meaning = "tables of the recorded runs, or of your own"
    example = "gamlib results cifar100-resnet20-laptop --against none"
    command = Command(commands, "results", meaning, example, run)
    kinds = "a recorded result, a .json file, or a folder that train or compare wrote; several are read as one"
    command.add("source", name, "SOURCE", kinds, nargs="*")
    against = "also each network's error minus this one's, paired seed by seed"
    command.add("--against", name, "LABEL", against)
    command.add("--chart", folder, "FILE.png", "also a chart: a dot per seed, intervals, --against")


def run(arguments: argparse.Namespace) -> int:
    """Print a table of the sources together, or of each recorded result."""
    if arguments.chart is not None and not arguments.source:
        raise UsageError("--chart draws the runs of one network on one data set; name their source")
    if arguments.chart is not None and arguments.chart.suffix.lower() != ".png":
        raise UsageError(f"--chart writes a PNG: a name that ends in .png, got {str(arguments.chart)!r}")
    if len(arguments.source) == 1 and (log := Path(arguments.source[0]) / LOG).is_file() and not written(log.parent):
        if arguments.against is not None or arguments.chart is not None:
            raise UsageError(f"{log.parent} is not finished yet; --against and --chart are for results")
        print(progress(log))
        return 0
    found = arguments.against is None
    for sources in [arguments.source] if arguments.source else [[each] for each in results.list_recorded()]:
        runs = together(sources)
        print(f"{', '.join(sources)}\n\n{results.table(runs)}\n")
        labels = {run.label for run in runs}
        # Among all recorded runs, those of studies with nothing to compare are no mistake of the reader's.
        if arguments.against and (arguments.source or (arguments.against in labels and len(labels) > 1)):
            print(f"{usable(results.differences, runs, arguments.against)}\n")
            found = True
        if arguments.chart is not None:
            figure = usable(results.draw_errors, runs, arguments.against)
            # What it was drawn from, so that a test can tell whether it is still true.
            about = {"Description": results.digest_of(runs)}
            with whole(arguments.chart) as partial:
                figure.savefig(partial, dpi=150, format="png", metadata=about)
            print(f"Chart: {arguments.chart}")
    if not found:
        raise UsageError(f"--against {arguments.against}: no recorded study compares anything with it; try none")
    return 0


def written(path: Path) -> list[Path]:
    """What a comparison or a run has left as its result; [] where it is not finished."""
    return [path / name for name in ("compare.json", "result.json") if (path / name).is_file()]


def progress(log: Path) -> str:
    """What a run that goes on, or was stopped, has come to: a line for each epoch."""
    head = ["epoch", "lr", "training loss", "training error (%)", "test error (%)", "seconds", "of them waited"]
    rows = []
    try:
        for entry in map(json.loads, log.read_text(encoding="utf-8").splitlines()):
            errors = [f"{entry[key]:.3g}" for key in ("lr", "train_loss", "train_top1_error", "test_top1_error")]
            waited = f"{entry['waited'] / max(entry['seconds'], 1e-9):.0%}"
            rows.append([str(entry["epoch"]), *errors, f"{entry['seconds']:.0f}", waited])
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{log} is damaged, or no log of gamlib's ({type(error).__name__}: {error})") from None
    return f"{log.parent}: not finished yet; epochs so far: {len(rows)}\n\n{results.markdown(head, rows)}"


def together(sources: Sequence[str]) -> list[Result]:
    """The runs of several sources; one that is in two of them, as in a compare folder and in a run's own, counts once.

    Raises:
        UsageError: where two runs of one network have one seed, and are not the same.
    """
    runs: list[Result] = []
    for source in sources:
        runs += [run for run in read(source) if run not in runs]
    for group in results.groups(runs):
        seeds = [run.seed for run in group]
        if twice := {seed for seed in seeds if seeds.count(seed) > 1}:
            raise UsageError(
                f"{', '.join(sources)}: {group[0].label} on {group[0].data} has two different runs with seed "
                f"{min(twice)}; name sources in which each network has a seed once"
            )
    return runs


def read(source: str) -> list[Result]:
    """The runs of one source.

    Raises:
        UsageError: where it is none, or damaged.
    """
    try:
        path = folder(source)
    except argparse.ArgumentTypeError as error:
        raise UsageError(error) from None
    if path.is_dir():
        if not (found := written(path)):
            raise UsageError(f"{path} holds neither compare.json nor result.json, so no run that is finished")
        return usable(results.read, found[0])
    if path.suffix == ".json":
        if not path.is_file():
            raise UsageError(f"no such file: {path}")
        return usable(results.read, path)
    return usable(results.load, source)
