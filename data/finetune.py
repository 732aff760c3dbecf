"""Fine-tunes a trained network with attention put into it, and records the runs: finetuning.json, beside this file.

    python data/finetune.py --seeds 0 1 2

On CIFAR-100 the start is the zoo's plain ResNet-20; on the puzzle `joint` it is the plain probe, which can't solve it.
Every arm sees the same pictures in the same order. A run that was cut goes on from its checkpoint in runs/finetuning/;
what is recorded is not run again. Notebook 13 shows it.
"""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import torch
from torch import nn

from gamlib import create_model, data, explain, insert_attention, results
from gamlib._files import write
from gamlib.cli.options import usable
from gamlib.course import finetuning
from gamlib.training import Recipe, Speed, evaluate, fit, recipes

FOLDER = Path(__file__).resolve().parent
RECORD = FOLDER / "finetuning.json"
RECIPE = Recipe("fine-tuning", epochs=3, lr=0.05, schedule="one-cycle")
SPEED = Speed(precision="bf16", compile=True)
PUZZLE_RECIPE = dataclasses.replace(recipes.get("puzzles"), epochs=5, lr=0.1)
EXACT = Speed(precision="fp32")
# An arm: data, mechanism, gently or at once, and whether the trained network is frozen.
ARMS = {
    "plain": ("cifar100", None, False, False),
    "GAM gently": ("cifar100", "gam", True, False),
    "GAM at once": ("cifar100", "gam", False, False),
    "GAM gently, frozen": ("cifar100", "gam", True, True),
    "SE gently": ("cifar100", "se", True, False),
    "TAM at once, puzzle": ("puzzles-joint", "tam", False, False),
    "TAM gently, puzzle": ("puzzles-joint", "tam", True, False),
}


def network(name: str, attention: str | None, gently: bool, frozen: bool) -> nn.Module:
    """The trained network with new attention in each of its blocks."""
    plain = ("resnet20", 100, "cifar100") if name == "cifar100" else ("probe", 10, name)
    model = create_model(plain[0], num_classes=plain[1], weights=plain[2])
    model.requires_grad_(not frozen)
    if attention is not None:
        options = {} if attention == "tam" else {"reduction": 4}
        insert_attention(model, attention, gentle=gently, **options)
    return model


def with_fixed_gates(model: nn.Module, dataset: data.Dataset) -> float:
    """Top-1 test error, %, with each gate replaced by its mean over 500 pictures: all pictures get the same gates."""
    means = {name: lambda gate: gate.mean(0, keepdim=True) for name in explain.list_gates(model)}
    with explain.replace_gates(model, means):
        return evaluate(model, dataset, EXACT)["test_top1_error"]


def carry_out(arm: str, seed: int, dataset: data.Dataset) -> dict[str, object]:
    """One run, as it is recorded."""
    torch.manual_seed(seed)
    model = network(*ARMS[arm])
    before = evaluate(model, dataset, EXACT)["test_top1_error"]
    print(f"{arm}, seed {seed}: {before:.2f}% before", flush=True)
    out = FOLDER / "runs" / "finetuning" / f"{arm.replace(' ', '-').replace(',', '')}-seed{seed}"
    is_puzzle = dataset.name != "cifar100"
    recipe, speed = (PUZZLE_RECIPE, EXACT) if is_puzzle else (RECIPE, SPEED)
    run = fit(model, dataset, recipe, seed, out, speed=speed)
    strengths = {name: p.item() for name, p in model.named_parameters() if name.endswith("strength")}
    after = evaluate(model, dataset, EXACT)["test_top1_error"]
    fixed = with_fixed_gates(model, dataset) if explain.list_gates(model) else after
    kept = ("parameters", "data_md5", "recipe", "precision", "switches", "device", "versions", "commit", "curves")
    about = {"arm": arm, "seed": seed, "data": dataset.name, "before": before, "after": after, "fixed_gates": fixed}
    return about | {"strengths": strengths} | {name: getattr(run, name) for name in kept}


def main(argv: list[str]) -> None:
    """Carry out what is not recorded, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--root", type=Path, help="data root, as of `gamlib train`")
    parser.add_argument("--threads", type=int, help="of the CPU; by default PyTorch's choice")
    arguments = parser.parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    datasets = {name: usable(data.load, name, arguments.root, download=True) for name in ("cifar100", "puzzles-joint")}
    for seed in arguments.seeds:
        for arm in ARMS:
            runs = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
            if not any((run["arm"], run["seed"]) == (arm, seed) for run in runs):
                runs.append(carry_out(arm, seed, datasets[ARMS[arm][0]]))
                write((json.dumps(runs, indent=1) + "\n").encode(), RECORD)
                print(f"{arm}, seed {seed}: {finetuning.end(runs[-1]):.2f}% after", flush=True)


if __name__ == "__main__":
    if results.commit() is None:
        sys.exit("finetune.py: gamlib runs from no git checkout; a recorded run must say which commit it is of")
    main(sys.argv[1:])
