"""Saves and loads the state of a run, so that it can go on where it stopped."""

import os
from pathlib import Path

import torch

NAME = "checkpoint.pt"


class CheckpointError(Exception):
    """A checkpoint that can't be used; the message says which, why, and what to do."""


def save(state: dict[str, object], folder: Path) -> None:
    """Write `state` as FOLDER/checkpoint.pt. Whoever reads it sees the old file or the new one, never half of one."""
    partial = folder / f"{NAME}.partial"
    with open(partial, "wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(folder / NAME)


def load(folder: Path, run: dict[str, str]) -> dict[str, object] | None:
    """The state in FOLDER/checkpoint.pt; None where there is none.

    Args:
        run: what the run is (network, data, recipe, seed); it must be the one that was saved.

    Raises:
        CheckpointError: for a damaged file, or one of another run.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file; none of them may pass as "no checkpoint"
        raise CheckpointError(f"{path} can't be read ({type(error).__name__}); delete it to start again") from error
    saved = state.get("run") if isinstance(state, dict) else None
    if saved != run:
        differing = [key for key in run if not isinstance(saved, dict) or saved.get(key) != run[key]]
        raise CheckpointError(
            f"{path} belongs to another run (another {', '.join(differing)}); use another output folder, or delete it"
        )
    return state
