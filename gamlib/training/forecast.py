"""How long a run will take on this machine, and how much memory: measured on a few of its own steps."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from gamlib._device import DEVICES, peak_memory, reset_peak_memory
from gamlib.data import Data
from gamlib.training.interrupt import Interrupt
from gamlib.training.recipes import Recipe
from gamlib.training.speed import Speed
from gamlib.training.trainer import Trainer

# Steps to warm up, steps to time.
PROBED = dict.fromkeys(DEVICES, (5, 20)) | {"cpu": (1, 3)}


@dataclass(frozen=True)
class Forecast:
    """Cost of a whole run, all epochs and their tests."""

    step_seconds: float
    seconds: float
    memory: int | None  # most bytes in use: of the GPU, else of this process; None where Python can't tell

    def __str__(self) -> str:
        memory = "" if self.memory is None else f", {self.memory / 1e9:.1f} GB of memory"
        return f"{1000 * self.step_seconds:,.0f} ms per step, about {duration(self.seconds)} in all{memory}"


def forecast(model: nn.Module, data: Data, recipe: Recipe, speed: Speed) -> Forecast:
    """Train a copy of `model` for a few steps, and scale up. The model is left as it is.

    Args:
        model, data, recipe, speed: as for `fit`.
    """
    run = Trainer(copy.deepcopy(model), data, recipe, 0, speed)
    warm_up, timed = PROBED[run.device.type]
    reset_peak_memory(run.device)
    start = time.perf_counter()
    for i, _ in enumerate(_steps(run), start=1):
        if i == warm_up:
            synchronize(run.device)
            start = time.perf_counter()
        if i == warm_up + timed:
            break
    synchronize(run.device)
    step_seconds = (time.perf_counter() - start) / timed
    # A test needs no backward, which is two thirds of a training step.
    tests = data.test_count / recipe.batch_size / 3
    seconds = recipe.epochs * (run.steps_per_epoch + tests) * step_seconds
    return Forecast(step_seconds, seconds, peak_memory(run.device))


def _steps(run: Trainer) -> Iterator[None]:
    """Step after step, through more than one epoch where need be: the first steps are no measure of the others."""
    while True:
        yield from run.train_epoch(Interrupt())
        run.epoch, run.batch = (run.epoch + 1) % run.recipe.epochs, 0


def synchronize(device: torch.device) -> None:
    """Wait until the device has done all it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()


def duration(seconds: float) -> str:
    """A length of time as a person says it."""
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} seconds"
