"""Exercises answer back: what is right passes however it is written, and each known mistake is called by name."""

import re
import statistics
import time

import numpy as np
import pytest
import torch
from scipy import integrate, stats
from torch import nn
from torch.nn import functional as F

from gamlib import BAM, CBAM, GAM, SE, TripletAttention, create_model, results
from gamlib.cost import nearest_width
from gamlib.course import check, gives_the_same, to_train
from gamlib.course.answering import Answer
from gamlib.course.checks import answer
from gamlib.course.exercises import EXERCISES

MISTAKES = [
    pytest.param(name, mistake, id=f"{name}-{i}")
    for name, exercise in EXERCISES.items()
    for i, mistake in enumerate(exercise.mistakes)
    if mistake.function is not None
]
BY_SHAPES = [
    pytest.param(name, mistake, id=f"{name}-{i}")
    for name, exercise in EXERCISES.items()
    for i, mistake in enumerate(exercise.mistakes)
    if mistake.shapes is not None
]


@pytest.mark.parametrize("name", EXERCISES)
def test_the_reference_is_right(name):
    exercise = EXERCISES[name]
    assert answer(exercise, exercise.reference) == f"right. {exercise.notice}"
    assert len(exercise.mistakes) >= (6 if name.startswith("gam.") else 3)
    assert len({mistake.message for mistake in exercise.mistakes}) == len(exercise.mistakes)


@pytest.mark.parametrize(("name", "mistake"), MISTAKES)
def test_a_mistake_is_called_by_its_name_and_by_no_other(name, mistake):
    """Also where another mistake is looked for first."""
    exercise = EXERCISES[name]
    for seed in range(5):
        assert answer(exercise, mistake.function, seed) == f"not yet. {mistake.message}"
    others = [other for other in exercise.mistakes if other is not mistake and other.function is not None]
    alone = type(exercise)(exercise.reference, exercise.trials, exercise.notice, tuple(others))
    assert not any(other.message in answer(alone, mistake.function) for other in others)


@pytest.mark.parametrize("name", EXERCISES)
@pytest.mark.parametrize("stub", [lambda *_: None, lambda *_: ..., "raises"])
def test_a_stub_is_not_attempted(name, stub):
    def raises(*_):
        raise NotImplementedError

    assert answer(EXERCISES[name], raises if stub == "raises" else stub).startswith("not attempted yet")


