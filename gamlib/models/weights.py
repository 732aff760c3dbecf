"""Loads weights into a freshly built network: torchvision's into a backbone, a file's or the zoo's into a whole one."""

import hashlib
import json
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn
from torchvision.models import get_model_weights, list_models

from gamlib._checks import unknown_name
from gamlib._paths import recorded
from gamlib.attention import label_of
from gamlib.models import official

FILES = (".safetensors", *official.SUFFIXES)


def load_torchvision(backbone: nn.Module, name: str, weights: str) -> None:
    """Download (once) and load torchvision's pretrained `weights` strictly.

    Raises:
        ValueError: where torchvision has no such weights, or they were trained for another head or stem.
    """
    if name not in list_models():
        raise ValueError(
            f"unknown weights {weights!r}: torchvision has none for {name!r}; allowed: None, the name of a data set of "
            f"the zoo (cifar100, puzzles-joint ...), or the path of a file that ends in {', '.join(FILES)}"
        )
    choices = get_model_weights(name)
    if weights not in choices.__members__:
        raise unknown_name(f"weights of {name}", weights, choices.__members__)
    state = choices[weights].get_state_dict(progress=True, check_hash=True)
    load_strictly(backbone, state, weights)


def list_zoo() -> list[str]:
    """Names of the trained networks that ship with gamlib: DATA-NETWORK-ATTENTION."""
    return sorted(path.stem for path in recorded("zoo").glob("*.safetensors"))


def is_in_zoo(data: str) -> bool:
    """Whether a trained network of that data set ships with gamlib."""
    return any(name.startswith(f"{data}-") for name in list_zoo())


def zoo_path(data: str, spec: dict[str, object]) -> Path:
    """The file of the network that was trained on `data` with create_model's arguments `spec`.

    Raises:
        ValueError: where the zoo has none, or one that was built with other arguments; the message says which.
    """
    name = f"{data}-{spec['name']}-{label_of(spec)}"
    if name not in list_zoo():
        raise unknown_name(
            "trained network", name, [other for other in list_zoo() if other.startswith(data)] or list_zoo()
        )
    path = recorded("zoo") / f"{name}.safetensors"
    with safe_open(path, "pt") as file:  # its header alone; the numbers are read, and proven, once
        trained = json.loads(file.metadata()["network"])
    theirs, ours = ({**network.pop("attention_options"), **network} for network in (trained, dict(spec)))
    if differing := [key for key in theirs if theirs[key] != ours.get(key)]:
        wanted, given = (", ".join(f"{key}={side.get(key)!r}" for key in differing) for side in (theirs, ours))
        raise ValueError(f"the zoo's {name} was built with {wanted}; got {given}")
    return path


def load_file(model: nn.Module, path: Path) -> None:
    """Load a .safetensors file, or one of torch.save's (see `official`), strictly, in the network's own type.

    Raises:
        ValueError: where the file is missing, damaged, or was saved from another network.
    """
    load_strictly(model, unpack(path)[1] if path.suffix == FILES[0] else official.read(path), str(path))


def pack(state: dict[str, Tensor], about: dict[str, str]) -> bytes:
    """A .safetensors file of tensors, with texts about them and a fingerprint; the same bytes each time."""
    content = save(state)
    body = 8 + int.from_bytes(content[:8], "little")
    about = about | {"sha256": hashlib.sha256(content[body:]).hexdigest()}
    # The library would write the texts in random order.
    header = json.dumps({"__metadata__": about, **json.loads(content[8:body])}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[body:]


def unpack(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The texts and the tensors of a .safetensors file, of `pack`'s or another program's.

    Raises:
        ValueError: where it is missing or damaged.
    """
    if not path.is_file():
        raise ValueError(f"weights: no such file: {path}")
    content = path.read_bytes()
    try:
        state = load(content)
    except SafetensorError as error:
        raise ValueError(f"weights: {path} is not a complete .safetensors file ({error})") from None
    body = 8 + int.from_bytes(content[:8], "little")
    about = json.loads(content[8:body]).get("__metadata__") or {}
    fingerprint = hashlib.sha256(content[body:]).hexdigest()
    if about.get("sha256", fingerprint) != fingerprint:  # the first ones have none
        raise ValueError(f"weights: {path} is damaged: its numbers are not those that were saved")
    return about, state


def load_strictly(model: nn.Module, state: dict[str, Tensor], source: str) -> None:
    """Load weights; those of a wrapped network (torch.compile's, DistributedDataParallel's) fit, too.

    Raises:
        ValueError: where they were saved from another network; the message names what does not fit, and `source`.
    """
    own = model.state_dict()
    counts = {key: value for key, value in own.items() if key.endswith("num_batches_tracked")}
    state = counts | official.stripped(state)  # PyTorch counts them since 2018; older files have none
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    problems = {
        "missing": sorted(own.keys() - state.keys()),
        "unknown": sorted(state.keys() - own.keys()),
        "of another shape": sorted(wrong),
    }
    found = [f"{len(keys)} {what}, such as {keys[0]!r}" for what, keys in problems.items() if keys]
    if found:
        advice = "Build it with the architecture, attention, options, stem and num_classes that they were trained with"
        if problems["missing"] and all("attention" in key for key in problems["missing"]) and not problems["unknown"]:
            advice = "They are a plain network's: load them into one, and put attention in with insert_attention"
        raise ValueError(f"weights from {source} do not fit this network: {'; '.join(found)}. {advice}")
    model.load_state_dict(state)
