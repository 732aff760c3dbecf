"""The networks, built by torchvision first and given attention afterwards."""

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


def __getattr__(name: str) -> object:
    if name in ("insert_attention", "remove_attention"):  # torchvision would double the time of `import gamlib`
        from gamlib.models import insert

        return getattr(insert, name)
    if name == "attention_places":
        from gamlib.models.places import attention_places

        return attention_places
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
