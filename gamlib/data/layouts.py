"""ImageNet as it is handed out: archives, flat folders and lists of classes, brought to class folders as it is read.

Known are the three archives of image-net.org, whole or with the thousand inner ones unpacked into train/; Kaggle's
competition, unzipped; and Tiny-ImageNet. torchvision's parser refuses an archive with another md5 than it expects, and
writes beside it; here an archive is only read, and never unpacked.
"""

import csv
import dataclasses
import hashlib
import io
import itertools
import re
import shlex
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from gamlib.data.dataset import DataError
from gamlib.data.images import SUFFIXES, shown
from gamlib.data.listing import contents, few, list_images, walk

TRAIN, VAL, DEVKIT = "ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"
CSV, TINY, KAGGLE = "LOC_val_solution.csv", "val_annotations.txt", "ILSVRC/Data/CLS-LOC"
AGAIN = "get the rest of it (`wget -c`), or all of it again"
DEVKIT_MD5 = "fa75699e90414af021442c21a62c3abf"
OFFICIAL = {"train": (1000, 1_281_167), "val": (1000, 50_000)}  # class folders, images
COMPLETE = ".complete"  # in a class folder: how many images its archive had, once it was read to the end
CLASS_ARCHIVE = re.compile(r"n\d{8}\.tar")


@dataclass(frozen=True)
class Photograph:
    """One image: where it lies, or its bytes, and where it goes below the target."""

    source: Path | bytes
    name: str  # for messages
    target: str
    size: int  # bytes

    def __str__(self) -> str:
        return self.name


@dataclass
class Layout:
    """Where the parts of a download lie. `cut` gathers, while it is read, what was found damaged: folder -> message."""

    train: Path  # a folder of class folders or of one archive for each class, or the archive of these
    val: Path  # a folder of images, or an archive of them
    labels: Path | None  # which class each of these has; None where they lie in folders of their classes
    cut: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        return ", ".join(shown(path) for path in (self.train, self.val, self.labels) if path is not None)

    def size(self) -> int:
        """Bytes, all in all."""
        trees = [path for path in (self.train, self.val) if path.is_dir()]
        sizes = [path.stat().st_size for path in (self.train, self.val) if path not in trees]
        for tree in trees:
            sizes += [size or 0 for _, size in walk(tree, ".")]
        return sum(sizes)

    def photographs(self, target: Path) -> Iterator[Photograph]:
        """All that `target` does not hold yet, an archive from its beginning to its end: disks like that best.

        Raises:
            DataError: for an archive or a list of classes that can't be used.
        """
        known = None if self.labels is None else read_labels(self.labels)
        given: set[str] = set()  # what is on its way is not on the disk yet
        for photograph in itertools.chain(self._train(target), self._sorted(known)):
            if photograph.target not in given and not is_written(target / photograph.target):
                given.add(photograph.target)
                yield photograph

    def _sorted(self, known: dict[str, str] | None) -> Iterator[Photograph]:
        """Those of val, each in its class's folder."""
        if known is None:
            yield from _in_folders(self.val, "val")
            return
        without = []
        for photograph in self._val():
            path = PurePosixPath(photograph.target)
            if path.stem in known:
                yield dataclasses.replace(photograph, target=f"val/{known[path.stem]}/{path.name}")
            else:
                without.append(path.name)
        if without:
            self.cut["val, by its list"] = f"without a class in {shown(self.labels)}: {few(without, 'image')}"

    def _train(self, target: Path) -> Iterator[Photograph]:
        if self.train.is_dir():
            yield from _in_folders(self.train, "train")
        found = False
        try:
            for name, content in _archives(self.train):
                found = True
                if not _holds_all(target / "train" / name):
                    yield from self._class(name, content(), target)
        except tarfile.TarError:
            self.cut["train"] = f"{shown(self.train)} is damaged or cut off; {AGAIN}"
        if self.train.is_file() and not found and "train" not in self.cut:
            self.cut["train"] = f"{shown(self.train)} holds no archives of classes, such as n01440764.tar"

    def _class(self, name: str, content: bytes, target: Path) -> Iterator[Photograph]:
        home, count = f"train/{name}", 0
        try:
            with tarfile.open(fileobj=io.BytesIO(content)) as inner:
                for image, data in _members(inner):
                    image = image.removeprefix(f"{name}/")
                    yield Photograph(data, f"{name}.tar: {image}", f"{home}/{image}", len(data))
                    count += 1
            if not count:
                self.cut[home] = f"{name}.tar in {shown(self.train)} holds no images"
            else:  # what is on its way, or can't be written, will be missing when a repeat counts
                (target / home / COMPLETE).write_text(str(count))
        except tarfile.TarError:
            self.cut[home] = f"{name}.tar in {shown(self.train)} is damaged or cut off after {count:,} images; {AGAIN}"

    def _val(self) -> Iterator[Photograph]:
        if self.val.is_dir():
            yield from _in_folders(self.val, "val")
            return
        try:
            with tarfile.open(self.val) as archive:
                for name, data in _members(archive):
                    yield Photograph(data, f"{self.val.name}: {name}", f"val/{name}", len(data))
        except tarfile.TarError:
            self.cut["val"] = f"{shown(self.val)} is damaged or cut off; {AGAIN}"


