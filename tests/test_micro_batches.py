"""A batch in parts: the gradients add up to the whole batch's, and the memory that a step needs is known beforehand."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from gamlib import create_model
from gamlib.__main__ import main
from gamlib._paths import recorded
from gamlib.data import puzzles
from gamlib.training import Recipe, Speed, fit, memory, recipes
from gamlib.training.interrupt import Interrupt
from gamlib.training.memory import memory_needed
from gamlib.training.trainer import Trainer

WHOLE = Recipe("one", epochs=1, lr=0.1, schedule="one-cycle", batch_size=30)


def network(attention: str) -> nn.Module:
    torch.manual_seed(0)
    name, options = ("resnet20", {}) if attention == "abn" else ("probe", {"reduction": 4})
    return create_model(name, attention, options, num_classes=10, stem="cifar" if attention == "abn" else None)


def step(attention: str, micro_batch: int | None, precision: str = "fp32") -> tuple[list, list, torch.Tensor, int]:
    """Gradients, weights and sums after one update on 30 pictures, BatchNorm in eval; and how often the network ran."""
    recipe = dataclasses.replace(WHOLE, micro_batch=micro_batch)
    model = network(attention).double() if precision == "fp32" else network(attention)
    trainer = Trainer(model, puzzles.dataset("joint").first(60), recipe, 0, Speed(precision=precision))
    trainer.wrapped.train()
    for module in trainer.wrapped.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
    runs = []
    trainer.wrapped.register_forward_hook(lambda module, args, output: runs.append(len(args[0])))
    (images, labels), *_ = trainer.data.train_batches([torch.arange(30)], 0, 0)
    trainer.take_step(images, labels, Interrupt())
    grads = [p.grad for p in trainer.parameters]  # the update has taken the scale off
    return grads, [p.detach() for p in trainer.parameters], trainer.sums, runs


@pytest.mark.parametrize("attention", ["gam", "abn"])
@pytest.mark.parametrize(("micro_batch", "parts"), [(8, [8, 8, 7, 7]), (29, [15, 15]), (3, [3] * 10), (30, [30])])
def test_gradients_and_counts_are_the_whole_batchs(attention, micro_batch, parts):
    grads, weights, sums, runs = step(attention, micro_batch)
    expected_grads, expected_weights, expected_sums, once = step(attention, None)
    assert (runs, once) == (parts, [30])
    assert max(g.abs().max() for g in expected_grads) > 1e-3
    for found, expected in ((grads, expected_grads), (weights, expected_weights)):
        for ours, theirs in zip(found, expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    torch.testing.assert_close(sums, expected_sums, rtol=1e-9, atol=0)


def test_with_a_scaler_too():
    """fp16's scale multiplies each part's loss alike, and is taken off once."""
    ours, theirs = step("gam", 8, "fp16"), step("gam", None, "fp16")
    mine, whole = (torch.cat([g.flatten() for g in grads]) for grads in (ours[0], theirs[0]))
    assert (mine - whole).norm() < 1e-2 * whole.norm()  # fp16 itself rounds to 11 bits
    assert whole.norm() > 1e-1


def test_a_part_that_is_not_finite_leaves_the_update_out():
    torch.manual_seed(0)
    trainer = Trainer(
        network("gam"), puzzles.dataset("joint").first(60), dataclasses.replace(WHOLE, micro_batch=8), 0, Speed("fp32")
    )
    before = [p.detach().clone() for p in trainer.parameters]
    third = []

    def spoil(module, args, output):
        third.append(1)
        return output * torch.inf if len(third) == 3 else output

    trainer.wrapped.register_forward_hook(spoil)
    (images, labels), *_ = trainer.data.train_batches([torch.arange(30)], 0, 0)
    trainer.take_step(images, labels, Interrupt())
    assert bool(trainer.bad)
    assert all(map(torch.equal, trainer.parameters, before))


@pytest.mark.parametrize("value", [0, 1, 2, -4, 2.0, "8", True])
def test_a_micro_batch_that_can_hold_a_single_image_is_refused(value):
    with pytest.raises(ValueError, match="micro_batch must be an integer of 3 or more"):
        dataclasses.replace(WHOLE, micro_batch=value)


@pytest.mark.parametrize("images", range(2, 200))
def test_no_part_is_a_single_image_and_none_is_larger_than_asked(images):
    for micro_batch in range(3, 60):
        parts = [
            len(part)
            for part in torch.arange(images).tensor_split(
                dataclasses.replace(WHOLE, micro_batch=micro_batch).micro_batches(images)
            )
        ]
        assert sum(parts) == images
        assert max(parts) <= micro_batch
        assert min(parts) >= 2


def test_it_is_recorded_and_names_the_folder_and_a_run_without_it_is_recorded_as_before(tmp_path):
    recipe = dataclasses.replace(WHOLE, micro_batch=8)
    result = fit(network("gam"), puzzles.dataset("joint").first(60), recipe, out=tmp_path)
    assert result.recipe["micro_batch"] == 8
    assert dataclasses.replace(recipes.get("quick"), micro_batch=8).label == "quick-micro_batch8"
    assert "micro_batch" not in WHOLE.as_dict()
    assert recipe.digest() != WHOLE.digest()


RATES = json.loads((recorded("results").parent / "rates.json").read_text(encoding="utf-8"))
# GB, in fp32 and in mixed precision, counted on fake CUDA tensors by another program.
COUNTED = {
    ("resnet50", 32, "none"): (3.6, 2.0),
    ("resnet50", 32, "cbam"): (5.5, 2.9),
    ("resnet50", 32, "tam"): (6.1, 3.2),
    ("resnet50", 32, "gam"): (8.9, 5.7),
    ("resnet18", 224, "gam"): (9.1, 4.9),
    ("resnet50", 224, "none"): (22.3, 11.6),
    ("resnet50", 224, "gam"): (47.5, 25.2),
}


def built(name: str, size: int, attention: str, reduction: int | None = None) -> nn.Module:
    with torch.device("meta"):
        options = {} if reduction is None else {"reduction": reduction}
        classes, stem = (100, "cifar") if size == 32 else (1000, "imagenet")
        return create_model(name, attention, options, num_classes=classes, stem=stem)


@pytest.mark.parametrize("key", COUNTED)
def test_the_memory_is_what_another_program_counted(key):
    _, size, attention = key
    model, images = built(*key), 128 if size == 32 else 256
    for precision, expected in zip(("fp32", "bf16"), COUNTED[key], strict=True):
        needed = memory_needed(model, (3, size, size), images, precision) / 1e9
        assert needed == pytest.approx(expected, rel=0.15), f"{attention} {precision}"


@pytest.mark.parametrize(
    "rate",
    [r for r in RATES["rates"] if r["peak_gb"] > 1],
    ids=lambda r: f"{r['network']}-{r['attention']}-{r['size']}-{r['precision']}",
)
def test_the_memory_is_what_a_gpu_was_seen_to_use(rate):
    model = built(rate["network"], rate["size"], rate["attention"])
    needed = memory_needed(model, (3, rate["size"], rate["size"]), rate["batch"], rate["precision"]) / 1e9
    used = rate["peak_gb"] - rate["data_gb"]
    assert used / memory.ROOM < needed < used * memory.ROOM


def test_frozen_weights_keep_less():
    model = built("resnet18", 224, "none")
    whole = memory_needed(model, (3, 224, 224), 8, "fp32")
    for name, p in model.named_parameters():
        p.requires_grad_(name.startswith("fc"))
    assert memory_needed(model, (3, 224, 224), 8, "fp32") < whole / 3


@pytest.mark.parametrize(
    ("free", "said"),
    [
        (80e9, "about 27.8 GB for 256 images at once"),
        (15e9, "about 27.8 GB for 256 images at once; this GPU has 15.0 GB free: add --micro-batch 64"),
        (8e9, "about 27.8 GB for 256 images at once; this GPU has 8.0 GB free: add --micro-batch 32"),
        (
            2e9,
            "about 27.8 GB for 256 images at once; this GPU has 2.0 GB free, too little for any micro-batch: "
            "take a smaller network",
        ),
    ],
)
def test_a_small_card_is_told_what_to_add(free, said, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free), int(80e9)))
    assert memory.advice(built("resnet50", 224, "gam"), (3, 224, 224), 256, "bf16", torch.device("cuda")) == said


def test_train_says_it_and_takes_the_option(tmp_path, capsys):
    command = ["train", "--epochs", "1", "--micro-batch", "32", "--out", str(tmp_path / "run"), "--attention", "gam"]
    monkey = pytest.MonkeyPatch()
    monkey.setattr("gamlib.data.load", lambda *a, **k: puzzles.dataset("joint").first(200))
    assert main(command) == 0
    monkey.undo()
    assert re.search(r"memory    about 0\.0\d+ GB for 32 images at once", capsys.readouterr().out)
    assert json.loads((Path(tmp_path) / "run" / "result.json").read_text())["runs"][0]["recipe"]["micro_batch"] == 32
