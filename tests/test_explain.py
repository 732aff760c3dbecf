"""gamlib.explain: gates as they were computed, Grad-CAM, and the tests of a map, on networks whose truth is known."""

import copy
import math

import pytest
import reference
import timm
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from gamlib import create_model, explain, insert_attention, list_attention
from gamlib.attention import full_options
from gamlib.course import faithfulness, plots
from gamlib.course.truth import truth
from gamlib.data import puzzles
from gamlib.explain.gradcam import last_map

X = (2, 3, 16, 16)


def network(attention: str = "gam", **options: object) -> nn.Module:
    torch.manual_seed(0)
    reduction = {"reduction": 4} if attention in list_attention() and "reduction" in full_options(attention, {}) else {}
    return create_model("resnet20", attention, reduction | options, num_classes=10).eval()


# ------------------------------------------------------------------ gates


@pytest.mark.parametrize("attention", list_attention())
def test_captured_gates_scale_the_map(attention):
    """Put together by each mechanism's equation, the captured gates turn the block's change into what it adds."""
    model = network(attention)
    place = "layer1.attention" if attention == "bam" else "layer1.0.attention"
    seen = {}
    module = model.get_submodule(place)
    module.register_forward_hook(lambda module, inputs, output: seen.update(x=inputs[0], y=output))
    gates = explain.capture_gates(model, torch.randn(X))
    x, own = seen["x"], {name.rpartition(".")[2]: gate for name, gate in gates.items() if name.startswith(place)}
    if attention == "bam":
        expected = x * (1 + own["gate"])
    elif attention == "tam":
        assert own["cw_gate"].shape == (2, 16, 1, 16)
        assert own["ch_gate"].shape == (2, 16, 16, 1)
        expected = x * (own["cw_gate"] + own["ch_gate"] + own["hw_gate"]) / 3
    else:
        expected = x * math.prod(own.values())
    assert torch.allclose(expected, seen["y"], atol=1e-6)
    assert len(gates) == {"se": 9, "bam": 2, "cbam": 18, "tam": 27, "gam": 18}[attention]
    assert not any(gate.requires_grad for gate in gates.values())
    assert all(gate.min() >= 0 and gate.max() <= 1 for gate in gates.values())


def test_gates_of_abn():
    gates = explain.capture_gates(network("abn"), torch.randn(X))
    assert {name: tuple(gate.shape) for name, gate in gates.items()} == {"attention_gate": (2, 1, 8, 8)}


@pytest.mark.parametrize(
    ("build", "first", "count"),
    [
        (lambda: torchvision.models.mobilenet_v3_small(), "features.1.block.1.scale_activation", 9),
        (lambda: timm.create_model("seresnet18"), "layer1.0.se.gate", 8),
        (lambda: timm.create_model("ecaresnet26t"), None, 8),
        (lambda: insert_attention(torchvision.models.resnet18(), "gam"), "layer1.0.attention.channel_gate", 16),
    ],
    ids=["torchvision", "timm", "timm-eca", "inserted"],
)
def test_gates_of_other_networks(build, first, count):
    gates = explain.capture_gates(build().eval(), torch.randn(1, 3, 64, 64))
    assert len(gates) == count
    assert first is None or next(iter(gates)) == first


def test_a_network_without_gates():
    with pytest.raises(ValueError, match="found no gate in SmallResNet"):
        explain.capture_gates(network("none"), torch.randn(X))
    with pytest.raises(ValueError, match=r"unknown module 'layer1.0.attention.gate'; allowed, nearest first: layer1.0"):
        explain.capture_gates(network(), torch.randn(X), ["layer1.0.attention.gate"])


def test_hooks_are_gone_afterwards_even_after_an_error():
    model = network()
    explain.capture_gates(model, torch.randn(X))
    with pytest.raises(RuntimeError, match="to have 16 channels"):
        explain.capture_gates(model.layer2, torch.randn(X))
    with explain.replace_gates(model, {"layer1.0.attention.channel_gate": lambda gate: gate}):
        assert any(module._forward_hooks for module in model.modules())
    assert not any(module._forward_hooks for module in model.modules())


