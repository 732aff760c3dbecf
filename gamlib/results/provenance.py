"""Where a result comes from: versions and commit."""

import functools
import platform
import subprocess

from gamlib._paths import PACKAGE, checkout_data
from gamlib._version import __version__


def versions() -> dict[str, str]:
    """Versions of python and of the packages that a result depends on."""
    import torch
    import torchvision

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "torchvision": torchvision.__version__,
        "gamlib": __version__,
    }


@functools.cache
def commit() -> str | None:
    """The checkout's commit, with "+" where tracked files differ from it; None where gamlib runs from no checkout.

    The first answer holds for the process: what is edited later is not the code that runs. Recorded runs and weights
    are no code: what a runner has just added to them changes nothing.
    """

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(PACKAGE.parent), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    if checkout_data() is None:
        return None
    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!data/results", ":!data/zoo")
        return git("rev-parse", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
