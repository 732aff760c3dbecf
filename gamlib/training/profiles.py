"""How much work a notebook's training cells do: chosen from the hardware, or by GAMLIB_PROFILE."""

import os

import torch

from gamlib.attention._checks import unknown_name
from gamlib.training import recipes
from gamlib.training.recipes import Recipe

# profile: the recipe that it trains puzzles by
PUZZLE_RECIPES = {"smoke": "smoke", "laptop": "puzzles", "gpu": "puzzles", "paper": "puzzles"}


def profile() -> str:
    """ "smoke" (tests: does it run), "laptop" (a CPU), "gpu" or "paper" (the full recipes).

    Raises:
        ValueError: where GAMLIB_PROFILE names another.
    """
    name = os.environ.get("GAMLIB_PROFILE") or ("gpu" if torch.cuda.is_available() else "laptop")
    if name not in PUZZLE_RECIPES:
        raise unknown_name("GAMLIB_PROFILE", name, PUZZLE_RECIPES)
    return name


def puzzle_recipe() -> Recipe:
    """The recipe for puzzles on this machine."""
    return recipes.get(PUZZLE_RECIPES[profile()])
