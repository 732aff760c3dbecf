"""The networks, built by torchvision first and given attention afterwards."""

from importlib import import_module
from typing import TYPE_CHECKING

from gamlib.models.create import create_model, fitting_stem, list_models, nth_width

if TYPE_CHECKING:
    from gamlib.models.insert import insert_attention, remove_attention
    from gamlib.models.places import attention_places

__all__ = [
    "attention_places",
    "create_model",
    "fitting_stem",
    "insert_attention",
    "list_models",
    "nth_width",
    "remove_attention",
]


# torchvision would double the time of `import gamlib`.
_LAZY = {"insert_attention": "insert", "remove_attention": "insert", "attention_places": "places"}


def __getattr__(name: str) -> object:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"gamlib.models.{_LAZY[name]}"), name)
