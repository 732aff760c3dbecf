"""What commit 0c6b7d4 wrote is still read: a stopped run goes on, a finished one is returned, weights are tested."""

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from gamlib import create_model, results
from gamlib.__main__ import main
from gamlib.data import puzzles
from gamlib.training import Speed, fit, recipes

WRITTEN = Path(__file__).parent / "written_by_0c6b7d4"
RECIPE = dataclasses.replace(recipes.get("smoke"), epochs=2)


def go_on(out: Path) -> results.Result:
    """The call that wrote it: 512 pictures of `joint`, a narrow probe with GAM, stopped after step 6 of 8."""
    torch.manual_seed(0)
    model = create_model("probe", "gam", {"reduction": 4}, 10, width=8)
    return fit(model, puzzles.dataset("joint").first(512), RECIPE, 0, out, speed=Speed(precision="fp32"))


def test_a_stopped_run_goes_on(tmp_path, capsys):
    shutil.copytree(WRITTEN / "stopped", tmp_path, dirs_exist_ok=True)
    run, (then,) = go_on(tmp_path), results.read(WRITTEN / "finished" / "result.json")
    assert "75%" in capsys.readouterr().out, "it began again"
    assert run.curves[0]["train_loss"] == then.curves[0]["train_loss"], "the first epoch is that of the checkpoint"
    # The last two steps were computed here: sums are rounded otherwise on another processor.
    assert run.curves[1]["train_loss"] == pytest.approx(then.curves[1]["train_loss"], rel=1e-4)
    assert run.curves[1]["test_loss"] == pytest.approx(then.curves[1]["test_loss"], rel=1e-3)


def test_a_finished_run_is_returned(tmp_path):
    shutil.copytree(WRITTEN / "finished", tmp_path, dirs_exist_ok=True)
    assert go_on(tmp_path) == results.read(WRITTEN / "finished" / "result.json")[0]


@pytest.mark.parametrize("name", ["finished", "finished/checkpoint-0000000008.pt", "finished/weights.safetensors"])
def test_a_saved_network_is_tested(capsys, name):
    assert main(["evaluate", str(WRITTEN / name), "--precision", "fp32"]) == 0
    printed = capsys.readouterr().out
    assert "probe + gam on 2,000 test images of puzzles-joint" in printed
    assert 85 < float(re.search(r"top-1 error ([\d.]+)%", printed)[1]) < 95


def test_recorded_files_of_then_have_no_switches_and_are_read():
    content = json.loads((WRITTEN / "finished" / "result.json").read_text(encoding="utf-8"))
    assert "switches" not in content["runs"][0]
    assert results.read(WRITTEN / "finished" / "result.json")[0].switches is None
