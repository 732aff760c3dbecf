"""Saves and loads the state of a run, so that it can go on where it stopped, whatever stopped it."""

import copy
import hashlib
import io
import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

from gamlib._files import write

KEPT = 2


class CheckpointError(Exception):
    """A checkpoint that can't be written or used; the message says which, why, and what to do."""


def paths(folder: Path) -> list[Path]:
    """The checkpoints in `folder`, newest first: each file's name holds its step."""
    named = (path for path in folder.glob("checkpoint-*.pt") if re.fullmatch(r"checkpoint-\d{10}\.pt", path.name))
    return sorted(named, reverse=True)  # a reader's own copies, under other names, are left alone


def make_folder(folder: Path) -> None:
    """Make a folder for what is written. Raises CheckpointError where that can't be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CheckpointError(
            f"the output folder {folder} can't be made ({error.strerror}); choose another one"
        ) from None


def save(state: dict[str, object], folder: Path) -> None:
    """Write `state` as FOLDER/checkpoint-STEP.pt, and keep the one before it.

    Whoever reads the folder, or finds it after a crash, sees a file whole or not at all: it is written under another
    name, brought to the disk, and only then renamed.

    Args:
        state: holds the step under "step".
        folder: an existing folder.

    Raises:
        CheckpointError: where it can't be written, such as on a full disk; the older checkpoints are as they were.
    """
    path = folder / f"checkpoint-{state['step']:010d}.pt"
    content = io.BytesIO()
    torch.save(state | {"fingerprint": fingerprint(state)}, content)
    try:
        write(content.getbuffer(), path)
    except OSError as error:
        before = "The checkpoint before it is intact: make room, then the same command goes on from there"
        raise CheckpointError(
            f"{path} could not be written: {error.strerror}. It needs {len(content.getbuffer()) / 1e6:,.1f} MB. "
            f"{before if paths(folder) else 'Make room, or choose another output folder'}"
        ) from error
    for old in paths(folder)[KEPT:]:
        old.unlink()


def copied(value: object) -> object:
    """A copy of nested dicts and lists with tensors, in the CPU's memory: training changes the tensors in place."""
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        new = copy.copy(value)  # a state_dict carries its version as an attribute
        new.update((key, copied(item)) for key, item in value.items())
        return new
    return [copied(item) for item in value] if isinstance(value, list) else value


def load(
    folder: Path, run: dict[str, str], put_aside: bool = True, recipe: dict[str, object] | None = None
) -> dict[str, object] | None:
    """The newest state in `folder` that is whole; None where there is none.

    A damaged checkpoint is named in a warning, put aside as *.damaged, and the one before it is taken.

    Args:
        run: what the run is (network, data, recipe, seed); it must be the one that was saved.
        put_aside: False in all processes but one, where several read the folder.
        recipe: the run's recipe, so that a refusal can say what differs.

    Raises:
        CheckpointError: where all checkpoints are damaged, or belong to another run.
    """
    damaged: dict[Path, str] = {}
    for path in paths(folder):
        try:
            state = read(path)
        except CheckpointError as error:
            damaged[path] = str(error)
            continue
        check_run(state, run, path, recipe or {})
        for bad, message in damaged.items():
            warnings.warn(f"{message}; going on from {path.name}", stacklevel=3)
            if put_aside:
                bad.rename(bad.with_suffix(".damaged"))
        return state
    if damaged:
        raise CheckpointError(f"{'; '.join(damaged.values())}; delete it, or use another output folder, to start again")
    return None


def read(path: Path) -> dict[str, object]:
    """A checkpoint's state. Raises CheckpointError where it is missing, damaged, or no checkpoint of gamlib's."""
    if not path.is_file():
        raise CheckpointError(f"no such checkpoint: {path}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many kinds for a damaged file; none of them may pass as "no checkpoint"
        raise CheckpointError(
            f"{path} can't be read: it is damaged or no checkpoint ({type(error).__name__})"
        ) from None
    if not isinstance(state, dict) or "fingerprint" not in state:
        raise CheckpointError(f"{path} is no checkpoint of gamlib's")
    if state.pop("fingerprint") != fingerprint(state):
        raise CheckpointError(f"{path} is damaged: its content is not what was saved")
    return state


def check_run(saved: dict, run: dict[str, str], path: Path, recipe: dict[str, object]) -> None:
    """Raise CheckpointError unless what was saved, a "run" and a "recipe", is of this run."""
    differing = [key for key in run if saved["run"].get(key) != run[key]]
    if not differing:
        return
    theirs = saved.get("recipe", {})
    both = [(key, saved["run"].get(key), run.get(key)) for key in ("seed", "precision")]
    both += [(key, theirs.get(key), recipe.get(key)) for key in {**recipe, **theirs}]
    fields = [f"; {key} is {there} there and {here} here" for key, there, here in both if there != here]
    if differing == ["precision"]:
        raise CheckpointError(
            f"{path} was trained in {saved['run'].get('precision')}, and this machine would go on in "
            f"{run['precision']}: add --precision {saved['run'].get('precision')}, or use another output folder"
        )
    raise CheckpointError(
        f"{path} belongs to another run (another {', '.join(differing)}){''.join(fields)}. Use another output folder. "
        "(To start again in this one, and lose what is there: --resume no)"
    )


def fingerprint(value: object) -> str:
    """sha256 of nested dicts, lists, numbers, strings and tensors (their values, whatever their memory layout)."""
    sha = hashlib.sha256()

    def add(value: object) -> None:
        if isinstance(value, Tensor):
            sha.update(f"{value.dtype} {tuple(value.shape)}".encode())
            sha.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        elif isinstance(value, dict):
            sha.update(f"dict {len(value)}".encode())
            for key in sorted(value, key=repr):
                add(key)
                add(value[key])
        elif isinstance(value, (list, tuple)):
            sha.update(f"list {len(value)}".encode())
            for item in value:
                add(item)
        else:
            sha.update(repr(value).encode())

    add(value)
    return sha.hexdigest()
