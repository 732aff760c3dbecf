"""What a network costs: parameters and multiply-accumulates (MACs), counted on the meta device."""

import copy
from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils.flop_counter import FlopCounterMode

from gamlib._checks import unknown_name

CONVENTIONS = ("plain", "paper")


def count_parameters(model: nn.Module) -> int:
    """Number of trainable and frozen parameters (BatchNorm statistics are buffers, not parameters)."""
    return sum(p.numel() for p in model.parameters())


def nearest_width(build: Callable[[int], nn.Module], count: Callable[[nn.Module], int], target: int) -> int:
    """The width whose network comes nearest to a price: "what if the same went into a wider plain network?"

    Args:
        build: width -> network, wider is dearer; under torch.device("meta") it costs no memory.
        count: network -> price, such as `count_parameters`.
        target: the price to be met.
    """
    high = 1
    while count(build(high)) < target:
        high *= 2
    low = high // 2  # too cheap, or 0
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(build(middle)) < target else (low, middle)
    return min((w for w in (low, high) if w > 0), key=lambda w: abs(count(build(w)) - target))


def count_macs(model: nn.Module, input_shape: tuple[int, int, int], convention: str = "plain") -> int:
    """Multiply-accumulates of one image through `model` in eval. Nothing is computed: it runs on the meta device.

    Args:
        model: any network; it is left as it is.
        input_shape: (channels, height, width) of one image.
        convention: "plain": convolutions and linear layers. "paper": the same, plus 2 for every element that enters
            a BatchNorm, plus 1 for every element that enters an nn.AdaptiveAvgPool2d, which is what the paper prints
            as "FLOPs" and what the counters of 2020-21 did, since they looked at modules.

    Raises:
        ValueError: for an unknown convention.
    """
    if convention not in CONVENTIONS:
        raise unknown_name("convention", convention, CONVENTIONS)
    model = meta_copy(model).eval()
    extra = 0

    def add(factor: int):
        def hook(module: nn.Module, args: tuple[Tensor, ...]) -> None:
            nonlocal extra
            extra += factor * args[0].numel()

        return hook

    with ExitStack() as stack:
        for module in model.modules():
            if convention == "paper" and isinstance(module, _BatchNorm):
                stack.enter_context(_hooked(module, add(2)))
            if convention == "paper" and isinstance(module, nn.AdaptiveAvgPool2d):
                stack.enter_context(_hooked(module, add(1)))
        counter = stack.enter_context(FlopCounterMode(display=False))
        stack.enter_context(torch.no_grad())
        model(torch.empty(1, *input_shape, device="meta"))
    return counter.get_total_flops() // 2 + extra


def _hooked(module: nn.Module, hook):
    return module.register_forward_pre_hook(hook)


def meta_copy(model: nn.Module) -> nn.Module:
    """A deep copy without the weights: each parameter and buffer is copied as its shape alone."""
    memo: dict[int, object] = {}
    for p in model.parameters():
        memo[id(p)] = nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False)
    for b in model.buffers():
        memo[id(b)] = torch.empty_like(b, device="meta")
    return copy.deepcopy(model, memo)
