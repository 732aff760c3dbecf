"""Where attention can stand, seen in a forward pass: a detector's odd parts, what is refused, and what is taken out."""

import copy
import pickle
from dataclasses import dataclass

import pytest
import timm
import torch
import torchvision
from sweep_places import Counted, fault
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from gamlib import attention_places, create_model, insert_attention, list_attention, remove_attention
from gamlib.models.places import Place, observe


class ConvBlock(nn.Module):
    """Convolution, BatchNorm, SiLU; `fuse` makes one layer of the first two, as detectors do before they are used."""

    def __init__(self, inputs: int, outputs: int, size: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(self.conv(x)))

    def forward_fused(self, x: Tensor) -> Tensor:
        return self.act(self.conv(x))

    def fuse(self) -> None:
        self.conv = fuse_conv_bn_eval(self.conv, self.bn)
        del self.bn
        self.forward = self.forward_fused


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.cv1, self.cv2 = ConvBlock(channels, channels, 3), ConvBlock(channels, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.cv2(self.cv1(x))


class Split(nn.Module):
    """Its input is split, its parts are concatenated, and its last layer is not the one defined last."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.cv1, self.cv2 = ConvBlock(inputs, outputs), ConvBlock(3 * half, outputs)
        self.m = nn.ModuleList([Residual(half)])

    def forward(self, x: Tensor) -> Tensor:
        parts = list(self.cv1(x).chunk(2, 1))
        parts.extend(m(parts[-1]) for m in self.m)
        return self.cv2(torch.cat(parts, 1))


class Concat(nn.Module):
    def forward(self, x: list[Tensor]) -> Tensor:
        return torch.cat(x, 1)


class Heads(nn.Module):
    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.heads = nn.ModuleList(nn.Sequential(ConvBlock(c, 8, 3), nn.Conv2d(8, 6, 1)) for c in channels)

    def forward(self, x: list[Tensor]) -> list[Tensor]:
        return [head(each) for head, each in zip(self.heads, x, strict=True)]


class Detector(nn.Module):
    """Layers that are routed by their numbers, as in the YOLO networks; a list of maps comes out."""

    def __init__(self) -> None:
        super().__init__()
        self.model = nn.Sequential(
            ConvBlock(3, 8, 3, 2),
            Split(8, 16),
            ConvBlock(16, 32, 3, 2),
            Split(32, 32),
            nn.Upsample(scale_factor=2),
            Concat(),
            Split(48, 24),
            Heads((24, 32)),
        )
        self.sources = {5: (4, 1), 7: (6, 3)}

    def forward(self, x: Tensor) -> list[Tensor]:
        made: list[Tensor] = []
        for i, layer in enumerate(self.model):
            x = layer([made[j] for j in self.sources[i]] if i in self.sources else x)
            made.append(x)
        return x

    def fuse(self) -> "Detector":
        for module in list(self.modules()):
            if isinstance(module, ConvBlock):
                module.fuse()
        return self


@pytest.fixture
def detector():
    torch.manual_seed(0)
    model = Detector().eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean), nn.init.uniform_(module.running_var, 0.5, 2.0)
    return model


X = torch.rand(2, 3, 64, 64)


def test_a_detectors_widths_are_seen(detector):
    places = {place.name: place for place in attention_places(detector)}
    assert {name: places[f"model.{name}"].shape for name in "0123456"} == {
        "0": (8, 32, 32),
        "1": (16, 32, 32),
        "2": (32, 16, 16),
        "3": (32, 16, 16),
        "4": (32, 32, 32),
        "5": (48, 32, 32),
        "6": (24, 32, 32),
    }
    assert places["model.1.m.0"].addition == "after"
    assert places["model.1.m.0.cv2"].addition == "before"
    assert places["model.1.cv1"].addition == ""
    assert not [name for name in places if name.endswith((".conv", ".bn"))]


def test_fusing_a_detector_loses_nothing(detector):
    places = attention_places(detector)
    insert_attention(detector, "gam", where=places, reduction=1)
    nn.init.normal_(detector.model[0].attention.spatial_gate.conv2.weight)
    whole = detector(X)
    fused = copy.deepcopy(detector).fuse()
    assert len([m for m in fused.modules() if type(m).__name__ == "GAM"]) == len(places)
    for one, other in zip(whole, fused(X), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model", r"'model': it \(Sequential\) is never run as a whole in a forward pass; name 'model.0'"),
        (
            "model.0.bn",
            "is a BatchNorm behind the convolution 'model.0.conv', and both may be fused.*name 'model.0' ins",
        ),
        ("model.0.conv", "ends in a convolution before the BatchNorm 'model.0.bn'.*; name 'model.0' instead"),
        ("model.1.m", "runs its parts, whatever they are, in its own way; name 'model.1' or 'model.1.m.0'"),
        ("model.7", r"returns a list of 2, not a map .*; name 'model.7.heads.0'"),
        ("model.8", "unknown module 'model.8'; allowed, nearest first: model."),
    ],
)
def test_what_can_not_be_a_place_is_refused_with_another_name(detector, name, message):
    keys, hooks = list(detector.state_dict()), len(detector.model[0]._forward_hooks)
    with pytest.raises(ValueError, match=message):
        insert_attention(detector, "se", where=["model.3", name], reduction=4)
    assert list(detector.state_dict()) == keys
    assert len(detector.model[0]._forward_hooks) == hooks


@dataclass
class Output:
    map: Tensor


class Odd(nn.Module):
    """Parts that run twice or never, that their parent picks, that run all they have, or that return something else."""

    def __init__(self) -> None:
        super().__init__()
        self.twice = self.alias = nn.Conv2d(3, 3, 1)
        self.never = nn.Conv2d(3, 3, 1)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
        self.all = self.All()
        self.channels_last = self.ChannelsLast()
        self.dataclass = self.Dataclass()
        self.up = nn.Sequential(nn.Conv2d(4, 32, 1), nn.PixelShuffle(2), nn.ConvTranspose2d(8, 6, 2, 2))

    class All(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            for child in self.children():
                x = child(x)
            return x

    class ChannelsLast(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.permute(0, 2, 3, 1)

    class Dataclass(nn.Module):
        def forward(self, x: Tensor) -> Output:
            return Output(x)

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.twice(x))
        x = self.body[1](self.body[0](x))
        x = self.channels_last(self.all(x)).permute(0, 3, 1, 2)
        return self.up(self.dataclass(x).map)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("twice", "runs 2 times in a forward pass"),
        ("alias", "is 'twice' under another name"),
        ("never", "is never run as a whole"),
        ("body", "is never run as a whole.*name 'body.0' or 'body.1'"),
        ("all", "runs its parts, whatever they are"),
        ("channels_last", r"returns a tensor \(1, 64, 64, 4\) of float32, not a map"),
        ("dataclass", "returns a Output, not a map"),
    ],
)
def test_odd_parts(name, reason):
    with pytest.raises(ValueError, match=reason):
        insert_attention(Odd(), "tam", where=[name])


class Named(nn.Sequential):
    """A Sequential of another name, as DenseNet's transitions are: what is added to it runs last."""


def test_a_sequential_of_another_name_is_a_place():
    network = nn.Sequential(Named(nn.Conv2d(3, 8, 1), nn.AvgPool2d(2)), nn.Conv2d(8, 3, 1)).eval()
    x = torch.randn(2, 3, 8, 8)
    before = network(x)
    assert "0" in [place.name for place in attention_places(network)]
    insert_attention(network, "se", where=["0"], reduction=2)
    assert [type(part).__name__ for part in network[0]] == ["Conv2d", "AvgPool2d", "SE"]
    assert not torch.equal(network(x), before)
    assert torch.equal(remove_attention(network)(x), before)


def test_what_is_behind_a_shuffle_or_a_transposed_convolution():
    shapes = {place.name: place.shape[0] for place in attention_places(Odd())}
    assert (shapes["up"], shapes["up.0"], shapes["up.1"], shapes["up.2"]) == (6, 32, 8, 6)
    assert fault(Odd(), attention_places(Odd()), X) == ""


def test_the_network_itself_is_not_run():
    class Anchors(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.cached = nn.Conv2d(3, 4, 1), None

        def forward(self, x: Tensor) -> Tensor:
            self.cached = torch.zeros(x.shape[2:]) if self.cached is None else self.cached
            return self.conv(x) + self.cached.to(x.device)

    model = Anchors()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    assert [place.name for place in attention_places(model)] == ["conv"]
    assert model.cached is None
    assert torch.equal(torch.get_rng_state(), before)


def test_an_input_that_is_needed_is_asked_for():
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(5, 8, 1)

        def forward(self, x: Tensor, scale: Tensor) -> Tensor:
            return self.conv(x) * scale

    with pytest.raises(ValueError, match=r"no image that was tried goes through Two .*missing 1 required.* as x, or"):
        attention_places(Two())
    x = (torch.rand(1, 5, 12, 16), torch.ones(1))
    (place,) = attention_places(Two(), x)
    assert place == Place("conv", (8, 12, 16), "Conv2d")
    assert insert_attention(Two(), "se", where=["conv"], x=x, reduction=4).conv.attention.channels == 8
    assert insert_attention(Two(), "se", where={"conv": 8}, reduction=4).conv.attention.channels == 8
    with pytest.raises(ValueError, match=r"Two refuses the example input x: .*expected input"):
        attention_places(Two(), (torch.rand(1, 4, 8, 8), torch.ones(1)))
    with pytest.raises(ValueError, match="unknown module 'cnov'; allowed, nearest first: conv"):
        insert_attention(Two(), "se", where={"cnov": 8})


@pytest.mark.parametrize(
    ("build", "where"),
    [
        (lambda: create_model("resnet18", num_classes=10), "block"),
        (lambda: create_model("resnet18", num_classes=10), "stage"),
        (lambda: create_model("mobilenet_v2", num_classes=10), "block"),
        (lambda: create_model("mobilenet_v2", num_classes=10), "stage"),
        (lambda: timm.create_model("resnet18"), "block"),
        (Detector, ["model.1", "model.5"]),
    ],
    ids=["resnet", "resnet-stages", "mobilenet", "mobilenet-stages", "timm", "detector"],
)
@pytest.mark.parametrize("gentle", [False, True])
def test_removal_gives_the_network_back(build, where, gentle):
    model = build().eval()
    keys, classes, before = list(model.state_dict()), [type(m) for m in model.modules()], model(X)
    insert_attention(model, "bam", where=where, gentle=gentle, reduction=4)
    assert list(model.state_dict()) != keys
    for carried in (model, copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        with_it = carried(X)
        assert all(map(torch.equal, with_it, model(X)))
    for carried in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model), model):
        remove_attention(carried)
        assert list(carried.state_dict()) == keys
        assert [type(m) for m in carried.modules()] == classes
        assert all(map(torch.equal, carried(X), before))
        assert not any(m._forward_hooks for m in carried.modules())
        with pytest.raises(ValueError, match="has no attention that could be removed"):
            remove_attention(carried)


def test_what_create_model_inserted_is_removed():
    model = create_model("resnet20", "gam", {"reduction": 4}, num_classes=10).eval()
    plain = create_model("resnet20", num_classes=10).eval()
    assert not hasattr(remove_attention(model), "spec")
    plain.load_state_dict(model.state_dict())
    assert torch.equal(model(X), plain(X))


def test_the_table_of_places_can_be_printed_and_used():
    model = torchvision.models.resnet18(num_classes=10)
    places = attention_places(model)
    lines = str(places).splitlines()
    assert len(lines) == 2 + len(places)
    (row,) = [line for line in lines if "| layer4.1 |" in line]
    with torch.device("meta"):
        built = {name: create_model("resnet18", name, num_classes=10).layer4[1] for name in ("se", "gam")}
    for name, block in built.items():
        count = sum(p.numel() for p in block.attention.parameters())
        assert f"| {count:,}; " in row
        assert places[-2].price(name)[0] == count
    assert row.count("|") == 5 + len(list_attention())
    assert "–" in str(attention_places(nn.Sequential(nn.Conv2d(3, 4, 1)))), "4 channels leave nothing of r = 16"
    blocks = [place for place in places if place.kind == "BasicBlock"]
    insert_attention(model, Counted, where=blocks)
    assert len([m for m in model.modules() if isinstance(m, Counted)]) == 8
    reasons = observe(model)
    assert reasons["layer1.0"] == "has an attention module already (remove_attention takes it out)"
    assert reasons["layer1.0.attention"] == "is a part of an attention module"


def test_branches_that_can_be_merged_are_refused():
    network = timm.create_model("repvgg_a0")
    block = "stages.0.0"
    assert isinstance(observe(network)[block], Place)
    with pytest.raises(ValueError, match=rf"is a part of a RepVggBlock, which can merge .*; name '{block}'"):
        insert_attention(network, "se", where=[f"{block}.conv_kxk"])
    before = insert_attention(network, "tam", where=attention_places(network)).eval()(X)
    for module in list(network.modules()):
        if hasattr(module, "reparameterize"):
            module.reparameterize()
    torch.testing.assert_close(network(X), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name",
    ["densenet121", "convnext_atto", "efficientnet_b0", "regnetx_002", "ghostnet_050", "hrnet_w18_small", "seresnet18"],
)
def test_a_sample_of_the_sweep(name):
    network = timm.create_model(name)
    places = attention_places(network)
    assert len(places) > 20
    assert fault(network, places, torch.rand(2, 3, 64, 64)) == ""
