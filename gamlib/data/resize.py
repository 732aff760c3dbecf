"""Shrinks photographs once, so that every later epoch decodes fewer pixels: a tree of them, or ImageNet's archives."""

import contextlib
import errno
import functools
import io
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from gamlib._files import lock, whole
from gamlib._output import write_line
from gamlib.data import layouts
from gamlib.data.dataset import DataError
from gamlib.data.imagenet import RESIZED
from gamlib.data.images import BadImage, open_image, shown
from gamlib.data.layouts import Photograph
from gamlib.data.listing import few, list_images
from gamlib.data.parallel import map_files

QUALITY = 90  # of JPEGs
LONGEST = 16383  # pixels of a side, that all formats can hold (WebP's limit)
SHARE = 4  # ImageNet's photographs, of 500 x 375 pixels mostly, come to about a quarter of their bytes


@dataclass
class Report:
    """What came of it."""

    written: int = 0
    bad: list[str] = field(default_factory=list)  # a line for each that could not be read, or not wholly
    notes: list[str] = field(default_factory=list)  # what is odd, and may be meant


def resize_tree(source: Path, target: Path) -> Report:
    """Copy every image below `source` to the same place below `target`, its short side at most 256 pixels.

    ImageNet's archives, Kaggle's folders and Tiny-ImageNet come to lie in train/CLASS/ and val/CLASS/ (see `layouts`).
    An image that is no larger is copied as it is. What stands in `target` already is left alone, so an interrupted
    call can be repeated. The filter is the one that tests use, so their images change by JPEG's rounding alone. Pixels
    stay as they are stored, whatever EXIF says (see `open_image`); what is shrunk loses its EXIF.

    Raises:
        DataError: where `source` is missing, holds no images, or not all parts of a download; where `target` lies in
            it, is being written by another process, or lies on a disk with too little room.
    """
    source, target = source.resolve(), target.resolve()
    if not source.is_dir():
        raise DataError(f"{source} is not a folder")
    if target == source or source in target.parents:
        raise DataError(f"the resized images can't go into {target}: it lies in {source} itself")
    layout = layouts.find(source)
    if layout is None:
        tree = list(_tree(source, target))
        photographs, size = iter(tree), sum(photograph.size for photograph in tree)
    else:
        photographs, size = layout.photographs(target), layout.size()
        write_line(f"reading {layout}")
    target.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(target).free
    if free < size // SHARE and not list_images(target, "."):
        raise DataError(
            f"{target} has {free / 1e9:,.1f} GB free, and {size / 1e9:,.1f} GB of photographs take about "
            f"{size / SHARE / 1e9:,.1f} GB once they are shrunk; free some, or choose a folder on another disk"
        )
    try:
        held = lock(target)
    except BlockingIOError:
        raise DataError(f"another process is writing into {target}; wait until it has ended") from None
    with held or contextlib.nullcontext():
        return _write_all(photographs, size, target, layout)


def _write_all(photographs: Iterator[Photograph], size: int, target: Path, layout: layouts.Layout | None) -> Report:
    report = Report()
    for _, line in map_files(functools.partial(_resize, target), _with_folders(photographs, target), size, "B"):
        if line is not None:
            report.bad.append(line)
        report.written += line is None
    if layout is not None:
        there = {split: _classes(target, split) for split in layouts.OFFICIAL}
        report.bad += layout.cut.values()
        report.notes = [*filter(None, [layouts.devkit_note(layout.labels)]), *_counts(there)]
        if lone := sorted(there["train"].keys() ^ there["val"].keys()):
            report.bad.append(f"not in both, train/ and val/: {few(lone, 'class folder')}")
    return report


def _classes(target: Path, split: str) -> Counter[str]:
    """Class -> number of its images."""
    images = list_images(target, split) if (target / split).is_dir() else []
    return Counter(path.split("/")[1] for path, _ in images)


def _counts(there: dict[str, Counter[str]]) -> Iterator[str]:
    """How many classes and images there are now, where they are not ImageNet's."""
    for split, expected in layouts.OFFICIAL.items():
        images = there[split]
        if (len(images), sum(images.values())) != expected:
            yield (
                f"{split}/ has {len(images):,} classes with {sum(images.values()):,} images; "
                f"the whole of ImageNet has {expected[0]:,} with {expected[1]:,}"
            )


def _tree(source: Path, target: Path) -> Iterator[Photograph]:
    paths = [(Path(path), size) for path, size in list_images(source, ".")]
    if not paths:
        raise DataError(f"{source} holds no images")
    for path, size in paths:
        if not layouts.is_written(target / path):
            yield Photograph(source / path, str(source / path), str(path), size)


def _with_folders(photographs: Iterator[Photograph], target: Path) -> Iterator[Photograph]:
    """Each once the folder that it goes into exists."""
    made = set()
    for photograph in photographs:
        if (folder := (target / photograph.target).parent) not in made:
            folder.mkdir(parents=True, exist_ok=True)
            made.add(folder)
        yield photograph


def _resize(target: Path, photograph: Photograph) -> str | None:
    """Write one image; returns what is wrong with it, if something is."""
    source, name, path = photograph.source, shown(photograph.name), target / photograph.target
    try:
        image = open_image(source if isinstance(source, Path) else io.BytesIO(source))
    except BadImage as error:
        return f"{name}: {error}"
    short = min(image.size)
    size = tuple(round(side * RESIZED / short) for side in image.size)
    if short > RESIZED and max(size) > LONGEST:
        return f"{name}: too long to be shrunk ({image.size[0]} x {image.size[1]} pixels)"
    try:
        with whole(path, sync=False) as partial:  # a million of them; what a crash cuts, the next call mends
            if short > RESIZED:
                image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
                image.info.clear()  # comments and the like, which another format may not hold
                image.save(partial, format=Image.registered_extensions()[path.suffix.lower()], quality=QUALITY)
            elif isinstance(source, bytes):
                partial.write_bytes(source)
            else:
                shutil.copyfile(source, partial)
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return f"{name}: its name is too long"
    return None
