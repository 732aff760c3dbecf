"""The command line as a person meets it: output, exit codes, and no traceback for a mistake of theirs."""

import dataclasses
import json
import re
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file

from gamlib import create_model, results
from gamlib.__main__ import main
from gamlib.commands import chosen_recipe, parser
from gamlib.course import doctor

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
    assert "probe + se: 39,402 parameters, 9.7 million MACs an image" in out
    assert "| puzzles-joint | probe | se | 39,402 |" in out
    assert "61.65" in out  # the error that is possible without the cue
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"checkpoint.pt", "metrics.jsonl", "result.json", "weights.safetensors"}
    assert main(command) == 0  # finished: read, not trained
    assert main([*command, "--lr", "0.05"]) == 2
    assert "belongs to another run (another recipe)" in capsys.readouterr().err


def test_each_kind_of_data_has_its_own_recipe():
    for name, expected in (("cifar100", "laptop"), ("puzzles-spatial", "puzzles"), ("puzzles", "puzzles")):
        assert chosen_recipe(parser().parse_args(["train"]), name).name == expected
    arguments = parser().parse_args(["train", "--recipe", "smoke", "--lr", "0.5"])
    assert (chosen_recipe(arguments, "puzzles").name, chosen_recipe(arguments, "puzzles").lr) == ("smoke", 0.5)


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
        "--reduction",
        "4",
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
    (["train", "--data", "cifar100", "--root", "no-such-folder"], "CIFAR-100 is not here"),
    (["train", "--seed", "-1"], "seed must be an integer of 0 or more, got -1"),
    (["train", "--seed", str(2**63)], "seed must be below 2**63"),
    (["train", "--lr", "inf"], "lr must be above 0 and finite, got inf"),
    (["train", "--momentum", "-1"], "momentum must lie between 0 and 1, got -1.0"),
    (["train", "--weight-decay", "nan"], "weight_decay must lie between 0 and 1, got nan"),
    (["compare", "--data", "puzzles", "cifar100"], "puzzles and photographs have different default networks"),
    (["compare", "--seeds", "0", "-1"], "seed must be an integer of 0 or more, got -1"),
    (["compare", "--attention", "none", "gma"], "unknown attention 'gma'; allowed, nearest first: gam"),
    (["compare", "--data", "joint"], "unknown data set 'joint'; allowed, nearest first: puzzles-joint"),
    (["compare", "--attention", "se", "--reduction", "0"], "reduction must be an integer of 1 or more, got 0"),
]


@pytest.mark.parametrize(("command", "message"), MISTAKES, ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_mistakes_exit_with_2_and_one_message(capsys, monkeypatch, tmp_path, command, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GAMLIB_DATA", str(tmp_path / "nowhere"))
    assert main(command) == 2
    err = capsys.readouterr().err
    assert message in err
    assert err.startswith(f"gamlib {command[0]}: ")
    assert list(tmp_path.iterdir()) == []  # nothing was begun


def test_a_missing_data_set_leaves_no_traceback(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "gamlib", "train", "--data", "cifar100", "--root", str(tmp_path)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "cifar-100-python" / "train") in done.stderr


def test_a_last_batch_of_one_image_is_refused_before_training(capsys, tmp_path):
    command = ["train", "--attention", "bam", "--reduction", "4", "--out", str(tmp_path)]
    assert main([*command, "--batch-size", "333"]) == 2
    assert "batch_size=333 leaves a last batch of one image (of 1,000)" in capsys.readouterr().err


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


@pytest.mark.parametrize(("command", "code"), [("doctor", 1), ("paper", 2)])
def test_a_missing_package_is_named(command, code):
    hide = f"import sys; sys.modules['tqdm'] = None; sys.argv = ['gamlib', {command!r}]; import gamlib.__main__ as m"
    fake = "import importlib.metadata as i; v = i.version; i.version = lambda n: v('no-such' if n == 'tqdm' else n)"
    done = subprocess.run([sys.executable, "-c", f"{fake}; {hide}; sys.exit(m.main())"], capture_output=True, text=True)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    assert "tqdm" in (done.stdout if command == "doctor" else done.stderr)


def test_an_output_folder_that_can_not_be_made_leaves_no_traceback(capsys, tmp_path):
    (tmp_path / "file").write_text("")
    assert main(["train", "--out", str(tmp_path / "file"), *QUICK]) == 2
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_ctrl_c_says_how_to_go_on(capsys, monkeypatch, tmp_path):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("gamlib.commands.fit", interrupted)
    assert main(["train", "--out", str(tmp_path)]) == 130
    assert "The same command goes on" in capsys.readouterr().err


def test_doctor(capsys, tmp_path, monkeypatch):
    assert main(["doctor", "--root", str(tmp_path / "not" / "yet")]) == 0  # no data and no GPU are no faults
    out = capsys.readouterr().out
    assert [line.split()[1] for line in out.splitlines() if not line.startswith(" ")] == [
        "Python",
        "torch",
        "packages",
        "device",
        "threads",
        "CIFAR-100",
        "disk",
    ]
    assert str(tmp_path / "not" / "yet" / "cifar-100-python" / "train") in out
    monkeypatch.setattr("torch.__version__", "2.5.1")
    monkeypatch.setattr("gamlib.course.doctor.NEEDED", ("numpy", "no-such-package"))
    assert main(["doctor", "--root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "FIX  torch      2.5.1" in out
    assert "pip install no-such-package" in out


def test_doctor_names_too_many_threads(monkeypatch):
    monkeypatch.setattr("torch.get_num_threads", lambda: 4096)
    assert any("OMP_NUM_THREADS=" in finding.advice for finding in doctor.examine())


def test_results_of_another_schema_are_refused(tmp_path):
    (tmp_path / "old.json").write_text(json.dumps({"schema": 0, "runs": []}))
    with pytest.raises(ValueError, match="schema 0, expected 1"):
        results.read(tmp_path / "old.json")


def test_table_tells_seeds_apart_from_networks():
    run = results.load("cifar100-resnet20-laptop")[0]

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
