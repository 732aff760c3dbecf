"""The trainer: its schedules, its counts, its log, and that a run which stops goes on as if it had not."""

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.lr_scheduler import MultiStepLR, OneCycleLR

from gamlib import create_model, results
from gamlib.course import profile
from gamlib.data import Dataset, puzzles
from gamlib.training import CheckpointError, Diverged, Recipe, Speed, checkpoint, evaluate, fit, recipes
from gamlib.training.interrupt import Interrupt
from gamlib.training.metrics import count, cross_entropy, means
from gamlib.training.trainer import Trainer, check_batches

TIMES = ("seconds", "waited", "images_per_second")
TINY = Recipe("tiny", epochs=3, lr=0.1, schedule="one-cycle", batch_size=32)


@pytest.fixture(scope="module")
def tiny_data():
    """200 + 60 puzzles, shifted and flipped like CIFAR."""
    (train, train_labels), (test, test_labels) = puzzles.make("channel", "train"), puzzles.make("channel", "test")
    return Dataset(
        "tiny", train[:200], train_labels[:200], test[:60], test_labels[:60], 10, (0.1,) * 3, (0.3,) * 3, True, {}
    )


def probe(attention="gam", seed=0):
    torch.manual_seed(seed)
    return create_model("probe", attention, {"reduction": 4} if attention == "gam" else {}, num_classes=10)


def stop_before(monkeypatch, step):
    """Break a run off as a crash would, just before its update number `step` (from 0)."""
    take_step = Trainer.take_step

    def stop(self, *arguments):
        if self.step == step:
            raise RuntimeError("crash")
        take_step(self, *arguments)

    monkeypatch.setattr(Trainer, "take_step", stop)


def times_aside(curves):
    return [{key: value for key, value in entry.items() if key not in TIMES} for entry in curves]


def test_learns():
    """Ten flat colours, each in one corner: a network that can't tell them has images, labels or updates mixed up."""
    labels = torch.arange(400) % 10
    images = torch.randint(60, (400, 3, 16, 16), dtype=torch.uint8)
    images[:, :, :8, :8] += (labels * 19).to(torch.uint8)[:, None, None, None]
    data = Dataset(
        "colours", images[:300], labels[:300], images[300:], labels[300:], 10, (0.3,) * 3, (0.2,) * 3, False, {}
    )
    result = fit(probe("none"), data, dataclasses.replace(TINY, epochs=10))
    assert result.curves[0]["test_top1_error"] > 60
    assert result.top1_error < 15
    assert result.top5_error == 0


