"""Notebook 07, GAM's spatial gate (Liu, Shao, Hoffmann, 2021, equation 2 and Figure 3), its groups and its shuffle."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import centred, drawn
from gamlib.course.exercises._layers import no_norm, norm
from gamlib.course.exercises.gam_channel import HIDDEN_IS_R, REDUCTION_FOUR

# Larger than a kernel of 7, so that a convolution without padding still gives something.
SHAPES = ((2, 8, 14, 15), (3, 16, 15, 13), (2, 8, 13, 16))


def spatial_parameters(channels: int, reduction: int, groups: int) -> int:
    """Two 7x7 convolutions without biases, and the BatchNorm between them."""
    hidden = channels // reduction
    return 2 * 49 * channels * hidden // groups + 2 * hidden


def spatial_gate(x: Tensor, k1: Tensor, gain: Tensor, shift: Tensor, k2: Tensor) -> Tensor:
    """Ms: convolution, BatchNorm, ReLU, convolution, sigmoid: (N, C, H, W)."""
    return gate(x, k1, gain, shift, k2)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's: as (groups, C / groups), turned round, and read row by row."""
    n, c, h, w = x.shape
    return x.reshape(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, h, w)


def smallest_width(reduction: int, groups: int) -> int:
    """The fewest channels with which every gate sees all of them: C / (r g), a group's share of the hidden channels,
    must be g or more, so that after the shuffle each group gets a channel of every group."""
    return reduction * groups**2


