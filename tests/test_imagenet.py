"""Photographs in class folders: what is read, what is refused, and that a bad file is never silently replaced."""

import dataclasses
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from gamlib import create_model, data, results
from gamlib.__main__ import main
from gamlib._files import lock
from gamlib.data import DataError, imagenet, puzzles
from gamlib.data.imagenet import SIZE, train_transform
from gamlib.data.parallel import map_files
from gamlib.data.resize import resize_tree
from gamlib.data.workers import ignore_signals
from gamlib.training import Recipe, Speed, evaluate, fit
from gamlib.training.interrupt import Interrupt
from gamlib.training.trainer import Trainer

RECIPE = Recipe("tiny", epochs=2, lr=0.05, schedule="one-cycle", batch_size=6)


def jpeg(image: Image.Image) -> bytes:
    content = io.BytesIO()
    image.save(content, "JPEG", quality=95)
    return content.getvalue()


@pytest.fixture
def root(tmp_path):
    """3 classes, 6 training and 2 validation pictures each, 300 x 260: puzzles, enlarged."""
    images, labels = puzzles.make("channel", "train")
    root = tmp_path / "photos"
    for name in range(3):
        of_class = images[labels == name].permute(0, 2, 3, 1).numpy()
        for i in range(8):
            folder = root / ("train" if i < 6 else "val") / f"digit{name}"
            folder.mkdir(parents=True, exist_ok=True)
            picture = Image.fromarray(of_class[i]).resize((300, 260))
            (folder / f"{i}.jpg").write_bytes(jpeg(picture))
    return root


def looks(path) -> tuple[tuple[int, int], str]:
    with Image.open(path) as image:
        return image.size, image.mode


def probe():
    torch.manual_seed(0)
    return create_model("probe", "se", num_classes=3)


def break_file(path, kind):
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "not an image":
        path.write_bytes(b"<html>404 Not Found</html>")
    elif kind == "cut header":
        path.write_bytes(path.read_bytes()[:20])


KINDS = {
    "truncated": "broken \\(.*truncated",
    "empty": "empty",
    "not an image": "not an image",
    "cut header": "(broken|not an image)",
}


def test_classes_labels_and_counts(root):
    data = imagenet.dataset(root)
    assert data.classes == ("digit0", "digit1", "digit2")
    assert (data.name, data.num_classes, data.train_count, data.test_count) == ("photos-photos", 3, 18, 6)
    assert [label for _, label in data.test_files] == [0, 0, 1, 1, 2, 2]
    (root / "train" / "digit0" / "notes.txt").write_text("no image")
    assert imagenet.dataset(root.parent / "photos").md5 == data.md5
    (root / "train" / "digit0" / "7.jpg").write_bytes((root / "train" / "digit0" / "0.jpg").read_bytes())
    assert imagenet.dataset(root).md5["train"] != data.md5["train"]
    assert imagenet.dataset(root).md5["val"] == data.md5["val"]


def test_found_below_the_data_root(root, monkeypatch):
    monkeypatch.setenv("GAMLIB_DATA", str(root.parent))
    with pytest.raises(DataError, match=r"ImageNet is not here: .*imagenet/train does not exist"):
        imagenet.dataset()
    root.rename(root.with_name("imagenet"))
    assert imagenet.dataset().train_count == 18


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "val"), "val does not exist. Expected are class folders"),
        (
            lambda root: shutil.rmtree(root / "val" / "digit1"),
            r"same class folders; besides these, train/ holds 1 folder \(digit1\) and 0 files, val/ holds 0 folders",
        ),
        (lambda root: [path.unlink() for path in (root / "val" / "digit1").iterdir()], "digit1 holds no image"),
    ],
)
def test_missing_folders_are_named(damage, message, root):
    damage(root)
    with pytest.raises(DataError, match=message):
        imagenet.dataset(root)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_what_the_transforms_give(root, workers):
    """For every worker count; each image by its own random numbers, other ones in the next epoch."""
    data = dataclasses.replace(imagenet.dataset(root), workers=workers)
    ids = torch.tensor([17, 3, 8])
    ((images, labels),) = data.train_batches([ids], seed=1, epoch=2)
    assert (images.shape, images.dtype) == ((3, 3, SIZE, SIZE), torch.uint8)
    assert labels.tolist() == [2, 0, 1]
    ((alone, _),) = data.train_batches([ids[1:2].repeat(2)], seed=1, epoch=2)
    assert torch.equal(alone[0], images[1])
    ((later, _),) = data.train_batches([ids], seed=1, epoch=3)
    assert not torch.equal(later, images)
    ((tested, _),) = data.test_batches([torch.tensor([4])])
    picture = Image.open(root / "val" / "digit2" / "6.jpg").resize((295, 256), Image.Resampling.BILINEAR)
    expected = np.asarray(picture.crop((35, 16, 259, 240))).transpose(2, 0, 1)
    assert np.abs(tested[0].numpy().astype(int) - expected).mean() < 1


