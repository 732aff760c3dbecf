"""The plan of runs, and its runner."""

import dataclasses
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gamlib import create_model, data, results
from gamlib.course import plan, variants
from gamlib.training import Diverged, Speed, recipes

ROOT = Path(__file__).resolve().parents[1]
STUDIES = plan.read()
RUNNER = ROOT / "data" / "record.py"
sys.path.insert(0, str(RUNNER.parent))  # as Python does where it runs it
record = importlib.util.module_from_spec(spec := importlib.util.spec_from_file_location("record", RUNNER))
spec.loader.exec_module(record)
check_plan = sys.modules["check_plan"]


# ------------------------------------------------------------------ what is recorded


def test_nothing_recorded_lies_outside_the_plan():
    assert set(results.list_recorded()) <= {study.name for study in STUDIES}


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_recorded_runs_are_those_of_the_plan(study):
    planned = {plan.identity(run): run for run in study.runs}
    for run in study.recorded():
        network = planned[plan.identity(run)].network
        assert network["attention_options"].items() <= run.network["attention_options"].items()
        assert (run.network["name"], run.recipe["name"]) == (study.model, study.recipe)
        assert run.precision == study.switches["precision"]
        if run.switches is not None:
            speed = Speed(**study.switches)
            assert run.switches == speed.switches()
        assert run.commit in study.commits or not study.commits


@pytest.mark.parametrize("study", STUDIES, ids=lambda study: study.name)
def test_every_planned_network_can_be_built(study):
    variants.register()
    for network in {json.dumps(run.network): run.network for run in study.runs}.values():
        with torch.device("meta"):
            create_model(**network, num_classes=10)


def test_a_study_beside_another_shares_its_conditions():
    parts, laptop = (plan.get(f"cifar100-resnet20-{name}", STUDIES) for name in ("parts", "laptop"))
    assert parts.beside == laptop.name
    for field in ("data", "model", "recipe", "needs", "switches", "commits"):
        assert getattr(parts, field) == getattr(laptop, field)


def test_first_come_five_seeds_of_plain_wide_and_gam():
    first = plan.get("cifar100-resnet20-laptop", STUDIES).runs[:15]
    assert [(run.label, run.seed) for run in first] == [
        (label, seed) for seed in range(5) for label in ("none", "none-width25", "gam")
    ]


# ------------------------------------------------------------------ reading a plan


def tiny(**changes: object) -> dict:
    study = {
        "name": "tiny",
        "question": "?",
        "data": ["puzzles-joint"],
        "model": "probe",
        "recipe": "smoke",
        "needs": "cpu",
        "switches": {"precision": "fp32"},
        "networks": [{"attention": "gam", "options": {"reduction": 4}, "width": 8, "seeds": [0]}],
    }
    return {key: value for key, value in (study | changes).items() if value is not None}


def write(folder: Path, *studies: dict) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "plan.json"
    path.write_text(json.dumps({"studies": studies}, indent=1), encoding="utf-8")
    return path


def network(**changes: object) -> list[dict]:
    return [{"attention": "none", "seeds": [0]} | changes]