def gate_trials() -> list[Trial]:
    """With reduction 2, 8 and 2: at 4, one that has it fixed would not show."""
    return [
        Trial(
            (drawn(n, c, h, w),),
            (centred(c // r, c, 7, 7) / 7, drawn(c // r), drawn(c // r), centred(c, c // r, 7, 7) / 7),
            {"channels": c, "reduction": r},
        )
        for (n, c, h, w), r in zip(SHAPES, (2, 8, 2), strict=True)
    ]


def logits(x, w1, gain, shift, w2, norm=norm, relu=F.relu, padding=None, conv=F.conv2d):
    padding = w1.shape[-1] // 2 if padding is None else padding
    return conv(relu(norm(conv(x, w1, padding=padding), gain, shift)), w2, padding=padding)


def gate(*arguments, last=lambda z: z, sigmoid=torch.sigmoid, **options):
    return sigmoid(last(logits(*arguments, **options)))


def _relu_before_norm(x, w1, gain, shift, w2):
    return torch.sigmoid(F.conv2d(norm(F.relu(F.conv2d(x, w1, padding=3)), gain, shift), w2, padding=3))


def _reflected(x, weight, padding):
    return F.conv2d(F.pad(x, (padding,) * 4, mode="reflect"), weight)


def _replicated(x, weight, padding):
    return F.conv2d(F.pad(x, (padding,) * 4, mode="replicate"), weight)


def with_biases(shapes):
    w1, gain, shift, w2 = shapes
    return [w1, gain, gain, shift, w2, w2[:1]]


def with_second_norm(shapes):
    return [*shapes, shapes[-1][:1], shapes[-1][:1]]


def _small_kernels(shapes):
    (hidden, c, *_), gain, shift, _ = shapes
    return [[hidden, c, 3, 3], gain, shift, [c, hidden, 3, 3]]


def circulating(shapes):
    w1, gain, shift, w2 = shapes
    return [w1, gain, gain, shift, w2, w2[:1], w2[:1], w2[:1]]


def with_hidden(shapes, hidden):
    c = shapes[0][1]
    return [[hidden, c, 7, 7], [hidden], [hidden], [c, hidden, 7, 7]]


def reduction_four(shapes):
    return with_hidden(shapes, shapes[0][1] // 4)


def hidden_is_r(shapes):
    hidden, c, *_ = shapes[0]
    return with_hidden(shapes, c // hidden)


def circulating_at_four(shapes):
    return circulating(reduction_four(shapes))


def _inverse_shuffle(x, groups):
    return channel_shuffle(x, x.shape[1] // groups)


SECOND_NORM = (
    "There is a BatchNorm after the second convolution, as in the GAM code that circulates on the web; the paper's "
    "counts have no room for it."
)
CIRCULATING = (
    "Biases in the convolutions and a second BatchNorm: that is the GAM code that circulates on the web. The paper's "
    "counts rule out that BatchNorm, and the second convolution's bias."
)

EXERCISES = {
    "gam.spatial_parameters": Exercise(
        spatial_parameters,
        lambda: [Trial((64, 16, 1)), Trial((256, 16, 4)), Trial((48, 8, 2))],
        "At r = 16, a third of what the two 3 x 3 convolutions of a ResNet-18 block take: 98 / (16 x 18).",
        (
            Mistake("A kernel is 7 x 7: 49 numbers, not 7.", lambda c, r, g: 2 * 7 * c * (c // r) // g + 2 * (c // r)),
            Mistake(
                "The groups are left out: each output channel sees C / g of the input channels.",
                lambda c, r, g: 2 * 49 * c * (c // r) + 2 * (c // r),
            ),
            Mistake(
                "The groups count once: there are g blocks, each of (C / g) x (C / (r g)).",
                lambda c, r, g: 2 * 49 * c * (c // r) // g**2 + 2 * (c // r),
            ),
            Mistake(
                "One convolution is missing: C to C / r, and back to C.",
                lambda c, r, g: 49 * c * (c // r) // g + 2 * (c // r),
            ),
            Mistake(
                "The BatchNorm between the convolutions is left out: two numbers for each of its C / r channels.",
                lambda c, r, g: 2 * 49 * c * (c // r) // g,
            ),
            Mistake(
                "You counted biases of the convolutions; here they have none.",
                lambda c, r, g: 2 * 49 * c * (c // r) // g + 3 * (c // r) + c,
            ),
            Mistake(
                "You counted a second BatchNorm, after the second convolution; there is none.",
                lambda c, r, g: 2 * 49 * c * (c // r) // g + 2 * (c // r) + 2 * c,
            ),
            Mistake(
                "The reduction is left out: between the convolutions stand C / r channels.",
                lambda c, r, g: 2 * 49 * c * c // g + 2 * c,
            ),
        ),
    ),
    "gam.spatial": Exercise(
        spatial_gate,
        gate_trials,
        "A gate for every channel and pixel again, and this one looks around: 6 pixels to each side.",
        (
            Mistake("Your gate can leave [0, 1]: it looks as if the sigmoid is missing.", logits),
            Mistake(SECOND_NORM, lambda *a: gate(*a, last=norm), with_second_norm),
            Mistake(
                "The BatchNorm's scale and shift are not used.", lambda x, w1, g, s, w2: gate(x, w1, None, None, w2)
            ),
            Mistake("The BatchNorm's scale and shift are exchanged.", lambda x, w1, g, s, w2: gate(x, w1, s, g, w2)),
            Mistake("The BatchNorm is missing.", lambda *a: gate(*a, norm=no_norm)),
            Mistake("The ReLU is missing.", lambda *a: gate(*a, relu=lambda h: h)),
            Mistake("The ReLU stands before the BatchNorm; it belongs after it.", _relu_before_norm),
            Mistake(
                "The padding is missing: each 7 x 7 convolution takes 3 pixels off every side. Use padding=3.",
                lambda *a: gate(*a, padding=0),
            ),
            Mistake(
                "A padding of 1 keeps the size for a kernel of 3; a kernel of 7 needs 3.",
                lambda *a: gate(*a, padding=1),
            ),
            Mistake(
                "The border is padded by reflection; here, as by default, with zeros.",
                lambda *a: gate(*a, conv=_reflected),
            ),
            Mistake(
                "The border is padded by repetition; here, as by default, with zeros.",
                lambda *a: gate(*a, conv=_replicated),
            ),
            Mistake(
                "You averaged over the pixels at the end: every pixel has the same gate. Nothing is pooled here.",
                lambda *a: torch.sigmoid(logits(*a).mean((2, 3), keepdim=True)),
            ),
            Mistake(
                "The gate is multiplied by the map already; what is asked for is the gate alone.",
                lambda x, *w: x * gate(x, *w),
            ),
            Mistake("Its kernels are 3 x 3; GAM's are 7 x 7.", shapes=_small_kernels),
            Mistake("It has no BatchNorm between its convolutions.", shapes=lambda shapes: [shapes[0], shapes[-1]]),
            Mistake("Its convolutions have biases; GAM's have none. Use bias=False.", shapes=with_biases),
            Mistake(CIRCULATING, shapes=circulating),
            Mistake(REDUCTION_FOUR, shapes=reduction_four),
            Mistake(HIDDEN_IS_R, shapes=hidden_is_r),
            Mistake(f"{CIRCULATING} And its reduction is 4 whatever it is called with.", shapes=circulating_at_four),
        ),
        gives="gate",
        layers="conv norm conv",
        trained=True,
    ),
    "gam.shuffle": Exercise(
        channel_shuffle,
        lambda: [Trial((drawn(2, 12, 3, 4), 3)), Trial((drawn(1, 8, 2, 5), 2)), Trial((drawn(3, 20, 4, 2), 4))],
        "With g groups of C / g, a shuffle into C / g groups turns it back.",
        (
            Mistake("Nothing has moved: a view in, and the same view out.", lambda x, groups: x),
            Mistake(
                "That is the way back: as (C / g, g), turned round. What is asked for is (g, C / g), turned round.",
                _inverse_shuffle,
            ),
            Mistake(
                "The groups changed places, and stayed whole; a shuffle deals them out like cards.",
                lambda x, groups: x.reshape(len(x), groups, -1, *x.shape[2:]).flip(1).reshape(x.shape),
            ),
            Mistake("The channels stand in reverse; a shuffle deals them out like cards.", lambda x, groups: x.flip(1)),
            Mistake(
                "The channels moved on by a group's size; a shuffle deals them out like cards.",
                lambda x, groups: x.roll(x.shape[1] // groups, 1),
            ),
            Mistake(
                "The channels moved on by one group; a shuffle deals them out like cards.",
                lambda x, groups: x.roll(-(x.shape[1] // groups), 1),
            ),
            Mistake(
                "The groups are still a dimension of their own; put them together: the shape should be (N, C, H, W).",
                lambda x, groups: x.reshape(len(x), groups, -1, *x.shape[2:]).transpose(1, 2),
            ),
        ),
        trained=True,
    ),
    "gam.smallest_width": Exercise(
        smallest_width,
        lambda: [Trial((16, 4)), Trial((16, 2)), Trial((4, 2)), Trial((8, 3))],
        "256 for the paper's r = 16 and g = 4: every block of ResNet-50 ends in that many channels or more.",
        (
            Mistake(
                "That gives each group one hidden channel; but it must hand one to each of the g groups.",
                lambda r, g: r * g,
            ),
            Mistake("The reduction is left out: it is the hidden channels that are shuffled.", lambda r, g: g * g),
            Mistake(
                "The reduction counts once: there are C / r hidden channels, C / (r g) in a group.",
                lambda r, g: (r * g) ** 2,
            ),
            Mistake(
                "The groups count twice: there are g of them, and each must hold a channel of all g.",
                lambda r, g: r * g**3,
            ),
            Mistake("The reduction is not squared; the groups are.", lambda r, g: r * r * g),
            Mistake("It is C / (r g) that must reach g: they are multiplied, not added.", lambda r, g: r + g * g),
        ),
    ),
}
