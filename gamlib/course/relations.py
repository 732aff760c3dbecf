"""What wrong outputs have to do with the right ones: the same in another shape, scaled, turned, gone through something.

Only what holds in all trials is said, so it is a fact about the answer, whatever it is written like.
"""

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import combinations, permutations

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Trial
from gamlib.course.values import agree

# What is done wrong with an argument: with one that is True or False, and with a number.
OF_SWITCHES = (
    ("counts the other way round", lambda x: not x),
    ("is left out, as if it were True", lambda x: True),
    ("is left out, as if it were False", lambda x: False),
)
OF_NUMBERS = (
    ("is left out, as if it were 1", lambda x: 1),
    ("is left out, as if it were 0", lambda x: 0),
    ("counts squared", lambda x: x * x),
    ("counts double", lambda x: 2 * x),
    ("counts half", lambda x: x / 2),
    ("is 1 too large", lambda x: x + 1),
    ("is 1 too small", lambda x: x - 1),
    ("counts with its root", lambda x: abs(x) ** 0.5),
    ("is taken as a share of 100", lambda x: x / 100),
)
# What the right output may have gone through, one thing too many: the words, and the function of (right, inputs).
THROUGH: tuple[tuple[str, Callable], ...] = (
    ("Yours are all 0.", lambda y, x: torch.zeros_like(y)),
    ("Yours are all 1.", lambda y, x: torch.ones_like(y)),
    ("That is the input, unchanged.", lambda y, x: x[0]),
    ("The sign is turned.", lambda y, x: -y),
    ("Yours are 1 minus the right ones.", lambda y, x: 1 - y),
    ("Yours are 1 plus the right ones.", lambda y, x: 1 + y),
    ("Yours are upside down: 1 divided by the right ones.", lambda y, x: 1 / y),
    ("Yours are the squares of the right ones.", lambda y, x: y.square()),
    ("Yours are the roots of the right ones.", lambda y, x: y.sqrt()),
    ("The right ones went through one sigmoid more.", lambda y, x: y.sigmoid()),
    ("The right ones went through a tanh.", lambda y, x: y.tanh()),
    ("The right ones went through a ReLU.", lambda y, x: y.relu()),
    ("The right ones went through an exponential.", lambda y, x: y.exp()),
    ("Yours are the logarithms of the right ones.", lambda y, x: y.log()),
    ("Yours are the absolute values of the right ones.", lambda y, x: y.abs()),
    ("Yours are the right ones, rounded.", lambda y, x: y.round()),
    *((f"The right ones went through a softmax over dimension {d}.", lambda y, x, d=d: y.softmax(d)) for d in range(4)),
    ("The right ones went through a BatchNorm.", lambda y, x: F.batch_norm(y, None, None, training=True)),
    ("They are multiplied by the input already; what is asked for is not.", lambda y, x: x[0] * y),
    ("They are multiplied by 1 + themselves as a gate on the input.", lambda y, x: x[0] * (1 + y)),
    ("The input is added once more.", lambda y, x: x[0] + y),
    ("The input is added with half its weight.", lambda y, x: (x[0] + y) / 2),
    ("The input is taken away from them.", lambda y, x: y - x[0]),
    ("They are taken away from the input.", lambda y, x: x[0] - y),
    ("They are multiplied by the input once more.", lambda y, x: y * x[0]),
    ("They are divided by the input: the gate alone is there.", lambda y, x: y / x[0]),
    ("True and False are exchanged.", lambda y, x: ~y),
    (
        "They are averaged over the batch: each image must have its own.",
        lambda y, x: y.mean(0, keepdim=True).expand_as(y),
    ),
    ("Every image has the first one's.", lambda y, x: y[:1].expand_as(y)),
    *(
        (
            f"They are averaged over dimension {d}, so that all along it are the same.",
            lambda y, x, d=d: y.mean(d, keepdim=True).expand_as(y),
        )
        for d in (1, 2, 3)
    ),
    *((f"They are the right ones, turned round along dimension {d}.", lambda y, x, d=d: y.flip(d)) for d in range(4)),
    *(
        (f"They are the right ones, moved on by {by} along dimension {d}.", lambda y, x, d=d, by=by: y.roll(by, d))
        for d in range(4)
        for by in (1, -1)
    ),
)


