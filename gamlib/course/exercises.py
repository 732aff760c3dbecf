"""The exercises of the notebooks: one entry each. CONTRIBUTING.md says how to add one."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course import mistakes
from gamlib.course.exercise import Exercise, Trial

# Height, width and channels differ, and no two are alike, so that a mixed-up dimension shows.
SHAPES = ((2, 8, 5, 7), (3, 16, 6, 4), (1, 8, 9, 3))


def drawn(*shape: int) -> Tensor:
    """Random numbers, not around zero, so that a mean is no small number."""
    return torch.randn(shape, generator=GENERATOR) + 0.3


GENERATOR = torch.Generator().manual_seed(0)


# ------------------------------------------------------------------ 01, the baseline network


def conv_parameters(c_in: int, c_out: int, kernel_size: int, bias: bool) -> int:
    """Parameters of a convolution."""
    return c_out * c_in * kernel_size**2 + (c_out if bias else 0)


def conv_macs(c_in: int, c_out: int, kernel_size: int, height: int, width: int) -> int:
    """Multiply-accumulates of a convolution whose output is height x width."""
    return conv_parameters(c_in, c_out, kernel_size, False) * height * width


def receptive_field(layers: list[tuple[int, int]]) -> int:
    """Pixels, along one side, that a stack of layers (kernel_size, stride) sees."""
    size, jump = 1, 1
    for kernel_size, stride in layers:
        size += (kernel_size - 1) * jump
        jump *= stride
    return size


def residual_block(x: Tensor, w1: Tensor, g1: Tensor, b1: Tensor, w2: Tensor, g2: Tensor, b2: Tensor) -> Tensor:
    """A basic block: conv, BatchNorm, ReLU, conv, BatchNorm, add, ReLU (He et al., 2016)."""
    out = F.relu(F.batch_norm(F.conv2d(x, w1, padding=1), None, None, g1, b1, training=True))
    out = F.batch_norm(F.conv2d(out, w2, padding=1), None, None, g2, b2, training=True)
    return F.relu(out + x)


def residual_trials() -> list[Trial]:
    """Blocks of 8 and 16 channels."""
    return [
        Trial(
            (drawn(n, c, h, w),),
            (drawn(c, c, 3, 3) / 5, drawn(c), drawn(c), drawn(c, c, 3, 3) / 5, drawn(c), drawn(c)),
            {"channels": c},
        )
        for n, c, h, w in SHAPES
    ]


# ------------------------------------------------------------------ 02, squeeze and excitation


def squeeze(x: Tensor) -> Tensor:
    """Each channel's mean (Hu et al., 2018, equation 2): (N, C, H, W) -> (N, C)."""
    return x.mean((2, 3))


def se_gate(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """The excitation (equation 3): (N, C, H, W) -> (N, C, 1, 1)."""
    return torch.sigmoid(F.relu(squeeze(x) @ w1.T) @ w2.T)[:, :, None, None]


def se(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """The module (equation 4)."""
    return x * se_gate(x, w1, w2)


def se_trials() -> list[Trial]:
    """With reduction 4, and 2."""
    return [
        Trial((drawn(n, c, h, w),), (drawn(c // r, c), drawn(c, c // r)), {"channels": c, "reduction": r})
        for (n, c, h, w), r in zip(SHAPES, (4, 4, 2), strict=True)
    ]


EXERCISES = {
    "baseline.parameters": Exercise(
        conv_parameters,
        lambda: [Trial((3, 16, 3, False)), Trial((16, 32, 3, True)), Trial((8, 24, 1, True))],
        "A bias is one number for each output channel; behind it BatchNorm would subtract it again.",
        mistakes.PARAMETERS,
    ),
    "baseline.macs": Exercise(
        conv_macs,
        lambda: [Trial((3, 16, 3, 32, 30)), Trial((16, 32, 3, 16, 16)), Trial((8, 24, 1, 4, 7))],
        "Every weight is used once for each pixel of the output, so halving both sides saves three quarters.",
        mistakes.MACS,
    ),
    "baseline.receptive_field": Exercise(
        receptive_field,
        lambda: [
            Trial(([(3, 1), (3, 1)],)),
            Trial(([(3, 2), (3, 1), (3, 1)],)),
            Trial(([(7, 2), (3, 2), (3, 1), (5, 2), (3, 1)],)),
        ],
        "After a stride, each step between neighbours is that many input pixels wide: so the early strides count most.",
        mistakes.RECEPTIVE_FIELD,
    ),
    "baseline.block": Exercise(
        residual_block,
        residual_trials,
        "With both BatchNorms' gains at zero the block passes its input on; that is why very deep nets can be trained.",
        mistakes.RESIDUAL_BLOCK,
        largest_gain=float("inf"),
    ),
    "se.squeeze": Exercise(
        squeeze,
        lambda: [Trial((drawn(*shape),)) for shape in SHAPES],
        "One number a channel: shuffle the pixels, and it stays the same.",
        mistakes.SQUEEZE,
    ),
    "se.gate": Exercise(
        se_gate,
        se_trials,
        "The two ones at the end of the shape let the gate be multiplied with the map as it is.",
        mistakes.SE_GATE,
    ),
    "se.module": Exercise(
        se,
        se_trials,
        "It can be trained as it is: create_model('probe', YourClass, {'reduction': 4}).",
        mistakes.SE_MODULE,
    ),
}
