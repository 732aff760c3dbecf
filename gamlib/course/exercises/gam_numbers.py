"""Notebook 08: the whole of GAM, its place in a block, and its parameters (Liu, Shao, Hoffmann, 2021)."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises import gam_channel, gam_spatial
from gamlib.course.exercises._draw import SHAPES, centred, drawn
from gamlib.course.exercises._layers import no_norm, norm


def gam(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, k1: Tensor, gain: Tensor, shift: Tensor, k2: Tensor):
    """Equations 1 and 2: (N, C, H, W) -> (N, C, H, W)."""
    x = x * gam_channel.channel_gate(x, w1, b1, w2, b2)
    return x * gam_spatial.spatial_gate(x, k1, gain, shift, k2)


def block(x: Tensor, attention: Callable, w1: Tensor, g1: Tensor, b1: Tensor, w2: Tensor, g2: Tensor, b2: Tensor):
    """A basic block with attention after its last BatchNorm and before the residual add."""
    return F.relu(x + attention(_second(_first(x, w1, g1, b1), w2, g2, b2)))


def parameters(channels: int, reduction: int, linear_biases: bool, conv_biases: bool, second_norm: bool) -> int:
    """Of one GAM, by what the paper leaves open."""
    hidden = channels // reduction
    mlp = 2 * channels * hidden + (hidden + channels if linear_biases else 0)
    convs = 2 * 49 * channels * hidden + (hidden + channels if conv_biases else 0)
    return mlp + convs + 2 * hidden + (2 * channels if second_norm else 0)


def fits(count: int, printed: str) -> bool:
    """Whether a count of parameters, in millions, rounds to what is printed, at the printed number of decimals."""
    decimals = len(printed.partition(".")[2])
    return f"{count / 1e6:.{decimals}f}" == printed


def gam_trials() -> list[Trial]:
    """With reduction 2, 8 and 2: at 4, one that has it fixed would not show."""
    return [
        Trial(channel.inputs, channel.weights + spatial.weights, channel.construct)
        for channel, spatial in zip(gam_channel.gate_trials(), gam_spatial.gate_trials(), strict=True)
    ]


def block_trials() -> list[Trial]:
    """The attention is made up: a gate from each pixel's mean over the channels, so that its place shows."""

    def attention(x):
        return x * torch.sigmoid(x.mean(1, keepdim=True) - 0.5)

    return [
        Trial(
            (drawn(*shape), attention),
            (_kernel(shape[1]), drawn(shape[1]), drawn(shape[1]), _kernel(shape[1]), drawn(shape[1]), drawn(shape[1])),
            {"channels": shape[1]},
        )
        for shape in SHAPES
    ]


def _kernel(channels):
    return centred(channels, channels, 3, 3) / 3


def _first(x, w, g, b):
    return F.relu(norm(F.conv2d(x, w, padding=1), g, b))


def _second(x, w, g, b):
    return norm(F.conv2d(x, w, padding=1), g, b)


def _change(x, w1, g1, b1, w2, g2, b2):
    """What the block adds."""
    return _second(_first(x, w1, g1, b1), w2, g2, b2)


def _channel(x, weights, **options):
    return gam_channel.gate(x, *weights[:4], **options)


def _spatial(x, weights, **options):
    return gam_spatial.gate(x, *weights[4:], **options)


def _in_sequence(x, *weights, channel=None, **spatial):
    x = x * _channel(x, weights, **(channel or {}))
    return x * _spatial(x, weights, **spatial)


def _spatial_first(x, *weights):
    x = x * _spatial(x, weights)
    return x * _channel(x, weights)


def _scales_the_input(x, *weights):
    return x * _spatial(x * _channel(x, weights), weights)


def _pooled(x, *weights):
    x = x * _channel(x.mean((2, 3), keepdim=True), weights)
    return x * _spatial(x, weights)


def _spatially(change):
    """A mistake in the spatial gate's shapes, in the whole module's."""
    return _in_both(list, change)


def _in_both(change_channel, change_spatial):
    """A mistake in both gates' shapes."""
    return lambda shapes: [*change_channel(shapes[:4]), *change_spatial(shapes[4:])]


