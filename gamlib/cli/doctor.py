"""gamlib doctor: this machine, or a data set."""

import argparse

from gamlib import doctor
from gamlib.cli.options import Command, folder


def add(commands) -> None:
    """Add the command and its options."""
    meaning = "look at this machine, or at every file of a data set"
    command = Command(commands, "doctor", meaning, "gamlib doctor --data imagenet path/to/imagenet", run)
    kinds = "look at every image below ROOT: broken, empty, gray, CMYK ..."
    command.add("--data", ("imagenet",), "", kinds)
    command.add("root", folder, "ROOT", "data root to look into", nargs="?")


def run(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 where something needed is not as it should be."""
    return doctor.report_images(arguments.root) if arguments.data else doctor.report(arguments.root)
