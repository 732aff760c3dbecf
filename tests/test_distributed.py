"""Several processes do what one does: the same gradients, the same learning rates, each test image once."""

from pathlib import Path

import pytest
import torch
from processes import ended, start_together
from training_run import RECIPE, STEPS

SCRIPT = Path(__file__).with_name("gradients_run.py")


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """What each process tells of one step, by number of processes."""
    found = {}
    for world in (1, 2, 3, 4):
        out = tmp_path_factory.mktemp(f"world{world}")
        for code, _, err in [ended(process) for process in start_together(world, out, script=SCRIPT)]:
            assert code == 0, err
        found[world] = [torch.load(out / f"{rank}.pt") for rank in range(world)]
    return found


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
    assert rates[1][0] == rates[2][0] == rates[4][0] == [RECIPE.learning_rate(step, 10) for step in range(STEPS)]
