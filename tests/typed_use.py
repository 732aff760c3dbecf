"""What a reader's own code does with gamlib, for mypy, which CI runs over it: the public names must have types."""

from functools import partial
from pathlib import Path

import torch
import torchvision  # type: ignore[import-untyped]
from torch import Tensor, nn

import gamlib
from gamlib import (
    BAM,
    CBAM,
    GAM,
    SE,
    TripletAttention,
    create_attention,
    create_model,
    data,
    explain,
    insert_attention,
    list_attention,
    list_models,
    register_attention,
    results,
)
from gamlib.compare import compare
from gamlib.cost import count_macs, count_parameters
from gamlib.course import check, profile, show, start
from gamlib.data import Data, Dataset, cifar100, puzzles
from gamlib.paper import TABLES, reproduce
from gamlib.results import Result
from gamlib.training import Recipe, Speed, evaluate, fit, recipes


class Mine(nn.Module):
    """A reader's own mechanism."""

    def __init__(self, channels: int, *, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


modules: list[nn.Module] = [SE(16), BAM(16), CBAM(16), TripletAttention(16), GAM(16, groups=2, reduction=4)]
module: nn.Module = create_attention("gam", 256, groups=4)
register_attention("mine", Mine)
names: list[str] = list_attention() + list_models() + [gamlib.__version__]
model: nn.Module = create_model("resnet50", attention="gam", attention_options={"groups": 4}, stem="cifar", width=48)
own: nn.Module = create_model("probe", partial(GAM, reduction=8), num_classes=10)
theirs: nn.Module = insert_attention(torchvision.models.resnet18(), "cbam", where="block", gentle=True)
parameters: int = count_parameters(model)
macs: int = count_macs(model, (3, 224, 224), convention="paper")
images, labels = puzzles.make("joint", "train", 0)
pair: tuple[Tensor, Tensor] = cifar100.load("test", root=Path("data"))
puzzle: Dataset = puzzles.dataset("joint")
loaded: Data = data.load("cifar100", download=True)
recipe: Recipe = recipes.get("smoke")
result: Result = fit(own, puzzle, recipe, seed=0, out="runs/x", resume="auto", speed=Speed(compile=True))
error: float = result.top1_error
tested: dict[str, float] = evaluate(own, loaded)
runs: list[Result] = compare([puzzle], "probe", ["none", "gam"], [0, 1], recipe, Path("runs/y"))
table: str = results.table(runs) + results.differences(runs, "none")
gates: dict[str, Tensor] = explain.capture_gates(own, torch.randn(2, 3, 32, 32))
heat: Tensor = explain.grad_cam(own, torch.randn(2, 3, 32, 32))
counts: list[int] = [row.parameters for row in reproduce()]
first_error: float = TABLES[0].top1_error
epochs: int = profile().recipe.epochs
start()
check("se.gate", lambda x: x)
show_figure = show
