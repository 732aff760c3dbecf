"""The training cell of notebook 09 in a real kernel: interrupted, and run again, it goes on from where it was."""

import json
import os
import re
import time
from pathlib import Path

import pytest
from jupyter_client.manager import start_new_kernel

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "09_train_cifar100.ipynb"


class Kernel:
    """A kernel, and what its cells have printed."""

    def __init__(self, env: dict[str, str]) -> None:
        self.manager, self.client = start_new_kernel(kernel_name="python3", env=env)

    def run(self, code: str, interrupt_at: int | None = None) -> str:
        """Run a cell; at that step of its progress bar, interrupt it. Returns what it printed."""
        request, printed, interrupted = self.client.execute(code), "", False
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=240)
            if message["parent_header"].get("msg_id") != request:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind == "stream":
                printed += content["text"]
            elif kind == "error":
                printed += "\n".join(content["traceback"])
            elif kind == "status" and content["execution_state"] == "idle":
                return printed
            steps = [int(step) for step in re.findall(r"(\d+)/\d+ \[", printed)]
            if interrupt_at is not None and not interrupted and steps and steps[-1] >= interrupt_at:
                self.manager.interrupt_kernel()
                interrupted = True
        raise TimeoutError(printed[-2000:])


@pytest.fixture
def kernel(tmp_path):
    # The profile that trains long enough to be interrupted; a data root without CIFAR-100, and no way to get it.
    env = os.environ | {"GAMLIB_PROFILE": "laptop", "GAMLIB_DATA": str(tmp_path)}
    env |= dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    kernel = Kernel(env | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "2"})
    yield kernel
    kernel.client.stop_channels()
    kernel.manager.shutdown_kernel(now=True)


def test_an_interrupted_training_cell_goes_on(kernel, tmp_path):
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (training,) = [source for source in sources if "out=folder" in source]
    needed = [source for source in sources[: sources.index(training)] if "profile()" in source or "def build" in source]
    kernel.run("import torch\n" + needed[0])
    kernel.run(needed[1].partition("\n\nfor attention in")[0])
    first = kernel.run(training, interrupt_at=3)
    stopped = re.search(r"Stopped after step (\d+) of ([\d,]+); saved in (\S+);", first)
    assert stopped, first
    assert "Traceback" not in first
    assert stopped.group(3).startswith(str(tmp_path))
    second = kernel.run(training, interrupt_at=int(stopped.group(1)) + 2)
    begun = re.search(r"(\d+)/\d+ \[", second)
    assert begun.group(1) == stopped.group(1), "the bar does not begin where the first one stopped"
    again = re.search(r"Stopped after step (\d+) of ([\d,]+);", second)
    assert again, second
    assert int(again.group(1)) >= int(stopped.group(1)) + 2
    assert again.group(2) == stopped.group(2)
