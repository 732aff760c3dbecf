"""Mistakes that can be made in any exercise: each operation of a right answer, and what people put in its place.

An answer that gives what the right one would give with such a slip in it has made it, whatever it is written like.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Trial
from gamlib.course.replacing import Replacing
from gamlib.course.values import same

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")


@dataclass(frozen=True)
class Slip:
    """One slip: what to say, which operations are replaced by what, and whether it is often met with another."""

    says: str
    others: dict[str, Callable]
    often: bool = False


def evaluating(x, mean, var, weight=None, bias=None, **_):
    """BatchNorm as a new network has it in eval: running averages of 0 and 1."""
    channels = x.shape[1]
    return F.batch_norm(x, x.new_zeros(channels), x.new_ones(channels), weight, bias)


def _normalised(over: Callable[[Tensor], list[int]], centre=True, divide=None):
    """A normalisation by hand: over which dimensions, and what is divided by (std and eps by default)."""
    divide = divide or (lambda x, dims: (x.var(dims, correction=0, keepdim=True) + 1e-5).sqrt())

    def other(x, mean, var, weight=None, bias=None, **_):
        dims = over(x)
        if not dims:
            raise ValueError("there is nothing to normalise over")
        shape = (1, -1, *[1] * (x.ndim - 2))
        y = (x - x.mean(dims, keepdim=True) if centre else x) / divide(x, dims)
        y = y if weight is None else y * weight.view(shape)
        return y if bias is None else y + bias.view(shape)

    return other


def _all_but_channels(x):
    return [d for d in range(x.ndim) if d != 1]


def _reduced(how: Callable[[Tensor], Tensor]):
    """In the place of a mean or a maximum: `how` makes the last dimension go."""

    def other(x, dim=None, keepdim=False, **_):
        dims = tuple(range(x.ndim)) if dim is None else (dim,) if isinstance(dim, int) else tuple(dim)
        dims = sorted(d % x.ndim for d in dims)
        y = how(x.movedim(dims, list(range(-len(dims), 0))).flatten(-len(dims)))
        return functools.reduce(Tensor.unsqueeze, dims, y) if keepdim else y

    return other


def _over_the_batch(y):
    return y.mean(0, keepdim=True).expand_as(y)


def _softmax_over_pixels(z):
    return z.flatten(2).softmax(2).view_as(z)


def _padded(mode: str):
    def other(x, weight, bias=None, padding=0, **_):
        p = padding if isinstance(padding, int) else padding[0]
        return F.conv2d(F.pad(x, (p,) * 4, mode=mode), weight, bias)

    return other


def _kernel(change: Callable[[Tensor], Tensor]):
    return lambda x, weight, *rest, **options: F.conv2d(x, change(weight), *rest, **options)


def _padding(p: int):
    return lambda x, weight, bias=None, **_: F.conv2d(x, weight, bias, padding=p)


def _reshaped(x, *dims):
    dims = dims[0] if len(dims) == 1 else dims
    return x.reshape([x.shape[d] for d in dims])


def _swap_by_reshape(x, a, b):
    order = list(range(x.ndim))
    order[a], order[b] = order[b], order[a]
    return _reshaped(x, order)


def _without_bias(x, weight, bias=None):
    return F.linear(x, weight)


SLIPS = (
    Slip("the sigmoid is missing", {"sigmoid": lambda z: z}, often=True),
    Slip("a tanh stands where the sigmoid belongs", {"sigmoid": torch.tanh}, often=True),
    Slip("the sigmoid is taken twice", {"sigmoid": lambda z: z.sigmoid().sigmoid()}, often=True),
    Slip(
        "a ReLU stands before the sigmoid, so no gate is below one half",
        {"sigmoid": lambda z: z.relu().sigmoid()},
        often=True,
    ),
    Slip("a ReLU stands where the sigmoid belongs", {"sigmoid": torch.relu}),
    Slip("the gate is 1 minus what it should be: its sign is turned", {"sigmoid": lambda z: 1 - z.sigmoid()}),
    *(
        Slip(
            f"a softmax over dimension {dim} stands where the sigmoid belongs, so that values compete for a sum of one",
            {"sigmoid": lambda z, dim=dim: z.softmax(dim)},
            often=dim == 1,
        )
        for dim in range(4)
    ),
    Slip("a softmax over all pixels stands where the sigmoid belongs", {"sigmoid": _softmax_over_pixels}),
    Slip("a hard sigmoid stands where the sigmoid belongs", {"sigmoid": F.hardsigmoid}),
    Slip("the sigmoid's output is doubled", {"sigmoid": lambda z: 2 * z.sigmoid()}),
    Slip("there is 1 + sigmoid where the sigmoid alone belongs", {"sigmoid": lambda z: 1 + z.sigmoid()}),
    Slip("a SiLU, z * sigmoid(z), stands where the sigmoid belongs", {"sigmoid": F.silu}),
    Slip("a softplus stands where the sigmoid belongs", {"sigmoid": F.softplus}),
    Slip("an exponential stands where the sigmoid belongs", {"sigmoid": torch.exp}),
    Slip("a clamp to [0, 1] stands where the sigmoid belongs", {"sigmoid": lambda z: z.clamp(0, 1)}),
    Slip("a log-sigmoid stands where the sigmoid belongs", {"sigmoid": F.logsigmoid}),
    Slip("the gate is made 0 or 1, by a threshold; a sigmoid is smooth", {"sigmoid": lambda z: (z > 0).to(z.dtype)}),
    Slip("there is a tanh before the sigmoid", {"sigmoid": lambda z: z.tanh().sigmoid()}),
    Slip("the sigmoid's output is squared", {"sigmoid": lambda z: z.sigmoid() ** 2}),
    Slip(
        "a BatchNorm stands before the sigmoid",
        {"sigmoid": lambda z: F.batch_norm(z, None, None, training=True).sigmoid()},
    ),
    Slip(
        "the logits are averaged over the pixels before the sigmoid",
        {"sigmoid": lambda z: z.mean((2, 3), keepdim=True).expand_as(z).sigmoid()},
    ),
    Slip(
        "the logits are averaged over the channels before the sigmoid",
        {"sigmoid": lambda z: z.mean(1, keepdim=True).expand_as(z).sigmoid()},
    ),
    Slip("the ReLU is missing", {"relu": lambda z: z}, often=True),
    *(
        Slip(f"{name} stands where the ReLU belongs", {"relu": function}, often=name == "a sigmoid")
        for name, function in (
            ("a sigmoid", torch.sigmoid),
            ("a tanh", torch.tanh),
            ("a GELU", F.gelu),
            ("a tanh-GELU", functools.partial(F.gelu, approximate="tanh")),
            ("a SiLU", F.silu),
            ("a leaky ReLU (slope 0.01)", F.leaky_relu),
            ("a leaky ReLU (slope 0.1)", functools.partial(F.leaky_relu, negative_slope=0.1)),
            ("a leaky ReLU (slope 0.2)", functools.partial(F.leaky_relu, negative_slope=0.2)),
            ("an ELU", F.elu),
            ("a SELU", F.selu),
            ("a Mish", F.mish),
            ("a ReLU6", F.relu6),
            ("a hard swish", F.hardswish),
            ("a softplus", F.softplus),
            ("a softmax over dimension 1", lambda z: z.softmax(1)),
            ("the absolute value", torch.abs),
            ("a square", torch.square),
            ("a PReLU (slope 0.25)", functools.partial(F.leaky_relu, negative_slope=0.25)),
        )
    ),
    Slip("the ReLU has its sign turned: it lets negative values pass", {"relu": lambda z: -(-z).relu()}),
    Slip(
        "the ReLU stands before the BatchNorm; it belongs after it",
        {"batch_norm": lambda x, *a, **k: F.batch_norm(x.relu(), *a, **k), "relu": lambda z: z},
        often=True,
    ),
    Slip(
        "a ReLU stands before the BatchNorm as well", {"batch_norm": lambda x, *a, **k: F.batch_norm(x.relu(), *a, **k)}
    ),
    Slip(
        "a ReLU stands after the BatchNorm, where none belongs",
        {"batch_norm": lambda x, *a, **k: F.batch_norm(x, *a, **k).relu()},
    ),
    Slip("the BatchNorm is missing", {"batch_norm": lambda x, *a, **k: x}, often=True),
    Slip(
        "the BatchNorm works as in eval, by its running averages, where training is asked for",
        {"batch_norm": evaluating},
        often=True,
    ),
    Slip(
        "the BatchNorm divides by the unbiased variance, n - 1; in training it takes the biased one, n",
        {"batch_norm": _normalised(_all_but_channels, divide=lambda x, d: (x.var(d, keepdim=True) + 1e-5).sqrt())},
    ),
    Slip(
        "the BatchNorm's eps, 1e-5 under the root, is left out",
        {"batch_norm": _normalised(_all_but_channels, divide=lambda x, d: x.var(d, correction=0, keepdim=True).sqrt())},
    ),
    *(
        Slip(
            f"the BatchNorm's eps is {eps:g} where PyTorch's is 1e-5",
            {"batch_norm": lambda x, *a, eps=eps, **k: F.batch_norm(x, *a, **(k | {"eps": eps}))},
        )
        for eps in (1e-3, 1e-4, 1e-6, 1e-8)
    ),
    Slip(
        "the BatchNorm divides by std + eps; eps belongs under the root",
        {"batch_norm": _normalised(_all_but_channels, divide=lambda x, d: x.std(d, correction=0, keepdim=True) + 1e-5)},
    ),
    Slip(
        "the BatchNorm divides by the variance, not by its root",
        {"batch_norm": _normalised(_all_but_channels, divide=lambda x, d: x.var(d, correction=0, keepdim=True) + 1e-5)},
    ),
    Slip("the BatchNorm does not take away the mean", {"batch_norm": _normalised(_all_but_channels, centre=False)}),
    Slip(
        "the BatchNorm does not divide by the standard deviation",
        {"batch_norm": _normalised(_all_but_channels, divide=lambda x, dims: 1.0)},
    ),
    Slip(
        "the BatchNorm's scale and shift are not used",
        {"batch_norm": lambda x, *_, **k: F.batch_norm(x, None, None, training=True)},
        often=True,
    ),
    Slip(
        "the BatchNorm's scale and shift are exchanged",
        {"batch_norm": lambda x, m, v, weight, bias, **k: F.batch_norm(x, m, v, bias, weight, **k)},
    ),
    Slip(
        "the BatchNorm's shift is not used",
        {"batch_norm": lambda x, m, v, weight, bias, **k: F.batch_norm(x, m, v, weight, None, **k)},
    ),
    Slip(
        "the BatchNorm's scale is not used",
        {"batch_norm": lambda x, m, v, weight, bias, **k: F.batch_norm(x, m, v, None, bias, **k)},
    ),
    Slip(
        "each image is normalised by itself (InstanceNorm); BatchNorm takes the whole batch together",
        {"batch_norm": _normalised(lambda x: list(range(2, x.ndim)))},
    ),
    Slip(
        "the values of each image are normalised over its channels, too (LayerNorm); BatchNorm takes each channel by "
        "itself",
        {"batch_norm": _normalised(lambda x: list(range(1, x.ndim)))},
    ),
    Slip(
        "the channels of each place are normalised together; BatchNorm takes each channel by itself",
        {"batch_norm": _normalised(lambda x: [1])},
    ),
    Slip(
        "all is normalised together; BatchNorm takes each channel by itself",
        {"batch_norm": _normalised(lambda x: list(range(x.ndim)))},
    ),
    Slip(
        "each place is normalised by itself, over the batch; BatchNorm takes all places of a channel together",
        {"batch_norm": _normalised(lambda x: [0])},
    ),
    Slip(
        "the BatchNorm is applied twice",
        {"batch_norm": lambda x, *a, **k: F.batch_norm(F.batch_norm(x, *a, **k), *a, **k)},
    ),
    Slip("the layer's bias is not used", {"linear": _without_bias}, often=True),
    Slip(
        "the layer's bias is taken away; it is added",
        {"linear": lambda x, w, b=None: F.linear(x, w, None if b is None else -b)},
    ),
    Slip(
        "the layer's matrix is turned round: x @ w where x @ w.T belongs",
        {"linear": lambda x, w, b=None: F.linear(x, w.T, b)},
    ),
    Slip("the layer is left out", {"linear": lambda x, *_: x}),
    Slip("the convolution has no padding", {"conv2d": _padding(0)}),
    *(Slip(f"the convolution's padding is {p}", {"conv2d": _padding(p)}) for p in (1, 2, 3, 6)),
    *(
        Slip(f"the border is padded by {word}; here, as by default, with zeros", {"conv2d": _padded(mode)})
        for mode, word in (("reflect", "reflection"), ("replicate", "repetition"), ("circular", "wrapping round"))
    ),
    Slip("the kernel is flipped, both ways", {"conv2d": _kernel(lambda w: w.flip(-2, -1))}),
    Slip("the kernel's rows and columns are exchanged", {"conv2d": _kernel(lambda w: w.transpose(-2, -1))}),
    Slip("the kernel's input channels stand in reverse", {"conv2d": _kernel(lambda w: w.flip(1))}),
    Slip(
        "of the kernel its middle alone is used",
        {
            "conv2d": lambda x, w, b=None, **_: F.conv2d(
                x, w[..., w.shape[-2] // 2, w.shape[-1] // 2][..., None, None], b
            )
        },
    ),
    Slip(
        "the kernel is averaged over its places",
        {"conv2d": _kernel(lambda w: w.mean((-2, -1), keepdim=True).expand_as(w))},
    ),
    Slip("the convolution is left out", {"conv2d": lambda x, *_, **__: x}),
    *(
        Slip(f"{got} stands where the mean belongs", {"mean": _reduced(how)}, often=often)
        for got, how, often in (
            ("a sum", lambda y: y.sum(-1), True),
            ("a maximum", lambda y: y.amax(-1), True),
            ("a minimum", lambda y: y.amin(-1), False),
            ("a median", lambda y: y.median(-1).values, False),
            ("a median (of an even number, the mean of the two in the middle)", lambda y: y.quantile(0.5, -1), False),
            ("a standard deviation", lambda y: y.std(-1), False),
            ("a standard deviation (biased)", lambda y: y.std(-1, correction=0), False),
            ("a variance", lambda y: y.var(-1), False),
            ("a variance (biased)", lambda y: y.var(-1, correction=0), False),
            ("a mean of squares", lambda y: y.square().mean(-1), False),
            ("a root mean square", lambda y: y.square().mean(-1).sqrt(), False),
            ("a mean of absolute values", lambda y: y.abs().mean(-1), False),
            ("a norm (the root of the sum of squares)", lambda y: y.norm(dim=-1), False),
            ("a sum divided by n - 1", lambda y: y.sum(-1) / (y.shape[-1] - 1), False),
            ("a sum divided by the root of n", lambda y: y.sum(-1) / y.shape[-1] ** 0.5, False),
            ("a product", lambda y: y.prod(-1), False),
            ("a log-sum-exp", lambda y: y.logsumexp(-1), False),
            ("a maximum plus the mean", lambda y: y.amax(-1) + y.mean(-1), False),
            ("half of maximum plus mean", lambda y: (y.amax(-1) + y.mean(-1)) / 2, False),
            ("the first value", lambda y: y[..., 0], False),
            ("the middle value", lambda y: y[..., y.shape[-1] // 2], False),
        )
    ),
    Slip("the mean is taken over the batch as well", {"mean": lambda *a, **k: _over_the_batch(torch.mean(*a, **k))}),
    *(
        Slip(f"{got} stands where the maximum belongs", {"amax": _reduced(how)}, often=often)
        for got, how, often in (
            ("a mean", lambda y: y.mean(-1), True),
            ("a minimum", lambda y: y.amin(-1), False),
            ("a sum", lambda y: y.sum(-1), False),
            ("the largest absolute value", lambda y: y.abs().amax(-1), False),
            ("a median", lambda y: y.median(-1).values, False),
            ("a standard deviation", lambda y: y.std(-1), False),
            ("a variance", lambda y: y.var(-1), False),
            ("the place of the largest value (argmax)", lambda y: y.argmax(-1).to(y.dtype), False),
            ("the second largest value", lambda y: y.topk(2).values[..., 1], False),
            ("a log-sum-exp", lambda y: y.logsumexp(-1), False),
            ("a norm (the root of the sum of squares)", lambda y: y.norm(dim=-1), False),
        )
    ),
    Slip(
        "the maximum is taken over the batch as well",
        {"amax": lambda *a, **k: torch.amax(*a, **k).amax(0, keepdim=True).expand_as(torch.amax(*a, **k))},
    ),
    Slip("what should be multiplied is added", {"mul": lambda a, b: a + b}, often=True),
    Slip("there is x (1 + gate) where x * gate belongs", {"mul": lambda a, b: a * (1 + b)}, often=True),
    Slip("there is 1 - gate where the gate belongs", {"mul": lambda a, b: a * (1 - b)}),
    Slip("the second factor is left out", {"mul": lambda a, b: a}, often=True),
    Slip("the first factor is left out", {"mul": lambda a, b: b}),
    Slip("the second factor counts twice", {"mul": lambda a, b: a * b * b}),
    Slip("the first factor counts twice", {"mul": lambda a, b: a * a * b}),
    Slip("what should be multiplied is divided", {"mul": lambda a, b: a / b}),
    Slip("what should be multiplied is subtracted", {"mul": lambda a, b: a - b}),
    Slip(
        "of two factors the larger is taken",
        {"mul": lambda a, b: torch.maximum(*torch.broadcast_tensors(a, torch.as_tensor(b)))},
    ),
    Slip("what should be added is multiplied", {"add": lambda a, b: a * b}, often=True),
    Slip("what should be added is averaged", {"add": lambda a, b: (a + b) / 2}),
    Slip("what should be added is subtracted", {"add": lambda a, b: a - b}),
    Slip("the sum's sign is turned: the second minus the first", {"add": lambda a, b: b - a}),
    Slip(
        "the first of two that are added is left out",
        {"add": lambda a, b: b if isinstance(b, Tensor) else a},
        often=True,
    ),
    Slip("the second of two that are added is left out", {"add": lambda a, b: a}, often=True),
    Slip(
        "the larger of two is taken, where they are added",
        {"add": lambda a, b: torch.maximum(*torch.broadcast_tensors(torch.as_tensor(a), torch.as_tensor(b)))},
    ),
    Slip("the second of two that are added counts twice", {"add": lambda a, b: a + 2 * b}),
    Slip("the first of two that are added counts twice", {"add": lambda a, b: 2 * a + b}),
    Slip("what should be subtracted is added", {"sub": lambda a, b: a + b}),
    Slip("a difference is taken the wrong way round", {"sub": lambda a, b: b - a}),
    Slip("the second of a difference is left out", {"sub": lambda a, b: a}),
    Slip("the absolute difference is taken", {"sub": lambda a, b: abs(a - b)}),
    Slip("the division is left out", {"div": lambda a, b: a}, often=True),
    Slip("what should be divided is multiplied", {"div": lambda a, b: a * b}),
    Slip("the ratio is upside down", {"div": lambda a, b: b / a}),
    Slip("there is a difference where the ratio belongs", {"div": lambda a, b: a - b}),
    *(
        Slip(
            "the two stand in the other order",
            {name: lambda parts, *a, f=function, **k: f(list(parts)[::-1], *a, **k)},
            often=True,
        )
        for name, function in (("stack", torch.stack), ("cat", torch.cat))
    ),
    *(
        Slip(
            "the same stands twice; one of the two is missing",
            {name: lambda parts, *a, i=i, f=function, **k: f([list(parts)[i]] * len(parts), *a, **k)},
        )
        for name, function in (("stack", torch.stack), ("cat", torch.cat))
        for i in (0, 1)
    ),
    Slip("a reshape stands where dimensions should be moved: it tears rows apart", {"permute": _reshaped}),
    Slip(
        "a reshape stands where dimensions should change places: it tears rows apart", {"transpose": _swap_by_reshape}
    ),
    Slip("dimensions that should change places stay", {"transpose": lambda x, *_: x}),
    Slip("dimensions that should be moved stay", {"permute": lambda x, *_: x}),
    Slip("a mean stands where the sum belongs", {"sum": _reduced(lambda y: y.mean(-1))}),
    Slip("a maximum stands where the sum belongs", {"sum": _reduced(lambda y: y.amax(-1))}),
    Slip("the absolute values are left out", {"abs": lambda x: x}),
    Slip("the biased standard deviation is taken: divide by n - 1", {"std": lambda x, *a, **k: x.std(correction=0)}),
    Slip("the variance stands where the standard deviation belongs", {"std": lambda x, *a, **k: x.var()}),
    Slip(
        "the mean absolute deviation stands where the standard deviation belongs",
        {"std": lambda x, *a, **k: (x - x.mean()).abs().mean()},
    ),
    Slip("a mean stands where the median belongs", {"quantile": lambda x, *a: x.mean()}),
    Slip("a minimum stands where the median belongs", {"quantile": lambda x, *a: x.amin()}),
    Slip("a maximum stands where the median belongs", {"quantile": lambda x, *a: x.amax()}),
    Slip("another quantile stands where the median belongs", {"quantile": lambda x, *a: x.quantile(0.25)}),
    Slip("another quantile stands where the median belongs", {"quantile": lambda x, *a: x.quantile(0.75)}),
    Slip("the geometric mean stands where the median belongs", {"quantile": lambda x, *a: x.log().mean().exp()}),
    Slip(
        "the loss is summed over the batch; a mean is asked for",
        {"cross_entropy": functools.partial(F.cross_entropy, reduction="sum")},
        often=True,
    ),
    Slip(
        "there is a softmax before the loss, which has one in it",
        {"cross_entropy": lambda z, t: F.cross_entropy(z.softmax(1), t)},
        often=True,
    ),
    Slip("there is a sigmoid before the loss", {"cross_entropy": lambda z, t: F.cross_entropy(z.sigmoid(), t)}),
    Slip("there is a ReLU before the loss", {"cross_entropy": lambda z, t: F.cross_entropy(z.relu(), t)}),
    Slip("the log of the softmax is left out: nll_loss takes log-probabilities", {"cross_entropy": F.nll_loss}),
    Slip("nll_loss of probabilities: the log is left out", {"cross_entropy": lambda z, t: F.nll_loss(z.softmax(1), t)}),
    Slip(
        "the softmax is over the batch; it belongs over the classes",
        {"cross_entropy": lambda z, t: F.nll_loss(z.log_softmax(0), t)},
    ),
    Slip("a margin loss stands where the cross-entropy belongs", {"cross_entropy": F.multi_margin_loss}),
    Slip("the labels are smoothed by 0.1", {"cross_entropy": functools.partial(F.cross_entropy, label_smoothing=0.1)}),
    Slip(
        "the mean squared error to the one-hot labels stands where the cross-entropy belongs",
        {"cross_entropy": lambda z, t: F.mse_loss(z, F.one_hot(t, z.shape[1]).to(z.dtype))},
    ),
    Slip(
        "the least of the values is chosen where the largest belongs",
        {"topk": lambda x, k, **o: torch.topk(x, k, largest=False)},
    ),
)


def find(exercise: Exercise, trials: Sequence[Trial], got: Sequence[object]) -> str | None:
    """What is to be said of outputs that the right answer gives with one slip or two in it; None where it is none."""
    singles = list(_tried(exercise, trials[0]))
    pairs = combinations([made for made in singles if made[0].often], 2)
    for made in chain(((one,) for one in singles), pairs):
        slips = [(slip, places) for slip, places, _ in made]
        if len(made) == 2 and slips[0][0].others.keys() & slips[1][0].others.keys():
            continue  # one operation can't be replaced by two
        if all(_same_with(exercise, trial, ours, slips) for trial, ours in zip(trials, got, strict=True)):
            says = [slip.says + _where(places, count) for slip, places, count in made]
            return f"All is right but for {'one thing' if len(made) == 1 else 'two things'}: {'; and '.join(says)}."
    return None


def _tried(exercise: Exercise, trial: Trial) -> Iterator[tuple[Slip, tuple[int, ...] | None, int]]:
    """Slips that can be made here: one of several calls of an operation, or all; with the number of calls."""
    with Replacing({name: None for slip in SLIPS for name in slip.others}) as counting:
        exercise.reference(*trial.inputs, *trial.weights)
    for slip in SLIPS:
        count = min(counting.counts[name] for name in slip.others)
        if count > 1:
            yield from ((slip, (place,), count) for place in range(count))
        if count:
            yield slip, None, count


def _same_with(
    exercise: Exercise, trial: Trial, got: object, slips: Sequence[tuple[Slip, tuple[int, ...] | None]]
) -> bool:
    """Whether the right answer with these slips gives what was got."""
    try:
        with ExitStack() as stack:
            for slip, places in slips:
                stack.enter_context(Replacing(slip.others, places))
            wrong = exercise.reference(*trial.inputs, *trial.weights)
    except (RuntimeError, IndexError, ValueError, TypeError):
        return False  # it can't be made with these arguments
    return same(got, wrong)


def _where(places: tuple[int, ...] | None, count: int) -> str:
    return "" if places is None else f" (the {ORDINALS[places[0]]} of {count})"
