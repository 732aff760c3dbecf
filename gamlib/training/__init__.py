"""Training: recipes, `fit`, which follows one, and `evaluate`."""

from gamlib.training import recipes
from gamlib.training.checkpoint import CheckpointError
from gamlib.training.guards import Diverged
from gamlib.training.interrupt import Stopped
from gamlib.training.profiles import Profile, profile
from gamlib.training.recipes import Recipe
from gamlib.training.speed import Speed
from gamlib.training.tester import evaluate
from gamlib.training.trainer import fit

__all__ = [
    "CheckpointError",
    "Diverged",
    "Profile",
    "Recipe",
    "Speed",
    "Stopped",
    "evaluate",
    "fit",
    "profile",
    "recipes",
]