def test_a_stopped_run_goes_on_exactly(tiny_data, tmp_path, monkeypatch):
    whole = probe()
    expected = fit(whole, tiny_data, TINY, seed=5, out=tmp_path / "whole")

    stop_before(monkeypatch, 16)  # the third of the last epoch
    with pytest.raises(RuntimeError, match="crash"):
        fit(probe(), tiny_data, TINY, seed=5, out=tmp_path / "stopped", save_every=0)
    monkeypatch.undo()
    monkeypatch.setattr(results, "commit", lambda: "another commit")
    torch.manual_seed(99)  # whatever happened in between
    resumed = probe(seed=1)
    result = fit(resumed, tiny_data, TINY, seed=5, out=tmp_path / "stopped")
    for key, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key

    assert times_aside(result.curves) == times_aside(expected.curves)
    assert result.commit == f"{expected.commit}, then another commit"
    logged = [json.loads(line) for line in (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()]
    assert logged == result.curves
    assert [entry["epoch"] for entry in logged] == [1, 2, 3]


def test_a_finished_run_returns_at_once_and_no_starts_again(tiny_data, tmp_path, monkeypatch):
    first = fit(probe(), tiny_data, TINY, out=tmp_path)
    trained = []
    train_epoch = Trainer.train_epoch
    monkeypatch.setattr(
        Trainer, "train_epoch", lambda self, asked: (trained.append(self.epoch), train_epoch(self, asked))[1]
    )
    monkeypatch.setattr(results, "commit", lambda: "another commit")
    written = (tmp_path / "result.json").read_bytes()
    model = probe(seed=1)
    assert fit(model, tiny_data, TINY, out=tmp_path) == first  # with the commit that it was trained from
    assert (trained, model.training) == ([], False)
    assert (tmp_path / "result.json").read_bytes() == written
    fit(probe(), tiny_data, TINY, out=tmp_path, resume="no")
    assert trained == [0, 1, 2]


def test_another_run_in_the_folder_is_named(tiny_data, tmp_path):
    fit(probe(), tiny_data, TINY, out=tmp_path)
    for other, differing in [
        ({"model": probe("none")}, "network"),
        ({"recipe": dataclasses.replace(TINY, lr=0.2)}, "recipe"),
        ({"seed": 1}, "seed"),
        ({"data": dataclasses.replace(tiny_data, md5={"train": "0"})}, "data"),
    ]:
        arguments = {"model": probe(), "data": tiny_data, "recipe": TINY, "out": tmp_path} | other
        with pytest.raises(CheckpointError, match=rf"belongs to another run \(another {differing}\)"):
            fit(**arguments)


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut short", b"not a checkpoint at all"])
def test_a_damaged_checkpoint_is_named(tiny_data, tmp_path, damage):
    (tmp_path / "checkpoint-0000000003.pt").write_bytes(damage)
    with pytest.raises(CheckpointError, match=r"checkpoint-0000000003.pt can't be read: it is damaged .*; delete it"):
        fit(probe(), tiny_data, TINY, out=tmp_path)


def test_a_foreign_checkpoint_is_named(tiny_data, tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "checkpoint-0000000003.pt")
    with pytest.raises(CheckpointError, match="is no checkpoint of gamlib's"):
        fit(probe(), tiny_data, TINY, out=tmp_path)


def test_result_and_files(tiny_data, tmp_path):
    model = probe()
    result = fit(model, tiny_data, TINY, seed=4, out=tmp_path)
    assert results.read(tmp_path / "result.json") == [result]
    assert result.network == model.spec
    assert (result.reduction, result.seed, result.data, result.schema) == (4, 4, "tiny", 1)
    assert result.recipe == TINY.as_dict()
    assert result.parameters == sum(p.numel() for p in model.parameters())
    assert result.versions["torch"] == torch.__version__
    assert result.seconds == sum(entry["seconds"] for entry in result.curves)
    assert result.curves[-1]["lr"] == pytest.approx(TINY.lr / 25 / 1e4, rel=0.01)  # one-cycle's last update
    assert not model.training
    again = create_model(**model.spec, weights=tmp_path / "weights.safetensors").eval()
    x = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(again(x), model(x))  # other memory layout, other order of sums


def test_abn_trains_on_the_sum_of_both_losses(tiny_data):
    model = create_model("resnet20", "abn", num_classes=10)
    result = fit(model, tiny_data, dataclasses.replace(TINY, epochs=1))
    assert result.reduction is None
    logits, labels = torch.randn(2, 4, 10), torch.tensor([1, 2, 3, 4])
    both = cross_entropy((logits[0], logits[1]), labels)
    assert both == cross_entropy(logits[0], labels) + cross_entropy(logits[1], labels)


def test_wrong_number_of_classes_is_named(tiny_data):
    with pytest.raises(ValueError, match=r"tiny has 10 classes.*got \(32, 7\).*num_classes=10"):
        fit(create_model("probe", num_classes=7), tiny_data, TINY)


def test_a_readers_own_network(tiny_data, tmp_path):
    class Mine(nn.Sequential):
        pass

    mine = Mine(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 10))
    result = fit(mine, tiny_data, TINY, out=tmp_path)
    assert (result.network, result.label) == ({"name": "Mine"}, "Mine")


def test_a_networks_odd_options_and_shared_weights_lose_no_run(tiny_data, tmp_path):
    def mine(channels, *, activation=nn.ReLU):
        return activation()

    model = create_model("probe", mine, num_classes=10)
    model.again = model.fc  # one tensor under two keys
    result = fit(model, tiny_data, dataclasses.replace(TINY, epochs=1), out=tmp_path)
    assert "ReLU" in results.read(tmp_path / "result.json")[0].network["attention_options"]["activation"]
    assert result.label == "mine"


