"""Options that several commands share, and what they make of them."""

import argparse
import dataclasses
from pathlib import Path

import torch

from gamlib import data
from gamlib._checks import unknown_name
from gamlib.attention import list_attention, variant
from gamlib.data import Data
from gamlib.data.imagenet import BAD_IMAGES, ImageFolders
from gamlib.models import create_model, list_models
from gamlib.training import Recipe, Speed, distributed, recipes
from gamlib.training.recipes import SCHEDULES
from gamlib.training.speed import PRECISIONS


class UsageError(Exception):
    """A value on the command line that can't be used."""


def usable(function, *values, **named):
    """function(*values), with a ValueError turned into a message for the person at the command line."""
    try:
        return function(*values, **named)
    except ValueError as error:
        raise UsageError(error) from error


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
    return f"none, {', '.join(list_attention())} or abn; with options: gam:kernel_size=9,shuffle=after"


def add_run_options(command: argparse.ArgumentParser) -> None:
    """What both `train` and `compare` take."""
    command.add_argument(
        "--model",
        metavar="NAME",
        help=f"one of {', '.join(list_models())}; by default resnet20, for imagenet resnet18, for puzzles probe",
    )
    command.add_argument("--reduction", type=int, help="r of the mechanisms that have one; each has its own default")
    command.add_argument(
        "--stem", metavar="NAME", help="imagenet, cifar or wmp (Table 4); by default what fits the size of the images"
    )
    command.add_argument("--out", type=folder, help="folder for what the run writes; by default under runs/")
    command.add_argument(
        "--resume",
        choices=["auto", "no"],
        default="auto",
        help="auto: go on from what is in the folder; no: start again",
    )
    command.add_argument("--save-every", type=float, default=300.0, metavar="SECONDS", help="between two checkpoints")
    add_data_options(command)
    add_speed_options(command)
    add_recipe_options(command)


def add_data_options(command: argparse.ArgumentParser) -> None:
    """Where the data is, and how photographs are read."""
    command.add_argument(
        "--root",
        type=folder,
        help="data root, by default GAMLIB_DATA, else data/ of the checkout; imagenet: the folder of train/ and val/",
    )
    command.add_argument(
        "--bad-images", choices=BAD_IMAGES, help="imagenet: what a broken file does; skip: left out, named and counted"
    )
    command.add_argument("--workers", type=int, help="imagenet: processes that decode images; by default one a core")


def add_speed_options(command: argparse.ArgumentParser) -> None:
    """An option for each switch of Speed."""
    default = Speed()
    group = command.add_argument_group("speed: nothing here changes more than the rounding")
    group.add_argument(
        "--precision", choices=PRECISIONS, default=default.precision, help="auto: what the device is fast in"
    )
    for name, meaning in (
        ("channels_last", "memory layout"),
        ("fused", "update in one kernel"),
        ("compile", "torch.compile, for GPUs"),
    ):
        group.add_argument(
            f"--{name.replace('_', '-')}",
            action=argparse.BooleanOptionalAction,
            default=getattr(default, name),
            help=meaning,
        )


def add_recipe_options(command: argparse.ArgumentParser) -> None:
    """--recipe, and an option for each of its fields."""
    named = f"one of {', '.join(recipes.RECIPES)}; by default laptop, for imagenet the paper's, for puzzles puzzles"
    command.add_argument("--recipe", metavar="NAME", help=named)
    group = command.add_argument_group("fields of the recipe, where they should differ from it")
    for field in dataclasses.fields(Recipe):
        option = f"--{field.name.replace('_', '-')}"
        if field.name == "schedule":
            group.add_argument(option, choices=SCHEDULES)
        elif field.name == "milestones":
            group.add_argument(option, type=int, nargs="*", metavar="EPOCH")
        elif field.type is bool:
            group.add_argument(option, action=argparse.BooleanOptionalAction)
        elif field.name != "name":
            group.add_argument(option, type=field.type, metavar=field.type.__name__.upper())


def known(dataset: str) -> data.Entry:
    """What is known of a data set by name. Raises UsageError for an unknown one."""
    if dataset not in data.DATASETS:
        raise UsageError(unknown_name("data set", dataset, data.DATASETS))
    return data.DATASETS[dataset]


def chosen_recipe(arguments: argparse.Namespace, dataset: str, model: str) -> Recipe:
    """The recipe by name, or the one that fits the data, with the fields that the command line changes."""
    name = arguments.recipe or known(dataset).recipe
    if arguments.recipe is None and (dataset, model) == ("imagenet", "mobilenet_v2"):
        name = "paper-imagenet-mobilenet"
    recipe = usable(recipes.get, name)
    fields = {field.name: getattr(arguments, field.name, None) for field in dataclasses.fields(Recipe)}
    changed = {name: value for name, value in fields.items() if value is not None and name != "name"}
    if "milestones" in changed:
        changed["milestones"] = tuple(changed["milestones"])
    return usable(dataclasses.replace, recipe, **changed) if changed else recipe


def unusual_options(arguments: argparse.Namespace, reduction: int | None) -> list[str]:
    """What a default folder's name must tell apart, besides data, network, label, recipe and seed."""
    given = {"reduction": reduction, "stem": arguments.stem}
    given |= {"": None if arguments.precision == "auto" else arguments.precision}
    return [f"{name}{value}" for name, value in given.items() if value is not None]


def check_network(model: str, attention: str, reduction: int | None, stem: str | None) -> None:
    """Raise UsageError for a network that can't be built, before data is downloaded and read."""
    with torch.device("meta"):
        usable(create_model, model, *usable(variant, attention, reduction), stem=stem)


def chosen_speed(arguments: argparse.Namespace) -> Speed:
    """The switches."""
    return Speed(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Speed)})


def chosen_data(arguments: argparse.Namespace, name: str) -> Data:
    """The data set; CIFAR-100 is downloaded where it is missing."""
    with distributed.local_main_process_first():
        dataset = usable(data.load, name, arguments.root, download=True)
    given = {key: getattr(arguments, key) for key in ("bad_images", "workers") if getattr(arguments, key) is not None}
    if given and not isinstance(dataset, ImageFolders):
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} is for imagenet alone, not for {name}")
    return usable(dataclasses.replace, dataset, **given) if given else dataset
