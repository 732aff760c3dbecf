"""Notebook 05: triplet attention (Misra et al., "Rotate to Attend", WACV 2021) and the attention branch network (Fukui
et al., CVPR 2019)."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, centred, drawn, drawn_labels
from gamlib.course.exercises._layers import no_norm, norm
from gamlib.course.exercises.cbam import descriptor


def rotate(x: Tensor) -> Tensor:
    """Height and channels change places: (N, C, H, W) -> (N, H, C, W)."""
    return x.transpose(1, 2)


def tam(x, w1, g1, s1, w2, g2, s2, w3, g3, s3) -> Tensor:
    """The mean of three scaled copies (Section 3.2), in the official code's orientation of each plane."""
    return _tam(x, w1, g1, s1, w2, g2, s2, w3, g3, s3)


def branch(x: Tensor, g1, s1, w1, g2, s2, w2, g3, s3) -> Tensor:
    """ABN's branch behind its stage: K maps, and M of them. (N, C, H, W) -> (N, 1, H, W)."""
    return _branch(x, g1, s1, w1, g2, s2, w2, g3, s3)


def loss(logits: Tensor, attention_logits: Tensor, labels: Tensor) -> Tensor:
    """Both classifiers' cross-entropies, 1 : 1."""
    return F.cross_entropy(logits, labels) + F.cross_entropy(attention_logits, labels)


def tam_trials() -> list[Trial]:
    """Three planes, each with its convolution and BatchNorm."""
    return [
        Trial(
            (drawn(*shape),),
            tuple(w for _ in range(3) for w in (drawn(1, 2, 7, 7), drawn(1), drawn(1))),
            {"channels": shape[1]},
        )
        for shape in SHAPES
    ]


def branch_trials() -> list[Trial]:
    """With numbers of classes that differ from the channels."""
    return [
        Trial(
            (drawn(n, c, h, w).relu(),),
            (drawn(c), drawn(c), centred(k, c, 1, 1), drawn(k), drawn(k), centred(1, k, 3, 3), drawn(1), drawn(1)),
            {"channels": c, "classes": k},
        )
        for (n, c, h, w), k in zip(SHAPES, (5, 7, 6), strict=True)
    ]


def loss_trials() -> list[Trial]:
    """Logits of a size at which a softmax too many shows."""
    return [Trial((3 * centred(n, k), 3 * centred(n, k), drawn_labels(n, k))) for n, k in ((4, 5), (6, 3), (8, 7))]