def find(source: Path) -> Layout | None:
    """The layout of a download in `source`; None for a tree of images that has class folders already.

    Raises:
        DataError: where a part is missing, or it is a zip file that has to be unpacked first.
    """
    base = source / KAGGLE if (source / KAGGLE).is_dir() else source
    folders, files = contents(source)
    zips = [shown(source / name) for name in files if "imagenet" in name and name.endswith(".zip")]
    if zips and not folders and not any(name.endswith(".tar") for name in files):
        raise DataError(f"{zips[0]} has to be unpacked first: {shlex.join(['unzip', zips[0], '-d', shown(source)])}")
    if all((base / split).is_dir() and _has_folders_alone(base / split) for split in ("train", "val")):
        return None  # archives beside it are what it was made of
    train, val = (
        next((path for path in (base / archive, base / folder / archive, base / folder) if _is_there(path)), None)
        for archive, folder in ((TRAIN, "train"), (VAL, "val"))
    )
    is_download = any(path is not None and path.is_file() for path in (train, val))
    if train is not None and train.is_dir():
        is_download |= _has_archives(train)
        is_download |= bool(contents(train)[0]) and val is not None and val.is_dir() and _is_flat(val)
    if not is_download:
        return None
    for path, archive, folder in ((train, TRAIN, "train"), (val, VAL, "val")):
        if path is None:
            raise DataError(f"{shown(source)} holds neither {archive} nor {folder}/; put it beside the others")
    if val.is_dir() and not _is_flat(val):
        return Layout(train, val, None)
    csvs = [folder / CSV for folder in (source, *source.parents[:3])]  # SRC may be the inner folder of Kaggle's
    lists = (val / TINY, *csvs, source / DEVKIT, source / DEVKIT.partition(".")[0])
    labels = next((path for path in lists if path.exists()), None)
    if labels is None:
        raise DataError(
            f"nothing in {shown(source)} says which classes the images of {shown(val)} have: put {DEVKIT} of "
            f"image-net.org there, or {CSV} of Kaggle"
        )
    return Layout(train, val, labels)


def check_unpacked(root: Path) -> None:
    """Raise DataError, with the command that makes class folders of it, where `root` holds a download as it came."""
    root = root.resolve()
    if root.is_dir() and (layout := find(root)) is not None:
        parts = ", ".join(path.name for path in (layout.train, layout.val, layout.labels) if path is not None)
        command = shlex.join(["gamlib", "resize", shown(root), f"{shown(root)}-256"])
        raise DataError(f"{shown(root)} holds a download as it came ({parts}). Make class folders of it: {command}")


def read_labels(path: Path) -> dict[str, str]:
    """Name of each validation image, without its ending -> name of its class's folder.

    Raises:
        DataError: where the list can't be read.
    """
    try:
        if path.name == CSV:
            with open(path, newline="", encoding="utf-8-sig") as file:
                labels = {row[0]: row[1].split()[0] for row in list(csv.reader(file))[1:] if row}
        elif path.name == TINY:
            rows = [line.split("\t") for line in path.read_text(encoding="utf-8-sig").splitlines() if line]
            labels = {PurePosixPath(row[0]).stem: row[1] for row in rows}
        else:
            labels = _read_devkit(path)
        if odd := next((name for name in labels.values() if not re.fullmatch(r"[\w-]+", name)), None):
            raise ValueError(f"{odd!r} is no class")
    except Exception as error:  # csv's, tarfile's and scipy's are of many kinds
        raise DataError(f"{shown(path)} is not the list of classes that it should be ({error}); get it again") from None
    return labels


