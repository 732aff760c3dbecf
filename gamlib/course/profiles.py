"""How much work a notebook's training cells do: chosen from the hardware, or by GAMLIB_PROFILE."""

import os
from dataclasses import dataclass

import torch

from gamlib._checks import unknown_name
from gamlib.training import Recipe, recipes


@dataclass(frozen=True)
class Profile:
    """What is trained on CIFAR-100, on how much of it, and by which recipes."""

    name: str
    network: str  # for CIFAR-100
    recipe: Recipe  # for CIFAR-100
    images: int | None  # how many images of each split; None: all of them
    puzzle_recipe: Recipe


PROFILES = {
    name: Profile(name, network, recipes.get(recipe), images, recipes.get(puzzles))
    for name, network, recipe, images, puzzles in [
        ("smoke", "resnet20", "smoke", 512, "smoke"),  # tests: does it run
        ("laptop", "resnet20", "laptop", 5_000, "puzzles"),  # a CPU: minutes
        ("gpu", "resnet50", "quick", None, "puzzles"),  # an hour
        ("paper", "resnet50", "paper-cifar100", None, "puzzles"),  # the full recipe
    ]
}


def profile() -> Profile:
    """The profile of this machine: "gpu" where there is one, else "laptop"; or the one that GAMLIB_PROFILE names.

    Raises:
        ValueError: where GAMLIB_PROFILE names another.
    """
    name = os.environ.get("GAMLIB_PROFILE") or ("gpu" if torch.cuda.is_available() else "laptop")
    if name not in PROFILES:
        raise unknown_name("GAMLIB_PROFILE", name, PROFILES)
    return PROFILES[name]
