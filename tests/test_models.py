"""Networks: torchvision's own where nothing is inserted, and whole where something is."""

import copy
from functools import partial

import pytest
import reference
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from gamlib import (
    BAM,
    GAM,
    SE,
    create_attention,
    create_model,
    explain,
    insert_attention,
    list_attention,
    register_attention,
)
from gamlib.attention import list_controls
from gamlib.compare import plan
from gamlib.cost import count_macs, count_parameters, nearest_width
from gamlib.models import resnet
from gamlib.models.insert import Gentle

BACKBONES = ("resnet18", "resnet50", "mobilenet_v2")


def attended(model: nn.Module) -> list[str]:
    """Names of the inserted modules."""
    return [name for name, _ in model.named_modules() if name.endswith((".attention", ".se"))]


@pytest.mark.parametrize("name", BACKBONES)
def test_torchvisions_weights_load_strictly_and_give_its_outputs(name):
    theirs = getattr(torchvision.models, name)().eval()
    ours = create_model(name).eval()
    ours.load_state_dict(theirs.state_dict(), strict=True)
    x = torch.randn(2, 3, 64, 64)
    assert torch.equal(ours(x), theirs(x))


class Seven(nn.Module):
    """In the place of attention: whatever comes in, 7 comes out."""

    def forward(self, x):
        return torch.full_like(x, 7)


@pytest.mark.parametrize(
    ("name", "path", "channels"),
    [
        ("resnet18", "layer1.0", 64),
        ("resnet50", "layer1.1", 256),
        ("resnet20", "layer1.0", 16),
        ("probe", "layer1.0", 32),
    ],
)
def test_attention_stands_behind_the_last_norm_and_before_the_residual_add(name, path, channels):
    block = create_model(name, "tam", num_classes=10).eval().get_submodule(path)
    seen = []
    block.attention.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.randn(2, channels, 8, 8)
    last = resnet.last_norm(block)
    nn.init.constant_(last.bias, 3)
    outputs = []
    last.register_forward_hook(lambda _, __, out: outputs.append(out))
    block(x)
    assert torch.equal(seen[0], outputs[0])
    block.attention = Seven()
    assert torch.equal(block(x), torch.relu(x + 7))


@pytest.mark.parametrize(("index", "skip"), [(3, True), (2, False)])
def test_attention_stands_before_the_residual_add_in_mobilenet_with_and_without_one(index, skip):
    block = create_model("mobilenet_v2", "se").eval().features[index]
    assert block.use_res_connect == skip
    block.attention = Seven()
    x = torch.randn(2, block.conv[0][0].in_channels, 8, 8)
    out = block(x)
    assert torch.equal(out, x + 7 if skip else torch.full_like(out, 7))


@pytest.mark.parametrize(("name", "attention"), [("resnet18", "gam"), ("resnet50", "se"), ("mobilenet_v2", "cbam")])
def test_inserted_attention_keeps_backbone_and_keys(name, attention):
    """With an identity in the place of each module the network is the backbone."""
    backbone = getattr(torchvision.models, name)().eval()
    keys = list(backbone.state_dict())
    model = insert_attention(copy.deepcopy(backbone), attention)
    assert [key for key in model.state_dict() if ".attention." not in key] == keys
    x = torch.randn(1, 3, 64, 64)
    assert not torch.equal(model(x), backbone(x))
    for module in model.modules():
        if hasattr(module, "attention"):
            module.attention = nn.Identity()
    assert torch.equal(model(x), backbone(x))


@pytest.mark.parametrize(
    ("name", "attention", "count", "first"),
    [
        ("resnet18", "se", 8, "layer1.0.attention"),
        ("resnet18", "bam", 3, "layer1.attention"),
        ("resnet50", "gam", 16, "layer1.0.attention"),
        ("resnet20", "tam", 9, "layer1.0.attention"),
        ("resnet20", "bam", 2, "layer1.attention"),
        ("mobilenet_v2", "cbam", 17, "features.1.attention"),
        ("mobilenet_v2", "bam", 7, "features.1.attention"),
        ("probe", "bam", 2, "layer1.0.attention"),
        ("probe", "gam", 2, "layer1.0.attention"),
    ],
)
def test_places(name, attention, count, first):
    options = {"reduction": 4} if attention not in ("tam",) else {}
    names = attended(create_model(name, attention, options, num_classes=10))
    assert (len(names), names[0]) == (count, first)


