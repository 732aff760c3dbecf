"""Folders of photographs as people have them: other layouts, links, pipes, names, and machines short of memory."""

import dataclasses
import io
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from PIL import ExifTags, Image
from torchvision.datasets import ImageFolder

from gamlib import create_model, data
from gamlib.__main__ import main
from gamlib.data import DataError, imagenet, images, workers
from gamlib.training import Recipe, evaluate, fit

RECIPE = Recipe("tiny", epochs=2, lr=0.05, schedule="one-cycle", batch_size=4)


def jpeg(colour=(200, 10, 10), size=(40, 30), **options) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, colour).save(content, "JPEG", **options)
    return content.getvalue()


def add(path, content=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(jpeg() if content is None else content)
    return path


@pytest.fixture
def root(tmp_path):
    """Classes a and b, 3 training and 2 validation images each."""
    for name, colour in (("a", (200, 10, 10)), ("b", (10, 10, 200))):
        for i in range(5):
            add(tmp_path / "photos" / ("train" if i < 3 else "val") / name / f"{i}.jpg", jpeg(colour))
    return tmp_path / "photos"


def probe():
    torch.manual_seed(0)
    return create_model("probe", "none", num_classes=2)


def files_of(dataset):
    return [path for path, _ in (*dataset.train_files, *dataset.test_files)]


# ------------------------------------------------------------------ layouts


def flat_val(root):
    for path in (root / "val").glob("*/*"):
        path.rename(root / "val" / f"ILSVRC2012_val_{path.parent.name}{path.name}")
    (root / "val" / "a").rmdir(), (root / "val" / "b").rmdir()
    return root


def tiny_imagenet(root):
    for folder in (root / "train").iterdir():
        folder.rename(root / "images")
        (root / "images").rename((folder.mkdir(), folder / "images")[1])
    (flat_val(root) / "val" / "images").mkdir()
    add(root / "val" / "val_annotations.txt")
    for path in (root / "val").glob("*.jpg"):
        path.rename(root / "val" / "images" / path.name)
    return root


def tars(root):
    (root / "train").rename(root / "unpacked")
    add(root / "train" / "n01440764.tar"), add(root / "train" / "n01443537.tar")
    return root


def kaggle(root):
    (root.parent / "kaggle" / "ILSVRC" / "Data").mkdir(parents=True)
    root.rename(root.parent / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC")
    add(root.parent / "kaggle" / "LOC_val_solution.csv")
    return root.parent / "kaggle"


def renamed(*names):
    def rename(root):
        (root / "train").rename(root / "old").rename(root / names[0])
        (root / "val").rename(root / names[1])
        return root

    return rename


@pytest.mark.parametrize(
    ("arrange", "parts"),
    [
        (
            flat_val,
            ["says which classes the images of", "/val have: put ILSVRC2012_devkit_t12.tar.gz", "LOC_val_solution.csv"],
        ),
        (tiny_imagenet, ["holds a download as it came (train, val, val_annotations.txt)", "gamlib resize "]),
        (tars, ["holds a download as it came (train, val)", "gamlib resize "]),
        (kaggle, ["train does not exist", "holds 1 folder (ILSVRC) and 1 file (LOC_val_solution.csv)", "--root"]),
        (lambda root: root / "train", ["train/train does not exist", "holds 2 folders (a, b)", "--root"]),
        (lambda root: root.parent, ["train does not exist", "holds 1 folder (photos)", "--root"]),
        (renamed("Train", "Val"), ["train does not exist", "holds 2 folders (Train, Val)", "rename"]),
        (renamed("train", "validation"), ["val does not exist", "holds 2 folders (train, validation)", "rename"]),
        (renamed("train", "test"), ["val does not exist", "holds 2 folders (test, train)", "rename"]),
        (lambda root: root / "no" / "such", ["train does not exist", "holds 2 folders (train, val)"]),
        (
            lambda root: add(root / "photos.tar"),
            ["does not exist", "holds 2 folders (train, val) and 1 file (photos.tar)"],
        ),
    ],
    ids=[
        "flat val",
        "Tiny-ImageNet",
        "tars",
        "Kaggle",
        "too low",
        "too high",
        "Train",
        "validation",
        "test",
        "",
        "tar",
    ],
)
def test_a_layout_that_can_not_be_read_is_told_as_it_is_seen(arrange, parts, root):
    with pytest.raises(DataError) as error:
        imagenet.dataset(arrange(root))
    for part in parts:
        assert part in str(error.value)


def test_only_the_first_names_of_many_are_told(root):
    for i in range(2000):
        (root / "train" / f"n{i:04}").mkdir()
    with pytest.raises(DataError, match=r"train/ holds 2,000 folders \(n0000, n0001, n0002, \.\.\.\) and") as error:
        imagenet.dataset(root)
    assert len(str(error.value)) < 600


def test_a_class_folder_without_images_tells_what_it_holds(root):
    for path in (root / "val" / "b").iterdir():
        path.rename(path.with_suffix(".tif"))
    with pytest.raises(DataError, match=r"b holds no image \(.*\); it has 0 folders and 2 files \(3.tif, 4.tif\)"):
        imagenet.dataset(root)


# ------------------------------------------------------------------ what counts as an image


def test_subfolders_and_links_are_read_as_torchvision_does(root, capsys):
    plain = imagenet.dataset(root)
    add(root / "train" / "a" / "more" / "deep" / "9.JPEG")
    add(root / "train" / "b" / "d.JPEG" / "8.jpg")  # a folder with an image's name
    (root / "train" / "b" / "link.jpg").symlink_to(root / "train" / "a" / "0.jpg")
    (root / "train" / "b" / "linked").symlink_to(root / "train" / "a" / "more")
    found = imagenet.dataset(root)
    assert found.md5["val"] == plain.md5["val"]
    theirs = [(os.path.relpath(path, root), label) for path, label in ImageFolder(root / "train").samples]
    assert list(found.train_files) == theirs
    assert len(theirs) == 10
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    assert "14 files in 2 classes" in capsys.readouterr().out


def test_a_folder_with_an_images_name_is_no_image(root):
    (root / "train" / "a" / "d.JPEG").mkdir()
    assert imagenet.dataset(root).train_count == 6


@pytest.mark.parametrize("target", ["nowhere.jpg", "x.jpg"], ids=["dangling", "loop"])
def test_a_link_that_leads_nowhere_is_a_broken_image(target, root, tmp_path, capsys):
    link = root / "train" / "a" / "x.jpg"
    link.symlink_to(target)
    try:
        dataset = imagenet.dataset(root)
    except OSError as error:
        pytest.fail(f"the list of images ends with {error!r}")
    with pytest.raises(DataError, match=f"{link}: broken link"):
        fit(probe(), dataset, RECIPE)
    result = fit(probe(), dataclasses.replace(dataset, bad_images="skip"), RECIPE)
    assert [entry["skipped"] for entry in result.curves] == [1, 1]
    capsys.readouterr()
    assert main(["doctor", "--data", "imagenet", str(root)]) == 1
    out = capsys.readouterr().out
    assert f"FIX  {link}: broken link" in out
    assert "11 files in 2 classes" in out
    assert main(["resize", str(root), str(tmp_path / "small")]) == 1
    assert f"not written: {link}: broken link" in capsys.readouterr().err


def test_a_named_pipe_is_passed_over(root, tmp_path, capsys):
    pipe = root / "train" / "a" / "pipe.jpg"
    os.mkfifo(pipe)
    (root / "val" / "a" / "to-pipe.jpg").symlink_to(pipe)
    assert len(files_of(imagenet.dataset(root))) == 10
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    out = capsys.readouterr().out
    assert f"NOTE {pipe}: not an image; training passes it over" in out
    assert "12 files in 2 classes" in out
    assert "2 passed over" in out
    assert main(["resize", str(root), str(tmp_path / "small")]) == 0
    with pytest.raises(images.BadImage, match="not a file"):
        images.open_image(pipe)


def test_what_lies_outside_of_class_folders_is_named_by_the_doctor(root, capsys):
    loose = add(root / "train" / "loose.jpg")
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    assert f"NOTE {loose}: not an image; training passes it over (images are files in" in capsys.readouterr().out


def test_names_that_begin_with_a_dot_are_passed_over(root, tmp_path, capsys):
    plain = imagenet.dataset(root)
    for split in ("train", "val"):
        add(root / split / ".ipynb_checkpoints" / "0-checkpoint.jpg")
        add(root / split / "a" / "._0.jpg", b"macOS's own")
        add(root / split / "b" / ".cache" / "0.jpg")
    found = imagenet.dataset(root)
    assert (found.classes, found.md5, found.train_files) == (plain.classes, plain.md5, plain.train_files)
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    assert main(["resize", str(root), str(tmp_path / "small")]) == 0
    assert "10 images written" in capsys.readouterr().out


def test_a_link_to_a_folder_above_ends(root, tmp_path, capsys):
    other = tmp_path / "other"
    add(other / "7.jpg")
    (other / "back").symlink_to(root / "train" / "a")
    (root / "train" / "a" / "over").symlink_to(other)
    (root / "train" / "a" / "up").symlink_to(root)
    (root / "train" / "a" / "self").symlink_to(".")
    found = [path for path in files_of(imagenet.dataset(root)) if path.startswith("train/a")]
    assert found == [f"train/a/{name}.jpg" for name in ("0", "1", "2", "over/7")]
    assert main(["resize", str(root), str(tmp_path / "small")]) == 0
    assert "11 images written" in capsys.readouterr().out
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0


@pytest.mark.parametrize("where", ["train/caf\udce9", ""], ids=["class", "root"])
def test_a_folder_name_that_is_not_utf_8_is_refused_before_training(where, root, capsys):
    odd = root if where else root.rename(root.with_name("caf\udce9"))
    for split in ("train", "val") if where else ():
        (root / split / "a").rename(root / split / "caf\udce9")
    with pytest.raises(DataError, match=r"the folder name caf\ufffd is not UTF-8 .* rename it"):
        imagenet.dataset(odd)
    assert main(["doctor", "--data", "imagenet", str(odd)]) == 2
    assert "caf\ufffd" in capsys.readouterr().err


def test_other_parts_of_a_path_need_not_be_utf_8(root, tmp_path, capsys):
    odd = tmp_path / "caf\udce9"
    odd.mkdir()
    root = root.rename(odd / "photos")
    assert fit(probe(), imagenet.dataset(root), RECIPE).data == "photos-photos"
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    assert main(["resize", str(root), str(odd / "small")]) == 0
    assert "10 images written" in capsys.readouterr().out
    with pytest.raises(DataError, match="caf\ufffd/photos/train/train does not exist"):
        imagenet.dataset(root / "train")


# ------------------------------------------------------------------ EXIF, and what Pillow warns of


def turned(orientation=6, size=(40, 30)) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    content = io.BytesIO()
    picture = Image.new("RGB", size)
    picture.paste((250, 250, 250), (0, 0, size[0] // 4, size[1] // 4))
    picture.save(content, "JPEG", exif=exif, quality=95)
    return content.getvalue()


def test_a_rotation_by_exif_is_told_and_not_followed(root, tmp_path, capsys):
    path = add(root / "val" / "a" / "3.jpg", turned(size=(600, 400)))
    add(root / "val" / "a" / "4.jpg", turned(orientation=1))
    assert images.open_image(path).size == (600, 400)
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    out = capsys.readouterr().out
    assert f"NOTE {path}: rotated by EXIF; training takes the pixels as they are stored" in out
    assert "1 rotated by EXIF" in out
    assert main(["resize", str(root), str(tmp_path / "small")]) == 0
    small = imagenet.dataset(tmp_path / "small")
    assert images.open_image(tmp_path / "small" / "val" / "a" / "3.jpg").size == (384, 256)
    ids = [torch.arange(4)]
    ((ours, _),), ((theirs, _),) = small.test_batches(ids), imagenet.dataset(root).test_batches(ids)
    assert (ours.float() - theirs.float()).abs().mean() < 2


def test_a_gray_image_may_be_rotated_too(root, capsys):
    content = io.BytesIO()
    with Image.open(io.BytesIO(turned())) as image:
        image.convert("L").save(content, "JPEG", exif=image.getexif())
    add(root / "val" / "a" / "gray.jpg", content.getvalue())
    assert main(["doctor", "--data", "imagenet", str(root)]) == 0
    assert "11 files in 2 classes" in (out := capsys.readouterr().out)
    assert "1 gray, 1 rotated by EXIF" in out


def damaged_exif() -> bytes:
    return jpeg(exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0\x12\x01\x03\0")  # five entries are promised


def palette_with_transparency() -> bytes:
    content = io.BytesIO()
    Image.new("P", (40, 30)).save(content, "PNG", transparency=b"\x80" * 200)
    return content.getvalue()


WARNS = {"exif.jpg": (damaged_exif, "Corrupt EXIF data"), "p.png": (palette_with_transparency, "Palette images with")}


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("name", WARNS)
def test_what_pillow_warns_of_is_told_once_with_the_file(name, count, root, tmp_path, capfd):
    make, text = WARNS[name]
    path = add(root / "train" / "a" / name, make())
    fit(probe(), dataclasses.replace(imagenet.dataset(root), workers=count), RECIPE)
    told = "".join(capfd.readouterr())
    assert told.count(text) == 1
    assert f"{path}: {text}" in told
    for command in (["doctor", "--data", "imagenet", str(root)], ["resize", str(root), str(tmp_path / "small")]):
        assert main(command) == 0
        told = "".join(capfd.readouterr())
        assert told.count(text) == (name == "exif.jpg" or command[0] == "doctor")  # small images are copied as they are
        assert f"{name}: {text}" in told or told.count(text) == 0


# ------------------------------------------------------------------ worker processes


@pytest.mark.parametrize("count", [-1, 257, 100_000, 2.0, True, "4"])
def test_a_number_of_workers_that_can_not_be_is_refused(count, root):
    with pytest.raises(ValueError, match=f"workers must be an integer of 0 to 256.*got {count!r}"):
        dataclasses.replace(imagenet.dataset(root), workers=count)


@pytest.mark.parametrize("told", ["0", "abc", "-3", "", "1.5"])
def test_nonsense_in_the_environment_counts_as_one_process(told, monkeypatch):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    expected = workers.default_workers()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", told)
    assert workers.default_workers() == expected


def test_a_killed_worker_is_a_sentence(root, monkeypatch):
    dataset = dataclasses.replace(imagenet.dataset(root), workers=2)
    monkeypatch.setattr(imagenet, "read_rgb", lambda path: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(DataError, match=r"was killed, for want of memory perhaps .*fewer --workers than 2"):
        list(dataset.test_batches([torch.arange(4)]))


def test_a_worker_that_is_killed_during_a_step_is_a_sentence(root):
    """PyTorch would raise in the midst of the step."""
    dataset = dataclasses.replace(imagenet.dataset(root), workers=1)
    batches = dataset.train_batches([torch.tensor([i % 6, 5]) for i in range(50)], seed=0, epoch=0)
    others = multiprocessing.active_children()
    next(batches)
    (worker,) = [child for child in multiprocessing.active_children() if child not in others]
    try:
        os.kill(worker.pid, signal.SIGKILL)
        time.sleep(0.5)
    except RuntimeError as error:
        pytest.fail(f"the step ends with {error!r}")
    with pytest.raises(DataError, match="was killed"):
        list(batches)


def test_a_fault_in_a_worker_that_is_no_want_of_memory_stays_itself(root, monkeypatch):
    def fault(path):
        raise RuntimeError("a mistake in the code")

    monkeypatch.setattr(imagenet, "read_rgb", fault)
    with pytest.raises(RuntimeError, match="a mistake in the code"):
        list(dataclasses.replace(imagenet.dataset(root), workers=1).test_batches([torch.arange(4)]))


@pytest.mark.parametrize("fault", ["in a worker", "in a step"])
def test_a_program_ends_though_its_traceback_keeps_the_workers(root, fault):
    """They take no SIGTERM, and whoever ends waits for its children."""
    script = f"""
import dataclasses, sys
import torch
from gamlib.data import imagenet

def read(path):
    raise RuntimeError("a fault in a worker")

if {fault!r} == "in a worker":
    imagenet.read_rgb = read
data = dataclasses.replace(imagenet.dataset({str(root)!r}), workers=2)
batches = data.test_batches([torch.arange(2)] * 20)
try:
    for images, labels in batches:
        raise RuntimeError("a fault in a step")
except RuntimeError as error:
    sys.last_value = error  # as a notebook keeps it, and pytest
    print(str(error).splitlines()[-1])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert f"a fault {fault}" in done.stdout
    assert done.returncode == 0


def test_shared_memory_that_is_too_small_is_refused_before_workers_start(root, monkeypatch, capsys):
    dataset = dataclasses.replace(imagenet.dataset(root), workers=4)
    batch, before = [torch.arange(4)] * 3, set(multiprocessing.active_children())
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2_000_000))
    with pytest.raises(
        DataError, match=r"4 workers need 5 MB of /dev/shm, and 2 MB are free.*--workers.*docker run --shm-size=1g"
    ):
        list(dataset.test_batches(batch))
    assert set(multiprocessing.active_children()) <= before
    assert len(list(dataclasses.replace(dataset, workers=1).test_batches(batch))) == 3
    assert len(list(dataclasses.replace(dataset, workers=0).test_batches(batch))) == 3
    main(["doctor"])
    assert "NOTE /dev/shm   0.00 GB free" in capsys.readouterr().out


# ------------------------------------------------------------------ the doctor


def test_what_is_damaged_is_to_be_mended_and_what_is_missing_is_not(tmp_path, capsys):
    assert main(["doctor", str(tmp_path)]) == 0
    assert "NOTE CIFAR-100" in capsys.readouterr().out
    add(tmp_path / "cifar-100-python" / "train", b"cut")
    assert main(["doctor", str(tmp_path)]) == 1
    assert "FIX  CIFAR-100" in capsys.readouterr().out


def test_a_data_folder_that_can_not_be_written_is_named(tmp_path, monkeypatch, capsys):
    assert main(["doctor", str(add(tmp_path / "file"))]) == 1
    assert f"FIX  disk       {tmp_path / 'file'} can't be written (Not a directory)" in capsys.readouterr().out

    def read_only(**_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.TemporaryFile", read_only)
    assert main(["doctor", str(tmp_path)]) == 0
    assert f"NOTE disk       {tmp_path} can't be written (Read-only file system)" in capsys.readouterr().out


# ------------------------------------------------------------------ test images alone


def test_the_test_images_alone_are_enough_for_a_test(root, tmp_path):
    both = imagenet.dataset(root)
    (root / "train").rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="train does not exist"):
        data.load("imagenet", root)
    alone = data.load("imagenet", root, test_only=True)
    assert (alone.classes, alone.test_files, alone.train_files) == (both.classes, both.test_files, ())
    assert alone.md5 == {"val": both.md5["val"]}
    assert evaluate(probe(), alone) == evaluate(probe(), both)
    assert data.load("puzzles-joint", test_only=True).train_count == 8000
