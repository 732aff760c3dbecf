"""Options that several commands share, and what they make of them."""

import argparse
import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from gamlib import data
from gamlib._checks import unknown_name
from gamlib._device import device_of
from gamlib.attention import list_attention, variant
from gamlib.data import Data
from gamlib.data.imagenet import BAD_IMAGES, ImageFolders
from gamlib.models import create_model, list_models
from gamlib.training import Recipe, Speed, distributed, recipes
from gamlib.training.recipes import SCHEDULES
from gamlib.training.speed import DEVICE_NAMES, PRECISIONS

FIELDS = dataclasses.fields(Recipe)[1:]  # all but the name


class UsageError(Exception):
    """A value on the command line that can't be used."""


class Help(argparse.HelpFormatter):
    """Help whose names are never broken at a hyphen, so that they can be copied."""

    def _split_lines(self, text: str, width: int) -> list[str]:
        return textwrap.wrap(" ".join(text.split()), width, break_on_hyphens=False)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("example: "):
            return text
        return textwrap.fill(text, width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)


class Command:
    """A command's options, one line each.

    Args:
        commands: argparse's subparsers.
        name: of the command.
        meaning: what it does.
        example: a command line.
        run: what carries it out.
    """

    def __init__(self, commands, name: str, meaning: str, example: str, run: Callable) -> None:
        about = {"help": meaning, "description": meaning, "epilog": f"example: {example}", "formatter_class": Help}
        self._parser = self._group = commands.add_parser(name, **about)
        self._parser.set_defaults(run=run)

    def group(self, title: str) -> None:
        """Begin a group of options."""
        self._group = self._parser.add_argument_group(title)

    def add(self, option: str, kind: Callable | Sequence[str], metavar: str, meaning: str, **more: object) -> None:
        """An option: `kind` is its type, bool for --x and --no-x, or the values to choose from."""
        if kind is bool:
            more["action"] = argparse.BooleanOptionalAction
        elif isinstance(kind, tuple):
            more["choices"] = kind
        else:
            more |= {"type": kind, "metavar": metavar}
        default = more.get("default")
        shown = " ".join(map(str, default)) if isinstance(default, list) else default
        has_one = default is not None and kind is not bool
        self._group.add_argument(option, help=f"{meaning} (default: {shown})" if has_one else meaning, **more)


def usable(function, *values, **named):
    """function(*values), with a ValueError turned into a message for the person at the command line."""
    try:
        return function(*values, **named)
    except ValueError as error:
        raise UsageError(error) from error


def first_line(error: BaseException) -> str:
    """What an error says, without what PyTorch adds for its own developers."""
    return str(error).partition("\n")[0]


def name(text: str) -> str:
    """A name as typed. An unset shell variable makes an empty one, which must not stand for the default."""
    if not text:
        raise argparse.ArgumentTypeError("expected a name, got an empty one (an unset shell variable?)")
    return text


def folder(text: str) -> Path:
    """A folder's path, `~` and all; it need not exist."""
    try:
        return Path(name(text)).expanduser()
    except RuntimeError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error}") from None


def attention_help() -> str:
    """What --attention takes."""
    return f"none, {', '.join(list_attention())} or abn; with options: gam:kernel_size=9,shuffle=after"


def add_run_options(command: Command) -> None:
    """What both `train` and `compare` take."""
    models = f"one of {', '.join(list_models())}; by default resnet20, for imagenet resnet18, for puzzles probe"
    command.add("--model", name, "NAME", models)
    command.add("--reduction", int, "R", "r of the mechanisms that have one, 1 or more; each has its own default")
    command.add("--stem", name, "NAME", "imagenet, cifar or wmp (Table 4); by default what fits the images' size")
    named = f"one of {', '.join(recipes.RECIPES)}; by default laptop, for imagenet the paper's, for puzzles puzzles"
    command.add("--recipe", name, "NAME", named)
    command.add("--out", folder, "FOLDER", "for what the run writes; by default one below runs/")
    resume = "auto: go on from what is in the folder; no: remove it, and start again"
    command.add("--resume", ("auto", "no"), "", resume, default="auto")
    command.add("--save-every", float, "SECONDS", "between two checkpoints, 0 or more", default=300.0)
    add_data_options(command)
    add_speed_options(command)
    add_recipe_options(command)


def add_data_options(command: Command) -> None:
    """Where the data is, and how photographs are read."""
    root = "data root, by default GAMLIB_DATA, else data/ of the checkout; imagenet: the folder of train/ and val/"
    command.add("--root", folder, "FOLDER", root)
    bad = "imagenet: what a broken file does: stop the run (by default), or be left out, named and counted"
    command.add("--bad-images", BAD_IMAGES, "", bad)
    command.add("--workers", int, "N", "imagenet: processes that decode images, 0 or more; by default one per core")


