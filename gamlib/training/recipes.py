"""Recipes: everything that decides how a network is trained, besides its data and its seed."""

import dataclasses
import json
import math
from dataclasses import dataclass

from gamlib import results
from gamlib.attention._checks import check_integer, unknown_name

SCHEDULES = ("one-cycle", "step")


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum and one of two learning-rate schedules."""

    name: str
    epochs: int  # passes over the training images
    lr: float  # one-cycle: the peak; step: the start
    schedule: str  # "one-cycle" (up, then down to almost 0, step by step) or "step" (drops at milestones)
    warm_up: float = 0.3  # one-cycle: the share of all steps on the way up
    milestones: tuple[int, ...] = ()  # step: epochs after which lr is multiplied by gamma
    gamma: float = 0.2  # step: that factor
    batch_size: int = 128  # images a step
    momentum: float = 0.9  # of SGD
    nesterov: bool = False  # Nesterov's form of the momentum
    weight_decay: float = 5e-4  # of all parameters

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs)
        check_integer("batch_size", self.batch_size)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")
        for name in ("gamma", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        for milestone in self.milestones:
            check_integer("milestones", milestone)
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up must lie between 0 and 1 (a share of all steps), got {self.warm_up}")

    def as_dict(self) -> dict[str, object]:
        """All fields, as JSON has them."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    def digest(self) -> str:
        """sha256 over all fields: equal where two runs are trained alike."""
        return results.digest(self.as_dict())


RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe("smoke", epochs=1, lr=0.1, schedule="one-cycle"),  # does it run at all
        Recipe("laptop", epochs=12, lr=0.2, schedule="one-cycle"),  # minutes on a CPU; not the paper's
        Recipe("puzzles", epochs=12, lr=0.2, schedule="one-cycle", batch_size=64),  # a minute or two on a CPU
        # Table 1: epochs, lr and milestones are the paper's. Batch, momentum, weight decay and gamma are not printed
        # there; they come from the public training code of the same family (CBAM, NAM).
        Recipe("paper-cifar100", epochs=200, lr=0.1, schedule="step", milestones=(60, 120, 160)),
    ]
}


def get(name: str) -> Recipe:
    """A recipe by name. Raises ValueError, with all names, for an unknown one."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
