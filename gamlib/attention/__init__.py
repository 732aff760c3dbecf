"""The attention mechanisms, and a registry that knows them by name."""

import inspect
from collections.abc import Callable

from torch import nn

from gamlib.attention._checks import unknown_name
from gamlib.attention.bam import BAM
from gamlib.attention.cbam import CBAM
from gamlib.attention.controls import AddedGAM, Scaled
from gamlib.attention.gam import GAM
from gamlib.attention.se import SE
from gamlib.attention.triplet import TripletAttention

__all__ = [
    "BAM",
    "CBAM",
    "GAM",
    "SE",
    "TripletAttention",
    "create_attention",
    "list_attention",
    "list_controls",
    "register_attention",
]

_REGISTRY: dict[str, Callable[..., nn.Module]] = {
    "se": SE,
    "bam": BAM,
    "cbam": CBAM,
    "tam": TripletAttention,
    "gam": GAM,
}
# What stands in a mechanism's place in a comparison, and is none: built by name, and not listed.
_CONTROLS: dict[str, Callable[..., nn.Module]] = {"gam_added": AddedGAM, "scaled": Scaled}
# The course's own names. "none" and "abn" mean something to create_model without being modules.
_TAKEN = (*_REGISTRY, *_CONTROLS, "none", "abn")


def list_attention() -> list[str]:
    """Names of all mechanisms that `create_attention` builds, registered ones included."""
    return list(_REGISTRY)


def list_controls() -> list[str]:
    """Names of the modules that stand in a mechanism's place to show what its gates are worth."""
    return list(_CONTROLS)


def register_attention(name: str, cls: Callable[..., nn.Module]) -> None:
    """Make `cls` known as `name` to create_attention, create_model and insert_attention, in this process.

    Args:
        name: a new name, in lower case. Registering a class of the same name again (a notebook cell run twice)
            replaces it; the course's own names can't be replaced.
        cls: called as cls(channels, **options); returns a module (N, C, H, W) -> same shape.

    Raises:
        ValueError: for a name of the course's own, one that is not lower case, or a `cls` that can't be called.
    """
    if not isinstance(name, str) or not name or name != name.lower():
        raise ValueError(f"name must be a non-empty string in lower case, got {name!r}")
    if name in _TAKEN:
        raise ValueError(f"name {name!r} belongs to gamlib; choose one that is not among {', '.join(_TAKEN)}")
    if not callable(cls):
        raise ValueError(f"cls must be a class or a function channels -> nn.Module, got {cls!r}")
    _REGISTRY[name] = cls


def create_attention(name: str, channels: int, **options: object) -> nn.Module:
    """Build a mechanism by name: create_attention("gam", 256, groups=4).

    Raises:
        ValueError: for an unknown name, an option that the mechanism does not have, or a bad value.
    """
    options = full_options(name, options)
    return _find(name)(channels, **options)


def _find(name: str) -> Callable[..., nn.Module]:
    if name not in _REGISTRY and name not in _CONTROLS:
        raise unknown_name("attention", name, _REGISTRY)
    return _REGISTRY.get(name) or _CONTROLS[name]


def attention_name(attention: str | Callable[..., nn.Module]) -> str:
    """The name of a mechanism: its own, or that of the class or function that makes it."""
    function = getattr(attention, "func", attention)  # functools.partial keeps what it calls in .func
    return attention if isinstance(attention, str) else getattr(function, "__name__", type(function).__name__)


def full_options(attention: str | Callable[..., nn.Module], options: dict[str, object]) -> dict[str, object]:
    """`options`, with the mechanism's defaults where they say nothing.

    Raises:
        ValueError: for an unknown name, or an option that the mechanism does not have.
    """
    cls = _find(attention) if isinstance(attention, str) else attention
    parameters = list(inspect.signature(cls).parameters.values())[1:]  # the first is channels
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    named = [p for p in parameters if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    for option in options:
        if not takes_any and option not in [p.name for p in named]:
            name = attention_name(attention)
            allowed = ", ".join(p.name for p in named) or "none"
            raise ValueError(f"attention {name!r} has no option {option!r}; allowed: {allowed}")
    return {p.name: p.default for p in named if p.default is not p.empty} | options
