"""What only a GPU can show: `pytest -m gpu`, some minutes on one. Elsewhere all tests here are skipped, and say so."""

import dataclasses
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from gamlib import SE, cli, create_model, explain, list_attention
from gamlib.course import check
from gamlib.data import Dataset, puzzles
from gamlib.training import Recipe, Speed, Stopped, evaluate, fit
from gamlib.training.folder import RunFolder
from gamlib.training.forecast import forecast
from gamlib.training.interrupt import Interrupt
from gamlib.training.trainer import Trainer

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, and to be asked for: pytest -m gpu"),
]
TINY = Recipe("tiny", epochs=2, lr=0.1, schedule="one-cycle", batch_size=64)
NOTEBOOKS = Path(__file__).resolve().parents[1] / "notebooks"


@pytest.fixture(scope="module")
def data() -> Dataset:
    """25 batches of 64, and one of 10."""
    return dataclasses.replace(puzzles.dataset("joint").first(1610), augment=True)


def network(attention: str, name: str = "resnet20"):
    torch.manual_seed(0)
    options = {"reduction": 4} if attention in ("se", "bam", "cbam", "gam") else {}
    return create_model(name, attention, options, num_classes=10, stem="cifar")


def losses(trainer: Trainer, steps: int, strict: bool = False) -> list[float]:
    """Of the first steps. Strict: from the sixth on, a step that waits for the GPU is an error."""
    found = []
    batches = torch.arange(trainer.data.train_count).split(trainer.recipe.batch_size)[:steps]
    trainer.wrapped.train()
    for number, (images, labels) in enumerate(trainer.data.train_batches(batches, 0, 0)):
        before = trainer.sums.tolist()
        torch.cuda.set_sync_debug_mode("error" if strict and number >= 5 else "default")
        trainer.take_step(images, labels, Interrupt())
        torch.cuda.set_sync_debug_mode("default")
        trainer.batch += 1
        after = trainer.sums.tolist()
        found.append((after[1] - before[1]) / (after[0] - before[0]))
    trainer.look()
    return found


@pytest.fixture(scope="module")
def on_the_cpu(data) -> list[float]:
    """The same steps, without a GPU."""
    return losses(Trainer(network("gam"), data, TINY, 0, Speed(precision="fp32", device="cpu")), 4)