def _plane_gate(x, weight, gain, shift, pool=descriptor, norm=norm, sigmoid=torch.sigmoid):
    return sigmoid(norm(F.conv2d(pool(x), weight, padding=weight.shape[-1] // 2), gain, shift))


ROTATIONS = ((0, 2, 1, 3), (0, 3, 2, 1), (0, 1, 2, 3))  # planes C-W, H-C, H-W; each is its own way back


def _gates(x, *weights, rotations=ROTATIONS, **options):
    """The three gates, turned back to meet x."""
    thirds = (weights[:3], weights[3:6], weights[6:])
    return [_plane_gate(x.permute(r), *w, **options).permute(r) for r, w in zip(rotations, thirds, strict=True)]


def _tam(x, *weights, **options):
    return x * sum(_gates(x, *weights, **options)) / 3


def _other_way_round(x, *weights):
    cw, _, hw = _gates(x, *weights)
    ch = _plane_gate(x.permute(0, 3, 1, 2), *weights[3:6]).permute(0, 2, 3, 1)
    return x * (cw + ch + hw) / 3


def _reshaped(x, *weights):
    total = 0
    for r, w in zip(ROTATIONS, (weights[:3], weights[3:6], weights[6:]), strict=True):
        rotated = x.reshape([x.shape[i] for i in r])
        total = total + (rotated * _plane_gate(rotated, *w)).reshape(x.shape)
    return total / 3


def _with_biases(shapes):
    return [
        shape for weight, gain, shift in zip(*[iter(shapes)] * 3, strict=True) for shape in (weight, [], gain, shift)
    ]


def _multiplied(x, *weights):
    cw, ch, hw = _gates(x, *weights)
    return x * cw * ch * hw


def _in_sequence(x, *weights):
    for r, w in zip(ROTATIONS, (weights[:3], weights[3:6], weights[6:]), strict=True):
        x = x * _plane_gate(x.permute(r), *w).permute(r)
    return x


def _late(x, *weights):
    return x * torch.sigmoid(sum(_gates(x, *weights, sigmoid=lambda z: z)) / 3)


def _branch(x, g1, s1, w1, g2, s2, w2, g3, s3, norms=(norm, norm, norm), relu=F.relu, sigmoid=torch.sigmoid, padding=1):
    maps = relu(norms[1](F.conv2d(norms[0](x, g1, s1), w1), g2, s2))
    return sigmoid(norms[2](F.conv2d(maps, w2, padding=padding), g3, s3))


EXERCISES = {
    "tam.rotate": Exercise(
        rotate,
        lambda: [Trial((drawn(*shape),)) for shape in SHAPES],
        "No number was changed or copied: a rotated tensor is another way to read the same memory.",
        (
            Mistake(
                "That is a reshape: it reads the numbers in their order in memory and tears rows apart. transpose or "
                "permute moves dimensions.",
                lambda x: x.reshape(x.shape[0], x.shape[2], x.shape[1], x.shape[3]),
            ),
            Mistake(
                "Channels and width changed places; what is asked for is channels and height.",
                lambda x: x.transpose(1, 3),
            ),
            Mistake(
                "Height and width changed places; what is asked for is channels and height.",
                lambda x: x.transpose(2, 3),
            ),
            Mistake(
                "The height is second, but the channels went to the end. Only two dimensions change places.",
                lambda x: x.permute(0, 2, 3, 1),
            ),
            Mistake("The batch has been moved; the first dimension stays.", lambda x: x.transpose(0, 2)),
        ),
        trained=True,
    ),
    "tam.module": Exercise(
        tam,
        tam_trials,
        "300 weights, whatever C is: each plane is pooled to two maps before a weight touches it.",
        (
            Mistake(
                "No branch is rotated: all three look at height and width.",
                lambda *a: _tam(*a, rotations=(ROTATIONS[2],) * 3),
            ),
            Mistake(
                "The weights of the planes C-W and H-C are exchanged.", lambda x, *w: _tam(x, *w[3:6], *w[:3], *w[6:])
            ),
            Mistake(
                "The planes come in the order C-W, H-C, H-W; you gave the first weights to H-W, and so on.",
                lambda x, *w: _tam(x, *w[3:6], *w[6:], *w[:3]),
            ),
            Mistake(
                "Your plane of channels and height lies the other way round: (C, H), where the official code has "
                "(H, C). Training would find either; these weights do not fit.",
                _other_way_round,
            ),
            Mistake(
                "One plane's weights are used for all three; each has its own.",
                lambda x, *w: _tam(x, *w[:3], *w[:3], *w[:3]),
            ),
            Mistake("The planes are reshaped, not permuted: that tears rows apart.", _reshaped),
            Mistake("Its convolutions have biases; TAM's have none. Use bias=False.", shapes=_with_biases),
            Mistake("It has one gate for all three planes; each plane has its own.", shapes=lambda shapes: shapes[:3]),
            Mistake("Its gates have no BatchNorm.", shapes=lambda shapes: shapes[::3]),
            Mistake("The three are added; divide by 3, so that the gate stays in [0, 1].", lambda *a: 3 * _tam(*a)),
            Mistake("The three gates are multiplied; TAM takes their mean.", _multiplied),
            Mistake("The three run one after the other; TAM's look at the same map, side by side.", _in_sequence),
            Mistake(
                "That is the gate; what is asked for is the map, scaled with it.", lambda x, *w: sum(_gates(x, *w)) / 3
            ),
            Mistake(
                "Mean and max are in the other order: max comes first, as in the official code.",
                lambda *a: _tam(*a, pool=lambda x: descriptor(x).flip(1)),
            ),
            Mistake("The BatchNorm after each convolution is missing.", lambda *a: _tam(*a, norm=no_norm)),
            Mistake(
                "The gates can leave [0, 1]: it looks as if the sigmoid is missing.",
                lambda *a: _tam(*a, sigmoid=lambda z: z),
            ),
            Mistake("One sigmoid of the mean logit; TAM takes the mean of three sigmoids.", _late),
        ),
        gives="gated map",
        layers="conv norm conv norm conv norm",
        trained=True,
    ),
    "abn.branch": Exercise(
        branch,
        branch_trials,
        "The map is made of evidence for classes, wherever the branch finds it; and that is what the trunk is shown.",
        (
            Mistake("The first BatchNorm is missing.", lambda *a: _branch(*a, norms=(no_norm, norm, norm))),
            Mistake(
                "The BatchNorm behind the 1 x 1 convolution is missing.",
                lambda *a: _branch(*a, norms=(norm, no_norm, norm)),
            ),
            Mistake(
                "The BatchNorm before the sigmoid is missing.", lambda *a: _branch(*a, norms=(norm, norm, no_norm))
            ),
            Mistake("The ReLU that makes the class maps is missing.", lambda *a: _branch(*a, relu=lambda z: z)),
            Mistake(
                "Your map can leave [0, 1]: it looks as if the sigmoid is missing.",
                lambda *a: _branch(*a, sigmoid=lambda z: z),
            ),
            Mistake(
                "The map shrinks at the border: the 3 x 3 convolution lacks its padding of 1.",
                lambda *a: _branch(*a, padding=0),
            ),
            Mistake(
                "That is a softmax over the cells, so that all share a sum of one. ABN takes a sigmoid of each.",
                lambda *a: _branch(*a, sigmoid=lambda z: z.flatten(2).softmax(2).view(z.shape)),
            ),
            Mistake("That is 1 + M, by which the trunk is scaled; what is asked for is M.", lambda *a: 1 + _branch(*a)),
            Mistake(
                "The map is scaled with M already; asked for is M alone. (M scales the trunk's map.)",
                lambda x, *w: x * _branch(x, *w),
            ),
        ),
        gives="gate",
        layers="norm conv norm conv norm",
        trained=True,
    ),
    "abn.loss": Exercise(
        loss,
        loss_trials,
        "In testing, the branch's logits are not asked; but its map still scales what the trunk sees.",
        (
            Mistake(
                "The branch's loss is missing: nothing would teach its maps to be class maps.",
                lambda logits, attention, labels: F.cross_entropy(logits, labels),
            ),
            Mistake(
                "The trunk's own loss is missing.", lambda logits, attention, labels: F.cross_entropy(attention, labels)
            ),
            Mistake("You took the mean of the two; ABN adds them.", lambda *a: loss(*a) / 2),
            Mistake(
                "The branch's loss counts half; in ABN both count the same.",
                lambda logits, attention, labels: (
                    F.cross_entropy(logits, labels) + 0.5 * F.cross_entropy(attention, labels)
                ),
            ),
            Mistake(
                "You took the trunk's loss twice.",
                lambda logits, attention, labels: 2 * F.cross_entropy(logits, labels),
            ),
            Mistake(
                "There is a softmax too many before the branch's loss: F.cross_entropy has the softmax in it.",
                lambda logits, attention, labels: loss(logits, attention.softmax(1), labels),
            ),
            Mistake(
                "There is a softmax too many before the trunk's loss: F.cross_entropy has the softmax in it.",
                lambda logits, attention, labels: loss(logits.softmax(1), attention, labels),
            ),
            Mistake(
                "You added the logits and took one loss; each classifier has its own.",
                lambda logits, attention, labels: F.cross_entropy(logits + attention, labels),
            ),
            Mistake(
                "There is a softmax too many: F.cross_entropy takes logits, and has the softmax in it.",
                lambda logits, attention, labels: loss(logits.softmax(1), attention.softmax(1), labels),
            ),
            Mistake(
                "The two losses are multiplied; they should be added.",
                lambda logits, attention, labels: F.cross_entropy(logits, labels) * F.cross_entropy(attention, labels),
            ),
            Mistake(
                "You summed over the batch; a mean does not depend on how many images there are.",
                lambda logits, attention, labels: loss(logits, attention, labels) * len(labels),
            ),
        ),
        trained=True,
    ),
}
