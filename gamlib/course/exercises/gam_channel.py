"""Notebook 06, GAM's channel gate (Liu, Shao, Hoffmann, 2021, equation 1 and Figure 2)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, centred, drawn


def channel_parameters(channels: int, reduction: int) -> int:
    """Of the MLP, with biases, as the paper's counts demand."""
    hidden = channels // reduction
    return 2 * channels * hidden + hidden + channels


def channel_macs(channels: int, reduction: int, height: int, width: int) -> int:
    """Of the MLP at every pixel; biases are no multiply-accumulates."""
    return 2 * channels * (channels // reduction) * height * width


def channel_gate(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Mc: the MLP over the channels of every pixel, then a sigmoid: (N, C, H, W)."""
    return gate(x, w1, b1, w2, b2)


def half(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Equation 1: the map, scaled with Mc."""
    return x * gate(x, w1, b1, w2, b2)


def sees(gate: Callable[[Tensor], Tensor], x: Tensor, row: int, column: int) -> Tensor:
    """Which pixels the gate at (row, column) of the first image depends on: (H, W), True or False."""
    x = x.detach().clone().requires_grad_()
    gate(x)[0, :, row, column].sum().backward()
    return x.grad[0].abs().sum(0) > 0


def gate_trials() -> list[Trial]:
    """With reduction 2, 8 and 2: at 4, one that has it fixed would not show."""
    return [
        Trial(
            (drawn(n, c, h, w),),
            (centred(c // r, c), drawn(c // r), centred(c, c // r), drawn(c)),
            {"channels": c, "reduction": r},
        )
        for (n, c, h, w), r in zip(SHAPES, (2, 8, 2), strict=True)
    ]


def sees_trials() -> list[Trial]:
    """Gates that see their own pixel, a row of three, everything; one in which channels and images differ; one blind to
    its own pixel, one with small gradients, and one whose gradients by two channels cancel."""
    w = -centred(3, 3).abs()  # so that gradients are negative
    row_of_three = centred(3, 3, 1, 3)

    def apart(x):
        up, left, right = x.roll(1, 2), x.roll(1, 3), x.roll(-1, 3)
        y0 = x.sum(1) + up[:, 1]
        y1 = 1e-3 * (right[:, 0] + left[:, 1] - 2 * left[:, 2])
        y = torch.stack([y0, y1, x[:, 2]], dim=1)
        return torch.stack([y[0], x[1].mean((1, 2), keepdim=True).expand_as(x[1])])

    at_rest = centred(2, 3, 5, 7)

    def cancelling(x):
        left, rest = x.roll(2, 3), at_rest.to(x.dtype).roll(2, 3)
        curved = (left - rest).sum(1, keepdim=True) ** 2  # without a gradient here; a larger change is seen
        return x + left[:, :1] - left[:, 1:2] + curved

    return [
        Trial((lambda x: torch.einsum("nchw,dc->ndhw", x, w.to(x.dtype)), centred(2, 3, 5, 7), 1, 3)),
        Trial((lambda x: F.conv2d(x, row_of_three.to(x.dtype), padding=(0, 1)), centred(2, 3, 5, 7), 3, 1)),
        Trial((lambda x: x * x.mean((2, 3), keepdim=True), centred(2, 3, 5, 6), 2, 4)),
        Trial((apart, centred(2, 3, 5, 7), 1, 3)),
        Trial((lambda x: x.roll(1, 2) + x.roll(-2, 3), centred(2, 3, 5, 7), 3, 2)),
        Trial((lambda x: 1e-4 * x.cumsum(3), centred(2, 3, 5, 7), 1, 4)),
        Trial((cancelling, at_rest, 2, 4)),
    ]


def _mlp(z, w1, b1, w2, b2, relu=F.relu, linear=F.linear):
    return linear(relu(linear(z, w1, b1)), w2, b2)


def logits(x, *weights, **options):
    return _mlp(x.permute(0, 2, 3, 1), *weights, **options).permute(0, 3, 1, 2)


def gate(x, *weights, sigmoid=torch.sigmoid, **options):
    return sigmoid(logits(x, *weights, **options))


def _reshaped(x, *weights):
    n, c, h, w = x.shape
    return torch.sigmoid(_mlp(x.reshape(n, h, w, c), *weights)).reshape(n, c, h, w)


def _reshaped_back(x, *weights):
    return torch.sigmoid(_mlp(x.permute(0, 2, 3, 1), *weights)).reshape(x.shape)


def without_biases(shapes):
    return [shape for shape in shapes if len(shape) > 1]


def reduction_four(shapes):
    c = shapes[-1][0]
    return [[c // 4, c], [c // 4], [c, c // 4], [c]]


def _gradient(gate, x, row, column, pick=lambda out, row, column: out[0, :, row, column]):
    x = x.detach().clone().requires_grad_()
    pick(gate(x), row, column).sum().backward()
    return x.grad[0]


def hidden_is_r(shapes):
    (hidden, channels), *_ = shapes
    r = channels // hidden
    return [[r, channels], [r], [channels, r], [channels]]


HIDDEN_IS_R = "Its hidden layer has r units; it should have C / r: channels // reduction."
REDUCTION_FOUR = "Its reduction is 4 whatever it is called with, as the circulating code's is by default; use C / r."
NO_BIASES = "Its Linear layers have no biases; GAM's have (the paper's parameter counts say so)."
NO_SIGMOID = (
    "Your gate can leave [0, 1]: it looks as if the sigmoid is missing, as in the GAM code that circulates on the web."
)

EXERCISES = {
    "gam.channel_parameters": Exercise(
        channel_parameters,
        lambda: [Trial((64, 16)), Trial((48, 8)), Trial((512, 4))],
        "The same as CBAM's MLP, and as SE's but for the biases: not pooling costs no parameters here.",
        (
            Mistake(
                "The biases are left out: C / r in the first layer, C in the second.", lambda c, r: 2 * c * (c // r)
            ),
            Mistake("One layer is missing: C to C / r, and back to C.", lambda c, r: c * (c // r) + c // r),
            Mistake(
                "A layer has a bias for each number that comes out: C / r and C, not C twice.",
                lambda c, r: 2 * c * (c // r) + 2 * c,
            ),
            Mistake(
                "The reduction is left out: between the layers stand C / r numbers.", lambda c, r: 2 * c * c + 2 * c
            ),
            Mistake("The first layer has biases, too: C / r of them.", lambda c, r: 2 * c * (c // r) + c),
            Mistake(
                "The reduction counts once: from C to C / r, and from C / r to C.",
                lambda c, r: 2 * (c // r) ** 2 + c // r + c,
            ),
        ),
    ),
    "gam.channel_macs": Exercise(
        channel_macs,
        lambda: [Trial((64, 16, 8, 7)), Trial((48, 8, 14, 14)), Trial((512, 4, 4, 5))],
        "Here is the price of not pooling: SE's layers work once per image, these once per pixel.",
        (
            Mistake(
                "That is once per image, as in SE; here the MLP works at every pixel.",
                lambda c, r, h, w: 2 * c * (c // r),
            ),
            Mistake(
                "A bias is an addition and no multiply-accumulate.",
                lambda c, r, h, w: (2 * c * (c // r) + c // r + c) * h * w,
            ),
            Mistake("One layer is missing: C to C / r, and back to C.", lambda c, r, h, w: c * (c // r) * h * w),
            Mistake("The reduction is left out.", lambda c, r, h, w: 2 * c * c * h * w),
            Mistake(
                "There are height times width pixels; you counted one side alone.",
                lambda c, r, h, w: 2 * c * (c // r) * h,
            ),
            Mistake(
                "You counted additions and multiplications apart; a MAC is one of each.",
                lambda c, r, h, w: 4 * c * (c // r) * h * w,
            ),
        ),
    ),
    "gam.half": Exercise(
        half,
        gate_trials,
        "One line was missing. A sigmoid has no parameters, so no count could have told you.",
        (
            Mistake(
                "That is the code as it circulates: what multiplies the map can leave [0, 1]. A sigmoid is missing.",
                lambda x, *w: x * logits(x, *w),
            ),
            Mistake("That is the gate alone; Equation 1 multiplies the map with it.", gate),
            Mistake("The gate is added; Equation 1 multiplies.", lambda x, *w: x + gate(x, *w)),
            Mistake(
                "The sigmoid is taken of the product; it belongs on the gate, before the product.",
                lambda x, *w: torch.sigmoid(x * logits(x, *w)),
            ),
            Mistake(
                "There is a sigmoid between the layers, and none at the end.",
                lambda x, *w: x * logits(x, *w, relu=torch.sigmoid),
            ),
            Mistake(
                "The input is added once more; the block does that, outside of the module.",
                lambda x, *w: x + x * gate(x, *w),
            ),
            Mistake(
                "That is a softmax over the channels, so that they compete; GAM takes a sigmoid of each number.",
                lambda x, *w: x * logits(x, *w).softmax(1),
            ),
        ),
        gives="gated map",
        layers="linear+bias linear+bias",
        trained=True,
    ),
    "gam.channel": Exercise(
        channel_gate,
        gate_trials,
        "One gate for every channel and pixel, and each pixel's is worked out from that pixel alone.",
        (
            Mistake(NO_SIGMOID, logits),
            Mistake(
                "You averaged over the pixels first: that is SE's gate. Nothing is pooled here.",
                lambda x, *w: torch.sigmoid(_mlp(x.mean((2, 3)), *w))[:, :, None, None],
            ),
            Mistake(
                "You averaged over the pixels first, and gave every pixel the same gate. Nothing is pooled here.",
                lambda x, *w: torch.sigmoid(_mlp(x.mean((2, 3)), *w))[:, :, None, None].expand_as(x),
            ),
            Mistake(
                "You permuted to (N, W, H, C); on the way back, height and width came out exchanged. Use "
                "permute(0, 2, 3, 1), and permute(0, 3, 1, 2) to come back.",
                lambda x, *w: torch.sigmoid(_mlp(x.permute(0, 3, 2, 1), *w)).permute(0, 3, 1, 2),
            ),
            Mistake(
                "You permuted back with (0, 2, 3, 1) again. It moves three dimensions in a ring, so twice is not back; "
                "permute(0, 3, 1, 2) is.",
                lambda x, *w: torch.sigmoid(_mlp(x.permute(0, 2, 3, 1), *w)).permute(0, 2, 3, 1),
            ),
            Mistake(
                "The second layer's bias is not used.",
                lambda x, w1, b1, w2, b2: gate(x, w1, b1, w2, torch.zeros_like(b2)),
            ),
            Mistake(
                "The first layer's bias is not used.",
                lambda x, w1, b1, w2, b2: gate(x, w1, torch.zeros_like(b1), w2, b2),
            ),
            Mistake(
                "It is still (N, H, W, C): permute(0, 3, 1, 2) brings the channels back to their place.",
                lambda x, *w: torch.sigmoid(_mlp(x.permute(0, 2, 3, 1), *w)),
            ),
            Mistake(
                "That is a reshape: it reads the numbers as they lie in memory, and the MLP gets pixels for channels. "
                "permute moves dimensions.",
                _reshaped,
            ),
            Mistake(
                "On the way there you permuted, on the way back you reshaped: that tears the pixels apart. Use "
                "permute(0, 3, 1, 2).",
                _reshaped_back,
            ),
            Mistake(
                "One matrix is used twice, the second time turned round; each layer has its own.",
                lambda x, w1, b1, w2, b2: gate(x, w1, b1, w1.T, b2),
            ),
            Mistake("The ReLU between the layers is missing.", lambda *a: gate(*a, relu=lambda h: h)),
            Mistake(
                "There is a sigmoid between the layers; a ReLU belongs there.", lambda *a: gate(*a, relu=torch.sigmoid)
            ),
            Mistake("The biases are not used.", lambda *a: gate(*a, linear=lambda z, w, b: F.linear(z, w))),
            Mistake(
                "That is a softmax: the channels of a pixel compete for a sum of one. A gate needs the sigmoid.",
                lambda *a: logits(*a).softmax(1),
            ),
            Mistake(
                "The gate is multiplied by the map already; what is asked for is the gate alone.",
                lambda x, *w: x * gate(x, *w),
            ),
            Mistake(NO_BIASES, shapes=without_biases),
            Mistake(REDUCTION_FOUR, shapes=reduction_four),
            Mistake(HIDDEN_IS_R, shapes=hidden_is_r),
        ),
        gives="gate",
        layers="linear+bias linear+bias",
        trained=True,
    ),
    "gam.sees": Exercise(
        sees,
        sees_trials,
        "It needs no look into the gate. Where a gradient is 0 by chance (a closed ReLU), several pictures show more.",
        (
            Mistake(
                "You took the whole gate; what is asked for is the gate at one pixel, in all channels.",
                lambda *a: _gradient(*a, pick=lambda out, row, column: out).abs().sum(0) > 0,
            ),
            Mistake(
                "Row and column are exchanged: (N, C, H, W) has the row before the column.",
                lambda *a: _gradient(*a, pick=lambda out, row, column: out[0, :, column, row]).abs().sum(0) > 0,
            ),
            Mistake(
                "Only positive gradients are counted; a negative one is a dependence, too.",
                lambda *a: _gradient(*a).sum(0) > 0,
            ),
            Mistake(
                "Only the first channel of the gate is looked at; all channels of it count.",
                lambda *a: _gradient(*a, pick=lambda out, row, column: out[0, 0, row, column]).abs().sum(0) > 0,
            ),
            Mistake(
                "Only the first channel of the map is looked at; a pixel is seen if any of its channels is.",
                lambda *a: _gradient(*a)[0] != 0,
            ),
            Mistake(
                "A pixel is counted only if all of its channels are seen; any of them will do.",
                lambda *a: (_gradient(*a) != 0).all(0),
            ),
            Mistake(
                "Those are the gradients; what is asked for is where they are not zero.",
                lambda *a: _gradient(*a).abs().sum(0),
            ),
            Mistake(
                "The channels are still there: a pixel is seen if any of its channels is. The shape should be (H, W).",
                lambda *a: _gradient(*a) != 0,
            ),
        ),
    ),
}
