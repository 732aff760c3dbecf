"""gamlib resize: photographs made small once, so that training loads them faster."""

import argparse
import sys

from gamlib.cli.options import folder
from gamlib.data.images import shown
from gamlib.data.resize import resize_tree


def add(commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("resize", help="shrink photographs to a short side of 256 pixels, once")
    command.add_argument("source", type=folder, metavar="SRC", help="folder of images, in any subfolders")
    command.add_argument("target", type=folder, metavar="DST", help="gets the same tree; run again, it goes on")
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Shrink, and name what could not be read."""
    written, bad = resize_tree(arguments.source, arguments.target)
    print(f"{written:,} images written to {shown(arguments.target)}")
    for line in bad:
        print(f"not written: {line}", file=sys.stderr)
    return int(bool(bad))
