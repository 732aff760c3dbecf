"""What can be said of a module that the reference's weights do not fit into."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gamlib.course.describe import describe, short
from gamlib.course.exercise import Exercise, Trial

NO_PARAMETERS = (
    "not yet. It has no parameters: make its layers in __init__, as attributes; layers in a plain list are not found "
    "(nn.ModuleList is)."
)


class UnlikeParameters(Exception):
    """A module whose parameters are not the reference's, and what it made of one trial's inputs."""

    def __init__(self, solution: object, module: nn.Module, inputs: list[object], output: object) -> None:
        self.solution, self.module, self.inputs, self.output = solution, module, inputs, output


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without ones: a 1x1 convolution's is a Linear's."""
    return [size for size in tensor.shape if size != 1]


def is_lazy(module: nn.Module) -> bool:
    """Whether a parameter has no size yet."""
    return any(isinstance(p, nn.parameter.UninitializedParameter) for p in module.parameters())


def shapes_of(module: nn.Module) -> list[list[int]]:
    """Shapes of its parameters, in their order."""
    return [squeezed(p) for p in module.parameters()]


def judge(exercise: Exercise, trials: Sequence[Trial], unlike: UnlikeParameters, wanted: Tensor) -> str | None:
    """A known mistake, or what can be said of the output without the weights; None for a stub."""
    if unlike.output is None or unlike.output is Ellipsis:
        return None
    modules = [unlike.module]
    if isinstance(unlike.solution, type):  # by all sizes, since one size may look like another mistake
        built = [unlike.solution(**trial.construct) for trial in trials]
        modules = modules if any(map(is_lazy, built)) else built
    sizes = [
        (shapes_of(module), [squeezed(weight) for weight in trial.weights])
        for module, trial in zip(modules, trials[: len(modules)], strict=True)
    ]
    shapes, expected = next(pair for pair in sizes if pair[0] != pair[1])
    if not shapes:
        return NO_PARAMETERS
    for mistake in exercise.mistakes:
        if mistake.shapes is not None and all(ours == mistake.shapes(theirs) for ours, theirs in sizes):
            return f"not yet. {mistake.message}"
    if sorted(shapes) == sorted(expected):
        return (
            f"not yet. Its parameters have the right shapes, in another order: {shapes}. They are filled in the order "
            f"of declaration, so declare the layers in this one: {expected} (ones left out)."
        )
    surplus, lacking = surplus_of(shapes, expected), surplus_of(expected, shapes)
    told = "; ".join(
        f"{words} {short(', '.join(str(shape or [1]) for shape in found), 100)}"
        for words, found in (("it has", surplus), ("it lacks", lacking))
        if found
    )
    told = f"its parameters are not the reference's (ones left out of shapes, {told}), so it could be judged"
    if not isinstance(unlike.output, Tensor) or unlike.output.shape != wanted.shape:
        returned = f"It returns {describe(unlike.output)}, expected {tuple(wanted.shape)}"
        return f"not yet. {returned}. And {told} by its shape alone."
    if exercise.gives == "other":
        return f"perhaps right, perhaps not: {told} by its shape alone, which is right."
    gate = unlike.output if exercise.gives == "gate" else unlike.output / unlike.inputs[0]
    if not bool(torch.all((gate >= 0) & (gate <= 1))):
        missed = "A gate should stay in [0, 1]" if exercise.gives == "gate" else "It is not the input times a gate"
        return f"not yet. {missed}. And {told} by its properties alone."
    return f"perhaps right, perhaps not: {told} by its properties alone. Those are fine."


def surplus_of(shapes: list[list[int]], others: list[list[int]]) -> list[list[int]]:
    """The shapes for which `others` has no match."""
    left = list(others)
    return [shape for shape in shapes if shape not in left or left.remove(shape)]
