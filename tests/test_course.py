"""Exercises answer back: what is right passes however it is written, and each known mistake is called by name."""

import re
import time

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gamlib import SE
from gamlib.course import check
from gamlib.course.checks import answer
from gamlib.course.exercises import EXERCISES

MISTAKES = [
    pytest.param(name, mistake, id=f"{name}-{i}")
    for name, exercise in EXERCISES.items()
    for i, mistake in enumerate(exercise.mistakes)
    if mistake.function is not None
]
BY_SHAPES = [
    pytest.param(name, mistake, id=f"{name}-{i}")
    for name, exercise in EXERCISES.items()
    for i, mistake in enumerate(exercise.mistakes)
    if mistake.function is None
]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_is_right(name):
    exercise = EXERCISES[name]
    assert answer(exercise, exercise.reference) == f"right. {exercise.notice}"
    assert len(exercise.mistakes) >= 3
    assert len({mistake.message for mistake in exercise.mistakes}) == len(exercise.mistakes)


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_is_called_by_its_name_and_by_no_other(name, mistake):
    """Also where another mistake is looked for first."""
    exercise = EXERCISES[name]
    for seed in range(5):
        assert answer(exercise, mistake.function, seed) == f"not yet. {mistake.message}"
    others = [other for other in exercise.mistakes if other is not mistake and other.function is not None]
    alone = type(exercise)(exercise.reference, exercise.trials, exercise.notice, tuple(others))
    assert not any(other.message in answer(alone, mistake.function) for other in others)


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., "raises"])
def test_a_stub_is_not_attempted(name, stub):
    def raises(*_):
        raise NotImplementedError

    assert answer(EXERCISES[name], raises if stub == "raises" else stub).startswith("not attempted yet")


def test_a_modules_stub_is_not_attempted():
    class Stub(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()

        def forward(self, x):
            raise NotImplementedError

    class Passes(Stub):
        def forward(self, x):
            pass

    for stub in (Stub, Passes):
        assert answer(EXERCISES["se.module"], stub).startswith("not attempted yet")


def channels_last(x, w1, w2):
    z = torch.einsum("nchw->nc", x.contiguous(memory_format=torch.channels_last)) / (x.shape[2] * x.shape[3])
    hidden = torch.einsum("nc,dc->nd", z, w1).clamp(min=0)
    return (1 / (1 + torch.exp(-torch.einsum("nd,cd->nc", hidden, w2)))).unflatten(1, (-1, 1, 1))


def by_convolution(x, w1, w2):
    z = F.adaptive_avg_pool2d(x, 1)
    return F.conv2d(F.conv2d(z, w1[:, :, None, None]).relu_(), w2[:, :, None, None]).sigmoid()


def by_a_loop(x, w1, w2):
    gates = []
    for image in x:
        z = torch.stack([channel.flatten().sum() / channel.numel() for channel in image])
        gates.append(torch.sigmoid(w2 @ torch.relu(w1 @ z)))
    return torch.stack(gates).reshape(len(x), -1, 1, 1)


def in_place(x, w1, w2):
    x -= 1
    x += 1
    return by_convolution(x, w1, w2)


@pytest.mark.parametrize("solution", [channels_last, by_convolution, by_a_loop, in_place])
def test_other_ways_to_write_it_are_right(solution):
    assert answer(EXERCISES["se.gate"], solution).startswith("right.")


class WithConvolutions(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.up = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


@pytest.mark.parametrize("module", [SE, WithConvolutions])
def test_modules_are_right_in_every_float_type(module):
    exercise = EXERCISES["se.module"]
    assert answer(exercise, module).startswith("right.")
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        typed = lambda channels, reduction, dtype=dtype: module(channels, reduction=reduction).to(dtype)  # noqa: E731
        assert answer(exercise, type("Typed", (Wrapper,), {"make": staticmethod(typed)})).startswith("right.")


class Wrapper(nn.Module):
    def __init__(self, **construct):
        super().__init__()
        self.inner = self.make(**construct)

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(("name", "mistake"), BY_SHAPES)
def test_a_mistake_in_a_modules_parameters_is_called_by_its_name(name, mistake):
    class Mistaken(nn.Module):
        def __init__(self, **construct):
            super().__init__()
            (trial,) = [trial for trial in EXERCISES[name].trials() if trial.construct == construct][:1]
            shapes = mistake.shapes([list(weight.shape) for weight in trial.weights])
            self.weights = nn.ParameterList([torch.zeros(shape) for shape in shapes])

        def forward(self, x):
            return x

    assert answer(EXERCISES[name], Mistaken) == f"not yet. {mistake.message}"


def test_a_built_module_is_checked_where_it_fits():
    for trial in EXERCISES["se.module"].trials():
        assert answer(EXERCISES["se.module"], SE(**trial.construct)).startswith("right.")
    assert "perhaps right" in answer(EXERCISES["se.module"], SE(8, reduction=8))


def test_modules_with_a_mistake_in_them():
    class NoSigmoid(WithConvolutions):
        def forward(self, x):
            return x * self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True))))

    class Biases(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.down = nn.Linear(channels, channels // reduction)
            self.up = nn.Linear(channels // reduction, channels)

        def forward(self, x):
            return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))[:, :, None, None]

    class Backwards(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.down, self.up = self.up, self.down

    class Wide(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, 1)

    class WideAndNoGate(Wide):
        def forward(self, x):
            return x * self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))) * 50

    exercise = EXERCISES["se.module"]
    assert "the sigmoid is missing" in answer(exercise, NoSigmoid)
    assert "have biases" in answer(exercise, Biases)
    assert "perhaps right: its parameters have the shapes [[8, 8], [8, 8]]" in answer(exercise, Wide)
    assert "not the input times a gate" in answer(exercise, WideAndNoGate)


def test_an_exception_is_shown_as_the_readers_own_with_its_line():
    def mine(x, w1, w2):
        z = x.mean((2, 3))
        return torch.sigmoid(z @ w2.T)

    told = answer(EXERCISES["se.gate"], mine)
    assert re.match("your code raised RuntimeError: .*mat1 and mat2 shapes cannot be multiplied", told)
    assert "return torch.sigmoid(z @ w2.T)" in told
    assert len(told.splitlines()) == 2


def test_an_unknown_mistake_is_told_by_shape_or_by_its_largest_difference():
    exercise = EXERCISES["se.gate"]
    assert "expected a tensor (2, 8, 1, 1), got (2, 8, 5, 7)" in answer(exercise, lambda x, w1, w2: x)
    assert "expected a tensor (2, 8, 1, 1), got str 'gate'" in answer(exercise, lambda x, w1, w2: "gate")

    def off(x, w1, w2):
        gate = by_convolution(x, w1, w2)
        gate[0, 3] += 0.25
        return gate

    told = answer(exercise, off)
    assert "the shape (2, 8, 1, 1) is right, and 6% of the values are wrong" in told
    assert "at [0, 3, 0, 0]: expected " in told
    assert answer(EXERCISES["baseline.macs"], lambda *_: 7) == "not yet: expected 414720, got 7."
    assert "got nan" in answer(exercise, lambda x, w1, w2: by_convolution(x, w1, w2) * float("nan"))


def test_check_prints_one_answer_in_two_seconds(capsys):
    for name, exercise in EXERCISES.items():
        start = time.perf_counter()
        check(name, exercise.reference)
        assert time.perf_counter() - start < 2
        assert capsys.readouterr().out == f"{name}: right. {exercise.notice}\n"
    with pytest.raises(ValueError, match=r"unknown exercise 'se.gat'; allowed, nearest first: se\.gate"):
        check("se.gat", None)
