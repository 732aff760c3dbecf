"""The four tables of the GAM paper (data/paper.csv), each row able to build its network, and their recomputation.

Liu, Shao, Hoffmann: "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions", 2021,
arXiv:2112.05561. Errors are the paper's own, in percent, from one run each.
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_type_hints

import torch
from torch import nn

from gamlib._paths import recorded
from gamlib.cost import count_macs, count_parameters
from gamlib.models import create_model

# dataset: (classes, input shape, stem)
DATASETS = {"cifar100": (100, (3, 32, 32), "cifar"), "imagenet": (1000, (3, 224, 224), "imagenet")}

# The paper's names for variants: (mechanism, options, stem where it is not the dataset's)
VARIANTS = {
    "gam_gc": ("gam", {"groups": 4}, None),
    "gam_sp": ("gam", {"channel": False}, None),
    "gam_ch": ("gam", {"spatial": False}, None),
    "cbam_wmp": ("cbam", {}, "wmp"),
    "gam_wmp": ("gam", {}, "wmp"),
}


@dataclass(frozen=True)
class Row:
    """One row of a table, as printed."""

    table: int  # 1 to 4
    dataset: str  # "cifar100" or "imagenet"
    architecture: str  # a name of list_models()
    attention: str  # "none", a mechanism, or a variant: gc, sp, ch, wmp
    params_m: float  # parameters, in millions
    gflops: float  # "FLOPs" in units of 10^9; they are multiply-accumulates, see cost.count_macs
    top1_error: float  # %
    top5_error: float  # %

    def build(self) -> nn.Module:
        """The row's network, untrained. Under `with torch.device("meta")` it takes no memory."""
        mechanism, options, stem = VARIANTS.get(self.attention, (self.attention, {}, None))
        num_classes, _, dataset_stem = DATASETS[self.dataset]
        return create_model(self.architecture, mechanism, options, num_classes, stem or dataset_stem)


def _rows() -> Iterator[Row]:
    kinds = get_type_hints(Row)
    with open(recorded("paper.csv"), encoding="utf-8", newline="") as file:
        for cells in csv.DictReader(file):
            yield Row(**{field: kinds[field](cell) for field, cell in cells.items()})


TABLES = list(_rows())  # all 34, as printed

# Cells where the paper disagrees with the network that it names, or with itself: (table, architecture, attention,
# column) -> why.
DISAGREEMENTS = {
    (2, "mobilenet_v2", "none", "params_m"): "torchvision's MobileNetV2 has 3,504,872 parameters, 3.50 M rounded",
    (2, "mobilenet_v2", "se", "gflops"): "0.3147 G rounds to 0.31; the SE modules add too little for 0.32",
    (2, "resnet18", "gam", "gflops"): "Table 4 prints 2.46 for this same network, and 2.46 it is",
    (3, "resnet18", "gam", "gflops"): "Table 4 prints 2.46 for this same network, and 2.46 it is",
}


@dataclass(frozen=True)
class Recomputed:
    """A row beside what its network really has."""

    row: Row
    parameters: int
    macs: int  # in the paper's convention

    @property
    def params_met(self) -> bool:
        """Whether the paper's parameter count is met to the printed digit."""
        return _met(self.parameters / 1e6, self.row.params_m)

    @property
    def gflops_met(self) -> bool:
        """Whether the paper's FLOPs figure is met to the printed digit."""
        return _met(self.macs / 1e9, self.row.gflops)

    @property
    def disagreements(self) -> dict[str, str]:
        """For a cell of the row that the paper has wrong, why: {"params_m" or "gflops": reason}."""
        key = (self.row.table, self.row.architecture, self.row.attention)
        return {column: why for (*cell, column), why in DISAGREEMENTS.items() if tuple(cell) == key}


def reproduce() -> Iterator[Recomputed]:
    """Build every row's network on the meta device, and count it. Yields the 34 rows in order, as they are done."""
    counted: dict[tuple[str, str, str], tuple[int, int]] = {}
    for row in TABLES:
        network = (row.dataset, row.architecture, row.attention)
        if network not in counted:
            with torch.device("meta"):
                model = row.build()
            macs = count_macs(model, DATASETS[row.dataset][1], convention="paper")
            counted[network] = count_parameters(model), macs
        yield Recomputed(row, *counted[network])


def _met(value: float, printed: float) -> bool:
    # repr gives back the digits that the paper prints: 1.3 has one decimal, 8.02 two.
    decimals = len(repr(printed).partition(".")[2])
    return f"{value:.{decimals}f}" == f"{printed:.{decimals}f}"
