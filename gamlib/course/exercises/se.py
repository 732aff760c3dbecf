"""Notebook 02, squeeze and excitation (Hu, Shen, Sun: "Squeeze-and-Excitation Networks", CVPR 2018)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, drawn
from gamlib.course.values import same


def squeeze(x: Tensor) -> Tensor:
    """Each channel's mean (Hu et al., 2018, equation 2): (N, C, H, W) -> (N, C)."""
    return x.mean((2, 3))


def se_gate(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """The excitation (equation 3): (N, C, H, W) -> (N, C, 1, 1)."""
    return torch.sigmoid(F.linear(F.relu(F.linear(squeeze(x), w1)), w2))[:, :, None, None]


def se(x: Tensor, w1: Tensor, w2: Tensor) -> Tensor:
    """The module (equation 4)."""
    return x * se_gate(x, w1, w2)


def unnoticed(x: Tensor) -> Tensor:
    """Another map with each channel's mean as it was: here the mirrored one."""
    return x.flip(3)


def noticed(changed: Tensor, x: Tensor) -> str | None:
    """What is wrong with a map that should differ from x, and that SE should take for it."""
    share = ((changed - x).abs() > 1e-3).double().mean()
    if share < 0.5:
        return f"Only {share:.0%} of its values differ from those of x by more than 0.001; change more than half."
    means, before = changed.mean((2, 3)), x.mean((2, 3))
    if not same(means, before):
        n, c = divmod(int((means - before).abs().argmax()), x.shape[1])
        return (
            f"SE would notice: channel {c} of picture {n} has the mean {means[n, c]:.6g}, and had {before[n, c]:.6g}."
        )
    return None


def se_trials() -> list[Trial]:
    """With reductions 2 and 8: at 4, one that has 4 fixed would not show."""
    return [
        Trial((drawn(n, c, h, w),), (drawn(c // r, c) / 4, drawn(c, c // r)), {"channels": c, "reduction": r})
        for (n, c, h, w), r in zip(SHAPES, (2, 8, 2), strict=True)
    ]


def _hidden(x, w1):
    return F.relu(x.mean((2, 3)) @ w1.T)


def _as_gate(values):
    return values[:, :, None, None]


def _gate(x, w1, w2):
    return _as_gate(torch.sigmoid(_hidden(x, w1) @ w2.T))


GATES = (
    (
        "Your gate can leave [0, 1]: it looks as if the sigmoid is missing.",
        lambda x, w1, w2: _as_gate(_hidden(x, w1) @ w2.T),
    ),
    (
        "The ReLU between the two layers is missing: without it, two layers are no more than one.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(x.mean((2, 3)) @ w1.T @ w2.T)),
    ),
    (
        "There is a ReLU after the second layer as well, so no gate can go below one half.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(F.relu(_hidden(x, w1) @ w2.T))),
    ),
    (
        "There is a sigmoid between the two layers; a ReLU belongs there.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(torch.sigmoid(x.mean((2, 3)) @ w1.T) @ w2.T)),
    ),
    (
        "You took each channel's largest value; SE takes its mean.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(F.relu(x.amax((2, 3)) @ w1.T) @ w2.T)),
    ),
    (
        "You summed over the pixels; SE takes their mean.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(F.relu(x.sum((2, 3)) @ w1.T) @ w2.T)),
    ),
    (
        "That is a softmax: its gates sum to one, so the channels compete. SE's sigmoid lets several pass at once.",
        lambda x, w1, w2: _as_gate(torch.softmax(_hidden(x, w1) @ w2.T, dim=1)),
    ),
    (
        "You averaged over the batch as well: each image must have its own gate.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(F.relu(x.mean((0, 2, 3))[None].expand(len(x), -1) @ w1.T) @ w2.T)),
    ),
)

SE_GATE = (
    *(Mistake(message, function) for message, function in GATES),
    Mistake(
        "The numbers are right; the shape should be (N, C, 1, 1), so that it can be multiplied by the map.",
        lambda x, w1, w2: _gate(x, w1, w2)[:, :, 0, 0],
    ),
    Mistake(
        "That is the whole module's output; what is asked for is the gate alone.",
        lambda x, w1, w2: x * _gate(x, w1, w2),
    ),
)


def _with_biases(shapes):
    return [shape for weight in shapes for shape in (weight, weight[:1])]


def _reduced_to_r(shapes):
    hidden, channels = shapes[0]
    return [[channels // hidden, channels], [channels, channels // hidden]]


def _not_reduced(shapes):
    channels = shapes[0][1]
    return [[channels, channels]] * 2


SE_MODULE = (
    *(Mistake(message, lambda x, w1, w2, f=function: x * f(x, w1, w2)) for message, function in GATES),
    Mistake("That is the gate; the module returns the map, multiplied by it.", lambda x, w1, w2: _gate(x, w1, w2)),
    Mistake("The gate is added; it should be multiplied.", lambda x, w1, w2: x + _gate(x, w1, w2)),
    Mistake(
        "You multiply by 1 + gate; that is BAM's way. SE multiplies by the gate alone.",
        lambda x, w1, w2: x * (1 + _gate(x, w1, w2)),
    ),
    Mistake(
        "Its Linear layers have biases; SE's have none (the GAM paper's parameter counts say so). Use bias=False.",
        shapes=_with_biases,
    ),
    Mistake("Its hidden layer has r units; it should have C / r: channels // reduction.", shapes=_reduced_to_r),
    Mistake("Its hidden layer is as wide as the input; SE narrows it to channels // reduction.", shapes=_not_reduced),
)

EXERCISES = {
    "se.gate": Exercise(
        se_gate,
        se_trials,
        "The two ones at the end of the shape let the gate be multiplied by the map as it is.",
        SE_GATE,
        gives="gate",
        layers="linear linear",
        trained=True,
    ),
    "se.module": Exercise(
        se,
        se_trials,
        "It can be trained as it is: create_model('probe', YourClass, {'reduction': 4}).",
        SE_MODULE,
        gives="gated map",
        layers="linear linear",
        trained=True,
    ),
    "se.fool": Exercise(
        unnoticed,
        lambda: [Trial((drawn(*shape),)) for shape in SHAPES],
        "Each channel's mean is as it was, and that is all that SE's gate is told. It knows how much, and not where.",
        (
            Mistake("That is x itself. A map is asked for that differs from it.", lambda x: x.clone()),
            Mistake(
                "You exchanged channels: each mean now stands in another channel's place, and SE's matrices see that.",
                lambda x: x.flip(1),
            ),
            Mistake(
                "You exchanged pictures; each picture's gate is computed from that picture alone.", lambda x: x.flip(0)
            ),
            Mistake("You added the same number everywhere, so each channel's mean has grown by it.", lambda x: x + 1),
            Mistake("You scaled the map, and its means with it.", lambda x: 2 * x),
            Mistake("You changed all signs, and those of the means with them.", lambda x: -x),
            Mistake("A map of zeros has the means 0; x has others.", torch.zeros_like),
        ),
        fault=noticed,
    ),
}