@pytest.mark.parametrize("attention", ["se", "bam", "cbam", "tam", "gam", "abn"])
def test_replaced_gates_decide(attention):
    """A network given its own gates says the same; given another picture's, each gate is that picture's."""
    model, x = network(attention), torch.randn(X)
    own, answers = explain.capture_gates(model, x), model(x)
    with explain.replace_gates(model, own):
        assert torch.allclose(model(x), answers, atol=1e-6)
    name = list(own)[-1]
    with explain.replace_gates(model, {name: own[name].flip(0)}):
        found = explain.capture_gates(model, x)
        assert torch.equal(found[name], own[name].flip(0))
        assert not torch.allclose(model(x), answers, atol=1e-6)
    with explain.replace_gates(model, {name: lambda gate: gate.mean(0, keepdim=True)}):
        assert torch.allclose(explain.capture_gates(model, x)[name][0], own[name].mean(0), atol=1e-6)
    assert torch.equal(model(x), answers)


def test_a_gate_that_does_not_fit():
    model, small = network(), torch.ones(2, 5, 1, 1)
    with (
        pytest.raises(ValueError, match=r"has shape \(2, 5, 1, 1\); expected \(2, 16, 16, 16\)"),
        explain.replace_gates(model, {"layer1.0.attention.channel_gate": small}),
    ):
        model(torch.randn(X))
    with (
        pytest.raises(ValueError, match="unknown module 'layer9'"),
        explain.replace_gates(model, {"layer9": small}),
    ):
        pass


class Odd(nn.Module):
    """A gate that runs twice, one that never runs, and one that is none."""

    def __init__(self):
        super().__init__()
        self.a_gate, self.b_gate, self.c_gate = nn.Sigmoid(), nn.Sigmoid(), nn.LSTM(3, 3)

    def forward(self, x):
        return self.a_gate(self.a_gate(x)) + self.c_gate(x)[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: explain.capture_gates(m, x, ["a_gate"]), "'a_gate' runs more than once"),
        (lambda m, x: explain.capture_gates(m, x, ["b_gate"]), "1 of the modules did not run, such as 'b_gate'"),
        (lambda m, x: explain.capture_gates(m, x, ["c_gate"]), "'c_gate' returns tuple, so it is no gate"),
        (lambda m, x: explain.capture_gates(m, x, "a_gate"), "must be a list of names, got the string 'a_gate'"),
        (
            lambda m, x: explain.replace_gates(m, ["a_gate"]).__enter__(),
            "must be a mapping of names to gates, got list",
        ),
    ],
)
def test_gates_refuse(call, message):
    model = Odd()
    with pytest.raises(ValueError, match=message):
        call(model, torch.randn(2, 3))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_gate_must_be_replaced_by_a_tensor():
    model = network()
    with (
        pytest.raises(ValueError, match="must be a tensor, got NoneType"),
        explain.replace_gates(model, {"layer1.0.attention.channel_gate": lambda gate: None}),
    ):
        model(torch.randn(X))


# ------------------------------------------------------------------ wrapped networks


def compiled(model: nn.Module) -> nn.Module:
    return torch.compile(model, backend="eager")


def compiled_in_place(model: nn.Module) -> nn.Module:
    model.compile(backend="eager")
    return model


def with_a_part(wrap):
    def change(model: nn.Module) -> nn.Module:
        model.layer2 = wrap(model.layer2)
        return model

    return change


every_wrapper = pytest.mark.parametrize(
    "wrap",
    [
        compiled,
        compiled_in_place,
        nn.DataParallel,
        lambda model: compiled(nn.DataParallel(model)),
        lambda model: nn.DataParallel(compiled(model)),
        with_a_part(compiled),
        with_a_part(compiled_in_place),
        with_a_part(nn.DataParallel),
    ],
    ids=["compiled", "in-place", "parallel", "both", "both-inside-out", "part", "part-in-place", "part-parallel"],
)


