"""gamlib.results: the schema, summaries over seeds, tables; and the ledger of claims."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
from scipy import stats

from gamlib import ledger, results
from gamlib.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


def run(seed: int, error: float, label: str = "none", **changes: object) -> results.Result:
    """A recorded run, made another."""
    recorded = results.load("cifar100-resnet20-laptop")[0]
    curves = [*recorded.curves[:-1], recorded.curves[-1] | {"test_top1_error": error}]
    network = recorded.network | {"attention": label}
    return dataclasses.replace(recorded, **({"seed": seed, "curves": curves, "network": network} | changes))


# ------------------------------------------------------------------ schema


def write(path: Path, change) -> Path:
    """A recorded result's JSON, changed."""
    content = json.loads((ROOT / "data" / "results" / "cifar100-resnet20-laptop.json").read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(schema=99), "schema 99, expected 1"),
        (lambda c: c.update(extra=1), "unknown extra"),
        (lambda c: c.pop("runs"), "missing runs"),
        (lambda c: c.update(runs={}), "runs must be list, got {}"),
        (lambda c: c["runs"].append([]), r"run \d+: expected a JSON object, got list"),
        (lambda c: c["runs"][1].pop("seed"), "run 1: fields that do not fit schema 1: missing seed"),
        (lambda c: c["runs"][0].update(sead=0, colour="red"), "run 0: .*unknown colour, sead"),
        (lambda c: c["runs"][0].update(seed="0"), "run 0: seed must be int, got '0'"),
        (lambda c: c["runs"][0].update(seed=True), "run 0: seed must be int, got True"),
        (lambda c: c["runs"][0].update(commit=7), r"run 0: commit must be str \| None, got 7"),
        (lambda c: c["runs"][0].update(curves=[]), "run 0: curves is empty"),
        (lambda c: c["runs"][0]["curves"][3].pop("lr"), "run 0, curves: .*missing lr"),
        (
            lambda c: c["runs"][0]["curves"][3].update(test_top1_error=None),
            "curves: test_top1_error must be .*got None",
        ),
        (lambda c: c["runs"][0]["curves"][3].update(accuracy=3), "curves: .*unknown accuracy"),
        (lambda c: c["runs"][0]["versions"].pop("torch"), "versions: .*missing torch"),
        (lambda c: c["runs"][0]["network"].pop("name"), "run 0: network and recipe must have a name"),
        (lambda c: c["runs"][0]["recipe"].pop("name"), "run 0: network and recipe must have a name"),
        (lambda c: c["runs"][0]["network"].update(attention_options=None), "attention_options an object"),
        (lambda c: c["runs"][0]["network"].update(attention=["gam"]), "attention must be a name"),
        (lambda c: c["runs"][0]["data_md5"].update(train=3), "data_md5: train must be str, got 3"),
        (lambda c: c["runs"][0]["curves"][0].update(test_top1_error=10**400), "must be a finite number"),
        (lambda c: c["runs"][0]["curves"][0].update(test_top1_error=float("nan")), "must be a finite number"),
        (lambda c: c["runs"][0]["curves"].reverse(), "curves must hold the epochs 1, 2, 3 ... in order"),
    ],
)
def test_a_file_that_does_not_fit_is_named_with_its_field(tmp_path, change, message):
    path = write(tmp_path / "runs.json", change)
    with pytest.raises(ValueError, match=message) as caught:
        results.read(path)
    assert str(caught.value).startswith(str(path))


def test_what_is_saved_is_read(tmp_path):
    runs = [run for name in results.list_recorded() for run in results.load(name)]
    results.save(runs, tmp_path / "runs.json")
    assert results.read(tmp_path / "runs.json") == runs


# ------------------------------------------------------------------ summaries


def test_a_mean_and_its_interval():
    values = [41.2, 40.1, 42.7, 39.9]
    summary = results.summarise(values)
    low, high = stats.t.interval(0.95, 3, loc=summary.mean, scale=stats.sem(values))
    assert (summary.n, summary.mean) == (4, pytest.approx(40.975))
    assert (summary.low, summary.high) == (pytest.approx(low), pytest.approx(high))
    assert str(summary) == f"40.98 ({low:.2f} to {high:.2f}, 4 seeds)".replace("40.98", f"{summary.mean:.2f}")


def test_one_seed_has_no_interval():
    assert str(results.summarise([41.43])) == "41.43 (1 seed, no interval)"
    with pytest.raises(ValueError, match="one value at least"):
        results.summarise([])


