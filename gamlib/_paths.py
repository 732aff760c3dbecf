"""Where downloads, recorded runs and small trained networks lie, in a checkout and in an installed wheel alike."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def checkout_data() -> Path | None:
    """data/ of the checkout that gamlib runs from; None where it is installed as a wheel."""
    root = PACKAGE.parent
    return root / "data" if (root / "pyproject.toml").is_file() and (root / "data").is_dir() else None


def data_root(root: str | Path | None = None) -> Path:
    """Folder for data sets: `root`, else GAMLIB_DATA, else data/ of the checkout, else ~/.cache/gamlib.

    Raises:
        OSError: where that begins with a home folder that the system does not know.
    """
    chosen = root if root is not None else os.environ.get("GAMLIB_DATA") or checkout_data() or "~/.cache/gamlib"
    try:
        return Path(chosen).expanduser()
    except RuntimeError:  # a user without an entry, as in many containers, or a misspelled one
        raise OSError(
            f"the data root would be {chosen}, but that home folder is not known here; set GAMLIB_DATA to the full "
            "path of a folder, or give that as the root"
        ) from None


def recorded(kind: str) -> Path:
    """Folder of what ships with gamlib: "results" (recorded runs, JSON) or "zoo" (weights, .safetensors)."""
    return (checkout_data() or PACKAGE / "_data") / kind