@every_wrapper
def test_a_wrapped_network_is_looked_at_as_if_it_were_bare(wrap):
    model, x = network("tam"), torch.randn(X)
    wrapped = wrap(copy.deepcopy(model)).eval()
    with torch.no_grad():
        wrapped(x)  # compiled before any hook
    gates, found = explain.capture_gates(model, x), explain.capture_gates(wrapped, x)
    assert explain.list_gates(wrapped) == list(gates) == list(found)
    assert all(torch.allclose(gates[name], found[name], atol=1e-6) for name in gates)
    assert torch.allclose(explain.grad_cam(model, x), explain.grad_cam(wrapped, x), atol=1e-5)
    assert torch.allclose(
        explain.grad_cam(model, x, layer="layer2.1"), explain.grad_cam(wrapped, x, layer="layer2.1"), atol=1e-5
    )
    others = {name: gate.flip(0) for name, gate in gates.items()}
    with torch.no_grad():
        assert torch.allclose(faithfulness.randomised(wrapped)(x), faithfulness.randomised(model)(x), atol=1e-6)
        with explain.replace_gates(model, others):
            answers = model(x)
        with explain.replace_gates(wrapped, others):
            assert torch.allclose(wrapped(x), answers, atol=1e-6)
        assert torch.allclose(wrapped(x), model(x), atol=1e-6)
        assert not torch.allclose(answers, model(x), atol=1e-6)


@every_wrapper
def test_only_the_network_itself_is_asked_whether_it_is_in_training(wrap):
    """DataParallel is born in training, whatever is in it."""
    x, labels = torch.randn(X), torch.zeros(2, dtype=torch.int64)
    faithfulness.deletion(wrap(network()), x, x[:, 0], labels, steps=1)
    with pytest.raises(ValueError, match="in training"):
        faithfulness.deletion(wrap(network().train()), x, x[:, 0], labels, steps=1)


def test_a_module_in_two_places_goes_by_its_first_name():
    model = network("se")
    model.again = model.layer1
    assert explain.list_gates(model) == explain.list_gates(network("se"))
    assert len(explain.capture_gates(model, torch.randn(X))) == 9


# ------------------------------------------------------------------ inference mode


def test_grad_cam_in_inference_mode():
    model, x = network(), torch.randn(X)
    expected = explain.grad_cam(model, x, torch.tensor([1, 2]))
    with torch.inference_mode():
        made_there, labels, weights = x.clone(), torch.tensor([1, 2]), copy.deepcopy(model)
        gates = explain.capture_gates(model, made_there)
        inside = explain.grad_cam(model, made_there, labels)
    assert torch.equal(inside, expected)
    assert torch.equal(explain.grad_cam(model, made_there, labels), expected)
    assert torch.equal(explain.grad_cam(weights, made_there, labels), expected)
    with explain.replace_gates(model, gates):
        assert torch.allclose(explain.grad_cam(model, x, labels), expected, atol=1e-5)


def test_a_network_drawn_in_inference_mode_can_be_asked_and_trained():
    model, x = network(), torch.randn(X)
    with torch.inference_mode():
        drawn = faithfulness.randomised(model)
        assert torch.equal(drawn(x), faithfulness.randomised(model)(x))
    drawn.train()(x).sum().backward()
    assert drawn.fc.weight.grad.abs().sum() > 0


# ------------------------------------------------------------------ Grad-CAM


def test_grad_cam_is_the_equation():
    model, x = network(), torch.randn(X)
    labels = model(x).argmax(1)
    maps = explain.grad_cam(model, x)
    assert torch.equal(maps, explain.grad_cam(model, x, labels))
    for picture, label, ours in zip(x, labels, maps, strict=True):
        kept = []
        handle = model.layer3.register_forward_hook(lambda module, inputs, output, kept=kept: kept.append(output))
        logits = model(picture[None])[0]
        handle.remove()
        (gradients,) = torch.autograd.grad(logits[label], kept[0])
        literal = reference.grad_cam(kept[0].detach(), gradients)[0]
        literal = F.interpolate(literal[None, None], (16, 16), mode="bilinear")[0, 0]
        assert literal.max() > 0
        assert torch.allclose(ours, literal / literal.max(), atol=1e-5)


