"""Fine-tunes a trained network with attention put into it, and records the runs: finetuning.json, beside this file.

    python data/finetune.py --seeds 0 1 2

The start is the zoo's plain ResNet-20 for CIFAR-100. Every arm sees the same pictures in the same order. A run that
was cut goes on from its checkpoint in runs/finetuning/; what is recorded is not run again. Notebook 13 shows it.
"""

import argparse
import json
import sys
from pathlib import Path

import torch
from torch import nn

from gamlib import create_model, data, insert_attention, results
from gamlib._files import write
from gamlib.cli.options import usable
from gamlib.training import Recipe, Speed, evaluate, fit

FOLDER = Path(__file__).resolve().parent
RECORD = FOLDER / "finetuning.json"
RECIPE = Recipe("fine-tuning", epochs=3, lr=0.05, schedule="one-cycle")
SPEED = Speed(precision="bf16", compile=True)
# An arm: mechanism, gently or at once, and whether the trained network is frozen.
ARMS = {
    "plain": (None, False, False),
    "GAM gently": ("gam", True, False),
    "GAM at once": ("gam", False, False),
    "GAM gently, frozen": ("gam", True, True),
    "SE gently": ("se", True, False),
}


def network(attention: str | None, gently: bool, frozen: bool) -> nn.Module:
    """The trained network with new attention in each of its blocks."""
    model = create_model("resnet20", num_classes=100, weights="cifar100")
    model.requires_grad_(not frozen)
    if attention is not None:
        insert_attention(model, attention, gentle=gently, reduction=4)
    return model


def carry_out(arm: str, seed: int, cifar100: data.Data) -> dict[str, object]:
    """One run, as it is recorded."""
    torch.manual_seed(seed)
    model = network(*ARMS[arm])
    before = evaluate(model, cifar100, Speed(precision="fp32"))["test_top1_error"]
    print(f"{arm}, seed {seed}: {before:.2f}% before", flush=True)
    out = FOLDER / "runs" / "finetuning" / f"{arm.replace(' ', '-').replace(',', '')}-seed{seed}"
    run = fit(model, cifar100, RECIPE, seed, out, speed=SPEED)
    strengths = {name: p.item() for name, p in model.named_parameters() if name.endswith("strength")}
    kept = ("parameters", "data_md5", "recipe", "precision", "switches", "device", "versions", "commit", "curves")
    about = {"arm": arm, "seed": seed, "before": before, "strengths": strengths}
    return about | {name: getattr(run, name) for name in kept}


def main(argv: list[str]) -> None:
    """Carry out what is not recorded, seed by seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--root", type=Path, help="data root, as of `gamlib train`")
    parser.add_argument("--threads", type=int, help="of the CPU; by default PyTorch's choice")
    arguments = parser.parse_args(argv)
    if arguments.threads is not None:
        torch.set_num_threads(arguments.threads)
    cifar100 = usable(data.load, "cifar100", arguments.root, download=True)
    for seed in arguments.seeds:
        for arm in ARMS:
            runs = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
            if not any((run["arm"], run["seed"]) == (arm, seed) for run in runs):
                runs.append(carry_out(arm, seed, cifar100))
                write((json.dumps(runs, indent=1) + "\n").encode(), RECORD)
                print(f"{arm}, seed {seed}: {runs[-1]['curves'][-1]['test_top1_error']:.2f}% after", flush=True)


if __name__ == "__main__":
    if results.commit() is None:
        sys.exit("finetune.py: gamlib runs from no git checkout; a recorded run must say which commit it is of")
    main(sys.argv[1:])
