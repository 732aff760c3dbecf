"""The course's pictures: a pass as it is recorded, against lists typed from the papers, and what the arrows say."""

import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from gamlib import GAM, SE, create_attention, create_model, results
from gamlib.course import cheatsheet, grid, pictures
from gamlib.course.drawing import _side, arrows, draw
from gamlib.course.grid import ASKS
from gamlib.course.recording import record
from gamlib.data import puzzles

NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"
C, H, W, R = *pictures.SHAPE, 4  # R = C / 16
MLP = [("Linear", (R,)), ("ReLU", (R,)), ("Linear", (C,))]
UP = [("unsqueeze", (C, 1)), ("unsqueeze", (C, 1, 1))]


def plane(a, b, *back):
    """TAM's gate on the plane of the sides a and b, and the way back."""
    pooled = [("amax", (1, a, b)), ("mean", (1, a, b)), ("cat", (2, a, b))]
    return [*pooled, ("Conv2d", (1, a, b)), ("BatchNorm2d", (1, a, b)), ("Sigmoid", (1, a, b)), *back]


# Operations and shapes, in order, as the papers have them (and, where they do not say it, as the gates are written).
EXPECTED = {
    "se": [("AdaptiveAvgPool2d", (C, 1, 1)), ("flatten", (C,)), *MLP, ("Sigmoid", (C,)), *UP, ("mul", (C, H, W))],
    "cbam": [
        *[("mean", (C,)), ("amax", (C,)), *MLP, *MLP, ("add", (C,)), ("Sigmoid", (C,)), *UP, ("mul", (C, H, W))],
        *[("amax", (1, H, W)), ("mean", (1, H, W)), ("cat", (2, H, W))],
        *[("Conv2d", (1, H, W)), ("BatchNorm2d", (1, H, W)), ("Sigmoid", (1, H, W)), ("mul", (C, H, W))],
    ],
    "bam": [
        *[("mean", (C,)), ("Linear", (R,)), ("BatchNorm1d", (R,)), ("ReLU", (R,)), ("Linear", (C,)), *UP],
        *[("Conv2d", (R, H, W)), ("BatchNorm2d", (R, H, W)), ("ReLU", (R, H, W))] * 3,
        *[("Conv2d", (1, H, W)), ("mul", (C, H, W)), ("Sigmoid", (C, H, W)), ("add", (C, H, W)), ("mul", (C, H, W))],
    ],
    "tam": [
        *[("permute", (H, C, W)), *plane(C, W, ("permute", (C, 1, W)))],
        *[("permute", (W, H, C)), *plane(H, C, ("permute", (C, H, 1)))],
        *plane(H, W),
        *[("add", (C, H, W)), ("add", (C, H, W)), ("div", (C, H, W)), ("mul", (C, H, W))],
    ],
    "gam": [
        *[("permute", (H, W, C)), ("Linear", (H, W, R)), ("ReLU", (H, W, R)), ("Linear", (H, W, C))],
        *[("permute", (C, H, W)), ("Sigmoid", (C, H, W)), ("mul", (C, H, W))],
        *[("Conv2d", (R, H, W)), ("BatchNorm2d", (R, H, W)), ("ReLU", (R, H, W)), ("Conv2d", (C, H, W))],
        *[("Sigmoid", (C, H, W)), ("mul", (C, H, W))],
    ],
}


def recorded(module):
    return record(module.eval(), torch.randn(2, *pictures.SHAPE))


def listed(steps):
    return [(step.operation, step.shape) for step in list(steps.values())[1:]]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_pass_is_recorded_step_by_step(name):
    assert listed(recorded(create_attention(name, C))) == EXPECTED[name]


def test_parents():
    steps = recorded(create_attention("cbam", C))
    assert steps["add"].parents == ("channel_gate.mlp.2", "channel_gate.mlp.2.again")
    assert steps["mul"].parents == ("x", "unsqueeze.2")
    assert steps["cat"].parents == ("amax.2", "mean.2")
    assert steps["mul.2"].parents == ("mul", "spatial_gate.sigmoid")
    steps = recorded(create_attention("bam", C))
    assert steps["mul"].parents == ("unsqueeze.2", "gate.spatial_branch.layers.9")
    assert steps["mul.2"].parents == ("x", "add")
    assert steps["gate.spatial_branch.layers.0"].parents == ("x",)


def test_a_permutation_that_is_gone_is_seen():
    class Forgetful(GAM):
        def forward(self, x):
            x = x * self.channel_gate.sigmoid(self.channel_gate.mlp(x.transpose(1, 3)).transpose(1, 3))
            return x * self.spatial_gate(x)

    assert listed(recorded(Forgetful(C))) != EXPECTED["gam"]


def test_recording_leaves_module_and_input_as_they_were():
    module, x = SE(C).eval(), torch.randn(2, C, H, W)
    before = module(x)
    record(module, x)
    assert not hasattr(x, "_step")
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    assert torch.equal(module(x), before)


def test_a_failing_pass_leaves_no_hooks():
    module = SE(C)
    with pytest.raises(ValueError, match="expected an input of shape"):
        record(module, torch.randn(2, C + 1, H, W))
    assert not any(part._forward_hooks for part in module.modules())