@pytest.mark.parametrize("layer", ["layer1", "layer2.1.bn2", "layer3"])
def test_grad_cam_agrees_with_the_grad_cam_package(layer):
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    model, x = network("se"), torch.randn(4, 3, 32, 32)
    ours = explain.grad_cam(model, x, torch.tensor([1, 2, 3, 4]), layer)
    with GradCAM(model=model, target_layers=[model.get_submodule(layer)]) as package:
        theirs = torch.from_numpy(package(input_tensor=x, targets=[ClassifierOutputTarget(i) for i in (1, 2, 3, 4)]))
    # The package shifts each map so that its smallest value is 0, before it is brought to the picture's size.
    least = ours.amin((1, 2), keepdim=True)
    ours = (ours - least) / (1 - least)
    assert theirs.amax() > 0.9
    assert torch.allclose(ours, theirs, atol=0.02)


def test_grad_cam_finds_the_only_place_that_counts():
    """A network that looks at one quarter of the picture."""

    class Corner(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            features = self.relu(x)
            return torch.stack([features[:, 0, :8, :8].mean((1, 2)), features[:, 1].mean((1, 2))], 1)

    x = torch.zeros(1, 3, 16, 16)
    x[:, 0, 2:5, 2:5] = 1
    heat = explain.grad_cam(Corner().eval(), x, torch.tensor([0]))
    assert torch.equal(heat[0] > 0, x[0, 0] > 0)
    assert torch.equal(explain.grad_cam(Corner().eval(), x, torch.tensor([1])), torch.zeros(1, 16, 16))


def test_grad_cam_leaves_the_network_as_it_was():
    model, x = network(), torch.randn(X)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    explain.grad_cam(model, x)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert not x.requires_grad


def test_grad_cam_of_a_frozen_network():
    model, x = network(), torch.randn(X)
    expected = explain.grad_cam(model, x)
    with torch.no_grad():
        assert torch.equal(explain.grad_cam(model.requires_grad_(False), x), expected)


def test_the_last_map():
    assert last_map(network("none"), torch.randn(X)) == "layer3"
    assert last_map(torchvision.models.resnet18(), torch.randn(1, 3, 64, 64)) == "layer4"


@pytest.mark.parametrize(
    ("name", "side", "last"),
    [
        ("convnext_tiny", 32, "features.6.0"),  # its last stage has one place, and channels last
        ("convnext_tiny", 64, "features"),
        ("mobilenet_v3_small", 64, "features"),
        ("densenet121", 64, "features"),
        ("maxvit_t", 224, "blocks.3"),  # blocks that attend, and then are maps again
        ("swin_t", 64, "permute"),
    ],
)
def test_networks_that_end_in_a_map(name, side, last):
    model = torchvision.models.get_model(name, weights=None).eval()
    assert last_map(model, torch.randn(1, 3, side, side)) == last


def transformer() -> nn.Module:
    return torchvision.models.VisionTransformer(
        image_size=32, patch_size=8, num_layers=2, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=10
    )


def test_grad_cam_refuses_transformers_and_takes_a_layer_that_is_named():
    model, x = transformer().eval(), torch.randn(2, 3, 32, 32)
    with pytest.raises(ValueError, match=r"made for convolutional networks: after 'conv_proj', .*Name a layer"):
        explain.grad_cam(model, x)
    assert explain.grad_cam(model, x, layer="conv_proj").shape == (2, 32, 32)


@pytest.mark.parametrize("attention", ["gam", "tam", "se", "cbam"])
def test_a_last_stage_of_one_place_is_no_transformer(attention):
    """GAM's MLP has its channels last there, and TAM turns the map."""
    model = create_model("resnet18", attention, num_classes=10, stem="imagenet").eval()
    assert last_map(model, torch.randn(2, 3, 32, 32)) == "layer3"


class Head(nn.Module):
    """A convolutional network whose head returns something of three sides, or turns its channels last."""

    def __init__(self, head):
        super().__init__()
        self.conv, self.head, self.fc = nn.Conv2d(3, 8, 3, 2), head, nn.LazyLinear(10)

    def forward(self, x):
        return self.fc(self.head(self.conv(x)).flatten(1))


@pytest.mark.parametrize(
    "head",
    [
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(2), nn.Conv1d(8, 5, 1)),  # (N, 5, 1)
        nn.Sequential(nn.AdaptiveAvgPool2d((4, 1)), nn.ReLU()),  # (N, 8, 4, 1)
        nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Unflatten(1, (4, 2)), nn.ReLU()),  # (N, 4, 2)
    ],
)
def test_heads_of_three_sides_are_no_tokens(head):
    assert last_map(Head(head), torch.randn(2, 3, 32, 32)) == "conv"


