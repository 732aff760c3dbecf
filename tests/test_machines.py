"""gamlib under other circumstances than its makers': wrapped networks, Colab, no home folder."""

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from torch import nn

from gamlib._modules import unwrapped
from gamlib._paths import data_root

ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """A folder with gamlib as a wheel lays it out: no checkout around it."""
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(ROOT / "gamlib", site / "gamlib", ignore=shutil.ignore_patterns("__pycache__"))
    for source in ("results", "zoo"):
        shutil.copytree(ROOT / "data" / source, site / "gamlib" / "_data" / source)
    for name in ("plan.json", "paper.csv", "finetuning.json", "swaps.json"):
        shutil.copy(ROOT / "data" / name, site / "gamlib" / "_data")
    return site


# ------------------------------------------------------------------ no home folder


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


# ------------------------------------------------------------------ Colab

SETUP = "".join(
    json.loads((ROOT / "notebooks" / "00_start_here.ipynb").read_text(encoding="utf-8"))["cells"][1]["source"]
)
KERNEL = """if True:
    # What a notebook's kernel does with the lines before the set-up cell, and with the cell. %pip lays a wheel down.
    import shutil, sys
    from pathlib import Path
    from IPython.core.interactiveshell import InteractiveShell

    before, cell, clone, wheel, site = sys.argv[1:]

    def pip(line):
        assert line == f"install -q {clone}", line
        assert (Path(clone) / "gamlib" / "__init__.py").is_file()
        print("pip runs")
        shutil.copytree(wheel, site, dirs_exist_ok=True)
        described = Path(site) / "gamlib-0.1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text("Metadata-Version: 2.4\\nName: gamlib\\nVersion: 0.1.0\\n")

    shell = InteractiveShell.instance()
    shell.register_magic_function(pip, "line", "pip")
    for code in (before, cell, "import gamlib.course\\nprint('course:', gamlib.course.__file__)"):
        shell.run_cell(code).raise_error()
"""


@pytest.fixture
def colab(wheel, tmp_path):
    """Runs the set-up cell in a folder of a machine that has all packages but gamlib."""
    content, packages, site = tmp_path / "content", tmp_path / "packages", tmp_path / "site"
    for folder in (content, packages, site):
        folder.mkdir()
    for entry in {Path(sysconfig.get_path(kind)) for kind in ("purelib", "platlib")}:
        for installed in entry.iterdir():
            if "gamlib" not in installed.name:
                (packages / installed.name).symlink_to(installed)

    def run(folder: str, before: str = "", path: Path | None = None) -> subprocess.CompletedProcess:
        clone = content / "gamlib"
        paths = (site, packages) if path is None else (path, site, packages)
        return subprocess.run(
            [
                sys.executable,
                "-S",
                "-c",
                KERNEL,
                before,
                SETUP.replace("/content/gamlib", str(clone)),
                clone,
                wheel,
                site,
            ],
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(map(str, paths)), "IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"},
            cwd=tmp_path / folder,
            capture_output=True,
            text=True,
        )

    def git_clone() -> None:
        (content / "gamlib" / "notebooks").mkdir(parents=True)
        shutil.copytree(wheel / "gamlib", content / "gamlib" / "gamlib")
        shutil.copy(ROOT / "pyproject.toml", content / "gamlib")

    run.git_clone, run.site, run.clone = git_clone, site, content / "gamlib"
    return run


@pytest.mark.parametrize(
    ("folder", "before"),
    [("content", ""), ("content", "import gamlib"), ("content", "%cd -q gamlib"), ("content/gamlib/notebooks", "")],
)
def test_the_set_up_cell_installs_the_clone_in_the_same_kernel(colab, folder, before):
    """Beside the clone, whose folder Python takes for a package; and in it, where its other needs may be missing."""
    colab.git_clone()
    done = colab(folder, before)
    where = colab.clone if "%cd" in before else colab.site
    assert f"pip runs\ncourse: {where / 'gamlib' / 'course' / '__init__.py'}\n" in done.stdout, (
        done.stdout + done.stderr
    )
    assert done.returncode == 0
    if not before:
        assert "pip runs" not in colab(folder).stdout, "installed once more"


def test_the_set_up_cell_of_a_checkout_installs_nothing(colab):
    """gamlib in the kernel's path, whether or not it was installed, and no clone on Colab."""
    done = colab("content", path=ROOT)
    assert f"course: {ROOT / 'gamlib' / 'course' / '__init__.py'}\n" in done.stdout, done.stdout + done.stderr
    assert "pip runs" not in done.stdout


@pytest.mark.parametrize("empty", [False, True])
def test_without_a_clone_the_set_up_cell_says_what_to_do(colab, empty):
    if empty:
        colab.clone.mkdir()  # a clone that failed
    done = colab("content")
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError: No module named 'gamlib")
    assert last.endswith(
        ": on Colab, run README's git clone first; elsewhere, choose the kernel of gamlib's environment"
    )
    assert "pip runs" not in done.stdout


# ------------------------------------------------------------------ README's commands


def test_every_environment_of_readme_starts_with_a_new_pip():
    """pip before 21.3, which comes with early versions of Python 3.10, refuses `install -e` where no setup.py is."""
    commands = re.findall(r"^.*-m venv .*$", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.M)
    assert len(commands) == 5
    assert [command for command in commands if "-m venv --upgrade-deps .venv" not in command] == []