def test_bam_comes_after_the_residual_add_in_mobilenet():
    model = create_model("mobilenet_v2", "bam").eval()
    block = model.features[3]  # a last block of its stage, with a residual add
    assert block.use_res_connect
    block.attention = nn.Hardtanh(-7, 7)
    x = 100 * torch.randn(2, 24, 8, 8)
    assert block(x).abs().max() == 7  # before the add, x itself would reach the output


def test_one_seed_gives_one_backbone():
    states = []
    for attention in ("none", "abn", *list_attention()):
        torch.manual_seed(3)
        state = create_model("resnet20", attention, num_classes=10).state_dict()
        states.append({key.removeprefix("backbone."): value for key, value in state.items()})
    for state in states[1:]:
        assert all(torch.equal(state[key], value) for key, value in states[0].items())


def test_callables_and_classes():
    model = create_model("resnet20", GAM, {"reduction": 4})
    assert model.spec["attention"] == "gam"  # registered, so known by its name
    assert model.spec["attention_options"]["reduction"] == 4
    assert len(attended(create_model("resnet20", BAM))) == 2  # at the ends of stages, as by name
    widths = []

    def mine(channels):
        widths.append(channels)
        return nn.Identity()

    create_model("resnet20", mine)
    assert widths == [16] * 3 + [32] * 3 + [64] * 3


def test_a_spec_never_names_the_wrong_attention():
    assert create_model("probe", partial(GAM, reduction=4), num_classes=10).spec["attention"] == "gam"
    assert create_model("probe", lambda channels: nn.Identity()).spec["attention"] == "<lambda>"
    assert create_model("probe", "gam", {"reduction": 4}).spec["attention_options"] == {
        "reduction": 4,
        "kernel_size": 7,
        "groups": 1,
        "shuffle": "between",
        "channel": True,
        "spatial": True,
    }
    model = insert_attention(create_model("probe", num_classes=10), "gam", reduction=4)
    assert not hasattr(model, "spec")


@pytest.mark.parametrize(
    ("attention", "message"),
    [
        (GAM(16), "attention must be a name .*a class, or a callable"),
        (lambda channels: None, "must make an nn.Module, got None"),
    ],
)
def test_what_is_no_mechanism(attention, message):
    with pytest.raises(ValueError, match=message):
        create_model("resnet20", attention)


def test_spec_is_what_create_model_needs_again():
    model = create_model("resnet18", "gam", {"groups": 2}, num_classes=7, stem="cifar")
    again = create_model(**model.spec)
    assert again.spec == model.spec
    again.load_state_dict(model.state_dict())


@pytest.mark.parametrize(("stem", "size"), [("imagenet", 16), ("wmp", 16), ("cifar", 64)])
@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_stems(name, stem, size):
    model = create_model(name, stem=stem, num_classes=10).eval()
    sizes = []
    model.layer1.register_forward_hook(lambda _, __, out: sizes.append(out.shape[-1]))
    assert model(torch.randn(1, 3, 64, 64)).shape == (1, 10)
    assert sizes == [size]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_abn_has_two_outputs_in_training(name):
    model = create_model(name, "abn", num_classes=10)
    x = torch.randn(2, 3, 64, 64)
    logits, attention_logits = model(x)
    assert logits.shape == attention_logits.shape == (2, 10)
    assert model.eval()(x).shape == (2, 10)
    seen = []
    model.attention_gate.register_forward_hook(lambda _, __, out: seen.append(out))
    model(x)
    assert seen[0].shape[:2] == (2, 1)
    assert 0 <= seen[0].min() <= seen[0].max() <= 1


