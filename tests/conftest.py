import os
import sys

if "gpu" not in sys.argv:  # as in `pytest -m gpu`
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # tests say the same on every machine
os.environ.setdefault("GAMLIB_PROFILE", "smoke")

import pytest
import torch

from gamlib.attention import registry


@pytest.fixture(autouse=True)
def same_numbers_every_time():
    """A fixed seed, and one thread: a CPU's exact sums change with the number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def names_of_attention_stay_as_they_were(monkeypatch):
    """What one test registers, no other finds."""
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
