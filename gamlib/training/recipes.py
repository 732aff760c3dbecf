"""Recipes: everything that decides how a network is trained, besides its data and its seed."""

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from gamlib import results
from gamlib._checks import check_boolean, check_integer, unknown_name

SCHEDULES = ("one-cycle", "step")
LEAST_MICRO_BATCH = 3  # then no part of a batch is a single image, which BatchNorm refuses


def _field(meaning: str, default: object = dataclasses.MISSING, schedule: str | None = None) -> Any:
    """A field of a recipe: what it means, with its range, and the one schedule on which it has an effect."""
    return dataclasses.field(default=default, metadata={"meaning": meaning, "schedule": schedule})


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum and one of two learning-rate schedules."""

    name: str
    epochs: int = _field("passes over the training images, 1 or more")
    lr: float = _field("learning rate, above 0: of one-cycle the peak, of step the start")
    schedule: str = _field("one-cycle: up, then down to almost 0, step by step; step: drops at the milestones")
    warm_up: float = _field("share of all steps on the way up, between 0 and 1", 0.3, "one-cycle")
    milestones: tuple[int, ...] = _field("epochs after which lr is multiplied by gamma", (), "step")
    gamma: float = _field("that factor, 0 to 1", 0.2, "step")
    batch_size: int = _field("images per step, over all processes, 1 or more", 128)
    # On a small GPU. The gradients of the parts add up to the batch's; BatchNorm sees one part at a time.
    micro_batch: int | None = _field("of them, images that are in a process's memory at once, 3 or more", None)
    momentum: float = _field("of SGD, 0 to 1", 0.9)
    nesterov: bool = _field("Nesterov's form of the momentum", False)
    weight_decay: float = _field("of all parameters, 0 to 1", 5e-4)

    def __post_init__(self) -> None:
        check_integer("epochs", self.epochs)
        check_integer("batch_size", self.batch_size)
        if self.micro_batch is not None:
            check_integer("micro_batch", self.micro_batch, LEAST_MICRO_BATCH)
        if self.schedule not in SCHEDULES:
            raise unknown_name("schedule", self.schedule, SCHEDULES)
        if not 0 < self.lr < math.inf:
            raise ValueError(f"lr must be above 0 and finite, got {self.lr}")
        for name in ("gamma", "momentum", "weight_decay"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")
        check_boolean("nesterov", self.nesterov)
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov=True needs a momentum above 0, got 0")
        if self.schedule == "step" and not self.milestones and self.gamma != Recipe.gamma:
            raise ValueError(f"gamma={self.gamma} has no effect without milestones")
        for field in dataclasses.fields(self):
            wanted, value = field.metadata.get("schedule"), getattr(self, field.name)
            if wanted not in (None, self.schedule) and value != field.default:
                raise ValueError(
                    f"{field.name}={value} has no effect on the schedule {self.schedule!r}; it belongs to {wanted!r}"
                )
        for milestone in self.milestones:
            check_integer("milestones", milestone)
        if not 0 < self.warm_up < 1:
            raise ValueError(f"warm_up must lie between 0 and 1 (a share of all steps), got {self.warm_up}")

    def learning_rate(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of one update, a function of nothing but its number (from 0): nothing can shift it.

        The same as PyTorch's OneCycleLR (linear, from lr / 25 to lr / 250,000) and MultiStepLR; a test compares them.
        """
        if self.schedule == "step":
            return self.lr * self.gamma ** sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
        steps = self.epochs * steps_per_epoch
        if steps < 3:  # no room to rise and fall
            return self.lr
        # Two steps up at least, so that there is a way up in the shortest of runs, too.
        top = max(self.warm_up, min(2 / steps, 0.75)) * steps - 1
        first, last = self.lr / 25, self.lr / 250_000
        if step <= top:
            return first + (self.lr - first) * step / top
        return self.lr + (last - self.lr) * (step - top) / (steps - 1 - top)

    def micro_batches(self, images: int) -> int:
        """Into how many parts, of sizes that differ by one at most, a process's images of a batch are split."""
        return 1 if self.micro_batch is None else max(1, -(-images // self.micro_batch))

    @property
    def calmer(self) -> str:
        """What to try where training diverges, as options of the command line."""
        return "a lower --lr, a longer --warm-up" if self.schedule == "one-cycle" else "a lower --lr"

    @property
    def label(self) -> str:
        """Name for folders: the recipe's, and each field in which it differs from the one of that name."""
        named = RECIPES.get(self.name, self)
        own, usual = dataclasses.asdict(self), dataclasses.asdict(named)
        changed = {key: value for key, value in own.items() if value != usual[key]}
        values = {k: "-".join(map(str, v)) if isinstance(v, tuple) else v for k, v in changed.items()}
        return "-".join([self.name, *(f"{key}{value}" for key, value in values.items())])

    def as_dict(self) -> dict[str, object]:
        """All fields, as JSON has them; micro_batch only where there is one, as in the records of before."""
        fields = {key: value for key, value in dataclasses.asdict(self).items() if value is not None}
        return json.loads(json.dumps(fields))

    def digest(self) -> str:
        """sha256 over all fields: equal where two runs are trained alike."""
        return results.digest(self.as_dict())


IMAGENET = {"epochs": 90, "schedule": "step", "milestones": (30, 60), "gamma": 0.1, "batch_size": 256}
RECIPES = {
    recipe.name: recipe
    for recipe in [
        Recipe("smoke", epochs=1, lr=0.1, schedule="one-cycle"),  # does it run at all
        Recipe("laptop", epochs=12, lr=0.2, schedule="one-cycle"),  # minutes on a CPU; not the paper's
        Recipe("puzzles", epochs=12, lr=0.2, schedule="one-cycle", batch_size=64),  # a minute or two on a CPU
        Recipe("quick", epochs=30, lr=0.1, schedule="one-cycle"),  # Table 1 in an hour or so of a GPU; not the paper's
        Recipe("zoo", epochs=100, lr=0.2, schedule="one-cycle"),  # small networks, trained to the end; not the paper's
        Recipe("photographs", epochs=30, lr=0.1, schedule="one-cycle", batch_size=64),  # some thousand; not the paper's
        # Table 1: epochs, lr and milestones are the paper's. Batch, momentum, weight decay and gamma are not printed
        # there; they come from the public training code of the same family (CBAM, NAM).
        Recipe("paper-cifar100", epochs=200, lr=0.1, schedule="step", milestones=(60, 120, 160)),
        # Tables 2 to 4. Epochs and lr are the paper's, and all of MobileNetV2's values; the rest as above.
        Recipe("paper-imagenet", lr=0.1, weight_decay=1e-4, **IMAGENET),
        Recipe("paper-imagenet-mobilenet", lr=0.045, weight_decay=4e-5, **IMAGENET),
    ]
}


def get(name: str) -> Recipe:
    """A recipe by name. Raises ValueError, with all names, for an unknown one."""
    if name not in RECIPES:
        raise unknown_name("recipe", name, RECIPES)
    return RECIPES[name]
