"""Weights of torch.save's files, in the layouts of the public repositories of SE, CBAM, BAM, TAM and ABN, too."""

import re
from pathlib import Path

import torch
from torch import Tensor

SUFFIXES = (".pth", ".pt", ".tar", ".pkl", ".bin", ".ckpt")
BAM_LAYERS = {"conv_reduce0": 0, "bn_reduce0": 1, "conv_di_0": 3, "bn_di_0": 4, "conv_di_1": 6, "bn_di_1": 7}
BAM_LAYERS |= {"conv_final": 9}
# Of a key in such a repository -> in gamlib's network. The keys of one layout occur in no other.
RENAMED = (
    # Jongchan/attention-module
    (r"\.cbam\.ChannelGate\.mlp\.1\.", ".attention.channel_gate.mlp.0."),
    (r"\.cbam\.ChannelGate\.mlp\.3\.", ".attention.channel_gate.mlp.2."),
    (r"\.cbam\.SpatialGate\.spatial\.", ".attention.spatial_gate."),
    (r"^bam(\d)\.channel_att\.gate_c\.", r"layer\1.attention.gate.channel_branch."),
    (r"^bam(\d)\.spatial_att\.gate_s\.", r"layer\1.attention.gate.spatial_branch.layers."),
    *(
        (rf"\.gate_c_{theirs}\.", f".{ours}.")
        for theirs, ours in (("fc_0", "fc1"), ("bn_1", "bn"), ("fc_final", "fc2"))
    ),
    *((rf"\.gate_s_{name}\.", f".{place}.") for name, place in BAM_LAYERS.items()),
    # moskomule/senet.pytorch
    (r"\.se\.fc\.0\.", ".attention.channel_gate.fc1."),
    (r"\.se\.fc\.2\.", ".attention.channel_gate.fc2."),
    # landskape-ai/triplet-attention: its older names are those of its ResNets
    (r"\.triplet_attention\.(cw\.conv|ChannelGateH\.spatial)\.", ".attention.cw_gate."),
    (r"\.triplet_attention\.(hc\.conv|ChannelGateW\.spatial)\.", ".attention.ch_gate."),
    (r"\.triplet_attention\.(hw\.conv|SpatialGate\.spatial)\.", ".attention.hw_gate."),
)
# machine-perception-robotics-group/attention_branch_network, which has no name for its backbone.
BRANCH = {"att_layer4": "branch.stage", "bn_att": "branch.bn1", "att_conv": "branch.conv", "bn_att2": "branch.bn2"}
BRANCH |= {"att_conv2": "attention_head", "att_conv3": "attention_gate.conv", "bn_att3": "attention_gate.bn"}
ABN = (*((rf"^{name}\.", f"{ours}.") for name, ours in BRANCH.items()), (r"^(?!branch\.|attention_)", "backbone."))
# Modules of the same name that are others: no renaming makes gamlib's of them.
OTHERS = (
    (r"\.se\.(fc\.0|fc1|conv_reduce)\.bias$", "its SE has biases, and gamlib's, like the paper's, has none"),
    (r"\.channel\.fc1\.weight$", "it holds timm's CBAM, which pools in another order and whose MLP has no biases"),
)


def read(path: Path) -> dict[str, Tensor]:
    """The weights in a file that torch.save wrote, under the keys that gamlib's networks have.

    Args:
        path: of a state_dict, alone or under "state_dict" or "model"; only tensors and plain values are unpickled.

    Raises:
        ValueError: where there is none, or it holds modules that are other ones than gamlib's.
    """
    if not path.is_file():
        raise ValueError(f"weights: no such file: {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for damaged files and for those that hold more than weights
        raise ValueError(
            f"weights: {path} can't be read ({type(error).__name__}): it is damaged, or holds more than tensors and "
            "plain values. Where you trust it, open it with the program that wrote it, and save its state_dict alone"
        ) from None
    for key in ("state_dict", "model"):
        content = content.get(key, content) if isinstance(content, dict) else None
    if not isinstance(content, dict) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ValueError(f"weights: {path} holds no state_dict, alone or under 'state_dict' or 'model'")
    state = stripped(content)
    for pattern, why in OTHERS:
        if found := next((key for key in state if re.search(pattern, key)), None):
            raise ValueError(f"weights: {path} can't be loaded: {why} ({found!r})")
    renamings = (*RENAMED, *(ABN if "att_conv.weight" in state else ()))
    return {_renamed(key, renamings): value for key, value in state.items()}


def stripped(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state of a network whose wrapper (torch.compile's, DistributedDataParallel's) was saved with it."""
    for wrapper in ("_orig_mod.", "module.", "_orig_mod."):  # in either order
        if state and all(key.startswith(wrapper) for key in state):
            state = {key.removeprefix(wrapper): value for key, value in state.items()}
    return state


def _renamed(key: str, renamings: tuple[tuple[str, str], ...]) -> str:
    for pattern, name in renamings:
        key = re.sub(pattern, name, key)
    return key
