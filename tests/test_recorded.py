"""Recorded runs and the zoo: complete, readable, and the same as what README shows."""

import re
from pathlib import Path

import pytest
import torch

from gamlib import create_model, data, results
from gamlib._paths import recorded
from gamlib.data import DataError
from gamlib.training import evaluate, recipes

ROOT = Path(__file__).resolve().parents[1]


def all_runs():
    return [run for name in results.list_recorded() for run in results.load(name)]


def test_there_are_recorded_runs():
    assert "cifar100-resnet20-laptop" in results.list_recorded()
    with pytest.raises(ValueError, match="unknown recorded result 'cifar'; allowed, nearest first: cifar100-resnet20"):
        results.load("cifar")


@pytest.mark.parametrize("name", results.list_recorded())
def test_provenance(name):
    for run in results.load(name):
        assert re.fullmatch(r"[0-9a-f]{40}", run.commit), "a run of code that was not committed"
        assert run.command.startswith("gamlib ")
        assert run.data_md5
        assert run.versions.keys() >= {"python", "torch", "torchvision", "gamlib"}
        assert run.device
        assert len(run.curves) == run.recipe["epochs"]
        assert [entry["epoch"] for entry in run.curves] == list(range(1, run.recipe["epochs"] + 1))
        assert run.seconds == pytest.approx(sum(entry["seconds"] for entry in run.curves))
        with torch.device("meta"):
            model = create_model(**run.network)
        assert sum(p.numel() for p in model.parameters()) == run.parameters
        assert run.recipe == recipes.get(run.recipe["name"]).as_dict(), "a recipe that has changed since"


def test_readme_shows_the_recorded_runs():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- results: (\S+) -->\n\n(.*?)\n\n<!-- /results -->", readme, flags=re.S)
    assert shown
    for name, table in shown:
        assert table == results.table(results.load(name))


def test_plain_networks_top1_error_on_cifar_is_under_fifty_per_cent():
    plain = [run for run in results.load("cifar100-resnet20-laptop") if run.label == "none"]
    assert plain
    assert all(run.top1_error < 50 for run in plain)


@pytest.mark.parametrize("path", sorted(recorded("zoo").glob("*.safetensors")), ids=lambda path: path.stem)
def test_zoo_loads_and_gives_the_recorded_error(path):
    """On all test images. The weights are rounded to float16, so a few images may change sides."""
    run = next(run for run in all_runs() if path.stem == f"{run.data}-{run.network['name']}-{run.label}")
    model = create_model(**run.network, weights=path).eval()
    try:
        test_set = data.load(run.data)
    except DataError:
        pytest.skip(f"{run.data} is not here; `gamlib doctor` says how to get it")
    assert test_set.md5 == run.data_md5
    error = evaluate(model, test_set)["test_top1_error"]
    assert error == pytest.approx(run.top1_error, abs=0.3)
