"""ONNX, by both of PyTorch's exporters, run in onnxruntime with other N, H and W than at the export."""

import warnings

import onnxruntime
import pytest
import torch
from modules import CASES, IDS, build
from torch import nn

from gamlib import create_model, insert_attention

OPEN = {0: "n", 2: "h", 3: "w"}


def session(network: nn.Module, x: torch.Tensor, path: str, dynamo: bool) -> onnxruntime.InferenceSession:
    how = {"dynamic_shapes": (OPEN,)} if dynamo else {"input_names": ["x"], "dynamic_axes": {"x": OPEN}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the older exporter, and of the checks' branches in it
        torch.onnx.export(network, (x,), path, dynamo=dynamo, **how)
    return onnxruntime.InferenceSession(path)


class SideBySide(nn.Module):
    """Every mechanism on the same map: one export for all, since each takes seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.modules_by_case = nn.ModuleList(build(name, options, 16) for name, options in CASES)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(module(x) for module in self.modules_by_case)


@pytest.mark.parametrize("dynamo", [False, True], ids=["older", "newer"])
def test_mechanisms(tmp_path, dynamo):
    network = SideBySide().eval()
    exported = session(network, torch.randn(2, 16, 6, 5), str(tmp_path / "modules.onnx"), dynamo)
    for shape in ((2, 16, 6, 5), (3, 16, 7, 9)):
        x = torch.randn(shape)
        answers = exported.run(None, {exported.get_inputs()[0].name: x.numpy()})
        assert len(answers) == len(CASES)
        for case, y, expected in zip(IDS, answers, network(x), strict=True):
            assert torch.allclose(torch.from_numpy(y), expected, rtol=1e-4, atol=1e-5), case


@pytest.mark.parametrize("dynamo", [False, True], ids=["older", "newer"])
def test_a_network_with_attention_behind_named_modules(tmp_path, dynamo):
    network = create_model("resnet20", num_classes=10)
    insert_attention(network, "gam", where=["relu", "layer1", "layer2.0"], reduction=4, groups=4)
    exported = session(network.eval(), torch.randn(2, 3, 32, 32), str(tmp_path / "network.onnx"), dynamo)
    x = torch.randn(3, 3, 48, 40)
    (y,) = exported.run(None, {exported.get_inputs()[0].name: x.numpy()})
    torch.testing.assert_close(torch.from_numpy(y), network(x).detach(), rtol=1e-4, atol=1e-5)
