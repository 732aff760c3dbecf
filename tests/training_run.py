"""A short run in a process of its own, for tests that kill it, stop it, or run several of it.

    python tests/training_run.py OUT [options]

Prints, as JSON on its last line, what came out. Under torchrun's environment variables it joins the others.
"""

import argparse
import dataclasses
import hashlib
import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from gamlib import create_model
from gamlib.data import puzzles
from gamlib.training import CheckpointError, Recipe, Speed, Stopped, checkpoint, distributed, fit
from gamlib.training.evaluator import LOOK_EVERY
from gamlib.training.folder import RunFolder
from gamlib.training.trainer import Trainer

RECIPE = Recipe("tiny", epochs=3, lr=0.1, schedule="one-cycle", batch_size=16)  # 30 steps
STEPS = 30


def network() -> nn.Module:
    """With dropout, so that random numbers count, and GAM."""
    torch.manual_seed(0)
    model = create_model("probe", "gam", {"reduction": 4}, num_classes=10)
    model.fc = nn.Sequential(nn.Dropout(0.3), model.fc)
    return model


def data():
    """160 + 53 puzzles, shifted and flipped."""
    return dataclasses.replace(puzzles.dataset("joint").first(160), augment=True)


def fingerprint(out: Path) -> str:
    """sha256 over weights, statistics, momentum, scaler, sums and curves of the last checkpoint, times aside."""
    state = checkpoint.read(checkpoint.paths(out)[0])
    assert state["step"] == STEPS
    for entry in state["curves"]:
        del entry["seconds"], entry["waited"], entry["images_per_second"]
    return checkpoint.fingerprint({key: value for key, value in state.items() if key not in ("seconds", "waited")})


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("out", type=Path)
    parser.add_argument("--precision", default="fp32")
    parser.add_argument("--signal", type=int, help="which this process sends itself")
    parser.add_argument("--at", type=int, help="within which step, from 0")
    parser.add_argument("--rank", type=int, default=0, help="the process that does")
    parser.add_argument("--apart", action="store_true", help="a folder OUT/RANK for each process, as by mistake")
    parser.add_argument("--look-every", type=int, default=1, help="steps; 10 on a GPU")
    arguments = parser.parse_args()
    LOOK_EVERY["cpu"] = arguments.look_every
    torch.set_num_threads(1)
    distributed.start()
    if arguments.apart:
        arguments.out /= str(distributed.rank())
    told = {"rates": [], "saves": 0}
    take_step, save = Trainer.take_step, RunFolder.save

    def noted_step(self, *step):
        here = self.step == arguments.at and distributed.rank() == arguments.rank
        if here and arguments.signal != signal.SIGKILL:
            os.kill(os.getpid(), arguments.signal)
        take_step(self, *step)
        told["rates"].append(self.optimizer.param_groups[0]["lr"])
        if here and arguments.signal == signal.SIGKILL:
            os.kill(os.getpid(), signal.SIGKILL)

    def noted_save(self, state):
        save(self, state)
        told["saves"] += self.writes

    Trainer.take_step, RunFolder.save = noted_step, noted_save
    RunFolder.is_due = lambda self: self.writes and len(told["rates"]) % 3 == 0  # steps between are done twice
    code = 0
    try:
        model = network()
        fit(model, data(), RECIPE, seed=5, out=arguments.out, speed=Speed(precision=arguments.precision))
        told["weights"] = checkpoint.fingerprint(model.state_dict())
        told["rng"] = hashlib.sha256(torch.get_rng_state().numpy()).hexdigest()
        told["fingerprint"] = fingerprint(arguments.out)
    except Stopped as stopped:
        told["stopped"], code = str(stopped), stopped.exit_code
    except CheckpointError as error:
        told["error"], code = str(error), 2
    print("\n" + json.dumps(told), flush=True)
    if code == 2:
        os._exit(code)  # at once, as the command line's `exit_code` does
    distributed.leave()
    return code


if __name__ == "__main__":
    sys.exit(main())
