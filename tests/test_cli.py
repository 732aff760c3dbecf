"""The command line as a person meets it: output, exit codes, and no traceback for a mistake of theirs."""

import dataclasses
import importlib.metadata
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gamlib import cli, create_model, doctor, results
from gamlib.__main__ import main
from gamlib._paths import recorded
from gamlib.cli import parser
from gamlib.cli.options import chosen_recipe
from gamlib.compare import plan
from gamlib.cost import count_macs, count_parameters
from gamlib.data import Dataset
from gamlib.training import Stopped, recipes

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["--epochs", "1", "--batch-size", "500"]


@pytest.fixture(autouse=True)
def few_puzzles(monkeypatch):
    monkeypatch.setattr("gamlib.data.puzzles.COUNT", {"train": 1000, "test": 500})


def test_paper(capsys):
    assert main(["paper"]) == 0
    out = capsys.readouterr().out
    assert out.count("\nTable ") == 4
    assert len(re.findall(r"\d met\b", out)) == 64
    assert "64 of 68 figures met to the printed digit" in out
    assert "resnet50 + gam_gc               58.9    58.898 met      9.56    9.5585 met        23.01    6.52" in out


def test_train_writes_everything_and_goes_on(capsys, tmp_path):
    command = ["train", "--attention", "se", "--reduction", "4", "--out", str(tmp_path / "run"), *QUICK]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "network   probe + se: 39,402 parameters, 9.7 million MACs" in out
    assert "data      puzzles-joint: 1,000 training and 500 test images" in out
    assert "recipe    puzzles: 1 epoch of 2 steps, batch 500" in out
    assert re.search(r"forecast  [\d,]+ ms per step, about \d+ \w+ in all, \d+\.\d GB of memory", out)
    assert "| puzzles-joint | probe | se | 39,402 |" in out
    assert "61.65" in out  # the error that is possible without the cue
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {
        ".lock",
        "checkpoint-0000000000.pt",
        "checkpoint-0000000002.pt",
        "curves.png",
        "metrics.jsonl",
        "result.json",
        "tensorboard",
        "weights.safetensors",
    }
    assert list((tmp_path / "run" / "tensorboard").glob("events.out.tfevents.*"))
    assert main(command) == 0  # finished: read, not trained
    assert "forecast" not in capsys.readouterr().out
    assert main([*command, "--lr", "0.05"]) == 2
    assert "belongs to another run (another recipe)" in capsys.readouterr().err


def test_each_kind_of_data_has_its_own_recipe():
    for data, model, expected in (
        ("cifar100", "resnet20", "laptop"),
        ("puzzles-spatial", "probe", "puzzles"),
        ("puzzles-joint", "probe", "puzzles"),
        ("imagenet", "resnet50", "paper-imagenet"),
        ("imagenet", "mobilenet_v2", "paper-imagenet-mobilenet"),
    ):
        assert chosen_recipe(parser().parse_args(["train"]), data, model).name == expected


def test_milestones_that_never_come_are_told(capsys, tmp_path):
    assert main(["train", "--recipe", "paper-cifar100", "--out", str(tmp_path), *QUICK]) == 0
    assert (
        "note      the learning rate drops after epochs (60, 120, 160); not all of them come" in capsys.readouterr().out
    )


@pytest.mark.parametrize(
    "about",
    [
        None,
        {"network": "{", "data": "x"},
        {"network": "[1]", "data": "x"},
        {"network": '{"name": "probe", "attention": "se", "odd": 1}', "data": "x"},
    ],
)
def test_evaluate_names_weights_that_are_not_gamlibs(about, capsys, tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "w.safetensors", about)
    assert main(["evaluate", str(tmp_path / "w.safetensors")]) == 2
    assert str(tmp_path / "w.safetensors") in capsys.readouterr().err