def test_a_modules_stub_is_not_attempted():
    class Stub(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()

        def forward(self, x):
            raise NotImplementedError

    class Passes(Stub):
        def forward(self, x):
            pass

    for stub in (Stub, Passes):
        assert answer(EXERCISES["se.module"], stub).startswith("not attempted yet")


def channels_last(x, w1, w2):
    z = torch.einsum("nchw->nc", x.contiguous(memory_format=torch.channels_last)) / (x.shape[2] * x.shape[3])
    hidden = torch.einsum("nc,dc->nd", z, w1).clamp(min=0)
    return (1 / (1 + torch.exp(-torch.einsum("nd,cd->nc", hidden, w2)))).unflatten(1, (-1, 1, 1))


def by_convolution(x, w1, w2):
    z = F.adaptive_avg_pool2d(x, 1)
    return F.conv2d(F.conv2d(z, w1[:, :, None, None]).relu_(), w2[:, :, None, None]).sigmoid()


def by_a_loop(x, w1, w2):
    gates = []
    for image in x:
        z = torch.stack([channel.flatten().sum() / channel.numel() for channel in image])
        gates.append(torch.sigmoid(w2 @ torch.relu(w1 @ z)))
    return torch.stack(gates).reshape(len(x), -1, 1, 1)


def in_place(x, w1, w2):
    x -= 1
    x += 1
    return by_convolution(x, w1, w2)


def normalised(x, gain, shift):
    """BatchNorm over everything but dimension 1, by hand."""
    dims = [d for d in range(x.ndim) if d != 1]
    var, mean = torch.var_mean(x.double(), dims, correction=0, keepdim=True)
    shape = (1, -1, *[1] * (x.ndim - 2))
    return (((x - mean) / (var + 1e-5).sqrt()) * gain.view(shape) + shift.view(shape)).to(x.dtype)


def block_by_layers(x, w1, g1, b1, w2, g2, b2):
    c = x.shape[1]
    layers = nn.Sequential(
        nn.Conv2d(c, c, 3, 1, 1, bias=False), nn.BatchNorm2d(c), nn.ReLU(), nn.Conv2d(c, c, 3, 1, 1), nn.BatchNorm2d(c)
    )
    with torch.no_grad():
        layers[3].bias.zero_()
        for p, w in zip(
            [p for p in layers.parameters() if p is not layers[3].bias], (w1, g1, b1, w2, g2, b2), strict=True
        ):
            p.copy_(w)
    return (layers(x) + x).clamp_min(0)


def channel_branch_by_hand(x, w1, b1, gain, shift, w2, b2):
    z = x.flatten(2).mean(2)
    hidden = normalised(torch.einsum("nc,dc->nd", z, w1) + b1, gain, shift)
    return torch.addmm(b2, torch.maximum(hidden, torch.zeros(())), w2.T).reshape(*z.shape, 1, 1)


def cbam_channel_stacked(x, w1, b1, w2, b2):
    """Both descriptors as one batch of twice the size, 1x1 convolutions for the layers."""
    both = torch.cat([F.adaptive_max_pool2d(x, 1), F.adaptive_avg_pool2d(x, 1)])
    out = F.conv2d(F.conv2d(both, w1[:, :, None, None], b1).relu(), w2[:, :, None, None], b2)
    return out.view(2, len(x), -1, 1, 1).sum(0).sigmoid()


def cbam_spatial_unfolded(x, weight, gain, shift):
    n, _, h, w = x.shape
    pooled = torch.cat((torch.max(x, 1, keepdim=True).values, torch.mean(x, dim=1, keepdim=True)), 1)
    windows = F.unfold(pooled, 7, padding=3)  # (N, 2 * 49, H * W)
    return normalised((weight.view(1, -1) @ windows).view(n, 1, h, w), gain, shift).sigmoid()


def cbam_stacked(x, w1, b1, w2, b2, weight, gain, shift):
    x = x * cbam_channel_stacked(x, w1, b1, w2, b2)
    return torch.mul(cbam_spatial_unfolded(x, weight, gain, shift), x)


def bam_unfolded(x, w1, b1, gain, shift, w2, b2, *weights):
    """The dilated convolutions as matrix products over windows."""
    channel, out = channel_branch_by_hand(x, w1, b1, gain, shift, w2, b2), x
    for i in range(0, 12, 4):
        weight, bias, gain, shift = weights[i : i + 4]
        side = weight.shape[-1]
        windows = F.unfold(out, side, dilation=4, padding=4 * (side // 2))
        out = (weight.flatten(1) @ windows + bias[:, None]).view(len(x), -1, *x.shape[2:])
        out = normalised(out, gain, shift).clamp(min=0)
    spatial = torch.einsum("nchw,kcij->nkhw", out, weights[12]) + weights[13]
    return torch.addcmul(x, x, torch.einsum("ncij,nkhw->nchw", channel, spatial).sigmoid())


def receptive_field_from_the_end(layers):
    size = 1
    for kernel_size, stride in layers[::-1]:
        size = size * stride + kernel_size - stride
    return size


def tam_as_in_the_paper(x, *weights):
    """Three copies, each rotated, scaled and rotated back, and their mean."""
    total = torch.zeros_like(x)
    for (a, b), w in zip(((1, 2), (1, 3), (0, 0)), (weights[:3], weights[3:6], weights[6:]), strict=True):
        copy = x.transpose(a, b).contiguous()
        total += (copy * cbam_spatial_unfolded(copy, *w)).transpose(a, b) / 3
    return total


def cross_entropies_by_hand(logits, attention_logits, labels):
    both = torch.stack([logits, attention_logits]).log_softmax(2)
    return -both[:, torch.arange(len(labels)), labels].mean(1).sum()


def gam_channel_by_convolution(x, w1, b1, w2, b2):
    hidden = F.conv2d(x.contiguous(memory_format=torch.channels_last), w1[:, :, None, None], b1)
    return F.conv2d(hidden.clamp(min=0), w2[:, :, None, None], b2).sigmoid()


def gam_channel_flattened(x, w1, b1, w2, b2):
    """The circulating code's way, with a view, and the sigmoid."""
    n, c, h, w = x.shape
    rows = x.permute(0, 2, 3, 1).reshape(n, -1, c)
    return F.linear(F.linear(rows, w1, b1).relu(), w2, b2).view(n, h, w, c).permute(0, 3, 1, 2).sigmoid()


def branch_by_hand(x, g1, s1, w1, g2, s2, w2, g3, s3):
    x = normalised(x, g1, s1)
    maps = normalised(torch.einsum("nchw,kcij->nkhw", x, w1), g2, s2).clamp(min=0)
    windows = F.unfold(maps, 3, padding=1)
    out = (w2.flatten(1) @ windows).view(len(x), 1, *x.shape[2:])
    return 1 / (1 + torch.exp(-normalised(out, g3, s3)))


def sees_by_trying(gate, x, row, column):
    """No gradient: change each pixel, and look."""
    before, seen = gate(x)[0, :, row, column], torch.zeros(x.shape[2:])
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            changed = x.clone()
            changed[0, :, i, j] += 7
            seen[i, j] = bool((gate(changed)[0, :, row, column] != before).any())
    return seen


def unfolded(x, weight):
    n, _, h, w = x.shape
    return (weight.flatten(1) @ F.unfold(x, 7, padding=3)).view(n, -1, h, w)


def gam_spatial_unfolded(x, w1, gain, shift, w2):
    return unfolded(normalised(unfolded(x, w1), gain, shift).relu(), w2).sigmoid()


def gam_in_place(x, w1, b1, w2, b2, k1, gain, shift, k2):
    x = x * gam_channel_flattened(x, w1, b1, w2, b2)
    x *= gam_spatial_unfolded(x, k1, gain, shift, k2)
    return x


def shuffle_by_index(x, groups):
    order = [a * (x.shape[1] // groups) + b for b in range(x.shape[1] // groups) for a in range(groups)]
    return x[:, order]


def smallest_by_search(reduction, groups):
    """Deal out the hidden channels, and look whether each group holds one of every group."""
    for share in range(1, 100):
        hands = [[p % groups for p in range(b * share, (b + 1) * share)] for b in range(groups)]
        if all(len(set(hand)) == groups for hand in hands):
            return share * groups * reduction
    return None


def block_of_gamlib(x, attention, w1, g1, b1, w2, g2, b2):
    block = create_model("resnet20", lambda channels: Called(attention), width=x.shape[1]).layer1[0]
    with torch.no_grad():
        for p, w in zip(block.parameters(), (w1, g1, b1, w2, g2, b2), strict=True):
            p.copy_(w)
    return block(x)


class Called(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def parameters_of_layers(channels, reduction, linear_biases, conv_biases, second_norm):
    h = channels // reduction
    layers = [nn.Linear(channels, h, bias=linear_biases), nn.Linear(h, channels, bias=linear_biases), nn.BatchNorm2d(h)]
    layers += [nn.Conv2d(channels, h, 7, bias=conv_biases), nn.Conv2d(h, channels, 7, bias=conv_biases)]
    layers += [nn.BatchNorm2d(channels)] if second_norm else []
    return sum(p.numel() for layer in layers for p in layer.parameters())


def learning_rate_of_pytorch(epoch, lr, milestones, gamma):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=lr)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, gamma)
    for _ in range(epoch):
        optimizer.step()
        schedule.step()
    return optimizer.param_groups[0]["lr"]


def paired_interval_of_scipy(ours, theirs, t):
    interval = stats.ttest_rel(ours.numpy(), theirs.numpy()).confidence_interval(0.95)
    return [interval.low, interval.high]


def delete_one_by_one(x, maps, count):
    x = x.clone()
    for picture, heat in zip(x, maps, strict=True):
        colour = picture.mean((1, 2))
        for place in heat.flatten().argsort(descending=True)[:count]:
            picture[:, place // heat.shape[1], place % heat.shape[1]] = colour
    return x


OTHER_WAYS = [
    ("baseline.parameters", lambda i, o, k, b: sum(p.numel() for p in nn.Conv2d(i, o, k, bias=b).parameters())),
    ("baseline.macs", lambda i, o, k, h, w: float(h * w) * o * i * k * k),
    ("baseline.receptive_field", receptive_field_from_the_end),
    ("baseline.block", block_by_layers),
    ("se.fool", lambda x: x.roll((1, 2), (2, 3))),
    ("se.fool", lambda x: x.mean((2, 3), keepdim=True).expand_as(x)),
    ("se.fool", lambda x: 2 * x.mean((2, 3), keepdim=True) - x),
    ("se.fool", lambda x: x.flatten(2)[:, :, torch.randperm(x[0, 0].numel())].view_as(x).numpy()),
    ("se.gate", channels_last),
    ("se.gate", by_convolution),
    ("se.gate", by_a_loop),
    ("se.gate", in_place),
    ("se.module", lambda x, w1, w2: torch.einsum("nchw,nc->nchw", x, by_a_loop(x, w1, w2)[:, :, 0, 0])),
    ("bam.reach", lambda layers: receptive_field_from_the_end([(d * (k - 1) + 1, 1) for k, d in layers])),
    ("bam.channel", channel_branch_by_hand),
    ("bam.module", bam_unfolded),
    ("cbam.fool", lambda x: x.flip(1)),
    ("cbam.fool", lambda x: x[:, torch.randperm(x.shape[1])]),
    ("cbam.fool", lambda x: x.sort(1).values),
    ("cbam.channel", cbam_channel_stacked),
    ("cbam.spatial", cbam_spatial_unfolded),
    ("cbam.module", cbam_stacked),
    ("tam.rotate", lambda x: torch.stack([x[:, :, row] for row in range(x.shape[2])], 1)),
    ("tam.module", tam_as_in_the_paper),
    ("abn.branch", branch_by_hand),
    ("abn.loss", cross_entropies_by_hand),
    ("gam.channel_parameters", lambda c, r: sum(p.numel() for p in GAM(c, reduction=r, spatial=False).parameters())),
    ("gam.channel_macs", lambda c, r, h, w: c * h * w * (c // r) * 2.0),
    ("gam.half", lambda x, *weights: torch.mul(gam_channel_by_convolution(x, *weights), x)),
    ("gam.channel", gam_channel_by_convolution),
    ("gam.channel", gam_channel_flattened),
    ("gam.sees", sees_by_trying),
    (
        "gam.spatial_parameters",
        lambda c, r, g: sum(p.numel() for p in GAM(c, reduction=r, groups=g, channel=False).parameters()),
    ),
    ("gam.spatial", gam_spatial_unfolded),
    ("gam.shuffle", shuffle_by_index),
    ("gam.shuffle", F.channel_shuffle),
    ("gam.smallest_width", smallest_by_search),
    ("gam.module", gam_in_place),
    ("gam.block", block_of_gamlib),
    ("gam.parameters", parameters_of_layers),
    ("gam.fits", lambda count, printed: round(count / 1e6, len(printed.partition(".")[2])) == float(printed)),
    ("training.learning_rate", learning_rate_of_pytorch),
    ("training.standard_error", lambda e, n: (e * (100 - e) / n) ** 0.5),
    (
        "training.standard_error",
        lambda e, n: (
            torch.tensor([1.0] * round(e * 100) + [0.0] * round(1e4 - e * 100)).std(correction=0) * 100 / n**0.5
        ),
    ),
    ("training.paired_interval", paired_interval_of_scipy),
    (
        "training.paired_interval",
        lambda a, b, t: tuple(results.summarise((a - b).tolist()).__dict__[k] for k in ("low", "high")),
    ),
    ("imagenet.parts", lambda gradients, sizes: sizes @ gradients / sizes.sum()),
    ("imagenet.throughput", lambda d, c, t, g: c * d if c * d < g * t else g * t),
    ("imagenet.share", lambda ids, rank, world: torch.stack([i for n, i in enumerate(ids) if n % world == rank])),
    ("imagenet.share", lambda ids, rank, world: ids[torch.arange(rank, len(ids), world)]),
    ("ablations.interaction", lambda n, c, s, b: (b - c) - (s - n)),
    ("ablations.nearest_width", lambda count, target: min(range(1, 200), key=lambda w: abs(count(w) / target - 1))),
    ("ablations.nearest_width", lambda count, target: nearest_width(lambda w: w, count, target)),
    ("ablations.reduction", lambda k, r, new: min(range(1, 99), key=lambda q: abs(q - r * (new / k) ** 2))),
    ("explain.grad_cam", lambda f, g: torch.einsum("nc,nchw->nhw", g.flatten(2).mean(2), f).clamp(min=0)),
    ("explain.delete", delete_one_by_one),
    ("explain.area", lambda curve: torch.trapezoid(curve, dx=1 / (len(curve) - 1))),
    ("explain.area", lambda curve: integrate.trapezoid(curve, dx=1 / (len(curve) - 1))),
    ("own.gentle", lambda x, attention, strength: torch.lerp(x, attention(x), strength)),
    ("own.slowdown", lambda plain, attended: np.median(attended.numpy() / plain.numpy())),
    (
        "own.slowdown",
        lambda plain, attended: statistics.median(
            a / p for p, a in zip(plain.tolist(), attended.tolist(), strict=True)
        ),
    ),
]


@pytest.mark.parametrize(("name", "solution"), OTHER_WAYS)
def test_other_ways_to_write_it_are_right(name, solution):
    for seed in range(5):
        assert answer(EXERCISES[name], solution, seed).startswith("right.")


def test_every_exercise_is_tried_in_another_way():
    assert {name for name, _ in OTHER_WAYS} == EXERCISES.keys()


class WithConvolutions(nn.Module):
    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.up = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x):
        return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))))


@pytest.mark.parametrize(
    ("name", "module"),
    [("se.module", SE), ("cbam.module", CBAM), ("tam.module", TripletAttention), ("gam.module", GAM)],
)
def test_gamlibs_own_modules_are_right(name, module):
    assert answer(EXERCISES[name], module).startswith("right.")


class CirculatingGAM(nn.Module):
    """As it is copied from page to page: a reduction of its own, biases, a second BatchNorm, no channel sigmoid."""

    def __init__(self, channels, reduction=4, biases=True, norm=True):
        super().__init__()
        hidden = channels // reduction
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, channels))
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3, bias=biases),
            nn.BatchNorm2d(hidden),
            nn.ReLU(),
            nn.Conv2d(hidden, channels, 7, padding=3, bias=biases),
        )
        if norm:
            self.spatial.append(nn.BatchNorm2d(channels))

    def forward(self, x):
        x = x * self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x * self.spatial(x).sigmoid()