# From, to, and what the arrow says: the whole picture of a half of GAM, and the joins of the others.
def test_arrows_say_what_is_done_on_the_way():
    steps = recorded(create_attention("gam", C))
    assert list(arrows(steps, pictures.BOXES["gam"])) == [
        ("x", "channel_gate.mlp.0", "permute\nLinear"),
        ("channel_gate.mlp.0", "channel_gate.sigmoid", "ReLU\nLinear\npermute\nsigmoid"),
        ("x", "mul", ""),
        ("channel_gate.sigmoid", "mul", ""),
        ("mul", "spatial_gate.conv1", "conv 7×7"),
        ("spatial_gate.conv1", "spatial_gate.sigmoid", "BN\nReLU\nconv 7×7\nsigmoid"),
        ("mul", "mul.2", ""),
        ("spatial_gate.sigmoid", "mul.2", ""),
    ]
    steps = recorded(create_attention("tam", C))
    found = list(arrows(steps, pictures.BOXES["tam"]))
    assert ("permute", "cat", "max, mean") in found
    assert [start for start, end, _ in found if end == "add.2"] == ["permute.2", "permute.4", "hw_gate.sigmoid"]
    assert ("add.2", "mul", "divide") in found
    steps = recorded(create_attention("bam", C))
    assert ("gate.sigmoid", "mul.2", "add 1") in list(arrows(steps, pictures.BOXES["bam"]))


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


@pytest.mark.parametrize("name", [*pictures.BOXES, "block", "abn"])
def test_every_picture_is_drawn_and_can_be_read(name):
    figure = pictures.drawing(name)
    width, height = figure.get_size_inches()
    assert 6 < width < 13.2
    assert 1.5 < height < 7
    shapes = [text for text in texts(figure) if " × " in text or text.strip().isdigit()]
    boxes = {"block": pictures.BLOCK, "abn": pictures.ABN}.get(name) or pictures.BOXES[name]
    assert len(shapes) == len(boxes), "a shape under each box"
    rows = [box.row for box in boxes.values()]
    assert max(map(rows.count, rows)) <= 7


def test_a_step_that_is_not_there_is_an_error():
    with pytest.raises(KeyError, match=r"mul\.3"):
        draw(SE(C).eval(), torch.randn(1, C, H, W), {"x": pictures.Box(0, 0), "mul.3": pictures.Box(1, 0)})


def test_the_sides_of_a_box_follow_its_shape():
    assert _side(1) > 0.1
    assert _side(128) - _side(64) == pytest.approx(_side(4) - _side(2))


def test_what_is_whole_is_one_step():
    network = create_model("resnet20", "abn", num_classes=10).eval()
    parts = ["backbone.layer1", "backbone.layer2", "backbone.layer3", "branch.stage"]
    steps = record(network, torch.randn(1, 3, 64, 32), parts)
    assert isinstance(steps["branch.stage"].layer, nn.Sequential)
    assert steps["branch.stage"].parents == ("backbone.layer2",)
    assert steps["mul"].parents == ("backbone.layer2", "add")


def test_the_grid_counts_what_was_recorded():
    labels = ["none", "se", "gam"]
    figure, words = grid.grid(labels)
    cells = [text.get_text() for text in figure.axes[0].texts]
    assert cells == ["0 of 5", "0 of 5", "0 of 5", "4 of 5", "0 of 5", "0 of 5", "0 of 5", "0 of 5", "5 of 5"]
    assert "se solves channel in 4 of 5 runs, spatial in 0 of 5 runs" in words
    for task in ASKS:
        runs = [run for run in results.load(f"puzzles-{task}") if run.label == "se"]
        assert grid.solved("se", task) == (sum(run.top1_error < 10 for run in runs), len(runs))
    assert set(ASKS) == set(puzzles.TASKS)
    assert grid.numbers(labels).count("\n| puzzles-") == 9


def test_the_cheat_sheet_says_what_counts_and_records_say():
    with Image.open(NOTEBOOKS / "images" / "cheatsheet.png") as image:
        said = json.loads(image.info["Description"])
        assert image.width < image.height <= 2400
    assert said == [cheatsheet.facts(entry) for entry in cheatsheet.ENTRIES]
    gam = cheatsheet.ENTRIES[-1]
    parameters, macs = cheatsheet.price("gam")
    assert (parameters, round(macs / 1e6, 2)) == (403_788, 58.98)
    assert cheatsheet.facts(gam)[1] == "Price: 403,788 parameters, 58.98 million MACs"
    assert cheatsheet.solved("gam") == {"channel": (0, 5), "spatial": (0, 5), "joint": (5, 5)}
    assert cheatsheet.solved("abn") == {"joint, on ResNet-20": (3, 3)}
    plain = [run.top1_error for run in results.load("puzzles-joint-resnet20") if run.label == "none"]
    assert max(plain) < results.SOLVED, "as it does without attention"


def test_the_cheat_sheet_has_a_row_with_a_drawing_for_each_mechanism():
    figure = cheatsheet.page()
    texts = [text.get_text() for text in figure.texts]
    assert all(entry.title in texts for entry in cheatsheet.ENTRIES)
    assert len(figure.axes) == sum(len(entry.drawings) for entry in cheatsheet.ENTRIES)
    assert all(axes.images for axes in figure.axes)
