"""What the course's pictures say of gates: what each is told, what variants change, and what photographs' gates do."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from gamlib import create_attention, create_model, explain
from gamlib.course import seeing
from gamlib.course.photographs import NAMES, draw_swapped, normalised, photographs, swapped
from gamlib.course.seeing import CHANNELS, GATES, MIDDLE, SIDE, seen, sees, told_apart
from gamlib.course.variants import VARIANTS
from gamlib.course.wires import draw_groups, draw_permutation, layers
from gamlib.data.cifar100 import CLASSES

ALL = range(SIDE)
NEAR = {side: range(MIDDLE - side // 2, MIDDLE + side // 2 + 1) for side in (1, 7, 13)}
DILATED = range(MIDDLE - 8, MIDDLE + 9, 4)
CHANNEL = range(CHANNELS // 2 - 3, CHANNELS // 2 + 4)
# Channels, rows and columns that each gate is told of, and what it tells apart, as the papers' equations have it.
TOLD = {
    "SE": (range(CHANNELS), ALL, ALL, "C"),
    "BAM, channels": (range(CHANNELS), ALL, ALL, "C"),
    "BAM, positions": (range(CHANNELS), DILATED, DILATED, "CHW"),
    "CBAM, channels": (range(CHANNELS), ALL, ALL, "C"),
    "CBAM, positions": (range(CHANNELS), NEAR[7], NEAR[7], "HW"),
    "TAM, C-W": (CHANNEL, ALL, NEAR[7], "CW"),
    "TAM, H-C": (CHANNEL, NEAR[7], ALL, "CH"),
    "TAM, H-W": (range(CHANNELS), NEAR[7], NEAR[7], "HW"),
    "GAM, channels": (range(CHANNELS), NEAR[1], NEAR[1], "CHW"),
    "GAM, positions": (range(CHANNELS), NEAR[13], NEAR[13], "CHW"),
}


@pytest.mark.parametrize("name", GATES)
def test_what_a_gate_is_told(name):
    channels, rows, columns, apart = TOLD[name]
    expected = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    expected[torch.tensor(rows)[:, None], torch.tensor(columns)] = True
    cells = seen(name)
    assert torch.equal(cells.any(0), expected)
    assert cells.any((1, 2)).nonzero().flatten().tolist() == list(channels)
    assert told_apart(name) == {axis: axis in apart for axis in "CHW"}


def test_a_gate_that_is_told_more_would_be_seen(monkeypatch):
    """What is drawn is measured on the module, and not typed."""
    wide = create_attention("cbam", CHANNELS, reduction=4, kernel_size=9).eval().spatial_gate
    monkeypatch.setattr(seeing, "gate_of", lambda name: wide)
    assert int(seen("CBAM, positions").any(0).sum()) == 81


def test_the_picture_has_a_column_for_each_and_says_the_same_in_words():
    figure, words = sees(["SE", "BAM, positions"])
    assert len([axis for axis in figure.axes if axis.get_title()]) == 2
    assert "BAM, positions, of shape (1, H, W): 25 of 625 positions and 16 of 16 channels" in words
    with pytest.raises(KeyError):
        sees(["SE", "GAM"])


# --- photographs


def test_photographs_are_of_cifars_classes_and_their_sources_are_named():
    pictures = photographs()
    assert pictures.shape == (3, 3, 32, 32)
    assert 0 <= pictures.min() < 0.1
    assert 0.9 < pictures.max() <= 1
    assert set(NAMES) <= set(CLASSES)


def test_swapped_gates_on_the_diagonal_are_the_networks_own():
    network = create_model("resnet20", "se", {"reduction": 4}, num_classes=100, weights="cifar100").eval()
    x = normalised(photographs())
    with torch.no_grad():
        own = network(x).softmax(1).max(1)
    for i, row in enumerate(swapped(network)):
        assert row[i][0] == CLASSES[own.indices[i]]
        assert row[i][1] == pytest.approx(own.values[i].item(), abs=1e-5)
    _, words = draw_swapped(network)
    assert f"gates of raccoon, rocket and cup: {CLASSES[own.indices[0]]}" in words


def test_where_gates_decide_the_answer_follows_them():
    class Gated(nn.Module):
        """Its answer is its gate's brightest third, whatever the picture is."""

        def __init__(self):
            super().__init__()
            self.gate = nn.Sigmoid()

        def forward(self, x):
            colours = self.gate(x.mean((2, 3)))  # (N, 3)
            return torch.cat([10 * colours, torch.zeros(len(x), 97)], 1)

    table = swapped(Gated())
    columns = [{row[j] for row in table} for j in range(3)]
    assert all(len(column) == 1 for column in columns)


