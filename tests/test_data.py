"""Data: where it is looked for, what is refused, and that the puzzles can't be solved without attention."""

import hashlib
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.datasets import CIFAR100

from gamlib import create_model, data
from gamlib._paths import PACKAGE, checkout_data, recorded
from gamlib.data import DataError, Dataset, augment, cifar100, data_root, puzzles

OFFICIAL = data_root() / cifar100.FOLDER
needs_cifar = pytest.mark.skipif(
    not OFFICIAL.is_dir(), reason=f"CIFAR-100 is not in {OFFICIAL}; `gamlib doctor` says how to get it"
)


def write_small_cifar(root: Path, monkeypatch) -> dict[str, np.ndarray]:
    """Files of the official form with 7 and 3 random images, and their md5s in the place of the official ones."""
    folder = root / cifar100.FOLDER
    folder.mkdir()
    rng = np.random.default_rng(0)
    images = {split: rng.integers(256, size=(n, 3072), dtype=np.uint8) for split, n in (("train", 7), ("test", 3))}
    files = {
        split: {b"data": x, b"fine_labels": list(range(len(x))), b"coarse_labels": [0] * len(x)}
        for split, x in images.items()
    }
    files["meta"] = {}
    for name, content in files.items():
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        monkeypatch.setitem(cifar100.MD5, name, hashlib.md5((folder / name).read_bytes()).hexdigest())
    return images


def test_reads_the_official_form(tmp_path, monkeypatch):
    written = write_small_cifar(tmp_path, monkeypatch)
    images, labels = cifar100.load("train", tmp_path)
    assert (images.dtype, images.shape, labels.dtype) == (torch.uint8, (7, 3, 32, 32), torch.int64)
    # A row of the file holds 1,024 red, 1,024 green, 1,024 blue values, each row by row.
    assert images[4, 2, 10, 20] == written["train"][4, 2 * 1024 + 10 * 32 + 20]
    assert labels.tolist() == list(range(7))
    assert len(data.load("cifar100", tmp_path).test_images) == 3


def test_missing_files_say_where_and_how(tmp_path):
    with pytest.raises(DataError) as error:
        cifar100.load("test", tmp_path)
    message = str(error.value)
    assert str(tmp_path / "cifar-100-python" / "test") in message
    assert cifar100.URL in message
    assert "GAMLIB_DATA" in message


def test_a_wrong_md5_is_never_unpickled(tmp_path, monkeypatch):
    write_small_cifar(tmp_path, monkeypatch)

    class Bomb:
        def __reduce__(self):
            return Path.touch, (tmp_path / "exploded",)

    path = tmp_path / cifar100.FOLDER / "train"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError) as error:
        cifar100.load("train", tmp_path)
    assert not (tmp_path / "exploded").exists()
    for part in (str(path), hashlib.md5(path.read_bytes()).hexdigest(), cifar100.MD5["train"]):
        assert part in str(error.value)


@needs_cifar
def test_official_files_as_torchvision_reads_them():
    images, labels = cifar100.load("test")
    theirs = CIFAR100(OFFICIAL.parent, train=False)
    assert np.array_equal(images.permute(0, 2, 3, 1), theirs.data)
    assert labels.tolist() == theirs.targets
    assert list(cifar100.CLASSES) == theirs.classes


@needs_cifar
def test_mean_and_std_are_those_of_the_training_images():
    images = cifar100.load("train")[0].double() / 255
    assert images.mean((0, 2, 3)).tolist() == pytest.approx(cifar100.MEAN, abs=5e-5)
    assert images.std((0, 2, 3)).tolist() == pytest.approx(cifar100.STD, abs=5e-5)


def test_data_root(monkeypatch, tmp_path):
    monkeypatch.setenv("GAMLIB_DATA", str(tmp_path / "env"))
    assert data_root(tmp_path) == tmp_path
    assert data_root() == tmp_path / "env"
    monkeypatch.delenv("GAMLIB_DATA")
    monkeypatch.chdir(tmp_path)
    assert data_root() == checkout_data()  # whatever the working directory
    monkeypatch.setattr("gamlib._paths.checkout_data", lambda: None)
    assert data_root() == Path.home() / ".cache" / "gamlib"


def test_recorded_runs_are_found_in_a_checkout_and_in_a_wheel(monkeypatch):
    assert recorded("results") == checkout_data() / "results"
    monkeypatch.setattr("gamlib._paths.checkout_data", lambda: None)
    packed = dict(re.findall(r'^"(data/\w+)" = "(\S+)"$', (PACKAGE.parent / "pyproject.toml").read_text(), flags=re.M))
    for kind in ("results", "zoo"):
        assert recorded(kind) == PACKAGE.parent / packed[f"data/{kind}"]


