"""Notebook 01, the baseline network: counting, receptive fields, the residual block."""

from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, drawn
from gamlib.course.exercises._layers import norm


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
    out = F.relu(F.batch_norm(_conv(x, w1), None, None, g1, b1, training=True))
    out = F.batch_norm(_conv(out, w2), None, None, g2, b2, training=True)
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


PARAMETERS = (
    Mistake(
        "You counted one kernel; there is one for each output channel.", lambda i, o, k, b: i * k * k + (o if b else 0)
    ),
    Mistake("A kernel is k x k: k stands squared in the count.", lambda i, o, k, b: o * i * k + (o if b else 0)),
    Mistake("A kernel has k x k numbers, not k times 2.", lambda i, o, k, b: o * i * k * 2 + (o if b else 0)),
    Mistake("There is a bias only where `bias` is True; you counted it always.", lambda i, o, k, b: o * i * k * k + o),
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
    Mistake(
        "Height and width are the output's already: nothing is lost at the border any more.",
        lambda i, o, k, h, w: o * i * k * k * (h - k + 1) * (w - k + 1),
    ),
    Mistake("The output channels are left out.", lambda i, o, k, h, w: i * k * k * h * w),
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


def _from_zero(layers):
    return receptive_field(layers) - 1


def _whole_kernels(layers):
    size, jump = 1, 1
    for k, s in layers:
        size += k * jump
        jump *= s
    return size


def _own_stride_only(layers):
    return 1 + sum((k - 1) * s for k, s in layers)


RECEPTIVE_FIELD = (
    Mistake("You started at 0; before the first layer a feature is a pixel, and sees 1.", _from_zero),
    Mistake("A kernel of k adds k - 1 steps, not k: it stands on a pixel that is counted already.", _whole_kernels),
    Mistake(
        "You took each layer's own stride; the step is the product of the strides of all layers before it.",
        _own_stride_only,
    ),
    Mistake(
        "The strides are left out: after a stride of 2, neighbours stand two input pixels apart.", _strides_ignored
    ),
    Mistake("Kernels overlap: each adds its size less one, not its whole size.", _kernels_added),
    Mistake("A layer's own stride widens the steps of the layers after it, not its own kernel.", _stride_too_early),
    Mistake("You went from the last layer to the first: a stride counts for the layers after it.", _backwards),
    Mistake(
        "Strides multiply: the step is the product of all strides so far, not the last one alone.", _last_stride_only
    ),
)


def _conv(x, weight):
    return F.conv2d(x, weight, padding=weight.shape[-1] // 2)


def _no_shortcut(x, w1, g1, b1, w2, g2, b2):
    return F.relu(norm(_conv(F.relu(norm(_conv(x, w1), g1, b1)), w2), g2, b2))


def _relu_before_add(x, w1, g1, b1, w2, g2, b2):
    return x + F.relu(norm(_conv(F.relu(norm(_conv(x, w1), g1, b1)), w2), g2, b2))


def _no_last_relu(x, w1, g1, b1, w2, g2, b2):
    return x + norm(_conv(F.relu(norm(_conv(x, w1), g1, b1)), w2), g2, b2)


def _no_middle_relu(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + norm(_conv(norm(_conv(x, w1), g1, b1), w2), g2, b2))


def _relu_before_norm(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + norm(_conv(norm(F.relu(_conv(x, w1)), g1, b1), w2), g2, b2))


def _one_norm_for_both(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + norm(_conv(F.relu(norm(_conv(x, w1), g1, b1)), w2), g1, b1))


def _no_norms(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + _conv(F.relu(_conv(x, w1)), w2))


def _no_second_norm(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + _conv(F.relu(norm(_conv(x, w1), g1, b1)), w2))


def _relu_twice(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + F.relu(norm(_conv(F.relu(norm(_conv(x, w1), g1, b1)), w2), g2, b2)))


def _weights_exchanged(x, w1, g1, b1, w2, g2, b2):
    return residual_block(x, w2, g1, b1, w1, g2, b2)


def _norms_exchanged(x, w1, g1, b1, w2, g2, b2):
    return residual_block(x, w1, g2, b2, w2, g1, b1)


def _one_kernel(x, w1, g1, b1, w2, g2, b2):
    return residual_block(x, w1, g1, b1, w1, g2, b2)


def _no_first_norm(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + norm(_conv(F.relu(_conv(x, w1)), w2), g2, b2))


def _gains_and_shifts_exchanged(x, w1, g1, b1, w2, g2, b2):
    return residual_block(x, w1, b1, g1, w2, b2, g2)


def _one_norm_declared(shapes):
    w1, gain, shift, w2, _, _ = shapes
    return [w1, gain, shift, w2]


def _with_biases(shapes):
    w1, gain, shift, w2, *_ = shapes
    return [w1, gain, gain, shift, w2, gain, gain, shift]


def _overwritten(x, w1, g1, b1, w2, g2, b2):
    out = norm(_conv(F.relu(norm(_conv(x, w1), g1, b1)), w2), g2, b2)
    return F.relu(out + out)


def _second_of_input(x, w1, g1, b1, w2, g2, b2):
    return F.relu(x + norm(_conv(x, w2), g2, b2))


RESIDUAL_BLOCK = (
    Mistake(
        "f(x) is added to itself: x was overwritten on the way. Keep the block's input under a name.", _overwritten
    ),
    Mistake(
        "The second convolution looks at the block's input; it should look at what the first gave.", _second_of_input
    ),
    Mistake("Both BatchNorms are missing.", _no_norms),
    Mistake("The second BatchNorm is missing.", _no_second_norm),
    Mistake("There is a ReLU before the addition as well; only the one after it belongs there.", _relu_twice),
    Mistake("The two kernels are exchanged.", _weights_exchanged),
    Mistake("The first kernel is used twice; each convolution has its own.", _one_kernel),
    Mistake("The first BatchNorm is missing.", _no_first_norm),
    Mistake("Each BatchNorm's scale and shift are exchanged.", _gains_and_shifts_exchanged),
    Mistake("The two BatchNorms are exchanged.", _norms_exchanged),
    Mistake("Its convolutions have biases; use bias=False.", shapes=_with_biases),
    Mistake("The shortcut is missing: the block's input is never added.", _no_shortcut),
    Mistake("The last ReLU stands before the addition; it belongs after it.", _relu_before_add),
    Mistake("The last ReLU, after the addition, is missing.", _no_last_relu),
    Mistake("The ReLU between the two convolutions is missing.", _no_middle_relu),
    Mistake("The first ReLU stands before its BatchNorm; it belongs after it.", _relu_before_norm),
    Mistake("One BatchNorm is used twice; each convolution has its own.", _one_norm_for_both, _one_norm_declared),
)

EXERCISES = {
    "baseline.parameters": Exercise(
        conv_parameters,
        lambda: [Trial((3, 16, 3, False)), Trial((16, 32, 3, True)), Trial((8, 24, 1, True))],
        "A bias is one number for each output channel. Our network leaves it out; the layer after it brings its own.",
        PARAMETERS,
    ),
    "baseline.macs": Exercise(
        conv_macs,
        lambda: [Trial((3, 16, 3, 32, 30)), Trial((16, 32, 3, 16, 16)), Trial((8, 24, 1, 4, 7))],
        "Every weight is used once for each pixel of the output, so halving both sides saves three quarters.",
        MACS,
    ),
    "baseline.receptive_field": Exercise(
        receptive_field,
        lambda: [
            Trial(([(3, 1), (3, 1)],)),
            Trial(([(3, 2), (3, 1), (3, 1)],)),
            Trial(([(7, 2), (3, 2), (3, 1), (5, 2), (3, 1)],)),
        ],
        "After a stride, each step between neighbours is that many input pixels wide: so the early strides count most.",
        RECEPTIVE_FIELD,
    ),
    "baseline.block": Exercise(
        residual_block,
        residual_trials,
        "If the second BatchNorm's scale and shift are 0, then f(x) = 0, and an x that is not negative passes "
        "unchanged: leaving things as they are is easy.",
        RESIDUAL_BLOCK,
        layers="conv norm conv norm",
        trained=True,
    ),
}
