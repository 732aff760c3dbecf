"""ImageNet as it is handed out, in small: archives and lists of the very forms, and what is broken in them."""

import csv
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from gamlib import create_model, data
from gamlib.__main__ import main
from gamlib.data import DataError, imagenet, layouts
from gamlib.data.images import read_rgb
from gamlib.data.resize import resize_tree
from gamlib.training import Recipe, fit

CLASSES = ("n01440764", "n01443537", "n02102040")  # three of the thousand
PER_CLASS, TESTED = 7, 9


def jpeg(number: int, side: tuple[int, int] = (400, 300)) -> bytes:
    file, rng = io.BytesIO(), np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize(side).save(file, "JPEG")
    return file.getvalue()


def put(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))


def packed(members: dict[str, bytes], mode: str = "w") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode) as archive:
        for name, content in members.items():
            put(archive, name, content)
    return file.getvalue()


def label(number: int) -> str:
    """Class of the `number`-th validation image, from 1."""
    return CLASSES[number % len(CLASSES)]


def devkit() -> bytes:
    """meta.mat as MATLAB wrote it: a struct array of synsets, inner nodes of WordNet behind the leaves."""
    kind = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    rows = [(i, wnid, "a fish", 0) for i, wnid in enumerate(CLASSES, start=1)] + [(4, "n00001740", "entity", 3)]
    meta = io.BytesIO()
    savemat(meta, {"synsets": np.array(rows, dtype=kind).reshape(-1, 1)})
    truth = "".join(f"{CLASSES.index(label(i)) + 1}\n" for i in range(1, TESTED + 1)).encode()
    folder = "ILSVRC2012_devkit_t12/"
    members = {f"{folder}readme.txt": b"", f"{folder}data/meta.mat": meta.getvalue()}
    return packed(members | {f"{folder}data/ILSVRC2012_validation_ground_truth.txt": truth}, "w:gz")


def inner(name: str) -> bytes:
    first = 100 * CLASSES.index(name)
    return packed({f"{name}_{i}.JPEG": jpeg(first + i) for i in range(PER_CLASS)})


def val_images() -> dict[str, bytes]:
    return {f"ILSVRC2012_val_{i:08d}.JPEG": jpeg(1000 + i) for i in range(1, TESTED + 1)}


@pytest.fixture
def official(tmp_path) -> Path:
    """The three files of image-net.org."""
    folder = tmp_path / "ILSVRC2012"
    folder.mkdir()
    (folder / layouts.TRAIN).write_bytes(packed({f"{name}.tar": inner(name) for name in CLASSES}))
    (folder / layouts.VAL).write_bytes(packed(val_images()))
    (folder / layouts.DEVKIT).write_bytes(devkit())
    return folder


def unpacked_train(folder: Path) -> None:
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(inner(name))) as archive:
            for member in archive:
                (folder / name / member.name).write_bytes(archive.extractfile(member).read())


