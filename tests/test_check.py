"""`check` of answers that its mistakes do not list: what passes, what does not, and what is said of it."""

import functools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from gamlib import CBAM, GAM, SE
from gamlib.course import check
from gamlib.course.checks import answer
from gamlib.course.exercises import EXERCISES
from gamlib.course.slips import SLIPS


def told(name, solution):
    return answer(EXERCISES[name], solution)


class SEOf(nn.Module):
    """SE with each of its parts as a method, to be overridden by a mistake or another way."""

    def __init__(self, channels, reduction):
        super().__init__()
        self.down = nn.Linear(channels, channels // reduction, bias=False)
        self.up = nn.Linear(channels // reduction, channels, bias=False)

    def pool(self, x):
        return x.mean((2, 3))

    def hidden(self, z):
        return self.down(z).relu()

    def gate(self, x):
        return self.up(self.hidden(self.pool(x))).sigmoid()

    def forward(self, x):
        return x * self.gate(x)[:, :, None, None]


class BlockOf(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x):
        return (x + self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))).relu()


class SpatialOf(nn.Module):
    def __init__(self, kernel_size=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1)

    def forward(self, x):
        return self.bn(self.conv(torch.stack([x.amax(1), x.mean(1)], 1))).sigmoid()


def subclass(base, **methods):
    return type(base.__name__, (base,), methods)


# --- right answers, however they are written and handed over


