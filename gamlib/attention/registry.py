"""The registry: mechanisms by name, as typed, their options, their place, and their label."""

import inspect
import re
from collections.abc import Callable
from contextlib import suppress

from torch import nn

from gamlib._checks import unknown_name
from gamlib.attention.bam import BAM
from gamlib.attention.cbam import CBAM
from gamlib.attention.controls import AddedGAM, Scaled
from gamlib.attention.gam import GAM
from gamlib.attention.se import SE
from gamlib.attention.triplet import TripletAttention

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


def is_known(name: str) -> bool:
    """Whether `create_attention` builds it: the name of a mechanism or of a control."""
    return name in _REGISTRY or name in _CONTROLS


def register_attention(name: str, cls: Callable[..., nn.Module]) -> None:
    """Make `cls` known as `name` to create_attention, create_model and insert_attention, in this process.

    Args:
        name: a new name, in lower case. Registering a class of the same name again (a notebook cell run twice)
            replaces it; the course's own names can't be replaced.
        cls: called as cls(channels, **options); returns a module (N, C, H, W) -> same shape.

    Raises:
        ValueError: for a name of the course's own, one that is not lower case, or a `cls` that can't be called.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_.-]*", name):
        raise ValueError(f"name must be a non-empty string in lower case (letters, digits, _ . -), got {name!r}")
    if name in _TAKEN:
        raise ValueError(f"name {name!r} belongs to gamlib; choose one that is not among {', '.join(_TAKEN)}")
    if not callable(cls):
        raise ValueError(f"cls must be a class or a function channels -> nn.Module, got {cls!r}")
    _REGISTRY[name] = cls


def create_attention(name: str, channels: int, /, **options: object) -> nn.Module:
    """Build a mechanism by name: create_attention("gam", 256, groups=4).

    Raises:
        ValueError: for an unknown name, an option that the mechanism does not have, or a bad value.
    """
    options = full_options(name, options)
    return _find(name)(channels, **options)


def _find(name: str) -> Callable[..., nn.Module]:
    if not is_known(name):
        raise unknown_name("attention", name, _REGISTRY)
    return _REGISTRY.get(name) or _CONTROLS[name]


def attention_name(attention: str | Callable[..., nn.Module]) -> str:
    """Name of a mechanism: its own where it is registered, else that of the class or function that makes it."""
    if isinstance(attention, str):
        return attention
    function = _called(attention)
    for name, cls in {**_REGISTRY, **_CONTROLS}.items():
        if cls is function:
            return name
    name = getattr(function, "__name__", type(function).__name__)
    return f"own-{name}" if name in _REGISTRY or name in _TAKEN else name  # a reader's class of one of our names


def place_of(attention: str | Callable[..., nn.Module]) -> str:
    """Where in a network a mechanism belongs, as `insert_attention` has it: the `place` of its class, else "block"."""
    return getattr(_called(_find(attention) if isinstance(attention, str) else attention), "place", "block")


def _called(attention: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
    return getattr(attention, "func", attention)  # functools.partial keeps what it calls in .func


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


def variant(attention: str, reduction: int | None) -> tuple[str, dict[str, object]]:
    """Name and options of a mechanism as typed: of "gam:kernel_size=9", ("gam", {"kernel_size": 9}).

    Where it has a reduction and does not say it, it gets `reduction`.

    Raises:
        ValueError: for something else than OPTION=VALUE, separated by commas, after the colon.
    """
    name, colon, given = attention.partition(":")
    has_reduction = is_known(name) and "reduction" in full_options(name, {})
    options: dict[str, object] = {"reduction": reduction} if has_reduction and reduction is not None else {}
    typed: dict[str, object] = {}
    for part in given.split(",") if colon else []:
        option, equals, value = part.partition("=")
        if not (option and equals and value):
            raise ValueError(
                f"attention {attention!r}: expected OPTION=VALUE after the colon, such as "
                f"gam:kernel_size=9,shuffle=after, got {part!r}"
            )
        if option in typed:
            raise ValueError(f"attention {attention!r}: {option} is given twice")
        typed[option] = _value(value)
    return name, options | typed


def _value(text: str) -> object:
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)


def label_of(network: dict[str, object]) -> str:
    """A name for a network's `spec`: its attention, its unusual options (but for the reduction), width and stem."""
    name = str(network.get("attention", network["name"]))
    usual = full_options(name, {}) if is_known(name) else {}
    options = {key: value for key, value in network.get("attention_options", {}).items() if key != "reduction"}
    unusual = {key: value for key, value in options.items() if value != usual.get(key, value)}
    unusual |= {"width": network["width"]} if "width" in network else {}
    unusual |= {"stem": "wmp"} if network.get("stem") == "wmp" else {}
    return "-".join([name, *(f"{key}{value}" for key, value in unusual.items())])
