"""Notebook 04, CBAM (Woo, Park, Lee, Kweon: "CBAM: Convolutional Block Attention Module", ECCV 2018)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, centred, drawn
from gamlib.course.exercises._layers import no_norm, norm
from gamlib.course.values import same


def descriptor(x: Tensor) -> Tensor:
    """[max; mean] over the channels, as the official code stacks them: (N, C, H, W) -> (N, 2, H, W)."""
    return torch.stack([x.amax(1), x.mean(1)], dim=1)


def channel_gate(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """Equation 2: one MLP for both descriptors, summed, sigmoid: (N, C, 1, 1)."""
    return _channel_gate(x, w1, b1, w2, b2)


def spatial_gate(x: Tensor, weight: Tensor, gain: Tensor, shift: Tensor) -> Tensor:
    """Equation 3, with the BatchNorm of the official code: (N, 1, H, W)."""
    return _spatial_gate(x, weight, gain, shift)


def cbam(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, weight: Tensor, gain: Tensor, shift: Tensor):
    """Equation 1: first channels, then positions."""
    x = x * channel_gate(x, w1, b1, w2, b2)
    return x * spatial_gate(x, weight, gain, shift)


def exchanged(x: Tensor) -> Tensor:
    """A map that the spatial gate takes for x, and the channel gate does not: here its channels in another order."""
    return x.roll(1, 1)


def told_apart(changed: Tensor, x: Tensor) -> str | None:
    """What is wrong with a map that the channel gate should tell from x, and the spatial gate should not."""
    for word, ours, before in (("largest value", changed.amax(1), x.amax(1)), ("mean", changed.mean(1), x.mean(1))):
        if not same(ours, before):
            n, i, j = (int(index) for index in ((ours - before).abs() == (ours - before).abs().max()).nonzero()[0])
            return (
                f"The spatial gate would notice: at row {i}, column {j} of picture {n} the {word} over the channels is "
                f"{ours[n, i, j]:.3f}, and was {before[n, i, j]:.3f}."
            )
    if same(changed.mean((2, 3)), x.mean((2, 3))) and same(changed.amax((2, 3)), x.amax((2, 3))):
        return "The channel gate does not notice, either: each channel has its mean and its largest value as before."
    return None


def channel_weights(c: int, r: int) -> tuple[Tensor, ...]:
    """Of the MLP, with biases."""
    return centred(c // r, c) / 4, centred(c // r) / 2, centred(c, c // r) / 4, centred(c) / 2


def spatial_weights() -> tuple[Tensor, ...]:
    """Of the convolution and its BatchNorm."""
    return centred(1, 2, 7, 7), drawn(1), drawn(1)


def trials(channel: bool, spatial: bool) -> list[Trial]:
    """With reductions 2 and 8: at 4, one that has 4 fixed would not show."""
    found = []
    for (n, c, h, w), r in zip(SHAPES, (2, 8, 2), strict=True):
        weights = (channel_weights(c, r) if channel else ()) + (spatial_weights() if spatial else ())
        construct = ({"channels": c, "reduction": r} if channel else {}) | ({"kernel_size": 7} if not channel else {})
        found.append(Trial((drawn(n, c, h, w),), weights, construct))
    return found


def _channel_gate(x, w1, b1, w2, b2, pools=("mean", "max"), join=lambda a, b: a + b, relu=F.relu):
    pooled = [{"mean": x.mean, "max": x.amax, "sum": x.sum}[pool]((2, 3)) for pool in pools]
    mlps = [F.linear(relu(F.linear(z, w1, b1)), w2, b2) for z in pooled]
    return torch.sigmoid(join(*mlps) if len(mlps) == 2 else mlps[0])[:, :, None, None]


def _spatial_gate(x, weight, gain, shift, describe=descriptor, norm=norm, sigmoid=torch.sigmoid):
    return sigmoid(norm(F.conv2d(describe(x), weight, padding=weight.shape[-1] // 2), gain, shift))


def _one_pass(x, w1, b1, w2, b2):
    both = x.mean((2, 3)) + x.amax((2, 3))
    return torch.sigmoid(F.linear(F.relu(F.linear(both, w1, b1)), w2, b2))[:, :, None, None]


def _joined_inside(x, w1, b1, w2, b2):
    hidden = F.relu(F.linear(x.mean((2, 3)), w1, b1)) + F.relu(F.linear(x.amax((2, 3)), w1, b1))
    return torch.sigmoid(F.linear(hidden, w2, b2))[:, :, None, None]


def _one_gate(x, *weights, channel):
    weights = _split(weights)
    return x * (_channel_gate(x, *weights[0]) if channel else _spatial_gate(x, *weights[1]))


def _one_plus(x, *weights):
    channel, spatial = _split(weights)
    x = x * (1 + _channel_gate(x, *channel))
    return x * (1 + _spatial_gate(x, *spatial))


def _without_mlp_biases(shapes):
    w1, _, w2, _, *spatial = shapes
    return [w1, w2, *spatial]


def _with_conv_bias(shapes):
    *channel, weight, gain, shift = shapes
    return [*channel, weight, [], gain, shift]


def _two_mlps(shapes):
    return [*shapes, *shapes]


def _two_sigmoids(x, w1, b1, w2, b2):
    return _channel_gate(x, w1, b1, w2, b2, ("mean",)) + _channel_gate(x, w1, b1, w2, b2, ("max",))


def _swapped(x):
    return descriptor(x).flip(1)


def _split(weights):
    return weights[:4], weights[4:]


def _parallel(x, *weights):
    channel, spatial = _split(weights)
    return x * _channel_gate(x, *channel) * _spatial_gate(x, *spatial)


def _spatial_first(x, *weights):
    channel, spatial = _split(weights)
    x = x * _spatial_gate(x, *spatial)
    return x * _channel_gate(x, *channel)


def _in_sequence(x, *weights, channel_options=None, spatial_options=None):
    channel, spatial = _split(weights)
    x = x * _channel_gate(x, *channel, **(channel_options or {}))
    return x * _spatial_gate(x, *spatial, **(spatial_options or {}))


def _lost_map(x, *weights):
    channel, spatial = _split(weights)
    return x * _spatial_gate(x * _channel_gate(x, *channel), *spatial)


def _averaged(x, *weights):
    channel, spatial = _split(weights)
    return x * (_channel_gate(x, *channel) + _spatial_gate(x, *spatial)) / 2


EXERCISES = {
    "cbam.channel": Exercise(
        channel_gate,
        lambda: trials(channel=True, spatial=False),
        "Both descriptors go through one MLP: max adds information, and no parameters.",
        (
            Mistake("Only the mean goes through the MLP: that is SE's gate.", lambda *a: _channel_gate(*a, ("mean",))),
            Mistake("You took a sum in the place of the mean.", lambda *a: _channel_gate(*a, ("sum", "max"))),
            Mistake("Only the max goes through the MLP.", lambda *a: _channel_gate(*a, ("max",))),
            Mistake("You added mean and max before the MLP; each goes through it, then they are added.", _one_pass),
            Mistake(
                "You added the two after the ReLU, inside the MLP, so the last bias counts once. Each goes through the "
                "whole MLP, then they are added.",
                _joined_inside,
            ),
            Mistake("Each has a sigmoid of its own; CBAM adds the logits and takes one sigmoid.", _two_sigmoids),
            Mistake(
                "You averaged the two logits; CBAM adds them.",
                lambda *a: _channel_gate(*a, join=lambda p, q: (p + q) / 2),
            ),
            Mistake(
                "The numbers are right; the shape should be (N, C, 1, 1), so that it can be multiplied by the map.",
                lambda *a: _channel_gate(*a)[:, :, 0, 0],
            ),
            Mistake(
                "The gate is multiplied by the map already; what is asked for is the gate alone.",
                lambda x, *a: x * _channel_gate(x, *a),
            ),
            Mistake("The ReLU inside the MLP is missing.", lambda *a: _channel_gate(*a, relu=lambda h: h)),
            Mistake("There is an MLP for each descriptor; CBAM sends both through one and the same.", shapes=_two_mlps),
            Mistake(
                "Your gate can leave [0, 1]: it looks as if the sigmoid is missing.",
                lambda *a: torch.logit(_channel_gate(*(t.double() for t in a))).to(a[0].dtype),
            ),
        ),
        gives="gate",
        layers="linear+bias linear+bias",
        trained=True,
    ),
    "cbam.spatial": Exercise(
        spatial_gate,
        lambda: trials(channel=False, spatial=True),
        "98 weights, whatever the number of channels: it sees positions, and cannot tell channels apart.",
        (
            Mistake("Mean and max are in the other order.", lambda *a: _spatial_gate(*a, describe=_swapped)),
            Mistake(
                "The BatchNorm's scale and shift are not used.",
                lambda x, w, gain, shift: _spatial_gate(x, w, None, None),
            ),
            Mistake(
                "The BatchNorm's scale and shift are exchanged.",
                lambda x, w, gain, shift: _spatial_gate(x, w, shift, gain),
            ),
            Mistake("The BatchNorm after the convolution is missing.", lambda *a: _spatial_gate(*a, norm=no_norm)),
            Mistake(
                "Your gate can leave [0, 1]: it looks as if the sigmoid is missing.",
                lambda *a: _spatial_gate(*a, sigmoid=lambda z: z),
            ),
            Mistake("That is a ReLU; a gate needs the sigmoid.", lambda *a: _spatial_gate(*a, sigmoid=F.relu)),
            Mistake(
                "The gate is multiplied by the map already; what is asked for is the gate alone.",
                lambda x, *a: x * _spatial_gate(x, *a),
            ),
            Mistake(
                "You took a sum over the channels in the place of the mean.",
                lambda *a: _spatial_gate(*a, describe=lambda x: torch.stack([x.amax(1), x.sum(1)], dim=1)),
            ),
        ),
        gives="gate",
        layers="conv norm",
        trained=True,
    ),
    "cbam.module": Exercise(
        cbam,
        lambda: trials(channel=True, spatial=True),
        "The second gate sees what the first has let through: swap them, and the module is another one.",
        (
            Mistake("Channel and spatial gates run in parallel; CBAM's run in sequence.", _parallel),
            Mistake("The spatial gate comes first; CBAM begins with the channels.", _spatial_first),
            Mistake(
                "The spatial gate scales the module's input; it should scale what the channel gate has let through.",
                _lost_map,
            ),
            Mistake("The spatial gate is left out.", lambda x, *a: _one_gate(x, *a, channel=True)),
            Mistake("The channel gate is left out.", lambda x, *a: _one_gate(x, *a, channel=False)),
            Mistake("You multiply by 1 + gate; that is BAM's way. CBAM multiplies by the gates alone.", _one_plus),
            Mistake(
                "The MLP's layers have no biases; CBAM's have (the GAM paper's parameter counts say so).",
                shapes=_without_mlp_biases,
            ),
            Mistake("The 7 x 7 convolution has a bias; CBAM's has none. Use bias=False.", shapes=_with_conv_bias),
            Mistake("The BatchNorm in the spatial gate is missing.", shapes=lambda shapes: shapes[:-2]),
            Mistake("The two gates are averaged; CBAM multiplies by one, then by the other.", _averaged),
            Mistake(
                "In the spatial gate, mean and max are in the other order.",
                lambda *a: _in_sequence(*a, spatial_options={"describe": _swapped}),
            ),
            Mistake(
                "In the spatial gate, the BatchNorm is missing.",
                lambda *a: _in_sequence(*a, spatial_options={"norm": no_norm}),
            ),
            Mistake(
                "In the channel gate, the max is missing.",
                lambda *a: _in_sequence(*a, channel_options={"pools": ("mean",)}),
            ),
        ),
        gives="gated map",
        layers="linear+bias linear+bias conv norm",
        trained=True,
    ),
    "cbam.fool": Exercise(
        exchanged,
        lambda: [Trial((drawn(*shape),)) for shape in SHAPES],
        "In which channel a number stands is nothing to a gate that pools over the channels: red could be blue.",
        (
            Mistake(
                "That is x itself, and the channel gate can't tell it from x, either.",
                lambda x: x.clone(),
            ),
            Mistake(
                "You moved columns: the channel gate does not notice that, and the spatial gate does.",
                lambda x: x.flip(3),
            ),
            Mistake(
                "You moved rows: the channel gate does not notice that, and the spatial gate does.", lambda x: x.flip(2)
            ),
            Mistake("You exchanged pictures, and so what both gates are told.", lambda x: x.flip(0)),
            Mistake(
                "You put each pixel's mean into all channels: the mean over them stays, the largest value does not.",
                lambda x: x.mean(1, keepdim=True).expand_as(x),
            ),
            Mistake(
                "You put each pixel's largest value into all channels: it stays the largest, and the mean grows.",
                lambda x: x.amax(1, keepdim=True).expand_as(x),
            ),
        ),
        fault=told_apart,
    ),
}
