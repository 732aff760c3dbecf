"""What an exercise is made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor


@dataclass(frozen=True)
class Trial:
    """One call of a solution."""

    inputs: tuple[object, ...]  # what a function gets first, and all that a module's forward gets
    weights: tuple[Tensor, ...] = ()  # what a function gets next; a module's parameters are set to them
    construct: dict[str, int] = field(default_factory=dict)  # what a module's class is called with


@dataclass(frozen=True)
class Mistake:
    """A known mistake: what to say of it, and how it is recognised."""

    message: str
    function: Callable | None = None  # by its outputs: those of this function
    shapes: Callable[[list[list[int]]], list[list[int]]] | None = None  # a module's: by its parameters' shapes


@dataclass(frozen=True)
class Exercise:
    """An exercise: what is right, on what it is tried, and the mistakes that belong to it alone.

    Mistakes that can be made anywhere (a tanh for a sigmoid, a mean over the wrong dimension) stand in `slips`.
    """

    reference: Callable  # (*inputs, *weights) -> a tensor or a number
    trials: Callable[[], Sequence[Trial]]
    notice: str  # said when it is right: one more thing to see
    mistakes: tuple[Mistake, ...]
    gives: Literal["gate", "gated map", "other"] = "other"  # what can be tested of a module without the weights
    layers: str = ""  # that the weights belong to, in order: "linear", "linear+bias", "conv", "norm"
    # Where many outputs are right, the reference's among them: (output, *inputs) -> what is wrong with it, or None.
    fault: Callable | None = None
    trained: bool = False  # whether it is a part of a network, so that gradients must pass as the reference's do
