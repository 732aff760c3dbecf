"""Bad arguments: one ValueError at construction, which names the argument, its value, and what is allowed."""

import pytest
import torch
from modules import build

import gamlib
from gamlib import BAM, CBAM, GAM, SE, TripletAttention, create_attention, create_model, register_attention
from gamlib.attention import label_of, variant
from gamlib.attention.registry import _REGISTRY
from gamlib.compare import compare
from gamlib.data import puzzles
from gamlib.training.recipes import get

BAD = [
    (SE, 0, {}, "channels must be an integer of 1 or more, got 0"),
    (SE, 64.0, {}, "channels must be an integer of 1 or more, got 64.0"),
    (TripletAttention, -1, {}, "channels must be an integer of 1 or more, got -1"),
    (SE, 8, {}, r"reduction=16 leaves no hidden channel \(channels=8, .*allowed here: 1 to 8"),
    (BAM, 8, {}, "reduction=16 leaves no hidden channel"),
    (CBAM, 8, {}, "reduction=16 leaves no hidden channel"),
    (GAM, 8, {}, "reduction=16 leaves no hidden channel"),
    (GAM, 8, {"reduction": 0}, "reduction must be an integer of 1 or more, got 0"),
    (GAM, 64, {"kernel_size": 6}, r"kernel_size must be odd .*got 6"),
    (CBAM, 64, {"kernel_size": 2}, "kernel_size must be odd"),
    (TripletAttention, 64, {"kernel_size": 4}, "kernel_size must be odd"),
    (
        GAM,
        96,
        {"groups": 4},
        r"groups=4 must divide both channels=96 and channels // reduction = 6; allowed here: \[1, 2, 3, 6\]",
    ),
    (GAM, 24, {"groups": 4}, r"groups=4 must divide .* channels // reduction = 1; allowed here: \[1\]"),
    (GAM, 64, {"groups": 0}, "groups must be an integer of 1 or more, got 0"),
    (GAM, 64, {"shuffle": "before"}, "unknown shuffle 'before'; allowed, nearest first: "),
    (GAM, 64, {"channel": False, "spatial": False}, "leave no gate"),
]


@pytest.mark.parametrize(("cls", "channels", "options", "message"), BAD)
def test_bad_argument(cls, channels, options, message):
    with pytest.raises(ValueError, match=message):
        cls(channels, **options)


@pytest.mark.parametrize("cls", [SE, BAM, CBAM, GAM])
def test_one_hidden_channel_is_enough(cls):
    assert cls(16).eval()(torch.randn(1, 16, 3, 3)).shape == (1, 16, 3, 3)


@pytest.mark.parametrize("cls", [SE, BAM, CBAM, TripletAttention, GAM])
@pytest.mark.parametrize("shape", [(16, 8, 8), (2, 17, 8, 8), (2, 16), (1, 2, 16, 8, 8)])
def test_wrong_input_shape_says_expected_and_got(cls, shape):
    with pytest.raises(
        ValueError, match=r"expected an input of shape \(N, 16, H, W\), got \(" + ", ".join(map(str, shape))
    ):
        cls(16)(torch.randn(shape))


def test_bam_says_why_one_image_is_not_enough_in_training():
    with pytest.raises(ValueError, match="batch of 2 or more in training"):
        build("bam", {"reduction": 4}).train()(torch.randn(1, 16, 4, 4))