def test_evaluate_gives_the_recorded_error_of_a_zoo_file(capsys, monkeypatch):
    monkeypatch.setattr("gamlib.data.puzzles.COUNT", {"train": 8000, "test": 2000})
    assert main(["evaluate", str(recorded("zoo") / "puzzles-channel-probe-se.safetensors")]) == 0
    assert "probe + se on 2,000 test images of puzzles-channel:\ntop-1 error 0.00%" in capsys.readouterr().out


def test_every_field_of_a_recipe_is_an_option():
    fields = {
        "name": "smoke",
        "epochs": 7,
        "lr": 0.5,
        "schedule": "step",
        "warm_up": 0.3,
        "milestones": (2, 5),
        "gamma": 0.3,
        "batch_size": 9,
        "micro_batch": 4,
        "momentum": 0.8,
        "nesterov": True,
        "weight_decay": 0.01,
    }
    command = "train --recipe smoke --epochs 7 --lr 0.5 --schedule step --milestones 2 5 --gamma 0.3 "
    command += "--batch-size 9 --micro-batch 4 --momentum 0.8 --nesterov --weight-decay 0.01"
    arguments = parser().parse_args(command.split())
    assert dataclasses.asdict(chosen_recipe(arguments, "puzzles", "probe")) == fields
    assert {field.name for field in dataclasses.fields(recipes.Recipe)} == fields.keys()


def test_compare_makes_one_table_one_chart_and_one_json(capsys, tmp_path):
    command = [
        "compare",
        "--data",
        "puzzles",
        "--attention",
        "none",
        "tam",
        "--seeds",
        "0",
        "1",
        "0",
    ]
    assert main([*command, "--out", str(tmp_path), *QUICK]) == 0
    out = capsys.readouterr().out
    runs = results.read(tmp_path / "compare.json")
    assert [(run.data, run.seed, run.label) for run in runs] == [
        (f"puzzles-{task}", seed, label)
        for task in ("channel", "spatial", "joint")
        for seed in (0, 1)
        for label in ("none", "tam")
    ]
    assert results.table(runs) in out
    assert out.count("| puzzles-") == 6
    assert out.count(" | 0 of 2 | ") == 6
    assert (tmp_path / "compare.png").read_bytes().startswith(b"\x89PNG")
    # None of a comparison's runs has written into another's folder.
    assert len(list(tmp_path.glob("*/*/result.json"))) == 12