@pytest.fixture
def kaggle(tmp_path) -> Path:
    """What unzip makes of Kaggle's file."""
    folder = tmp_path / "kaggle"
    base = folder / layouts.KAGGLE
    unpacked_train(base / "train")
    for name in ("val", "test"):
        (base / name).mkdir()
    for name, content in val_images().items():
        (base / "val" / name).write_bytes(content)
    (base / "test" / "ILSVRC2012_test_00000001.JPEG").write_bytes(jpeg(5000))
    with open(folder / layouts.CSV, "w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for i in range(TESTED, 0, -1):  # in no order
            rows.writerow([f"ILSVRC2012_val_{i:08d}", f"{label(i)} 10 20 30 40 {label(i)} 1 2 3 4 "])
    return folder


@pytest.fixture
def tiny(tmp_path) -> Path:
    """Tiny-ImageNet's folders."""
    folder = tmp_path / "tiny-imagenet-200"
    for name in CLASSES:
        (folder / "train" / name / "images").mkdir(parents=True)
        (folder / "train" / name / f"{name}_boxes.txt").write_text("")
        for i in range(PER_CLASS):
            (folder / "train" / name / "images" / f"{name}_{i}.JPEG").write_bytes(jpeg(i, (64, 64)))
    (folder / "val" / "images").mkdir(parents=True)
    rows = []
    for i in range(1, TESTED + 1):
        (folder / "val" / "images" / f"val_{i}.JPEG").write_bytes(jpeg(i, (64, 64)))
        rows.append(f"val_{i}.JPEG\t{label(i)}\t0\t0\t62\t62")
    (folder / "val" / layouts.TINY).write_text("\n".join(rows) + "\n")
    return folder


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


@pytest.mark.parametrize("layout", ["official", "inner archives", "kaggle", "tiny"])
def test_a_download_becomes_a_tree_that_trains(layout, request, tmp_path, capsys):
    source = request.getfixturevalue(layout if layout != "inner archives" else "official")
    if layout == "inner archives":  # as the official script leaves them
        (source / "train").mkdir()
        with tarfile.open(source / layouts.TRAIN) as archive:
            for member in archive:
                (source / "train" / member.name).write_bytes(archive.extractfile(member).read())
        (source / layouts.TRAIN).unlink()
    target = tmp_path / "small"
    for command in (
        ["train", "--data", "imagenet", "--root", str(source)],
        ["doctor", "--data", "imagenet", str(source)],
    ):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert f"gamlib resize {source} {source}-256" in said
        assert len(said.splitlines()) == 1
    assert main(["resize", str(source), str(target)]) == 0
    out, err = capsys.readouterr()
    assert f"{3 * PER_CLASS + TESTED} images written" in out
    assert "train/ has 3 classes with 21 images; the whole of ImageNet has 1,000 with 1,281,167" in err
    found = imagenet.dataset(target)
    assert found.classes == CLASSES
    assert (found.train_count, found.test_count) == (3 * PER_CLASS, TESTED)
    for path, number in found.test_files:
        i = int(Path(path).stem.rpartition("_")[2])
        assert CLASSES[number] == label(i)
    short = 64 if layout == "tiny" else 256
    assert {min(read_rgb(target / path).size) for path, _ in found.train_files} == {short}
    torch.manual_seed(0)
    model = create_model("resnet18", num_classes=3)
    recipe = Recipe("tiny", epochs=1, lr=0.01, schedule="one-cycle", batch_size=7)
    result = fit(model, data.load("imagenet@112", target), recipe)
    assert result.curves[0]["skipped"] == 0


def test_the_pixels_are_those_of_a_tree_that_was_sorted_by_hand(official, kaggle, tmp_path):
    by_hand = tmp_path / "by_hand"
    unpacked_train(by_hand / "train")
    for i, content in enumerate(val_images().values(), start=1):
        (by_hand / "val" / label(i)).mkdir(parents=True, exist_ok=True)
        (by_hand / "val" / label(i) / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(content)
    for source in (by_hand, official, kaggle):
        resize_tree(source, tmp_path / "small" / source.name)
    expected, *others = (tree(tmp_path / "small" / source.name) for source in (by_hand, official, kaggle))
    assert len(expected) == 3 * PER_CLASS + TESTED
    for other in others:
        assert other == expected


def test_killed_in_the_middle_and_repeated_the_tree_is_the_same(official, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    resize_tree(official, whole)
    command = [sys.executable, "-m", "gamlib", "resize", str(official), str(cut)]
    slow = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=slow, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(cut.glob("train/*/*.JPEG")):
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    time.sleep(1.5)  # its workers end within a second
    report = resize_tree(official, cut)
    assert report.bad == []
    assert tree(cut) == tree(whole)
    assert not list(cut.rglob("*.partial"))


def test_a_repeat_reads_no_class_again_that_is_whole(official, tmp_path, monkeypatch):
    resize_tree(official, tmp_path / "small")
    read = []
    monkeypatch.setattr(
        layouts, "_members", lambda archive, plain=layouts._members: (read.append(archive), plain(archive))[1]
    )
    assert resize_tree(official, tmp_path / "small").written == 0
    assert len(read) == 1  # val's
    (tmp_path / "small" / "train" / CLASSES[1] / layouts.COMPLETE).unlink()
    (tmp_path / "small" / "train" / CLASSES[1] / f"{CLASSES[1]}_3.JPEG").unlink()
    assert resize_tree(official, tmp_path / "small").written == 1
    assert len(read) == 3


def test_a_truncated_inner_archive_is_named_and_the_rest_is_kept(official, tmp_path, capsys):
    broken = {f"{name}.tar": inner(name) for name in CLASSES}
    broken[f"{CLASSES[1]}.tar"] = broken[f"{CLASSES[1]}.tar"][: len(inner(CLASSES[1])) // 2]
    (official / layouts.TRAIN).write_bytes(packed(broken))
    target = tmp_path / "small"
    assert main(["resize", str(official), str(target)]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("not written:")]
    assert f"{CLASSES[1]}.tar in {official / layouts.TRAIN} is damaged or cut off after" in line
    assert len(list(target.glob("train/*/*.JPEG"))) > 2 * PER_CLASS
    assert not (target / "train" / CLASSES[1] / layouts.COMPLETE).exists()
    (official / layouts.TRAIN).write_bytes(packed({f"{name}.tar": inner(name) for name in CLASSES}))
    assert main(["resize", str(official), str(target)]) == 0  # downloaded again, it is made good
    assert imagenet.dataset(target).train_count == 3 * PER_CLASS


def test_a_truncated_outer_archive_is_named(official, tmp_path):
    content = (official / layouts.TRAIN).read_bytes()
    (official / layouts.TRAIN).write_bytes(content[: len(content) * 2 // 3])
    report = resize_tree(official, tmp_path / "small")
    assert report.bad[0].startswith(f"{official / layouts.TRAIN} is damaged or cut off")
    assert report.written > PER_CLASS + TESTED  # what is whole is written all the same
    (official / layouts.TRAIN).write_bytes(content)
    assert resize_tree(official, tmp_path / "small").bad == []
    assert imagenet.dataset(tmp_path / "small").train_count == 3 * PER_CLASS


def test_a_truncated_val_archive_is_named(official, tmp_path):
    content = (official / layouts.VAL).read_bytes()
    (official / layouts.VAL).write_bytes(content[: len(content) // 2])
    (line,) = resize_tree(official, tmp_path / "small").bad
    assert line == f"{official / layouts.VAL} is damaged or cut off; {layouts.AGAIN}"


def test_a_broken_photograph_is_named_and_tried_again(official, tmp_path):
    images = {f"{CLASSES[0]}_0.JPEG": jpeg(0), f"{CLASSES[0]}_1.JPEG": b"no picture"}
    (official / layouts.TRAIN).write_bytes(packed({f"{CLASSES[0]}.tar": packed(images)}))
    for _ in range(2):
        line, others = resize_tree(official, tmp_path / "small").bad
        assert line == f"{CLASSES[0]}.tar: {CLASSES[0]}_1.JPEG: not an image"
        assert others == f"not in both, train/ and val/: 2 class folders ({CLASSES[1]}, {CLASSES[2]})"


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        (layouts.TRAIN, f"holds neither {layouts.TRAIN} nor train/"),
        (layouts.VAL, f"holds neither {layouts.VAL} nor val/"),
        (layouts.DEVKIT, f"put {layouts.DEVKIT} of image-net.org there, or {layouts.CSV} of Kaggle"),
    ],
)
def test_a_missing_archive_is_named(gone, said, official, tmp_path, capsys):
    (official / gone).unlink()
    assert main(["resize", str(official), str(tmp_path / "small")]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "small").exists()


@pytest.mark.parametrize("content", [b"", b"not gzip", packed({"data/meta.mat": b"junk"}, "w:gz")])
def test_a_wrong_devkit_is_named_before_anything_is_written(content, official, tmp_path):
    (official / layouts.DEVKIT).write_bytes(content)
    with pytest.raises(DataError, match="is not the list of classes that it should be"):
        resize_tree(official, tmp_path / "small")
    assert tree(tmp_path / "small") == {}


def test_another_sets_list_of_classes_is_named(kaggle, tmp_path):
    lines = (kaggle / layouts.CSV).read_text().splitlines()
    (kaggle / layouts.CSV).write_text("\n".join(lines[:3]) + "\n")
    line, *_ = resize_tree(kaggle, tmp_path / "small").bad
    assert line.startswith(f"without a class in {kaggle / layouts.CSV}: 7 images (ILSVRC2012_val_00000001.JPEG, ")
    assert len(list((tmp_path / "small").glob("val/*/*"))) == 2


def test_another_devkit_is_noted(official, tmp_path):
    assert any("its md5 is another" in note for note in resize_tree(official, tmp_path / "small").notes)


def test_a_zip_has_to_be_unpacked_first(tmp_path, capsys):
    source = tmp_path / "download"
    source.mkdir()
    (source / "imagenet-object-localization-challenge.zip").write_bytes(b"PK")
    for command in (
        ["resize", str(source), str(tmp_path / "small")],
        ["train", "--data", "imagenet", "--root", str(source)],
    ):
        assert main(command) == 2
        err = capsys.readouterr().err
        assert f"unzip {source}/imagenet-object-localization-challenge.zip -d {source}" in err
        assert len(err.splitlines()) == 1


def test_a_disk_with_too_little_room_is_named_first(official, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 10, 1000))
    with pytest.raises(DataError, match=r"0\.0 GB free, and 0\.\d GB of photographs take about"):
        resize_tree(official, tmp_path / "small")


def test_a_disk_that_is_full_in_the_end_loses_nothing(official, tmp_path, monkeypatch, capsys):
    target = tmp_path / "small"

    def full(self, *_: object, **__: object) -> None:
        if self.size[0] == 341 and full.left == 0:
            raise OSError(28, "No space left on device")
        full.left -= 1
        save(self, *_, **__)

    full.left, save = 5, Image.Image.save
    monkeypatch.setattr(Image.Image, "save", full)
    monkeypatch.setattr("gamlib.data.parallel.default_workers", lambda: 1)
    assert main(["resize", str(official), str(target)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "No space left on device" in said
    monkeypatch.undo()
    resize_tree(official, target)
    assert imagenet.dataset(target).train_count == 3 * PER_CLASS


def test_a_train_folder_half_unpacked_gives_both_halves(official, tmp_path):
    """Class folders and archives side by side, and photographs of a third kind: val in folders of its own already."""
    unpacked_train(official / "train")
    shutil.rmtree(official / "train" / CLASSES[1])
    (official / "train" / f"{CLASSES[1]}.tar").write_bytes(inner(CLASSES[1]))
    (official / layouts.TRAIN).unlink()
    for i, content in enumerate(val_images().values(), start=1):
        (official / "val" / label(i)).mkdir(parents=True, exist_ok=True)
        (official / "val" / label(i) / f"ILSVRC2012_val_{i:08d}.JPEG").write_bytes(content)
    for name in (layouts.VAL, layouts.DEVKIT):
        (official / name).unlink()
    assert resize_tree(official, tmp_path / "small").bad == []
    found = imagenet.dataset(tmp_path / "small")
    assert (found.classes, found.train_count, found.test_count) == (CLASSES, 3 * PER_CLASS, TESTED)


def test_the_train_archive_may_lie_in_train(official, tmp_path):
    (official / "train").mkdir()
    (official / layouts.TRAIN).rename(official / "train" / layouts.TRAIN)
    assert resize_tree(official, tmp_path / "small").bad == []
    assert imagenet.dataset(tmp_path / "small").train_count == 3 * PER_CLASS


def test_a_photograph_that_was_lost_or_emptied_is_made_again(official, tmp_path):
    """As a loss of power may leave it, after its class was read to the end."""
    target = tmp_path / "small"
    resize_tree(official, target)
    expected = tree(target)
    (target / "train" / CLASSES[0] / f"{CLASSES[0]}_0.JPEG").write_bytes(b"")
    (target / "train" / CLASSES[2] / f"{CLASSES[2]}_3.JPEG").unlink()
    next((target / "val").glob("*/*.JPEG")).write_bytes(b"")
    assert resize_tree(official, target).written == 3
    assert tree(target) == expected


def test_the_inner_folder_of_kaggles_will_do(kaggle, tmp_path):
    assert resize_tree(kaggle / layouts.KAGGLE, tmp_path / "small").bad == []
    assert imagenet.dataset(tmp_path / "small").test_count == TESTED


def test_a_link_that_leads_nowhere_is_named(official, tmp_path):
    (official / layouts.VAL).unlink()
    (official / layouts.VAL).symlink_to(tmp_path / "gone.tar")
    with pytest.raises(DataError, match="is a link that leads nowhere"):
        resize_tree(official, tmp_path / "small")


def outer(**classes: bytes) -> bytes:
    return packed({f"{name}.tar": content for name, content in ({n: inner(n) for n in CLASSES} | classes).items()})


def test_odd_members_of_an_archive(official, tmp_path):
    """Folders within it, one name in two of them, a hard link, macOS's companions, names that lead elsewhere."""
    name, file = CLASSES[0], io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in (f"./{name}_0.JPEG", f"{name}/{name}_1.JPEG", "a/1.JPEG", "b/1.JPEG", "/../../2.JPEG"):
            put(archive, path, jpeg(len(path)))
        for path in (f"._{name}_0.JPEG", ".jpg", "README.txt"):
            put(archive, path, b"not a picture")
        link = tarfile.TarInfo("3.JPEG")
        link.type, link.linkname = tarfile.LNKTYPE, "a/1.JPEG"
        archive.addfile(link)
    (official / layouts.TRAIN).write_bytes(outer(**{name: file.getvalue()}))
    report = resize_tree(official, tmp_path / "small")
    assert report.bad == []
    folder = tmp_path / "small" / "train" / name
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*.JPEG"))
    assert found == ["2.JPEG", "3.JPEG", "a/1.JPEG", "b/1.JPEG", f"{name}_0.JPEG", f"{name}_1.JPEG"]
    assert (folder / "3.JPEG").read_bytes() == (folder / "a" / "1.JPEG").read_bytes()


def test_a_class_that_is_unpacked_beside_its_archive_is_written_once(official, tmp_path):
    unpacked_train(official / "train")
    for name in CLASSES:
        (official / "train" / f"{name}.tar").write_bytes(inner(name))
    (official / layouts.TRAIN).unlink()
    report = resize_tree(official, tmp_path / "small")
    assert (report.written, report.bad) == (3 * PER_CLASS + TESTED, [])


def test_an_archive_without_images_is_named(official, tmp_path):
    (official / layouts.TRAIN).write_bytes(outer(**{CLASSES[1]: packed({"README.txt": b""})}))
    lines = resize_tree(official, tmp_path / "small").bad
    assert f"{CLASSES[1]}.tar in {official / layouts.TRAIN} holds no images" in lines
    (official / layouts.TRAIN).write_bytes(packed({"README.txt": b"", f"{CLASSES[0]}/1.JPEG": jpeg(1)}))
    lines = resize_tree(official, tmp_path / "other").bad
    assert f"{official / layouts.TRAIN} holds no archives of classes, such as n01440764.tar" in lines


@pytest.mark.parametrize("name", ["../../../esc", "a/b", "."])
def test_a_class_in_a_list_is_no_path(name, kaggle, tmp_path):
    (kaggle / layouts.CSV).write_text(f"ImageId,PredictionString\nILSVRC2012_val_00000001,{name} 1 2 3 4\n")
    with pytest.raises(DataError, match="is not the list of classes that it should be"):
        resize_tree(kaggle, tmp_path / "small")


def test_a_list_may_have_a_byte_order_mark_and_blank_lines(kaggle, tmp_path):
    text = (kaggle / layouts.CSV).read_text()
    (kaggle / layouts.CSV).write_text("\ufeff" + text + "\n\n", encoding="utf-8")
    assert resize_tree(kaggle, tmp_path / "small").bad == []


def test_images_that_can_not_be_written_end_nothing(tmp_path, capsys):
    from PIL.PngImagePlugin import PngInfo

    source = tmp_path / "source"
    source.mkdir()
    about = PngInfo()
    about.add_text("comment", "x" * 70_000)
    about.add_text("transparency", "no number")
    Image.new("RGB", (300, 300)).save(source / "a.JPEG", "PNG", pnginfo=about)
    (source / f"{'b' * 245}.jpg").write_bytes(jpeg(1))
    (source / "c.jpg").write_bytes(jpeg(2))
    report = resize_tree(source, tmp_path / "small")
    assert report.written == 2
    assert [line.endswith("its name is too long") for line in report.bad] == [True]


def test_ordinary_trees_are_no_downloads(official, tmp_path):
    tree_of = tmp_path / "plain"
    unpacked_train(tree_of / "train")
    unpacked_train(tree_of / "val")
    (tree_of / "val" / "cover.jpg").write_bytes(jpeg(3))
    assert layouts.find(tree_of) is None
    shutil.copy(official / layouts.TRAIN, tree_of)
    shutil.copy(official / layouts.VAL, tree_of)
    assert layouts.find(tree_of) is None  # the archives that it was made of, kept beside it
    flat = tmp_path / "flat"
    for split in ("train", "val"):
        (flat / split).mkdir(parents=True)
        (flat / split / "a.jpg").write_bytes(jpeg(4))
    assert layouts.find(flat) is None
    (official / "imagenet-something.zip").write_bytes(b"PK")
    assert layouts.find(official) is not None


def test_a_worker_ends_with_its_parent_however_it_was_started(official, tmp_path):
    """Python 3.14 starts them by a server, whose child a worker is, and not the parent's."""
    script = "import multiprocessing, sys\nif __name__ == '__main__':\n"
    script += "    multiprocessing.set_start_method(sys.argv[1])\n    from gamlib.__main__ import main\n"
    script += "    sys.exit(main(['resize', *sys.argv[2:]]))\n"
    (tmp_path / "start.py").write_text(script)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[1]), "OMP_NUM_THREADS": "1"}
    for method in ("forkserver", "spawn"):
        command = [sys.executable, str(tmp_path / "start.py"), method, str(official), str(tmp_path / method)]
        ran = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
    assert tree(tmp_path / "forkserver") == tree(tmp_path / "spawn")
