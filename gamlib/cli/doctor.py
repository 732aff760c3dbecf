"""gamlib doctor: this machine, or a data set."""

import argparse

from gamlib import doctor
from gamlib.cli.options import folder


def add(commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("doctor", help="look at this machine, or at every file of a data set")
    command.add_argument(
        "--data", choices=["imagenet"], help="look at every image below ROOT: broken, empty, gray, CMYK ..."
    )
    command.add_argument("root", nargs="?", type=folder, metavar="ROOT", help="data root to look into")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 where something needed is not as it should be."""
    return doctor.report_images(arguments.root) if arguments.data else doctor.report(arguments.root)
