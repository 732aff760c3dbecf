"""gamlib train: one network."""

import argparse
import importlib.util
from pathlib import Path

import torch

from gamlib import data, results
from gamlib._checks import check_seed
from gamlib.attention import full_options, label_of, variant
from gamlib.cli.options import (
    add_run_options,
    attention_help,
    check_network,
    chosen_data,
    chosen_recipe,
    chosen_speed,
    known,
    unusual_options,
    usable,
)
from gamlib.cost import count_macs, count_parameters
from gamlib.models import create_model, fitting_stem
from gamlib.training import distributed, fit
from gamlib.training.folder import RunFolder
from gamlib.training.forecast import forecast


def add(commands) -> None:
    """Add the command and its options."""
    command = commands.add_parser("train", help="train one network; run again, it goes on")
    command.add_argument(
        "--data", default="puzzles-joint", metavar="NAME", help=f"one of {', '.join(data.list_datasets())}"
    )
    command.add_argument("--attention", default="none", metavar="NAME", help=attention_help())
    command.add_argument("--seed", type=int, default=0, help="of the weights and of the order of the images")
    add_run_options(command)
    command.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, train, and print the result."""
    name = arguments.model or known(arguments.data).model
    recipe, speed = chosen_recipe(arguments, arguments.data, name), chosen_speed(arguments)
    usable(check_seed, arguments.seed)
    check_network(name, arguments.attention, arguments.reduction, arguments.stem)
    dataset = chosen_data(arguments, arguments.data)
    attention, options = variant(arguments.attention, arguments.reduction)
    stem = arguments.stem or fitting_stem(name, dataset.image_shape)
    torch.manual_seed(arguments.seed)
    model = usable(create_model, name, attention, options, dataset.num_classes, stem)
    label = label_of(model.spec)
    reduction = model.spec["attention_options"].get("reduction")
    usual = None if reduction is None else full_options(attention, {})["reduction"]
    unusual = unusual_options(arguments, None if reduction == usual else reduction)
    parts = [dataset.name, name, label, recipe.label, *unusual, f"seed{arguments.seed}"]
    out = arguments.out or Path("runs") / "-".join(parts)

    macs = count_macs(model, dataset.image_shape) / 1e6
    processes = distributed.world_size()
    steps = -(-dataset.train_count // recipe.batch_size)
    among = "" if processes == 1 else f", {processes} processes"
    print(f"network   {name} + {label}: {count_parameters(model):,} parameters, {macs:,.1f} million MACs")
    print(f"data      {dataset.name}: {dataset.train_count:,} training and {dataset.test_count:,} test images")
    print(f"recipe    {recipe.name}: {recipe.epochs} epochs of {steps:,} steps, batch {recipe.batch_size}{among}")
    if recipe.milestones and max(recipe.milestones) >= recipe.epochs:
        print(f"note      the learning rate drops after epochs {recipe.milestones}; not all of them come")
    print(f"folder    {out}")
    if arguments.resume == "no" or usable(lambda: RunFolder(out, arguments.save_every, False).finished()) is None:
        print(f"forecast  {usable(forecast, model, dataset, recipe, speed)}", flush=True)
    has_tensorboard = importlib.util.find_spec("tensorboard") is not None
    result = usable(
        fit,
        model,
        dataset,
        recipe,
        arguments.seed,
        out,
        arguments.resume,
        speed,
        arguments.save_every,
        has_tensorboard,
    )
    print(results.table([result]))
    return 0
