"""Checks a reader's solution of an exercise, and says what is wrong with it; a known mistake is called by its name."""

import dataclasses
import functools
import inspect
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack

import torch
from torch import Tensor, nn

from gamlib import explain
from gamlib._checks import unknown_name
from gamlib.course import gradients, parameters, slips
from gamlib.course.answering import say
from gamlib.course.describe import describe_difference, describe_error, is_stub, readers_frames, told
from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises import EXERCISES
from gamlib.course.exercises._draw import GENERATOR
from gamlib.course.modules import fill, in_order, modules_for, orders
from gamlib.course.relations import relation
from gamlib.course.replacing import Replacing
from gamlib.course.values import agree, copied, plain, same

NOT_ATTEMPTED = "not attempted yet. Write it in the cell above, then run this one again."
IN_THIS_CELL = "not attempted yet. Write it in this cell, then run it again."
NOTHING_RETURNED = "not attempted yet, or its return is missing: it gives None."
NOT_ALWAYS = "not yet. It gives None for some inputs: is a return missing?"
CHANGED = (
    "not yet. The numbers are right, but it changes what it is given, in place, and whoever called it still needs "
    "that: write x = x * y, not x *= y."
)
NO_TENSOR = " (As an array or a number it hands no gradient on; in a network, keep to PyTorch's functions.)"
# What PyTorch says where one side is float64, as the trials are, and the other is float32.
TWO_TYPES = re.compile(r"same dtype|scalar type|Found dtype|type \(\w+\) and|should be the same|dtypes? .* match")


class OtherType(Exception):
    """Something in a solution can't be float64."""


def check(name: str, solution: Callable | type[nn.Module] | nn.Module) -> None:
    """Say what is to be said of `solution`, in a small box in a notebook.

    Args:
        name: of the exercise, such as "se.gate".
        solution: a function of the exercise's arguments; or a module, or its class. A module gets the reference's
            weights, layer by layer, in the order of declaration, or in another one in which they fit; a 1x1 convolution
            will do for a Linear. It is tried in training and in eval. A module is copied first, and random numbers go
            on as if nothing had been checked.

    Raises:
        ValueError: for an unknown exercise.
    """
    if not isinstance(name, str) or name not in EXERCISES:
        raise unknown_name("exercise", str(name), EXERCISES)
    said = answer(EXERCISES[name], solution)
    if said == NOT_ATTEMPTED and file_of(solution) == sys._getframe(1).f_code.co_filename:
        said = IN_THIS_CELL
    say(name, said)


def to_train(name: str, mine: type[nn.Module], solution: type[nn.Module], gates: Sequence[str] = ()) -> type[nn.Module]:
    """`mine` once `check` would say right of it, else `solution`; prints which of them, and why.

    Args:
        name: of the exercise.
        mine, solution: classes.
        gates: names of the submodules whose outputs the notebook looks at, or which it replaces.

    Raises:
        ValueError: for an unknown exercise.
    """
    if name not in EXERCISES:
        raise unknown_name("exercise", str(name), EXERCISES)
    exercise = EXERCISES[name]
    if answer(exercise, mine).startswith("right"):
        trial = exercise.trials()[0]
        first, *rest = trial.construct.items()
        try:  # as create_model does
            explain.capture_gates(mine(first[1], **dict(rest)).eval(), trial.inputs[0], list(gates))
        except ValueError:
            called = " and ".join(f"self.{gate}" for gate in gates)
            print(f"{mine.__name__} is right, but the notebook looks at its gates: make them with {called}, once each.")
        except TypeError:
            called = ", ".join([first[0], *(key for key, _ in rest)])
            print(f"{mine.__name__} is right, but it can't be called as the notebook does: take ({called}), so named.")
        else:
            print(f"{mine.__name__} is right, so your own class is used from here on.")
            return mine
    else:
        print(f"{mine.__name__} is not right yet, so the solution's {solution.__name__} is used from here on.")
    return solution


def file_of(solution: object) -> str | None:
    """The file, or the notebook's cell, that a solution is written in."""
    try:
        function = solution.forward if isinstance(solution, type | nn.Module) else solution
        return inspect.unwrap(function).__code__.co_filename
    except Exception:  # a reader's object may be anything
        return None


def answer(exercise: Exercise, solution: object, seed: int = 0) -> str:
    """What `check` prints, without the exercise's name. `seed` decides the inputs that are drawn."""
    default = torch.get_default_dtype()
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
        stack.callback(torch.set_default_dtype, default)
        torch.set_default_dtype(torch.float32)
        GENERATOR.manual_seed(seed)
        trials = list(exercise.trials())
        try:
            return judged(exercise, solution, [in_type(trial, torch.float64) for trial in trials])
        except OtherType:
            return judged(exercise, solution, [in_type(trial, torch.float32) for trial in trials])


def in_type(trial: Trial, dtype: torch.dtype) -> Trial:
    """The trial with its floating-point numbers in `dtype`: float64, so that rounding does not hide a mistake."""

    def typed(value: object) -> object:
        if callable(value):
            return given(value)
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    inputs, weights = tuple(map(typed, trial.inputs)), tuple(map(typed, trial.weights))
    return dataclasses.replace(trial, inputs=inputs, weights=weights)