def test_a_paired_difference_goes_seed_by_seed():
    ours = [run(seed, error, "gam") for seed, error in [(0, 38.0), (2, 40.0), (1, 39.5), (7, 99.0)]]
    plain = [run(seed, error) for seed, error in [(1, 41.0), (0, 40.0), (2, 41.0), (9, 0.0)]]
    difference = results.paired_difference(ours, plain)
    low, high = stats.t.interval(0.95, 2, loc=-1.5, scale=stats.sem([-2.0, -1.5, -1.0]))
    assert difference == results.Summary(3, pytest.approx(-1.5), pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize(
    ("ours", "plain", "message"),
    [
        ([run(0, 1, "gam")] * 2, [run(0, 2)], "same seed"),
        ([run(0, 1, "gam")], [run(1, 2)], r"no seed is in both: \[0\] and \[1\]"),
        ([run(0, 1, "gam")], [run(0, 2, data="other")], "differ in more than their attention"),
        ([run(0, 1, "gam")], [run(0, 2, precision="fp32")], "differ in more"),
        ([run(0, 1, "gam")], [run(0, 2, recipe={"name": "quick"})], "differ in more"),
        ([run(0, 1, "gam")], [run(0, 2, network={"name": "resnet18", "attention": "none"})], "differ in more"),
        (
            [run(0, 1, "gam")],
            [run(0, 2, network={"name": "resnet20", "attention": "none", "stem": "x"})],
            "differ in more",
        ),
        ([run(0, 1, "gam"), run(1, 1, "se")], [run(0, 2), run(1, 2)], "several networks"),
        ([run(0, 1, "gam")], [run(0, 2, data_md5={"train": "0", "test": "1", "meta": "2"})], "differ in more"),
    ],
)
def test_runs_that_are_no_pair(ours, plain, message):
    with pytest.raises(ValueError, match=message):
        results.paired_difference(ours, plain)


def test_differences_as_a_table():
    runs = [run(seed, 40 + seed) for seed in range(3)] + [run(seed, 39 + 2 * seed, "se") for seed in range(3)]
    *_, line = results.differences(runs, "none").splitlines()
    assert line == "| cifar100 | resnet20 | se | +0.00 | -2.48 to +2.48 | 3 |"
    others = [run(9, 1, "bam"), run(0, 50, network={"name": "resnet20", "attention": "none", "stem": "x"})]
    assert results.differences(runs + others, "none").splitlines()[-1] == line, "what can't be compared is left out"
    with pytest.raises(ValueError, match="unknown label 'gam'; allowed, nearest first: "):
        results.differences(runs, "gam")
    with pytest.raises(ValueError, match="nothing to compare 'none' with"):
        results.differences(runs[:3], "none")


# ------------------------------------------------------------------ the command


def test_gamlib_results_prints_all_that_is_recorded(capsys):
    assert main(["results"]) == 0
    printed = capsys.readouterr().out
    for name in results.list_recorded():
        assert f"{name}\n\n{results.table(results.load(name))}\n" in printed


def test_gamlib_results_of_a_readers_own_runs(capsys, tmp_path):
    runs = [run(0, 41.0), run(0, 40.0, "se")]
    (tmp_path / "mine").mkdir()
    results.save(runs, tmp_path / "mine" / "compare.json")
    for source in ("mine", "mine/compare.json"):
        assert main(["results", str(tmp_path / source), "--against", "none"]) == 0
        printed = capsys.readouterr().out
        assert results.table(runs) in printed
        assert "| cifar100 | resnet20 | se | -1.00 | – | 1 |" in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing"], "unknown recorded result 'nothing'; allowed, nearest first"),
        (["no.json"], "no such file: no.json"),
        (["~nobody-of-this-name/x.json"], "~nobody-of-this-name"),
        (["{tmp}"], "holds neither compare.json nor result.json"),
        (["puzzles-joint", "--against", "gan"], "unknown label 'gan'; allowed, nearest first: gam"),
        (["puzzles-joint", "--claims"], "--claims judges the recorded runs"),
    ],
)
def test_gamlib_results_refuses(capsys, tmp_path, arguments, message):
    assert main(["results", *(argument.format(tmp=tmp_path) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gamlib results: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


# ------------------------------------------------------------------ the ledger


def test_every_claim_has_a_verdict_and_none_is_stronger_than_its_runs(capsys):
    found = list(ledger.ledger())
    assert len(found) >= 15
    for claim, finding in found:
        assert all((claim.where, claim.text, finding.scale, finding.evidence))
        assert finding.verdict in ("supported", "not supported", "not tested")
        seeds = [int(n) for n in re.findall(r"(\d+) seeds?\b", finding.evidence)]
        if finding.verdict != "not tested":
            assert finding.scale != "no run"
            assert all(n >= ledger.MIN_SEEDS for n in seeds)
        if "no run" in finding.evidence:
            assert finding.verdict != "supported"
    assert main(["results", "--claims"]) == 0
    printed = capsys.readouterr().out
    assert printed.strip() == ledger.table()
    assert all(claim.text in printed for claim, _ in found)


@pytest.mark.parametrize(
    ("gam", "others", "verdict"),
    [
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1]}, "supported"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 39.0, 37.1]}, "not supported"),
        ([41.0, 41.2, 41.1], {"none": [39.0, 39.1, 39.2]}, "not supported"),
        ([39.0, 39.1], {"none": [45.0, 45.1]}, "not tested"),
        ([39.0, 39.1, 39.2], {}, "not tested"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1], "se": [39.1, 39.0, 39.2]}, "not supported"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1], "se": [41.0]}, "not tested"),
    ],
)
def test_the_verdict_on_errors(monkeypatch, gam, others, verdict):
    sides = {"gam": gam} | others
    runs = [run(seed, error, label) for label, errors in sides.items() for seed, error in enumerate(errors)]
    monkeypatch.setattr(ledger, "all_runs", lambda: runs)
    finding = ledger.lower_error("gam", ["none", *(["se"] if "se" in others else [])], "cifar100", "resnet20")()
    assert finding.verdict == verdict, finding.evidence
    assert finding.scale == "resnet20, cifar100, 12 epochs"