def test_the_circulating_code_is_recognised():
    exercise = EXERCISES["gam.module"]
    assert "Biases in the convolutions and a second BatchNorm: that is the GAM code" in answer(exercise, CirculatingGAM)
    without_biases = partial_class(CirculatingGAM, biases=False)
    assert "a BatchNorm after the second convolution, as in the GAM code" in answer(exercise, without_biases)
    plain = partial_class(CirculatingGAM, biases=False, norm=False)
    assert "its sigmoid is missing, as in the code" in answer(exercise, plain)
    fixed = type(
        "Fixed", (plain,), {"__init__": lambda self, channels, reduction: plain.__init__(self, channels=channels)}
    )
    assert "Its reduction is 4 whatever it is called with" in answer(exercise, fixed)


def partial_class(base, **fixed):
    return type(base.__name__, (base,), {"__init__": lambda self, **k: base.__init__(self, **k, **fixed)})


@pytest.mark.parametrize("module", [SE, WithConvolutions])
def test_modules_are_right_in_every_float_type(module):
    exercise = EXERCISES["se.module"]
    assert answer(exercise, module).startswith("right.")
    for dtype in (torch.float64, torch.bfloat16, torch.float16):
        typed = lambda channels, reduction, dtype=dtype: module(channels, reduction=reduction).to(dtype)  # noqa: E731
        assert answer(exercise, type("Typed", (Wrapper,), {"make": staticmethod(typed)})).startswith("right.")


