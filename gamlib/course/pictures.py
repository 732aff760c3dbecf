"""Pictures of the course's modules: which tensors of a pass are shown, and where each stands."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gamlib import create_attention, create_model
from gamlib.course.drawing import GATE, MAP, OUT, SMALL, Box, draw
from gamlib.course.relatives import CoordinateAttention, NonLocal
from gamlib.course.variants import ECA
from gamlib.models.resnet import AttentionBasicBlock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHAPE = (64, 32, 16)  # C, H and W, all different
S_BRANCH = "gate.spatial_branch.layers"
# Of a mechanism, or of a half of it.
BOXES = {
    "se": {
        "x": Box(0, 0, MAP, "x"),
        "channel_gate.squeeze": Box(1.3, 0.9, SMALL),
        "channel_gate.fc1": Box(2.4, 0.9, SMALL),
        "channel_gate.fc2": Box(3.3, 0.9, SMALL),
        "unsqueeze.2": Box(4.5, 0.9, GATE, "gate"),
        "mul": Box(5.9, 0, OUT, "y"),
    },
    "bam": {
        "x": Box(0, 0, MAP, "x"),
        "mean": Box(1.4, 0.95, SMALL),
        "gate.channel_branch.fc1": Box(2.6, 0.95, SMALL),
        "unsqueeze.2": Box(3.7, 0.95, SMALL, "$M_c$"),
        f"{S_BRANCH}.0": Box(1.45, 1.95, SMALL),
        f"{S_BRANCH}.3": Box(2.4, 1.95, SMALL),
        f"{S_BRANCH}.6": Box(3.35, 1.95, SMALL),
        f"{S_BRANCH}.9": Box(4.3, 1.95, SMALL, "$M_s$"),
        "mul": Box(5.2, 0.95, MAP, "logits"),
        "gate.sigmoid": Box(6.6, 0.95, GATE, "gate"),
        "mul.2": Box(7.95, 0, OUT, "y"),
    },
    "cbam channel": {
        "x": Box(0, 0, MAP, "x"),
        "mean": Box(1.3, 0.95, SMALL),
        "amax": Box(1.3, 1.7, SMALL),
        "add": Box(3.0, 0.95, SMALL),
        "unsqueeze.2": Box(4.2, 0.95, GATE, "$M_c$"),
        "mul": Box(5.6, 0, OUT, "x'"),
    },
    "cbam spatial": {
        "mul": Box(0, 0, MAP, "x'"),
        "amax.2": Box(1.3, 1, SMALL),
        "mean.2": Box(1.3, 1.85, SMALL),
        "cat": Box(2.3, 1, SMALL),
        "spatial_gate.sigmoid": Box(3.4, 1, GATE, "$M_s$"),
        "mul.2": Box(4.7, 0, OUT, "y"),
    },
    "tam": {
        "x": Box(0, 0, MAP, "x"),
        "permute": Box(1.4, 1, MAP, axes="HCW"),
        "cat": Box(2.8, 1, SMALL, axes="HCW"),
        "permute.2": Box(4.1, 1, GATE, "C-W gate"),
        "permute.3": Box(1.4, 2.1, MAP, axes="WHC"),
        "cat.2": Box(2.8, 2.1, SMALL, axes="WHC"),
        "permute.4": Box(4.1, 2.1, GATE, "H-C gate"),
        "cat.3": Box(2.8, 3.05, SMALL),
        "hw_gate.sigmoid": Box(4.1, 3.05, GATE, "H-W gate"),
        "add.2": Box(5.5, 1, MAP, "sum"),
        "mul": Box(7.0, 0, OUT, "y"),
    },
    "gam channel": {
        "x": Box(0, 0, MAP, "x"),
        "permute": Box(1.5, 1, MAP, axes="HWC"),
        "channel_gate.mlp.0": Box(2.8, 1, SMALL, axes="HWC"),
        "channel_gate.mlp.2": Box(3.8, 1, MAP, axes="HWC"),
        "channel_gate.sigmoid": Box(5.2, 1, GATE, "$M_c$"),
        "mul": Box(6.6, 0, OUT, "x'"),
    },
    "gam spatial": {
        "mul": Box(0, 0, MAP, "x'"),
        "spatial_gate.conv1": Box(1.5, 1, SMALL),
        "spatial_gate.conv2": Box(2.6, 1, MAP),
        "spatial_gate.sigmoid": Box(3.9, 1, GATE, "$M_s$"),
        "mul.2": Box(5.2, 0, OUT, "y"),
    },
    "gam": {
        "x": Box(0, 0, MAP, "x"),
        "channel_gate.mlp.0": Box(1.4, 1, SMALL, axes="HWC"),
        "channel_gate.sigmoid": Box(2.5, 1, GATE, "$M_c$"),
        "mul": Box(3.8, 0, MAP, "x'"),
        "spatial_gate.conv1": Box(5.3, 1, SMALL),
        "spatial_gate.sigmoid": Box(6.3, 1, GATE, "$M_s$"),
        "mul.2": Box(7.6, 0, OUT, "y"),
    },
}
GATES = {
    "mean": Box(0, 0, GATE, "per channel"),
    "expand": Box(1.6, 0, GATE, is_open=True),
    "mean.2": Box(3.3, 0, GATE, "per position"),
    "expand.2": Box(4.5, 0, GATE, is_open=True),
    "sigmoid": Box(6.1, 0, GATE, "per channel\nand position"),
}
RELATIVES = {
    "eca": {
        "x": Box(0, 0, MAP, "x"),
        "mean": Box(1.3, 0.9, SMALL),
        "__getitem__.2": Box(2.7, 0.9, GATE, "gate"),
        "mul": Box(4.1, 0, OUT, "y"),
    },
    "coordinate": {
        "x": Box(0, 0, MAP, "x"),
        "mean": Box(1.4, 1, SMALL),
        "mean.2": Box(1.4, 2, SMALL),
        "cat": Box(2.7, 1, SMALL),
        "both.2": Box(3.9, 1, SMALL),
        "row_gate": Box(5.0, 1, GATE, "row gate"),
        "column_gate": Box(5.0, 2, GATE, "column gate"),
        "mul.2": Box(6.5, 0, OUT, "y"),
    },
    "non-local": {
        "x": Box(0, 0, MAP, "x"),
        "query": Box(1.4, 1.2, SMALL, "queries"),
        "key": Box(1.4, 2.2, SMALL, "keys"),
        "value": Box(1.4, 3.2, SMALL, "values"),
        "matmul": Box(2.8, 1.2, MAP, "each position with each", axes="HW"),
        "matmul.2": Box(4.7, 1.2, SMALL, "weighted means", axes="CH"),
        "add": Box(6.4, 0, OUT, "y"),
    },
}
BLOCK = {
    "x": Box(0, 0, MAP, "x"),
    "relu": Box(1.5, 0, MAP),
    "bn2": Box(2.9, 0, MAP),
    "attention": Box(4.1, 0, GATE, "attention\ngoes here", is_open=True),
    "add": Box(5.5, 0, MAP),
    "relu.again": Box(6.8, 0, OUT, "y"),
}
ABN = {
    "backbone.layer2": Box(0, 0, MAP, "x"),
    "branch.stage": Box(1.4, 1, MAP),
    "branch.relu": Box(2.9, 1, MAP, "a map per class"),
    "attention_gate.sigmoid": Box(4.4, 1, GATE, "M"),
    "mean": Box(4.6, 2, SMALL, "class scores"),
    "mul": Box(5.7, 0, OUT, "y"),
}


class Gates(nn.Module):
    """Three shapes of gates, and how PyTorch repeats them over a map."""

    def __init__(self) -> None:
        super().__init__()
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        x.mean((2, 3), keepdim=True).expand(x.shape)
        x.mean(1, keepdim=True).expand(x.shape)
        return self.sigmoid(x)


def drawing(name: str) -> "Figure":
    """A module drawn from one forward pass of it: a key of BOXES or RELATIVES, "block", "abn" or "gates"."""
    torch.manual_seed(0)
    if name == "gates":
        return draw(Gates(), torch.randn(1, *SHAPE), GATES)
    if name in RELATIVES:
        relative = {"eca": ECA, "coordinate": CoordinateAttention, "non-local": NonLocal}[name](SHAPE[0])
        return draw(relative.eval(), torch.randn(1, *SHAPE), RELATIVES[name])
    if name == "block":
        block = AttentionBasicBlock(SHAPE[0], SHAPE[0])
        block.attention = create_attention("se", SHAPE[0])
        return draw(block.eval(), torch.randn(1, *SHAPE), BLOCK, whole=["attention"])
    if name == "abn":
        network = create_model("resnet20", "abn", num_classes=10).eval()
        parts = [f"backbone.layer{i}" for i in (1, 2, 3)]
        return draw(network, torch.randn(1, 3, 64, 32), ABN, whole=[*parts, "branch.stage"])
    attention = create_attention(name.split()[0], SHAPE[0])
    return draw(attention.eval(), torch.randn(1, *SHAPE), BOXES[name])
