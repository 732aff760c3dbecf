"""Checks a reader's solution of an exercise, and says what is wrong with it; a known mistake is called by its name."""

import linecache
import math
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from gamlib.attention._checks import unknown_name
from gamlib.course.exercise import Exercise, Trial
from gamlib.course.exercises import EXERCISES
from gamlib.course.exercises._draw import GENERATOR

PACKAGES = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))  # code that is not the reader's

NOT_ATTEMPTED = "not attempted yet. Write it in the cell above, then run this one again."


def check(name: str, solution: Callable | type[nn.Module] | nn.Module) -> None:
    """Print what is to be said of `solution`.

    Args:
        name: of the exercise, such as "se.gate".
        solution: a function of the exercise's arguments; or a module, or its class. A module gets the reference's
            weights, parameter by parameter, in their order: so a 1x1 convolution will do for a Linear.

    Raises:
        ValueError: for an unknown exercise.
    """
    if name not in EXERCISES:
        raise unknown_name("exercise", name, EXERCISES)
    print(f"{name}: {answer(EXERCISES[name], solution)}")


def answer(exercise: Exercise, solution: Callable | type[nn.Module] | nn.Module, seed: int = 0) -> str:
    """What `check` prints, without the exercise's name. `seed` decides the inputs that are drawn."""
    GENERATOR.manual_seed(seed)
    trials = exercise.trials()
    if isinstance(solution, nn.Module):  # built for one size already
        trials = [trial for trial in trials if fits(solution, trial)] or trials[:1]
    expected = [exercise.reference(*trial.inputs, *trial.weights) for trial in trials]
    got = []
    for trial in trials:
        try:
            got.append(apply(solution, trial))
        except NotImplementedError:
            return NOT_ATTEMPTED
        except OtherParameters as other:
            return judge_by_parameters(exercise, trial, other)
        except Exception as error:
            class_advice = "\n  Hand over the class: it is built here for several sizes." * isinstance(
                solution, nn.Module
            )
            return describe_error(error) + class_advice
        if got[-1] is None or got[-1] is Ellipsis:
            return NOT_ATTEMPTED
    if agree(got, expected):
        return f"right. {exercise.notice}"
    for mistake in exercise.mistakes:
        if mistake.function is not None and agree(got, outputs(mistake.function, trials)):
            return f"not yet. {mistake.message}"
    return describe_difference(trials, got, expected)


class OtherParameters(Exception):
    """A module whose parameters are not the reference's."""

    def __init__(self, module: nn.Module, output: object) -> None:
        self.module, self.output = module, output


def apply(solution: Callable | type[nn.Module] | nn.Module, trial: Trial) -> object:
    """The solution's output in one trial. Raises OtherParameters where the weights do not fit into a module."""
    if isinstance(solution, type) and issubclass(solution, nn.Module):
        solution = solution(**trial.construct)
    if not isinstance(solution, nn.Module):
        return solution(*(copied(value) for value in (*trial.inputs, *trial.weights)))
    if not fits(solution, trial):
        raise OtherParameters(solution, solution.train()(*map(copied, trial.inputs)))
    parameters = list(solution.parameters())
    dtype = parameters[0].dtype if parameters else torch.float32
    with torch.no_grad():
        for p, weight in zip(parameters, trial.weights, strict=True):
            p.copy_(weight.reshape(p.shape))
    inputs = [value.to(dtype) if isinstance(value, Tensor) else value for value in map(copied, trial.inputs)]
    return solution.train()(*inputs)


def fits(module: nn.Module, trial: Trial) -> bool:
    """Whether the trial's weights have the shapes of the module's parameters."""
    return [squeezed(p) for p in module.parameters()] == [squeezed(weight) for weight in trial.weights]


def copied(value: object) -> object:
    """A tensor's copy: a solution that works in place must not change what others are compared with."""
    return value.clone() if isinstance(value, Tensor) else value


def squeezed(tensor: Tensor) -> list[int]:
    """The shape without ones: a 1x1 convolution's is a Linear's."""
    return [size for size in tensor.shape if size != 1]


def outputs(function: Callable, trials: Sequence[Trial]) -> list[object] | None:
    """A mistake's outputs; None where it can't be made with these arguments."""
    try:
        return [function(*trial.inputs, *trial.weights) for trial in trials]
    except (RuntimeError, IndexError, ValueError):
        return None


def agree(ours: Sequence[object], theirs: Sequence[object] | None) -> bool:
    """Whether all outputs are the same, up to rounding."""
    return theirs is not None and all(map(same, ours, theirs))


def same(a: object, b: object) -> bool:
    """Whether two outputs are the same, up to the rounding of the coarser one's type."""
    if not isinstance(b, Tensor):
        return not isinstance(a, Tensor) and a == b
    if not isinstance(a, Tensor) or a.shape != b.shape:
        return False
    rounding = max((torch.finfo(t.dtype).eps for t in (a, b) if t.is_floating_point()), default=0.0)
    a, b = a.double(), b.double()
    return torch.allclose(a, b, rtol=0, atol=16 * rounding * max(1.0, b.abs().max().item()))