def test_unknown_names():
    with pytest.raises(ValueError, match="unknown data set 'cifar10'; allowed, nearest first: cifar100, "):
        data.load("cifar10")
    with pytest.raises(ValueError, match="unknown split 'val'"):
        cifar100.load("val")
    with pytest.raises(ValueError, match="unknown task 'join'; allowed, nearest first: joint"):
        puzzles.make("join", "train")
    with pytest.raises(ValueError, match="unknown split 'val'"):
        puzzles.make("joint", "val")
    with pytest.raises(ValueError, match="seed must be an integer of 0 or more, got -1"):
        puzzles.make("joint", "train", seed=-1)


# ------------------------------------------------------------------ augmentation


def test_augmentation_is_a_shift_and_a_flip_of_each_image():
    images = torch.randint(1, 256, (40, 3, 9, 7), dtype=torch.uint8)
    out = augment.shift_and_flip(images, torch.arange(40), seed=1, epoch=2, padding=2)
    assert (out.dtype, out.shape) == (images.dtype, images.shape)
    found = set()
    for before, after in zip(images, out, strict=True):
        padded = torch.nn.functional.pad(before, (2, 2, 2, 2))
        for dy in range(5):
            for dx in range(5):
                crop = padded[:, dy : dy + 9, dx : dx + 7]
                for flip, candidate in enumerate((crop, crop.flip(2))):
                    if torch.equal(candidate, after):
                        found.add((dy, dx, flip))
                        break
    assert len(found) > 20  # of 50: every image was found, at many different places


def test_augmentation_does_not_depend_on_the_order_of_work():
    images = torch.randint(256, (30, 3, 8, 8), dtype=torch.uint8)
    ids = torch.arange(30) + 1000
    whole = augment.shift_and_flip(images, ids, seed=3, epoch=5)
    order = torch.randperm(30)
    parts = [augment.shift_and_flip(images[part], ids[part], seed=3, epoch=5) for part in order.split(7)]
    assert torch.equal(torch.cat(parts), whole[order])
    assert not torch.equal(augment.shift_and_flip(images, ids, seed=4, epoch=5), whole)
    assert not torch.equal(augment.shift_and_flip(images, ids, seed=3, epoch=6), whole)
    # No seed repeats another's epochs.
    streams = {tuple(augment.random_bits(ids, seed, epoch).tolist()) for seed in range(20) for epoch in range(20)}
    assert len(streams) == 400


