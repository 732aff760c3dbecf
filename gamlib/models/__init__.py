"""The networks, built by torchvision first and given attention afterwards."""

from typing import TYPE_CHECKING

from gamlib.models.create import create_model, fitting_stem, list_models, nth_width

if TYPE_CHECKING:
    from gamlib.models.insert import insert_attention

__all__ = ["create_model", "fitting_stem", "insert_attention", "list_models", "nth_width"]


def __getattr__(name: str) -> object:
    if name == "insert_attention":  # it needs torchvision, which would double the time of `import gamlib`
        from gamlib.models.insert import insert_attention

        return insert_attention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