def _read_devkit(path: Path) -> dict[str, str]:
    """Two files of it: meta.mat, number -> class, and the numbers of the images, one in a line."""
    from scipy.io import loadmat

    wanted = ("meta.mat", "ILSVRC2012_validation_ground_truth.txt")
    if path.is_dir():
        found = {name: (path / "data" / name).read_bytes() for name in wanted}
    else:
        with tarfile.open(path) as archive:
            members = {PurePosixPath(member.name).name: member for member in archive}
            found = {name: archive.extractfile(members[name]).read() for name in wanted}
    synsets = loadmat(io.BytesIO(found["meta.mat"]), squeeze_me=True)["synsets"]
    classes = {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    numbers = found[wanted[1]].decode().split()
    return {f"ILSVRC2012_val_{i:08d}": classes[int(number)] for i, number in enumerate(numbers, start=1)}


def is_written(path: Path) -> bool:
    """Whether an image is there, and not empty, as it may be after a loss of power."""
    return path.exists() and path.stat().st_size > 0


def devkit_note(labels: Path | None) -> str | None:
    """What is to be said of a devkit that is not the official one, byte for byte."""
    if (
        labels is None
        or labels.name != DEVKIT
        or hashlib.md5(labels.read_bytes(), usedforsecurity=False).hexdigest() == DEVKIT_MD5
    ):
        return None
    return f"{shown(labels)} is not the official file (its md5 is another); its list of classes is used all the same"


def _in_folders(root: Path, split: str) -> Iterator[Photograph]:
    for path, size in list_images(root, "."):
        path = str(PurePosixPath(path))
        yield Photograph(root / path, str(root / path), f"{split}/{path}", size)


def _archives(train: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Class -> its archive's content."""
    if train.is_dir():
        for name in filter(CLASS_ARCHIVE.fullmatch, contents(train)[1]):
            yield name[:-4], (train / name).read_bytes
        return
    with tarfile.open(train) as outer:
        for member in _to_the_end(outer):
            if (path := PurePosixPath(member.name)).suffix == ".tar" and not path.name.startswith("."):
                yield path.stem, lambda member=member: outer.extractfile(member).read()


def _holds_all(folder: Path) -> bool:
    """Whether a class was read to the end, and its images are all there still."""
    if not (folder / COMPLETE).is_file() or not (count := (folder / COMPLETE).read_text()).isdecimal():
        return False
    return sum(size > 0 for _, size in list_images(folder, ".")) >= int(count)


def _members(archive: tarfile.TarFile) -> Iterator[tuple[str, bytes]]:
    """The images of an archive: path within it, and content. Links within it are followed; dot files passed over."""
    for member in _to_the_end(archive):
        parts = [part for part in PurePosixPath(member.name).parts if part not in ("/", "..")]
        if parts and parts[-1].lower().endswith(SUFFIXES) and not parts[-1].startswith(".") and "\0" not in member.name:
            try:
                yield "/".join(parts), archive.extractfile(member).read()
            except KeyError:
                raise tarfile.ReadError(f"{member.name} is a link that leads nowhere") from None


def _to_the_end(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The files of an archive. Python's own iterator ends without a word where one was cut off between two of them."""
    yield from (member for member in archive if member.isfile() or member.islnk() or member.issym())
    archive.fileobj.seek(archive.offset)
    if archive.fileobj.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
        raise tarfile.ReadError("its end is missing")


def _has_archives(train: Path) -> bool:
    return any(map(CLASS_ARCHIVE.fullmatch, contents(train)[1]))


def _is_flat(val: Path) -> bool:
    folders, files = contents(val)
    return TINY in files or (not folders and any(name.lower().endswith(SUFFIXES) for name in files))


def _has_folders_alone(split: Path) -> bool:
    return bool(contents(split)[0]) and not _has_archives(split) and not _is_flat(split)


def _is_there(path: Path) -> bool:
    """Raises DataError for a link to what is gone."""
    if path.is_symlink() and not path.exists():
        raise DataError(f"{shown(path)} is a link that leads nowhere")
    return path.exists()
