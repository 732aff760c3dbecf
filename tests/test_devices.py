"""What the code does about GPUs, as far as a machine without one can tell: what it makes of PyTorch's answers."""

import dataclasses
import json
import re
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from PIL import Image
from test_training import TINY, probe, tiny_data  # noqa: F401 (a fixture)
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader

from gamlib import _device, cli, doctor, explain, results
from gamlib._device import has_kernels
from gamlib._paths import recorded
from gamlib.course.faithfulness import deletion
from gamlib.data import imagenet
from gamlib.training import Speed, distributed, evaluate, evaluator, fit, forecast, memory, metrics
from gamlib.training.trainer import Trainer

CUDA = torch.device("cuda", 0)


@pytest.fixture
def gpu(monkeypatch):
    """A function that pretends to a GPU."""

    def pretend(capability=(7, 5), arch=("sm_75", "sm_80"), free=14e9, total=15.8e9, count=1, bf16=False):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: list(arch))
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device=None: (int(free), int(total)))
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bf16)

    return pretend


@pytest.mark.parametrize(
    ("capability", "arch", "has"),
    [
        ((7, 5), ("sm_75", "sm_80", "sm_90"), True),
        ((8, 6), ("sm_75", "sm_80", "sm_90"), True),  # an older one of the same generation
        ((7, 0), ("sm_75", "sm_80", "sm_90"), False),  # V100, with a build for CUDA 13
        ((6, 1), ("sm_75", "sm_80"), False),  # GTX 10
        ((9, 0), ("sm_80", "sm_90a"), True),
        ((12, 0), ("sm_90", "compute_90"), True),  # compiled for it when it starts
        ((8, 0), ("sm_90", "compute_90"), False),
    ],
)
def test_a_gpu_that_pytorch_has_no_kernels_for_is_known(capability, arch, has, gpu):
    gpu(capability, arch)
    assert has_kernels(CUDA) is has


def test_doctor_tells_what_the_gpu_is_and_trains_in_what_training_does(gpu):
    gpu(count=2)
    said = str(doctor._device())
    assert said == "OK   device     cuda: Tesla T4; trains in fp16; 14.0 of 15.8 GB free; 2 of them; sm_75"
    assert Speed().resolve(CUDA) == "fp16"
    gpu((8, 9), ("sm_80",), bf16=True)
    assert "trains in bf16" in str(doctor._device())
    gpu((7, 0), bf16=False)
    assert "FIX  device" in (said := str(doctor._device()))
    assert "no kernels for sm_70" in said


@pytest.fixture
def torchrun(monkeypatch, gpu):
    """A function that pretends to one of torchrun's processes on a machine with GPUs; what it asked for."""
    asked = {}

    def pretend(local_rank, gpus):
        gpu(count=gpus)
        told = {"RANK": local_rank, "LOCAL_RANK": local_rank, "WORLD_SIZE": 4, "MASTER_PORT": 1, "MASTER_ADDR": "here"}
        for name, value in told.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(torch.cuda, "set_device", lambda device: asked.update(set=device))
        monkeypatch.setattr(dist, "init_process_group", lambda *args, **named: asked.update(named, backend=args))
        return asked

    return pretend


def test_nccl_is_told_its_device(torchrun):
    asked = torchrun(local_rank=3, gpus=4)
    distributed.start()
    assert asked["backend"] == ("nccl",)
    assert asked["device_id"] == asked["set"] == torch.device("cuda", 3)


def test_a_process_without_a_gpu_of_its_own_is_refused(torchrun):
    asked = torchrun(local_rank=1, gpus=1)
    with pytest.raises(ValueError, match="process 1 of this machine has no GPU: it has 1; --nproc-per-node 1"):
        distributed.start()
    assert asked == {}


