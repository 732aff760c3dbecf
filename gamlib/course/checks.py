"""Checks a reader's solution of an exercise, and says what is wrong with it; a known mistake is called by its name."""

import copy
import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import numpy as np
import torch
from torch import Tensor, nn

from gamlib._checks import unknown_name
from gamlib.course.describe import describe_difference, describe_error, is_stub, readers_frames
from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises import EXERCISES
from gamlib.course.exercises._draw import GENERATOR
from gamlib.course.parameters import UnlikeParameters, is_lazy, judge, shapes_of, squeezed

NOT_ATTEMPTED = "not attempted yet. Write it in the cell above, then run this one again."
NOTHING_RETURNED = "not attempted yet, or its return is missing: it gives None."
NO_GRADIENT = "not yet. No gradient reaches its parameters, so it can't be trained: a no_grad, .data or detach?"


def check(name: str, solution: Callable | type[nn.Module] | nn.Module) -> None:
    """Print what is to be said of `solution`.

    Args:
        name: of the exercise, such as "se.gate".
        solution: a function of the exercise's arguments; or a module, or its class. A module gets the reference's
            weights, parameter by parameter, in their order: so a 1x1 convolution will do for a Linear. A module is
            copied first, and random numbers go on as if nothing had been checked.

    Raises:
        ValueError: for an unknown exercise.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        raise unknown_name("exercise", str(name), EXERCISES)
    print(f"{name}: {answer(EXERCISES[name], solution)}")


def answer(exercise: Exercise, solution: Callable | type[nn.Module] | nn.Module, seed: int = 0) -> str:
    """What `check` prints, without the exercise's name. `seed` decides the inputs that are drawn."""
    surroundings = (
        torch.random.fork_rng(devices=[]),
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.device("cpu"),
        torch.autocast("cpu", enabled=False),
    )
    with ExitStack() as stack:
        for context in surroundings:
            stack.enter_context(context)
        GENERATOR.manual_seed(seed)
        return _answer(exercise, solution, exercise.trials())


def _answer(exercise: Exercise, solution: object, trials: Sequence[Trial]) -> str:
    advice = ""
    if isinstance(solution, nn.Module):  # built for one size already
        if not any(fits(solution, trial) for trial in trials):
            advice = "\n  Hand over the class: it is built here for several sizes."
        trials = [trial for trial in trials if fits(solution, trial)] or trials[:1]
    elif isinstance(solution, type):
        given = ", ".join(f"{key}={value}" for key, value in trials[0].construct.items())
        advice = f"\n  The class is called with {given}." if given else "\n  A function is asked for, not a class."
    expected = [exercise.reference(*trial.inputs, *trial.weights) for trial in trials]
    got = []
    for trial, wanted in zip(trials, expected, strict=True):
        try:
            value = apply(solution, trial)
            got.append(plain(value, wanted))
        except UnlikeParameters as unlike:
            return judge(exercise, trials, unlike, wanted) or NOT_ATTEMPTED
        except NoGradient:
            return NO_GRADIENT
        except NotImplementedError as error:
            return NOT_ATTEMPTED if is_stub(error) else describe_error(error)
        except (Exception, SystemExit) as error:
            return describe_error(error) + advice * (not readers_frames(error) or isinstance(solution, nn.Module))
        if value is Ellipsis:
            return NOT_ATTEMPTED
        if value is None:
            return NOTHING_RETURNED if len(got) == 1 else "not yet. It gives None for some inputs: is a return missing?"
    if agree(got, expected):
        return f"right. {exercise.notice}"
    for mistake in exercise.mistakes:
        if mistake.function is not None and agree(got, outputs(mistake, trials)):
            return f"not yet. {mistake.message}"
    trial, ours, wanted = next(
        found for found in zip(trials, got, expected, strict=True) if not same(found[1], found[2])
    )
    return describe_difference(trial.inputs, ours, wanted)


class NoGradient(Exception):
    """A module whose output does not depend on its parameters, as far as autograd knows."""


def apply(solution: object, trial: Trial) -> object:
    """The solution's output in one trial.

    Raises UnlikeParameters where the weights do not fit into a module, and NoGradient.
    """
    if isinstance(solution, type) and issubclass(solution, nn.Module):
        module = solution(**trial.construct)
    elif isinstance(solution, nn.Module):
        module = copy.deepcopy(solution)
    else:
        return solution(*(copied(value) for value in (*trial.inputs, *trial.weights)))
    if is_lazy(module):
        module(*map(copied, trial.inputs))  # its layers learn their sizes
    module = module.train().double()  # so that a coarse type does not hide a mistake
    inputs = [value.double() if isinstance(value, Tensor) else copied(value) for value in trial.inputs]
    if not fits(module, trial):
        raise UnlikeParameters(solution, module, inputs, module(*inputs))
    with torch.no_grad():
        for p, weight in zip(module.parameters(), trial.weights, strict=True):
            p.copy_(weight.reshape(p.shape))
    output = module(*inputs)
    if isinstance(output, Tensor) and not output.requires_grad and list(module.parameters()):
        raise NoGradient
    return output


def fits(module: nn.Module, trial: Trial) -> bool:
    """Whether the trial's weights have the shapes of the module's parameters, or may come to have them."""
    return is_lazy(module) or shapes_of(module) == [squeezed(weight) for weight in trial.weights]


def copied(value: object) -> object:
    """A copy: a solution that works in place must not change what others are compared with."""
    return value.clone() if isinstance(value, Tensor) else copy.deepcopy(value)


def plain(value: object, wanted: object) -> object:
    """`value` as the kind of thing that is wanted, where it is one in other clothes: an array, a number as a tensor."""
    if isinstance(wanted, Tensor):
        if isinstance(value, np.ndarray | np.generic | float | int | list | tuple):
            value = torch.as_tensor(value)
        value = value.detach().cpu() if isinstance(value, Tensor) else value
        return value.to_dense() if isinstance(value, Tensor) and value.is_sparse else value
    is_one_number = isinstance(value, Tensor | np.ndarray | np.generic) and np.prod(value.shape) == 1
    return value.item() if is_one_number else value


def outputs(mistake: Mistake, trials: Sequence[Trial]) -> list[object] | None:
    """A mistake's outputs; None where it can't be made with these arguments."""
    try:
        return [mistake.function(*map(copied, (*trial.inputs, *trial.weights))) for trial in trials]
    except (RuntimeError, IndexError, ValueError):
        return None


def agree(ours: Sequence[object], theirs: Sequence[object] | None) -> bool:
    """Whether all outputs are the same, up to rounding."""
    return theirs is not None and all(map(same, ours, theirs))


def same(a: object, b: object) -> bool:
    """Whether two outputs are the same, up to the rounding of the coarser one's type, float16 at most."""
    if isinstance(b, float):
        return isinstance(a, int | float) and math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-9)
    if not isinstance(b, Tensor):
        return isinstance(a, bool | int | float | complex) and a == b
    if not isinstance(a, Tensor) or a.shape != b.shape or a.is_complex():
        return False
    rounding = max((torch.finfo(t.dtype).eps for t in (a, b) if t.is_floating_point()), default=0.0)
    rounding = min(rounding, torch.finfo(torch.float16).eps)
    a, b = a.double(), b.double()
    return torch.allclose(a, b, rtol=0, atol=16 * rounding * max(1.0, b.abs().max().item()))
