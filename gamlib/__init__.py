"""gamlib: attention mechanisms for convolutional networks, from SE to GAM, and what the course needs around them."""

from importlib import import_module
from typing import TYPE_CHECKING

from gamlib._version import __version__

if TYPE_CHECKING:
    from gamlib.attention import (
        BAM,
        CBAM,
        GAM,
        SE,
        TripletAttention,
        create_attention,
        list_attention,
        register_attention,
    )
    from gamlib.models import attention_places, create_model, insert_attention, list_models, remove_attention

__all__ = [
    "BAM",
    "CBAM",
    "GAM",
    "SE",
    "TripletAttention",
    "__version__",
    "attention_places",
    "create_attention",
    "create_model",
    "insert_attention",
    "list_attention",
    "list_models",
    "register_attention",
    "remove_attention",
]

# Imported when asked for, so that `gamlib doctor` works where a package is missing.
_MODELS = ("attention_places", "create_model", "insert_attention", "list_models", "remove_attention")


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("gamlib.models" if name in _MODELS else "gamlib.attention"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