@pytest.mark.parametrize(
    ("changes", "at", "message"),
    [
        ({"model": "resnet19"}, '"name"', "unknown model 'resnet19'; allowed, nearest first: resnet18"),
        ({"data": ["cifar10"]}, '"name"', "unknown data set 'cifar10'; allowed, nearest first: cifar100"),
        ({"data": "cifar100"}, '"name"', "data must be a list of one data set or more, got 'cifar100'"),
        ({"recipe": "laptob"}, '"name"', "unknown recipe 'laptob'; allowed, nearest first: laptop"),
        ({"needs": "tpu"}, '"name"', "unknown needs 'tpu'"),
        ({"questoin": "?"}, '"name"', "unknown field of a study 'questoin'; allowed, nearest first: question"),
        ({"question": None}, '"name"', "a study must have a question"),
        ({"switches": {"precision": "bf61"}}, '"name"', "unknown precision 'bf61'"),
        ({"switches": {"compiled": True}}, '"name"', "compiled"),
        ({"beside": "other"}, '"name"', "unknown study in beside 'other'"),
        ({"networks": network(attention="gan")}, '"attention"', "unknown attention 'gan'; allowed, nearest first: gam"),
        (
            {"networks": network(attention="gam", options={"kernel": 3})},
            '"attention"',
            "attention 'gam' has no option 'kernel'; allowed: reduction, kernel_size",
        ),
        ({"networks": network(options={"reduction": 4})}, '"attention"', "attention 'none' has no options"),
        (
            {"networks": network(seed=[0])},
            '"attention"',
            "unknown field of a network 'seed'; allowed, nearest first: seeds",
        ),
        ({"networks": network(seeds=[])}, '"attention"', r"seeds must be a list of one or more, got \[\]"),
        ({"networks": network(seeds=[-1])}, '"attention"', "seed must be an integer of 0 or more, got -1"),
        ({"networks": network(width=None)}, '"attention"', "width must be a number, got None"),
        ({"networks": network(options=None)}, '"attention"', "options must be an object, got None"),
        ({"networks": []}, '"name"', r"networks must be a list of one network or more, got \[\]"),
        ({"name": "../tiny"}, '"name"', "name must be letters, digits"),
        ({"weights": "false"}, '"name"', "weights must be bool, got 'false'"),
        ({"commits": "abc"}, '"name"', "commits must be list, got 'abc'"),
        ({"commits": ["--output=x"]}, '"name"', "commits must be hexadecimal, 7 to 40 digits each, got '--output=x'"),
        ({"commits": [5]}, '"name"', "commits must be hexadecimal, 7 to 40 digits each, got 5"),
        ({"networks": network(width=10**12)}, '"attention"', "Storage size calculation overflowed"),
        ({"switches": {"compile": 1}}, '"name"', "compile must be True or False, got 1"),
        ({"networks": network(turn=0)}, '"attention"', "turn must be an integer of 1 or more, got 0"),
        ({"networks": network() * 2}, '"attention"', "none with seed 0 stands in the study twice"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_with_its_line(tmp_path, capsys, changes, at, message):
    variants.register()
    path = write(tmp_path, tiny(**changes))
    lines = path.read_text(encoding="utf-8").splitlines()
    line = max(
        number for number, text in enumerate(lines, start=1) if at in text and (at != '"name"' or "tiny" in text)
    )
    with pytest.raises(ValueError, match=message) as caught:
        check_plan.check(path)
    assert str(caught.value).startswith(f"{path}, line {line - 1}: "), (
        "the object begins in the line above its first field"
    )
    assert record.main(["owed", "--plan", str(path)]) == 2
    assert capsys.readouterr().err == f"record.py: {caught.value}\n"


def test_what_is_no_plan(tmp_path):
    (tmp_path / "plan.json").write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match="is no JSON: Expecting property name"):
        check_plan.check(tmp_path / "plan.json")
    (tmp_path / "plan.json").write_text("[]", encoding="utf-8")
    with pytest.raises(ValueError, match="expected an object with a list of studies"):
        check_plan.check(tmp_path / "plan.json")
    with pytest.raises(ValueError, match="a second study of the name 'tiny'"):
        check_plan.check(write(tmp_path, tiny(), tiny()))
    with pytest.raises(ValueError, match=r"shares its data, model, .*; take 'data' out"):
        check_plan.check(write(tmp_path, tiny(), tiny(name="other", beside="tiny")))


def test_the_table_of_what_is_owed(capsys):
    assert record.main(["owed", "--study", "puzzles-joint"]) == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"{plan.table(STUDIES)}\n")
    for study in STUDIES:
        (line,) = [line for line in printed.splitlines() if line.startswith(f"| {study.name} |")]
        owed = len(study.runs) - len(study.recorded())
        assert f"| {study.needs} | {len(study.recorded())} of {len(study.runs)} | {owed or ''} |" in line


# ------------------------------------------------------------------ the runner

ALONE = dict(os.environ, OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="")


def command(path: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(RUNNER), "run", "--plan", str(path), "--threads", "1", *arguments]


def run(path: Path, *arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(path, *arguments), capture_output=True, text=True, env=ALONE, timeout=300, check=False
    )


def test_an_output_that_fails_ends_no_run_and_another_recipe_is_refused(tmp_path, capsys):
    path = write(tmp_path / "plan", tiny())
    with open("/dev/full", "w") as full:
        done = subprocess.run(command(path), stdout=full, stderr=subprocess.PIPE, text=True, env=ALONE, timeout=300)
    assert done.returncode == 0, done.stderr
    recorded = path.parent / "results" / "tiny.json"
    (result,) = results.read(recorded)
    assert record.main(["owed", "--plan", str(path)]) == 0
    assert "| 1 of 1 |" in capsys.readouterr().out, "the table is of this plan's own results"
    results.save([dataclasses.replace(result, recipe=result.recipe | {"lr": 99.0})], recorded)
    more = tiny()
    more["networks"][0]["seeds"] = [0, 1]
    write(tmp_path / "plan", more)
    assert record.main(["owed", "--plan", str(path), "--study", "tiny"]) == 2
    assert "a run there has another recipe than" in capsys.readouterr().err


def test_a_killed_runner_goes_on_and_records_what_an_undisturbed_one_does(tmp_path):
    paths = [write(tmp_path / name, tiny(weights=True)) for name in ("undisturbed", "killed")]
    assert run(paths[0]).returncode == 0
    killed = subprocess.Popen(command(paths[1], "--save-every", "0.0001"), stdout=subprocess.DEVNULL, env=ALONE)
    folder = paths[1].parent / "runs" / "tiny" / "puzzles-joint" / "gam-width8-reduction4-seed0"
    last = recipes.get("smoke").epochs * -(-data.puzzles.COUNT["train"] // recipes.get("smoke").batch_size)
    deadline = time.monotonic() + 120
    while not (steps := [int(p.stem[-10:]) for p in folder.glob("checkpoint-*.pt")]) or max(steps) < last // 3:
        assert time.monotonic() < deadline
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert max(steps) < last, "it was killed after its end"
    assert not (paths[1].parent / "results").exists()
    again = run(paths[1])
    assert again.returncode == 0, again.stderr

    def recorded(path: Path):
        (run,) = plan.read(path)[0].recorded(path.parent / "results")
        timing = ("seconds", "waited", "images_per_second")
        return run, [{key: entry[key] for key in entry if key not in timing} for entry in run.curves]

    (one, one_curves), (other, other_curves) = map(recorded, paths)
    assert one_curves == other_curves
    for field in ("network", "reduction", "parameters", "data", "data_md5", "recipe", "seed", "precision", "switches"):
        assert getattr(one, field) == getattr(other, field)
    assert (one.device, one.commit, one.versions) == (other.device, other.commit, other.versions)
    assert one.command == "record.py run --threads 1"
    zoo = [path.parent / "zoo" / "puzzles-joint-probe-gam-width8.safetensors" for path in paths]
    assert zoo[0].read_bytes()[1000:] == zoo[1].read_bytes()[1000:]
    assert "Nothing is owed" in run(paths[1]).stdout


def test_no_run_is_started_that_would_not_end_in_time(tmp_path):
    path = write(tmp_path, tiny())
    assert "tiny: gam-width8, seed 0, would not end in" in run(path, "--hours", "0.00001").stdout
    assert not (tmp_path / "results").exists()


def test_commits_are_not_mixed(tmp_path, capsys):
    """The first commit of the project trains otherwise; one that is unknown can't be compared."""
    for commit in (git("rev-list", "--max-parents=0", "HEAD").split()[0], "0" * 40):
        path = write(tmp_path, tiny(commits=[commit]))
        assert record.main(["run", "--plan", str(path), "--study", "tiny"]) == 2
        error = capsys.readouterr().err
        assert f"tiny was run at commit {commit}. This checkout, at" in error
        assert "may train otherwise" in error
        # Without --study it is named and left out, and the others are carried out.
        write(tmp_path, tiny(commits=[commit]), tiny(name="other", needs="gpu"))
        assert record.main(["run", "--plan", str(path)]) == 0
        printed = capsys.readouterr().out
        assert f"left out: tiny was run at commit {commit}" in printed
        assert "other: 1 runs that need a GPU" in printed
    assert not (tmp_path / "results").exists()


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", ROOT, *arguments], capture_output=True, text=True, check=True).stdout


def test_what_needs_a_gpu_is_left_to_one(tmp_path, capsys):
    path = write(tmp_path, tiny(needs="gpu"), tiny(name="other"))
    printed = run(path, "--study", "tiny").stdout.splitlines()
    assert printed == ["tiny: 1 runs that need a GPU", "Nothing is owed that this machine can run."]
    assert record.main(["run", "--plan", str(path), "--study", "tinny"]) == 2
    assert "unknown study 'tinny'; allowed, nearest first: tiny, other" in capsys.readouterr().err


def test_a_setting_that_can_not_be_built_is_refused_with_its_line(tmp_path, capsys):
    path = write(tmp_path, tiny(networks=network(attention="gam", options={"reduction": 1000})))
    assert record.main(["run", "--plan", str(path)]) == 2
    error = capsys.readouterr().err
    line = next(n for n, text in enumerate(path.read_text().splitlines(), start=1) if '"attention"' in text) - 1
    assert error.startswith(f"record.py: {path}, line {line}: reduction=1000 leaves no hidden channel")


def test_compiled_and_uncompiled_must_agree(tmp_path, monkeypatch):
    (study,) = plan.read(write(tmp_path, tiny(switches={"precision": "fp32", "compile": True})))
    dataset = data.puzzles.dataset("joint").first(512)
    arguments = study, study.runs[0], dataset, Speed(**study.switches)
    monkeypatch.setattr(torch, "compile", lambda network: network)
    record.check_compiled(*arguments)
    monkeypatch.setattr(torch, "compile", lambda network: lambda x: 1.5 * network(x))
    with pytest.raises(record.Refused, match="gam-width8: compiled, the first losses are"):
        record.check_compiled(*arguments)

    def no_compiler(x):
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", lambda network: no_compiler)
    with pytest.raises(record.Refused, match=r"needs a C\+\+ compiler"):
        record.check_compiled(*arguments)


# ------------------------------------------------------------------ what is alike, and what is kept


def commits(folder: Path, *changes: dict[str, str]) -> list[str]:
    """A repository with a commit for each dictionary of files."""
    git_there = ["git", "-C", str(folder), "-c", "user.name=t", "-c", "user.email=t@t"]
    subprocess.run(["git", "init", "-q", str(folder)], check=True)
    found = []
    for change in changes:
        for name, text in change.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        subprocess.run([*git_there, "add", "-A"], check=True)
        subprocess.run([*git_there, "commit", "-qm", "x"], check=True)
        found.append(subprocess.run([*git_there, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip())
    return found


def test_commits_train_alike_where_nothing_that_decides_differs(tmp_path, monkeypatch):
    monkeypatch.setattr(record, "PACKAGE", tmp_path / "gamlib")
    first, text, model = commits(
        tmp_path, {"gamlib/models/a.py": "1"}, {"README.md": "1", "gamlib/cli/a.py": "1"}, {"gamlib/models/a.py": "2"}
    )
    assert record.alike(first, first)
    assert record.alike(first, text)
    assert record.alike(f"{first}, then {text}", first)
    assert not record.alike(first, model)
    assert not record.alike(first, f"{text}, then {model}")
    assert not record.alike(first, "0" * 40)
    assert not record.alike(f"{first}+", f"{first}+"), "nobody knows what was not committed"


def recorded_run(path: Path, **changes: object) -> results.Result:
    """A result of the first run that the plan in `path` owes, put among its results."""
    (study, *_) = plan.read(path)
    planned = study.runs[0]
    run = results.load("puzzles-joint")[0]
    network = planned.network | {"num_classes": 10, "stem": "puzzles"}
    network["attention_options"] = {"reduction": 4} if planned.network["attention"] == "gam" else {}
    return dataclasses.replace(
        run,
        **({"network": network, "seed": planned.seed, "reduction": planned.reduction, "commit": "0" * 40} | changes),
    )


def test_a_recorded_run_is_never_lost(tmp_path, capsys):
    """One that is not in the plan, or stands there twice, is named before anything is trained."""
    path = write(tmp_path, tiny(networks=[*network(seeds=[0, 1]), *tiny()["networks"]]))
    (tmp_path / "results").mkdir()
    for runs, why in [
        ([recorded_run(path, seed=9)], "is not in the plan"),
        ([recorded_run(path)] * 2, "stands there twice"),
        ([recorded_run(path, reduction=2)], "is not in the plan"),
    ]:
        results.save(runs, tmp_path / "results" / "tiny.json")
        before = (tmp_path / "results" / "tiny.json").read_bytes()
        assert record.main(["run", "--plan", str(path), "--study", "tiny"]) == 2
        assert why in capsys.readouterr().err
        assert (tmp_path / "results" / "tiny.json").read_bytes() == before


def test_a_neighbours_commit_binds(tmp_path, capsys):
    path = write(
        tmp_path,
        tiny(networks=network()),
        {"name": "beside", "question": "?", "beside": "tiny", "networks": network(width=9)},
    )
    (tmp_path / "results").mkdir()
    results.save([recorded_run(path)], tmp_path / "results" / "tiny.json")
    assert record.main(["run", "--plan", str(path), "--study", "beside"]) == 2
    assert "beside was run at commit 0000000" in capsys.readouterr().err


def test_results_stand_in_the_plans_order_and_one_seed_keeps_its_weights(tmp_path):
    networks = [*tiny()["networks"], {"attention": "none", "width": 8, "seeds": [1, 0], "turn": 2}]
    path = write(tmp_path, tiny(weights=True, networks=networks))
    (study,) = plan.read(path)
    dataset = data.puzzles.dataset("joint").first(64)
    for planned in reversed(study.runs):
        model, _, _ = record.built(study, planned, dataset)
        out = tmp_path / f"{planned.label}{planned.seed}"
        out.mkdir()
        save_file(model.state_dict(), out / "weights.safetensors")
        network = model.spec
        run = recorded_run(path, network=network, seed=planned.seed, reduction=planned.reduction)
        record.add(study, run, dataset, out, tmp_path)
    kept = results.read(tmp_path / "results" / "tiny.json")
    assert [(run.label, run.seed) for run in kept] == [("gam-width8", 0), ("none-width8", 0), ("none-width8", 1)]
    zoo = {path.name: load_file(path) for path in (tmp_path / "zoo").glob("*")}
    assert set(zoo) == {f"puzzles-joint-probe-{label}-width8.safetensors" for label in ("gam", "none")}
    first = load_file(tmp_path / "none-width80" / "weights.safetensors")
    assert torch.equal(zoo["puzzles-joint-probe-none-width8.safetensors"]["conv1.weight"], first["conv1.weight"].half())


def test_what_is_recorded_here_is_the_forecast(tmp_path, monkeypatch):
    path = write(tmp_path, tiny(networks=network(seeds=[0, 1])))
    (study,) = plan.read(path)
    (tmp_path / "results").mkdir()
    here = record.device_name(record.device_of("auto"))
    results.save([recorded_run(path, device=here, seconds=1234.0)], tmp_path / "results" / "tiny.json")
    monkeypatch.setattr(record, "forecast", lambda *_: pytest.fail("it was measured again"))
    arguments = record.parser().parse_args(["owed", "--plan", str(path)])
    assert record.Costs(study, arguments).left(study.runs[1]) == 1234.0
    log = record.folder_of(study, study.runs[1], arguments)
    log.mkdir(parents=True)
    (log / "metrics.jsonl").write_text("{}\n")
    assert record.Costs(study, arguments).left(study.runs[1]) == 0


def test_pages_renews_every_table_and_the_chart(tmp_path, monkeypatch):
    """Emptied copies become what is committed, which tests/test_recorded.py compares with the records."""
    images = tmp_path / "notebooks" / "images"
    images.mkdir(parents=True)
    (tmp_path / "data").mkdir()
    pages = {}
    for name in ("README.md", "data/README.md"):
        pages[name] = (ROOT / name).read_text(encoding="utf-8")
        emptied, count = re.subn(
            r"(<!-- (results|differences|claims).*?-->\n\n).*?(\n\n<!-- /)", r"\1old\3", pages[name], flags=re.S
        )
        assert count == {"README.md": 6, "data/README.md": 1}[name]
        (tmp_path / name).write_text(emptied, encoding="utf-8")
    monkeypatch.setattr(record, "ROOT", tmp_path)
    assert record.main(["pages"]) == 0
    for name, text in pages.items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text
    assert (images / "cifar100_errors.png").is_file()


def test_what_diverges_is_left_out_and_the_others_go_on(tmp_path, capsys, monkeypatch):
    path = write(tmp_path, tiny(networks=[*tiny()["networks"], *network(width=8, seeds=[0])]))
    carried = []

    def carry_out(study, planned, arguments):
        if planned.label == "gam-width8":
            raise Diverged("step 1: gradient norm nan")
        carried.append(planned.label)

    monkeypatch.setattr(record, "carry_out", carry_out)
    assert record.main(["run", "--plan", str(path)]) == 0
    assert "left out: tiny: gam-width8, seed 0: step 1: gradient norm nan" in capsys.readouterr().err
    assert carried == ["none-width8"]
    monkeypatch.setattr(record, "forecast", lambda *_: carry_out(None, plan.read(path)[0].runs[0], None))
    assert record.main(["owed", "--plan", str(path)]) == 0
    assert "gam-width8               seeds 0          does not train here: step 1" in capsys.readouterr().out


def test_only_what_needs_a_gpu_where_that_is_asked(tmp_path, capsys):
    path = write(tmp_path, tiny(), tiny(name="other", needs="gpu"))
    assert record.main(["owed", "--gpu", "--plan", str(path)]) == 0
    printed = capsys.readouterr().out
    assert printed.splitlines()[-2:] == ["other: 1 runs that need a GPU", "Nothing is owed that this machine can run."]
