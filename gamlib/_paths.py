"""Where downloads, recorded runs and small trained networks lie, in a checkout and in an installed wheel alike."""

import os
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent


def checkout_data() -> Path | None:
    """data/ of the checkout that gamlib runs from; None where it is installed as a wheel."""
    root = PACKAGE.parent
    return root / "data" if (root / "pyproject.toml").is_file() and (root / "data").is_dir() else None


def data_root(root: str | Path | None = None) -> Path:
    """Folder for data sets: `root`, else GAMLIB_DATA, else data/ of the checkout, else ~/.cache/gamlib."""
    if root is not None:
        return Path(root).expanduser()
    if os.environ.get("GAMLIB_DATA"):
        return Path(os.environ["GAMLIB_DATA"]).expanduser()
    return checkout_data() or Path.home() / ".cache" / "gamlib"


def recorded(kind: str) -> Path:
    """Folder of what ships with gamlib: "results" (recorded runs, JSON) or "zoo" (weights, .safetensors)."""
    return (checkout_data() or PACKAGE / "_data") / kind
