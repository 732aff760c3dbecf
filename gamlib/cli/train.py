"""gamlib train: one network."""

import argparse
import importlib.util
from pathlib import Path

import torch

from gamlib import data, results
from gamlib._checks import check_seed
from gamlib._device import device_of
from gamlib._files import file_name
from gamlib.attention import full_options, label_of, variant
from gamlib.cli import options as shared
from gamlib.cli.options import Command, known, name, usable
from gamlib.cost import count_macs, count_parameters
from gamlib.models import create_model, fitting_stem
from gamlib.training import distributed, fit, memory
from gamlib.training.forecast import forecast


def add(commands) -> None:
    """Add the command and its options."""
    example = "gamlib train --data cifar100 --attention gam --reduction 4 --recipe laptop"
    command = Command(commands, "train", "train one network; run again, it goes on", example, run)
    names = f"one of {', '.join(data.list_datasets())}"
    command.add("--data", name, "NAME", names, default="puzzles-joint")
    command.add("--attention", name, "NAME", shared.attention_help(), default="none")
    command.add("--seed", int, "N", "of the weights and of the order of the images, 0 or more", default=0)
    shared.add_run_options(command)


def run(arguments: argparse.Namespace) -> int:
    """Print the plan, train, and print the result."""
    model_name = arguments.model or known(arguments.data).model
    recipe, speed = shared.chosen_recipe(arguments, arguments.data, model_name), shared.chosen_speed(arguments)
    usable(check_seed, arguments.seed)
    shared.check_network(model_name, arguments.attention, arguments.reduction, arguments.stem)
    shared.check_reduction(arguments.reduction, [arguments.attention])
    dataset = shared.chosen_data(arguments, arguments.data)
    attention, options = variant(arguments.attention, arguments.reduction)
    stem = arguments.stem or fitting_stem(model_name, dataset.image_shape)
    torch.manual_seed(arguments.seed)
    model = usable(create_model, model_name, attention, options, dataset.num_classes, stem)
    label = label_of(model.spec)
    reduction = model.spec["attention_options"].get("reduction")
    usual = None if reduction is None else full_options(attention, {})["reduction"]
    unusual = shared.unusual_options(arguments, None if reduction == usual else reduction)
    parts = [dataset.name, model_name, label, recipe.label, *unusual, f"seed{arguments.seed}"]
    out = arguments.out or Path("runs") / file_name(*parts)

    macs = count_macs(model, dataset.image_shape) / 1e6
    processes = distributed.world_size()
    steps = -(-dataset.train_count // recipe.batch_size)
    among = "" if processes == 1 else f", {processes} processes"
    print(f"network   {model_name} + {label}: {count_parameters(model):,} parameters, {macs:,.1f} million MACs")
    print(f"data      {dataset.name}: {dataset.train_count:,} training and {dataset.test_count:,} test images")
    epochs = "1 epoch" if recipe.epochs == 1 else f"{recipe.epochs} epochs"
    print(f"recipe    {recipe.name}: {epochs} of {steps:,} steps, batch {recipe.batch_size}{among}")
    share = -(-min(recipe.batch_size, dataset.train_count) // processes)
    in_memory = -(-share // recipe.micro_batches(share))
    device = device_of(speed.device)
    print(f"memory    {memory.advice(model, dataset.image_shape, in_memory, speed.resolve(device), device)}")
    if recipe.milestones and max(recipe.milestones) >= recipe.epochs:
        print(f"note      the learning rate drops after epochs {recipe.milestones}; not all of them come")
    print(f"folder    {out}")

    def say_forecast() -> None:
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
        before_start=say_forecast,
    )
    last = result.curves[-1]
    if "images_per_second" in last:  # a run that was finished long ago does not tell
        most = f", at most {last['memory'] / 1e9:.1f} GB of GPU memory" if "memory" in last else ""
        print(f"speed     {last['images_per_second']:,.0f} training images per second in the last epoch{most}")
    print(results.table([result]))
    return 0
