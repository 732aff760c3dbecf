"""Notebook 03, BAM (Park, Woo, Lee, Kweon: "BAM: Bottleneck Attention Module", BMVC 2018)."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, centred, drawn
from gamlib.course.exercises._layers import no_norm, norm


def reach(layers: list[tuple[int, int]]) -> int:
    """Cells, along one side, that a stack of layers (kernel_size, dilation) of stride 1 sees."""
    return 1 + sum((kernel_size - 1) * dilation for kernel_size, dilation in layers)


def channel_branch(x: Tensor, w1: Tensor, b1: Tensor, gain: Tensor, shift: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Mc as the code has it: mean, Linear, BatchNorm, ReLU, Linear. Logits (N, C, 1, 1)."""
    hidden = norm(F.linear(x.mean((2, 3)), w1, b1), gain, shift)
    return F.linear(F.relu(hidden), w2, b2)[:, :, None, None]


def bam(x: Tensor, w1, b1, gain, shift, w2, b2, k1, c1, g1, s1, k2, c2, g2, s2, k3, c3, g3, s3, k4, c4) -> Tensor:
    """y = x (1 + sigmoid(Mc Ms)), as the official code has it; the paper's equation 2 adds Mc and Ms.

    The first six weights are the channel branch's; then come four convolutions (k, c), each but the last with its norm.
    """
    return _bam(x, w1, b1, gain, shift, w2, b2, k1, c1, g1, s1, k2, c2, g2, s2, k3, c3, g3, s3, k4, c4)


def channel_trials() -> list[Trial]:
    """With reductions 2 and 8. Batches of several images: over two, a BatchNorm would be all rounding."""
    return [
        Trial(
            (drawn(n + 5, c, h, w),),
            _channel_weights(c, r),
            {"channels": c, "reduction": r},
        )
        for (n, c, h, w), r in zip(SHAPES, (2, 8, 2), strict=True)
    ]


