"""Looks at this machine and says, line by line, what is fine and what to do about the rest."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from gamlib._paths import data_root

# What needs a package is imported in its function: this file must work where any of them is missing.

FREE_GB = 2  # CIFAR-100 with its archive, and some runs


@dataclass(frozen=True)
class Finding:
    """One line of the report. `advice` is empty where all is well."""

    subject: str
    found: str
    advice: str = ""
    needed: bool = True  # False: the course works without it

    def __str__(self) -> str:
        mark = "OK" if not self.advice else "FIX" if self.needed else "NOTE"
        line = f"{mark:<5}{self.subject:<11}{self.found}"
        return (
            line if not self.advice else f"{line}\n" + "\n".join(f"{'':16}{part}" for part in self.advice.split("\n"))
        )


def examine(root: str | Path | None = None) -> list[Finding]:
    """All findings about this machine.

    Args:
        root: the data root to look into (see `gamlib.data.data_root`).
    """
    packages = _packages()
    if packages.advice:
        return [_python(), packages, _disk(root)]  # the others need what is missing
    return [_python(), packages, _device(), _threads(), *_shared_memory(), _cifar100(root), _disk(root)]


def report(root: str | Path | None = None) -> int:
    """Print all findings; returns 1 where something needed is not as it should be, else 0."""
    findings = examine(root)
    print(os.fsencode("\n".join(map(str, findings))).decode(errors="replace"))  # a path may be no UTF-8
    return int(any(finding.advice and finding.needed for finding in findings))


def report_images(root: str | Path | None = None) -> int:
    """Decode every image of an ImageNet-like folder, and print each that is not a whole RGB image.

    Args:
        root: the folder that holds train/ and val/, or a data root.

    Returns:
        1 where training would stop at one of them, else 0.

    Raises:
        DataError: where folders or classes are missing.
    """
    from gamlib._output import write_line  # needs tqdm
    from gamlib.data import imagenet, images, listing
    from gamlib.data.parallel import map_files

    folders = imagenet.dataset(root)
    paths = [folders.root / path for path, _ in (*folders.train_files, *folders.test_files)]
    found = {folders.root / path for split in ("train", "val") for path, _ in listing.walk(folders.root, split)}
    passed = sorted(found.difference(paths))
    kinds = Counter(["passed over"] * len(passed))
    for path in passed:
        why = f"images are files in class folders, and their names end in {', '.join(images.SUFFIXES)}"
        print(f"NOTE {images.shown(path)}: not an image; training passes it over ({why})")
    stops = 0
    for path, (odd, bad) in map_files(images.oddities, paths, len(paths)):
        kinds.update(odd.keys())
        stops += bad
        for text in odd.values():
            write_line(f"{'FIX' if bad else 'NOTE':<5}{images.shown(path)}: {text}")
    counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items())) or "all are whole and in RGB"
    where = f"{folders.num_classes} classes of {images.shown(folders.root)}"
    print(f"{len(paths) + len(passed):,} files in {where}: {counted}")
    if stops:
        print("Remove or replace what is marked FIX, or train with --bad-images skip")
    return int(stops > 0)


def _python() -> Finding:
    fine = sys.version_info >= (3, 10)
    return Finding(
        "Python", f"{platform.python_version()}, {sys.executable}", "" if fine else "install Python 3.10 or newer"
    )


def _packages() -> Finding:
    """What gamlib's own metadata asks for: there, and new enough."""
    found, wanted = [], []
    for name, least in needed():
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            wanted.append(name)
            continue
        found.append(f"{name} {version}")
        if least and _numbers(version) < _numbers(least):
            wanted.append(f'"{name}>={least}"')
    if not wanted:
        try:
            import torchvision  # noqa: F401 (torch comes in with it, and has to be of the same build)
        except Exception as error:
            advice = f"torch and torchvision can't be imported ({error}); reinstall both, from one place"
            return Finding("packages", ", ".join(found), advice)
    return Finding("packages", ", ".join(found), f"pip install {' '.join(wanted)}" if wanted else "")


def needed() -> list[tuple[str, str | None]]:
    """Packages that gamlib can't do without, each with its least version, if it has one."""
    try:
        lines = importlib.metadata.requires("gamlib") or []
    except importlib.metadata.PackageNotFoundError:
        return [("gamlib", None)]
    parsed = (re.match(r"([\w.-]+)(?:\[.*?\])?\s*(?:>=\s*([\d.]+))?", line) for line in lines if "extra ==" not in line)
    return [(match[1], match[2]) for match in parsed if match]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:2])


def _device() -> Finding:
    import torch

    from gamlib._device import device_name, device_of, has_kernels
    from gamlib.training.speed import Speed

    device = device_of("auto")
    found = f"{device.type}: {device_name(device)}; trains in {Speed().resolve(device)}"
    if device.type == "cpu":
        advice = "no GPU: puzzles take minutes here, CIFAR-100 half an hour and more; on Colab, choose a GPU runtime"
        return Finding("device", found, advice, needed=False)
    free, total = torch.cuda.mem_get_info(device)
    major, minor = torch.cuda.get_device_capability(device)
    found += f"; {free / 1e9:.1f} of {total / 1e9:.1f} GB free; {torch.cuda.device_count()} of them; sm_{major}{minor}"
    advice = f"this PyTorch has no kernels for sm_{major}{minor}: install one for an older CUDA, from pytorch.org"
    return Finding("device", found, "" if has_kernels(device) else advice)


def _threads() -> Finding:
    import torch

    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    advice = "" if threads <= cores else f"more threads than cores: set OMP_NUM_THREADS={cores}"
    return Finding("threads", f"{threads} of {cores} cores", advice)


def _shared_memory() -> list[Finding]:
    """Of workers that decode photographs; [] on systems that have none."""
    from gamlib.data import workers

    if (free := workers.shared_memory()) is None:
        return []
    advice = "little for workers that decode photographs: use fewer, or in Docker `docker run --shm-size=8g`"
    enough = free >= 1e9  # for batches of 256 at 224 x 224 from a dozen workers
    return [Finding(workers.SHARED_MEMORY, f"{free / 1e9:.2f} GB free", "" if enough else advice, needed=False)]


def _cifar100(root: str | Path | None) -> Finding:
    from gamlib.data import DataError, cifar100
    from gamlib.data.dataset import MissingData

    try:
        for split in ("train", "test"):
            cifar100.load(split, root)
    except (DataError, OSError) as error:
        found, _, advice = str(error).partition("\n")
        missing = isinstance(error, MissingData)  # then it is downloaded when it is needed; what is damaged stays so
        return Finding("CIFAR-100", found, advice or "see above", needed=not missing)
    return Finding("CIFAR-100", f"{data_root(root) / cifar100.FOLDER}, md5s match")


def _disk(root: str | Path | None) -> Finding:
    try:
        folder = data_root(root)
    except OSError as error:  # no home folder is known
        return Finding("disk", "no data root", str(error))
    while not os.path.lexists(folder):
        folder = folder.parent
    other = "or set GAMLIB_DATA to a folder on another disk"
    try:
        free = shutil.disk_usage(folder).free / 1e9
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        # A folder of others may hold the data already; then it need not be written.
        found, here = f"{folder} can't be written ({error.strerror})", folder.is_dir()
        return Finding("disk", found, f"nothing can be downloaded there: make it a folder of yours, {other}", not here)
    advice = f"less than {FREE_GB} GB: free some, {other}" if free < FREE_GB else ""
    return Finding("disk", f"{free:.0f} GB free in {folder}", advice)
