"""Checkpoints of the public repositories: state dicts with their keys, as published, end where they belong."""

import re

import pytest
import torch
from torchvision.models import resnet18, resnet50

from gamlib import create_model
from gamlib.models import official

BN = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def bn(name, width):
    return {f"{name}.{part}": (width,) if part != BN[-1] else () for part in BN}


def linear(name, out, into, bias=True):
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def conv(name, out, into, side, bias=False):
    return {f"{name}.weight": (out, into, side, side)} | ({f"{name}.bias": (out,)} if bias else {})


def blocks(model):
    for stage in range(1, 5):
        for i, block in enumerate(getattr(model, f"layer{stage}")):
            yield f"layer{stage}.{i}", (block.bn3 if hasattr(block, "bn3") else block.bn2).num_features


def cbam(at, c):
    channel, spatial = f"{at}.cbam.ChannelGate.mlp", f"{at}.cbam.SpatialGate.spatial"
    return (
        linear(f"{channel}.1", c // 16, c)
        | linear(f"{channel}.3", c, c // 16)
        | conv(f"{spatial}.conv", 1, 2, 7)
        | bn(f"{spatial}.bn", 1)
    )


def se(at, c):
    return linear(f"{at}.se.fc.0", c // 16, c, False) | linear(f"{at}.se.fc.2", c, c // 16, False)


def tam(at, c, gates=("cw.conv", "hc.conv", "hw.conv")):
    found = {}
    for gate in gates:
        found |= conv(f"{at}.triplet_attention.{gate}.conv", 1, 2, 7) | bn(f"{at}.triplet_attention.{gate}.bn", 1)
    return found


def old_tam(at, c):
    return tam(at, c, ("ChannelGateH.spatial", "ChannelGateW.spatial", "SpatialGate.spatial"))


def bam(number, c):
    channel, spatial, h = f"bam{number}.channel_att.gate_c", f"bam{number}.spatial_att.gate_s", c // 16
    found = linear(f"{channel}.gate_c_fc_0", h, c) | bn(f"{channel}.gate_c_bn_1", h)
    found |= linear(f"{channel}.gate_c_fc_final", c, h)
    found |= conv(f"{spatial}.gate_s_conv_reduce0", h, c, 1, True) | bn(f"{spatial}.gate_s_bn_reduce0", h)
    for i in (0, 1):
        found |= conv(f"{spatial}.gate_s_conv_di_{i}", h, h, 3, True) | bn(f"{spatial}.gate_s_bn_di_{i}", h)
    return found | conv(f"{spatial}.gate_s_conv_final", 1, h, 1, True)


def abn(model, classes):
    """Its branch's stage is layer4 at stride 1: the same keys and shapes."""
    width = model.fc.in_features
    found = {f"att_{key}": tuple(value.shape) for key, value in model.state_dict().items() if key.startswith("layer4")}
    found |= bn("bn_att", width) | conv("att_conv", classes, width, 1) | bn("bn_att2", classes)
    return found | conv("att_conv2", classes, classes, 1) | conv("att_conv3", 1, classes, 3) | bn("bn_att3", 1)


def state_of(layout, build=resnet18, classes=1000):
    """The keys of a repository's ResNet, with random numbers that tell every tensor from every other."""
    with torch.device("meta"):
        model = build(num_classes=classes)
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    if layout is bam:
        ends = [width for at, width in blocks(model) if re.fullmatch(r"layer[123]\.\d", at)]
        for number, width in enumerate(dict.fromkeys(ends), start=1):
            shapes |= bam(number, width)
    elif layout is abn:
        shapes |= abn(model, classes)
    else:
        for at, width in blocks(model):
            shapes |= layout(at, width)
    torch.manual_seed(0)
    return {
        key: torch.randn(shape) if "tracked" not in key else torch.tensor(i)
        for i, (key, shape) in enumerate(shapes.items())
    }


# layout, attention, and some of its keys with the ones that they are in gamlib's network.
LAYOUTS = [
    (
        cbam,
        "cbam",
        {
            "conv1.weight": "conv1.weight",
            "layer1.0.cbam.ChannelGate.mlp.1.weight": "layer1.0.attention.channel_gate.mlp.0.weight",
            "layer2.1.cbam.ChannelGate.mlp.3.bias": "layer2.1.attention.channel_gate.mlp.2.bias",
            "layer3.0.cbam.SpatialGate.spatial.conv.weight": "layer3.0.attention.spatial_gate.conv.weight",
            "layer4.1.cbam.SpatialGate.spatial.bn.running_var": "layer4.1.attention.spatial_gate.bn.running_var",
        },
    ),
    (
        bam,
        "bam",
        {
            "bam1.channel_att.gate_c.gate_c_fc_0.weight": "layer1.attention.gate.channel_branch.fc1.weight",
            "bam2.channel_att.gate_c.gate_c_bn_1.bias": "layer2.attention.gate.channel_branch.bn.bias",
            "bam3.channel_att.gate_c.gate_c_fc_final.bias": "layer3.attention.gate.channel_branch.fc2.bias",
            "bam1.spatial_att.gate_s.gate_s_conv_di_0.weight": "layer1.attention.gate.spatial_branch.layers.3.weight",
            "bam1.spatial_att.gate_s.gate_s_conv_di_1.weight": "layer1.attention.gate.spatial_branch.layers.6.weight",
            "bam2.spatial_att.gate_s.gate_s_bn_di_1.bias": "layer2.attention.gate.spatial_branch.layers.7.bias",
        },
    ),
    (
        se,
        "se",
        {
            "layer1.0.se.fc.0.weight": "layer1.0.attention.channel_gate.fc1.weight",
            "layer4.1.se.fc.2.weight": "layer4.1.attention.channel_gate.fc2.weight",
        },
    ),
    (
        tam,
        "tam",
        {
            "layer1.0.triplet_attention.cw.conv.conv.weight": "layer1.0.attention.cw_gate.conv.weight",
            "layer2.0.triplet_attention.hc.conv.bn.bias": "layer2.0.attention.ch_gate.bn.bias",
            "layer3.0.triplet_attention.hw.conv.conv.weight": "layer3.0.attention.hw_gate.conv.weight",
        },
    ),
    (
        old_tam,
        "tam",
        {
            "layer1.0.triplet_attention.ChannelGateH.spatial.conv.weight": "layer1.0.attention.cw_gate.conv.weight",
            "layer1.0.triplet_attention.ChannelGateW.spatial.conv.weight": "layer1.0.attention.ch_gate.conv.weight",
            "layer1.0.triplet_attention.SpatialGate.spatial.bn.weight": "layer1.0.attention.hw_gate.bn.weight",
        },
    ),
    (
        abn,
        "abn",
        {
            "conv1.weight": "backbone.conv1.weight",
            "layer4.0.conv1.weight": "backbone.layer4.0.conv1.weight",
            "att_layer4.0.conv1.weight": "branch.stage.0.conv1.weight",
            "bn_att.weight": "branch.bn1.weight",
            "att_conv.weight": "branch.conv.weight",
            "bn_att2.weight": "branch.bn2.weight",
            "att_conv2.weight": "attention_head.weight",
            "att_conv3.weight": "attention_gate.conv.weight",
            "bn_att3.running_mean": "attention_gate.bn.running_mean",
        },
    ),
]


@pytest.mark.parametrize(("layout", "attention", "keys"), LAYOUTS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("build", [resnet18, resnet50])  # the one of basic blocks, the other of bottlenecks
def test_an_official_checkpoint_loads_strictly_and_each_tensor_where_it_belongs(
    layout, attention, keys, build, tmp_path
):
    state = state_of(layout, build, classes=10)
    wrapped = {f"module.{key}": value for key, value in state.items()}  # as DataParallel saves it
    path = tmp_path / "official.pth.tar"
    torch.save({"epoch": 90, "arch": "resnet", "state_dict": wrapped, "best_prec1": torch.tensor(78.0)}, path)
    loaded = create_model(build.__name__, attention, num_classes=10, weights=path).state_dict()
    assert len(loaded) == len(state), "none is left over, and none is missing"
    for theirs, ours in keys.items():
        assert torch.equal(loaded[ours], state[theirs]), theirs
    assert sum(value.double().sum() for value in loaded.values()) == pytest.approx(
        sum(value.double().sum() for value in state.values())
    )


def test_a_checkpoint_of_before_2018_has_no_counts(tmp_path):
    state = {key: value for key, value in state_of(cbam).items() if "num_batches" not in key}
    torch.save(state, tmp_path / "old.pth")
    loaded = create_model("resnet18", "cbam", weights=tmp_path / "old.pth").state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state if "cbam" not in key)


@pytest.mark.parametrize("wrapper", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
@pytest.mark.parametrize("under", [None, "state_dict", "model"])
def test_gamlibs_own_networks_load_from_such_a_file_too(wrapper, under, tmp_path):
    torch.manual_seed(1)
    state = create_model("resnet20", "gam", {"reduction": 4}, num_classes=10).state_dict()
    saved = {f"{wrapper}{key}": value for key, value in state.items()}
    torch.save(saved if under is None else {under: saved, "epoch": 3}, tmp_path / "own.pt")
    loaded = create_model("resnet20", "gam", {"reduction": 4}, 10, weights=str(tmp_path / "own.pt")).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def others(at, c):
    """timm's SE: convolutions with biases."""
    return conv(f"{at}.se.fc1", c // 16, c, 1, True) | conv(f"{at}.se.fc2", c, c // 16, 1, True)


def timm_cbam(at, c):
    return conv(f"{at}.se.channel.fc1", c // 16, c, 1) | conv(f"{at}.se.channel.fc2", c, c // 16, 1)


class Anything:
    """Stands for a whole model: more than weights."""


@pytest.mark.parametrize(
    ("content", "attention", "message"),
    [
        (state_of(others), "se", r"can't be loaded: its SE has biases, and gamlib's.* \('layer1.0.se.fc1.bias'\)"),
        (state_of(timm_cbam), "cbam", r"can't be loaded: it holds timm's CBAM, which pools in another order"),
        ({"state_dict": 5}, "se", "holds no state_dict, alone or under 'state_dict' or 'model'"),
        ({}, "se", "holds no state_dict"),
        ([1, 2], "se", "holds no state_dict"),
        (Anything(), "se", r"can't be read \(UnpicklingError\): .* Where you trust it, open it with"),
        (resnet18().state_dict(), "se", r"16 missing.* They are a plain network's: load them into one, and put"),
        (resnet18().state_dict(), "abn", r"do not fit this network: .* Build it with the architecture"),
        (state_of(cbam), "se", r"80 unknown, such as .* Build it with the architecture"),
    ],
)
def test_what_can_not_be_loaded(content, attention, message, tmp_path):
    torch.save(content, tmp_path / "some.pth")
    with pytest.raises(ValueError, match=message) as caught:
        create_model("resnet18", attention, weights=tmp_path / "some.pth")
    assert "some.pth" in str(caught.value)


def test_no_such_file_and_no_pytorch_file(tmp_path):
    with pytest.raises(ValueError, match="weights: no such file"):
        create_model("resnet18", weights=tmp_path / "none.pth")
    (tmp_path / "text.pth").write_text("no weights")
    with pytest.raises(ValueError, match=r"text.pth can't be read \(\w+\): it is damaged"):
        create_model("resnet18", weights=tmp_path / "text.pth")


def test_no_key_of_gamlibs_own_is_renamed():
    for attention in ("se", "bam", "cbam", "tam", "gam", "abn"):
        with torch.device("meta"):
            keys = list(create_model("resnet18", attention).state_dict())
        assert [official._renamed(key, official.RENAMED) for key in keys] == keys