class Lookup(nn.Module):
    """A network that knows an image by its gray value, and has a score for each class."""

    def __init__(self, scores):
        super().__init__()
        self.scores = nn.Parameter(scores)

    def forward(self, x):
        return self.scores[(x[:, 0, 0, 0] * 255).round().long()]


def numbered_data(labels):
    """Images that hold nothing but their number."""
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    return Dataset("numbered", images, labels, images, labels, 20, (0.0,) * 3, (1.0,) * 3, False, {})


def test_evaluation_counts_every_sample_once(monkeypatch):
    monkeypatch.setattr(Dataset, "test_batch", 10)
    scores, labels = torch.randn(103, 20), torch.randint(20, (103,))
    counted = evaluate(Lookup(scores), numbered_data(labels))
    order = scores.argsort(dim=1, descending=True)
    assert counted["test_top1_error"] == pytest.approx(100 * (order[:, 0] != labels).double().mean().item())
    top5 = (order[:, :5] == labels[:, None]).any(1)
    assert counted["test_top5_error"] == pytest.approx(100 * (~top5).double().mean().item())
    assert counted["test_loss"] == pytest.approx(nn.functional.cross_entropy(scores, labels).item(), rel=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_no_numbers_are_never_scored(value):
    scores = torch.randn(103, 20)
    scores[7, 3] = scores[50] = value
    with pytest.raises(Diverged, match="the network's outputs for 2 of 103 test images are nan or infinite"):
        evaluate(Lookup(scores), numbered_data(torch.randint(20, (103,))))


def test_counting_with_fewer_than_five_classes():
    sums = count(torch.eye(3), torch.tensor([0, 1, 0]), torch.tensor(0.5))
    assert means(sums, "test") == pytest.approx({"test_loss": 0.5, "test_top1_error": 100 / 3, "test_top5_error": 0})


def learning_rates(recipe, steps_per_epoch):
    return [recipe.learning_rate(step, steps_per_epoch) for step in range(recipe.epochs * steps_per_epoch)]


@pytest.mark.parametrize("recipe", recipes.RECIPES.values(), ids=lambda recipe: recipe.name)
def test_schedules_are_pytorchs(recipe):
    steps = recipe.epochs * 7
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=recipe.lr)
    if recipe.schedule == "step":
        theirs = MultiStepLR(optimizer, [7 * epoch for epoch in recipe.milestones], recipe.gamma)
    else:
        shape = {"pct_start": recipe.warm_up, "anneal_strategy": "linear", "cycle_momentum": False}
        theirs = OneCycleLR(optimizer, recipe.lr, steps, **shape)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step() if len(rates) < steps else None
    assert learning_rates(recipe, 7) == pytest.approx(rates, rel=1e-9, abs=1e-12)


def test_step_schedule_drops_after_its_milestones():
    recipe = recipes.get("paper-cifar100")
    rates = learning_rates(recipe, steps_per_epoch=3)
    by_epoch = rates[::3]
    assert rates[1::3] == rates[2::3] == by_epoch
    expected = [0.1] * 60 + [0.02] * 60 + [0.004] * 40 + [0.0008] * 40
    assert by_epoch == pytest.approx(expected)


