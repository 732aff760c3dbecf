"""The command line's options: without effect, empty, no booleans, odd sizes, odd names; and what its help shows."""

import dataclasses
import re
import subprocess
import sys
from contextlib import nullcontext

import pytest
import torch

from gamlib import GAM, __version__, register_attention
from gamlib.__main__ import main
from gamlib._files import file_name
from gamlib.attention import registry
from gamlib.cli import COMMANDS, exit_code, parser
from gamlib.cli.options import chosen_recipe
from gamlib.compare import compare
from gamlib.data import DataError, puzzles
from gamlib.training import Diverged, Recipe, Speed, Stopped, fit, recipes

REFUSED = [
    ("train --recipe paper-cifar100 --warm-up 0.2", "--warm-up has no effect on the schedule 'step'"),
    ("train --schedule step --milestones 3 --warm-up 0.2", "--warm-up has no effect on the schedule 'step'"),
    ("train --milestones 3", "--milestones has no effect on the schedule 'one-cycle'"),
    ("train --root .", "--root has no effect on puzzles-joint, which is made, not read"),
    ("train --gamma 0.5", "--gamma has no effect on the schedule 'one-cycle'"),
    ("train --schedule step --gamma 0.5", "gamma=0.5 has no effect without milestones"),
    ("train --nesterov --momentum 0", "nesterov=True needs a momentum above 0"),
    ("train --reduction 8", "--reduction 8 has no effect"),
    ("train --attention tam --reduction 8", "--reduction 8 has no effect"),
    ("train --attention gam:reduction=4 --reduction 8", "--reduction 8 has no effect"),
    ("compare --attention none tam --reduction 8", "--reduction 8 has no effect"),
    ("compare --control none", "the control for 'none' would be 'none' itself"),
    ("train --workers 2", "--workers is for imagenet alone"),
    ("results --against nosuch", "no recorded study compares anything with it"),
    *(
        (f"train --attention gam:channel={word}", f"channel must be True or False, got '{word}'")
        for word in ("no", "off", "maybe", "yes", "x/../../../out")
    ),
    ("train --attention gam:spatial=none", "spatial must be True or False, got None"),
    ("train --attention gam:channel=0", "channel must be True or False, got 0"),
    ("train --attention gam:spatial=false,kernel_size=9", "have no effect with spatial=False"),
    ("train --attention gam:kernel_size=9,kernel_size=3", "kernel_size is given twice"),
    ("train --attention se:channels=3", "attention 'se' has no option 'channels'"),
    ("train --attention se:where=stage", "attention 'se' has no option 'where'"),
    ("train --attention se:gentle=1", "attention 'se' has no option 'gentle'"),
    ("compare --control gam:channels=3", "attention 'gam' has no option 'channels'"),
    ("train --attention gam:kernel_size=99999999999999999999999", "can't be built: "),
    ("compare --control gam:kernel_size=999999999999", "can't be built: "),
    ("train --attention gam:kernel_size=9999999", "out of memory"),
]


@pytest.mark.parametrize(("command", "message"), REFUSED)
def test_options_are_refused_in_one_sentence(command, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(command.split()) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith(f"gamlib {command.split()[0]}: ")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


NAMES = ["--model", "--recipe", "--stem", "--data", "--attention", "--control", "--out", "--root"]


@pytest.mark.parametrize("option", NAMES)
def test_an_empty_value_is_not_the_default(option, capsys):
    with pytest.raises(SystemExit) as error:
        main(["compare", option, ""])
    assert error.value.code == 2
    assert f"argument {option}: expected a name, got an empty one (an unset shell variable?)" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["results", ""], ["results", "--against", ""], ["results", "--chart", ""], ["evaluate", ""]]
)
def test_empty_sources_are_none(arguments):
    with pytest.raises(SystemExit) as error:
        main(arguments)
    assert error.value.code == 2


def test_another_schedule_leaves_the_first_ones_fields_behind():
    arguments = parser().parse_args(["train", "--recipe", "paper-cifar100", "--schedule", "one-cycle"])
    recipe = chosen_recipe(arguments, "cifar100", "resnet20")
    assert (recipe.schedule, recipe.milestones, recipe.gamma) == ("one-cycle", (), 0.2)
    arguments = parser().parse_args(["train", "--schedule", "step", "--milestones", "3", "--gamma", "0.5"])
    assert (
        dataclasses.asdict(chosen_recipe(arguments, "cifar100", "resnet20")).items()
        >= {
            "schedule": "step",
            "milestones": (3,),
            "gamma": 0.5,
        }.items()
    )


def test_constructors_take_true_and_false_alone():
    with pytest.raises(ValueError, match="channel must be True or False, got 'no'"):
        GAM(64, channel="no")
    for value in (0, 1, "false", None):
        with pytest.raises(ValueError, match="must be True or False"):
            Speed(fused=value)
        with pytest.raises(ValueError, match="nesterov must be True or False"):
            dataclasses.replace(recipes.get("laptop"), nesterov=value)
    with pytest.raises(ValueError, match=r"warm_up=0\.1 has no effect on the schedule 'step'"):
        Recipe("own", epochs=3, lr=0.1, schedule="step", warm_up=0.1)