class Wrapper(nn.Module):
    def __init__(self, **construct):
        super().__init__()
        self.inner = self.make(**construct)

    def forward(self, x):
        return self.inner(x)


@pytest.mark.parametrize(("name", "mistake"), BY_SHAPES)
def test_a_mistake_in_a_modules_parameters_is_called_by_its_name(name, mistake):
    class Mistaken(nn.Module):
        def __init__(self, **construct):
            super().__init__()
            (trial,) = [trial for trial in EXERCISES[name].trials() if trial.construct == construct][:1]
            shapes = mistake.shapes([list(weight.shape) for weight in trial.weights])
            self.weights = nn.ParameterList([torch.zeros(shape) for shape in shapes])

        def forward(self, x):
            return x

    assert answer(EXERCISES[name], Mistaken) == f"not yet. {mistake.message}"


def test_a_built_module_is_checked_where_it_fits():
    for trial in EXERCISES["se.module"].trials():
        assert answer(EXERCISES["se.module"], SE(**trial.construct)).startswith("right.")
    assert answer(EXERCISES["se.module"], SE(8, reduction=8)).startswith("right.")
    sequence = nn.Sequential(nn.Linear(64, 4))
    assert answer(EXERCISES["se.module"], sequence).endswith("Hand over the class: it is built here for several sizes.")