def test_a_picture_that_is_no_square():
    model = torchvision.models.googlenet(weights=None, init_weights=False).eval()
    assert last_map(model, torch.randn(1, 3, 299, 150)) == "inception5b"


class Attending(nn.Module):
    """Its windows attend apart, as timm's Swin: what a softmax returns has a square, too, but not one a picture."""

    def __init__(self):
        super().__init__()
        self.conv, self.softmax, self.norm, self.fc = (
            nn.Conv2d(3, 4, 1),
            nn.Softmax(-1),
            nn.LayerNorm(4),
            nn.Linear(4, 10),
        )

    def forward(self, x):
        x = self.conv(x)
        windows = x.flatten(2).mT.reshape(64 * len(x), 1, 4, 4)  # of four places: their weights would pass for a map
        return self.fc(self.norm((self.softmax(windows @ windows.mT) @ windows).reshape(len(x), -1, 4)).mean(1))


def test_the_weights_of_windows_are_no_map():
    with pytest.raises(ValueError, match="after 'conv'"):
        last_map(Attending(), torch.randn(2, 3, 16, 16))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: explain.grad_cam(m.train(), x), r"in training.*call .eval\(\) first"),
        (lambda m, x: explain.grad_cam(m, x, layer="layer9"), "unknown layer 'layer9'; allowed, nearest first: layer"),
        (lambda m, x: explain.grad_cam(m, x, layer="fc"), r"'fc' must return \(N, C, h, w\), got \(2, 10\)"),
        (lambda m, x: explain.grad_cam(m, x, torch.tensor([0, 10])), "classes from 0 to 9; got .*, 0 to 10"),
        (
            lambda m, x: explain.grad_cam(m, x, torch.tensor([0])),
            r"labels must be int64 \(2,\).*got torch.int64 \(1,\)",
        ),
    ],
)
def test_grad_cam_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call(network(), torch.randn(X))


def test_grad_cam_works_while_gates_are_replaced():
    model, x = network(), torch.randn(X)
    expected = explain.grad_cam(model, x)
    with explain.replace_gates(model, explain.capture_gates(model, x)):
        assert torch.allclose(explain.grad_cam(model, x), expected, atol=1e-5)


def test_grad_cam_with_a_layer_in_place_behind_it():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    x = torch.randn(X)
    features = model[0](x).detach()
    expected = reference.grad_cam(features, (features > 0) / features[0, 0].numel() * torch.eye(4)[2].view(4, 1, 1))
    ours = explain.grad_cam(model, x, torch.tensor([2, 2]), layer="0")
    expected = F.interpolate(expected[:, None], (16, 16), mode="bilinear")[:, 0]
    assert torch.allclose(ours, expected / expected.amax((1, 2), keepdim=True), atol=1e-5)


