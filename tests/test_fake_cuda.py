"""A training step and a test on fake CUDA tensors: PyTorch follows devices, shapes and dtypes, and computes nothing.

What it can't follow without a driver is stood in for: the transfer of a module, the backward pass (gradients are given)
and the fused update, whose arguments are looked at. tests/test_gpu.py has the real ones.
"""

import contextlib
import dataclasses
import inspect
import re
from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from gamlib import create_model, list_attention
from gamlib.data import Dataset, puzzles
from gamlib.training import Recipe, Speed, distributed, evaluator, trainer
from gamlib.training.interrupt import Interrupt
from gamlib.training.metrics import cross_entropy

CUDA = torch.device("cuda", 0)
LOW = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
NETWORKS = [*(("resnet20", name) for name in ("none", "abn", *list_attention())), ("mobilenet_v2", "gam")]
RECIPE = Recipe("tiny", epochs=2, lr=0.1, schedule="one-cycle", batch_size=16, micro_batch=10)


def converted(model: nn.Module, function) -> nn.Module:
    """The model, with function(tensor) for each of its parameters and buffers."""
    for module in model.modules():
        for name, p in module._parameters.items():
            if p is not None:
                module._parameters[name] = nn.Parameter(function(p.data))
        for name, buffer in module._buffers.items():
            module._buffers[name] = function(buffer)
    return model


def module_to(model: nn.Module, device=None, dtype=None, memory_format=torch.preserve_format) -> nn.Module:
    """nn.Module.to, which can't exchange fake parameters."""

    def to(x):
        layout = memory_format if x.ndim == 4 else torch.preserve_format
        return x.detach().to(device, dtype if x.is_floating_point() else None, memory_format=layout)

    return converted(model, to)


@contextlib.contextmanager
def fake_cuda(mode: FakeTensorMode) -> Iterator[None]:
    """While it is open, there is a GPU, as far as Python can tell."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluator, "device_of", lambda name: CUDA)
        for name, answer in {
            "is_available": True,
            "current_device": 0,
            "get_device_name": "fake",
            "is_bf16_supported": True,
        }.items():
            patch.setattr(torch.cuda, name, lambda *_, answer=answer, **__: answer)
        patch.setattr(nn.Module, "to", module_to)
        patch.setattr(Dataset, "__post_init__", lambda data: None)  # it looks at values
        # Of numbers, PyTorch would make a real tensor first.
        of_numbers = lambda numbers, dtype=None, device="cpu": torch.empty(len(numbers), dtype=dtype, device=device)  # noqa: E731
        patch.setattr(torch, "tensor", of_numbers)
        with mode:
            yield


def train_and_test(name: str, attention: str, precision: str, trainer_class: type = trainer.Trainer) -> dict:
    """One step and one test; what was seen on the way."""
    torch.manual_seed(0)
    model = create_model(name, attention, num_classes=10)
    data, seen = puzzles.dataset("joint").first(32), {"outputs": [], "updates": [], "reduced": set()}
    mode = FakeTensorMode(allow_non_fake_inputs=False)
    converted(model, mode.from_tensor)
    tensors = {name: mode.from_tensor(x) for name, x in vars(data).items() if isinstance(x, torch.Tensor)}
    with fake_cuda(mode), pytest.MonkeyPatch.context() as patch:
        data = dataclasses.replace(data, **tensors)
        run = trainer_class(model, data, RECIPE, 0, Speed(precision=precision))

        def backward(loss):
            for p in run.parameters:
                p.grad = torch.zeros_like(p)

        def reduce(values):
            """The sum over one process. What the host reads it gets as a number: fake tensors have none."""
            seen["reduced"].add(values.device)
            return 0.0 if values.ndim == 0 and values.dtype == torch.float64 else values

        def update(*lists, **named):
            tensors = [x for xs in lists for x in xs] + [x for x in named.values() if isinstance(x, torch.Tensor)]
            seen["updates"].append(({x.device for x in tensors}, {key for key, x in named.items() if x is not None}))

        patch.setitem(evaluator.LOOK_EVERY, "cuda", 1)
        patch.setattr(distributed, "all_reduce_sum", reduce)
        patch.setattr(torch.Tensor, "backward", backward)
        patch.setattr(torch, "_fused_sgd_", update)
        run.wrapped.register_forward_hook(lambda module, inputs, output: seen["outputs"].append(output))
        images, labels = next(iter(run.data.train_batches([torch.arange(16)], 0, 0)))
        run.wrapped.train()
        run.take_step(images, labels, Interrupt())
        for _ in run.evaluator.run(Interrupt()):
            pass
    return seen | {"run": run}


def check(seen: dict, precision: str) -> None:
    """All of it was on the GPU, and in the run's precision."""
    run = seen["run"]
    ((devices, named),) = seen["updates"]
    assert devices == {CUDA}
    assert "found_inf" in named
    assert seen["reduced"] == {CUDA}  # NCCL takes nothing else
    assert run.scaler.is_enabled() is (precision == "fp16")  # without a GPU it switches itself off
    outputs = [x for output in seen["outputs"] for x in (output if isinstance(output, tuple) else [output])]
    assert {x.dtype for x in outputs} == {LOW[precision]}  # without a GPU, autocast switches itself off
    assert len(seen["outputs"]) == 3  # two parts of a batch, and a test
    kept = [run.sums, run.bad, run.good_steps, run.asking, run.asked, run.evaluator.sums]
    assert {x.device for x in [*kept, *run.model.state_dict().values()]} == {CUDA}


@pytest.mark.parametrize("precision", LOW)
@pytest.mark.parametrize(("name", "attention"), NETWORKS)
def test_all_of_a_step_is_on_the_gpu(name, attention, precision):
    check(train_and_test(name, attention, precision), precision)


TRANSFER = re.compile(
    r",? ?\bdevice=self\.device\b(?!.*speed\.graph)|\.to\(self\.device\)|self\.device, (?=memory_format)"
)
TRANSFERS = [
    (module, place) for module in (trainer, evaluator) for place in TRANSFER.finditer(inspect.getsource(module))
]


@pytest.mark.parametrize("number", range(len(TRANSFERS)))
def test_without_one_of_its_transfers_a_step_fails(number, monkeypatch):
    """But for the learning rate of a CUDA graph, which only a GPU has."""
    module, place = TRANSFERS[number]
    text = inspect.getsource(module)
    without = {"__name__": module.__name__}
    exec(compile(text[: place.start()] + text[place.end() :], module.__file__, "exec"), without)
    if module is evaluator:
        without |= {"LOOK_EVERY": evaluator.LOOK_EVERY, "device_of": lambda name: CUDA}
        monkeypatch.setattr(trainer, "Evaluator", without["Evaluator"])
        without = vars(trainer)
    with pytest.raises((RuntimeError, AssertionError, AttributeError)):
        check(train_and_test("resnet20", "gam", "bf16", without["Trainer"]), "bf16")


def test_transfers_are_found():
    assert len(TRANSFERS) >= 10


@pytest.mark.parametrize(("name", "attention"), NETWORKS)
def test_backward_and_update_follow_the_device(name, attention):
    """On the meta device, with which nothing of the CPU's can be mixed but single numbers."""
    model = create_model(name, attention, num_classes=10).to("meta")
    images, labels = torch.empty(4, 3, 32, 32, device="meta"), torch.empty(4, dtype=torch.int64, device="meta")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, foreach=False)
    cross_entropy(model(images), labels).backward()
    optimizer.step()
    assert {p.grad.device.type for p in model.parameters()} == {"meta"}
