"""gamlib results: recorded runs, or a reader's own, as tables."""

import argparse

from gamlib import results
from gamlib.cli.options import UsageError, folder, usable
from gamlib.results import Result


def add(commands) -> None:
    """Its options."""
    command = commands.add_parser("results", help="tables of the recorded runs, or of your own; the paper's claims")
    command.add_argument(
        "source",
        nargs="*",
        help="a recorded result, a .json file, or a folder that train or compare wrote; by default all recorded ones",
    )
    command.add_argument(
        "--against", metavar="LABEL", help="also each network's error minus this one's, paired seed by seed"
    )
    command.add_argument("--claims", action="store_true", help="the paper's claims, and what was found here")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print a table for each source."""
    if arguments.claims:
        if arguments.source or arguments.against:
            raise UsageError("--claims judges the recorded runs; it goes with no source and no --against")
        from gamlib import ledger

        print(usable(ledger.table))
        return 0
    for source in arguments.source or results.list_recorded():
        runs = read(source)
        print(f"{source}\n\n{results.table(runs)}\n")
        if arguments.against:
            print(f"{usable(results.differences, runs, arguments.against)}\n")
    return 0


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
