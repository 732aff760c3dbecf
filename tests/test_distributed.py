"""Several processes do what one does: the same gradients, the same learning rates, each test image once."""

import signal
from pathlib import Path

import pytest
import torch
from processes import ended, start_together
from safetensors.torch import load_model
from training_run import RECIPE, STEPS, data, network

from gamlib import results
from gamlib.training import Speed, distributed, evaluate

SCRIPT = Path(__file__).with_name("gradients_run.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each process tells of one step, by number of processes."""
    found = {}
    for world in (1, 2, 3, 4):
        out = tmp_path_factory.mktemp(f"world{world}")
        found[world] = step(world, out)
    return found


def step(world, out, *options):
    """What `world` processes tell of it."""
    for code, _, err in [ended(process) for process in start_together(world, out, *options, script=SCRIPT)]:
        assert code == 0, err
    return [torch.load(out / f"{rank}.pt") for rank in range(world)]


def test_micro_batches_of_two_processes_add_up_to_the_batch(told, tmp_path):
    """15 images each, in parts of 4, 4, 4 and 3: gradients are averaged once, behind the last."""
    (one,) = told[1]
    for process in step(2, tmp_path, 4):
        for key in ("gradients", "moved"):
            for ours, expected in zip(process[key], one[key], strict=True):
                torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(process["sums"], one["sums"], rtol=1e-12, atol=0)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_gradients_updates_and_counts_are_those_of_one_process(world, told):
    (one,) = told[1]
    assert sum(process["images"] for process in told[world]) == one["images"] == 30
    if world == 4:
        assert {process["images"] for process in told[world]} == {7, 8}
    for process in told[world]:
        for key in ("gradients", "moved"):
            for ours, expected in zip(process[key], one[key], strict=True):
                torch.testing.assert_close(ours, expected, rtol=0, atol=1e-12)
        torch.testing.assert_close(process["sums"], one["sums"], rtol=1e-12, atol=0)
    assert max(gradient.abs().max() for gradient in one["gradients"]) > 0.01


@pytest.mark.parametrize("world", [2, 3, 4])
def test_evaluation_counts_every_image_exactly_once(world, told):
    (one,) = told[1]
    for process in told[world]:
        assert process["tested"][0] == 160
        assert process["errors"] == pytest.approx(one["errors"], rel=1e-12)


def test_learning_rates_do_not_depend_on_the_number_of_processes(tmp_path):
    rates = {}
    for world in (1, 2, 4):
        ends = [ended(process) for process in start_together(world, tmp_path / str(world))]
        assert [code for code, *_ in ends] == [0] * world, ends[0][2]
        rates[world] = [told["rates"] for _, told, _ in ends]
        assert rates[world] == rates[world][:1] * world
        assert len({told["fingerprint"] for _, told, _ in ends}) == 1
        assert len({told["weights"] for _, told, _ in ends}) == 1  # each process's own, BatchNorm statistics among them
        # What was tested is what was saved: no process tested with statistics of its own.
        model = network()
        load_model(model, tmp_path / str(world) / "weights.safetensors")
        (run,) = results.read(tmp_path / str(world) / "result.json")
        tested = evaluate(model, data(), Speed(precision="fp32"))
        assert tested["test_loss"] == pytest.approx(run.curves[-1]["test_loss"], rel=1e-5)
    assert rates[1][0] == rates[2][0] == rates[4][0] == [RECIPE.learning_rate(step, 10) for step in range(STEPS)]


def test_a_stop_while_a_save_is_due_between_two_looks(tmp_path):
    """As on a GPU, where the host looks every tenth step. All processes must stop at the same look."""
    command = (tmp_path, "--signal", int(signal.SIGTERM), "--at", 12, "--rank", 1, "--look-every", 10)
    ends = [ended(process) for process in start_together(2, *command)]
    assert {told["stopped"].partition(";")[0] for _, told, _ in ends} == {"Stopped after step 20 of 30"}
    assert [len(told["rates"]) for _, told, _ in ends] == [20, 20]


def test_processes_that_see_other_folders_do_not_train_on(tmp_path):
    """As two machines do whose output folder is not shared: one would go on, and the other begin."""
    (first,) = [ended(process) for process in start_together(1, tmp_path / "0", "--signal", 15, "--at", 12)]
    assert first[0] == 143
    for code, told, err in [ended(process) for process in start_together(2, tmp_path, "--apart")]:
        assert code == 2, err
        assert "holds something else for each process; give a folder that all of them share" in told["error"]
        assert told["rates"] == []


def test_a_clusters_own_variables_are_not_torchruns(monkeypatch):
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    distributed.start()
    assert (distributed.world_size(), distributed.is_main_process()) == (1, True)
