"""The commands: gamlib paper | train | compare | doctor."""

import argparse
import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from gamlib import create_model, data, list_attention, list_models, results
from gamlib.attention._checks import check_seed
from gamlib.compare import compare, reduction_options
from gamlib.cost import count_macs, count_parameters
from gamlib.course import doctor
from gamlib.data import DataError
from gamlib.paper import TABLES, reproduce
from gamlib.training import CheckpointError, Recipe, fit, recipes


def run(argv: Sequence[str]) -> int:
    """Run one command; returns the exit code: 0, 1 (doctor found something to fix), 2 (a mistake of the user's)."""
    arguments = parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except (DataError, CheckpointError, UsageError, OSError) as error:
        print(f"gamlib {arguments.command}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nStopped. The same command goes on from the last finished epoch.", file=sys.stderr)
        return 130


class UsageError(Exception):
    """A value on the command line that can't be used."""


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(prog="gamlib", description="Attention in convolutional networks, from SE to GAM.")
    commands = top.add_subparsers(dest="command", required=True, metavar="paper | train | compare | doctor")

    paper = commands.add_parser("paper", help="recompute every parameter and FLOPs figure of the paper's tables")
    paper.set_defaults(run=run_paper)

    train = commands.add_parser("train", help="train one network")
    train.add_argument(
        "--data", default="puzzles-joint", metavar="NAME", help=f"one of {', '.join(data.list_datasets())}"
    )
    train.add_argument("--attention", default="none", metavar="NAME", help=attention_help())
    train.add_argument("--seed", type=int, default=0, help="of the weights and of the order of the images")
    train.set_defaults(run=run_train)

    several = commands.add_parser("compare", help="train several attentions and seeds, and set them side by side")
    several.add_argument(
        "--data",
        nargs="+",
        default=["puzzles-joint"],
        metavar="NAME",
        help=f"any of {', '.join(data.list_datasets())}; puzzles for all three",
    )
    several.add_argument("--attention", nargs="+", default=["none", "se", "gam"], metavar="NAME", help=attention_help())
    several.add_argument("--seeds", nargs="+", type=int, default=[0], help="one run each")
    several.add_argument(
        "--control",
        metavar="NAME",
        help="also plain networks widened to the parameters and to the MACs of this attention's network",
    )
    several.set_defaults(run=run_compare)

    for command in (train, several):
        command.add_argument(
            "--model",
            metavar="NAME",
            help=f"one of {', '.join(list_models())}; by default resnet20, or probe for puzzles",
        )
        command.add_argument(
            "--reduction", type=int, help="r of the mechanisms that have one; each has its own default"
        )
        command.add_argument(
            "--root", type=folder, help="data root; by default GAMLIB_DATA, else data/ of the checkout"
        )
        command.add_argument("--out", type=folder, help="folder for what the run writes; by default under runs/")
        add_recipe_options(command)

    examine = commands.add_parser("doctor", help="look at this machine: versions, device, threads, data, disk")
    examine.add_argument("--root", type=folder, help="data root to look into")
    examine.set_defaults(run=run_doctor)
    return top


def folder(text: str) -> Path:
    """A folder's path, `~` and all; it need not exist."""
    try:
        if not text:
            raise argparse.ArgumentTypeError("a folder must have a name, got an empty one")
        return Path(text).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def attention_help() -> str:
    """What --attention takes."""
    return f"none, {', '.join(list_attention())} or abn"


def add_recipe_options(command: argparse.ArgumentParser) -> None:
    """--recipe, and an option for each of a recipe's numbers."""
    named = f"one of {', '.join(recipes.RECIPES)}; by default laptop, or puzzles for puzzles"
    command.add_argument("--recipe", metavar="NAME", help=named)
    group = command.add_argument_group("fields of the recipe, where they should differ from it")
    for field in dataclasses.fields(Recipe):
        if field.type in (int, float):
            group.add_argument(
                f"--{field.name.replace('_', '-')}", type=field.type, metavar=field.type.__name__.upper()
            )


def chosen_recipe(arguments: argparse.Namespace, dataset: str) -> Recipe:
    """The recipe by name, or the one that fits the data, with the fields that the command line changes."""
    fields = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Recipe)}
    changed = {name: value for name, value in fields.items() if value is not None}
    recipe = usable(recipes.get, arguments.recipe or ("puzzles" if dataset.startswith("puzzles") else "laptop"))
    return usable(dataclasses.replace, recipe, **changed) if changed else recipe


def usable(function, *values, **named):
    """function(*values), with a ValueError turned into a message for the person at the command line."""
    try:
        return function(*values, **named)
    except ValueError as error:
        raise UsageError(error) from error


def default_model(dataset: str) -> str:
    """The network that fits the data."""
    return "probe" if dataset.startswith("puzzles") else "resnet20"


def run_paper(arguments: argparse.Namespace) -> int:
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


def run_train(arguments: argparse.Namespace) -> int:
    """Train one network, and print its result."""
    recipe = chosen_recipe(arguments, arguments.data)
    usable(check_seed, arguments.seed)
    dataset = usable(data.load, arguments.data, arguments.root)
    name = arguments.model or default_model(arguments.data)
    options = reduction_options(arguments.attention, arguments.reduction)
    torch.manual_seed(arguments.seed)
    model = usable(create_model, name, arguments.attention, options, dataset.num_classes)
    out = (
        arguments.out
        or Path("runs") / f"{dataset.name}-{name}-{arguments.attention}-{recipe.name}-seed{arguments.seed}"
    )
    macs = count_macs(model, tuple(dataset.train_images.shape[1:])) / 1e6
    print(f"{name} + {arguments.attention}: {count_parameters(model):,} parameters, {macs:,.1f} million MACs an image")
    print(f"{dataset.name}: {len(dataset.train_images):,} training and {len(dataset.test_images):,} test images")
    print(f"recipe {recipe.name}: {recipe.epochs} epochs, batch {recipe.batch_size}; into {out}")
    print(results.table([usable(fit, model, dataset, recipe, arguments.seed, out)]))
    return 0


def run_compare(arguments: argparse.Namespace) -> int:
    """Train several networks, and print their table."""
    puzzles = [name for name in data.list_datasets() if name.startswith("puzzles-")]
    names = [name for given in arguments.data for name in (puzzles if given == "puzzles" else [given])]
    if arguments.model is None and len({default_model(name) for name in names}) > 1:
        raise UsageError("puzzles and photographs have different default networks; choose one for all with --model")
    model, recipe = arguments.model or default_model(names[0]), chosen_recipe(arguments, names[0])
    datasets = [usable(data.load, name, arguments.root) for name in names]
    out = arguments.out or Path("runs") / f"compare-{'-'.join(arguments.data)}-{model}-{recipe.name}"
    runs = usable(
        compare,
        datasets,
        model,
        arguments.attention,
        arguments.seeds,
        recipe,
        out,
        arguments.reduction,
        arguments.control,
    )
    print(results.table(runs))
    print(f"Results: {out / 'compare.json'}; chart: {out / 'compare.png'}")
    return 0


def run_doctor(arguments: argparse.Namespace) -> int:
    """Print the findings; 1 where something needed is not as it should be."""
    return doctor.report(arguments.root)