def add_speed_options(command: Command, trains: bool = True) -> None:
    """An option for each switch of Speed; where nothing `trains`, for those that a test takes."""
    command.group("speed: nothing here changes more than the rounding")
    where = "auto: an NVIDIA GPU where there is one, else the CPU; mps (Apple) and xpu (Intel): never tried"
    command.add("--device", DEVICE_NAMES, "", where, default=Speed.device)
    command.add(
        "--precision",
        PRECISIONS,
        "",
        "auto: what the device is fast in; fp32: convolutions round to TF32 on newer GPUs",
        default=Speed.precision,
    )
    command.add("--channels-last", bool, "", "memory layout (by default on)", default=Speed.channels_last)
    if trains:
        command.add("--fused", bool, "", "update in one kernel (by default on)", default=Speed.fused)
        command.add("--compile", bool, "", "torch.compile, for GPUs (by default off)", default=Speed.compile)
        graph = "a step as one CUDA graph, for small networks on a GPU (by default off)"
        command.add("--graph", bool, "", graph, default=Speed.graph)


def add_recipe_options(command: Command) -> None:
    """An option for each field of a recipe."""
    command.group("fields of the recipe, where they should differ from it")
    kinds: dict[str, object] = {"schedule": SCHEDULES, "milestones": int, "micro_batch": int}
    for field in FIELDS:
        only = f"{field.metadata['schedule']}: " if field.metadata["schedule"] else ""
        usual = getattr(recipes.get("laptop"), field.name)
        theirs = "" if only == "step: " or usual is None else f" (laptop: {usual})"
        more = {"nargs": "*"} if field.name == "milestones" else {}
        kind = kinds.get(field.name, field.type)
        metavar = "EPOCH" if more else getattr(kind, "__name__", "").upper()
        command.add(option_of(field.name), kind, metavar, f"{only}{field.metadata['meaning']}{theirs}", **more)


def option_of(field: str) -> str:
    """The option for a field: --warm-up for warm_up."""
    return f"--{field.replace('_', '-')}"


def known(dataset: str) -> data.Entry:
    """What is known of a data set by name. Raises UsageError for an unknown one."""
    if dataset not in data.DATASETS:
        raise UsageError(unknown_name("data set", dataset, data.DATASETS))
    return data.DATASETS[dataset]


def chosen_recipe(arguments: argparse.Namespace, dataset: str, model: str) -> Recipe:
    """The recipe by name, or the one that fits the data, with the fields that the command line changes."""
    named = arguments.recipe or known(dataset).recipe
    if arguments.recipe is None and (dataset, model) == ("imagenet", "mobilenet_v2"):
        named = "paper-imagenet-mobilenet"
    recipe = usable(recipes.get, named)
    given = {field.name: getattr(arguments, field.name, None) for field in FIELDS}
    changed = {field: value for field, value in given.items() if value is not None}
    if "milestones" in changed:
        changed["milestones"] = tuple(changed["milestones"])
    schedule = changed.get("schedule", recipe.schedule)
    for field in FIELDS:
        if field.metadata["schedule"] not in (None, schedule):
            if field.name in changed:
                raise UsageError(f"{option_of(field.name)} has no effect on the schedule {schedule!r}; leave it out")
            changed[field.name] = field.default  # where --schedule changes it, the other's fields are none of its own
    return usable(dataclasses.replace, recipe, **changed)


def unusual_options(arguments: argparse.Namespace, reduction: int | None) -> list[str]:
    """What a default folder's name must tell apart, besides data, network, label, recipe and seed."""
    given = {"reduction": reduction, "stem": arguments.stem}
    given |= {"": None if arguments.precision == "auto" else arguments.precision}
    return [f"{name}{value}" for name, value in given.items() if value is not None]


def check_network(model: str, attention: str, reduction: int | None, stem: str | None) -> None:
    """Raise UsageError for a network that can't be built, before data is downloaded and read."""
    try:
        with torch.device("meta"):
            usable(create_model, model, *usable(variant, attention, reduction), stem=stem)
    except (RuntimeError, OverflowError, TypeError) as error:  # of sizes that no machine has
        raise UsageError(f"{model} with {attention} can't be built: {first_line(error)}") from error


def check_reduction(reduction: int | None, attentions: Sequence[str]) -> None:
    """Raise UsageError where a reduction is given that none of the attentions takes."""
    if reduction is not None and all(variant(name, reduction) == variant(name, None) for name in attentions):
        raise UsageError(
            f"--reduction {reduction} has no effect: {', '.join(attentions)}: without a reduction, or with its own"
        )


def chosen_speed(arguments: argparse.Namespace) -> Speed:
    """The switches. Raises UsageError for a device that is not here, before data is read and folders are made."""
    names = [field.name for field in dataclasses.fields(Speed)]
    usable(device_of, arguments.device)
    return Speed(**{name: getattr(arguments, name) for name in names if hasattr(arguments, name)})


def chosen_data(arguments: argparse.Namespace, name: str, test_only: bool = False) -> Data:
    """The data set, or its test images alone; CIFAR-100 is downloaded where it is missing."""
    if arguments.root is not None and known(name).is_made:
        raise UsageError(f"--root has no effect on {name}, which is made, not read; leave it out")
    with distributed.local_main_process_first():
        dataset = usable(data.load, name, arguments.root, download=True, test_only=test_only)
    given = {key: getattr(arguments, key) for key in ("bad_images", "workers") if getattr(arguments, key) is not None}
    if given and not isinstance(dataset, ImageFolders):
        raise UsageError(f"--{next(iter(given)).replace('_', '-')} is for imagenet alone, not for {name}")
    return usable(dataclasses.replace, dataset, **given) if given else dataset