def test_flips_and_crops_differ_from_image_to_image():
    picture = Image.fromarray(np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (256, 1, 3)))
    transform, rises = train_transform(224), []
    for seed in range(40):
        torch.manual_seed(seed)
        x = transform(picture)[0].float()
        rises.append(float(x[:, -1].mean() - x[:, 0].mean()))
    assert 8 < sum(rise > 0 for rise in rises) < 32
    assert len({round(rise) for rise in rises}) > 15


def test_training_and_evaluation(root, tmp_path):
    data = imagenet.dataset(root)
    model = probe()
    result = fit(model, data, RECIPE, out=tmp_path / "run")
    assert [entry["skipped"] for entry in result.curves] == [0, 0]
    assert evaluate(model, data)["test_top1_error"] == pytest.approx(result.top1_error)
    assert (result.data, result.data_md5) == ("photos-photos", data.md5)
    assert all(0 <= entry["waited"] <= entry["seconds"] for entry in result.curves)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "val"])
def test_a_bad_image_stops_with_its_path(root, split, kind):
    path = root / split / "digit1" / "6.jpg" if split == "val" else root / split / "digit1" / "2.jpg"
    break_file(path, kind)
    with pytest.raises(DataError, match=rf"{path}: {KINDS[kind]}.*gamlib doctor --data imagenet {root}"):
        fit(probe(), imagenet.dataset(root), RECIPE)


def test_bad_images_are_left_out_named_and_counted_when_asked(root, capsys):
    bad = [root / "train" / "digit0" / "1.jpg", root / "train" / "digit2" / "3.jpg", root / "val" / "digit0" / "6.jpg"]
    for path, kind in zip(bad, ("truncated", "empty", "not an image"), strict=True):
        break_file(path, kind)
    data = dataclasses.replace(imagenet.dataset(root), bad_images="skip")
    result = fit(probe(), data, RECIPE)
    assert [entry["skipped"] for entry in result.curves] == [3, 3]
    out = capsys.readouterr().out
    for path in bad:
        assert out.count(f"left out: {path}") == 2  # once an epoch
    assert result.top1_error in [pytest.approx(100 * wrong / 5) for wrong in range(6)]
    with pytest.raises(ValueError, match="unknown bad_images 'ignore'; allowed, nearest first: s"):
        dataclasses.replace(data, bad_images="ignore")


def test_a_batch_with_broken_images_is_averaged_over_the_whole_ones(root):
    """The gradient is that of the images that are left, not a part of it."""

    def gradients(data, ids):
        run = Trainer(probe(), data, RECIPE, 0, Speed(precision="fp32"))
        ((images, labels),) = data.train_batches([torch.tensor(ids)], 0, 0)
        run.wrapped.eval()
        run.take_step(images, labels, Interrupt())
        return [p.grad for p in run.parameters]

    data = dataclasses.replace(imagenet.dataset(root), bad_images="skip", workers=0)
    expected = gradients(data, [0, 7, 13])
    for i in (1, 2, 8, 9):
        break_file(root / data.train_files[i][0], "empty")
    for ours, wanted in zip(gradients(data, [0, 1, 2, 7, 8, 9, 13]), expected, strict=True):
        torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-6)


