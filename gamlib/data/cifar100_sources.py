"""Where CIFAR-100 is downloaded from: mirrors of the reader's, the Hugging Face hub, the official host, in this order.

The official host has been throttled to about 60 kB/s since June 2026, which makes 45 minutes; so it comes last. From
whatever source, a file is put into place only when it is proven to hold what the official one does.
"""

import hashlib
import importlib.util
import io
import os
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save
from torch import Tensor

from gamlib._files import write
from gamlib.data.dataset import DataError
from gamlib.data.download import DownloadError, fetch

FOLDER = "cifar-100-python"
URL = "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz"
MD5 = {
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
    "meta": "7973b15100ade9c7d40fb424638fde48",
}
# Of the uint8 pixels (N, 3, 32, 32) and then the int64 labels (N,) in those files; a test recomputes them.
CONTENT_SHA256 = {
    "train": "3f04bb596c34a28a39a030be86f7777c004db9cb45165568a504cca261f6765c",
    "test": "9f0797cda23af3231dce0cca7e8d619c0607f6bb8ca05e9b95ff23e4d044c600",
}
ARCHIVE_MD5 = "eb9058c3a382ffc7106e4002c42a8d85"
# A copy as two parquet files, with columns img (PNG) and fine_label. Reading them takes the package pyarrow.
HUB = "https://huggingface.co/datasets/uoft-cs/cifar100/resolve/main/cifar100"


def download(root: Path) -> None:
    """Make ROOT/cifar-100-python, from the first source that gives it.

    Raises:
        DataError: where none does; says why of each.
    """
    refused = []
    for source, get in sources():
        print(f"CIFAR-100 from {source} into {root / FOLDER}")
        try:
            get(root)
        except DownloadError as error:
            refused.append(f"  {source}: {error}")
            print(refused[-1])
        else:
            for partial in root.glob(f"{FOLDER}.*.partial"):
                partial.unlink()
            return
    raise DataError("CIFAR-100 could not be downloaded:\n" + "\n".join(refused))


def sources() -> list[tuple[str, Callable[[Path], None]]]:
    """The sources in order: a name, and a function that puts the files below a data root."""
    mirrors = os.environ.get("GAMLIB_CIFAR100_URL", "").split()
    found = [(f"GAMLIB_CIFAR100_URL={url}", lambda root, url=url: from_archive(url, root)) for url in mirrors]
    if importlib.util.find_spec("pyarrow"):
        found.append((HUB, from_parquet))
    return [*found, (URL, lambda root: from_archive(URL, root))]


def from_archive(url: str, root: Path) -> None:
    """Download the official .tar.gz and unpack it. Raises DownloadError where the source fails or has another file."""
    partial = partial_path(url, root)
    fetch(url, partial)
    md5 = hashlib.md5(partial.read_bytes(), usedforsecurity=False).hexdigest()
    if md5 != ARCHIVE_MD5:
        partial.unlink()
        raise DownloadError(f"serves another file (md5 {md5}, expected {ARCHIVE_MD5})")
    (root / FOLDER).mkdir(exist_ok=True)
    with tarfile.open(partial) as archive:
        for name in MD5:
            write(archive.extractfile(f"{FOLDER}/{name}").read(), root / FOLDER / name)


def from_parquet(root: Path) -> None:
    """Download the hub's copy and store pixels and labels. Raises DownloadError unless they are the official ones."""
    for split, expected in CONTENT_SHA256.items():
        url = f"{HUB}/{split}-00000-of-00001.parquet"
        partial = partial_path(url, root)
        fetch(url, partial)
        try:
            images, labels = read_parquet(partial)
        except (OSError, ValueError, KeyError) as error:  # pyarrow's and Pillow's errors for a foreign file
            partial.unlink()
            raise DownloadError(f"{split}: can't be read ({type(error).__name__}: {error})") from None
        if content_sha256(images, labels) != expected:
            partial.unlink()
            raise DownloadError(f"{split}: other images or labels than the official ones, or in another order")
        (root / FOLDER).mkdir(exist_ok=True)
        write(save({"images": images, "labels": labels}), root / FOLDER / f"{split}.safetensors")


def read_parquet(path: Path) -> tuple[Tensor, Tensor]:
    """Images uint8 (N, 3, 32, 32) and fine labels int64 (N,)."""
    from pyarrow import parquet

    table = parquet.read_table(path, columns=["img", "fine_label"])
    pngs = (cell["bytes"] for cell in table.column("img").to_pylist())
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(png)).convert("RGB")) for png in pngs])  # (N, 32, 32, 3)
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()
    return images, torch.tensor(table.column("fine_label").to_pylist(), dtype=torch.int64)


def partial_path(url: str, root: Path) -> Path:
    """Where a download from `url` grows: a file of its own for each source, so that two are never mixed."""
    return root / f"{FOLDER}.{hashlib.sha256(url.encode()).hexdigest()[:8]}.partial"


def content_sha256(images: Tensor, labels: Tensor) -> str:
    """sha256 of the pixels, then the labels."""
    sha = hashlib.sha256(images.contiguous().numpy())
    sha.update(labels.numpy())
    return sha.hexdigest()
