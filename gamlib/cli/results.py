"""gamlib results: recorded runs, or a reader's own, as tables."""

import argparse
from collections.abc import Sequence

from gamlib import results
from gamlib._files import whole
from gamlib.cli.options import Command, UsageError, folder, name, usable
from gamlib.results import Result


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
        found = [path / name for name in ("compare.json", "result.json") if (path / name).is_file()]
        if not found:
            raise UsageError(f"{path} holds neither compare.json nor result.json; has the run been finished?")
        return usable(results.read, found[0])
    if path.suffix == ".json":
        if not path.is_file():
            raise UsageError(f"no such file: {path}")
        return usable(results.read, path)
    return usable(results.load, source)
