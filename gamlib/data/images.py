"""Image files: how one is read, and what is wrong with one that can't be."""

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
MODES = {"L": "gray", "1": "black and white", "P": "palette", "RGBA": "transparent"}  # Pillow's names, and ours


class BadImage(Exception):
    """A file that is not a whole image: its kind (broken, empty, not an image ...), and the details."""

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(f"{kind} ({detail})" if detail else kind)
        self.kind = kind


@dataclass(frozen=True)
class Problem:
    """What is odd about a file."""

    kind: str  # "broken", "empty", "not an image", "gray", "CMYK" ...
    text: str
    stops_training: bool


def open_image(path: Path) -> Image.Image:
    """The image, decoded to the last pixel, in the mode that it is stored in.

    Raises:
        BadImage: for an empty, broken or foreign file.
    """
    try:
        with Image.open(path) as image:
            image.load()
    except UnidentifiedImageError:
        raise BadImage("empty" if path.stat().st_size == 0 else "not an image") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # what Pillow raises
        raise BadImage("broken", str(error)) from None
    if image.mode.startswith(("I", "F")):
        raise BadImage("more than 8 bits", "it has more than 8 bits a channel; convert it to 8")
    return image


def read_rgb(path: Path) -> Image.Image:
    """The image in RGB; gray, CMYK and palette images are converted. Raises BadImage as `open_image` does."""
    image = open_image(path)
    return image if image.mode == "RGB" else image.convert("RGB")


def shown(path: Path) -> str:
    """A path as it can be printed: a name in another encoding than UTF-8 has bytes that can't be."""
    return os.fsencode(path).decode(errors="replace")


def problem(path: Path) -> Problem | None:
    """What is odd about a file; None for a whole RGB image."""
    if path.suffix.lower() not in SUFFIXES:
        return Problem("not an image", "not an image by its name; training passes it over", False)
    try:
        mode = open_image(path).mode
    except BadImage as error:
        return Problem(error.kind, str(error), True)
    kind = MODES.get(mode, mode)
    return None if mode == "RGB" else Problem(kind, f"{kind}; training converts it to RGB", False)
