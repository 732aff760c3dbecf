"""gamlib under other circumstances than its makers': wrapped networks, Colab, no home folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from gamlib._modules import unwrapped
from gamlib._paths import data_root


@pytest.mark.parametrize(
    "wrap",
    [
        lambda network: network,
        torch.compile,
        nn.DataParallel,
        lambda network: torch.compile(nn.DataParallel(network)),
        lambda network: nn.DataParallel(torch.compile(network)),
    ],
    ids=["bare", "compiled", "parallel", "compiled-parallel", "parallel-compiled"],
)
def test_the_network_inside_its_wrappers(wrap):
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert unwrapped(wrap(network)) is network


# ------------------------------------------------------------------ no home folder

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A folder with gamlib as a wheel lays it out: no checkout around it."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "gamlib", site / "gamlib", ignore=shutil.ignore_patterns("__pycache__"))
    for source in ("results", "zoo"):
        shutil.copytree(ROOT / "data" / source, site / "gamlib" / "_data" / source)
    shutil.copy(ROOT / "data" / "plan.json", site / "gamlib" / "_data")
    return site


def of_nobody(wheel: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """The command line of an installed gamlib, of a user without HOME and without an entry among the users."""
    code = """if True:
        import pwd, sys

        def unknown(*who):
            raise KeyError(*who)

        pwd.getpwuid = pwd.getpwnam = unknown
        from gamlib.__main__ import main

        sys.exit(main(sys.argv[1:]))
    """
    kept = {name: value for name, value in os.environ.items() if name not in ("HOME", "GAMLIB_DATA")}
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=kept | {"PYTHONPATH": str(wheel)} | variables,
        cwd=wheel.parent,
        capture_output=True,
        text=True,
    )


def test_recorded_runs_can_be_read_without_a_home(wheel):
    done = of_nobody(wheel, "results", "puzzles-joint")
    assert (done.returncode, done.stderr) == (0, "")
    assert "| puzzles-joint | probe | gam |" in done.stdout


@pytest.mark.parametrize("variables", [{}, {"GAMLIB_DATA": "~"}, {"GAMLIB_DATA": "~nosuchuser/data"}], ids=str)
@pytest.mark.parametrize("command", ["doctor", "train --data cifar100 --epochs 1"])
def test_without_a_home_a_sentence_asks_for_gamlib_data(wheel, command, variables):
    done = of_nobody(wheel, *command.split(), **variables)
    assert "Traceback" not in done.stdout + done.stderr
    assert "set GAMLIB_DATA to the full path of a folder" in done.stdout + done.stderr
    assert done.returncode in (1, 2)


def test_without_a_home_gamlib_data_is_enough(wheel, tmp_path):
    done = of_nobody(wheel, "doctor", GAMLIB_DATA=str(tmp_path))
    assert f"GB free in {tmp_path}" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("root", ["~nosuchuser/data", Path("~nosuchuser")])
def test_a_data_root_in_an_unknown_home(root, monkeypatch):
    with pytest.raises(OSError, match=r"would be ~nosuchuser.* set GAMLIB_DATA to the full path of a folder"):
        data_root(root)
    monkeypatch.setenv("GAMLIB_DATA", str(root))
    with pytest.raises(OSError, match=r"would be ~nosuchuser"):
        data_root()
