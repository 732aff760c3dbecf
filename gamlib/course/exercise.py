"""What an exercise is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Trial:
    """One call of a solution."""

    inputs: tuple[object, ...]  # what a function gets first, and all that a module's forward gets
    weights: tuple[Tensor, ...] = ()  # what a function gets next; a module's parameters are set to them, in order
    construct: dict[str, int] = field(default_factory=dict)  # what a module's class is called with


@dataclass(frozen=True)
class Mistake:
    """A known mistake: what to say of it, and how it is recognised."""

    message: str
    function: Callable | None = None  # by its outputs: those of this function
    shapes: Callable[[list[list[int]]], list[list[int]]] | None = None  # a module's: by its parameters' shapes


@dataclass(frozen=True)
class Exercise:
    """An exercise: what is right, on what it is tried, and the mistakes that people make."""

    reference: Callable  # (*inputs, *weights) -> a tensor or a number
    trials: Callable[[], Sequence[Trial]]
    notice: str  # said when it is right: one more thing to see
    mistakes: tuple[Mistake, ...]
    gives: Literal["gate", "gated map", "other"] = "other"  # what can be tested of a module without the weights
