"""What several tests need: modules whose every weight matters, and inputs of every layout."""

import torch
from torch import Tensor, nn

from gamlib import create_attention

# Every mechanism, GAM in all its variants: (name, options).
CASES = [
    ("se", {"reduction": 4}),
    ("bam", {"reduction": 4}),
    ("cbam", {"reduction": 4}),
    ("cbam", {"reduction": 4, "kernel_size": 3}),
    ("tam", {}),
    ("tam", {"kernel_size": 3}),
    ("gam", {"reduction": 4}),
    ("gam", {"reduction": 4, "kernel_size": 3}),
    ("gam", {"reduction": 4, "channel": False}),
    ("gam", {"reduction": 4, "spatial": False}),
    ("gam", {"reduction": 2, "groups": 4, "shuffle": None}),
    ("gam", {"reduction": 2, "groups": 4, "shuffle": "between"}),
    ("gam", {"reduction": 2, "groups": 4, "shuffle": "after"}),
]
IDS = [" ".join([name, *(f"{key}={value}" for key, value in options.items())]) for name, options in CASES]
LAYOUTS = ("contiguous", "channels_last", "sliced", "transposed")


def build(name: str, options: dict[str, object], channels: int = 16, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A mechanism whose BatchNorm is no identity and whose biases are not zero, in eval."""
    module = create_attention(name, channels, **options).to(dtype)
    with torch.no_grad():
        for layer in module.modules():
            if isinstance(layer, (nn.BatchNorm1d, nn.BatchNorm2d)):
                layer.running_mean.normal_(0, 0.5)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.5, 1.5)
                layer.bias.normal_(0, 0.5)
            if isinstance(layer, nn.Conv2d) and layer.bias is not None:
                layer.bias.normal_(0, 0.5)
    return module.eval()


def draw(shape: tuple[int, int, int, int], layout: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """A random input of a given memory layout."""
    n, c, h, w = shape
    if layout == "channels_last":
        return torch.randn(shape, dtype=dtype).to(memory_format=torch.channels_last)
    if layout == "sliced":
        return torch.randn(2 * n, c + 3, h + 2, 2 * w, dtype=dtype)[::2, 1:-2, 2:, ::2]
    if layout == "transposed":
        return torch.randn(n, c, w, h, dtype=dtype).transpose(2, 3)
    return torch.randn(shape, dtype=dtype)