def test_random_bits_are_splitmix64_and_spread_evenly():
    def mix(z):  # in Python's unbounded integers
        z = (z + 0x9E3779B97F4A7C15) % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        return z ^ z >> 31

    ids = torch.tensor([0, 1, 49_999])
    expected = [mix((mix((7 * 0xD1342543DE82EF95 + 3) % 2**64) + int(i)) % 2**64) % 2**48 for i in ids]
    assert augment.random_bits(ids, seed=7, epoch=3).tolist() == expected
    bits = augment.random_bits(torch.arange(90_000), seed=0, epoch=0)
    assert (torch.bincount(bits % 9) / 10_000 - 1).abs().max() < 0.05
    assert (torch.bincount(bits // 81 % 2) / 45_000 - 1).abs().max() < 0.02


# ------------------------------------------------------------------ puzzles


@pytest.mark.parametrize("task", puzzles.TASKS)
def test_puzzles_come_from_their_seed(task):
    images, labels = puzzles.make(task, "train")
    assert (images.shape, images.dtype) == ((8000, 3, 32, 32), torch.uint8)
    assert (labels.shape, labels.dtype) == ((8000,), torch.int64)
    assert labels.unique().tolist() == list(range(10))
    test_images, test_labels = puzzles.make(task, "test")
    assert len(test_images) == len(test_labels) == 2000
    assert all(torch.equal(a, b) for a, b in zip(puzzles.make(task, "train"), (images, labels), strict=True))
    assert not torch.equal(puzzles.make(task, "train", seed=1)[0], images)
    assert not torch.equal(test_images, images[:2000])


@pytest.mark.parametrize(("task", "distance"), [("channel", 19), ("spatial", 19), ("joint", 14)])
def test_the_cue_is_beyond_the_receptive_field_of_every_feature_on_a_digit(task, distance):
    """Measured on the pictures themselves."""
    images, _, _ = puzzles.compose(task, "train")
    lit = images.max((1, 3)) > 0  # (N, rows)
    cue_bottom = puzzles.LAYOUTS[task].cue_height - 1
    assert lit[:, : cue_bottom + 1].all()
    digit_top = (lit[:, cue_bottom + 1 :].argmax(1) + cue_bottom + 1).min()
    radius = (19 - 1) // 2  # tests/test_models.py measures the 19
    assert digit_top - cue_bottom == puzzles.LAYOUTS[task].distance == distance
    assert distance > radius


@pytest.mark.parametrize("task", puzzles.TASKS)
def test_cue_and_digits_say_the_label(task):
    images, digits, counts = puzzles.compose(task, "test")
    labels = puzzles.make(task, "test")[1]
    assert np.array_equal(digits[np.arange(2000), counts], labels)
    height, columns = puzzles.LAYOUTS[task].cue_height, puzzles.LAYOUTS[task].columns
    for image, row, which in zip(images[:200], digits[:200], counts[:200], strict=True):
        cue = image[:, :height]
        lit_columns = np.flatnonzero(cue.max((0, 1)))
        # The digit that counts has the cue's colour, and stands where the cue says.
        left, right = columns[which]
        patch = image[:, height:, left : right + puzzles.WIDTH]
        own = (patch == cue.max((1, 2))[:, None, None]).all(0)  # pixels of the cue's colour
        top, first = np.flatnonzero(own.any(1)).min(), np.flatnonzero(own.any(0)).min()
        glyph = puzzles.GLYPHS[row[which]]
        first -= np.flatnonzero(glyph.any(0)).min()
        assert np.array_equal(own[top : top + puzzles.HEIGHT, first : first + puzzles.WIDTH], glyph)
        if task == "spatial":
            assert left <= lit_columns.min() <= lit_columns.max() < right + puzzles.WIDTH
        if task == "joint":
            assert (lit_columns.max() < 16) == (which < 2)


@pytest.mark.parametrize(
    ("task", "md5"),
    [
        ("channel", "c7de5a73b97c25b75555092912a244d5"),
        ("spatial", "2da9d1e1fe04b5bc9060ce135af108e3"),
        ("joint", "1240c6fb0d3a2f491869e0f71e7d27b1"),
    ],
)
def test_puzzles_are_the_ones_of_the_recorded_runs(task, md5):
    assert puzzles.dataset(task).md5["train"] == md5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_images": torch.zeros(5, 3, 8, 8)}, r"train_images must be uint8 .*got torch.float32 \(5, 3, 8, 8\)"),
        ({"test_images": torch.zeros(0, 3, 8, 8, dtype=torch.uint8)}, "test_images must be uint8 .*N 1 or more"),
        (
            {"train_labels": torch.zeros(4, dtype=torch.int64)},
            r"train_labels must be int64 \(5,\), got torch.int64 \(4,\)",
        ),
        ({"train_labels": torch.zeros(5, dtype=torch.int32)}, "train_labels must be int64"),
        ({"test_labels": torch.tensor([0, 10])}, "test_labels must lie in 0 to 9, got 0 to 10"),
        ({"test_labels": torch.tensor([-100, 1])}, "test_labels must lie in 0 to 9, got -100 to 1"),
    ],
)
def test_a_data_set_that_does_not_fit_together(changes, message):
    images, labels = torch.zeros(5, 3, 8, 8, dtype=torch.uint8), torch.arange(5)
    fields = {"train_images": images, "train_labels": labels, "test_images": images[:2], "test_labels": labels[:2]}
    with pytest.raises(ValueError, match=message):
        Dataset("mine", **(fields | changes), num_classes=10, mean=(0,) * 3, std=(1,) * 3, augment=False, md5={})


def test_glyphs_are_ten_different_digits():
    assert puzzles.GLYPHS.shape == (10, 7, 5)
    assert len({glyph.tobytes() for glyph in puzzles.GLYPHS}) == 10


@pytest.mark.parametrize(("task", "expected"), [("channel", 0.55), ("spatial", 0.43), ("joint", 0.3835)])
def test_ceiling(task, expected):
    assert puzzles.ceiling(task) == pytest.approx(expected)
    # The digits of the pictures themselves, each guessed as well as can be without the cue:
    _, digits, counts = puzzles.compose(task, "train")
    labels = digits[np.arange(8000), counts]
    guesses = np.array([np.bincount(row).argmax() for row in digits])
    assert (guesses == labels).mean() == pytest.approx(expected, abs=0.02)


def test_the_plain_probe_can_not_tell_cues_apart_at_a_digit():
    """Features over the digits are the same whatever the cue: exchange the cues, and they stay."""
    model = create_model("probe", num_classes=10).eval()
    features = []
    model.layer1.register_forward_hook(lambda _, __, out: features.append(out))
    for task in puzzles.TASKS:
        height = puzzles.LAYOUTS[task].cue_height
        x = puzzles.make(task, "test")[0][:64].float() / 255
        exchanged = x.clone()
        exchanged[:, :, :height] = x.flip(0)[:, :, :height]
        with torch.no_grad():
            model(x), model(exchanged)
        first, second = features[-2:]
        top = puzzles.LAYOUTS[task].rows[0]
        below = -(-top // 2)  # cells whose centre lies on the digits' rows
        torch.testing.assert_close(first[:, :, below:], second[:, :, below:], rtol=0, atol=0)
        assert not torch.equal(first, second)