MISTAKES = [
    (["train", "--attention", "cbm"], "unknown attention 'cbm'; allowed, nearest first: cbam"),
    (["train", "--model", "resnet"], "unknown model 'resnet'"),
    (["train", "--recipe", "lap"], "unknown recipe 'lap'; allowed, nearest first: laptop"),
    (["train", "--data", "cifar"], "unknown data set 'cifar'; allowed, nearest first: cifar100"),
    (["train", "--attention", "gam", "--reduction", "99"], "reduction=99 leaves no hidden channel"),
    (["train", "--lr", "-1"], "lr must be above 0 and finite, got -1.0"),
    (["train", "--data", "cifar100", "--root", "no-such-folder"], "CIFAR-100 could not be downloaded"),
    (
        ["train", "--data", "imagenet", "--root", "no-such-folder"],
        "ImageNet is not here: no-such-folder/imagenet/train",
    ),
    (["train", "--bad-images", "skip"], "--bad-images is for imagenet alone, not for puzzles-joint"),
    (["evaluate", "no-such-file"], "no such checkpoint: no-such-file"),
    (["evaluate", "no-such.safetensors"], "no such checkpoint: no-such.safetensors"),
    (["train", "--save-every", "-5"], "save_every must be 0 seconds or more, got -5.0"),
    (["resize", "no-such-folder", "there"], "no-such-folder is not a folder"),
    (["doctor", "--data", "imagenet", "no-such-folder"], "ImageNet is not here"),
    (["train", "--seed", "-1"], "seed must be an integer of 0 or more, got -1"),
    (["train", "--seed", str(2**63)], "seed must be below 2**63"),
    (["train", "--lr", "inf"], "lr must be above 0 and finite, got inf"),
    (["train", "--momentum", "-1"], "momentum must lie between 0 and 1, got -1.0"),
    (["train", "--weight-decay", "nan"], "weight_decay must lie between 0 and 1, got nan"),
    (["compare", "--data", "puzzles", "cifar100"], "these data sets have different default networks"),
    (["compare", "--seeds", "0", "-1"], "seed must be an integer of 0 or more, got -1"),
    (["compare", "--attention", "none", "gma"], "unknown attention 'gma'; allowed, nearest first: gam"),
    (["compare", "--data", "joint"], "unknown data set 'joint'; allowed, nearest first: puzzles-joint"),
    (["compare", "--attention", "se", "--reduction", "0"], "reduction must be an integer of 1 or more, got 0"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_mistakes_exit_with_2_and_one_message(capsys, monkeypatch, tmp_path, command, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAMLIB_DATA", str(tmp_path / "nowhere"))
    monkeypatch.setattr("gamlib.data.cifar100_sources.sources", list)
    assert main(command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith(f"gamlib {command[0]}: ")
    assert list(tmp_path.iterdir()) == []  # nothing was begun


@pytest.mark.parametrize(
    ("model", "side", "given", "stem"),
    [
        ("resnet50", 32, None, "cifar"),
        ("resnet50", 224, None, "imagenet"),
        ("resnet50", 224, "wmp", "wmp"),
        ("resnet20", 32, None, "cifar"),
        ("mobilenet_v2", 32, None, "imagenet"),
        ("probe", 32, None, "puzzles"),
    ],
)
def test_networks_get_the_stem_that_fits_the_images(model, side, given, stem):
    """Table 1's ResNet-50 has CIFAR's stem: else its parameters are not the paper's."""
    images, labels = torch.zeros(1, 3, side, side, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    tiny = Dataset("tiny", images, labels, images, labels, 100, (0.5,) * 3, (0.5,) * 3, False, {})
    planned = plan(tiny, model, ["gam"], None if model != "probe" and model != "resnet20" else 4, None, given)
    ((label, arguments),) = planned.items()
    assert arguments["stem"] == stem
    assert label == ("gam-stemwmp" if stem == "wmp" else "gam")
    if (model, side) == ("resnet50", 32):
        with torch.device("meta"):
            assert count_parameters(create_model(**arguments)) == 149_470_388


def test_the_controls_cost_what_gam_costs():
    """Notebook 11's: plain networks with GAM's parameters, and with its MACs, within 2%. One network is both."""
    images, labels = torch.zeros(1, 3, 32, 32, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    tiny = Dataset("tiny", images, labels, images, labels, 100, (0.5,) * 3, (0.5,) * 3, False, {})
    planned = plan(tiny, "resnet20", ["gam"], 4, "gam", None)
    assert list(planned) == ["gam", "none-width25"]
    with torch.device("meta"):
        gam, wide = (create_model(**arguments) for arguments in planned.values())
    assert count_parameters(wide) == pytest.approx(count_parameters(gam), rel=0.02)
    assert count_macs(wide, (3, 32, 32)) == pytest.approx(count_macs(gam, (3, 32, 32)), rel=0.02)


def test_train_takes_a_stem_and_refuses_one_that_the_network_lacks(capsys, tmp_path):
    assert main(["train", "--model", "resnet18", "--stem", "best", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err == (
        "gamlib train: stem 'best' is not defined for 'resnet18'; allowed: imagenet, cifar, wmp\n"
    )
    assert main(["train", "--model", "resnet18", *QUICK, "--out", str(tmp_path)]) == 0
    assert results.read(tmp_path / "result.json")[0].network["stem"] == "cifar"


def test_a_last_batch_of_one_image_is_refused_before_training(capsys, tmp_path):
    command = ["train", "--attention", "bam", "--reduction", "4", "--out", str(tmp_path)]
    assert main([*command, "--batch-size", "333"]) == 2
    assert "batch_size=333 leaves a last batch of 1 of 1,000 images" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--out", "--root"])
@pytest.mark.parametrize("value", ["", "~nosuchuser/x"])
def test_folders_that_are_none(capsys, option, value):
    with pytest.raises(SystemExit) as error:
        main(["train", option, value])
    assert error.value.code == 2
    assert f"argument {option}" in capsys.readouterr().err


def test_a_damaged_result_is_named(capsys, tmp_path):
    command = ["train", "--out", str(tmp_path), *QUICK]
    assert main(command) == 0
    (tmp_path / "result.json").write_text("{")
    for checkpoint in tmp_path.glob("checkpoint-*"):
        checkpoint.unlink()  # else it is written anew
    assert main(command) == 2
    assert f"{tmp_path / 'result.json'} is not complete JSON" in capsys.readouterr().err


def test_seed_and_reduction_reach_the_network(tmp_path):
    """The weights that a run starts from, by way of a recipe that changes next to nothing."""
    still = ["--data", "puzzles-joint", "--reduction", "2", "--lr", "1e-12", *QUICK]
    starts = {}
    for seed in ("1", "2"):
        assert main(["train", "--attention", "se", "--seed", seed, "--out", str(tmp_path / seed), *still]) == 0
        torch.manual_seed(int(seed))
        expected = create_model("probe", "se", {"reduction": 2}, num_classes=10).state_dict()
        starts[seed] = load_file(tmp_path / seed / "weights.safetensors")
        torch.testing.assert_close(starts[seed]["conv1.weight"], expected["conv1.weight"], rtol=0, atol=1e-6)
        assert starts[seed].keys() == expected.keys()
        assert results.read(tmp_path / seed / "result.json")[0].seed == int(seed)
    assert main(["compare", "--attention", "none", "se", "--seeds", "2", "--out", str(tmp_path / "c"), *still]) == 0
    for attention in ("none", "se"):
        weights = load_file(tmp_path / "c" / "puzzles-joint" / f"{attention}-seed2" / "weights.safetensors")
        assert torch.allclose(weights["conv1.weight"], starts["2"]["conv1.weight"], atol=1e-6)
    assert results.read(tmp_path / "c" / "compare.json")[1].reduction == 2


def test_paper_in_a_fresh_process():
    """torchvision comes in under the meta device then, which torch 2.6 does not take everywhere."""
    done = subprocess.run([sys.executable, "-m", "gamlib", "paper"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "64 of 68" in done.stdout


NEEDED = [name for name, _ in doctor.needed()]


@pytest.mark.parametrize("name", NEEDED)
def test_each_missing_package_is_named(name):
    """By the doctor, with what to install; by other commands in a sentence."""
    module = {"pillow": "PIL"}.get(name, name)
    hide = f"import importlib.metadata as i; v = i.version; i.version = lambda n: v('no-such' if n == {name!r} else n)"
    code = f"{hide}; import sys; sys.modules[{module!r}] = None; import gamlib.__main__ as m; sys.exit(m.main())"
    done = subprocess.run([sys.executable, "-c", code, "doctor"], capture_output=True, text=True)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert f"pip install {name}" in done.stdout


def test_other_commands_name_a_missing_package():
    code = "import sys; sys.modules['tqdm'] = None; import gamlib.__main__ as m; sys.exit(m.main())"
    done = subprocess.run([sys.executable, "-c", code, "paper"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "gamlib: the package tqdm is missing; `gamlib doctor` says what to install\n"


def test_a_torch_that_is_broken_is_named(tmp_path):
    """As where one of its libraries is missing, or torchvision is of another build."""
    (tmp_path / "torch.py").write_text("raise OSError('libcudnn.so.9: cannot open shared object file')")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    for command, code in (("doctor", 1), ("paper", 2)):
        line = [sys.executable, "-m", "gamlib", command]
        done = subprocess.run(line, capture_output=True, text=True, env=dict(os.environ, PYTHONPATH=path))
        assert done.returncode == code
        assert "Traceback" not in done.stderr
        assert "can't be imported (libcudnn.so.9: cannot open shared object file)" in done.stdout + done.stderr


def test_processes_that_can_not_join(capsys):
    def work():
        raise torch.distributed.DistNetworkError("EADDRINUSE, address already in use\nand forty lines of C++")

    assert cli.exit_code("gamlib train", work) == 2
    assert (
        "can't reach each other (EADDRINUSE, address already in use); another one may have ended"
        in capsys.readouterr().err
    )


def test_the_doctor_asks_for_what_the_package_needs():
    with open(ROOT / "pyproject.toml", encoding="utf-8") as file:
        wanted = re.search(r"^dependencies = \[(.*?)^\]", file.read(), flags=re.S | re.M)[1]
    assert {re.match(r"[\w-]+", name)[0] for name in re.findall(r'"(.*?)"', wanted)} == set(NEEDED)


def test_an_output_folder_that_can_not_be_made_leaves_no_traceback(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["train", "--out", str(tmp_path / "file"), *QUICK]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_a_stopped_run_ends_with_the_signals_code_and_a_quiet_message(capsys, monkeypatch, tmp_path):
    def interrupted(*_, **__):
        raise Stopped("Stopped after step 3", signal.SIGTERM)

    monkeypatch.setattr("gamlib.cli.train.fit", interrupted)
    assert main(["train", "--out", str(tmp_path)]) == 143
    captured = capsys.readouterr()
    assert "Stopped after step 3" in captured.out
    assert captured.err == ""


def test_doctor(capsys, tmp_path, monkeypatch):
    assert main(["doctor", str(tmp_path / "not" / "yet")]) == 0  # no data and no GPU are no faults
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines() if not line.startswith(" ")] == [
        "Python",
        "packages",
        "device",
        "threads",
        *["/dev/shm"] * Path("/dev/shm").is_dir(),
        "CIFAR-100",
        "disk",
    ]
    assert str(tmp_path / "not" / "yet" / "cifar-100-python" / "train") in out
    version = importlib.metadata.version
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.5.1" if name == "torch" else version(name))
    assert main(["doctor", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert re.search(r"^FIX  packages   .*torch 2\.5\.1", out, flags=re.M)
    assert 'pip install "torch>=2.6"\n' in out


def test_doctor_names_too_many_threads(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4096)
    assert any("OMP_NUM_THREADS=" in finding.advice for finding in doctor.examine())


def test_results_of_another_schema_are_refused(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps({"schema": 0, "runs": []}))
    with pytest.raises(ValueError, match="schema 0, expected 1"):
        results.read(tmp_path / "old.json")


def test_table_tells_seeds_apart_from_networks():
    run = results.load("cifar100-resnet20-first")[0]

    def changed(seed, error, **changes):
        curves = [{**run.curves[-1], "test_top1_error": error, "test_top5_error": error / 2}]
        return dataclasses.replace(run, seed=seed, curves=curves, **changes)

    lines = results.table([changed(0, 40.0), changed(1, 42.0), changed(0, 30.0, network={"name": "x"})]).splitlines()
    assert len(lines) == 4
    assert "| 41.00 ± 1.41 | 20.50 ± 0.71 | 2 |" in lines[2]
    assert "| x | x | " in lines[3]
    assert lines[3].endswith("| 30.00 | 15.00 | 1 |")
    puzzle = {"data": "puzzles-joint"}
    both = results.table([changed(0, 30.0), *(changed(seed, error, **puzzle) for seed, error in enumerate((0, 50, 8)))])
    assert "\n\n" in both
    assert "| 8.00 (0.00 to 50.00) | 2 of 3 | 12 | 61.65 |" in both
