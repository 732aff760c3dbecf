"""gamlib evaluate: a saved network on its test images."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from gamlib import data
from gamlib._paths import recorded
from gamlib.attention import is_known, list_attention
from gamlib.cli import options as shared
from gamlib.cli.options import Command, UsageError, folder, name, usable
from gamlib.models import create_model
from gamlib.models.weights import load_strictly, unpack
from gamlib.training import checkpoint, evaluate
from gamlib.training.folder import WEIGHTS


def add(commands) -> None:
    """Add the command and its options."""
    example = "gamlib evaluate runs/puzzles-joint-probe-gam-puzzles-seed0"
    command = Command(commands, "evaluate", "test a saved network", example, run)
    kinds = "a run's folder, or its checkpoint-*.pt or weights.safetensors, or one of data/zoo"
    command.add("checkpoint", folder, "CHECKPOINT", kinds)
    command.add("--data", name, "NAME", "by default the data that it was trained on")
    shared.add_data_options(command)
    shared.add_speed_options(command, trains=False)


def run(arguments: argparse.Namespace) -> int:
    """Print test loss and errors."""
    speed = shared.chosen_speed(arguments)
    model, trained_on, classes = load(arguments.checkpoint)
    known = data.list_datasets()
    photographs = "imagenet@112" if trained_on.endswith("@112") else "imagenet"
    dataset = shared.chosen_data(
        arguments, arguments.data or (trained_on if trained_on in known else photographs), True
    )
    check_classes(classes, dataset)
    tested = usable(evaluate, model, dataset, speed)
    print(f"{model.spec['name']} + {model.spec['attention']} on {dataset.test_count:,} test images of {dataset.name}:")
    print(
        f"top-1 error {tested['test_top1_error']:.2f}%, top-5 error {tested['test_top5_error']:.2f}%, "
        f"loss {tested['test_loss']:.4f}"
    )
    return 0


def check_classes(classes: Sequence[str], dataset: data.Data) -> None:
    """Raise UsageError where the data has other classes than the network was trained on, or another order of them."""
    theirs = dataset.classes
    if not isinstance(classes, list | tuple) or not classes or not theirs or tuple(classes) == theirs:
        return  # the first runs did not store them
    place = next((i for i, pair in enumerate(zip(classes, theirs, strict=False)) if pair[0] != pair[1]), None)
    where = f"{len(classes)} against {len(theirs)}"
    if place is not None:
        where = f"class {place} is {classes[place]!r} in the one and {theirs[place]!r} in the other"
    raise UsageError(
        f"the network was trained on other classes than {dataset.name} has: {where}. An error rate would mean nothing; "
        "choose the data that it was trained on with --data and --root"
    )


def load(path: Path) -> tuple[nn.Module, str, Sequence[str]]:
    """A network from a file that training wrote, or from a run's folder; its data set's name, and its classes' names.

    Files that were written before classes were stored have none.

    Raises:
        UsageError: where there is none, or it is a reader's own network, which only its own code can build.
        CheckpointError: for a damaged checkpoint.
    """
    if not path.exists():
        raise UsageError(f"no such checkpoint: {path}; networks that ship with gamlib lie in {recorded('zoo')}")
    if path.is_dir():
        found = [path / WEIGHTS] if (path / WEIGHTS).is_file() else checkpoint.paths(path)
        if not found:
            raise UsageError(f"{path} holds neither {WEIGHTS} nor a checkpoint")
        path = found[0]
    if path.suffix.lower() != ".safetensors":
        state = checkpoint.read(path)
        is_run = state.keys() >= {"network", "data", "model"} and isinstance(state["model"], dict)
        if not is_run or not all(isinstance(key, str) for key in state["model"]):
            raise UsageError(f"{path} is not a checkpoint of a run")
        about, weights = state | {"classes": state.get("classes", ())}, state["model"]
    else:
        texts, weights = usable(unpack, path)
        try:
            about = {key: json.loads(texts.get(key, "[]")) for key in ("network", "classes")} | {"data": texts["data"]}
        except (KeyError, ValueError, RecursionError):
            raise UsageError(f"{path} does not say which network it holds; it was not written by gamlib") from None
    model = build(about["network"], path)
    usable(load_strictly, model, weights, str(path))
    return model, about["data"], about["classes"]


def build(network: dict[str, object], path: Path) -> nn.Module:
    """The network by create_model's arguments."""
    named = isinstance(network, dict) and (network.get("name"), network.get("attention", ""))
    if not named or not all(isinstance(value, str) for value in named):
        raise UsageError(f"{path} does not say which network it holds; it was not written by gamlib")
    if "attention" not in network:
        raise UsageError(
            f"{path} holds {network['name']}, a network that gamlib did not build; use gamlib.training.evaluate"
        )
    attention = network["attention"]
    if attention not in ("none", "abn") and not is_known(attention):
        raise UsageError(
            f"{path} holds a network with attention {attention!r}, which this process does not know. Where it is your "
            f"own, register_attention({attention!r}, ...) and test it from Python with gamlib.training.evaluate; known "
            f"here: {', '.join(list_attention())}"
        )
    try:
        return usable(create_model, **network)
    except (TypeError, RuntimeError, OverflowError) as error:
        raise UsageError(f"{path}: {shared.first_line(error)}; was it written by another version of gamlib?") from error
