"""Switches that make training faster, and change nothing but the rounding."""

import functools

import pytest
import torch
from test_training import TINY, probe, tiny_data  # noqa: F401 (a fixture)
from torch._subclasses.fake_tensor import FakeTensorMode

from gamlib.data import Dataset
from gamlib.training import Recipe, Speed, fit
from gamlib.training.interrupt import Interrupt
from gamlib.training.trainer import Trainer

PLAIN = Speed(precision="fp32", channels_last=False, fused=False, compile=False)
# The switch, and how far it may move the loss curve: bfloat16 rounds to 8 bits, float16 to 11, the others reorder sums.
SWITCHES = {
    "bf16": ({"precision": "bf16"}, 0.03),
    "fp16": ({"precision": "fp16"}, 0.01),
    "channels_last": ({"channels_last": True}, 1e-3),
    "fused": ({"fused": True}, 1e-3),
    "compile": ({"compile": True}, 1e-3),
}


def curve(data, **switches):
    model = probe()
    result = fit(model, data, TINY, speed=Speed(**{**vars(PLAIN), **switches}))
    return [entry["train_loss"] for entry in result.curves], result, model


@pytest.mark.parametrize("name", SWITCHES)
def test_a_switch_leaves_the_loss_curve(name, tiny_data, monkeypatch):  # noqa: F811
    compiled = []

    def compile_without_a_compiler(module):
        compiled.append(module)
        return functools.partial(torch_compile, backend="aot_eager")(module)

    torch_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile_without_a_compiler)
    switches, tolerance = SWITCHES[name]
    plain, _, _ = curve(tiny_data)
    switched, result, model = curve(tiny_data, **switches)
    assert switched == pytest.approx(plain, rel=tolerance)
    assert result.precision == switches.get("precision", "fp32")
    assert bool(compiled) == (name == "compile")
    if "precision" in switches:
        assert switched != plain
    if name == "channels_last":
        assert model.layer1[0].conv1.weight.is_contiguous(memory_format=torch.channels_last)
    for key, value in model.state_dict().items():
        if "running" in key or "weight" in key:
            assert value.dtype == torch.float32, key


def test_auto_takes_what_the_device_is_fast_in(monkeypatch):
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    for has_bf16, capability, device, expected in [
        (True, (9, 0), cuda, "bf16"),
        (False, (7, 5), cuda, "fp16"),  # a T4, which only emulates bfloat16
        (False, (6, 0), cuda, "fp32"),
        (True, None, cpu, "bf16"),
        (False, None, cpu, "fp32"),
    ]:
        monkeypatch.setattr("gamlib.training.speed.has_bf16", lambda device, answer=has_bf16: answer)
        monkeypatch.setattr("torch.cuda.get_device_capability", lambda device, answer=capability: answer)
        assert Speed().resolve(device) == expected
        assert Speed(precision="fp32").resolve(device) == "fp32"


def test_an_unknown_precision_is_named():
    with pytest.raises(ValueError, match="unknown precision 'fp8'; allowed, nearest first: fp"):
        Speed(precision="fp8")


def test_a_step_never_waits_for_the_device():
    """Fake tensors have no values, so whatever asks for one raises: .item(), a branch on a tensor, a mask's size."""
    images, labels = torch.zeros(32, 3, 32, 32, dtype=torch.uint8), torch.arange(32) % 10
    data = Dataset("d", images, labels, images, labels, 10, (0.1,) * 3, (0.3,) * 3, True, {})
    run = Trainer(probe(), data, Recipe("r", epochs=1, lr=0.1, schedule="one-cycle", batch_size=16), 0, Speed())
    steps = run.train_epoch(Interrupt())
    next(steps)  # as it is, with values
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        fake = mode.from_tensor(images[:16]), mode.from_tensor(labels[:16])
        run.bad, run.sums = mode.from_tensor(run.bad), mode.from_tensor(run.sums)
        output = run.evaluator.predict(fake[0], run.model)
        assert output.shape == (16, 10)
        with pytest.raises(torch._subclasses.fake_tensor.DataDependentOutputException):
            run.look()
