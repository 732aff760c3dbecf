"""gamlib resize: photographs made small once, so that training loads them faster."""

import argparse
import sys

from gamlib.cli.options import Command, folder
from gamlib.data.images import shown
from gamlib.data.resize import resize_tree


def add(commands) -> None:
    """Add the command and its options."""
    meaning = "shrink photographs to a short side of 256 pixels, once; from archives into class folders"
    command = Command(commands, "resize", meaning, "gamlib resize path/to/imagenet path/to/smaller", run)
    kinds = "folder of images, in any subfolders; or of ImageNet's archives, Kaggle's files or Tiny-ImageNet"
    command.add("source", folder, "SRC", kinds)
    command.add("target", folder, "DST", "gets the same tree; run again, it goes on")


def run(arguments: argparse.Namespace) -> int:
    """Shrink, and name what could not be read."""
    report = resize_tree(arguments.source, arguments.target)
    print(f"{report.written:,} images written to {shown(arguments.target)}")
    for line in report.notes:
        print(f"note: {line}", file=sys.stderr)
    for line in report.bad:
        print(f"not written: {line}", file=sys.stderr)
    return int(bool(report.bad))
