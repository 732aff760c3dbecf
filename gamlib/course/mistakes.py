"""Mistakes that people make in the exercises, each as the small function that makes it, and what to say of it.

They come from bugs met in public code and in class, and from the mechanisms themselves. A test proves that each is
refused, gets its own message, and that no message is given for another's mistake or for a right solution.
"""

import torch
from torch.nn import functional as F

from gamlib.course.exercise import Mistake

PARAMETERS = (
    Mistake(
        "You counted one kernel; there is one for each output channel.", lambda i, o, k, b: i * k * k + (o if b else 0)
    ),
    Mistake("A kernel is k x k: k stands squared in the count.", lambda i, o, k, b: o * i * k + (o if b else 0)),
    Mistake("The bias is left out; it is one number for each output channel.", lambda i, o, k, b: o * i * k * k),
    Mistake(
        "A bias belongs to an output channel; you counted one for each input channel.",
        lambda i, o, k, b: o * i * k * k + (i if b else 0),
    ),
    Mistake(
        "Each output channel has a kernel for every input channel; you counted one for each output channel.",
        lambda i, o, k, b: o * k * k + (o if b else 0),
    ),
)

MACS = (
    Mistake(
        "That is the number of weights; each is used at every pixel of the output.", lambda i, o, k, h, w: o * i * k * k
    ),
    Mistake(
        "You counted additions and multiplications apart; a MAC is one of each.",
        lambda i, o, k, h, w: 2 * o * i * k * k * h * w,
    ),
    Mistake(
        "The input channels are left out: an output pixel sums over all of them.",
        lambda i, o, k, h, w: o * k * k * h * w,
    ),
    Mistake("A kernel is k x k: k stands squared in the count.", lambda i, o, k, h, w: o * i * k * h * w),
)


def _strides_ignored(layers):
    return 1 + sum(k - 1 for k, _ in layers)


def _kernels_added(layers):
    return sum(k for k, _ in layers)


def _stride_too_early(layers):
    size, jump = 1, 1
    for k, s in layers:
        jump *= s
        size += (k - 1) * jump
    return size


def _backwards(layers):
    size, jump = 1, 1
    for k, s in reversed(layers):
        size += (k - 1) * jump
        jump *= s
    return size


def _last_stride_only(layers):
    size, previous = 1, 1
    for k, s in layers:
        size += (k - 1) * previous
        previous = s
    return size


RECEPTIVE_FIELD = (
    Mistake(
        "The strides are left out: behind a stride of 2, neighbours stand two input pixels apart.", _strides_ignored
    ),
    Mistake("Kernels overlap: each adds its size less one, not its whole size.", _kernels_added),
    Mistake("A layer's own stride widens the steps of the layers after it, not its own kernel.", _stride_too_early),
    Mistake("You went from the last layer to the first: a stride counts for the layers behind it.", _backwards),
    Mistake(
        "Strides multiply: the step is the product of all strides so far, not the last one alone.", _last_stride_only
    ),
)


def _norm(x, gain, bias):
    return F.batch_norm(x, None, None, gain, bias, training=True)


def _conv(x, weight):
    return F.conv2d(x, weight, padding=1)


def _no_shortcut(x, w1, g1, b1, w2, g2, b2):
    return F.relu(_norm(_conv(F.relu(_norm(_conv(x, w1), g1, b1)), w2), g2, b2))


def _relu_before_add(x, w1, g1, b1, w2, g2, b2):
    return x + F.relu(_norm(_conv(F.relu(_norm(_conv(x, w1), g1, b1)), w2), g2, b2))


def _no_last_relu(x, w1, g1, b1, w2, g2, b2):
    return x + _norm(_conv(F.relu(_norm(_conv(x, w1), g1, b1)), w2), g2, b2)


def _no_middle_relu(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + _norm(_conv(_norm(_conv(x, w1), g1, b1), w2), g2, b2))


def _relu_before_norm(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + _norm(_conv(_norm(F.relu(_conv(x, w1)), g1, b1), w2), g2, b2))


def _one_norm_for_both(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + _norm(_conv(F.relu(_norm(_conv(x, w1), g1, b1)), w2), g1, b1))


RESIDUAL_BLOCK = (
    Mistake("The shortcut is missing: the block's input is never added.", _no_shortcut),
    Mistake("The last ReLU stands before the addition; it belongs behind it.", _relu_before_add),
    Mistake("The last ReLU, behind the addition, is missing.", _no_last_relu),
    Mistake("The ReLU between the two convolutions is missing.", _no_middle_relu),
    Mistake("The first ReLU stands before its BatchNorm; it belongs behind it.", _relu_before_norm),
    Mistake("One BatchNorm is used twice; each convolution has its own.", _one_norm_for_both),
)

SQUEEZE = (
    Mistake(
        "You averaged over the channels: that leaves one number a pixel. SE keeps one number a channel.",
        lambda x: x.mean(1),
    ),
    Mistake("You summed; a mean does not depend on how large the picture is.", lambda x: x.sum((2, 3))),
    Mistake("You took the largest value; SE takes the mean. (CBAM takes both.)", lambda x: x.amax((2, 3))),
    Mistake(
        "You averaged over the images of the batch as well: each image has its own numbers.",
        lambda x: x.mean((0, 2, 3)),
    ),
    Mistake(
        "The two ones are still there: the shape should be (N, C). Leave out keepdim, or flatten it.",
        lambda x: x.mean((2, 3), keepdim=True),
    ),
    Mistake("You averaged along one side alone, and then took the first value.", lambda x: x.mean(3)[:, :, 0]),
)


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
        "There is a sigmoid between the two layers; a ReLU belongs there.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(torch.sigmoid(x.mean((2, 3)) @ w1.T) @ w2.T)),
    ),
    (
        "You took each channel's largest value; SE takes its mean.",
        lambda x, w1, w2: _as_gate(torch.sigmoid(F.relu(x.amax((2, 3)) @ w1.T) @ w2.T)),
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
        "The numbers are right; the shape should be (N, C, 1, 1), so that it can be multiplied with the map.",
        lambda x, w1, w2: _gate(x, w1, w2)[:, :, 0, 0],
    ),
    Mistake("That is the whole module's output; asked is the gate alone.", lambda x, w1, w2: x * _gate(x, w1, w2)),
)


def _with_biases(shapes):
    return [shape for weight in shapes for shape in (weight, weight[:1])]


SE_MODULE = (
    *(Mistake(message, lambda x, w1, w2, f=function: x * f(x, w1, w2)) for message, function in GATES),
    Mistake(
        "That is the gate; the module returns the map, multiplied with it.",
        lambda x, w1, w2: _gate(x, w1, w2),
    ),
    Mistake("The gate is added; it should be multiplied.", lambda x, w1, w2: x + _gate(x, w1, w2)),
    Mistake(
        "You multiply by 1 + gate; that is BAM's way. SE multiplies by the gate alone.",
        lambda x, w1, w2: x * (1 + _gate(x, w1, w2)),
    ),
    Mistake(
        "Its Linear layers have biases; SE's have none (the paper's parameter counts say so). Use bias=False.",
        shapes=_with_biases,
    ),
    Mistake(
        "The two layers stand in the wrong order: first C -> C / r, then C / r -> C.",
        shapes=lambda shapes: shapes[::-1],
    ),
)
