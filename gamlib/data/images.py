"""Image files: how one is read, and what is wrong with one that can't be."""

import os
import struct
import warnings
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import TypeVar

from PIL import ExifTags, Image, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MODES = {"L": "gray", "1": "black and white", "P": "palette", "RGBA": "transparent"}  # Pillow's names, and ours

Item, Answer = TypeVar("Item"), TypeVar("Answer")


class BadImage(Exception):
    """A file that is not a whole image: its kind (broken, empty, not an image ...), and the details."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind} ({detail})" if detail else kind)
        self.kind = kind


def open_image(path: Path | BytesIO) -> Image.Image:
    """The image, decoded to the last pixel, in the mode and the orientation that it is stored in.

    EXIF's orientation, by which viewers turn a photograph, is ignored, as torchvision's ImageFolder does and as it was
    for the published numbers on ImageNet.

    Raises:
        BadImage: for an empty, broken or foreign file, and for a link that leads nowhere.
    """
    if isinstance(path, Path) and not os.path.isfile(path):  # a named pipe would be waited for, without end
        raise BadImage("broken link" if os.path.islink(path) else "not a file")
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        size = path.stat().st_size if isinstance(path, Path) else len(path.getbuffer())
        raise BadImage("not an image" if size else "empty") from None
    except (
        OSError,
        SyntaxError,
        ValueError,
        RuntimeError,
        Image.DecompressionBombError,
    ) as error:  # what Pillow raises
        raise BadImage("broken", str(error)) from None
    if image.mode.startswith(("I", "F")):
        raise BadImage("more than 8 bits", "it has more than 8 bits a channel; convert it to 8")
    return image


def read_rgb(path: Path) -> Image.Image:
    """The image in RGB; gray, CMYK and palette images are converted. Raises BadImage as `open_image` does."""
    image = open_image(path)
    return image if image.mode == "RGB" else image.convert("RGB")


def shown(path: Path | str) -> str:
    """A path, or a text with one, as it can be printed: other encodings than UTF-8 have bytes that can't be."""
    return os.fsencode(path).decode(errors="replace")


def oddities(path: Path) -> tuple[dict[str, str], bool]:
    """What is odd about an image file, kind -> what comes of it, and whether training stops at it.

    The kinds are "broken", "empty", "gray", "CMYK", "rotated by EXIF" ...; a whole RGB image has none.
    """
    odd = {}
    try:
        image = open_image(path)
    except BadImage as error:
        return {error.kind: str(error)}, True
    if image.mode != "RGB":
        image.convert("RGB")  # for Pillow's warnings
        kind = MODES.get(image.mode, image.mode)
        odd[kind] = f"{kind}; training converts it to RGB"
    if is_rotated(image):
        odd["rotated by EXIF"] = "rotated by EXIF; training takes the pixels as they are stored, as ImageFolder does"
    return odd, False


def is_rotated(image: Image.Image) -> bool:
    """Whether viewers turn or mirror the image, because its EXIF says so."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation) in range(2, 9)
    except (OSError, SyntaxError, ValueError, struct.error):  # damaged EXIF
        return False


def with_warnings(function: Callable[[Item], Answer], item: Item) -> tuple[Answer, list[str]]:
    """function(item), and what was warned of meanwhile: Pillow's own warnings don't name the file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        answer = function(item)
    return answer, list(dict.fromkeys(str(warning.message).strip() for warning in caught))
