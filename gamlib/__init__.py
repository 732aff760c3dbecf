"""gamlib: attention mechanisms for convolutional networks, from SE to GAM, and what the course needs around them."""

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
from gamlib.models import create_model, list_models

__version__ = "0.1.0"
__all__ = [
    "BAM",
    "CBAM",
    "GAM",
    "SE",
    "TripletAttention",
    "create_attention",
    "create_model",
    "insert_attention",
    "list_attention",
    "list_models",
    "register_attention",
]


def __getattr__(name: str) -> object:
    if name == "insert_attention":  # it needs torchvision, which would double the time of `import gamlib`
        from gamlib.models import insert_attention

        return insert_attention
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
