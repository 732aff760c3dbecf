"""The attention mechanisms, one a file, and the registry that knows them by name."""

from gamlib.attention.bam import BAM
from gamlib.attention.cbam import CBAM
from gamlib.attention.gam import GAM
from gamlib.attention.registry import (
    attention_name,
    create_attention,
    full_options,
    is_known,
    label_of,
    list_attention,
    list_controls,
    place_of,
    register_attention,
    variant,
)
from gamlib.attention.se import SE
from gamlib.attention.triplet import TripletAttention

__all__ = [
    "BAM",
    "CBAM",
    "GAM",
    "SE",
    "TripletAttention",
    "attention_name",
    "create_attention",
    "full_options",
    "is_known",
    "label_of",
    "list_attention",
    "list_controls",
    "place_of",
    "register_attention",
    "variant",
]