@pytest.mark.parametrize(
    ("solved", "verdict"),
    [
        ({"gam": (3, 0, 0), "se": (0, 0, 0)}, "supported"),
        ({"gam": (3, 0, 0), "se": (1, 0, 0)}, "not supported"),
        ({"gam": (3, 0, 0), "se": (0, 0, 1)}, "not supported"),
        ({"gam": (2, 0, 0), "se": (0, 0, 0)}, "not supported"),
    ],
)
def test_the_verdict_on_puzzles(monkeypatch, solved, verdict):
    runs = [
        puzzle_run(task, seed, 0.0 if seed < won else 60.0, label)
        for label, all_won in solved.items()
        for task, won in zip(("joint", "spatial", "channel"), all_won, strict=True)
        for seed in range(3)
    ]
    monkeypatch.setattr(ledger, "all_runs", lambda: runs)
    assert ledger.solves_alone("gam", ["se"])().verdict == verdict
    monkeypatch.setattr(ledger, "all_runs", lambda: [r for r in runs if (r.data, r.label, r.seed) != (r.data, "se", 2)])
    assert ledger.solves_alone("gam", ["se"])().verdict == "not tested"


@pytest.mark.parametrize(
    ("solved", "seeds", "verdict"),
    [
        ({"gam": 3, "none": 0}, 3, "supported"),
        ({"gam": 3, "none": 1}, 3, "not supported"),
        ({"gam": 2, "none": 0}, 3, "not supported"),
        ({"gam": 0, "none": 0}, 3, "not supported"),
        ({"gam": 2, "none": 0}, 2, "not tested"),
        ({"gam": 0, "none": 0}, 0, "not tested"),
    ],
)
def test_the_verdict_on_one_puzzle(monkeypatch, solved, seeds, verdict):
    runs = [
        puzzle_run("joint", seed, 0.0 if seed < won else 60.0 - 5 * (label == "gam"), label)
        for label, won in solved.items()
        for seed in range(seeds)
    ]
    others = [puzzle_run(task, seed, 0.0, "none", name) for seed in (8, 9) for task, name in OTHERS]
    monkeypatch.setattr(ledger, "all_runs", lambda: runs + others)
    finding = ledger.solves_more("gam", ["none"], "joint")()
    assert finding.verdict == verdict
    assert finding.evidence == f"solved by gam: {solved['gam']} of {seeds}, none: {solved['none']} of {seeds}"
    assert finding.scale == ("probe, puzzles-joint, 12 epochs" if seeds else "no run")


OTHERS = (("joint", "resnet20"), ("spatial", "probe"))  # another backbone, another puzzle


def puzzle_run(
    task: str, seed: int, error: float, label: str, name: str = "probe", **changes: object
) -> results.Result:
    return run(seed, error, data=f"puzzles-{task}", network={"name": name, "attention": label}, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 0},
        {"recipe": {"name": "puzzles", "epochs": 200}},
        {"data_md5": {"train": "another"}},
        {"network": {"name": "probe", "attention": "gam", "attention_options": {"reduction": 8}}},
    ],
)
def test_no_verdict_on_runs_that_are_not_of_one_network_one_a_seed(monkeypatch, changes):
    good = [puzzle_run("joint", seed, 0.0, "gam") for seed in range(2)]
    odd = dataclasses.replace(puzzle_run("joint", 2, 0.0, "gam"), **changes)
    plain = [puzzle_run("joint", seed, 60.0, "none") for seed in range(3)]
    monkeypatch.setattr(ledger, "all_runs", lambda: [*good, odd, *plain])
    with pytest.raises(ValueError, match="not one run a seed of one network"):
        ledger.solves_more("gam", ["none"], "joint")()


def test_seeds_that_do_not_meet_are_not_tested(monkeypatch):
    runs = [run(seed, 39.0, "gam") for seed in range(3)] + [run(seed, 41.0) for seed in range(3, 6)]
    monkeypatch.setattr(ledger, "all_runs", lambda: runs)
    finding = ledger.lower_error("gam", ["none"], "cifar100", "resnet20")()
    assert (finding.verdict, finding.scale) == ("not tested", "resnet20, cifar100, 12 epochs")
    assert "no seed that both have" in finding.evidence


def test_a_window_is_measured_and_a_grown_one_found():
    assert "13 x 13" in ledger.sees_everything().evidence
    assert ledger.sees_everything().verdict == "not supported"
