"""The four tables of the GAM paper as data, each row able to build its network, and their recomputation.

Liu, Shao, Hoffmann: "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions", 2021,
arXiv:2112.05561. Errors are the paper's own, in percent, from one run each.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

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


TABLES = [
    Row(1, "cifar100", "resnet50", "none", 23.71, 1.3, 22.74, 6.37),
    Row(1, "cifar100", "resnet50", "se", 26.22, 1.31, 20.29, 5.18),
    Row(1, "cifar100", "resnet50", "bam", 24.06, 1.33, 19.97, 5.03),
    Row(1, "cifar100", "resnet50", "cbam", 26.24, 1.31, 19.44, 4.66),
    Row(1, "cifar100", "resnet50", "gam", 149.47, 8.02, 18.67, 4.54),
    Row(1, "cifar100", "resnet50", "gam_gc", 57.05, 3.08, 18.99, 4.87),
    Row(2, "imagenet", "resnet18", "none", 11.69, 1.82, 30.91, 11.12),
    Row(2, "imagenet", "resnet18", "se", 11.78, 1.82, 30.07, 10.59),
    Row(2, "imagenet", "resnet18", "bam", 11.71, 1.82, 30.18, 10.77),
    Row(2, "imagenet", "resnet18", "cbam", 11.78, 1.82, 29.89, 10.53),
    Row(2, "imagenet", "resnet18", "tam", 11.69, 1.83, 30.0, 10.64),
    Row(2, "imagenet", "resnet18", "abn", 21.61, 3.76, 29.4, 10.34),
    Row(2, "imagenet", "resnet18", "gam", 16.04, 2.45, 29.34, 10.23),
    Row(2, "imagenet", "resnet50", "none", 25.56, 4.11, 24.81, 7.69),
    Row(2, "imagenet", "resnet50", "se", 28.07, 4.12, 23.56, 6.82),
    Row(2, "imagenet", "resnet50", "bam", 25.92, 4.19, 24.0, 7.01),
    Row(2, "imagenet", "resnet50", "cbam", 28.09, 4.12, 23.1, 6.57),
    Row(2, "imagenet", "resnet50", "tam", 25.56, 4.16, 23.29, 6.7),
    Row(2, "imagenet", "resnet50", "abn", 43.58, 7.64, 23.43, 6.92),
    Row(2, "imagenet", "resnet50", "gam", 151.32, 24.66, 22.78, 6.43),
    Row(2, "imagenet", "resnet50", "gam_gc", 58.9, 9.56, 23.01, 6.52),
    Row(2, "imagenet", "mobilenet_v2", "none", 3.51, 0.31, 30.52, 11.20),
    Row(2, "imagenet", "mobilenet_v2", "se", 3.53, 0.32, 29.77, 10.65),
    Row(2, "imagenet", "mobilenet_v2", "bam", 3.54, 0.32, 29.91, 10.80),
    Row(2, "imagenet", "mobilenet_v2", "cbam", 3.54, 0.32, 29.74, 10.66),
    Row(2, "imagenet", "mobilenet_v2", "gam", 4.93, 0.47, 29.31, 10.43),
    Row(3, "imagenet", "resnet18", "none", 11.69, 1.82, 30.91, 11.12),
    Row(3, "imagenet", "resnet18", "gam_sp", 15.95, 2.45, 29.61, 10.41),
    Row(3, "imagenet", "resnet18", "gam_ch", 11.78, 1.83, 30.25, 10.97),
    Row(3, "imagenet", "resnet18", "gam", 16.04, 2.45, 29.34, 10.23),
    Row(4, "imagenet", "resnet18", "cbam", 11.78, 1.82, 29.89, 10.53),
    Row(4, "imagenet", "resnet18", "gam", 16.04, 2.46, 29.34, 10.23),
    Row(4, "imagenet", "resnet18", "cbam_wmp", 11.78, 1.83, 29.44, 10.24),
    Row(4, "imagenet", "resnet18", "gam_wmp", 16.05, 2.47, 28.57, 9.83),
]

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