def test_grad_cam_of_networks_that_can_not_be_asked():
    class ChannelsLast(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 8, 2, 2), nn.LayerNorm(8)

        def forward(self, x):
            return self.norm(self.conv(x).permute(0, 2, 3, 1)).mean((1, 2))

    with pytest.raises(
        ValueError, match=r"after 'conv', the last of ChannelsLast's layers .* 1 more .* such as 'norm'"
    ):
        last_map(ChannelsLast(), torch.randn(1, 3, 32, 32))

    class Branch(nn.Module):
        def __init__(self):
            super().__init__()
            self.main, self.unused, self.twice = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.ReLU()

        def forward(self, x):
            self.unused(x)
            return self.twice(self.twice(self.main(x))).mean((2, 3))

    x = torch.randn(X)
    with pytest.raises(ValueError, match="does not depend on layer 'unused'"):
        explain.grad_cam(Branch().eval(), x, layer="unused")
    with pytest.raises(ValueError, match="layer 'twice' ran 2 times"):
        explain.grad_cam(Branch().eval(), x, layer="twice")
    same = nn.Sequential(nn.Dropout(), nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    explain.grad_cam(same, x, layer="0")
    assert not x.requires_grad


def test_a_part_in_training_is_refused():
    model, x = network(), torch.randn(X)
    model.layer1.train()
    for call in (explain.grad_cam, lambda m, x: faithfulness.deletion(m, x, x[:, 0], torch.tensor([0, 0]))):
        with pytest.raises(ValueError, match="in training"):
            call(model, x)


# ------------------------------------------------------------------ faithfulness


class CountsCorner(nn.Module):
    """Its probability of class 1 rises with the mean of the upper left quarter."""

    def forward(self, x):
        corner = x[:, 0, : x.shape[2] // 2, : x.shape[3] // 2].mean((1, 2))
        return torch.stack([torch.zeros_like(corner), 8 * corner - 4], 1)


def corner_pictures():
    torch.manual_seed(0)
    x = torch.rand(6, 3, 16, 16) * 0.2
    x[:, :, :8, :8] += 0.8
    truth = torch.zeros(6, 16, 16)
    truth[:, :8, :8] = 1
    return x, truth, torch.ones(6, dtype=torch.int64)


def test_deletion_and_insertion_know_the_truth():
    model, (x, truth, labels) = CountsCorner().eval(), corner_pictures()
    wrong = 1 - truth
    curves = {
        (curve.__name__, name): curve(model, x, maps, labels, steps=8)
        for curve in (faithfulness.deletion, faithfulness.insertion)
        for name, maps in [("truth", truth), ("random", faithfulness.random_maps(truth)), ("wrong", wrong)]
    }
    for name in ("truth", "random", "wrong"):
        deleted, inserted = curves["deletion", name], curves["insertion", name]
        whole, empty = model(x).softmax(1)[:, 1], model(x.mean((2, 3), keepdim=True).expand_as(x)).softmax(1)[:, 1]
        assert torch.allclose(deleted[:, 0], whole)
        assert torch.allclose(deleted[:, -1], empty)
        assert torch.allclose(inserted[:, 0], empty)
        assert torch.allclose(inserted[:, -1], whole)
    areas = {key: faithfulness.area(curve).mean() for key, curve in curves.items()}
    assert areas["deletion", "truth"] < areas["deletion", "random"] - 0.05
    assert areas["deletion", "random"] < areas["deletion", "wrong"] - 0.05
    assert areas["insertion", "truth"] > areas["insertion", "random"] + 0.05
    assert areas["insertion", "random"] > areas["insertion", "wrong"] + 0.05
    # With the true map, a quarter of the pixels is all that counts.
    assert torch.allclose(curves["deletion", "truth"][:, 2:], curves["deletion", "truth"][:, -1:], atol=1e-6)


def test_the_right_pixels_go():
    """Pixel by pixel: a network that returns the picture's own pixels says which are left."""
    seen = []

    class Watch(nn.Module):
        def forward(self, x):
            seen.append(x.clone())
            return torch.zeros(len(x), 2)

    x, maps = torch.rand(1, 3, 4, 4), torch.arange(16.0).view(1, 4, 4)
    faithfulness.deletion(Watch().eval(), x, maps, torch.zeros(1, dtype=torch.int64), steps=4)
    for step, picture in enumerate(seen):
        kept = (picture == x).all(1)[0].flatten()
        assert kept.tolist() == [True] * (16 - 4 * step) + [False] * (4 * step)


def test_equal_pixels_go_in_random_order():
    """Else a constant map would mean: from the upper left."""
    model, (x, _, labels) = CountsCorner().eval(), corner_pictures()
    constant = torch.ones(6, 16, 16)
    first = faithfulness.deletion(model, x, constant, labels, steps=4)
    assert not torch.allclose(first, faithfulness.deletion(model, x, constant, labels, steps=4, seed=1))
    assert torch.equal(first, faithfulness.deletion(model, x, constant, labels, steps=4))
    quarter = first[:, 1] - first[:, -1]
    assert torch.all(quarter > 0.02), "the corner is still there in part"


def test_area():
    assert faithfulness.area(torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 0.0]])).tolist() == [
        0.5,
        1.0,
        0.5,
    ]