def given(function: Callable) -> Callable:
    """A function that an exercise hands over: no slip of the reader's lies in it."""

    @functools.wraps(function)
    def called(*arguments):
        with torch._C.DisableTorchFunction():
            return function(*arguments)

    return called


def judged(exercise: Exercise, solution: object, trials: Sequence[Trial]) -> str:
    """What is to be said, whatever a reader's object does. Raises OtherType where float64 can't be."""
    is_class = issubclass(type(solution), type)
    try:
        made = solution.func if isinstance(solution, functools.partial) else solution
        is_module = issubclass(made if isinstance(made, type) else type(made), nn.Module)
        by_layers = is_module and exercise.fault is None
        return of_module(exercise, solution, trials) if by_layers else of_function(exercise, solution, trials)
    except NotImplementedError as error:
        return NOT_ATTEMPTED if is_stub(error) else describe_error(error)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a SystemExit, too, and whatever else a reader's code may raise
        if trials_type(trials) is torch.float64 and TWO_TYPES.search(told(str, error)):
            raise OtherType from None
        return describe_error(error) + advice(solution, trials) * (not readers_frames(error) or not is_class)


def trials_type(trials: Sequence[Trial]) -> torch.dtype | None:
    """The type of the floating-point numbers; None where there are none."""
    values = (value for trial in trials for value in (*trial.inputs, *trial.weights))
    return next((v.dtype for v in values if isinstance(v, Tensor) and v.is_floating_point()), None)


def advice(solution: object, trials: Sequence[Trial]) -> str:
    """How a class or a module is to be handed over."""
    if isinstance(solution, nn.Module):
        return "\n  Hand over the class: it is built here for several sizes."
    if isinstance(solution, type):
        given = ", ".join(f"{key}={value}" for key, value in trials[0].construct.items())
        return f"\n  The class is called with {given}." if given else "\n  A function is asked for, not a class."
    return ""


def of_function(exercise: Exercise, solution: Callable, trials: Sequence[Trial]) -> str:
    """A function of inputs and weights."""
    wanted = [exercise.reference(*trial.inputs, *trial.weights) for trial in trials]
    got, changed, as_tensor = [], False, True
    for trial, expected in zip(trials, wanted, strict=True):
        arguments = [copied(value) for value in (*trial.inputs, *trial.weights)]
        value = solution(*arguments)
        if (none := no_answer(value, got)) is not None:
            return none
        if isinstance(value, nn.Module):
            return "not yet. It returns a module, not what the module makes of its input: hand over the class itself."
        changed = changed or not unchanged(arguments, (*trial.inputs, *trial.weights))
        as_tensor = as_tensor and (isinstance(value, Tensor) or not isinstance(expected, Tensor))
        got.append(plain(value, expected))
    if not (agree(got, wanted) if exercise.fault is None else fault(exercise, trials, got, wanted) is None):
        return mistaken(exercise, trials, got, wanted)
    if changed:
        return CHANGED
    if not exercise.trained:
        return f"right. {exercise.notice}"
    if not as_tensor and wanted[0].ndim:
        return f"right. {exercise.notice}{NO_TENSOR}"

    def again(inputs, weights):
        return solution(*map(copied, (*inputs, *weights))), weights

    try:
        return right_or_lost(exercise, trials[1], again)
    except RuntimeError as error:
        if "numpy()" in str(error):
            return f"right. {exercise.notice}{NO_TENSOR}"
        raise


def no_answer(value: object, earlier: Sequence[object]) -> str | None:
    """What is to be said where nothing was returned; None where something was."""
    if value is Ellipsis:
        return NOT_ATTEMPTED
    if value is None:
        return NOT_ALWAYS if earlier else NOTHING_RETURNED
    return None


def unchanged(values: Sequence[object], originals: Sequence[object]) -> bool:
    """Whether tensors and lists are as they were, up to rounding."""
    return all(
        same(value, original) if isinstance(original, Tensor) else value == original
        for value, original in zip(values, originals, strict=True)
        if isinstance(original, Tensor | list)
    )


def right_or_lost(exercise: Exercise, trial: Trial, function: Callable, names: Sequence[str] | None = None) -> str:
    """For a right answer: whether gradients pass, too."""
    if lost := gradients.lost(exercise, trial, function, names):
        return (
            f"not yet. The numbers are right, but {lost}, so it can't be trained as it should: a no_grad, .data, "
            ".item() or detach on the way?"
        )
    return f"right. {exercise.notice}"


