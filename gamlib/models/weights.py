"""Loads weights into a freshly built network: torchvision's into a backbone, a .safetensors file into a whole one."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torchvision.models import get_model_weights, list_models

from gamlib.attention._checks import unknown_name


def load_torchvision(backbone: nn.Module, name: str, weights: str) -> None:
    """Download (once) and load torchvision's pretrained `weights` strictly.

    Raises:
        ValueError: where torchvision has no such weights, or they were trained for another head or stem.
    """
    if name not in list_models():
        raise ValueError(f"torchvision has no weights for {name!r}; allowed: None, or the path of a .safetensors file")
    choices = get_model_weights(name)
    if weights not in choices.__members__:
        raise unknown_name(f"weights of {name}", weights, choices.__members__)
    state = choices[weights].get_state_dict(progress=True, check_hash=True)
    _load_strictly(backbone, state, weights)


def load_safetensors(model: nn.Module, path: Path) -> None:
    """Load a .safetensors file strictly; float16 weights are cast to the network's type.

    Raises:
        ValueError: where the file is missing, damaged, or was saved from another network.
    """
    if not path.is_file():
        raise ValueError(f"weights: no such file: {path}")
    try:
        state = load_file(path)
    except SafetensorError as error:
        raise ValueError(f"weights: {path} is not a complete .safetensors file ({error})") from None
    _load_strictly(model, state, str(path))


def _load_strictly(model: nn.Module, state: dict, source: str) -> None:
    own = model.state_dict()
    wrong = [key for key in own.keys() & state.keys() if own[key].shape != state[key].shape]
    problems = {
        "missing": sorted(own.keys() - state.keys()),
        "unknown": sorted(state.keys() - own.keys()),
        "of another shape": sorted(wrong),
    }
    told = [f"{len(keys)} {what}, such as {keys[0]!r}" for what, keys in problems.items() if keys]
    if told:
        raise ValueError(
            f"weights from {source} do not fit this network: {'; '.join(told)}. "
            "Build it with the architecture, attention, options, stem and num_classes that they were trained with"
        )
    model.load_state_dict(state)