def test_modules_with_a_mistake_in_them():
    class NoSigmoid(WithConvolutions):
        def forward(self, x):
            return x * self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True))))

    class Biases(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.down = nn.Linear(channels, channels // reduction)
            self.up = nn.Linear(channels // reduction, channels)

        def forward(self, x):
            return x * torch.sigmoid(self.up(torch.relu(self.down(x.mean((2, 3))))))[:, :, None, None]

    class Backwards(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.down, self.up = self.up, self.down

    class Scaled(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.scale = nn.Parameter(torch.ones(3))

    class ScaledAndNoGate(Scaled):
        def forward(self, x):
            return x * self.up(torch.relu(self.down(x.mean((2, 3), keepdim=True)))) * 50

    class OneLayer(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.only = nn.Linear(channels, channels)

        def forward(self, x):
            return self.only(x.mean((2, 3)))

    class BlockInAnotherOrder(nn.Module):
        def __init__(self, channels):
            super().__init__()
            self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)])
            self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(2)])

        def forward(self, x):
            out = self.norms[0](self.convs[0](x)).relu()
            return (x + self.norms[1](self.convs[1](out))).relu()

    exercise = EXERCISES["se.module"]
    assert answer(EXERCISES["baseline.block"], BlockInAnotherOrder).startswith("right.")
    assert "the sigmoid is missing" in answer(exercise, NoSigmoid)
    assert "have biases" in answer(exercise, Biases)
    assert answer(exercise, Scaled) == (
        "perhaps right, perhaps not: its parameters are not the reference's (ones left out of shapes, it has [3]), so "
        "it could be judged by its properties alone. Those are fine."
    )
    assert "not the input times a gate" in answer(exercise, ScaledAndNoGate)
    assert answer(exercise, OneLayer) == (
        "not yet. Its layers are not those asked for (first Linear, second Linear): it lacks the second Linear. And it "
        "returns a tensor (3, 8), expected (3, 8, 5, 7)."
    )


def test_an_exception_is_shown_as_the_readers_own_with_its_line():
    def mine(x, w1, w2):
        z = x.mean((2, 3))
        return torch.sigmoid(z @ w2.T)

    told = answer(EXERCISES["se.gate"], mine)
    assert re.match("your code raised RuntimeError: .*mat1 and mat2 shapes cannot be multiplied", told)
    assert "return torch.sigmoid(z @ w2.T)" in told
    assert len(told.splitlines()) == 3
    assert told.endswith("A layer's weight is (out, in): x @ w.T, or F.linear(x, w).")


@pytest.mark.parametrize(
    ("name", "solution", "advice"),
    [
        ("cbam.spatial", lambda x, *_: torch.stack([x.max(1), x.mean(1)], 1), "x.amax(dim) returns the values alone"),
        ("se.module", lambda x, w1, w2: x * (x.mean((2, 3)) @ w1.T @ w2.T), "makes (N, C) into (N, C, 1, 1)"),
        ("cbam.spatial", lambda x, w, *_: F.conv2d(x[:, :2], w), "lacks its padding"),
        ("baseline.block", lambda x, w1, *_: x + F.conv2d(x, w1), "needs padding=kernel_size // 2"),
    ],
)
def test_an_exception_that_many_meet_is_explained(name, solution, advice):
    told = answer(EXERCISES[name], solution)
    assert told.startswith("your code raised ")
    assert advice in told


def looked_at(gate, x, pick):
    x = x.clone().requires_grad_()
    pick(gate(x)).sum().backward()
    return x.grad


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("gam.fits", lambda count, printed: abs(count - float(printed) * 1e6) <= 5000),
        ("gam.fits", lambda count, printed: round(count / 1e6, 1) == float(printed)),
        ("gam.fits", lambda count, printed: round(count / 1e6, 2) == float(printed)),
        ("gam.sees", lambda g, x, r, c: looked_at(g, x, lambda o: o[1, :, r, c])[1].abs().sum(0) > 0),
        ("gam.sees", lambda g, x, r, c: looked_at(g, x, lambda o: o[:, :, r, c]).abs().sum((0, 1)) > 0),
        ("gam.sees", lambda g, x, r, c: looked_at(g, x, lambda o: o[0, :, r, c])[0].abs().sum(0) > 0.1),
        ("se.gate", lambda x, w1, w2: by_convolution(x, w1, w2) + 1e-4),
        ("se.gate", lambda x, w1, w2: by_convolution(x, w1, w2) + 1j),
        ("se.gate", lambda x, w1, w2: by_convolution(x, w1, w2)[:1]),
        ("baseline.macs", lambda *_: torch.zeros(5).numpy()),
        ("baseline.macs", lambda *_: 10**5000),
        ("bam.reach", lambda layers: layers.append(None)),
        ("se.fool", lambda x: x + torch.eye(*x.shape[2:])),  # one mean has changed
        ("se.fool", lambda x: torch.cat([x[:, :1].flip(3), x[:, 1:]], 1)),  # too little has
        ("se.fool", lambda x: x.flip(3)[:, :, 1:]),
        ("se.fool", lambda x: x * float("nan")),
        ("cbam.fool", lambda x: x.roll(1, 1).roll(1, 3)),
        ("cbam.fool", lambda x: torch.cat([x[:, :, :1], x[:, :, 1:]], 2)),
    ],
)
def test_wrong_solutions_are_not_right(name, wrong):
    assert answer(EXERCISES[name], wrong).startswith("not")