def of_module(exercise: Exercise, solution: type[nn.Module] | nn.Module, trials: Sequence[Trial]) -> str:
    """A module, or its class."""
    dtype = trials_type(trials) or torch.float64
    trials, modules = built(solution, trials, dtype)
    wanted = [exercise.reference(*trial.inputs, *trial.weights) for trial in trials]
    ways = [orders(module, trial.weights) for module, trial in zip(modules, trials, strict=True)]
    possible = [way for way in ways[0] if all(way in others for others in ways)]
    if not possible:

        def besides(own, got):
            return mistaken(exercise, own, got, [exercise.reference(*t.inputs, *t.weights) for t in own], start="")

        output = parameters.run(modules[0], trials[0])
        if output is None or output is Ellipsis:
            return NOT_ATTEMPTED
        return parameters.judge(exercise, trials, modules, output, wanted[0], besides)
    first = None
    for way in possible:
        got = []
        for module, trial, expected in zip(modules, trials, wanted, strict=True):
            fill([p for _, p in in_order(module, way)], trial.weights)
            arguments = [copied(value) for value in trial.inputs]
            value = module.train()(*arguments)
            if (none := no_answer(value, got)) is not None:
                return none
            if not unchanged(arguments, trial.inputs):
                return CHANGED
            got.append(plain(value, expected))
        if agree(got, wanted):
            return right_module(exercise, modules, trials, way)
        first = first or got
    return mistaken(exercise, trials, first, wanted)


def built(solution, trials: Sequence[Trial], dtype: torch.dtype) -> tuple[list[Trial], list[nn.Module]]:
    """The trials that can be made with it, and a module for each.

    A module that is built already has one size: where it fits no trial, its class is built anew.
    """
    if isinstance(solution, nn.Module):
        fitting = []
        for trial in trials:
            try:
                (module,) = modules_for(solution, [trial])
            except RuntimeError:  # a lazy layer that is of another size already
                continue
            fitting += [(trial, module.to(dtype))] if orders(module, trial.weights) else []
        if fitting:
            return [trial for trial, _ in fitting], [module for _, module in fitting]
        try:
            own = type(solution)
            if own.__module__.startswith("torch."):
                raise TypeError("a container, which does not know how it was filled")
            return list(trials), [module.to(dtype) for module in modules_for(own, trials)]
        except Exception:  # its class can't be built like that: as it is, then, and what is wrong with it is said
            return list(trials[:1]), [module.to(dtype) for module in modules_for(solution, trials[:1])]
    return list(trials), [m.to(dtype) for m in modules_for(solution, trials)]


def right_module(exercise: Exercise, modules: Sequence[nn.Module], trials: Sequence[Trial], way: list[int]) -> str:
    """For a module that is right in training: gradients, and then eval."""
    names = [name for name, _ in in_order(modules[0], way)]

    def again(inputs, weights):
        modules[0].train()
        return modules[0](*map(copied, inputs)), [p for _, p in in_order(modules[0], way)]

    verdict = right_or_lost(exercise, trials[0], again, names) if exercise.trained else f"right. {exercise.notice}"
    if not verdict.startswith("right"):
        return verdict
    for module, trial in zip(modules, trials, strict=True):
        for child in module.modules():
            if isinstance(child, nn.modules.batchnorm._NormBase):
                child.reset_running_stats()
        with Replacing({"batch_norm": slips.evaluating}):
            expected = exercise.reference(*trial.inputs, *trial.weights)
        value = plain(module.eval()(*map(copied, trial.inputs)), expected)
        if not same(value, expected):
            return (
                "not yet. In training it is right; after .eval() it gives something else than it should. Is there a "
                "self.training in it, or a BatchNorm that keeps no running averages?"
            )
    return verdict


def mistaken(
    exercise: Exercise,
    trials: Sequence[Trial],
    got: Sequence[object],
    wanted: Sequence[object],
    start: str = "not yet. ",
) -> str:
    """What is to be said of wrong outputs."""
    for mistake in exercise.mistakes:
        if mistake.function is not None and agree(got, outputs(mistake, trials)):
            return f"{start}{mistake.message}"
    if said := exercise.fault and fault(exercise, trials, got, wanted):
        return said
    if known := relation(exercise, trials, got, wanted) or slips.find(exercise, trials, got):
        return f"{start}{known}"
    trial, ours, expected = next(
        found for found in zip(trials, got, wanted, strict=True) if not same(found[1], found[2])
    )
    return describe_difference(trial.inputs, ours, expected)


def fault(exercise: Exercise, trials: Sequence[Trial], got: Sequence[object], wanted: Sequence[object]) -> str | None:
    """What is to be said of the first output that is not as it should be, where many may be right; None if all are."""
    for trial, ours, example in zip(trials, got, wanted, strict=True):
        is_alike = isinstance(ours, Tensor) and not ours.is_complex() and ours.shape == example.shape
        if not is_alike or not ours.isfinite().all():
            return describe_difference(trial.inputs, ours, example)
        if said := exercise.fault(ours.double(), *trial.inputs):
            return f"not yet. {said}"
    return None


def outputs(mistake: Mistake, trials: Sequence[Trial]) -> list[object] | None:
    """A mistake's outputs; None where it can't be made with these arguments."""
    try:
        return [mistake.function(*map(copied, (*trial.inputs, *trial.weights))) for trial in trials]
    except (RuntimeError, IndexError, ValueError, TypeError):
        return None