def test_abn_equals_its_literal_reference():
    model = create_model("resnet20", "abn", num_classes=10).double().eval()
    for layer in model.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5)
            nn.init.normal_(layer.bias, 0, 0.3)
    x = torch.randn(2, 3, 16, 20, dtype=torch.float64)
    seen = []
    model.attention_head.register_forward_hook(lambda _, __, out: seen.append(out.mean((2, 3))))
    with torch.no_grad():
        logits, attention_logits = reference.abn(x, model)
        torch.testing.assert_close(model(x), logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(seen[0], attention_logits, rtol=1e-12, atol=1e-12)


def test_abns_map_scales_what_the_last_stage_sees():
    model = create_model("resnet20", "abn", num_classes=10).eval()
    seen = {}
    model.backbone.layer2.register_forward_hook(lambda _, __, out: seen.update(x=out))
    model.attention_gate.register_forward_hook(lambda _, __, out: seen.update(gate=out))
    model.backbone.layer3.register_forward_hook(lambda _, args, __: seen.update(scaled=args[0]))
    model(torch.randn(2, 3, 32, 32))
    assert torch.equal(seen["scaled"], seen["x"] * (1 + seen["gate"]))


def test_probe_sees_19_pixels():
    from torch.func import functional_call

    model = create_model("probe", num_classes=10).double().eval()
    assert sum(p.numel() for p in model.parameters()) == 38_378
    positive = {key: p.abs() for key, p in model.named_parameters()}
    features = []
    model.layer1.register_forward_hook(lambda _, __, out: features.append(out))
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64).requires_grad_()
    functional_call(model, positive, x)
    features[0][0, 0, 16, 16].backward()
    rows, cols = (x.grad[0].abs().sum(0) > 0).nonzero().T
    assert rows.max() - rows.min() + 1 == cols.max() - cols.min() + 1 == 19


def test_timm_network_keeps_its_keys():
    import timm

    backbone = timm.create_model("resnet18", num_classes=10).eval()
    keys = list(backbone.state_dict())
    model = insert_attention(copy.deepcopy(backbone), "gam", reduction=8)
    assert [key for key in model.state_dict() if ".se." not in key] == keys
    assert len([m for m in model.modules() if isinstance(m, GAM)]) == 8
    theirs = backbone.layer1[0]
    x = torch.randn(1, 64, 8, 8)
    branch = theirs.bn2(theirs.conv2(theirs.act1(theirs.bn1(theirs.conv1(x)))))
    assert torch.equal(model.layer1[0](x), theirs.act2(model.layer1[0].se(branch) + x))
    x = torch.randn(1, 3, 64, 64)
    gentle = insert_attention(copy.deepcopy(backbone), "bam", where="stage", gentle=True)
    assert len(attended(gentle)) == 3 + 3  # each wrapped module holds its own `attention`
    assert torch.equal(gentle(x), backbone(x))


def test_gentle_blends():
    gentle = Gentle(SE(16, reduction=4))
    with torch.no_grad():
        gentle.strength.fill_(0.3)
    x = torch.randn(2, 16, 4, 4)
    torch.testing.assert_close(gentle(x), 0.7 * x + 0.3 * gentle.attention(x))


def test_gentle_starts_as_the_backbone_and_can_learn():
    backbone = create_model("resnet20", num_classes=10)
    model = insert_attention(copy.deepcopy(backbone), "gam", gentle=True, reduction=4)
    x = torch.randn(4, 3, 32, 32)
    assert torch.equal(model.eval()(x), backbone.eval()(x))
    model.train()(x).sum().backward()
    strengths = [m.strength for m in model.modules() if isinstance(m, Gentle)]
    assert len(strengths) == 9
    assert all(s.grad.abs() > 0 for s in strengths)