def test_advice_fits_the_schedule():
    class Nan(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.w = torch.nn.Parameter(torch.full((), torch.nan))

        def forward(self, x):
            return x.flatten(1)[:, :10] * self.w

    data = puzzles.dataset("joint").first(64)
    for schedule, advice in (
        ("step", "Try a lower --lr, or"),
        ("one-cycle", "Try a lower --lr, a longer --warm-up, or"),
    ):
        with pytest.raises(Diverged) as error:
            fit(Nan(), data, Recipe("own", epochs=1, lr=0.1, schedule=schedule, batch_size=32))
        assert advice in str(error.value)


@pytest.mark.parametrize("odd", ["a/b", "..", "../../x", "a\\b", "c:d", "~x", ".hidden", "a b\n"])
def test_no_name_leads_out_of_its_folder(odd):
    name = file_name("run", odd)
    assert re.fullmatch(r"[\w.=+-]+", name)
    assert re.fullmatch(r"[\w=+-][\w.=+-]*", file_name(odd))


def test_a_label_that_would_lead_out_stays_in_the_folder(tmp_path, monkeypatch):
    class Odd(torch.nn.Module):
        def __init__(self, channels, path="."):
            super().__init__()

        def forward(self, x):
            return x

    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    register_attention("odd", Odd)
    data = dataclasses.replace(puzzles.dataset("joint").first(64), name="../../elsewhere")
    recipe = Recipe("tiny", epochs=1, lr=0.1, schedule="one-cycle", batch_size=32)
    compare([data], "probe", ["odd:path=x/../../../../out"], [0], recipe, tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
    assert len(list((tmp_path / "a" / "b").glob("*/*/result.json"))) == 1


def test_out_of_memory_is_a_sentence(capsys, tmp_path, monkeypatch):
    for error in (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nmore"), MemoryError()):

        def raising(*_, error=error, **__):
            raise error

        monkeypatch.setattr("gamlib.cli.train.fit", raising)
        assert main(["train", "--out", str(tmp_path)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("gamlib train: out of memory")
        assert "a smaller --batch-size" in err
        assert err.count("\n") == 1


def test_version_and_help(capsys):
    done = subprocess.run([sys.executable, "-m", "gamlib", "--version"], capture_output=True, text=True)
    assert done.stdout == f"gamlib {__version__}\n"
    for command in COMMANDS:
        with pytest.raises(SystemExit):
            main([command, "--help"])
        told = capsys.readouterr().out
        assert f"example: gamlib {command}" in told
        assert not re.search(r"\w-\n", told)  # no name is broken at its hyphen
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for field in dataclasses.fields(Recipe)[1:]:
        assert field.metadata["meaning"] in told
    for shown in ("(default: puzzles-joint)", "(default: 300.0)", "(laptop: 128)", "0 or more", "between 0 and 1"):
        assert shown in told


@pytest.mark.parametrize("wrong", [{"RANK": "abc"}, {"MASTER_PORT": "-1"}, {"RANK": "2"}])
def test_variables_that_torchrun_would_not_set(monkeypatch, capsys, wrong):
    usual = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29511"}
    for name, value in (usual | wrong).items():
        monkeypatch.setenv(name, value)
    assert main(["train"]) == 2
    assert "these are no variables of torchrun's: RANK=" in capsys.readouterr().err


def test_where_another_process_has_ended(monkeypatch, capsys):
    def lost():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:533] Connection closed by peer [127.0.0.1]:43121")

    ended = []
    monkeypatch.setattr("gamlib.training.distributed.world_size", lambda: 2)
    monkeypatch.setattr("os._exit", ended.append)
    exit_code("gamlib train", lost)
    assert ended == [2]
    assert "gamlib train: the processes can't reach each other (" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "code"), [(DataError("broken"), 2), (Diverged("nan"), 1), (ZeroDivisionError(), 1)])
def test_one_of_several_processes_that_fails_does_not_wait_for_the_others(error, code, monkeypatch, capsys):
    """They wait for it, in a sum over all; with NCCL, to part in peace would hang until the time-out."""

    def fail():
        raise error

    ended, left = [], []
    monkeypatch.setattr("gamlib.training.distributed.world_size", lambda: 2)
    monkeypatch.setattr("gamlib.training.distributed.leave", lambda: left.append(1))

    def end(code):
        ended.append(code)
        raise SystemExit

    monkeypatch.setattr("os._exit", end)
    with pytest.raises(SystemExit):
        exit_code("gamlib train", fail)
    assert (ended, left) == ([code], [])
    assert type(error).__name__ in (said := capsys.readouterr().err) or str(error) in said
    monkeypatch.setattr("gamlib.training.distributed.world_size", lambda: 1)
    with pytest.raises(ZeroDivisionError) if code == 1 and not str(error) else nullcontext():
        exit_code("gamlib train", fail)
    assert left == [1]


def test_one_that_was_asked_to_stop_leaves_in_peace(monkeypatch):
    left = []
    monkeypatch.setattr("gamlib.training.distributed.world_size", lambda: 2)
    monkeypatch.setattr("gamlib.training.distributed.leave", lambda: left.append(1))

    def stop():
        raise Stopped("stopped", 15)

    assert exit_code("gamlib train", stop) == 143
    assert left == [1]
