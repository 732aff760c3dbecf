"""Training: recipes, `fit`, which follows one, and `evaluate`."""

from gamlib.training import recipes
from gamlib.training.checkpoint import CheckpointError
from gamlib.training.evaluator import evaluate
from gamlib.training.fit import fit
from gamlib.training.guards import Diverged
from gamlib.training.interrupt import Stopped
from gamlib.training.recipes import Recipe
from gamlib.training.speed import Speed

__all__ = ["CheckpointError", "Diverged", "Recipe", "Speed", "Stopped", "evaluate", "fit", "recipes"]