def test_unknown_names_list_all_the_nearest_first():
    with pytest.raises(ValueError, match="unknown attention 'cbm'; allowed, nearest first: cbam, "):
        create_attention("cbm", 64)
    with pytest.raises(ValueError, match="unknown model 'resnet19'; allowed, nearest first: resnet18, ") as error:
        create_model("resnet19")
    assert all(name in str(error.value) for name in gamlib.list_models())
    with pytest.raises(ValueError, match="unknown attention 'gma'; allowed, nearest first: gam, "):
        create_model("resnet20", "gma")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"name": "resnet20", "attention": "se", "attention_options": {"groups": 4}},
            "'se' has no option 'groups'; allowed: reduction",
        ),
        ({"name": "resnet20", "attention": "se"}, None),
        (
            {"name": "probe", "attention": "gam", "attention_options": {"reduction": 64}},
            "reduction=64 leaves no hidden channel",
        ),
        ({"name": "resnet20", "stem": "wmp"}, "stem 'wmp' is not defined for 'resnet20'; allowed: cifar"),
        (
            {"name": "mobilenet_v2", "attention": "abn"},
            "'abn' is not defined for 'mobilenet_v2'; allowed models: resnet18",
        ),
        ({"name": "mobilenet_v2", "attention": "gam", "attention_options": {"groups": 4}}, "groups=4 must divide"),
        ({"name": "resnet20", "num_classes": 0}, "num_classes must be an integer of 1 or more, got 0"),
        (
            {"name": "resnet20", "attention": "none", "attention_options": {"reduction": 4}},
            "attention 'none' has no options",
        ),
        ({"name": "resnet20", "attention": 3}, "attention must be a name .*got 3"),
        ({"name": "resnet20", "weights": "IMAGENET1K_V1"}, "torchvision has none for 'resnet20'"),
        (
            {"name": "resnet18", "weights": "V1"},
            "unknown weights of resnet18 'V1'; allowed, nearest first: IMAGENET1K_V1",
        ),
        ({"name": "resnet20", "weights": "no/such.safetensors"}, "weights: no such file"),
    ],
)
def test_create_model(arguments, message):
    if message is None:
        assert create_model(**arguments)
        return
    with pytest.raises(ValueError, match=message):
        create_model(**arguments)


def test_registration(monkeypatch):
    monkeypatch.setattr("gamlib.attention.registry._REGISTRY", dict(_REGISTRY))
    for name in ("gam", "none", "abn"):
        with pytest.raises(ValueError, match=f"name '{name}' belongs to gamlib"):
            register_attention(name, SE)
    with pytest.raises(ValueError, match="name must be a non-empty string in lower case"):
        register_attention("Mine", SE)
    with pytest.raises(ValueError, match="cls must be a class or a function"):
        register_attention("mine", "SE")
    register_attention("mine", SE)
    register_attention("mine", GAM)  # a notebook's cell run again
    assert gamlib.list_attention()[-1] == "mine"
    assert isinstance(create_attention("mine", 16), GAM)
    assert any(isinstance(m, GAM) for m in create_model("resnet20", "mine").modules())


def test_a_variant_of_a_mechanism_by_its_options():
    assert variant("gam", None) == ("gam", {})
    assert variant("tam", 4) == ("tam", {})
    assert variant("gam:kernel_size=9,shuffle=after", 4) == (
        "gam",
        {"reduction": 4, "kernel_size": 9, "shuffle": "after"},
    )
    assert variant("gam:reduction=8,channel=False,shuffle=none", 4)[1] == {
        "reduction": 8,
        "channel": False,
        "shuffle": None,
    }
    assert variant("scaled:factor=0.5", None) == ("scaled", {"factor": 0.5})
    assert variant("gam:groups=-1", None)[1] == {"groups": -1}
    for wrong in ("gam:", "gam:kernel_size", "gam:=9", "gam:kernel_size=9,"):
        with pytest.raises(ValueError, match="expected OPTION=VALUE after the colon, such as gam:kernel_size=9"):
            variant(wrong, None)


@pytest.mark.parametrize(
    ("attention", "options", "label"),
    [
        (None, {}, "none"),
        ("gam", {"reduction": 4}, "gam"),
        ("gam", {"kernel_size": 7, "shuffle": "between"}, "gam"),
        ("gam", {"reduction": 4, "kernel_size": 9, "channel": False}, "gam-kernel_size9-channelFalse"),
        ("tam", {"kernel_size": 5}, "tam-kernel_size5"),
        (TripletAttention, {"kernel_size": 5}, "tam-kernel_size5"),
    ],
)
def test_a_label_says_what_is_unusual(attention, options, label):
    assert label_of(create_model("probe", attention, options, num_classes=10).spec) == label


def test_two_networks_of_one_label_are_refused(tmp_path):
    with pytest.raises(ValueError, match=r"two of the networks would both be called 'gam' .*in two calls"):
        compare(
            [puzzles.dataset("joint")], "probe", ["gam:reduction=4", "gam:reduction=8"], [0], get("smoke"), tmp_path
        )
