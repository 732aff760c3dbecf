"""Checks of arguments that all parts share, and the error for an unknown name."""

import difflib
from collections.abc import Iterable


def check_integer(name: str, value: int, least: int = 1) -> None:
    """Raise ValueError unless `value` is an integer of `least` or more."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of {least} or more, got {value!r}")


def check_boolean(name: str, value: bool) -> None:
    """Raise ValueError unless `value` is True or False: a word such as "no" would count as True."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_seed(seed: int) -> None:
    """Raise ValueError unless `seed` is an integer of 0 or more that fits PyTorch's 63 bits."""
    check_integer("seed", seed, least=0)
    if seed >= 2**63:
        raise ValueError(f"seed must be below 2**63, got {seed}")


def unknown_name(what: str, name: object, allowed: Iterable[str]) -> ValueError:
    """The error for an unknown `name`: it lists all allowed names, the nearest first."""

    def distance(candidate: str) -> float:
        return -difflib.SequenceMatcher(None, str(name).lower(), candidate).ratio()

    return ValueError(f"unknown {what} {name!r}; allowed, nearest first: {', '.join(sorted(allowed, key=distance))}")