def test_a_forecast_goes_through_epochs_until_it_is_warm(tiny_data, monkeypatch):  # noqa: F811
    steps, plain = [], Trainer.take_step
    monkeypatch.setattr(Trainer, "take_step", lambda self, *rest: (steps.append(self.step), plain(self, *rest))[1])
    monkeypatch.setitem(forecast.PROBED, "cpu", (5, 20))
    recipe = dataclasses.replace(TINY, batch_size=len(tiny_data.train_labels) // 2)
    forecast.forecast(probe(), tiny_data, recipe, Speed(precision="fp32"))
    assert len(steps) == 25
    assert max(steps) < recipe.epochs * 2  # learning rates are those of the run


def write_photographs(root: Path) -> None:
    """Two classes of four each, in train/ and val/."""
    for split in ("train", "val"):
        for name in "ab":
            (root / split / name).mkdir(parents=True)
            for i in range(4):
                Image.new("RGB", (40, 40)).save(root / split / name / f"{i}.jpg")


@pytest.mark.parametrize("rank", ["0", "1"])
def test_broken_photographs_of_all_processes_are_named(rank, tmp_path, monkeypatch, capsys):
    """All but the first have no standard output."""
    write_photographs(tmp_path)
    (tmp_path / "train" / "a" / "0.jpg").write_bytes(b"")
    monkeypatch.setenv("RANK", rank)
    data = dataclasses.replace(imagenet.dataset(tmp_path), bad_images="skip", workers=0)
    list(data.train_batches([torch.arange(8)], 0, 0))
    told = capsys.readouterr()
    assert "left out: " in (told.out if rank == "0" else told.err)


def test_a_graph_wants_a_gpu_and_a_fused_update(tiny_data):  # noqa: F811
    with pytest.raises(ValueError, match="graph=True needs one NVIDIA GPU and no torchrun; got cpu"):
        fit(probe(), tiny_data, TINY, speed=Speed(graph=True))
    for other in ({"compile": True}, {"fused": False}):
        with pytest.raises(ValueError, match="graph=True needs fused=True and compile=False"):
            Speed(graph=True, **other)


def test_a_graph_is_recorded_and_read(tiny_data, tmp_path):  # noqa: F811
    result = fit(probe(), tiny_data, TINY)
    assert "graph" not in result.switches
    switched = dataclasses.replace(result, switches=result.switches | {"graph": True})
    results.save([switched], tmp_path / "result.json")
    assert results.read(tmp_path / "result.json") == [switched]
    content = json.loads((tmp_path / "result.json").read_text())
    content["runs"][0]["switches"]["graph"] = "yes"
    (tmp_path / "result.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="graph"):
        results.read(tmp_path / "result.json")


def test_pictures_are_brought_to_where_the_network_is():
    """On the meta device, where nothing can be mixed with the CPU's."""
    model = probe().to("meta").eval()
    x = torch.randn(2, 3, 32, 32)
    assert {gate.device.type for gate in explain.capture_gates(model, x, ["layer1"]).values()} == {"meta"}
    # These come as far as reading a number, of which the meta device has none. Pictures on the CPU end them before.
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
        explain.grad_cam(model, x, layer="layer1")
    with pytest.raises(RuntimeError, match=r"item\(\) cannot be called on meta"):
        deletion(model, x, torch.rand(2, 32, 32), torch.tensor([0, 1]), steps=2)


@pytest.mark.parametrize("name", ["cuda", "mps", "xpu"])
def test_a_device_that_is_not_here_is_refused_at_once(name, tiny_data, monkeypatch, capsys, tmp_path):  # noqa: F811
    with pytest.raises(ValueError, match=f"device '{name}' is not here, .*; here: cpu"):
        fit(probe(), tiny_data, TINY, speed=Speed(device=name))
    monkeypatch.setattr("gamlib.data.load", lambda *_, **__: pytest.fail("before data is read"))
    out = tmp_path / "out"
    trained = recorded("zoo") / "puzzles-joint-probe-gam.safetensors"
    for command in (["train", "--out", str(out)], ["compare", "--out", str(out)], ["evaluate", str(trained)]):
        assert cli.run([*command, "--device", name]) == 2
        assert f"device '{name}' is not here" in capsys.readouterr().err
    assert not out.exists()
    monkeypatch.setitem(_device.DEVICES, name, lambda: True)
    assert _device.device_of(name).type == name


def test_devices_are_known_by_name(gpu, monkeypatch):
    with pytest.raises(ValueError, match=r"unknown device 'gpu'; allowed, .*auto"):
        Speed(device="gpu")
    assert _device.device_of("auto").type == "cpu"
    gpu()
    assert _device.device_of("auto").type == "cuda"
    assert _device.device_of("cpu").type == "cpu"
    for name, has in (("cpu", True), ("cuda", True), ("mps", False), ("xpu", False)):
        assert (_device.counting_dtype(torch.device(name)) == torch.float64) is has
    for name in ("mps", "xpu"):
        assert Speed().resolve(torch.device(name)) == "fp32"
        assert _device.device_name(torch.device(name)).startswith(f"{name} of ")


def test_processes_on_the_cpu_of_a_machine_with_gpus_and_none_on_apples(torchrun):
    asked = torchrun(local_rank=1, gpus=1)
    distributed.start("cpu")
    assert asked["backend"] == ("gloo",)
    assert asked["device_id"] is None
    with pytest.raises(ValueError, match="several processes need the device 'cuda' or 'cpu', got 'mps'"):
        distributed.start("mps")


class NoFloat64(TorchDispatchMode):
    """As on Apple's GPU: whatever would be float64 is an error."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = function(*args, **(kwargs or {}))
        for value in found if isinstance(found, tuple | list) else [found]:
            if isinstance(value, torch.Tensor) and value.dtype == torch.float64:
                raise TypeError(f"{function} makes float64")
        return found


def test_training_needs_no_float64_where_there_is_none(tiny_data, monkeypatch):  # noqa: F811
    with_it = fit(probe(), tiny_data, TINY, speed=Speed(fused=False))
    with pytest.raises(TypeError, match="makes float64"), NoFloat64():
        fit(probe(), tiny_data, TINY, speed=Speed(fused=False))
    for module in (evaluator, metrics):
        monkeypatch.setattr(module, "counting_dtype", lambda device: torch.float32)
    with NoFloat64():
        without = fit(probe(), tiny_data, TINY, speed=Speed(fused=False))
    for key in ("train_loss", "test_loss", "train_top1_error", "test_top1_error"):
        assert without.curves[-1][key] == pytest.approx(with_it.curves[-1][key], rel=1e-6)


def test_throughput_is_recorded_and_said(tiny_data, tmp_path, capsys):  # noqa: F811
    result = fit(probe(), tiny_data, TINY, out=tmp_path)
    for entry in result.curves:
        assert entry["images_per_second"] > tiny_data.train_count / entry["seconds"] > 0  # a test's time is none of it
        assert "memory" not in entry
    assert results.read(tmp_path / "result.json") == [result]


def test_without_the_fused_kernel_pytorch_chooses(tiny_data):  # noqa: F811
    """With fused=False it would take a loop over the parameters, on a GPU, too."""
    for fused, told in ((True, True), (False, None)):
        optimizer = Trainer(probe(), tiny_data, TINY, 0, Speed(fused=fused)).optimizer
        assert (optimizer.defaults["fused"], optimizer.defaults["foreach"]) == (told, None)


def test_training_says_its_throughput(tmp_path, capsys):
    command = ["train", "--recipe", "smoke", "--out", str(tmp_path / "run"), "--batch-size", "1000"]
    assert cli.run(command) == 0
    assert re.search(r"^speed     [\d,]+ training images per second in the last epoch$", capsys.readouterr().out, re.M)


@pytest.mark.parametrize(("platform", "context"), [("linux", "fork"), ("darwin", None), ("win32", None)])
def test_workers_are_forked_where_that_is_safe(platform, context, tmp_path, monkeypatch):
    """Python 3.14 would start them by a server on Linux, too, and each would import PyTorch, in every epoch."""
    asked = {}

    def loader(*_, **named):
        asked.update(named)
        return DataLoader(*_, **named | {"num_workers": 0, "multiprocessing_context": None, "prefetch_factor": None})

    monkeypatch.setattr(imagenet, "DataLoader", loader)
    monkeypatch.setattr(imagenet.sys, "platform", platform)
    write_photographs(tmp_path)
    data = dataclasses.replace(imagenet.dataset(tmp_path), workers=2)
    assert [len(labels) for _, labels in data.train_batches([torch.arange(4)], 0, 0)] == [4]
    assert asked["multiprocessing_context"] == context
    assert asked["num_workers"] == 2


def test_the_processes_are_told_the_device(tiny_data, tmp_path, monkeypatch):  # noqa: F811
    """Else, on a machine with GPUs, they would talk by NCCL of what is on the CPU."""
    told = []
    monkeypatch.setattr(distributed, "start", lambda device="auto": told.append(device))
    fit(probe(), tiny_data, TINY, speed=Speed(device="cpu"))
    evaluate(probe(), tiny_data, Speed(device="cpu"))
    assert told == ["cpu", "cpu"]
    command = ["train", "--device", "cpu", "--recipe", "smoke", "--batch-size", "1000", "--out", str(tmp_path)]
    assert cli.run(command) == 0
    assert set(told) == {"cpu"}


def test_the_fused_update_is_for_devices_on_which_it_was_tried(tiny_data, monkeypatch):  # noqa: F811
    monkeypatch.setattr(evaluator, "device_of", lambda name: torch.device("meta"))
    monkeypatch.setattr(type(tiny_data), "to", lambda self, device: self)
    assert not Trainer(probe(), tiny_data, TINY, 0, Speed(precision="fp32")).speed.fused


def test_all_devices_are_known_wherever_it_matters():
    assert _device.DEVICES.keys() == evaluator.LOOK_EVERY.keys() == forecast.PROBED.keys()


def test_memory_is_no_matter_where_the_gpu_is_left_alone(gpu, monkeypatch):
    gpu(free=1e6)
    network = probe()
    alone, used = (memory.advice(network, (3, 32, 32), 500, "fp32", torch.device(name)) for name in ("cpu", "cuda"))
    assert "free" not in alone
    assert "this GPU has 0.0 GB free" in used


@pytest.mark.parametrize("field", ["images_per_second", "memory", "waited", "seconds"])
def test_what_is_measured_is_never_below_zero(field, tiny_data, tmp_path):  # noqa: F811
    result = fit(probe(), tiny_data, TINY)
    path = tmp_path / "result.json"
    for value in (7, -5):
        curves = [entry | {field: value} for entry in result.curves]
        results.save([dataclasses.replace(result, curves=curves)], path)
        if value > 0:
            assert results.read(path)[0].curves[0][field] == 7
        else:
            with pytest.raises(ValueError, match=f"{field} must be 0 or more, got -5"):
                results.read(path)


def test_a_run_that_was_finished_long_ago_tells_no_throughput(tmp_path, capsys):
    command = ["train", "--recipe", "smoke", "--out", str(tmp_path / "run"), "--batch-size", "1000"]
    assert cli.run(command) == 0
    (result,) = results.read(tmp_path / "run" / "result.json")
    for entry in result.curves:
        del entry["images_per_second"]
    results.save([result], tmp_path / "run" / "result.json")
    capsys.readouterr()
    assert cli.run(command) == 0
    assert "speed " not in capsys.readouterr().out
