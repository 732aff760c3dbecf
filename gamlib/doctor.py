"""Looks at this machine and says, line by line, what is fine and what to do about the rest."""

import importlib.metadata
import os
import platform
import re
import shutil
import sys
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
    return [_python(), packages, _device(), _threads(), _cifar100(root), _disk(root)]


def report(root: str | Path | None = None) -> int:
    """Print all findings; returns 1 where something needed is not as it should be, else 0."""
    findings = examine(root)
    print("\n".join(str(finding) for finding in findings))
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
    from tqdm import tqdm

    from gamlib.data import imagenet, images
    from gamlib.data.parallel import map_files

    folders = imagenet.dataset(root)
    paths = sorted(path for split in ("train", "val") for path in (folders.root / split).glob("*/*") if path.is_file())
    kinds: Counter[str] = Counter()
    stops = 0
    for path, problem in map_files(images.problem, paths):
        if problem is not None:
            kinds[problem.kind] += 1
            stops += problem.stops_training
            tqdm.write(f"{'FIX' if problem.stops_training else 'NOTE':<5}{images.shown(path)}: {problem.text}")
    counted = ", ".join(f"{count:,} {kind}" for kind, count in sorted(kinds.items())) or "all are whole and in RGB"
    print(f"{len(paths):,} files in {folders.num_classes} classes of {folders.root}: {counted}")
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
    from gamlib._device import best_device, device_name, has_bf16

    device = best_device()
    found = f"{device.type}: {device_name(device)}; trains in {'bfloat16' if has_bf16(device) else 'float32'}"
    advice = "no GPU: puzzles take minutes here, CIFAR-100 half an hour and more; on Colab, choose a GPU runtime"
    return Finding("device", found, "" if device.type == "cuda" else advice, needed=False)


def _threads() -> Finding:
    import torch

    threads = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    advice = "" if threads <= cores else f"more threads than cores: set OMP_NUM_THREADS={cores}"
    return Finding("threads", f"{threads} of {cores} cores", advice)


def _cifar100(root: str | Path | None) -> Finding:
    from gamlib.data import DataError, cifar100

    try:
        for split in ("train", "test"):
            cifar100.load(split, root)
    except DataError as error:
        found, _, advice = str(error).partition("\n")
        return Finding("CIFAR-100", found, advice or "see above", needed=False)
    return Finding("CIFAR-100", f"{data_root(root) / cifar100.FOLDER}, md5s match")


def _disk(root: str | Path | None) -> Finding:
    folder = data_root(root)
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free / 1e9
    advice = (
        "" if free >= FREE_GB else f"less than {FREE_GB} GB: free some, or set GAMLIB_DATA to a folder on another disk"
    )
    return Finding("disk", f"{free:.0f} GB free in {folder}", advice)
