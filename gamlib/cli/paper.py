"""gamlib paper: the paper's four tables, recomputed."""

import argparse

from gamlib.cli.options import Command
from gamlib.paper import TABLES, reproduce


def add(commands) -> None:
    """Add the command and its options."""
    meaning = "recompute every parameter and FLOPs figure of the paper's tables"
    Command(commands, "paper", meaning, "gamlib paper", run)


def run(arguments: argparse.Namespace) -> int:
    """Print the four tables as they are recomputed."""
    notes, met, table = [], 0, 0
    for done in reproduce():
        row = done.row
        if row.table != table:
            table = row.table
            print(
                f"\nTable {table} ({row.dataset}){'':14}parameters (M)          FLOPs (G)           paper's error (%)"
            )
            print(f"{'':31}paper  recomputed       paper  recomputed        top-1   top-5")
        marks = ["met" if ok else f"[{len(notes) + 1}]" for ok in (done.params_met, done.gflops_met)]
        met += marks.count("met")
        notes += done.disagreements.values()
        name = row.architecture if row.attention == "none" else f"{row.architecture} + {row.attention}"
        print(
            f"{name:<27}{row.params_m:>9}  {done.parameters / 1e6:>8.3f} {marks[0]:<4}{row.gflops:>9}"
            f"  {done.macs / 1e9:>8.4f} {marks[1]:<4}{row.top1_error:>12.2f}  {row.top5_error:>6.2f}"
        )
    print(f"\n{met} of {2 * len(TABLES)} figures met to the printed digit. The others are the paper's own:")
    for number, note in enumerate(notes, start=1):
        print(f"  [{number}] {note}")
    return 0