SWITCHES = {
    "as it is": {},
    "contiguous": {"channels_last": False},
    "not fused": {"fused": False},
    "graph": {"graph": True},
    "compiled": {"compile": True},
}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("switches", SWITCHES)
def test_the_first_losses_are_the_cpus(precision, switches, data, on_the_cpu):
    speed = Speed(precision=precision, **SWITCHES[switches])
    with warnings.catch_warnings():
        if switches == "compiled":
            warnings.simplefilter("ignore")  # torch.compile's own, of its speed
        found = losses(Trainer(network("gam"), data, TINY, 0, speed), 4)
    # TF32 and the half precisions round to 11 and 8 bits; from step to step it adds up.
    assert found == pytest.approx(on_the_cpu, rel=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("graph", [False, True])
def test_no_step_waits_for_the_gpu(precision, graph, data):
    losses(Trainer(network("gam"), data, TINY, 0, Speed(precision=precision, graph=graph)), 9, strict=True)


@pytest.mark.parametrize("attention", ["none", "abn", *list_attention()])
def test_a_graph_trains_as_steps_do(attention, data):
    """Through the whole of two epochs, with their last batches of 10, and the tests after them."""
    results = [
        fit(network(attention), data, TINY, speed=Speed(precision="bf16", graph=graph)) for graph in (False, True)
    ]
    eager, graph = ([entry["train_loss"] for entry in result.curves] for result in results)
    assert graph == pytest.approx(eager, rel=3e-2)
    assert [result.switches.get("graph") for result in results] == [None, True]


def test_a_graph_leaves_out_an_update_that_is_not_finite(data):
    trainer = Trainer(network("gam"), data, TINY, 0, Speed(precision="bf16", graph=True))
    losses(trainer, 6)
    before = [p.detach().clone() for p in trainer.parameters]
    trainer.bad.fill_(True)
    images, labels = next(iter(trainer.data.train_batches([torch.arange(64)], 0, 0)))
    trainer.take_step(images, labels, Interrupt())
    assert all(torch.equal(p, was) for p, was in zip(trainer.parameters, before, strict=True))


def test_micro_batches_need_less_memory(data):
    big = dataclasses.replace(TINY, batch_size=512)
    whole, parts = (
        forecast(network("gam"), data, recipe, Speed(precision="bf16")).memory
        for recipe in (big, dataclasses.replace(big, micro_batch=64))
    )
    assert parts < whole / 2


class Stopping(Dataset):
    """Asks its own process to stop, in the second epoch."""

    def train_batches(self, batches, seed, epoch):
        for number, batch in enumerate(super().train_batches(batches, seed, epoch)):
            if (epoch, number, len(batches)) == (1, 7, 26):
                os.kill(os.getpid(), signal.SIGTERM)
            yield batch


def test_a_run_goes_on_on_the_cpu_and_back(data, tmp_path):
    recipe, speed = dataclasses.replace(TINY, epochs=3), Speed(precision="fp32")
    whole = fit(network("gam"), data, recipe, speed=speed)
    stopping = Stopping(**{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
    with pytest.raises(Stopped):
        fit(network("gam"), stopping, recipe, out=tmp_path, speed=speed)
    trainer = Trainer(network("gam"), data, recipe, 0, dataclasses.replace(speed, device="cpu"))
    with RunFolder(tmp_path, 300.0, False) as folder:
        trainer.load_state(folder.load(trainer.state()))
        for _ in zip(trainer.train_epoch(Interrupt()), range(3), strict=False):
            pass
        trainer.look()
        folder.save(trainer.state())
    result = fit(network("gam"), data, recipe, out=tmp_path, speed=speed)
    assert result.device.count(", then ") == 2
    assert all(0 < entry["memory"] < 80e9 for entry in whole.curves)
    assert result.curves[-1]["train_loss"] == pytest.approx(whole.curves[-1]["train_loss"], rel=0.1)


def test_cpu_and_gpu_score_alike(data):
    model = network("gam").eval()
    there, here = (evaluate(model, data, Speed(precision="fp32", device=name)) for name in ("cuda", "cpu"))
    assert there["test_loss"] == pytest.approx(here["test_loss"], rel=1e-3)


def test_pictures_on_the_cpu_will_do_for_a_network_on_the_gpu(data):
    model, x = network("gam").cuda().eval(), torch.randn(2, 3, 32, 32)
    assert explain.grad_cam(model, x, torch.tensor([0, 1])).shape == (2, 32, 32)
    gates = {name: gate.cpu() for name, gate in explain.capture_gates(model, x).items()}
    with explain.replace_gates(model, gates):
        assert explain.capture_gates(model, x).keys() == gates.keys()


def test_check_takes_a_module_on_the_gpu(capsys):
    check("se.module", SE(32).cuda())
    assert "right" in capsys.readouterr().out


def torchrun(processes: int, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", "gamlib", "train", "--data", "puzzles-joint", "--model", "resnet20", "--epochs", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=240)


def test_one_process_with_nccl(tmp_path):
    ran = torchrun(1, "--attention", "abn", "--out", str(tmp_path))
    assert ran.returncode == 0, ran.stderr
    assert "Guessing device" not in ran.stderr
    assert (tmp_path / "result.json").is_file()


def test_more_processes_than_gpus_are_refused(tmp_path):
    there = torch.cuda.device_count()
    ran = torchrun(there + 1, "--out", str(tmp_path))
    assert ran.returncode != 0
    assert f"has no GPU: it has {there}" in ran.stderr
    assert "gamlib/cli" not in ran.stderr  # no traceback but torchrun's own


def test_out_of_memory_is_a_sentence(capsys):
    def work() -> int:
        torch.empty(10**14, device="cuda")
        return 0

    assert cli.exit_code("gamlib train", work) == 2
    assert "out of memory" in (said := capsys.readouterr().err)
    assert "--micro-batch" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize("number", ["00", "10", "13"])
def test_a_notebook_runs_in_the_profile_of_a_gpu(number, tmp_path):
    pytest.importorskip("nbclient", reason="notebooks need what `pip install gamlib[course]` brings")
    (path,) = NOTEBOOKS.glob(f"{number}_*.ipynb")
    copy = tmp_path / path.name
    copy.write_bytes(path.read_bytes())
    run = Path(__file__).with_name("run_notebooks.py")
    ran = subprocess.run(
        [sys.executable, str(run), str(copy)],
        capture_output=True,
        text=True,
        timeout=500,
        env=os.environ | {"GAMLIB_PROFILE": "gpu", "PYTHONPATH": os.pathsep.join(map(str, sys.path))},
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
