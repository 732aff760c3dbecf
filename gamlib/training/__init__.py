"""Training: recipes, and `fit`, which follows one."""

from gamlib.training import recipes
from gamlib.training.checkpoint import CheckpointError
from gamlib.training.profiles import profile, puzzle_recipe
from gamlib.training.recipes import Recipe
from gamlib.training.trainer import fit

__all__ = ["CheckpointError", "Recipe", "fit", "profile", "puzzle_recipe", "recipes"]