class Plain(nn.Module):
    """A network of blocks that gamlib has never seen."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8))
        self.body = nn.Conv2d(8, 12, 3, padding=1)
        self.norm = nn.BatchNorm2d(12)
        self.act = nn.ReLU()

    def forward(self, x):
        return self.act(self.norm(self.body(self.stem(x)))).mean((2, 3))


def test_unknown_blocks_raise_and_list_candidates():
    with pytest.raises(ValueError, match=r"no known block in Plain; pass where=\[...\].*attention_places"):
        insert_attention(Plain(), "se")
    with pytest.raises(ValueError, match="no known stage in Plain"):
        insert_attention(Plain(), "bam", where="stage")
    with pytest.raises(ValueError, match="unknown module 'nrom'; allowed, nearest first: "):
        insert_attention(Plain(), "se", where=["nrom"])
    with pytest.raises(ValueError, match=r"'norm': it is a BatchNorm behind the convolution 'body'.*; name 'act' inst"):
        insert_attention(Plain(), "se", where=["norm"])
    with pytest.raises(ValueError, match="unknown where 'blocks'; allowed, nearest first: block"):
        insert_attention(Plain(), "se", where="blocks")


def test_stages_of_unknown_blocks_are_not_touched():
    class Foreign(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer1 = nn.Sequential(nn.Conv2d(3, 8, 3))
            self.layer2 = nn.Conv2d(8, 8, 3)

    with pytest.raises(ValueError, match="no known stage in Foreign"):
        insert_attention(Foreign(), "bam", where="stage")


def test_module_names_say_where():
    model = insert_attention(Plain(), "se", where=["stem", "act", "act"], reduction=4).eval()
    assert list(Plain().state_dict()) == [key for key in model.state_dict() if ".attention." not in key]
    assert [m.channels for m in model.modules() if isinstance(m, SE)] == [8, 12]
    x = torch.randn(2, 3, 8, 8)
    features = model.norm(model.body(model.stem(x))).relu()
    torch.testing.assert_close(model(x), model.act.attention(features).mean((2, 3)))


NORMS = {
    "frozen": torchvision.ops.FrozenBatchNorm2d,
    "group": partial(nn.GroupNorm, 4),
    "instance": partial(nn.InstanceNorm2d, affine=True),
    "sync": nn.SyncBatchNorm,
    "none": nn.Identity,
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS.keys())
def test_blocks_of_any_norm(norm):
    x = torch.randn(2, 3, 64, 64)
    for name in ("resnet18", "resnet50", "mobilenet_v2"):
        backbone = getattr(torchvision.models, name)(norm_layer=norm, num_classes=10).eval()
        model = insert_attention(copy.deepcopy(backbone), "se", gentle=True)
        assert len(attended(model)) == 2 * {"resnet18": 8, "resnet50": 16, "mobilenet_v2": 17}[name]
        assert torch.equal(model(x), backbone(x))


def test_timms_blocks_of_any_norm():
    import timm

    x = torch.randn(2, 3, 64, 64)
    for network in (
        timm.create_model("resnet26", norm_layer="groupnorm"),
        timm.layers.freeze_batch_norm_2d(timm.create_model("resnet18")),
    ):
        model = insert_attention(copy.deepcopy(network).eval(), "se", gentle=True)
        assert len(attended(model)) == 2 * 8
        assert torch.equal(model(x), network.eval()(x))


@pytest.mark.parametrize(
    "last",
    [
        *(norm(12) for name, norm in NORMS.items() if name != "none"),
        torchvision.models.convnext.LayerNorm2d(12),
        nn.Conv2d(12, 12, 3, groups=3),
        nn.ConvTranspose2d(12, 12, 3),
        torchvision.ops.Conv2dNormActivation(12, 12, norm_layer=partial(nn.GroupNorm, 4)),
    ],
    ids=lambda module: type(module).__name__,
)
def test_a_named_modules_width_is_that_of_its_last_layer(last):
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Sequential(nn.Conv2d(8, 12, 3), last)).eval()
    insert_attention(model, "se", where=["1"], reduction=4)
    assert model[1].attention.channels == 12
    assert model(torch.randn(2, 3, 16, 16)).shape[:2] == (2, 12)


@pytest.mark.parametrize("norm", ["group", "instance", "frozen"])
def test_a_norm_alone_can_be_named(norm):
    model = nn.Sequential(nn.Conv2d(3, 12, 3), NORMS[norm](12), nn.ReLU()).eval()
    assert insert_attention(model, "se", where=["1"], reduction=4)[1].attention.channels == 12


def test_where_is_of_a_known_kind():
    with pytest.raises(ValueError, match="where must be 'block', 'stage', module names or places, got None"):
        insert_attention(Plain(), "tam", where=None)
    with pytest.raises(ValueError, match="unknown module ''"):
        insert_attention(Plain(), "tam", where=[""])


def test_nothing_is_inserted_twice_or_by_half():
    for attention in ("se", "bam"):
        mobile = create_model("mobilenet_v2", attention)
        with pytest.raises(ValueError, match="has an attention module already"):
            insert_attention(mobile, "se", reduction=4)
    model = create_model("resnet20", "se", {"reduction": 4})
    with pytest.raises(ValueError, match="has an attention module already"):
        insert_attention(model, "gam", reduction=4)
    plain = create_model("resnet20")
    keys = list(plain.state_dict())
    with pytest.raises(ValueError, match="must divide"):  # fits the first blocks, not all
        insert_attention(plain, "gam", reduction=1, groups=32)
    assert list(plain.state_dict()) == keys


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
@pytest.mark.parametrize("attention", ["gam", "bam"])
def test_survives_deepcopy_state_dict_pickle_and_export(name, attention, tmp_path):
    model = create_model(name, attention, num_classes=10).eval()
    x = torch.randn(2, 3, 64, 64)
    y = model(x)
    copied = copy.deepcopy(model)
    assert torch.equal(copied(x), y)
    fresh = create_model(name, attention, num_classes=10).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(fresh(x), y)
    torch.save(model, tmp_path / "model.pt")
    assert torch.equal(torch.load(tmp_path / "model.pt", weights_only=False)(x), y)
    program = torch.export.export(model, (x,), dynamic_shapes=({0: torch.export.Dim("n")},)).module()
    torch.testing.assert_close(program(x[:1]), model(x[:1]))


def test_follows_type_mode_and_device_of_its_place():
    model = insert_attention(create_model("resnet20").double().eval(), "gam", reduction=4)
    assert all(p.dtype == torch.float64 for p in model.parameters())
    assert not any(m.training for m in model.modules())
    with torch.device("meta"):
        assert all(p.is_meta for p in create_model("resnet20", "bam").parameters())


def test_safetensors_weights_load_strictly(tmp_path):
    model = create_model("resnet20", "gam", {"reduction": 4}, num_classes=10)
    path = tmp_path / "weights.safetensors"
    save_file({key: value.half() for key, value in model.state_dict().items()}, path)
    loaded = create_model("resnet20", "gam", {"reduction": 4}, num_classes=10, weights=path)
    for key, value in loaded.state_dict().items():
        assert value.dtype == model.state_dict()[key].dtype
        torch.testing.assert_close(value, model.state_dict()[key], rtol=1e-3, atol=1e-5)
    with pytest.raises(ValueError, match=r"do not fit this network: 99 unknown, such as .*Build it with"):
        create_model("resnet20", num_classes=10, weights=path)
    with pytest.raises(ValueError, match=r"2 of another shape, such as .fc.bias."):
        create_model("resnet20", "gam", {"reduction": 4}, num_classes=9, weights=path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match=r"is not a complete .safetensors file"):
        create_model("resnet20", num_classes=10, weights=path)


def test_width():
    wide = create_model("resnet20", "gam", {"reduction": 4}, 10, width=24)
    assert [stage[-1].conv2.out_channels for stage in (wide.layer1, wide.layer2, wide.layer3)] == [24, 48, 96]
    assert create_model(**wide.spec).state_dict().keys() == wide.state_dict().keys()
    assert "width" not in create_model("probe", num_classes=10).spec
    for name in ("probe", "resnet18", "resnet50"):
        for width in (0, 2.5, True, "16"):
            with pytest.raises(ValueError, match=f"width must be an integer of 1 or more, got {width!r}"):
                create_model(name, width=width)
    for width in (0, -1.5, 100, True, "1", float("nan")):
        with pytest.raises(ValueError, match=f"width of 'mobilenet_v2' must be a multiplier .*, got {width!r}"):
            create_model("mobilenet_v2", width=width)


@pytest.mark.parametrize(
    ("name", "width", "stem"),
    [("resnet18", 64, stem) for stem in ("imagenet", "cifar", "wmp")]
    + [("resnet50", 64, stem) for stem in ("imagenet", "cifar", "wmp")]
    + [("mobilenet_v2", 1.0, None), ("resnet20", 16, None), ("probe", 32, None)],
)
def test_the_standard_width_is_the_standard_network(name, width, stem):
    with torch.device("meta"):
        standard, chosen = create_model(name, stem=stem), create_model(name, stem=stem, width=width)
    assert [(k, v.shape) for k, v in chosen.state_dict().items()] == [
        (k, v.shape) for k, v in standard.state_dict().items()
    ]
    assert repr(chosen) == repr(standard)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_later_stages_follow_the_width(name):
    network = create_model(name, num_classes=10, stem="cifar", width=8).eval()
    channels = [network.layer1, network.layer2, network.layer3, network.layer4]
    expansion = network.layer1[0].expansion
    assert [resnet.last_norm(stage[-1]).num_features for stage in channels] == [8 * expansion * 2**i for i in range(4)]
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 10)
    assert create_model("mobilenet_v2", num_classes=10, width=0.5).features[-1][0].out_channels == 1280


class Images:
    """What compare must know of a data set to plan its networks."""

    def __init__(self, side: int, num_classes: int) -> None:
        self.name, self.image_shape, self.num_classes = "images", (3, side, side), num_classes


@pytest.mark.parametrize(
    ("model", "side"), [("resnet18", 32), ("resnet50", 32), ("resnet18", 224), ("resnet50", 224), ("mobilenet_v2", 224)]
)
def test_controls_meet_gams_price_on_the_papers_networks(model, side):
    """A plain network of GAM's parameters and one of its MACs (or one for both): each within 2% of its aim."""
    images = Images(side, 100 if side == 32 else 1000)
    networks = plan(images, model, ["gam"], None, "gam", None)

    def prices(arguments):
        with torch.device("meta"):
            network = create_model(**arguments)
        return count_parameters(network), count_macs(network, images.image_shape)

    (aim, *controls) = [prices(arguments) for arguments in networks.values()]
    for i in (0, 1):
        assert min(abs(control[i] / aim[i] - 1) for control in controls) < 0.02
    assert all(label.startswith("none-width") for label in list(networks)[1:])