class SecondFirst(SEOf):
    def __init__(self, channels, reduction):
        nn.Module.__init__(self)
        self.up = nn.Linear(channels // reduction, channels, bias=False)
        self.down = nn.Linear(channels, channels // reduction, bias=False)


class OwnMatrices(nn.Module):
    """As x @ w: matrices (in, out)."""

    def __init__(self, c, r):
        super().__init__()
        self.w1 = nn.Parameter(torch.randn(c, c // r))
        self.w2 = nn.Parameter(torch.randn(c // r, c))

    def forward(self, x):
        return x * torch.sigmoid((x.mean((2, 3)) @ self.w1).relu() @ self.w2)[:, :, None, None]


class FloatInside(SEOf):
    """A constant in float32 that is no parameter."""

    def __init__(self, channels, reduction):
        super().__init__(channels, reduction)
        self.same = torch.eye(channels)

    def pool(self, x):
        return super().pool(x) @ self.same


class NormsFirst(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norms = nn.ModuleList([nn.BatchNorm2d(channels) for _ in range(2)])
        self.convs = nn.ModuleList([nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)])

    def forward(self, x):
        out = self.norms[0](self.convs[0](x)).relu()
        return (x + self.norms[1](self.convs[1](out))).relu()


def other_names(base, **defaults):
    return type("Other", (base,), {"__init__": lambda self, width, ratio=16: base.__init__(self, width, ratio)})


def by_numpy(x, w1, w2):
    hidden = np.maximum(x.numpy().mean((2, 3)) @ w1.numpy().T, 0)
    return 1 / (1 + np.exp(-hidden @ w2.numpy().T))[:, :, None, None]


RIGHT = [
    ("se.module", SEOf),
    ("se.module", SecondFirst),
    ("se.module", OwnMatrices),
    ("se.module", FloatInside),
    ("se.module", other_names(SEOf)),
    ("se.module", SE(64)),
    ("cbam.module", CBAM(32, reduction=4)),
    ("cbam.spatial", SpatialOf),
    ("cbam.spatial", type("Fixed", (SpatialOf,), {"__init__": lambda self: SpatialOf.__init__(self)})),
    ("baseline.block", BlockOf),
    ("baseline.block", NormsFirst),
    ("tam.rotate", type("Rotate", (nn.Module,), {"forward": lambda self, x: x.transpose(1, 2)})),
    ("own.slowdown", lambda plain, attended: (attended / plain).median()),
    ("own.slowdown", lambda plain, attended: (attended.float() / plain.float()).median().item()),
    (
        "training.paired_interval",
        lambda a, b, t: [(a - b).mean() + s * t * (a - b).std() / len(a) ** 0.5 for s in (-1, 1)],
    ),
    ("training.standard_error", lambda e, n: torch.tensor(e).mul(100 - e).div(n).sqrt()),
    ("explain.area", lambda curve: np.trapezoid(curve.numpy()) / (len(curve) - 1)),
    ("se.gate", by_numpy),
    ("gam.shuffle", lambda x, groups: F.channel_shuffle(x, groups)),
    (
        "bam.channel",
        lambda x, w1, b1, gain, shift, w2, b2: F.linear(
            F.batch_norm(F.linear(x.mean((2, 3)), w1, b1), None, None, gain, shift, True).relu(), w2, b2
        )[..., None, None],
    ),
]


@pytest.mark.parametrize(("name", "solution"), RIGHT)
def test_right_answers_pass(name, solution):
    assert told(name, solution).startswith("right.")


def test_an_array_is_right_and_told_that_it_hands_no_gradient_on():
    assert told("se.gate", by_numpy).endswith("in a network, keep to PyTorch's functions.)")
    assert told("se.gate", lambda *a: torch.tensor(by_numpy(*a))).endswith("PyTorch's functions.)")


# --- gradients


def detached_hidden(x, w1, w2):
    hidden = F.linear(x.mean((2, 3)), w1).relu().detach()
    return F.linear(hidden, w2).sigmoid()[:, :, None, None]


class OneOfTwoDetached(CBAM):
    def forward(self, x):
        x = x * self.channel_gate(x).detach()
        return x * self.spatial_gate(x)


class Frozen(SEOf):
    def gate(self, x):
        with torch.no_grad():
            return super().gate(x)


class OnlyOneFrozen(SEOf):
    def hidden(self, z):
        return super().hidden(z).detach()


class HalfTheWay(SEOf):
    """The gradient by way of the pooled values is cut, that by way of the map is there."""

    def pool(self, x):
        return super().pool(x).detach()


def ignores_the_bias(x, w1, b1, gain, shift, w2, b2):
    """Before a BatchNorm the bias changes nothing; but it must be there."""
    return F.linear(F.batch_norm(F.linear(x.mean((2, 3)), w1), None, None, gain, shift, True).relu(), w2, b2)[
        ..., None, None
    ]


@pytest.mark.parametrize(
    ("name", "solution", "words"),
    [
        ("se.gate", detached_hidden, "no gradient reaches x, w1"),
        ("cbam.module", OneOfTwoDetached, "channel_gate.mlp.2.bias"),
        ("se.module", Frozen, "no gradient reaches down.weight, up.weight"),
        ("se.module", OnlyOneFrozen, "no gradient reaches down.weight"),
        ("se.module", HalfTheWay, "the gradient of x is not what it should be"),
        ("own.gentle", lambda x, attention, s: x + s.item() * (attention(x) - x), "no gradient reaches strength"),
        ("own.gentle", lambda x, attention, s: x + s * (attention(x) - x).detach(), "the gradient of x is not"),
        (
            "tam.module",
            lambda x, *weights: EXERCISES["tam.module"].reference(x.detach(), *weights),
            "no gradient reaches x",
        ),
        ("bam.channel", ignores_the_bias, "no gradient reaches b1"),
        (
            "abn.loss",
            lambda a, b, t: F.cross_entropy(a, t) + F.cross_entropy(b, t).item(),
            "no gradient reaches attention_logits",
        ),
    ],
)
def test_a_lost_gradient_is_seen_and_named(name, solution, words):
    assert words in told(name, solution)
    assert told(name, solution).startswith("not yet. The numbers are right, but ")


def test_a_bias_before_a_batch_norm_has_a_gradient_of_zero_and_is_right():
    class Branch(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.down, self.up = nn.Linear(channels, channels // reduction), nn.Linear(channels // reduction, channels)
            self.bn = nn.BatchNorm1d(channels // reduction)

        def forward(self, x):
            return self.up(self.bn(self.down(x.mean((2, 3)))).relu())[:, :, None, None]

    assert told("bam.channel", Branch).startswith("right.")


# --- inputs, and training and eval


def test_inputs_that_are_changed_in_place_are_seen():
    def scaled(x, *weights):
        x *= EXERCISES["se.gate"].reference(x, *weights)
        return x

    def emptied(layers):
        reach = 1
        while layers:
            k, d = layers.pop()
            reach += (k - 1) * d
        return reach

    class InPlace(SEOf):
        def forward(self, x):
            return x.mul_(self.gate(x)[:, :, None, None])

    for name, solution in (("se.module", scaled), ("bam.reach", emptied), ("se.module", InPlace)):
        assert "it changes what it is given, in place" in told(name, solution)


def test_training_and_eval_are_both_tried():
    class GateInTrainingOnly(SEOf):
        def forward(self, x):
            return super().forward(x) if self.training else x

    class NoAverages(BlockOf):
        def __init__(self, channels):
            super().__init__(channels)
            self.bn2 = nn.BatchNorm2d(channels, track_running_stats=False)

    class ByHand(SpatialOf):
        def forward(self, x):
            z = self.conv(torch.stack([x.amax(1), x.mean(1)], 1))
            return F.batch_norm(z, None, None, self.bn.weight, self.bn.bias, training=True).sigmoid()

    for name, solution in (("se.module", GateInTrainingOnly), ("baseline.block", NoAverages), ("cbam.spatial", ByHand)):
        assert "In training it is right; after .eval()" in told(name, solution)
    for module in (CBAM, GAM):
        assert told(f"{module.__name__.lower()}.module", module).startswith("right.")


def test_a_norm_in_eval_is_named():
    class Evaluated(CBAM):
        def forward(self, x):
            self.spatial_gate.eval()
            for child in self.modules():
                if isinstance(child, nn.BatchNorm2d):
                    child.reset_running_stats()
            return super().forward(x)

    assert "as in eval" in told("cbam.module", Evaluated)


# --- usual mistakes, wherever they can be made


def se_gate(pool=lambda x: x.mean((2, 3)), relu=F.relu, sigmoid=torch.sigmoid):
    return lambda x, w1, w2: sigmoid(F.linear(relu(F.linear(pool(x), w1)), w2))[:, :, None, None]


def gam_gate(relu=F.relu, sigmoid=torch.sigmoid):
    return lambda x, w1, b1, w2, b2: sigmoid(F.linear(relu(F.linear(x.movedim(1, 3), w1, b1)), w2, b2).movedim(3, 1))


def by_hand(x, gain, shift, eps=1e-5, correction=0):
    var, mean = torch.var_mean(x, (0, 2, 3), correction=correction, keepdim=True)
    return (x - mean) / (var + eps).sqrt() * gain.view(1, -1, 1, 1) + shift.view(1, -1, 1, 1)


def gam_spatial(norm=by_hand, relu=F.relu, sigmoid=torch.sigmoid, mode="zeros"):
    def conv(x, w):
        x = F.pad(x, (3,) * 4) if mode == "zeros" else F.pad(x, (3,) * 4, mode=mode)
        return F.conv2d(x, w)

    return lambda x, w1, gain, shift, w2: sigmoid(conv(relu(norm(conv(x, w1), gain, shift)), w2))


@pytest.mark.parametrize(
    ("name", "solution", "words"),
    [
        ("se.gate", se_gate(sigmoid=torch.tanh), "a tanh stands where the sigmoid belongs"),
        ("gam.channel", gam_gate(sigmoid=torch.tanh), "a tanh stands where the sigmoid belongs"),
        ("gam.channel", gam_gate(sigmoid=lambda z: z.softmax(2)), "a softmax over dimension 2"),
        ("gam.spatial", gam_spatial(sigmoid=lambda z: z.softmax(3)), "a softmax over dimension 3"),
        ("se.gate", se_gate(sigmoid=lambda z: z.sigmoid().sigmoid()), "one sigmoid more"),
        ("gam.channel", gam_gate(sigmoid=lambda z: z.relu().sigmoid()), "a ReLU stands before the sigmoid"),
        ("gam.spatial", gam_spatial(sigmoid=F.relu), "a ReLU stands where the sigmoid belongs"),
        ("se.gate", se_gate(relu=F.gelu), "a GELU stands where the ReLU belongs"),
        ("se.gate", se_gate(pool=lambda x: x.std((2, 3))), "a standard deviation stands where the mean belongs"),
        ("se.gate", se_gate(pool=lambda x: x.flatten(2).median(2).values), "a median stands where the mean belongs"),
        ("gam.spatial", gam_spatial(norm=lambda x, g, s: by_hand(x, g, s, correction=1)), "unbiased variance"),
        ("gam.spatial", gam_spatial(norm=lambda x, g, s: by_hand(x, g, s, eps=0)), "eps, 1e-5 under the root, is left"),
        ("gam.spatial", gam_spatial(norm=lambda x, g, s: F.instance_norm(x, weight=g, bias=s)), "InstanceNorm"),
        ("gam.spatial", gam_spatial(mode="circular"), "padded by wrapping round"),
        ("se.gate", se_gate(relu=torch.tanh, sigmoid=torch.tanh), "for two things"),
        (
            "bam.channel",
            lambda x, w1, b1, g, s, w2, b2: F.linear(
                by_hand(F.linear(x.mean((2, 3)), w1, b1)[..., None, None], g, s, eps=0)[..., 0, 0].relu(), w2, b2
            )[..., None, None],
            "eps",
        ),
        ("gam.shuffle", lambda x, groups: F.channel_shuffle(x, groups).flip(3), "turned round along dimension 3"),
        ("tam.rotate", lambda x: x.movedim(1, 3), "the channels went to the end"),
        ("explain.grad_cam", lambda f, g: 2 * F.relu((g.mean((2, 3), keepdim=True) * f).sum(1)), "2 times the right"),
        ("baseline.macs", lambda i, o, k, h, w: 3 * i * o * k * k * h * w, "3 times the right number"),
        ("baseline.macs", lambda i, o, k, h, w: i * o * k * k * h * h, "height stands where width belongs"),
        (
            "gam.spatial_parameters",
            lambda c, r, g: 98 * c * (c // r) // g + 2 * (c // r) + c,
            "larger than the right number by channels",
        ),
        ("imagenet.throughput", lambda d, c, t, g: min(d * c, t * g) + 1, "1 too large"),
    ],
)
def test_usual_mistakes_are_named_where_no_list_has_them(name, solution, words):
    assert words in told(name, solution)
    assert told(name, solution).startswith("not yet")


def test_each_slip_says_something_of_its_own():
    said = [slip.says for slip in SLIPS]
    assert all(said)
    assert {slip.says for slip in SLIPS if said.count(slip.says) > 1} <= {
        "the two stand in the other order",
        "the same stands twice; one of the two is missing",
        "another quantile stands where the median belongs",
    }


# --- a module's layers


def with_layers(down, up):
    def make(self, channels, reduction):
        nn.Module.__init__(self)
        self.down, self.up = down(channels, reduction), up(channels, reduction)

    return type("Own", (SEOf,), {"__init__": make})


def plain(i, o, bias=False):
    return nn.Linear(i, o, bias=bias)


@pytest.mark.parametrize(
    ("name", "solution", "words"),
    [
        (
            "se.module",
            with_layers(lambda c, r: plain(c, c // r, True), lambda c, r: plain(c // r, c)),
            "The first Linear has a bias, and should have none: bias=False. All else is right.",
        ),
        (
            "se.module",
            with_layers(lambda c, r: plain(c, c // r // r or 1), lambda c, r: plain(c // r // r or 1, c)),
            "expected 4",
        ),
        (
            "se.module",
            with_layers(lambda c, r: plain(c, c // 8), lambda c, r: plain(c // 8, c)),
            "the reduction is 8 whatever it is called with). All else is right.",
        ),
        (
            "se.module",
            subclass(
                with_layers(lambda c, r: plain(c, 3, True), lambda c, r: plain(3, c)),
                hidden=lambda self, z: self.down(z),
            ),
            "The ReLU between the two layers is missing",
        ),
        (
            "cbam.spatial",
            type("Three", (SpatialOf,), {"__init__": lambda self: SpatialOf.__init__(self, 3)}),
            "3 x 3, expected 7 x 7",
        ),
        (
            "cbam.spatial",
            type("Five", (SpatialOf,), {"__init__": lambda self: SpatialOf.__init__(self, 5)}),
            "5 x 5, expected 7 x 7",
        ),
        ("gam.module", functools.partial(GAM, kernel_size=3), "kernel is 3 x 3, expected 7 x 7"),
    ],
)
def test_layers_that_differ_are_named_and_the_rest_is_judged(name, solution, words):
    assert words in told(name, solution)
    assert told(name, solution).startswith("not yet.")


def test_layers_that_are_not_found():
    class Listed(SEOf):
        def __init__(self, channels, reduction):
            super().__init__(channels, reduction)
            self.layers = [self.down, self.up]
            del self.down, self.up

        def gate(self, x):
            return self.layers[1](self.layers[0](x.mean((2, 3))).relu()).sigmoid()

    class MadeInForward(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.c, self.h = channels, channels // reduction

        def forward(self, x):
            return x * nn.Linear(self.h, self.c)(nn.Linear(self.c, self.h)(x.mean((2, 3)))).sigmoid()[..., None, None]

    class PlainTensors(nn.Module):
        def __init__(self, channels, reduction):
            super().__init__()
            self.w1, self.w2 = (
                torch.randn(channels // reduction, channels),
                torch.randn(channels, channels // reduction),
            )

        def forward(self, x):
            return x * F.linear(F.linear(x.mean((2, 3)), self.w1).relu(), self.w2).sigmoid()[..., None, None]

    for solution in (Listed, MadeInForward, PlainTensors):
        assert told("se.module", solution).startswith("not yet. It has no parameters: make its layers in __init__")


# --- answers of other kinds


def test_tuples_and_lists_are_understood():
    assert "a tuple of 2: " in told("cbam.spatial", lambda x, *_: (x.amax(1), x.mean(1)))
    assert "take .values, or x.amax(dim)" in told("se.gate", lambda x, *_: x.flatten(2).max(2))
    assert "It returns a module" in told("se.module", lambda channels, reduction, more: SEOf(8, 2))


class Hostile:
    def __repr__(self):
        raise RuntimeError("no text")

    def __eq__(self, other):
        raise RuntimeError("no comparing")

    __hash__ = None

    def __getattr__(self, name):
        raise RuntimeError("no attributes")


class HostileTensor(torch.Tensor):
    @classmethod
    def __torch_function__(cls, *_, **__):
        raise RuntimeError("no functions")


class HostileError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class Leaves(BaseException):
    pass


def raising(error):
    def solution(*_):
        raise error

    return solution


ODD = {
    "hostile": Hostile,
    "hostile in a list": lambda: [Hostile()],
    "hostile tensor": lambda: torch.zeros(3).as_subclass(HostileTensor),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "quantised": lambda: torch.quantize_per_tensor(torch.zeros(3, 8, 1, 1), 0.1, 0, torch.quint8),
    "meta": lambda: torch.zeros(3, device="meta"),
    "sparse": lambda: torch.eye(3).to_sparse(),
    "complex": lambda: torch.zeros(3, dtype=torch.complex64),
    "empty": lambda: torch.zeros(0),
    "huge": lambda: 10**5000,
    "infinite": lambda: float("inf"),
    "text": lambda: "text",
    "dict": lambda: {"a": 1},
    "strings": lambda: np.array(["a"]),
    "objects": lambda: np.array([None]),
    "nothing in it": tuple,
    "module": nn.Identity,
    "function": lambda: print,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("value", ODD)
@pytest.mark.parametrize("name", ["se.gate", "baseline.macs", "gam.fits", "training.standard_error"])
def test_nothing_that_a_solution_returns_escapes(name, value):
    assert told(name, lambda *_: ODD[value]()).startswith(("not", "your code raised"))


def test_nothing_that_is_handed_over_escapes():
    for solution in (None, 3, "se", torch.zeros(3), Hostile(), [], raising(HostileError()), raising(Leaves())):
        for name in ("se.gate", "se.module", "baseline.macs"):
            assert told(name, solution).startswith("your code raised")


def test_where_stub_and_check_share_a_cell_it_says_so(capsys):
    cell = "from gamlib.course import check\ndef gate(x, w1, w2):\n    ...\n    return None\ncheck('se.gate', gate)"
    with_stub = cell.replace("    ...\n    return None", "    raise NotImplementedError")
    exec(compile(with_stub, "<cell 3>", "exec"), {})
    assert capsys.readouterr().out == "se.gate: not attempted yet. Write it in this cell, then run it again.\n"
    above = {}
    exec(compile(with_stub.rpartition("\n")[0], "<cell 4>", "exec"), above)
    exec(compile("check('se.gate', gate)", "<cell 5>", "exec"), above)
    assert "Write it in the cell above" in capsys.readouterr().out


def test_trials_tell_near_mistakes_apart():
    near = [
        ("training.learning_rate", lambda epoch, lr, milestones, gamma: lr * gamma ** (epoch // milestones[0])),
        (
            "ablations.nearest_width",
            lambda count, target: min(range(1, 200), key=lambda w: abs(np.log(count(w) / target))),
        ),
        (
            "ablations.nearest_width",
            lambda count, target: min(range(1, 200), key=lambda w: abs(count(w) ** 0.5 - target**0.5)),
        ),
    ]
    for name, solution in near:
        assert told(name, solution).startswith("not yet")

    def cancels(gate, x, row, column):
        x = x.clone().requires_grad_()
        gate(x)[0, :, row, column].sum().backward()
        return x.grad[0].sum(0) != 0

    assert told("gam.sees", cancels).startswith("not yet")
    check("gam.sees", EXERCISES["gam.sees"].reference)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("bam.reach", lambda layers: 1 + sum(2 * (k // 2) * d for k, d in layers)),
        ("abn.loss", lambda a, b, t: F.cross_entropy(a, t).item() + F.cross_entropy(b, t).item()),
        ("ablations.nearest_width", lambda count, target: min(range(1, 101), key=lambda w: abs(count(w) - target))),
        ("imagenet.share", lambda batch, rank, world: batch.sort().values[rank::world]),
    ],
)
def test_wrong_answers_that_were_accepted_once(name, wrong):
    assert told(name, wrong).startswith("not yet")


def test_messages_are_true_to_the_code():
    def together(x, w1, b1, g, s, w2, b2):
        h = F.linear(x.mean((2, 3)), w1, b1)
        h = (h - h.mean()) / (h.var(correction=0) + 1e-5).sqrt() * g + s
        return F.linear(h.relu(), w2, b2)[:, :, None, None]

    assert "all is normalised together" in told("bam.channel", together)

    def last_bias_forgotten(x, w1, b1, g, s, w2, b2):
        h = F.batch_norm(F.linear(x.mean((2, 3)), w1, b1), None, None, g, s, True).relu()
        return F.linear(h, w2)[:, :, None, None]

    assert "the layer's bias is not used (the second of 2)" in told("bam.channel", last_bias_forgotten)

    def beside(x, attention, w1, g1, b1, w2, g2, b2):
        def norm(x, g, b):
            return F.batch_norm(x, None, None, g, b, True)

        out = norm(F.conv2d(x, w1, padding=1), g1, b1).relu()
        out = norm(F.conv2d(out, w2, padding=1), g2, b2)
        return (x + out + attention(out)).relu()

    assert "The map is added beside attention(map)" in told("gam.block", beside)
    assert "clamp to [0, 1]" in told("se.gate", se_gate(sigmoid=lambda z: z.clamp(0, 1)))
    assert "bias counts the other way round" in told(
        "baseline.parameters", lambda i, o, k, bias: i * o * k * k + (0 if bias else o)
    )
    assert "a tuple of 2: a tensor (3, 5, 7)" in told("cbam.spatial", lambda x, *_: (x.amax(1), x.mean(1)))
    assert "take .values" in told("own.slowdown", lambda plain, attended: (attended / plain).median(0))
    assert "1/24 times" in told("imagenet.throughput", lambda d, c, t, g: min(d * c, t * g) / 24)
    assert "for (resnet, " in told("ablations.nearest_width", lambda count, target: 10**6)
