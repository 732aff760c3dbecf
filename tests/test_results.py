"""gamlib.results: the schema, summaries over seeds, tables, charts."""

import dataclasses
import json
from pathlib import Path

import pytest
from PIL import Image
from scipy import stats

from gamlib import results
from gamlib.__main__ import main

ROOT = Path(__file__).resolve().parents[1]


def run(seed: int, error: float, label: str = "none", **changes: object) -> results.Result:
    """A recorded run, made another."""
    recorded = results.load("cifar100-resnet20-first")[0]
    curves = [*recorded.curves[:-1], recorded.curves[-1] | {"test_top1_error": error}]
    network = recorded.network | {"attention": label}
    return dataclasses.replace(recorded, **({"seed": seed, "curves": curves, "network": network} | changes))


# ------------------------------------------------------------------ schema


def write(path: Path, change) -> Path:
    """A recorded result's JSON, changed."""
    content = json.loads((ROOT / "data" / "results" / "cifar100-resnet20-first.json").read_text(encoding="utf-8"))
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
        (lambda c: c["runs"][0].update(switches={"compile": True}), "run 0, switches: .*missing channels_last, fused"),
        (lambda c: c["runs"][0].update(switches="compile"), "run 0: switches must be"),
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
        (lambda c: c["runs"].append(c["runs"][0]), "the same run stands there twice"),
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


def test_a_table_tells_networks_of_one_label_apart():
    def gam(reduction):
        options = {"name": "resnet20", "attention": "gam", "attention_options": {"reduction": reduction}}
        return run(0, 40.0, network=options)

    lines = results.table([run(0, 41.0), gam(2), gam(4)]).splitlines()[2:]
    assert [line.split(" | ")[2] for line in lines] == ["none", "gam, r = 2", "gam, r = 4"]
    assert results.table([gam(4)]).splitlines()[2].split(" | ")[2] == "gam"


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
        (["--chart", "x.png"], "--chart draws the runs of one network on one data set; name their source"),
        (["puzzles-joint", "--chart", "x.jpg"], "--chart writes a PNG: a name that ends in .png, got 'x.jpg'"),
        (["ablation-halves", "--chart", "x.png"], "a chart shows runs of one network on one data set, got probe on"),
    ],
)
def test_gamlib_results_refuses(capsys, tmp_path, arguments, message):
    assert main(["results", *(argument.format(tmp=tmp_path) for argument in arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("gamlib results: ")
    assert message in captured.err
    assert captured.err.count("\n") == 1


def test_gamlib_results_against_a_label_that_not_all_recorded_runs_have(capsys):
    assert main(["results", "--against", "none"]) == 0
    printed = capsys.readouterr().out
    assert results.differences(results.load("puzzles-joint"), "none") in printed
    assert "ablation-kernels\n\n" in printed


def test_a_run_in_two_sources_counts_once(tmp_path, capsys):
    runs = [run(seed, 40.0 + seed) for seed in range(2)]
    results.save(runs, tmp_path / "compare.json")
    (tmp_path / "none-seed0").mkdir()
    results.save(runs[:1], tmp_path / "none-seed0" / "result.json")
    sources = [str(tmp_path), f"{tmp_path}/", str(tmp_path / "none-seed0")]
    assert main(["results", *sources]) == 0
    assert results.table(runs) in capsys.readouterr().out
    results.save([dataclasses.replace(runs[0], seconds=1.0)], tmp_path / "none-seed0" / "result.json")
    assert main(["results", *sources]) == 2
    assert "none on cifar100 has two different runs with seed 0; name sources in which" in capsys.readouterr().err


def test_several_sources_are_compared_as_one(tmp_path, capsys):
    results.save([run(0, 41.0)], tmp_path / "plain.json")
    results.save([run(0, 40.0, "gam")], tmp_path / "gam.json")
    assert main(["results", str(tmp_path / "plain.json"), str(tmp_path / "gam.json"), "--against", "none"]) == 0
    assert "| gam | -1.00 |" in capsys.readouterr().out


def test_a_chart_of_seeds_and_intervals(tmp_path, capsys):
    runs = [run(seed, 41.0 + seed) for seed in range(3)] + [run(seed, 40.0 - seed, "gam") for seed in range(3)]
    results.save([*runs, run(0, 39.0, "se")], tmp_path / "compare.json")
    chart = tmp_path / "chart.png"
    assert main(["results", str(tmp_path), "--against", "none", "--chart", str(chart)]) == 0
    assert str(chart) in capsys.readouterr().out
    with Image.open(chart) as image:
        assert image.text["Description"] == results.digest_of(results.read(tmp_path / "compare.json"))
    axes = results.draw_errors(runs, "none").axes[0]
    lines = [line for line in axes.lines if len(line.get_xdata())]
    dots = [line for line in lines if len(line.get_xdata()) == 3]
    assert [sorted(line.get_xdata()) for line in dots if line.get_markerfacecolor() != "white"] == [
        [41.0, 42.0, 43.0],
        [38.0, 39.0, 40.0],
    ]
    summary = results.summarise([40.0, 39.0, 38.0])
    assert any(list(line.get_xdata()) == [summary.low, summary.high] for line in lines), "the interval"
    assert any(list(line.get_xdata()) == [42.0, 42.0] and line.get_linestyle() == "--" for line in lines), "the control"


def test_a_run_that_goes_on_is_shown_as_far_as_it_is(tmp_path, capsys):
    """What `waited` says stands in it: the answer to what a run waits for."""
    entry = {"epoch": 1, "lr": 0.05, "train_loss": 2.3456, "train_top1_error": 80.0, "train_top5_error": 40.0}
    entry |= {"test_loss": 2.1, "test_top1_error": 75.25, "test_top5_error": 33.0, "seconds": 40.0, "waited": 30.0}
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(entry | {"epoch": e}) + "\n" for e in (1, 2)))
    assert main(["results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"{tmp_path}: not finished yet; epochs so far: 2" in out
    assert "| 2 | 0.05 | 2.35 | 80 | 75.2 | 40 | 75% |" in out
    assert main(["results", str(tmp_path), "--against", "none"]) == 2
    assert "not finished yet; --against and --chart are for results" in capsys.readouterr().err
    for damage in (b'{"epoch": 1,', b"\n", b"\xff\xfe", b"null", b"[]", b'{"epoch":1,"loss":2}'):
        (tmp_path / "metrics.jsonl").write_bytes(damage)
        assert main(["results", str(tmp_path)]) == 2
        assert "is damaged, or no log of gamlib's" in (said := capsys.readouterr().err)
        assert len(said.splitlines()) == 1
    (tmp_path / "metrics.jsonl").unlink()
    assert main(["results", str(tmp_path)]) == 2
    assert "so no run that is finished" in capsys.readouterr().err