def test_one_cycle_rises_and_falls():
    recipe = Recipe("r", epochs=10, lr=0.4, schedule="one-cycle", warm_up=0.3)
    rates = learning_rates(recipe, steps_per_epoch=10)
    assert max(rates) == pytest.approx(0.4, rel=0.04)
    assert rates.index(max(rates)) in (29, 30)
    assert rates[0] == pytest.approx(0.016)
    assert rates[-1] < 1e-3
    assert rates[:30] == sorted(rates[:30])
    assert rates[30:] == sorted(rates[30:], reverse=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 0}, "epochs must be an integer of 1 or more, got 0"),
        ({"batch_size": 0}, "batch_size must be an integer of 1 or more, got 0"),
        ({"lr": 0.0}, "lr must be above 0 and finite, got 0.0"),
        ({"lr": float("nan")}, "lr must be above 0 and finite, got nan"),
        ({"schedule": "cosine"}, "unknown schedule 'cosine'; allowed, nearest first: one-cycle"),
        ({"warm_up": 1.0}, "warm_up must lie between 0 and 1"),
    ],
)
def test_bad_recipe(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


def test_unknown_recipe_and_resume(tiny_data):
    with pytest.raises(ValueError, match="unknown recipe 'lapto'; allowed, nearest first: laptop"):
        recipes.get("lapto")
    with pytest.raises(ValueError, match="seed must be an integer of 0 or more, got -1"):
        fit(probe(), tiny_data, TINY, seed=-1)
    with pytest.raises(ValueError, match="resume must be 'auto' or 'no', got True"):
        fit(probe(), tiny_data, TINY, resume=True)


def test_profiles(monkeypatch):
    told = {}
    for name in ("smoke", "laptop", "gpu", "paper"):
        monkeypatch.setenv("GAMLIB_PROFILE", name)
        told[name] = (profile().name, profile().network, profile().recipe.name, profile().puzzle_recipe.name)
    assert told == {
        "smoke": ("smoke", "resnet20", "smoke", "smoke"),
        "laptop": ("laptop", "resnet20", "laptop", "puzzles"),
        "gpu": ("gpu", "resnet50", "quick", "puzzles"),
        "paper": ("paper", "resnet50", "paper-cifar100", "puzzles"),
    }
    monkeypatch.delenv("GAMLIB_PROFILE")
    assert profile().name == "laptop"
    monkeypatch.setenv("GAMLIB_PROFILE", "labtop")
    with pytest.raises(ValueError, match="unknown GAMLIB_PROFILE 'labtop'; allowed, nearest first: laptop"):
        profile()


# ------------------------------------------------------------------ what a step sees and does


class Recorder(nn.Module):
    """A network that keeps what it is given."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 10)
        self.inputs = []

    def forward(self, x):
        self.inputs.append((self.training, x.detach().clone(memory_format=torch.preserve_format)))
        return self.fc(x.mean((2, 3)))


@pytest.fixture
def plain_data():
    """Every image is of one gray, its number, and no two are alike."""
    images = torch.arange(120, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 8, 8).contiguous()
    labels = torch.arange(120) % 10
    split = (images[:100], labels[:100], images[100:], labels[100:])
    return Dataset("grays", *split, 10, (0.1, 0.2, 0.3), (0.5, 0.25, 0.125), False, {})


def test_images_are_normalised_by_mean_and_std_in_channels_last(plain_data):
    model = Recorder()
    fit(model, plain_data, dataclasses.replace(TINY, epochs=1))
    for _, x in model.inputs:
        assert x.is_contiguous(memory_format=torch.channels_last)
        number = x[:, 0] * 0.5 + 0.1
        for channel, (mean, std) in enumerate(zip(plain_data.mean, plain_data.std, strict=True)):
            torch.testing.assert_close(x[:, channel] * std + mean, number)


def gray_numbers(batches):
    return [number for x in batches for number in ((x[:, 0, 0, 0] * 0.5 + 0.1) * 255).round().int().tolist()]


def test_each_epoch_trains_on_every_image_once_and_tests_on_the_test_images(plain_data):
    orders = {}
    for seed in (0, 1):
        model = Recorder()
        fit(model, plain_data, dataclasses.replace(TINY, epochs=2), seed=seed)
        trained = gray_numbers([x for training, x in model.inputs if training])
        tested = gray_numbers([x for training, x in model.inputs if not training])
        assert sorted(trained[:100]) == sorted(trained[100:]) == list(range(100))
        assert tested == [*range(100, 120)] * 2
        orders[seed] = trained
    assert orders[0][:100] != orders[0][100:]
    assert orders[0][:100] != orders[1][:100]
    assert orders[0][:100] != sorted(orders[0][:100])


def test_augmentation_knows_seed_epoch_and_each_images_number(plain_data, monkeypatch):
    calls = []

    def noted(images, ids, seed, epoch):
        assert torch.equal(images[:, 0, 0, 0].long(), ids)  # a gray is its image's number
        calls.append((seed, epoch))
        return images

    monkeypatch.setattr("gamlib.data.augment.shift_and_flip", noted)
    fit(Recorder(), plain_data, dataclasses.replace(TINY, epochs=2), seed=9)
    assert calls == []
    fit(Recorder(), dataclasses.replace(plain_data, augment=True), dataclasses.replace(TINY, epochs=2), seed=9)
    assert calls == [(9, 0)] * 4 + [(9, 1)] * 4


def test_a_steps_gradient_is_that_of_the_mean_loss(plain_data):
    model = Recorder()
    run = Trainer(model, plain_data, TINY, 0, Speed(precision="fp32"))
    images, labels = plain_data.train_images[:7], plain_data.train_labels[:7]
    x = (images.float() / 255 - torch.tensor(plain_data.mean).view(1, 3, 1, 1)) / torch.tensor(plain_data.std).view(
        1, 3, 1, 1
    )
    loss = nn.functional.cross_entropy(model(x), labels)
    expected = torch.autograd.grad(loss, list(model.parameters()))
    run.take_step(images, labels, Interrupt())
    for p, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(p.grad, wanted)


def test_optimizer_follows_the_recipe(plain_data):
    recipe = dataclasses.replace(TINY, momentum=0.7, weight_decay=0.01, nesterov=True)
    (group,) = Trainer(Recorder(), plain_data, recipe, 0, Speed()).optimizer.param_groups
    assert (group["momentum"], group["weight_decay"], group["nesterov"]) == (0.7, 0.01, True)


def test_abns_error_is_that_of_its_first_output():
    right, wrong = torch.eye(3), torch.eye(3).roll(1, 0)
    assert means(count((right, wrong), torch.arange(3), torch.tensor(0.0)), "train")["train_top1_error"] == 0


def test_one_cycle_falls_in_a_straight_line():
    rates = learning_rates(Recipe("r", epochs=10, lr=0.4, schedule="one-cycle"), steps_per_epoch=10)
    falls = [a - b for a, b in pairwise(rates[30:])]
    assert falls == pytest.approx([falls[0]] * len(falls), rel=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_one_cycle_of_a_few_steps(steps):
    assert len(learning_rates(Recipe("r", epochs=1, lr=0.1, schedule="one-cycle", warm_up=0.2), steps)) == steps


# ------------------------------------------------------------------ nothing is lost, nothing is mixed up


def test_dropout_goes_on_exactly(tiny_data, tmp_path, monkeypatch):
    def network():
        torch.manual_seed(0)
        layers = nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(4), nn.Flatten(), nn.Dropout(0.5), nn.Linear(128, 10)
        return nn.Sequential(*layers)

    whole = network()
    fit(whole, tiny_data, TINY)
    stop_before(monkeypatch, 10)
    with pytest.raises(RuntimeError, match="crash"):
        fit(network(), tiny_data, TINY, out=tmp_path, save_every=0)
    monkeypatch.undo()
    torch.rand(17)
    resumed = network()
    fit(resumed, tiny_data, TINY, out=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_stop_in_the_first_epoch_starts_from_the_same_weights(tiny_data, tmp_path, monkeypatch):
    """In a notebook the model object lives on, half-trained."""
    whole = probe()
    fit(whole, tiny_data, TINY)
    model = probe()
    stop_before(monkeypatch, 2)
    with pytest.raises(RuntimeError, match="crash"):
        fit(model, tiny_data, TINY, out=tmp_path)
    monkeypatch.undo()
    fit(model, tiny_data, TINY, out=tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), model.parameters(), strict=True))


def test_weights_that_were_not_written_are_written_by_the_next_call(tiny_data, tmp_path):
    first = fit(probe(), tiny_data, TINY, out=tmp_path)
    (tmp_path / "weights.safetensors").unlink()
    assert fit(probe(), tiny_data, TINY, out=tmp_path).curves == first.curves
    assert (tmp_path / "weights.safetensors").is_file()


def test_no_resume_removes_what_an_earlier_run_left(tiny_data, tmp_path, monkeypatch):
    fit(probe(), tiny_data, TINY, out=tmp_path)
    slower = dataclasses.replace(TINY, lr=0.01)

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(results, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(probe(), tiny_data, slower, out=tmp_path, resume="no")
    monkeypatch.undo()
    assert fit(probe(), tiny_data, slower, out=tmp_path).recipe["lr"] == 0.01


def test_a_checkpoint_is_not_unpickled_freely(tiny_data, tmp_path):
    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    torch.save({"run": Bomb()}, tmp_path / "checkpoint-0000000003.pt")
    with pytest.raises(CheckpointError, match="can't be read"):
        fit(probe(), tiny_data, TINY, out=tmp_path)
    assert not (tmp_path / "exploded").exists()


class Own(nn.Module):
    def __init__(self, activation):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), activation, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(4, 10)

    def forward(self, x):
        return self.fc(self.layers(x))


def test_networks_of_one_name_are_told_apart(tiny_data, tmp_path):
    fit(Own(nn.Tanh()), tiny_data, TINY, out=tmp_path)
    with pytest.raises(CheckpointError, match="another network"):
        fit(Own(nn.ReLU()), tiny_data, TINY, out=tmp_path)
    with pytest.raises(CheckpointError, match="another data"):
        fit(Own(nn.Tanh()), dataclasses.replace(tiny_data, augment=False), TINY, out=tmp_path)


def test_other_frozen_layers_are_another_run(tiny_data, tmp_path):
    first, second = Own(nn.Tanh()), Own(nn.Tanh())
    first.fc.bias.requires_grad_(False)
    second.fc.weight.requires_grad_(False)
    fit(first, tiny_data, TINY, out=tmp_path)
    with pytest.raises(CheckpointError, match="another network"):
        fit(second, tiny_data, TINY, out=tmp_path)
    with pytest.raises(ValueError, match="Identity has no parameters to train"):
        fit(nn.Identity(), tiny_data, TINY)


def test_another_precision_is_named(tiny_data, tmp_path, monkeypatch):
    for bf16 in (True, False):
        monkeypatch.setattr("gamlib.training.speed.has_bf16", lambda device, bf16=bf16: bf16)
        if bf16:
            fit(probe(), tiny_data, TINY, out=tmp_path)
        else:
            with pytest.raises(CheckpointError, match=r"was trained in bf16, .* in fp32: add --precision bf16"):
                fit(probe(), tiny_data, TINY, out=tmp_path)


def test_provenance_is_complete(tiny_data, monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/where/gamlib/__main__.py", "train", "--seed", "3"])
    data = dataclasses.replace(tiny_data, md5={"train": "abc"})
    result = fit(probe(), data, TINY)
    assert result.command == "gamlib train --seed 3"
    assert result.data_md5 == {"train": "abc"}
    assert "threads" in result.device


def test_commit_is_gamlibs_own_or_none(monkeypatch):
    monkeypatch.setattr("gamlib.results.provenance.checkout_data", lambda: None)
    results.commit.cache_clear()
    assert results.commit() is None
    results.commit.cache_clear()


def test_one_image_among_two_processes_is_too_few(monkeypatch):
    monkeypatch.setattr("gamlib.training.distributed.world_size", lambda: 2)
    with pytest.raises(ValueError, match="batch_size=1 leaves a last batch of 1 of 100 images for 2 processes"):
        check_batches(100, 1)


def test_after_an_epoch_a_checkpoint_is_written_unless_one_is_quite_new(tiny_data, tmp_path, monkeypatch):
    """With large networks and short epochs a GPU would wait for the disk. After the last epoch there is one."""
    steps = TINY.epochs * -(-len(tiny_data.train_labels) // TINY.batch_size)
    for recent, kept in ((20.0, [steps, 0]), (0.0, [steps, steps - steps // TINY.epochs])):
        monkeypatch.setattr("gamlib.training.folder.RECENT", recent)
        out = tmp_path / str(recent)
        fit(probe(), tiny_data, TINY, out=out)
        assert [int(path.stem.rpartition("-")[2]) for path in checkpoint.paths(out)] == kept
        assert len((out / "metrics.jsonl").read_text().splitlines()) == TINY.epochs
