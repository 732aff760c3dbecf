"""Shrinks a tree of photographs once, so that every later epoch decodes fewer pixels."""

import contextlib
import functools
import shutil
from pathlib import Path

from PIL import Image

from gamlib._files import lock, whole
from gamlib.data.dataset import DataError
from gamlib.data.imagenet import RESIZED
from gamlib.data.images import BadImage, open_image, shown
from gamlib.data.listing import list_images
from gamlib.data.parallel import map_files

QUALITY = 90  # of JPEGs
LONGEST = 16383  # pixels of a side, that all formats can hold (WebP's limit)


def resize_tree(source: Path, target: Path) -> tuple[int, list[str]]:
    """Copy every image below `source` to the same place below `target`, its short side at most 256 pixels.

    An image that is no larger is copied as it is. What stands in `target` already is left alone, so an interrupted
    call can be repeated. The filter is the one that tests use, so their images change by JPEG's rounding alone. Pixels
    stay as they are stored, whatever EXIF says (see `open_image`); what is shrunk loses its EXIF.

    Returns:
        How many images were written, and a line for each that could not be read (these are not in `target`).

    Raises:
        DataError: where `source` is missing or holds no images, or `target` lies in it.
    """
    source, target = source.resolve(), target.resolve()
    if not source.is_dir():
        raise DataError(f"{source} is not a folder")
    if target == source or source in target.parents:
        raise DataError(f"the resized images can't go into {target}: it lies in {source} itself")
    paths = [Path(path) for path, _ in list_images(source, ".")]
    if not paths:
        raise DataError(f"{source} holds no images")
    for folder in {path.parent for path in paths}:
        (target / folder).mkdir(parents=True, exist_ok=True)
    try:
        held = lock(target)
    except BlockingIOError:
        raise DataError(f"another process is writing into {target}; wait until it has ended") from None
    with held or contextlib.nullcontext():
        waiting = [path for path in paths if not (target / path).exists()]
        answers = map_files(functools.partial(_resize, source, target), waiting)
        bad = [line for _, line in answers if line is not None]
    return len(waiting) - len(bad), bad


def _resize(source: Path, target: Path, path: Path) -> str | None:
    """Write one image; returns what is wrong with it, if something is."""
    try:
        image = open_image(source / path)
    except BadImage as error:
        return f"{shown(source / path)}: {error}"
    short = min(image.size)
    size = tuple(round(side * RESIZED / short) for side in image.size)
    if short > RESIZED and max(size) > LONGEST:
        return f"{shown(source / path)}: too long to be shrunk ({image.size[0]} x {image.size[1]} pixels)"
    with whole(target / path, sync=False) as partial:  # a million of them; what a crash cuts, the next call mends
        if short <= RESIZED:
            shutil.copyfile(source / path, partial)
        else:
            image = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
            image.save(partial, format=Image.registered_extensions()[path.suffix.lower()], quality=QUALITY)
    return None