def test_controls():
    maps = torch.rand(5, 6, 7)
    cells = faithfulness.random_maps(maps)
    assert torch.equal(cells.flatten(1).sort().values, maps.flatten(1).sort().values)
    assert not torch.equal(cells, maps)
    assert not torch.equal(cells, faithfulness.random_maps(maps, seed=1))
    for seed in range(10):
        others = faithfulness.shuffled_maps(maps, seed)
        which = [next(i for i in range(5) if torch.equal(maps[i], other)) for other in others]
        assert sorted(which) == [0, 1, 2, 3, 4]
        assert all(i != j for i, j in enumerate(which))
    with pytest.raises(ValueError, match="two maps or more to exchange them, got 1"):
        faithfulness.shuffled_maps(maps[:1])


def test_gate_map():
    gate = torch.rand(2, 4, 8, 8)
    expected = F.interpolate(gate, (16, 12), mode="bilinear").mean(1)
    assert torch.allclose(faithfulness.gate_map(gate, (16, 12)), expected)
    with pytest.raises(ValueError, match=r"got \(2, 4, 1, 1\)"):
        faithfulness.gate_map(torch.rand(2, 4, 1, 1), (16, 16))


def test_randomised_has_learnt_nothing():
    model = network()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.add_(3)
                module.weight.mul_(2)
    state = torch.get_rng_state()
    drawn = faithfulness.randomised(model)
    assert torch.equal(torch.get_rng_state(), state)
    assert not drawn.training
    for (name, old), new in zip(model.state_dict().items(), drawn.state_dict().values(), strict=True):
        if (
            not name.endswith("num_batches_tracked")
            and "bn" in name
            and "running_var" not in name
            and "bias" not in name
        ):
            assert not torch.equal(old, new), name
    again, other = faithfulness.randomised(model), faithfulness.randomised(model, seed=1)
    weight = "layer1.0.attention.spatial_gate.conv1.weight"
    assert torch.equal(drawn.state_dict()[weight], again.state_dict()[weight])
    assert not torch.equal(drawn.state_dict()[weight], other.state_dict()[weight])
    assert not torch.equal(drawn.state_dict()[weight], model.state_dict()[weight])
    gentle = insert_attention(network("none"), "se", gentle=True, reduction=4)
    with torch.no_grad():
        gentle.layer1[0].attention.strength.fill_(2)
    assert faithfulness.randomised(gentle).layer1[0].attention.strength == 0

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.ones(3))

    with pytest.raises(ValueError, match="can't draw the weights of the network \\(Own\\) anew"):
        faithfulness.randomised(Own())


def test_rank_correlation_is_spearmans():
    from scipy.stats import spearmanr

    torch.manual_seed(0)
    a, b = torch.rand(3, 5, 6), torch.rand(3, 5, 6)
    b[1] = a[1] ** 3
    b[2] = (b[2] * 4).floor() + a[2].round()  # many equal ones
    ours = faithfulness.rank_correlation(a, b)
    for picture in range(3):
        assert ours[picture] == pytest.approx(spearmanr(a[picture].flatten(), b[picture].flatten()).statistic)
    assert ours[1] == pytest.approx(1)
    assert faithfulness.rank_correlation(a, torch.ones_like(a)).isnan().all()
    with pytest.raises(ValueError, match="one shape"):
        faithfulness.rank_correlation(a, b[:2])
    with pytest.raises(ValueError, match="NaN"):
        faithfulness.rank_correlation(a, a * torch.nan)
    with pytest.raises(ValueError, match=r"got \(3, 1\)"):
        faithfulness.area(torch.rand(3, 1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"steps": 0}, "steps must be an integer of 1 or more"),
        ({"maps": torch.rand(6, 8, 8)}, r"maps must be \(6, 16, 16\).*got \(6, 8, 8\)"),
        ({"labels": torch.ones(5, dtype=torch.int64)}, r"labels must be int64 \(6,\).*\(5,\)"),
        ({"maps": torch.full((6, 16, 16), torch.nan)}, "NaN"),
        ({"model": CountsCorner().train()}, "in training"),
        ({"seed": -1}, "seed must be"),
    ],
)
def test_deletion_refuses(change, message):
    x, truth, labels = corner_pictures()
    arguments = {"model": CountsCorner().eval(), "x": x, "maps": truth, "labels": labels} | change
    for curve in (faithfulness.deletion, faithfulness.insertion):
        with pytest.raises(ValueError, match=message):
            curve(**arguments)


