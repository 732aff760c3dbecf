"""Numbers that mean nothing stop a run before they reach the weights."""

import dataclasses
import math

import pytest
import torch
from test_training import TINY, probe, tiny_data  # noqa: F401 (a fixture)
from torch import nn

from gamlib.training import Diverged, Speed, checkpoint, fit, trainer
from gamlib.training.guards import SpikeGuard
from gamlib.training.interrupt import Interrupt
from gamlib.training.trainer import Trainer

BAD = 5  # the update, from 0, that would be bad


class Spoil(torch.autograd.Function):
    """Outputs that stay as they are, with gradients that don't."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * math.inf


class Spoiled(nn.Module):
    """A network whose outputs or gradients are infinite in one training step."""

    def __init__(self, what, at=BAD):
        super().__init__()
        self.inner, self.what, self.at, self.steps = probe(), what, at, 0
        self.spec = self.inner.spec

    def forward(self, x):
        x = self.inner(x)
        if self.training:
            self.steps += 1
            if self.steps - 1 == self.at:
                return x * math.inf if self.what == "loss" else Spoil.apply(x)
        return x


def weights_and_momenta(run):
    return [*run.parameters, *(run.optimizer.state[p]["momentum_buffer"] for p in run.parameters)]


@pytest.mark.parametrize(
    ("look_every", "save_every"),
    [(1, 0.0), (10, 0.0), (10, 300.0)],
    ids=["as on a CPU", "as on a GPU", "as on a GPU, with no save on the way"],
)
@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("what", "precision"), [("loss", "fp32"), ("gradient", "fp32"), ("loss", "fp16")])
def test_an_infinite_number_stops_before_the_update(
    what,
    precision,
    fused,
    look_every,
    save_every,
    tiny_data,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    monkeypatch.setitem(trainer.LOOK_EVERY, "cpu", look_every)
    model = Spoiled(what)
    monkeypatch.setattr(model, "at", -1)
    speed = Speed(precision=precision, fused=fused)
    scaler = torch.amp.GradScaler  # with a scale that no step of its own is left out at
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, **k, init_scale=64.0))
    good = {}
    take_step = Trainer.take_step

    def noted(self, *arguments):
        take_step(self, *arguments)
        good[self.step] = [p.detach().clone() for p in weights_and_momenta(self)]

    monkeypatch.setattr(Trainer, "take_step", noted)
    fit(model, tiny_data, TINY, speed=speed)
    expected = good[BAD - 1]
    model = Spoiled(what)
    runs = []
    init = Trainer.__init__
    monkeypatch.setattr(Trainer, "__init__", lambda self, *a: (init(self, *a), runs.append(self))[0])
    with pytest.raises(
        Diverged, match=rf"step {BAD + 1} of 21 \(epoch 1\): loss .*(nan|inf).* at learning rate 0\.\d+"
    ):
        fit(model, tiny_data, TINY, out=tmp_path, speed=speed, save_every=save_every)
    for ours, wanted in zip(weights_and_momenta(runs[0]), expected, strict=True):
        assert torch.equal(ours, wanted)
    # No checkpoint was written after it.
    assert checkpoint.read(checkpoint.paths(tmp_path)[0])["step"] <= BAD


def test_the_message_says_what_to_try(tiny_data):  # noqa: F811
    with pytest.raises(
        Diverged, match=r"not updated by it \(.*\)\. Try a lower --lr, a longer --warm-up, or --precision"
    ):
        fit(Spoiled("loss"), tiny_data, TINY)


@pytest.mark.parametrize("at", [0, BAD])
@pytest.mark.parametrize("fused", [True, False])
def test_a_skipped_fp16_step_leaves_the_schedule_and_is_no_update(fused, at, tiny_data, monkeypatch):  # noqa: F811
    """At step 0, too, where PyTorch's fused SGD would go on from uninitialised momentum."""
    seen = []
    take_step = Trainer.take_step

    def noted(self, *arguments):
        before = [p.detach().clone() for p in self.parameters]
        take_step(self, *arguments)
        moved = any(not torch.equal(p, old) for p, old in zip(self.parameters, before, strict=True))
        size = max(p.abs().max().item() for p in self.parameters)
        seen.append((self.optimizer.param_groups[0]["lr"], moved, self.scaler.get_scale(), size))

    monkeypatch.setattr(Trainer, "take_step", noted)
    # A scale that float16 can bear from the start, so that the injected step is the only one that is skipped.
    scaler = torch.amp.GradScaler
    monkeypatch.setattr(torch.amp, "GradScaler", lambda *a, **k: scaler(*a, **k, init_scale=64.0))
    recipe = dataclasses.replace(TINY, epochs=1)
    fit(Spoiled("gradient", at), tiny_data, recipe, speed=Speed(precision="fp16", fused=fused))
    assert [lr for lr, *_ in seen] == [recipe.learning_rate(step, 7) for step in range(7)]
    assert [moved for _, moved, *_ in seen] == [step != at for step in range(7)]
    assert [scale for _, _, scale, _ in seen] == [64.0] * at + [32.0] * (7 - at)
    assert max(size for *_, size in seen) < 10


def test_fp16s_loss_scale_goes_on_from_a_checkpoint(tiny_data):  # noqa: F811
    speed = Speed(precision="fp16")
    run = Trainer(Spoiled("gradient", 1), tiny_data, TINY, 0, speed)
    steps = run.train_epoch(Interrupt())
    for _ in range(3):
        next(steps)
    scale = run.scaler.get_scale()
    again = Trainer(Spoiled("gradient", -1), tiny_data, TINY, 0, speed)
    assert again.scaler.get_scale() > scale
    again.load_state(run.state())
    assert again.scaler.get_scale() == scale


def test_an_infinite_loss_stops_fp16_too(tiny_data):  # noqa: F811
    with pytest.raises(Diverged, match=f"step {BAD + 1} of 21"):
        fit(Spoiled("loss"), tiny_data, TINY, speed=Speed(precision="fp16"))


def test_fp16_that_finds_no_scale_stops(tiny_data):  # noqa: F811
    model = Spoiled("gradient")
    model.forward = lambda x: Spoil.apply(model.inner(x)) if model.training else model.inner(x)
    with pytest.raises(Diverged, match="fp16's gradients are infinite at any loss scale"):
        fit(model, tiny_data, TINY, speed=Speed(precision="fp16"))


def losses(guard, *values):
    for value in values:
        guard.look(value, 1000, 0.1)


def test_a_leap_of_the_loss_that_stays_warns_once():
    guard = SpikeGuard()
    losses(guard, *[4.6] * 3, *[30.0] * 3, *[4.6] * SpikeGuard.QUIET, *[3.0] * 100)  # a leap at the start means nothing
    losses(guard, 7.0, *[3.0] * 20)  # nor does one batch
    with pytest.warns(
        UserWarning, match=r"step 1,000: the loss has leapt to .* from about 3\.\d+, at learning rate 0.1"
    ) as told:
        losses(guard, *[15.0] * 10)
    assert len(told) == 1
    losses(guard, *[3.0] * 200)
    with pytest.warns(UserWarning, match="the loss has leapt"):  # it had come back
        losses(guard, *[15.0] * 10)
    losses(SpikeGuard(), *[0.001] * 30, *[0.9] * 30)  # small numbers leap without harm
