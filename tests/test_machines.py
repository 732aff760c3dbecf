"""gamlib under other circumstances than its makers': wrapped networks, Colab, no home folder."""

import pytest
import torch
from torch import nn

from gamlib._modules import unwrapped


@pytest.mark.parametrize(
    "wrap",
    [
        lambda network: network,
        torch.compile,
        nn.DataParallel,
        lambda network: torch.compile(nn.DataParallel(network)),
        lambda network: nn.DataParallel(torch.compile(network)),
    ],
    ids=["bare", "compiled", "parallel", "compiled-parallel", "parallel-compiled"],
)
def test_the_network_inside_its_wrappers(wrap):
    network = nn.Sequential(nn.Conv2d(3, 4, 3))
    assert unwrapped(wrap(network)) is network