# ------------------------------------------------------------------ plots


def test_figures_are_drawn():
    for attention in ("se", "cbam", "tam", "gam"):
        gates = explain.capture_gates(network(attention), torch.randn(X))
        figure = plots.draw_gates({name: gate for name, gate in gates.items() if name.startswith("layer1.0")})
        titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
        assert len(titles) == {"se": 1, "cbam": 2, "tam": 3, "gam": 2}[attention]
        assert all(image.get_clim() == (0, 1) for axes in figure.axes for image in axes.images)
    images, maps = torch.zeros(3, 3, 16, 16, dtype=torch.uint8), torch.rand(3, 16, 16)
    figure = plots.draw_maps(images, {"gate": maps, "Grad-CAM": maps})
    assert [axes.get_ylabel() for axes in figure.axes[:9:3]] == ["picture", "gate", "Grad-CAM"]
    curves = {"gate": torch.rand(4, 9), "random": torch.rand(4, 9)}
    (axes,) = plots.draw_curves(curves, "Deletion").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["gate", "random"]
    assert axes.lines[0].get_xdata()[-1] == 100
    scores = {"one draw": (torch.full((4,), 0.2), torch.full((4,), 0.8)), "three": (torch.rand(3, 4), torch.rand(3, 4))}
    left, right = plots.draw_scores(scores, "Scores").axes
    assert [text.get_text() for text in left.get_yticklabels()] == ["one draw", "three"]
    assert (left.lines[0].get_xdata()[0], right.lines[0].get_xdata()[0]) == (pytest.approx(0.2), pytest.approx(0.8))
    assert sorted(left.lines[-1].get_xdata()) == pytest.approx(sorted(scores["three"][0].mean(1).tolist()))
    one = torch.tensor([0.2, 0.3, 0.4, 0.5])
    (bar, *_) = plots.draw_scores({"one": (one, one)}, "").axes[0].collections
    ends = bar.get_segments()[0][:, 0]
    assert ends.tolist() == pytest.approx([0.35 + side * 1.96 * float(one.std()) / 2 for side in (-1, 1)])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: plots.draw_gates({}), "no gate to draw"),
        (lambda: plots.draw_gates({"gate": torch.rand(2, 4, 1, 1)}, example=2), r"example 2 of gate 'gate'"),
        (lambda: plots.draw_maps(torch.rand(2, 3, 4, 4), {"a": torch.rand(3, 4, 4)}), r"must be \(2, h, w\)"),
        (lambda: plots.draw_maps(torch.rand(2, 3, 4, 4), {str(i): torch.rand(2, 4, 4) for i in range(9)}), "9 kinds"),
        (lambda: plots.draw_curves({str(i): torch.rand(2, 4) for i in range(9)}, ""), "9 curves are too many"),
    ],
)
def test_figures_refuse(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("task", puzzles.TASKS)
def test_the_truth_is_where_a_puzzles_answer_stands(task):
    """The digit's ink is the label's, and the cue has the colour of that digit."""
    digit, cue = truth(task, "test", seed=3)
    images, labels = puzzles.make(task, "test", seed=3)
    assert digit.shape == cue.shape == (2000, 32, 32)
    for i in range(100):
        rows, columns = torch.where(digit[i])
        shape = torch.from_numpy(puzzles.GLYPHS[labels[i]])
        top, left = rows.min(), columns.min() - torch.where(shape)[1].min()
        assert torch.equal(digit[i, top : top + 7, left : left + 5], shape)
        assert digit[i].sum() == shape.sum()
        assert images[i][:, digit[i]].unique(dim=1).shape[1] == 1
        assert images[i][:, digit[i] | cue[i]].unique(dim=1).shape[1] == 1
        assert cue[i].sum() == {"channel": 64, "spatial": 6, "joint": 12}[task]