def judge_by_parameters(exercise: Exercise, trial: Trial, other: OtherParameters) -> str:
    """For a module that the reference's weights don't fit into: a known mistake, or what can be said without them."""
    shapes = [squeezed(p) for p in other.module.parameters()]
    expected = [squeezed(weight) for weight in trial.weights]
    for mistake in exercise.mistakes:
        if mistake.shapes is not None and shapes == mistake.shapes(expected):
            return f"not yet. {mistake.message}"
    if sorted(shapes) == sorted(expected):
        return (
            f"not yet. Its parameters are the right ones, in another order: {shapes}. They are filled in the order of "
            f"declaration, so declare the layers in this one: {expected} (ones left out)."
        )
    surplus, lacking = surplus_of(shapes, expected), surplus_of(expected, shapes)
    told = "; ".join(
        f"{words} {', '.join(map(str, found))}"
        for words, found in (("it has", surplus), ("it lacks", lacking))
        if found
    )
    told = f"its parameters are not the reference's (ones left out of shapes, {told}), so it could be judged"
    (x, *_), output = trial.inputs, other.output
    if output is None or output is Ellipsis:
        return NOT_ATTEMPTED
    wanted = exercise.reference(*trial.inputs, *trial.weights).shape
    if not isinstance(output, Tensor) or output.shape != wanted:
        return f"not yet. It returns {describe(output)}, expected {tuple(wanted)}. And {told} by its shape alone."
    factor = output / x if output.shape == x.shape else torch.ones(1)
    is_gated = factor.min() >= 0 and factor.max() <= exercise.largest_gain
    if math.isfinite(exercise.largest_gain) and not is_gated:
        return f"not yet. It is not the input times a gate. And {told} by its properties alone."
    return f"perhaps right, perhaps not: {told} by its properties alone. Those are fine."


def surplus_of(shapes: list[list[int]], others: list[list[int]]) -> list[list[int]]:
    """The shapes for which `others` has no match."""
    left = list(others)
    return [shape for shape in shapes if shape not in left or left.remove(shape)]


def describe(value: object) -> str:
    """A shape, or what stands in the place of a tensor."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    return repr(value)[:60] if isinstance(value, (bool, int, float)) else f"{type(value).__name__} {repr(value)[:60]}"


# What PyTorch's words mean in an exercise: (a part of the message, what to do).
ADVICE = (
    ("mat1 and mat2 shapes cannot be multiplied", "A layer's weight is (out, in): x @ w.T, or F.linear(x, w)."),
    ("torch.return_types.max", "x.max(dim) returns values and places; x.amax(dim) returns the values alone."),
    (
        "must match the size of tensor",
        "Two shapes do not meet. A gate (N, C) needs [:, :, None, None]; a convolution needs padding=kernel_size // 2 "
        "to keep height and width.",
    ),
    ("Kernel size can't be greater than actual input size", "The convolution lacks its padding, so the map shrinks."),
)


def describe_error(error: Exception) -> str:
    """The reader's own line, and what went wrong in it, without the frames of libraries."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(PACKAGES)]
    where = (
        f"\n  line {frames[-1].lineno}: {linecache.getline(frames[-1].filename, frames[-1].lineno).strip()}"
        if frames
        else ""
    )
    advice = "".join(f"\n  {meaning}" for words, meaning in ADVICE if words in str(error))
    return f"your code raised {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}{where}{advice}"


def describe_difference(trials: Sequence[Trial], got: Sequence[object], expected: Sequence[object]) -> str:
    """Of the first trial that differs: the shapes; where they agree, the largest difference and its place."""
    trial, ours, wanted = next((t, a, b) for t, a, b in zip(trials, got, expected, strict=True) if not same(a, b))
    if not isinstance(wanted, Tensor):
        arguments = ", ".join(map(repr, trial.inputs))
        return f"not yet: for ({arguments}) expected {wanted!r}, got {describe(ours)}."
    if not isinstance(ours, Tensor) or ours.shape != wanted.shape:
        return f"not yet: expected {describe(wanted)}, got {describe(ours)}."
    difference = (ours.double() - wanted.double()).abs().nan_to_num(nan=float("inf"))
    place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), difference.shape))
    share = (difference > 1e-5).double().mean().item()
    return (
        f"not yet: the shape {tuple(wanted.shape)} is right, and {share:.0%} of the values are wrong. The largest "
        f"difference is at {list(place)}: expected {describe_value(wanted[place])}, got {describe_value(ours[place])}."
    )


def describe_value(value: Tensor) -> str:
    """One number, or True or False."""
    return f"{value.item():.4f}" if value.is_floating_point() else str(value.item())
