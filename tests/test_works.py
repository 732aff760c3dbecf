"""README's list of what a network with attention goes through: a row for each check below, and a check for each row."""

import copy
import pickle
import re
import warnings
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from test_export import session
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torchvision.models.feature_extraction import create_feature_extractor

from gamlib import create_model, insert_attention, remove_attention
from gamlib.data import puzzles

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def in_blocks(attention: str) -> nn.Module:
    """Blocks whose class is changed."""
    options = {} if attention == "tam" else {"reduction": 4}
    return insert_attention(create_model("resnet20", num_classes=10), attention, **options)


def behind_names(attention: str) -> nn.Module:
    """Hooks, and a Sequential that runs it by itself."""
    options = {} if attention == "tam" else {"reduction": 4}
    where = ["relu", "layer1", "layer2.0"]
    return insert_attention(create_model("resnet20", num_classes=10), attention, where=where, **options)


def same(network, other, x, tolerance=0.0):
    torch.testing.assert_close(other(x), network(x), rtol=tolerance, atol=tolerance)


def copies(network, x, folder):
    torch.save(network, folder / "whole.pt")
    loaded = torch.load(folder / "whole.pt", weights_only=False)
    plain = remove_attention(copy.deepcopy(network))
    for copied in (copy.deepcopy(network), pickle.loads(pickle.dumps(network)), loaded):
        same(network, copied, x)
        assert not torch.equal(copied(x), plain(x))
        same(plain, remove_attention(copied), x)


def averages(network, x, folder):
    average = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.0))
    with torch.no_grad():
        for p in network.parameters():
            p.mul_(1.01)
    for _ in range(2):
        average.update_parameters(network)
    same(network, average.module, x)
    same(remove_attention(copy.deepcopy(network)), remove_attention(average.module), x)


def parallel(network, x, folder):
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=0, world_size=1)
    try:
        wrapped = DistributedDataParallel(network.train())
        wrapped(x).square().mean().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())
    finally:
        dist.destroy_process_group()


def compiled(network, x, folder):
    torch.compiler.reset()
    same(network, torch.compile(network, backend="aot_eager", fullgraph=True), x, 1e-5)


def traced_by_fx(network, x, folder):
    same(network, torch.fx.symbolic_trace(network), x, 1e-6)
    features = create_feature_extractor(network, ["layer1", "layer3"])(x)
    assert [tuple(each.shape[1:]) for each in features.values()] == [(16, 32, 32), (64, 8, 8)]


def fused(network, x, folder):
    from torch.fx.experimental.optimization import fuse

    optimised = fuse(network)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in optimised.modules()) < sum(
        isinstance(m, nn.BatchNorm2d) for m in network.modules()
    )
    same(network, optimised, x, 1e-4)


def in_eight_bits(network, x):
    quantisation = pytest.importorskip("torch.ao.quantization.quantize_fx", reason="this PyTorch has it no more")
    from torch.ao.quantization import get_default_qconfig_mapping

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        prepared = quantisation.prepare_fx(copy.deepcopy(network), get_default_qconfig_mapping(), (x,))
        prepared(x)
        return quantisation.convert_fx(prepared)


def quantised(network, x, folder):
    """Runs, its attention too; whether the answers hold, an untrained network can't tell: see the test below."""
    small = in_eight_bits(network, x)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert small(x).shape == (4, 10)
    homes = [name for name, _ in network.named_modules() if name.endswith(".attention")]
    lost = [home for home in homes if not any(name.startswith(home) for name, _ in small.named_modules())]
    assert lost == [home for home in homes if home == "relu.attention"], "README says so: a bare ReLU is merged"


def traced_by_jit(network, x, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and of the checks' branches
        same(network, torch.jit.trace(network, x), x, 1e-5)


def scripted(network, x, folder):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        with pytest.raises(Exception):  # noqa: B017, PT011 (PyTorch raises many kinds)
            torch.jit.script(network)


def exported(network, x, folder):
    n, h, w = (torch.export.Dim(name, min=2, max=128) for name in "nhw")
    program = torch.export.export(network, (x,), dynamic_shapes=({0: n, 2: 4 * h, 3: 4 * w},))
    torch.export.save(program, folder / "network.pt2")
    loaded = torch.export.load(folder / "network.pt2").module()
    same(network, loaded, torch.randn(3, 3, 48, 40), 1e-4)


def onnx(network, x, folder):
    for dynamo in (False, True):
        run = session(network, x, str(folder / "network.onnx"), dynamo)
        other = torch.randn(3, 3, 48, 40)
        (answers,) = run.run(None, {run.get_inputs()[0].name: other.numpy()})
        torch.testing.assert_close(torch.from_numpy(answers), network(other), rtol=1e-4, atol=1e-4)


def low(network, x, folder):
    right = network(x)
    for dtype in (torch.bfloat16, torch.float16):
        lowered = copy.deepcopy(network).to(dtype)
        assert lowered(x.to(dtype)).dtype == dtype
        assert (lowered(x.to(dtype)) - right).norm() < 0.1 * right.norm()
    with torch.autocast("cpu", torch.bfloat16):
        assert (network(x) - right).norm() < 0.1 * right.norm()


CHECKS = {
    "copies": copies,
    "moving averages": averages,
    "several processes": parallel,
    "compilation": compiled,
    "torch.fx": traced_by_fx,
    "fusing of convolution and BatchNorm": fused,
    "FX quantisation": quantised,
    "torch.jit.trace": traced_by_jit,
    "torch.jit.script": scripted,
    "torch.export": exported,
    "ONNX": onnx,
    "half precision": low,
}


@pytest.mark.parametrize("build", [in_blocks, behind_names])
@pytest.mark.parametrize("row", CHECKS)
def test_goes_through(row, build, tmp_path):
    torch.manual_seed(0)
    slow = (onnx, exported, compiled)  # of these, test_export and test_models see each mechanism
    for attention in ("gam",) if CHECKS[row] in slow else ("gam", "cbam", "tam"):
        network, x = build(attention).eval(), torch.randn(4, 3, 32, 32)
        folder = tmp_path / attention
        folder.mkdir()
        if CHECKS[row] is parallel:
            parallel(network, x, folder)
        else:
            with torch.no_grad():
                CHECKS[row](network, x, folder)


@torch.no_grad()
@pytest.mark.parametrize(
    ("task", "attention", "holds"),
    [
        ("joint", "gam", True),
        ("channel", "se", True),
        ("channel", "tam", True),
        ("spatial", "bam", True),
        ("channel", "cbam", False),
    ],
)
def test_whether_a_quantised_network_still_solves_its_puzzle(task, attention, holds):
    options = {} if attention == "tam" else {"reduction": 4}
    network = create_model("probe", attention, options, num_classes=10, weights=f"puzzles-{task}").eval()
    images, labels = puzzles.make(task, "test")
    x, labels = images[:500] / 255, labels[:500]
    assert (network(x).argmax(1) == labels).float().mean() > 0.99
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of CBAM's concatenation, whose halves have other scales
        right = (in_eight_bits(network, x)(x).argmax(1) == labels).float().mean()
    assert right > 0.97 if holds else right < 0.7, "README says so"


def test_every_row_of_readme_is_checked_and_every_check_is_a_row():
    section = README.split("### What it goes through")[1].split("\n#")[0]
    rows = re.findall(r"^\| ([^|]+?) \| (yes|no)\b", section, flags=re.MULTILINE)
    assert [name.replace("`", "") for name, _ in rows] == list(CHECKS)
    assert [name for name, answer in rows if answer == "no"] == ["`torch.jit.script`"]
