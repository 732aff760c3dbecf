"""Recorded runs and the zoo: complete, readable, and the same as what README shows."""

import importlib.util
import re
import statistics
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from scipy import stats

from gamlib import create_model, data, results
from gamlib._paths import recorded
from gamlib.course import claims, finetuning, grid, plan, swaps, variants
from gamlib.course.photographs import normalised
from gamlib.data import DataError
from gamlib.training import Speed, evaluate, recipes

ROOT = Path(__file__).resolve().parents[1]
_SPEC = importlib.util.spec_from_file_location("swap_gates", ROOT / "data" / "swap_gates.py")
swap_gates = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(swap_gates)
ZOO = sorted(recorded("zoo").glob("*.safetensors"))


def test_there_are_recorded_runs():
    assert "cifar100-resnet20-first" in results.list_recorded()
    with pytest.raises(
        ValueError, match="recorded result 'cifar100-resnet2'; allowed, nearest first: cifar100-resnet20"
    ):
        results.load("cifar100-resnet2")


def test_fine_tuning_runs_are_complete():
    arms = finetuning.read("cifar100")
    assert list(arms) == ["plain", "GAM gently", "GAM at once", "GAM gently, frozen", "SE gently"]
    puzzle = finetuning.read("puzzles-joint")
    assert list(puzzle) == ["TAM at once, puzzle", "TAM gently, puzzle"]
    with safe_open(recorded("zoo") / "cifar100-resnet20-none.safetensors", "pt") as file:
        start = float(file.metadata()["top1_error"])
    for arm, runs in (arms | puzzle).items():
        assert [run["seed"] for run in runs] == [0, 1, 2]
        for run in runs:
            assert re.fullmatch(r"[0-9a-f]{40}", run["commit"])
            assert run["recipe"] == runs[0]["recipe"]
            assert len(run["curves"]) == run["recipe"]["epochs"]
            assert abs(run["after"] - finetuning.end(run)) < 0.5, "tested in float32, trained in less"
            assert len(run["strengths"]) == (0 if "gently" not in arm else 2 if arm in puzzle else 9)
            if arm in arms:
                assert (abs(run["before"] - start) < 0.01) == (arm != "GAM at once"), "gentle keeps what was there"


def test_what_notebook_13_says_of_fine_tuning():
    arms = finetuning.read("cifar100")
    for arm in ("GAM gently", "GAM at once", "SE gently"):
        difference = finetuning.paired_difference(arms[arm], arms["plain"])
        assert -0.55 < difference.low < 0 < difference.high, "no arm is surely below plain, nor far below it"
        assert all(abs(finetuning.end(run) - 40) < 0.5 for run in (*arms[arm], *arms["plain"]))
    frozen = [run["before"] - finetuning.end(run) for run in arms["GAM gently, frozen"]]
    assert 0.15 < sum(frozen) / 3 < 0.25, "about 0.2 points"
    for arm in ("GAM gently", "SE gently"):
        for run in arms[arm]:
            strengths = list(run["strengths"].values())
            assert max(strengths[6:]) < -0.3
            assert max(map(abs, strengths[:6])) < 0.2


@pytest.mark.parametrize("name", results.list_recorded())
def test_provenance(name):
    variants.register()
    for run in results.load(name):
        assert re.fullmatch(r"[0-9a-f]{40}(, then [0-9a-f]{40})*", run.commit), "a run of code that was not committed"
        assert run.command.startswith(("gamlib ", "record.py run"))
        assert " --out " not in run.command, "where it was written to is no one's business"
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


def test_readme_shows_the_recorded_differences():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.findall(r"<!-- differences: (\S+) (\S+) -->\n\n(.*?)\n\n<!-- /differences -->", readme, flags=re.S)
    assert [control for _, control, _ in shown] == ["none", "none-width25"]
    for name, control, table in shown:
        assert table == results.differences(results.load(name), control)


def test_readmes_chart_is_drawn_from_the_recorded_runs():
    with Image.open(ROOT / "notebooks" / "images" / "cifar100_errors.png") as image:
        assert image.text["Description"] == results.digest_of(results.load("cifar100-resnet20-laptop"))


