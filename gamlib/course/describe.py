"""Puts into words what a solution returned or raised."""

import linecache
import os
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

# Code that is not the reader's: torch's, gamlib's, Python's and what is installed.
NOT_THE_READERS = tuple(
    str(folder) + os.sep
    for folder in (
        Path(torch.__file__).parent,
        Path(__file__).parents[1],
        *(sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")),
    )
)

# What the words of Python and PyTorch mean in an exercise: (a part of the message, what to do).
ADVICE = (
    (
        "mat1 and mat2 shapes cannot be multiplied",
        "The last dimension must be what the layer takes in: pool or permute first. A layer's weight is (out, in): "
        "x @ w.T, or F.linear(x, w).",
    ),
    ("torch.return_types.max", "x.max(dim) returns values and places; x.amax(dim) returns the values alone."),
    (
        "must match the size of tensor",
        "Two shapes do not meet. A gate (N, C) needs [:, :, None, None]; one on a rotated map must be turned back; a "
        "convolution needs padding=kernel_size // 2 to keep height and width.",
    ),
    ("Kernel size can't be greater than actual input size", "The convolution lacks its padding, so the map shrinks."),
)


def readers_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The frames of the traceback that are the reader's own."""
    return [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith(NOT_THE_READERS)]


def is_stub(error: NotImplementedError) -> bool:
    """Whether the reader's own line raised it, and not PyTorch within it."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return not last.filename.startswith(NOT_THE_READERS)


def short(text: str, length: int) -> str:
    """One line, no longer than `length`."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 3] + "..."


def describe(value: object) -> str:
    """A tensor's shape, or what stands in its place."""
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)}"
    if type(value).__module__ == "torch.return_types":
        return "values and places together: x.max(dim) and its like return both; take .values, or x.amax(dim)"
    if isinstance(value, list | tuple):
        return f"a {type(value).__name__} of {len(value)}: {short(', '.join(map(describe, value[:3])), 60)}"
    if isinstance(value, int) and abs(value) >= 10**60:
        return "a number of more than 60 digits"
    if callable(value):
        return f"a {type(value).__name__}"
    name, text = type(value).__name__, told(repr, value)
    if isinstance(value, bool | int | float) or text.startswith(name):
        return short(text, 60)
    return f"a {name}" if " at 0x" in text else short(f"{name} {text}", 60)


def told(how: Callable[[object], str], value: object) -> str:
    """A text that a reader's object makes of itself; it may fail to."""
    try:
        return how(value)
    except Exception as error:
        return f"(its text can't be had: {type(error).__name__})"


def describe_error(error: BaseException) -> str:
    """What went wrong, the reader's own line, without the frames of libraries, and what to do where that is known."""
    text = told(str, error)
    said = f"your code raised {type(error).__name__}: {short(text.partition(chr(10))[0], 200)}"
    if frames := readers_frames(error):
        line = linecache.getline(frames[-1].filename, frames[-1].lineno)
        said += f"\n  line {frames[-1].lineno}: {short(line, 120)}"
    return said + "".join(f"\n  {meaning}" for words, meaning in ADVICE if words in text)


def describe_difference(arguments: tuple[object, ...], ours: object, wanted: object) -> str:
    """The shapes; where they agree, the largest difference and its place."""
    if not isinstance(wanted, Tensor):
        given = ", ".join(getattr(a, "__name__", None) or repr(a) for a in arguments)
        return f"not yet: for ({given}) expected {wanted!r}, got {describe(ours)}."
    if not isinstance(ours, Tensor) or ours.shape != wanted.shape:
        return f"not yet: expected {describe(wanted)}, got {describe(ours)}."
    if ours.is_complex():
        return "not yet: expected real numbers, got complex ones."
    difference = (ours.double() - wanted.double()).abs().nan_to_num(nan=float("inf"))
    place = tuple(int(i) for i in torch.unravel_index(difference.argmax(), difference.shape))
    share = (difference > 1e-5).double().mean().item()
    expected, got = two_numbers(wanted[place], ours[place])
    if not place:
        return f"not yet: expected {expected}, got {got}."
    wrong = f"{share:.0%}" if share >= 0.005 else "fewer than 1%"
    return (
        f"not yet: the shape {tuple(wanted.shape)} is right, and {wrong} of the values are wrong. The largest "
        f"difference is at {list(place)}: expected {expected}, got {got}."
    )


def two_numbers(a: Tensor, b: Tensor) -> tuple[str, str]:
    """Two numbers with as many digits as it takes to tell them apart; True and False as they are."""
    if not (a.is_floating_point() and b.is_floating_point()):
        return str(a.item()), str(b.item())
    short_a, short_b = f"{a.item():.4f}", f"{b.item():.4f}"
    return (short_a, short_b) if short_a != short_b else (f"{a.item():.8g}", f"{b.item():.8g}")