def test_a_test_without_a_whole_image_is_named(root):
    for path in (root / "val").glob("*/*"):
        break_file(path, "empty")
    with pytest.raises(DataError, match="none of the test images could be read"):
        evaluate(probe(), dataclasses.replace(imagenet.dataset(root), bad_images="skip"))


def test_odd_names_links_and_depths(root, tmp_path, capsys):
    """A folder named like a puzzle, a class that is a link, a name that is no UTF-8, more than 8 bits."""
    odd = tmp_path / "puzzles-photos"
    shutil.copytree(root, odd)
    (odd / "train" / "digit1").rename(tmp_path / "elsewhere")
    (odd / "train" / "digit1").symlink_to(tmp_path / "elsewhere")
    latin = os.fsencode(odd / "train" / "digit0") + b"/caf\xe9.jpg"
    with open(latin, "wb") as file:
        file.write(b"no image")
    Image.fromarray(np.linspace(0, 65535, 100 * 100).astype(np.uint16).reshape(100, 100)).save(
        odd / "train" / "digit2" / "deep.png"
    )
    assert main(["doctor", "--data", "imagenet", str(odd)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"FIX  .*caf\ufffd.jpg: not an image", out)
    assert re.search(r"FIX  .*deep.png: more than 8 bits \(it has more than 8 bits a channel; convert it to 8\)", out)
    data = dataclasses.replace(imagenet.dataset(odd), bad_images="skip")
    result = fit(probe(), data, RECIPE, out=tmp_path / "run")
    assert "| photos-puzzles-photos |" in results.table([result])
    assert [entry["skipped"] for entry in result.curves] == [2, 2]
    assert main(["resize", str(odd), str(tmp_path / "small")]) == 1
    assert "24 images written" in capsys.readouterr().out
    assert imagenet.dataset(tmp_path / "small").train_count == 18


def die(path):
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_is_too_long_for_its_format_is_named_and_the_rest_is_written(root, tmp_path, capsys):
    for name in ("a.webp", "b.jpg"):
        Image.new("RGB", (300, 20_000)).save(root / "train" / "digit0" / name, format="PNG")
    assert main(["resize", str(root), str(tmp_path / "small")]) == 1
    told = capsys.readouterr()
    assert "24 images written" in told.out
    assert "b.jpg: too long to be shrunk (300 x 20000 pixels)" in told.err


def test_a_worker_that_is_killed_ends_the_command(root):
    with pytest.raises(DataError, match="a worker process was killed"):
        list(map_files(die, list(root.glob("*/*/*")), 1))


def is_running(pid):
    """A process that has ended stays a zombie, Z, until it is asked for."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", pid], capture_output=True, text=True).stdout.strip()
    return state != "" and not state.startswith("Z")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_workers_of_a_command_that_is_killed_end(tmp_path, number):
    script = f"""
import os, time
from gamlib.data.parallel import map_files

def work(item):
    open({str(tmp_path)!r} + "/" + str(os.getpid()), "w").close()
    time.sleep(300)

list(map_files(work, range(64), 64))
"""
    process = subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)
    while not (names := [path.name for path in tmp_path.iterdir()]):
        time.sleep(0.05)
        assert process.poll() is None
    process.send_signal(number)
    process.wait(timeout=30)
    end = time.monotonic() + 20
    while (left := [name for name in names if is_running(name)]) and time.monotonic() < end:
        time.sleep(0.1)
    assert left == []


def test_workers_ignore_signals():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ignore_signals(0)
        assert {signal.getsignal(number) for number in before} == {signal.SIG_IGN}
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_a_batch_that_is_broken_altogether_stops(root):
    for path in (root / "train").glob("*/*"):
        break_file(path, "empty")
    with pytest.raises(DataError, match="a batch has 0 images left"):
        fit(probe(), dataclasses.replace(imagenet.dataset(root), bad_images="skip"), RECIPE)


def odd_files(root):
    """One of each kind that the doctor names."""
    folder = root / "train" / "digit0"
    picture = Image.open(folder / "0.jpg")
    (folder / "gray.jpg").write_bytes(jpeg(picture.convert("L")))
    (folder / "cmyk.jpg").write_bytes(jpeg(picture.convert("CMYK")))
    (folder / "notes.txt").write_text("no image")
    for kind in KINDS:
        path = folder / f"{kind.replace(' ', '-')}.jpg"
        path.write_bytes((folder / "0.jpg").read_bytes())
        break_file(path, kind)


def test_doctor_names_every_odd_file(root, capsys):
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    assert "24 files in 3 classes" in capsys.readouterr().out
    odd_files(root)
    assert main(["doctor", "--data", "imagenet", str(root)]) == 1
    out = capsys.readouterr().out
    told = dict(re.findall(r"(FIX|NOTE) +\S+/(\S+): ", out)[i][::-1] for i in range(7))
    assert told == {
        "gray.jpg": "NOTE",
        "cmyk.jpg": "NOTE",
        "notes.txt": "NOTE",
        "truncated.jpg": "FIX",
        "empty.jpg": "FIX",
        "not-an-image.jpg": "FIX",
        "cut-header.jpg": "FIX",
    }
    assert "gray.jpg: gray; training converts it to RGB" in out
    assert "cmyk.jpg: CMYK; training converts it to RGB" in out
    assert "31 files in 3 classes" in out
    assert "--bad-images skip" in out


def test_gray_and_cmyk_are_trained_in_rgb(root):
    odd_files(root)
    data = dataclasses.replace(imagenet.dataset(root), bad_images="skip")
    names = [path.rpartition("/")[2] for path, _ in data.train_files]
    ids = torch.tensor([names.index("gray.jpg"), names.index("cmyk.jpg")])
    ((images, labels),) = data.train_batches([ids], 0, 0)
    assert labels.tolist() == [0, 0]
    assert torch.equal(images[0, 0], images[0, 2])  # gray: all channels are alike
    assert not torch.equal(images[1, 0], images[1, 2])


def test_resize(root, tmp_path, capsys):
    small = root / "train" / "digit0" / "small.png"
    Image.new("RGB", (40, 30), (200, 10, 10)).save(small)
    wide = root / "train" / "digit0" / "wide.jpg"
    wide.write_bytes(jpeg(Image.new("RGB", (1024, 512), (10, 200, 10))))
    target = tmp_path / "small"
    assert main(["resize", str(root), str(target)]) == 0
    assert "26 images written" in capsys.readouterr().out
    assert imagenet.dataset(target).classes == imagenet.dataset(root).classes
    assert (target / small.relative_to(root)).read_bytes() == small.read_bytes()
    assert looks(target / wide.relative_to(root)) == ((512, 256), "RGB")
    assert {looks(path) for path in target.glob("val/*/*")} == {((295, 256), "RGB")}
    # A test sees nearly the same pixels as from the originals.
    for (ours, _), (theirs, _) in zip(
        imagenet.dataset(target).test_batches([torch.arange(6)]),
        imagenet.dataset(root).test_batches([torch.arange(6)]),
        strict=True,
    ):
        assert (ours.float() - theirs.float()).abs().mean() < 2
    assert main(["resize", str(root), str(target)]) == 0
    assert "0 images written" in capsys.readouterr().out


def test_resize_names_bad_files_and_can_be_repeated(root, tmp_path, capsys):
    odd_files(root)
    target = tmp_path / "small"
    partial = target / "train" / "digit0" / "0.jpg.partial"  # as a killed call leaves it
    partial.parent.mkdir(parents=True)
    partial.write_bytes(b"half")
    assert main(["resize", str(root), str(target)]) == 1
    captured = capsys.readouterr()
    assert captured.err.count("not written: ") == 4
    assert "26 images written" in captured.out
    assert list(target.rglob("*.partial")) == []
    assert {looks(path)[1] for path in target.rglob("*.jpg")} == {"RGB"}
    for path in (root / "train" / "digit0").glob("*"):
        if path.stem in ("truncated", "empty", "not-an-image", "cut-header"):
            shutil.copy(root / "train" / "digit0" / "0.jpg", path)
    assert main(["resize", str(root), str(target)]) == 0
    assert "4 images written" in capsys.readouterr().out
    with pytest.raises(DataError, match="it lies in"):
        resize_tree(root, root / "small")


def test_two_never_resize_into_one_folder(root, tmp_path):
    target = tmp_path / "small"
    target.mkdir()
    with (
        lock(target),
        pytest.raises(DataError, match=f"another process is writing into {target}; wait until it has ended"),
    ):
        resize_tree(root, target)
    assert resize_tree(root, target).written > 0


@pytest.mark.parametrize("network", ["none", "gam"])
def test_command_line_from_class_folders_at_224(network, root, tmp_path, capsys):
    command = ["train", "--data", "imagenet", "--root", str(root), "--attention", network, "--workers", "1"]
    command += ["--epochs", "1", "--batch-size", "6", "--out", str(tmp_path / "run")]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert f"network   resnet18 + {network}" in out
    assert "data      photos-photos: 18 training and 6 test images" in out
    assert "recipe    paper-imagenet: 1 epoch of 3 steps, batch 6" in out
    (run,) = results.read(tmp_path / "run" / "result.json")
    assert run.network["num_classes"] == 3
    assert main(["evaluate", str(tmp_path / "run"), "--root", str(root)]) == 0
    assert f"top-1 error {run.top1_error:.2f}%" in capsys.readouterr().out


def test_ctrl_c_in_a_terminal_reaches_workers_too(root, tmp_path):
    """All processes of a group get the signal; there must be one quiet message, and no worker's traceback."""
    code = (
        "import os, signal, sys, threading, time\n"
        "from gamlib.__main__ import main\n"
        "from gamlib.training.trainer import Trainer\n"
        "take_step = Trainer.take_step\n"
        "def step(self, *arguments):\n"
        "    if self.step == 2 and type(self.data).__name__ == 'ImageFolders' and self.recipe.epochs == 9:\n"
        "        os.killpg(0, signal.SIGINT)\n"
        "    take_step(self, *arguments)\n"
        "Trainer.take_step = step\n"
        "import gamlib.cli.train as t\n"
        "t.forecast = lambda *_: 'none'\n"
        f"sys.exit(main(['train', '--data', 'imagenet', '--root', {str(root)!r}, '--model', 'probe', '--batch-size',"
        f" '6', '--epochs', '9', '--workers', '2', '--out', {str(tmp_path / 'run')!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, start_new_session=True)
    assert done.returncode == 130, done.stderr
    assert "Stopped after step 3 of 27; saved in" in done.stdout
    assert done.stderr == ""


def test_metrics_hold_no_picture(root, tmp_path):
    fit(probe(), imagenet.dataset(root), dataclasses.replace(RECIPE, epochs=1), out=tmp_path / "run")
    entry = json.loads((tmp_path / "run" / "metrics.jsonl").read_text())
    assert all(isinstance(value, int | float) for value in entry.values())


def test_photographs_at_112_are_cut_like_those_at_224_and_say_so(root):
    """The middle 7/8 of the short side in both; and a record, or a checkpoint, can't take one for the other."""
    usual, small = imagenet.dataset(root), data.load("imagenet@112", root)
    assert small.image_shape == (3, 112, 112)
    assert small.name == f"{usual.name}@112"
    ids = [torch.arange(2)]
    for batches in ("test_batches", "train_batches"):
        more = (0, 0) if batches == "train_batches" else ()
        ((images, _),) = getattr(dataclasses.replace(small, workers=0), batches)(ids, *more)
        assert images.shape == (2, 3, 112, 112)
    ((ours, _),) = dataclasses.replace(small, workers=0).test_batches(ids)
    ((theirs, _),) = dataclasses.replace(usual, workers=0).test_batches(ids)
    shrunk = torch.nn.functional.interpolate(theirs.float(), size=112, mode="bilinear", antialias=True)
    assert (ours - shrunk).abs().mean() < 3