def test_readme_of_the_data_shows_the_claims():
    text = (ROOT / "data" / "README.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"<!-- claims -->\n\n(.*?)\n\n<!-- /claims -->", text, flags=re.S)
    assert shown == claims.table()


def test_plain_networks_top1_error_on_cifar_is_under_fifty_per_cent():
    plain = [run for run in results.load("cifar100-resnet20-laptop") if run.label == "none"]
    assert plain
    assert all(run.top1_error < 50 for run in plain)


def test_all_of_the_zoo_is_small():
    assert sum(path.stat().st_size for path in ZOO) < 12e6


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_zoo_gives_the_recorded_error(path):
    """On all test images, in float32: that of the file to 0.1 points, and near that of its run.

    The run was tested in bfloat16, before its weights were rounded to float16. At a puzzle's ceiling networks guess,
    and rounding moves 10 guesses of 2,000: 0.5 points.
    """
    keeping = [study for study in plan.read() if study.weights]
    run = next(
        run
        for study in keeping
        for run in study.recorded()
        if path.stem == f"{run.data}-{run.network['name']}-{run.label}"
    )
    model = create_model(**run.network, weights=run.data).eval()
    try:
        test_set = data.load(run.data)
    except DataError:
        pytest.skip(f"{run.data} is not here; `gamlib doctor` says how to get it")
    assert test_set.md5 == run.data_md5
    error = evaluate(model, test_set, Speed(precision="fp32"))["test_top1_error"]
    with safe_open(path, "pt") as file:
        assert error == pytest.approx(float(file.metadata()["top1_error"]), abs=0.1)
    assert error == pytest.approx(run.top1_error, abs=0.51)


def test_the_zoos_errors_name_what_differs():
    with pytest.raises(ValueError, match=r"was built with reduction=4; got reduction=8$"):
        create_model("resnet20", "gam", {"reduction": 8}, num_classes=100, weights="cifar100")
    with pytest.raises(ValueError, match=r"unknown trained network 'cifar100-resnet50-none'; allowed, .*resnet20-none"):
        create_model("resnet50", num_classes=100, weights="cifar100")
    with pytest.raises(ValueError, match="unknown weights 'cifar10': torchvision has none for 'resnet20'; allowed"):
        create_model("resnet20", weights="cifar10")


def test_what_is_said_of_swapped_gates_is_recorded():
    """Notebooks 02 to 05 and 08, of the answers to photographs with other photographs' gates."""
    record = swaps.read()
    assert re.fullmatch(r"[0-9a-f]{40}", record["commit"])
    assert record["pictures"] == 2000
    rows = {row["attention"]: row for row in record["networks"]}
    assert list(rows) == ["se", "bam", "cbam", "tam", "gam"]
    for row in rows.values():
        assert row["stays"] + row["follows"] + row["else"] == pytest.approx(100, abs=0.02)
        assert row["swapped"] > row["error"]
        assert row["follows"] < 1
    assert all(rows[name]["stays"] > 50 for name in ("se", "bam", "cbam"))
    assert [rows[name]["follows"] * 20 for name in ("se", "bam", "cbam")] == pytest.approx([2, 4, 5])
    assert 75 <= 100 - rows["tam"]["stays"] <= 80
    assert 60 <= 100 - rows["gam"]["stays"] <= 67
    figure, words = swaps.draw(["se", "gam"])
    assert f"gam: stays {rows['gam']['stays']:.1f}%" in words
    widths = [bar.get_width() for bar in figure.axes[0].patches]
    assert widths == pytest.approx([rows[name][kind] for name in ("se", "gam") for kind in swaps.KINDS])


def test_partners_have_another_answer():
    answers = torch.tensor([3, 3, 5, 5, 3, 7])
    partner = swap_gates.partners(answers)
    assert partner.tolist() == [2, 2, 4, 4, 5, 0]


def test_the_record_of_swapped_gates_is_what_the_zoo_gives():
    try:
        test_set = data.load("cifar100")
    except DataError:
        pytest.skip("cifar100 is not here; `gamlib doctor` says how to get it")
    images = normalised(test_set.test_images[: swap_gates.PICTURES] / 255)
    again = swap_gates.swapped("se", images, test_set.test_labels[: swap_gates.PICTURES])
    (row,) = [row for row in swaps.read()["networks"] if row["attention"] == "se"]
    assert {key: pytest.approx(value, abs=0.2) for key, value in again.items() if key != "attention"} == {
        key: value for key, value in row.items() if key != "attention"
    }


def test_what_is_said_of_variants_is_recorded():
    """README, and notebooks 02 to 04, 06 to 08: how many of five runs solve which puzzle."""
    said = {
        "gam_added": {"joint": 5},
        "gam": {"joint": 5, "spatial": 0, "channel": 0},
        "none-width49": {"joint": 0, "spatial": 0, "channel": 0},
        "cbam": {"joint": 3, "spatial": 0, "channel": 4},
        "cbam-kernel_size15": {"spatial": 5},
        "cbam-kernel_size19": {"spatial": 5},
        "cbam_where_first": {"joint": 4, "channel": 1},
        "cbam_parallel": {"joint": 4, "channel": 4},
        "cbam_mean": {"joint": 0, "channel": 4},
        "cbam_max": {"joint": 3, "channel": 2},
        "bam_added": {"joint": 5, "spatial": 5, "channel": 5},
        "bam_undilated": {"joint": 1, "spatial": 0, "channel": 5},
        "se": {"channel": 4, "spatial": 0, "joint": 0},
        "se_softmax": {"channel": 0},
        "se_softmax_scaled": {"channel": 0},
        "se_max": {"channel": 3},
        "se_both": {"channel": 3},
        "eca": {"channel": 4},
        "gam-kernel_size9": {"spatial": 5, "channel": 0},
        "gam-kernel_size11": {"spatial": 5, "channel": 0},
        "gam-channelFalse": {"joint": 5, "spatial": 2, "channel": 0},
        "gam-spatialFalse": {"channel": 0},
    }
    for label, tasks in said.items():
        assert {task: grid.solved(label, task) for task in tasks} == {task: (n, 5) for task, n in tasks.items()}, label
    ends = sorted(run.top1_error for run in results.load("puzzles-joint-added"))
    assert ends[-1] < 0.1
    stopped = [
        run.top1_error for run in results.load("variants-cbam") if run.label == "cbam_mean" and "joint" in run.data
    ]
    assert sum(44 < error < 46 for error in stopped) == 3


def grouped(study):
    return {group[0].label: group for group in results.groups(results.load(study))}


def test_what_notebooks_09_and_11_say_of_runs_on_cifar100():
    laptop, quick = grouped("cifar100-resnet20-laptop"), grouped("cifar100-resnet20-quick")
    means = {label: statistics.mean(run.top1_error for run in runs) for label, runs in laptop.items()}
    assert abs(means["bam"] - means["gam"]) < 0.2, "BAM ends at GAM's error"
    against = {label: results.paired_difference(laptop[label], laptop["none"]) for label in ("gam", "bam")}
    assert against["gam"].n == 5
    assert against["gam"].high < 0
    assert against["bam"].n == 3
    assert against["bam"].low < 0 < against["bam"].high
    assert all(1.1 <= -difference.mean < 1.2 for difference in against.values()), "1.1 points below"
    pairs = zip(by_seed(laptop["gam"]), by_seed(laptop["none-width25"]), strict=True)
    wide = [ours.top1_error - theirs.top1_error for ours, theirs in pairs]
    assert len(wide) == 5
    assert min(wide) > 3
    assert 3.9 < statistics.mean(wide) < 4.1, "by four points, in each of five pairs"
    assert results.paired_difference(laptop["gam"], laptop["se"]).high < 0
    added = {label: laptop[label][0].parameters - laptop["none"][0].parameters for label in ("bam", "gam")}
    assert added == {"bam": 2606, "gam": 403_788}
    assert statistics.stdev(run.top1_error for run in laptop["none"]) == pytest.approx(0.5, abs=0.02)

    half = results.paired_difference(grouped("cifar100-resnet20-parts")["gam-spatialFalse"], laptop["none"])
    assert half.n == 3
    assert -1.3 < half.low < 0 < half.high, "the channel half can't be told from the plain network"
    scaled = results.paired_difference(grouped("cifar100-resnet20-parts")["scaled"], laptop["none"])
    assert scaled.n >= 2
    assert scaled.low > 0
    assert 3.5 < scaled.mean < 4.5, "some four points more"

    def gaps(runs):
        return [run.top1_error - run.curves[-1]["train_top1_error"] for run in runs]

    assert max(gap for runs in laptop.values() for gap in gaps(runs)) < 3.5, "they underfit"
    assert min(gaps(quick["none"])) > 7
    assert min(gaps(quick["none-width25"])) > 12
    assert results.paired_difference(quick["none-width25"], quick["none"]).high < -3, "it keeps its lead"
    assert quick.keys() == {"none", "none-width25"}, "09, 11 and README say that GAM's are owed"


def by_seed(runs):
    return sorted(runs, key=lambda run: run.seed)


def test_what_notebook_09_says_of_seeds():
    """Runs of one seed spread as widely as runs of several: half a point, all networks together."""

    def pooled(found):
        free = [len(errors) - 1 for errors in found]
        return (
            sum(n * statistics.variance(errors) for n, errors in zip(free, found, strict=True) if n) / sum(free)
        ) ** 0.5

    laptop = grouped("cifar100-resnet20-laptop")
    again = {label: [run.top1_error for run in runs if run.seed == 0] for label, runs in laptop.items()}
    for study in ("cifar100-resnet20-first", "repeat-cifar100-none"):
        for run in results.load(study):
            if run.seed == 0 and run.label in again:
                again[run.label].append(run.top1_error)
    seeds = {label: [run.top1_error for run in runs] for label, runs in laptop.items()}
    assert pooled(list(again.values())) == pytest.approx(pooled(list(seeds.values())), abs=0.1)
    assert all(0.8 < statistics.stdev(seeds[label]) < 1 for label in ("bam", "cbam")), "nearly 1"
    for label in ("se", "cbam"):
        assert min(again[label]) < max(again["none"])
        assert max(again[label]) > min(again["none"])


def test_what_notebook_11_says_of_kernels():
    def solved(runs):
        return sum(run.top1_error < results.SOLVED for run in runs), len(runs)

    kernels = {
        size: [run for run in results.load("ablation-kernels") if run.label == f"gam-kernel_size{size}"]
        for size in (3, 5)
    }
    assert {size: solved(runs) for size, runs in kernels.items()} == {3: (0, 5), 5: (3, 5)}
    dear = results.load("ablation-kernel-size")
    assert {run.reduction for run in dear} == {2}
    assert solved(dear) == (2, 5)
    gam = [run for run in results.load("puzzles-joint") if run.label == "gam"]
    assert abs(dear[0].parameters / gam[0].parameters - 1) < 0.03, "the same parameters"
    assert solved(gam) == (5, 5)
    assert stats.fisher_exact([[5, 0], [2, 3]]).pvalue == pytest.approx(1 / 6), "one in six such comparisons"
    reach = {run.label: run.parameters for run in results.load("puzzles-reach")}
    assert max(parameters / gam[0].parameters for parameters in reach.values()) < 1.02, "hardly more, or fewer"
    assert {label: grid.solved(label, "spatial") for label in (*reach, "gam")} == {
        "gam-kernel_size9": (5, 5),
        "gam-kernel_size11": (5, 5),
        "gam": (0, 5),
    }
    assert stats.fisher_exact([[5, 0], [0, 5]]).pvalue == pytest.approx(1 / 126)
    five = kernels[5][0].parameters
    in_groups = {run.parameters for run in results.load("ablation-groups")}
    assert all(abs(parameters / five - 1) < 0.011 for parameters in in_groups), "to 1%"
