"""Whether a right answer can be trained: the gradients that pass through it, beside the reference's."""

import inspect
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gamlib.course.exercise import Exercise, Trial
from gamlib.course.exercises._draw import GENERATOR
from gamlib.course.modules import squeezed
from gamlib.course.values import copied

# Of the largest gradient.
TOLERANCE = {torch.float64: 1e-6, torch.float32: 2e-3}


def gradients(output: object, tensors: Sequence[Tensor], weights: Tensor) -> list[Tensor | None]:
    """Of a weighted sum of the output; None where a tensor does not reach it."""
    if not isinstance(output, Tensor) or not output.requires_grad:
        return [None] * len(tensors)
    total = (output * weights.to(output.dtype)).sum()
    return list(torch.autograd.grad(total, tensors, allow_unused=True))


def lost(
    exercise: Exercise,
    trial: Trial,
    function: Callable[[Sequence[object], Sequence[Tensor]], tuple[object, Sequence[Tensor]]],
    names: Sequence[str] | None = None,
) -> str | None:
    """A sentence on gradients that do not pass, or are others than the reference's; None where all is well.

    Args:
        function: the answer, of inputs and weights; returns its output, and what stands for the weights there.
        names: of the weights; by default those of the reference's arguments.
    """
    inputs, weights = leaves(trial.inputs), leaves(trial.weights)
    wanted = exercise.reference(*map(copied, (*inputs, *weights)))
    direction = torch.randn(wanted.shape, generator=GENERATOR).double()
    theirs = gradients(wanted, differentiable([*inputs, *weights]), direction)
    inputs, weights = leaves(trial.inputs), leaves(trial.weights)
    output, stand_ins = function(inputs, weights)
    ours = gradients(output, differentiable([*inputs, *stand_ins]), direction)
    found = [
        triple
        for triple in zip(named(exercise, trial, names), ours, theirs, strict=True)
        if triple[2] is not None  # else not even the reference's output depends on it
    ]
    cut = [name for name, got, _ in found if got is None]
    own = [name for name, got, _ in found[-len(trial.weights) :] if got is None] if trial.weights else []
    # A function may put all weights into layers that it builds; then what passes on to its input shows the rest.
    in_layers = names is None and len(own) == len(trial.weights) > 0 and len(cut) == len(own)
    if cut and not in_layers:
        return f"no gradient reaches {', '.join(cut[-3:])}"  # the weights come last, and matter most
    for name, got, expected in found:
        if got is None:
            continue
        got = (got if squeezed(got) == squeezed(expected) else got.T).reshape(expected.shape)
        tolerance = TOLERANCE.get(got.dtype, 0.1) * max(1.0, expected.abs().max().item())
        if not torch.allclose(got.double(), expected.double(), rtol=0, atol=tolerance):
            return f"the gradient of {name} is not what it should be: a part of the way to it is cut off"
    return None


def leaves(values: Sequence[object]) -> list[object]:
    """Copies; of floating-point tensors such as want a gradient."""
    return [
        value.detach().clone().requires_grad_(value.is_floating_point()) if isinstance(value, Tensor) else value
        for value in values
    ]


def differentiable(values: Sequence[object]) -> list[Tensor]:
    """Those that want a gradient."""
    return [value for value in values if isinstance(value, Tensor) and value.requires_grad]


def named(exercise: Exercise, trial: Trial, names: Sequence[str] | None) -> list[str]:
    """Names of inputs and weights that want a gradient."""
    arguments = list(inspect.signature(exercise.reference).parameters)
    if names is not None:
        arguments = [*arguments[: len(trial.inputs)], *names]
    values = [*trial.inputs, *trial.weights]
    return [
        name
        for name, value in zip(arguments, values, strict=True)
        if isinstance(value, Tensor) and value.is_floating_point()
    ]