def test_where_many_answers_are_right_it_says_what_is_wrong_with_this_one():
    told = answer(EXERCISES["se.fool"], lambda x: torch.cat([x[:, :1] + 1, x[:, 1:].flip(3)], 1))
    assert re.fullmatch(r"not yet\. SE would notice: channel 0 of picture \d has the mean [\d.-]+, and had .*", told)
    told = answer(EXERCISES["se.fool"], lambda x: torch.cat([x[:, :1].flip(3), x[:, 1:]], 1))
    assert re.fullmatch(
        r"not yet\. Only \d+% of its values differ from those of x by more than 0\.001; change more than half\.", told
    )
    told = answer(EXERCISES["cbam.fool"], lambda x: x.roll(1, 1).roll(1, 3))
    assert "The spatial gate would notice: at row " in told
    told = answer(EXERCISES["cbam.fool"], lambda x: torch.stack([x[:, :, i] for i in range(x.shape[2])], 2).clone())
    assert "the channel gate can't tell it from x, either" in told
    assert answer(EXERCISES["se.fool"], nn.Identity).startswith("not")  # a class: not the map that it would make


def test_what_is_trained_is_the_readers_own_once_it_is_right(capsys):
    class Mine(WithConvolutions):
        pass

    class NotYet(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()

        def forward(self, x):
            raise NotImplementedError

    assert to_train("se.module", Mine, SE) is Mine
    assert to_train("se.module", NotYet, SE) is SE
    assert capsys.readouterr().out == (
        "Mine is right, so your own class is used from here on.\n"
        "NotYet is not right yet, so the solution's SE is used from here on.\n"
    )

    class Exchanged(WithConvolutions):
        def __init__(self, reduction, channels):
            super().__init__(channels, reduction)

    assert to_train("se.module", Exchanged, SE) is SE
    assert "it can't be called as the notebook does: take (channels, reduction)" in capsys.readouterr().out
    assert to_train("se.module", Mine, SE, gates=["gate"]) is SE
    assert "make them with self.gate, once each" in capsys.readouterr().out

    class Looked(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.gate = nn.Sigmoid()

        def forward(self, x):
            return x * self.gate(self.up(self.down(x.mean((2, 3), keepdim=True)).relu()))

    assert to_train("se.module", Looked, SE, gates=["gate"]) is Looked
    assert "your own class is used" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"unknown exercise 'se\.modul'"):
        to_train("se.modul", Mine, SE)


def test_a_module_is_compared_whatever_the_order_of_its_layers():
    class SpatialFirst(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            hidden = channels // reduction
            norms = [nn.BatchNorm2d(hidden), nn.ReLU()]
            dilated = [
                layer
                for _ in range(2)
                for layer in (nn.Conv2d(hidden, hidden, 3, padding=4, dilation=4), nn.BatchNorm2d(hidden), nn.ReLU())
            ]
            self.where = nn.Sequential(nn.Conv2d(channels, hidden, 1), *norms, *dilated, nn.Conv2d(hidden, 1, 1))
            self.up, self.norm = nn.Linear(hidden, channels), nn.BatchNorm1d(hidden)
            self.down = nn.Linear(channels, hidden)

        def forward(self, x):
            what = self.up(self.norm(self.down(x.mean((2, 3)))).relu())[:, :, None, None]
            return x * (1 + torch.sigmoid(what * self.where(x)))

    class Summed(SpatialFirst):
        def forward(self, x):
            what = self.up(self.norm(self.down(x.mean((2, 3)))).relu())[:, :, None, None]
            return x * (1 + torch.sigmoid(what + self.where(x)))

    assert answer(EXERCISES["bam.module"], SpatialFirst).startswith("right.")
    assert answer(EXERCISES["bam.module"], BAM).startswith("right.")
    x = torch.randn(6, 16, 9, 8)
    assert gives_the_same(SpatialFirst(16, 4), BAM(16, reduction=4), x)
    assert not gives_the_same(Summed(16, 4), BAM(16, reduction=4), x)


def test_many_layers_of_one_kind_are_named_one_by_one():
    class Narrow(BAM):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction=reduction)
            hidden = channels // reduction
            self.gate.spatial_branch.layers[9] = nn.Conv2d(hidden, 1, 1, bias=False)

    told = answer(EXERCISES["bam.module"], Narrow)
    assert "The fourth convolution has no bias" in told


def test_in_a_notebook_an_answer_is_a_box_that_wraps():
    said = Answer("se.gate", "not yet. A gate should be < 1 & > 0.\n  y = x")
    assert repr(said) == "se.gate: not yet. A gate should be < 1 & > 0.\n  y = x"
    box = said._repr_html_()
    assert "#D55E00" in box
    assert "white-space: pre-wrap" in box
    assert "<b>se.gate</b>: not yet. A gate should be &lt; 1 &amp; &gt; 0.\n  y = x</div>" in box
    signs = {Answer("a", text)._repr_html_().partition("</span>")[0][-1] for text in ("right. ", "perhaps", "not yet")}
    assert signs == {"✓", "?", "✗"}


def test_a_coarse_type_does_not_hide_a_mistake():
    class Parallel(CBAM):
        def forward(self, x):
            return x * self.channel_gate(x) * self.spatial_gate(x)

    class Coarse(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.inner = Parallel(channels, reduction=reduction).bfloat16()

        def forward(self, x):
            return self.inner(x)

    assert "run in parallel" in answer(EXERCISES["cbam.module"], Coarse)


def test_a_module_is_checked_in_training():
    class Evaluated(CBAM):
        def forward(self, x):
            return self.eval().__class__.__mro__[1].forward(self, x)

    assert answer(EXERCISES["cbam.module"], CBAM).startswith("right.")
    assert not answer(EXERCISES["cbam.module"], Evaluated).startswith("right.")


def test_a_checked_module_and_the_random_numbers_stay_as_they_were():
    module = CBAM(8, reduction=2).eval()
    before = {key: value.clone() for key, value in module.state_dict().items()}
    state = torch.get_rng_state()
    assert answer(EXERCISES["cbam.module"], module).startswith("right.")
    answer(EXERCISES["cbam.module"], CBAM)
    assert not module.training
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)


def test_surroundings_do_not_matter():
    for surroundings in (torch.no_grad(), torch.inference_mode(), torch.device("meta")):
        with surroundings:
            for name in ("gam.sees", "cbam.module", "se.gate"):
                assert answer(EXERCISES[name], EXERCISES[name].reference).startswith("right.")


def test_a_module_that_can_not_be_trained_is_not_right():
    class NoGrad(WithConvolutions):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    assert "no gradient reaches x, down.weight, up.weight" in answer(EXERCISES["se.module"], NoGrad)


def test_what_looks_like_a_stub_and_is_none():
    class Typo(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()

        def foward(self, x):
            return x

    assert 'missing the required "forward" function' in answer(EXERCISES["se.module"], Typo)
    exchanged = lambda logits, attention, labels: F.cross_entropy(labels, logits)  # noqa: E731
    assert answer(EXERCISES["abn.loss"], exchanged).startswith("your code raised ")
    assert "its return is missing" in answer(EXERCISES["se.gate"], lambda *_: None)
    sometimes = lambda i, o, k, bias: i * o * k * k + o if bias else None  # noqa: E731
    assert "its return is missing" in answer(EXERCISES["baseline.parameters"], sometimes)
    at_times = lambda i, o, k, bias: None if bias else i * o * k * k  # noqa: E731
    assert "It gives None for some inputs" in answer(EXERCISES["baseline.parameters"], at_times)


def test_modules_whose_layers_are_not_found_or_are_made_otherwise():
    class Listed(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.layers = [nn.Linear(channels, channels // reduction), nn.Linear(channels // reduction, channels)]

        def forward(self, x):
            return x * self.layers[1](self.layers[0](x.mean((2, 3)).float())).sigmoid()[:, :, None, None]

    class Lazy(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.down = nn.LazyConv2d(channels // reduction, 1, bias=False)
            self.up = nn.LazyConv2d(channels, 1, bias=False)

        def forward(self, x):
            return x * self.up(self.down(x.mean((2, 3), keepdim=True).to(self.down.weight.dtype)).relu()).sigmoid()

    class Quarter(WithConvolutions):
        def __init__(self, channels, reduction):
            super().__init__(channels, 4)

    class OtherNames(WithConvolutions):
        def __init__(self, c, r):
            super().__init__(c, r)

    class LazyWithBiases(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.down = nn.LazyLinear(channels // reduction)
            self.up = nn.LazyLinear(channels)

        def forward(self, x):
            z = x.mean((2, 3)).to(self.down.weight.dtype)
            return x * self.up(self.down(z).relu()).sigmoid()[:, :, None, None]

    exercise = EXERCISES["se.module"]
    assert "have biases" in answer(exercise, LazyWithBiases)
    assert "have biases" in answer(exercise, LazyWithBiases(8, 2))
    assert "layers in a plain list are not found" in answer(exercise, Listed)
    assert answer(exercise, Lazy).startswith("right.")
    assert "units" not in answer(exercise, Quarter)
    assert answer(exercise, OtherNames).startswith("right.")
    assert answer(exercise, dict).startswith("your code raised ")


def test_long_messages_and_library_frames_are_cut():
    def deep(x, w1, w2):
        return helper(x)

    def helper(x):
        return x.reshape(7, 7, 7)

    told = answer(EXERCISES["se.gate"], deep)
    assert "return x.reshape(7, 7, 7)" in told  # the innermost of the reader's lines, none of torch's

    def verbose(*_):
        raise ValueError("y" * 10**6)

    def quits(*_):
        raise SystemExit(3)

    assert len(answer(EXERCISES["se.gate"], verbose)) < 500
    assert "raised SystemExit" in answer(EXERCISES["se.gate"], quits)


def test_numbers_in_other_clothes_are_numbers():
    parameters = EXERCISES["gam.channel_parameters"]
    assert answer(parameters, lambda c, r: torch.tensor(parameters.reference(c, r))).startswith("right.")
    fits = EXERCISES["gam.fits"]
    assert answer(fits, lambda count, printed: torch.tensor(fits.reference(count, printed))).startswith("right.")
    assert answer(EXERCISES["se.gate"], lambda *a: by_convolution(*a).numpy()).startswith("right.")


def test_gates_are_tested_as_gates_where_the_weights_do_not_fit():
    class Gate(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(channels, channels, 1, 1))
            self.factor = 1.0

        def forward(self, x):
            return F.conv2d(x, self.weight).sigmoid() * self.factor + (self.factor - 1) / 2

    class Leaves(Gate):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.factor = 3.0

    class Below(Gate):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.factor = 0.5

    assert answer(EXERCISES["gam.channel"], Gate).endswith("by its properties alone. Those are fine.")
    assert "A gate should stay in [0, 1]" in answer(EXERCISES["gam.channel"], Leaves)
    assert "A gate should stay in [0, 1]" in answer(EXERCISES["gam.channel"], Below)
    assert answer(EXERCISES["bam.channel"], lambda *_: None).startswith("not attempted yet")


def test_an_unknown_mistake_is_told_by_shape_or_by_its_largest_difference():
    exercise = EXERCISES["se.gate"]
    assert "expected a tensor (3, 8, 1, 1), got a tensor (3, 8, 5, 7)" in answer(exercise, lambda x, w1, w2: x.exp())
    assert "expected a tensor (3, 8, 1, 1), got str 'gate'" in answer(exercise, lambda x, w1, w2: "gate")

    def off(x, w1, w2):
        gate = by_convolution(x, w1, w2)
        gate[0, 3] += 0.25
        return gate

    told = answer(exercise, off)
    assert "the shape (3, 8, 1, 1) is right, and 4% of the values are wrong" in told
    assert "at [0, 3, 0, 0]: expected " in told
    assert answer(EXERCISES["baseline.macs"], lambda *_: 7) == "not yet: for (3, 16, 3, 32, 30) expected 414720, got 7."
    assert "got nan" in answer(exercise, lambda x, w1, w2: by_convolution(x, w1, w2) * float("nan"))


def test_check_prints_one_answer_in_two_seconds(capsys):
    for name, exercise in EXERCISES.items():
        start = time.perf_counter()
        check(name, exercise.reference)
        assert time.perf_counter() - start < 2
        assert capsys.readouterr().out == f"{name}: right. {exercise.notice}\n"
    with pytest.raises(ValueError, match=r"unknown exercise 'se.gat'; allowed, nearest first: se\.gate"):
        check("se.gat", None)