def test_nearest_width_meets_both_prices_of_gam():
    """The control of the puzzles: GAM's parameters and MACs within 2%, in one plain network."""

    def price(**arguments):
        with torch.device("meta"):
            model = create_model("probe", num_classes=10, **arguments)
        return count_parameters(model), count_macs(model, (3, 32, 32))

    gam = price(attention="gam", attention_options={"reduction": 4})
    for i in (0, 1):
        width = nearest_width(lambda width: width, lambda width, i=i: price(width=width)[i], gam[i])
        assert width == 49
        assert price(width=width)[i] == pytest.approx(gam[i], rel=0.02)
        neighbours = [abs(price(width=w)[i] - gam[i]) for w in (width - 1, width + 1)]
        assert abs(price(width=width)[i] - gam[i]) < min(neighbours)


@pytest.mark.parametrize("price", [lambda width: width * width, lambda width: 7 * (width // 3)])
@pytest.mark.parametrize("target", [0.2, 1, 30, 64, 99, 2500])
def test_nearest_width_is_the_nearest_of_all(price, target):
    """Also where the price grows in steps, as MobileNetV2's does."""
    width = nearest_width(lambda width: width, price, target)
    assert abs(price(width) - target) == min(abs(price(w) - target) for w in range(1, 2000))


# ------------------------------------------------------------------ controls


def test_controls_are_known_by_name_and_not_listed():
    assert set(list_controls()) == {"gam_added", "scaled"}
    assert not set(list_controls()) & set(list_attention())
    for name in list_controls():
        network = create_model("resnet20", name, num_classes=10)
        again = create_model(**network.spec)
        again.load_state_dict(network.state_dict())
        x = torch.randn(2, 3, 32, 32)
        assert torch.equal(network.eval()(x), again.eval()(x))
        with pytest.raises(ValueError, match=f"name '{name}' belongs to gamlib"):
            register_attention(name, nn.Identity)


def test_added_gam_has_gams_price_and_reach_and_no_gate():
    with torch.device("meta"):
        gam, added = (create_model("resnet20", name, {"reduction": 4}) for name in ("gam", "gam_added"))
    assert count_parameters(gam) == count_parameters(added)
    assert count_macs(gam, (3, 32, 32)) == count_macs(added, (3, 32, 32))
    assert explain.list_gates(create_attention("gam_added", 16, reduction=4)) == []


def test_added_gam_adds_the_logits_of_gams_gates():
    gam, added = create_attention("gam", 8, reduction=2).eval(), create_attention("gam_added", 8, reduction=2).eval()
    added.channel_logits.load_state_dict(gam.channel_gate.state_dict())
    added.spatial_logits.load_state_dict(gam.spatial_gate.state_dict())
    x = torch.randn(2, 8, 9, 9)
    gam.channel_gate.sigmoid = gam.spatial_gate.sigmoid = nn.Identity()
    y = x + gam.channel_gate(x)
    torch.testing.assert_close(added(x), y + gam.spatial_gate(y))


def test_scaled_scales():
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(create_attention("scaled", 8)(x), x / 4)
    assert torch.equal(create_attention("scaled", 8, factor=-0.5)(x), x / -2)
    for factor in (0, float("inf"), "1", True):
        with pytest.raises(ValueError, match="factor must be a finite number, not 0"):
            create_attention("scaled", 8, factor=factor)