# --- variants


def test_each_variant_is_in_the_plan_and_changes_one_thing():
    plan = json.loads((Path(__file__).resolve().parents[1] / "data" / "plan.json").read_text(encoding="utf-8"))
    planned = {
        network["attention"]
        for study in plan["studies"]
        if study["name"].startswith("variants-")
        for network in study["networks"]
    }
    assert planned - {"cbam"} == VARIANTS.keys()  # CBAM itself, with other kernels
    x = torch.randn(3, 16, 12, 11)
    for name, variant in VARIANTS.items():
        torch.manual_seed(0)
        module = variant(16) if name == "eca" else variant(16, reduction=4)
        assert module.eval()(x).shape == x.shape
        assert explain.list_gates(module), name
        if name != "eca":
            torch.manual_seed(0)
            original = create_attention(name.partition("_")[0], 16, reduction=4).eval()
            assert not torch.allclose(module(x), original(x), rtol=0, atol=1e-5), name
    gates = explain.capture_gates(VARIANTS["se_softmax"](16, reduction=4), x)
    assert torch.allclose(gates["channel_gate"].sum(1), torch.ones(3, 1, 1))


def test_the_variants_of_cbam_are_what_they_are_called():
    x = torch.randn(3, 16, 9, 8)

    def built(name):
        torch.manual_seed(0)
        return VARIANTS[name](16, reduction=4).eval()

    first, parallel = built("cbam_where_first"), built("cbam_parallel")
    y = x * first.spatial_gate(x)
    assert torch.allclose(first(x), y * first.channel_gate(y))
    assert torch.allclose(parallel(x), x * parallel.channel_gate(x) * parallel.spatial_gate(x))
    for name, told in (("cbam_mean", x.mean((2, 3))), ("cbam_max", x.amax((2, 3)))):
        module = built(name)
        gate = module.channel_gate[2](told).sigmoid()[:, :, None, None]
        assert torch.allclose(module.channel_gate(x), gate)
    mean, largest = built("cbam_mean").spatial_gate, built("cbam_max").spatial_gate
    assert torch.allclose(mean(x), mean(x.mean(1, keepdim=True).expand_as(x)), atol=1e-6)
    assert torch.allclose(largest(x), largest(x.amax(1, keepdim=True).expand_as(x)), atol=1e-6)
    added = VARIANTS["bam_added"](16, reduction=4).eval()
    logits = added.gate.channel_branch(x) + added.gate.spatial_branch(x)
    assert torch.allclose(added(x), x * (1 + logits.sigmoid()))


# --- wires


def connected(channels, reduction, groups, place):
    """(gates, channels): True where the wires lead from a channel to a gate."""
    total = torch.eye(channels)
    for _, step in layers(channels, reduction, groups, place):
        total = step.float() @ total
    return total > 0


def test_wires_are_those_of_gam():
    """Panel by panel, against the gradients of gamlib's own spatial gate."""
    for place, shuffle in (("none", None), ("between", "between"), ("after", "after")):
        gate = create_attention("gam", 16, reduction=2, groups=2, shuffle=shuffle, kernel_size=1).eval().spatial_gate
        gate.relu, gate.sigmoid = nn.Identity(), nn.Identity()
        jacobian = torch.autograd.functional.jacobian(gate, torch.zeros(1, 16, 1, 1)).reshape(16, 16)
        assert torch.equal(connected(16, 2, 2, place), jacobian != 0)


@pytest.mark.parametrize(
    ("place", "sees", "own"), [("none", 4, 1.0), ("before", 4, 0.5), ("between", 8, 1.0), ("after", 4, 0.5)]
)
def test_four_places_for_a_shuffle(place, sees, own):
    matrix = connected(8, 2, 2, place)
    assert set(matrix.sum(1).tolist()) == {sees}
    assert matrix.diagonal().double().mean() == own
    figure = draw_groups(8, 2, 2, [place])
    (panel,) = figure.axes
    assert panel.get_xlabel().startswith(f"gate 1 sees {sees} of 8 channels")


def test_a_permutation_reads_pixel_by_pixel():
    figure = draw_permutation(2, 2, 3)
    labels = [text.get_text() for text in figure.axes[0].texts if "," in text.get_text()]
    above, below = labels[::2], labels[1::2]
    assert above == below  # each number once in memory, once where it is read
    read = [(channel, pixel // 3, pixel % 3) for pixel in range(6) for channel in range(2)]
    assert below == [",".join(map(str, each)) for each in read]