def _channel_weights(c, r):
    return centred(c // r, c), centred(c // r), drawn(c // r), drawn(c // r), drawn(c, c // r), drawn(c)


def module_trials() -> list[Trial]:
    """As `channel_trials`, on wider maps: a dilation of 4 must find cells to look at."""
    found = []
    for (n, c, h, w), r in zip(SHAPES, (2, 8, 2), strict=True):
        k = c // r

        def layer(c_out, c_in, side):
            return centred(c_out, c_in, side, side), centred(c_out), drawn(c_out), drawn(c_out)

        spatial = (*layer(k, c, 1), *layer(k, k, 3), *layer(k, k, 3), centred(1, k, 1, 1), centred(1))
        found.append(
            Trial(
                (drawn(n + 5, c, h + 4, w + 4),), (*_channel_weights(c, r), *spatial), {"channels": c, "reduction": r}
            )
        )
    return found


def _spatial_logits(x, *weights, dilation=4, relu=F.relu, norm=norm):
    for i in range(0, 12, 4):
        weight, bias, gain, shift = weights[i : i + 4]
        gap = dilation if weight.shape[2] == 3 else 1
        x = relu(norm(F.conv2d(x, weight, bias, padding=gap * (weight.shape[2] // 2), dilation=gap), gain, shift))
    return F.conv2d(x, *weights[12:])


def _bam(x, *weights, join=lambda c, s: torch.sigmoid(c * s), scale=lambda x, m: x * (1 + m), channel=None, **options):
    logits = (channel or _channel_logits)(x, *weights[:6])
    return scale(x, join(logits, _spatial_logits(x, *weights[6:], **options)))


def _one_after_the_other(x, *weights):
    x = x * (1 + torch.sigmoid(_channel_logits(x, *weights[:6])))
    return x * (1 + torch.sigmoid(_spatial_logits(x, *weights[6:])))


def _without_biases(shapes):
    return [shapes[i] for i in (0, 2, 3, 4, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18)]


def _channel_logits(x, w1, b1, gain, shift, w2, b2, pool=lambda x: x.mean((2, 3)), relu=F.relu, norm=norm):
    hidden = norm(F.linear(pool(x), w1, b1), gain, shift)
    return F.linear(relu(hidden), w2, b2)[:, :, None, None]


def _relu_before_norm(x, w1, b1, gain, shift, w2, b2):
    hidden = norm(F.relu(F.linear(x.mean((2, 3)), w1, b1)), gain, shift)
    return F.linear(hidden, w2, b2)[:, :, None, None]


def _dilations_compounded(layers):
    size, step = 1, 1
    for k, d in layers:
        step *= d
        size += (k - 1) * step
    return size


def _dilations_as_strides(layers):
    size, step = 1, 1
    for k, d in layers:
        size += (k - 1) * step
        step *= d
    return size


def _spans_multiplied(layers):
    return math.prod((k - 1) * d + 1 for k, d in layers)


EXERCISES = {
    "bam.reach": Exercise(
        reach,
        lambda: [
            Trial(([(3, 4), (3, 4)],)),
            Trial(([(1, 1), (3, 2), (5, 3)],)),
            Trial(([(7, 1), (3, 1)],)),
            Trial(([(2, 3), (4, 1)],)),
        ],
        "Dilation buys reach for no parameters. What the price is, you can measure.",
        (
            Mistake(
                "The dilation is left out: a kernel of 3 with dilation 4 spans 9 cells.",
                lambda layers: 1 + sum(k - 1 for k, _ in layers),
            ),
            Mistake(
                "A dilated kernel spans (k - 1) x dilation + 1 cells, not k x dilation.",
                lambda layers: 1 + sum(k * d - 1 for k, d in layers),
            ),
            Mistake(
                "That is the reach to one side; count both sides, and the cell itself.",
                lambda layers: sum((k - 1) * d for k, d in layers) // 2,
            ),
            Mistake(
                "That is the formula for strides: a dilation widens its own kernel, and none of the layers after it.",
                _dilations_as_strides,
            ),
            Mistake(
                "A kernel's dilation widens that kernel alone; only a stride would widen the layers after it.",
                _dilations_compounded,
            ),
            Mistake(
                "Each layer adds (k - 1) x dilation to the reach, not k x dilation.",
                lambda layers: 1 + sum(k * d for k, d in layers),
            ),
            Mistake("Layers add to the reach; they do not multiply it.", _spans_multiplied),
            Mistake("The cell itself is left out: add 1.", lambda layers: sum((k - 1) * d for k, d in layers)),
            Mistake(
                "You added the layers' spans; they overlap in a cell, so each after the first adds one less.",
                lambda layers: sum((k - 1) * d + 1 for k, d in layers),
            ),
        ),
    ),
    "bam.channel": Exercise(
        channel_branch,
        channel_trials,
        "With the BatchNorm it needs a batch of two or more in training: an image alone has no spread.",
        (
            Mistake("The BatchNorm between the layers is missing.", lambda *a: _channel_logits(*a, norm=no_norm)),
            Mistake("The ReLU is missing.", lambda *a: _channel_logits(*a, relu=lambda h: h)),
            Mistake(
                "You summed over the pixels; BAM takes their mean.",
                lambda *a: _channel_logits(*a, pool=lambda x: x.sum((2, 3))),
            ),
            Mistake(
                "The BatchNorm's scale and shift are not used.",
                lambda x, w1, b1, gain, shift, w2, b2: _channel_logits(x, w1, b1, None, None, w2, b2),
            ),
            Mistake(
                "The BatchNorm's scale and shift are exchanged.",
                lambda x, w1, b1, gain, shift, w2, b2: _channel_logits(x, w1, b1, shift, gain, w2, b2),
            ),
            Mistake("The ReLU stands before the BatchNorm; it belongs after it.", _relu_before_norm),
            Mistake(
                "You took each channel's largest value; BAM takes its mean.",
                lambda *a: _channel_logits(*a, pool=lambda x: x.amax((2, 3))),
            ),
            Mistake(
                "The sigmoid comes later, when both branches are put together; what is asked for is the logits.",
                lambda *a: torch.sigmoid(_channel_logits(*a)),
            ),
            Mistake(
                "The numbers are right; the shape should be (N, C, 1, 1), to be multiplied by (N, 1, H, W).",
                lambda *a: _channel_logits(*a)[:, :, 0, 0],
            ),
        ),
        layers="linear+bias norm linear+bias",
        trained=True,
    ),
    "bam.module": Exercise(
        bam,
        module_trials,
        "Where both logits are negative, their product is positive, and the gate opens. With the sum it would close.",
        (
            Mistake(
                "You added the two branches, as the paper's equation 2 has it. The official code, and this exercise, "
                "multiply them.",
                lambda *a: _bam(*a, join=lambda c, s: torch.sigmoid(c + s)),
            ),
            Mistake("The 1 is missing: BAM multiplies by 1 + gate.", lambda *a: _bam(*a, scale=lambda x, m: x * m)),
            Mistake("The sigmoid is missing.", lambda *a: _bam(*a, join=lambda c, s: c * s)),
            Mistake(
                "Each branch has a sigmoid of its own; BAM multiplies the logits and takes one sigmoid of the product.",
                lambda *a: _bam(*a, join=lambda c, s: torch.sigmoid(c) * torch.sigmoid(s)),
            ),
            Mistake(
                "That is 1 + gate, by which x is scaled; multiply x with it.",
                lambda *a: _bam(*a, scale=lambda x, m: 1 + m),
            ),
            Mistake("The gate is added to x; it should scale it.", lambda *a: _bam(*a, scale=lambda x, m: x + m)),
            Mistake(
                "That is the gate; what is asked for is the map, scaled with 1 + gate.",
                lambda *a: _bam(*a, scale=lambda x, m: m),
            ),
            Mistake(
                "The branches run one after the other, as CBAM's do; BAM's run side by side.", _one_after_the_other
            ),
            Mistake(
                "The sigmoid is taken of 1 + the product; it is 1 + the sigmoid of the product.",
                lambda *a: _bam(*a, join=lambda c, s: torch.sigmoid(1 + c * s), scale=lambda x, m: x * m),
            ),
            Mistake(
                "Each branch has a sigmoid of its own, and their product another one; there is one, of the product.",
                lambda *a: _bam(*a, join=lambda c, s: torch.sigmoid(torch.sigmoid(c) * torch.sigmoid(s))),
            ),
            Mistake("The dilation is missing: both 3 x 3 convolutions have 4.", lambda *a: _bam(*a, dilation=1)),
            Mistake("The BatchNorms of the spatial branch are missing.", lambda *a: _bam(*a, norm=no_norm)),
            Mistake("The ReLUs of the spatial branch are missing.", lambda *a: _bam(*a, relu=lambda z: z)),
            Mistake("Its layers have no biases; BAM's have, all of them.", shapes=_without_biases),
        ),
        gives="other",
        layers="linear+bias norm linear+bias conv+bias norm conv+bias norm conv+bias norm conv+bias",
        trained=True,
    ),
}