def of_tensors(trials: Sequence[Trial], got: Sequence[object], wanted: Sequence[Tensor]) -> str | None:
    """The relation of tensors; None where none is known."""
    if not all(isinstance(value, Tensor) for value in got):
        return None
    inputs = [[value for value in trial.inputs if isinstance(value, Tensor)] for trial in trials]
    for says, function in THROUGH:
        if agree(got, _made(function, wanted, inputs)):
            return says
    return _in_another_shape(got, wanted) or _scaled(got, wanted)


def _made(function: Callable, wanted: Sequence[Tensor], inputs: Sequence[list[Tensor]]) -> list[Tensor] | None:
    try:
        return [function(y, x) for y, x in zip(wanted, inputs, strict=True)]
    except (RuntimeError, IndexError, TypeError):
        return None


def _in_another_shape(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> str | None:
    """The right numbers, laid out otherwise."""
    shape, ours = tuple(wanted[0].shape), tuple(got[0].shape)
    if shape == ours:
        for order in permutations(range(len(shape))):
            if order != tuple(sorted(order)) and agree(got, [y.permute(order) for y in wanted]):
                return f"The numbers are right, but dimensions are exchanged: yours is the right one's permute{order}."
        return None
    if all(g.numel() == y.numel() for g, y in zip(got, wanted, strict=True)):
        if agree([g.reshape(y.shape) for g, y in zip(got, wanted, strict=True)], wanted):
            return f"The numbers are right; the shape should be {shape}, got {ours}."
        for order in permutations(range(got[0].ndim)):
            if got[0].ndim == len(shape) and agree([g.permute(order) for g in got], wanted):
                return f"The numbers are right, their dimensions in another order: expected {shape}, got {ours}."
    for says, narrow, broad in (
        (f"The numbers are right; the shape should be {shape}, got {ours}: expand it.", got, wanted),
        (f"The numbers are right, but stand there several times: expected {shape}, got {ours}.", wanted, got),
    ):
        try:
            if agree([a.expand_as(b) for a, b in zip(narrow, broad, strict=True)], broad):
                return says
        except RuntimeError:  # they do not broadcast
            continue
    if len(shape) == len(ours) and agree(got, [y[:1] for y in wanted]):
        return f"That is the first of the batch alone: expected {shape}, got {ours}."
    return None


def _scaled(got: Sequence[Tensor], wanted: Sequence[Tensor]) -> str | None:
    """A factor, or a constant added, the same for all."""
    if any(
        g.shape != y.shape or not g.is_floating_point() or not y.is_floating_point()
        for g, y in zip(got, wanted, strict=True)
    ):
        return None
    place = wanted[0].abs().argmax()
    factor = (got[0].flatten()[place] / wanted[0].flatten()[place]).item()
    if math.isfinite(factor) and factor and agree(got, [factor * y for y in wanted]):
        return f"Yours are {_number(factor)} times the right ones."
    constant = (got[0].flatten()[place] - wanted[0].flatten()[place]).item()
    if math.isfinite(constant) and agree(got, [y + constant for y in wanted]):
        return f"Yours are the right ones plus {_number(constant)}."
    return None


def of_numbers(
    exercise: Exercise, trials: Sequence[Trial], got: Sequence[object], wanted: Sequence[object]
) -> str | None:
    """The relation of numbers; None where none is known."""
    if not all(isinstance(g, bool | int | float) and abs(g) < 1e300 for g in got):
        return None
    if all(isinstance(y, bool) for y in wanted):
        if all(g in (True, False) and bool(g) != y for g, y in zip(got, wanted, strict=True)):
            return "True and False are exchanged."
        return None
    for says, function in (
        ("The sign is turned.", lambda y: -y),
        ("Yours is upside down: 1 divided by the right number.", lambda y: 1 / y),
        ("Yours is the square of the right number.", lambda y: y * y),
        ("Yours is the root of the right number.", lambda y: abs(y) ** 0.5),
        ("Yours is 1 minus the right number.", lambda y: 1 - y),
        ("Yours is cut off to an integer; keep the decimals.", int),
        ("Yours is rounded to an integer; keep the decimals.", round),
    ):
        if _holds(got, [function(y) if y else math.nan for y in wanted]):
            return says
    return _of_arguments(exercise, trials, got) or _off(exercise, trials, got, wanted)


def _holds(got: Sequence[float], expected: Sequence[float]) -> bool:
    return all(math.isclose(g, e, rel_tol=1e-6, abs_tol=1e-9) for g, e in zip(got, expected, strict=True))


def _arguments(exercise: Exercise, trials: Sequence[Trial]) -> dict[str, list[float]]:
    """The arguments that are numbers: name, and the value in each trial."""
    names = list(inspect.signature(exercise.reference).parameters)
    columns = zip(*(trial.inputs for trial in trials), strict=True)
    return {
        name: list(column)
        for name, column in zip(names, columns, strict=False)
        if all(isinstance(value, int | float) for value in column)
    }


def _of_arguments(exercise: Exercise, trials: Sequence[Trial], got: Sequence[float]) -> str | None:
    """The right function of the wrong arguments."""
    names = list(inspect.signature(exercise.reference).parameters)
    numbers = list(_arguments(exercise, trials))

    def changed() -> Iterator[tuple[str, Callable[[dict], dict]]]:
        for a, b in combinations(numbers, 2):
            yield f"That is what comes out with {a} and {b} exchanged.", lambda v, a=a, b=b: v | {a: v[b], b: v[a]}
        for name in numbers:
            is_switch = isinstance(trials[0].inputs[names.index(name)], bool)
            for words, function in OF_SWITCHES if is_switch else OF_NUMBERS:
                yield f"In yours, {name} {words}.", lambda v, n=name, f=function: v | {n: f(v[n])}
        for a, b in permutations(numbers, 2):
            yield f"In yours, {a} stands where {b} belongs.", lambda v, a=a, b=b: v | {b: v[a]}

    for says, change in changed():
        try:
            values = [change(dict(zip(names, trial.inputs, strict=False))) for trial in trials]
            if _holds(got, [float(exercise.reference(**v)) for v in values]):
                return says
        except (ValueError, TypeError, ZeroDivisionError, OverflowError, IndexError):
            continue
    return None


def _off(exercise: Exercise, trials: Sequence[Trial], got: Sequence[float], wanted: Sequence[float]) -> str | None:
    """A factor or a term that is a constant, an argument, or made of two."""
    numbers = {name: column for name, column in _arguments(exercise, trials).items() if all(column)}
    terms = list(numbers.items())
    terms += [
        (f"{a} x {b}", [x * y for x, y in zip(numbers[a], numbers[b], strict=True)])
        for a, b in combinations(numbers, 2)
    ]
    terms += [
        (f"{a} / {b}", [x / y for x, y in zip(numbers[a], numbers[b], strict=True)])
        for a, b in permutations(numbers, 2)
    ]
    terms += [(f"{name} squared", [x * x for x in column]) for name, column in numbers.items()]
    if all(wanted):
        ratios = [g / y for g, y in zip(got, wanted, strict=True)]
        if ratios[0] and _holds(ratios, [ratios[0]] * len(ratios)):
            return f"Yours is {_number(ratios[0])} times the right number."
        for name, column in terms:
            for words, power in (("times", 1), ("divided by", -1)):
                if _holds(ratios, [x**power for x in column]):
                    return f"Yours is the right number {words} {name}."
    differences = [g - y for g, y in zip(got, wanted, strict=True)]
    if _holds(differences, [differences[0]] * len(differences)):
        return f"Yours is {_number(abs(differences[0]))} too {'large' if differences[0] > 0 else 'small'}."
    for name, column in terms:
        for factor in (1, 2, -1, -2):
            if _holds(differences, [factor * x for x in column]):
                words = "larger" if factor > 0 else "smaller"
                return f"Yours is {words} than the right number by {'twice ' if abs(factor) == 2 else ''}{name}."
    return None


def _number(value: float) -> str:
    whole = round(1 / value) if value else 0
    return f"1/{whole}" if whole > 2 and math.isclose(value * whole, 1, rel_tol=1e-6) else f"{value:.6g}"


def relation(
    exercise: Exercise, trials: Sequence[Trial], got: Sequence[object], wanted: Sequence[object]
) -> str | None:
    """What can be said of all outputs together; None where nothing is known."""
    if all(isinstance(y, Tensor) for y in wanted):
        return of_tensors(trials, got, wanted)
    return of_numbers(exercise, trials, got, wanted)