def _convs_alone(channels, reduction, conv_biases, second_norm):
    mlp = 2 * channels * (channels // reduction)
    return parameters(channels, reduction, False, conv_biases, second_norm) - mlp


def _truncated(count, printed):
    decimals = len(printed.partition(".")[2])
    return int(count / 1e6 * 10**decimals) == round(float(printed) * 10**decimals)


EXERCISES = {
    "gam.module": Exercise(
        gam,
        gam_trials,
        "Two gates, both of the map's full shape: nothing was pooled on the way.",
        (
            Mistake(
                "The spatial gate looks at the module's input, so the two run in parallel. It should look at what the "
                "channel gate has let through.",
                lambda x, *w: x * _channel(x, w) * _spatial(x, w),
            ),
            Mistake(
                "The two run in parallel, and their outputs are added; GAM's run in sequence.",
                lambda x, *w: x * _channel(x, w) + x * _spatial(x, w),
            ),
            Mistake(
                "The spatial gate scales the module's input; it should scale what the channel gate has let through.",
                _scales_the_input,
            ),
            Mistake("The spatial gate comes first; GAM begins with the channels.", _spatial_first),
            Mistake(
                "The channel gate can leave [0, 1]: its sigmoid is missing, as in the code that circulates on the web.",
                lambda x, *w: _in_sequence(x, *w, channel={"sigmoid": lambda z: z}),
            ),
            Mistake(
                gam_spatial.SECOND_NORM,
                lambda x, *w: _in_sequence(x, *w, last=norm),
                _spatially(gam_spatial.with_second_norm),
            ),
            Mistake(
                "No sigmoid on the channel gate, and a BatchNorm after the second convolution: that is the GAM code "
                "that circulates on the web. GAM has the one, and the paper's counts have no room for the other.",
                lambda x, *w: _in_sequence(x, *w, channel={"sigmoid": lambda z: z}, last=norm),
            ),
            Mistake(
                "The spatial gate can leave [0, 1]: its sigmoid is missing.",
                lambda x, *w: _in_sequence(x, *w, sigmoid=lambda z: z),
            ),
            Mistake("The BatchNorm in the spatial gate is missing.", lambda x, *w: _in_sequence(x, *w, norm=no_norm)),
            Mistake("The ReLU in the spatial gate is missing.", lambda x, *w: _in_sequence(x, *w, relu=lambda z: z)),
            Mistake("The channel gate averages over the pixels first; nothing is pooled in GAM.", _pooled),
            Mistake("The channel gate is left out: that is the paper's variant sp.", lambda x, *w: x * _spatial(x, w)),
            Mistake("The spatial gate is left out: that is the paper's variant ch.", lambda x, *w: x * _channel(x, w)),
            Mistake(
                "You added the input once more; the block does that, outside of the module.",
                lambda x, *w: x + _in_sequence(x, *w),
            ),
            Mistake(gam_spatial.CIRCULATING, shapes=_spatially(gam_spatial.circulating)),
            Mistake(
                f"{gam_spatial.CIRCULATING} And its reduction is 4 whatever it is called with.",
                shapes=_in_both(gam_channel.reduction_four, gam_spatial.circulating_at_four),
            ),
            Mistake(gam_channel.HIDDEN_IS_R, shapes=_in_both(gam_channel.hidden_is_r, gam_spatial.hidden_is_r)),
            Mistake(
                "Its convolutions have biases; GAM's have none. Use bias=False.",
                shapes=_spatially(gam_spatial.with_biases),
            ),
            Mistake(gam_channel.NO_BIASES, shapes=_in_both(gam_channel.without_biases, list)),
            Mistake(
                gam_channel.REDUCTION_FOUR, shapes=_in_both(gam_channel.reduction_four, gam_spatial.reduction_four)
            ),
        ),
        gives="gated map",
        layers="linear+bias linear+bias conv norm conv",
        trained=True,
    ),
    "gam.block": Exercise(
        block,
        block_trials,
        "It gates what the block wants to change, and leaves the shortcut alone: shut, the block passes its input on.",
        (
            Mistake("The attention is not used.", lambda x, attention, *w: F.relu(x + _change(x, *w))),
            Mistake(
                "The attention stands after the addition, so it gates the shortcut as well; it belongs before.",
                lambda x, attention, *w: F.relu(attention(x + _change(x, *w))),
            ),
            Mistake(
                "The attention stands after the block's last ReLU; it belongs before the addition.",
                lambda x, attention, *w: attention(F.relu(x + _change(x, *w))),
            ),
            Mistake(
                "The attention stands before the last BatchNorm, which would undo part of it; it belongs after.",
                lambda x, attention, w1, g1, b1, w2, g2, b2: F.relu(
                    x + norm(attention(F.conv2d(_first(x, w1, g1, b1), w2, padding=1)), g2, b2)
                ),
            ),
            Mistake(
                "The attention stands between the convolutions; it belongs after the last BatchNorm.",
                lambda x, attention, w1, g1, b1, *w: F.relu(x + _second(attention(_first(x, w1, g1, b1)), *w)),
            ),
            Mistake(
                "The attention looks at the block's input; it belongs at the end, before the addition.",
                lambda x, attention, *w: F.relu(x + _change(attention(x), *w)),
            ),
            Mistake(
                "The attention is on the shortcut; it gates what the block adds.",
                lambda x, attention, *w: F.relu(attention(x) + _change(x, *w)),
            ),
            Mistake(
                "The map is added beside attention(map); attention(map) takes its place.",
                lambda x, attention, *w: F.relu(x + _change(x, *w) + attention(_change(x, *w))),
            ),
            Mistake(
                "The map is multiplied by attention(map), which is the scaled map already.",
                lambda x, attention, *w: F.relu(x + _change(x, *w) * attention(_change(x, *w))),
            ),
            Mistake("The last ReLU is missing.", lambda x, attention, *w: x + attention(_change(x, *w))),
            Mistake("The shortcut is missing.", lambda x, attention, *w: F.relu(attention(_change(x, *w)))),
            Mistake(
                "The ReLU stands before the addition; it belongs after it.",
                lambda x, attention, *w: x + F.relu(attention(_change(x, *w))),
            ),
        ),
        layers="conv norm conv norm",
        trained=True,
    ),
    "gam.parameters": Exercise(
        parameters,
        lambda: (
            [
                Trial((64, 16, *choice))
                for choice in [(False, False, False), (True, False, False), (False, True, False), (False, False, True)]
            ]
            + [Trial((256, 8, True, True, True))]
        ),
        "Three choices, and each leaves its trace in a count.",
        (
            Mistake(
                "The BatchNorm between the convolutions is left out: it is in every design, with 2 C / r numbers.",
                lambda c, r, *choice: parameters(c, r, *choice) - 2 * (c // r),
            ),
            Mistake(
                "The second BatchNorm has C channels, and two numbers for each.",
                lambda c, r, lb, cb, norm: parameters(c, r, lb, cb, False) + (2 * (c // r) if norm else 0),
            ),
            Mistake(
                "A BatchNorm has two numbers per channel: a scale and a shift.",
                lambda c, r, lb, cb, norm: parameters(c, r, lb, cb, False) - c // r + (c if norm else 0),
            ),
            Mistake(
                "A layer has a bias for each number that comes out: C / r in the first, C in the second.",
                lambda c, r, lb, cb, norm: parameters(c, r, False, False, norm) + 2 * c * (lb + cb),
            ),
            Mistake(
                "A kernel is 7 x 7: 49 numbers, not 7.",
                lambda c, r, *choice: parameters(c, r, *choice) - 2 * 42 * c * (c // r),
            ),
            Mistake("The MLP is left out.", lambda c, r, _, cb, norm: _convs_alone(c, r, cb, norm)),
        ),
    ),
    "gam.fits": Exercise(
        fits,
        lambda: [
            Trial(arguments)
            for arguments in [
                (149_470_388, "149.47"),
                (58_860_000, "58.9"),
                (1_305_300_000, "1305"),
                (149_476_000, "149.47"),
                (149_467_000, "149.47"),
                (149_463_000, "149.47"),
                (1_305_000_000, "1305"),
                (58_897_976, "58.9"),
                (58_840_000, "58.9"),
                (24_664_000, "24.6"),
                (151_000_000, "149.47"),
                (149_300_000, "149.47"),
                (1_200_000, "1.4"),
            ]
        ],
        "Two decimals of a million: a count may be off by 5,000 and still fit. Small choices hide in small networks.",
        (
            Mistake("You cut the digits off; printed figures are rounded.", _truncated),
            Mistake(
                "A tolerance of 0.01 takes in the neighbours of the printed figure. And not every figure has two "
                "decimals: round to as many as it has.",
                lambda count, printed: abs(count / 1e6 - float(printed)) < 0.01,
            ),
            Mistake(
                "You took two decimals, or a tolerance of 0.005, whatever is printed; some figures have one, or none. "
                "Round to as many as it has.",
                lambda count, printed: abs(count / 1e6 - float(printed)) < 0.005,
            ),
            Mistake(
                "A tolerance of one in the last digit takes in the neighbours of the figure; rounding leaves half.",
                lambda count, printed: abs(count / 1e6 - float(printed)) < 10 ** -len(printed.partition(".")[2]),
            ),
            Mistake(
                "It never fits. Is the count in millions, as the figure is, and is the figure made a number before you "
                "compare the two?",
                lambda count, printed: False,
            ),
            Mistake("It always fits, whatever the count is.", lambda count, printed: True),
            Mistake(
                "You compared to the nearest million; count the decimals that are printed.",
                lambda count, printed: round(count / 1e6) == round(float(printed)),
            ),
            Mistake(
                "A tolerance in percent takes in neighbours of a large figure; round to as many decimals as it has.",
                lambda count, printed: abs(count / 1e6 - float(printed)) / float(printed) < 0.01,
            ),
            Mistake(
                "You asked for equality; the printed figure is a rounded one.",
                lambda count, printed: count / 1e6 == float(printed),
            ),
        ),
    ),
}
