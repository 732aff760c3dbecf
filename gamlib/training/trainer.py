"""A training loop in plain PyTorch."""

import json
import shlex
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler, MultiStepLR, OneCycleLR
from tqdm import tqdm

from gamlib import results
from gamlib._device import best_device, device_name, has_bf16
from gamlib.attention._checks import check_seed
from gamlib.cost import count_parameters
from gamlib.data import Dataset, augment
from gamlib.results import Result
from gamlib.training import checkpoint
from gamlib.training.metrics import Totals, cross_entropy, evaluate
from gamlib.training.recipes import Recipe

WEIGHTS, RESULT, LOG = "weights.safetensors", "result.json", "metrics.jsonl"


def fit(
    model: nn.Module,
    data: Dataset,
    recipe: Recipe,
    seed: int = 0,
    out: str | Path | None = None,
    resume: str = "auto",
) -> Result:
    """Train `model` on `data` by `recipe`, testing after each epoch. The model is changed in place, left in eval.

    Order and augmentation of the images depend on the seed alone, so a run that goes on from a checkpoint does just
    what it would have done. (PyTorch's global seed is set, too, for what a network itself draws in training.)

    Args:
        model: (N, 3, H, W) -> logits (N, K), or in training a pair of them (ABN).
        data: from `gamlib.data.load`, `gamlib.data.puzzles.dataset` ...
        recipe: from `gamlib.training.recipes`.
        seed: decides the order and the augmentation of the images. The weights are the model's own: call
            torch.manual_seed before you build it.
        out: folder for metrics.jsonl, checkpoint.pt, result.json and weights.safetensors; None writes nothing.
        resume: "auto" goes on from a checkpoint in `out`, and returns the result at once where the run is finished;
            "no" starts again, and removes what an earlier run left there.

    Raises:
        ValueError: for a bad seed, an unknown `resume`, a batch size that leaves a last batch of one image (BatchNorm
            can't train on it), or a model whose output has not one column for each class.
        CheckpointError: where `out` holds a checkpoint of another run, or a damaged one.
    """
    if resume not in ("auto", "no"):
        raise ValueError(f"resume must be 'auto' or 'no', got {resume!r}")
    check_seed(seed)
    run = Run(model, data, recipe, seed)
    out = None if out is None else Path(out)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        if resume == "no":
            for name in (checkpoint.NAME, WEIGHTS, RESULT):
                (out / name).unlink(missing_ok=True)
        state = checkpoint.load(out, run.identity())
        if state is None:
            checkpoint.save(run.state(), out)
        else:
            run.load_state(state)
        if run.epoch == recipe.epochs and (out / WEIGHTS).is_file() and (out / RESULT).is_file():
            model.eval()
            return results.read(out / RESULT)[0]  # as it was written: with that day's commit and versions
    with run.progress_bar() as bar:
        while run.epoch < recipe.epochs:
            run.train_epoch(bar)
            if out is not None:
                write_log(run.curves, out / LOG)
                checkpoint.save(run.state(), out)
    model.eval()
    result = run.result()
    if out is not None:
        weights = {key: value.clone(memory_format=torch.contiguous_format) for key, value in model.state_dict().items()}
        partial = out / f"{WEIGHTS}.partial"
        save_file(weights, partial)
        partial.replace(out / WEIGHTS)
        results.save([result], out / RESULT)  # last: where it stands, the run is complete
    return result


class Run:
    """A run's state (model, optimizer, scheduler, epoch, curves) and how it moves on by one epoch."""

    def __init__(self, model: nn.Module, data: Dataset, recipe: Recipe, seed: int) -> None:
        self.recipe, self.seed, self.data = recipe, seed, data
        self.device = best_device()
        self.precision = "bf16" if has_bf16(self.device) else "fp32"
        # channels_last is the layout that convolutions are fastest in, and GAM's MLP needs no copy in it.
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.images, self.labels = data.train_images.to(self.device), data.train_labels.to(self.device)
        self.mean = torch.tensor(data.mean, device=self.device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(data.std, device=self.device).view(1, 3, 1, 1) * 255
        self.steps_per_epoch = -(-len(self.images) // recipe.batch_size)
        if recipe.batch_size > 1 and len(self.images) % recipe.batch_size == 1:
            raise ValueError(
                f"batch_size={recipe.batch_size} leaves a last batch of one image (of {len(self.images):,}), "
                "and BatchNorm can't train on one; choose another batch_size"
            )
        self.optimizer = torch.optim.SGD(
            model.parameters(),
            lr=recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
        )
        self.scheduler = build_scheduler(self.optimizer, recipe, self.steps_per_epoch)
        self.commit, self.device_name = results.commit(), device_name(self.device)
        self.lr = 0.0
        self.epoch = 0
        self.curves: list[dict[str, float]] = []
        torch.manual_seed(seed)  # for what a network draws in training, such as dropout

    def train_epoch(self, bar: tqdm) -> None:
        """One pass over the training images in a new order, then a test; adds an entry to `curves`."""
        start = time.perf_counter()
        self.model.train()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(len(self.images))
        totals = Totals()
        for ids in torch.from_numpy(order).to(self.device).split(self.recipe.batch_size):
            self.step(ids, totals)
            bar.update()
        self.model.eval()
        tested = evaluate(self.predict, self.data.test_images.to(self.device), self.data.test_labels.to(self.device))
        self.epoch += 1
        seconds = time.perf_counter() - start
        self.curves.append({"epoch": self.epoch, "lr": self.lr, **totals.means("train"), **tested, "seconds": seconds})
        bar.set_postfix_str(f"test error {tested['test_top1_error']:.1f}%")

    def step(self, ids: Tensor, totals: Totals) -> None:
        """One batch: forward, loss, backward, update."""
        images, labels = self.images[ids], self.labels[ids]
        if self.data.augment:
            images = augment.shift_and_flip(images, ids, self.seed, self.epoch)
        output = self.predict(images)
        check_classes(output, self.data)
        loss = cross_entropy(output, labels)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.lr = self.optimizer.param_groups[0]["lr"]  # of this update; the scheduler sets the next one's
        self.optimizer.step()
        self.scheduler.step()
        totals.add(output, labels, loss)

    def predict(self, images: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        """uint8 images (N, 3, H, W) -> what the model says of them, normalised and in the run's precision."""
        x = images.to(torch.float32, memory_format=torch.channels_last)
        x = (x - self.mean) / self.std
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.model(x)

    def progress_bar(self) -> tqdm:
        """A bar over all steps of the run, on standard output (in a notebook, standard error is red)."""
        network = self.network()
        return tqdm(
            total=self.recipe.epochs * self.steps_per_epoch,
            initial=self.epoch * self.steps_per_epoch,
            desc=" + ".join(str(network[key]) for key in ("name", "attention") if key in network),
            unit="step",
            file=sys.stdout,
            ncols=100,
            mininterval=0.5,
        )

    def network(self) -> dict[str, object]:
        """What the network is: create_model's arguments, or a reader's own class by name."""
        return getattr(self.model, "spec", {"name": type(self.model).__name__})

    def identity(self) -> dict[str, str]:
        """What must agree for a checkpoint to be of this run."""
        shapes = {key: list(value.shape) for key, value in self.model.state_dict().items()}
        data = self.data
        return {
            "network": results.digest([self.network(), repr(self.model), shapes]),
            "data": results.digest([data.name, data.md5, data.num_classes, data.mean, data.std, data.augment]),
            "recipe": self.recipe.digest(),
            "seed": str(self.seed),
            "precision": self.precision,
        }

    def state(self) -> dict[str, object]:
        """All that a checkpoint needs."""
        return {
            "run": self.identity(),
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "rng": torch.get_rng_state(),
            "commit": self.commit,
            "device": self.device_name,
            "curves": self.curves,
        }

    def load_state(self, state: dict) -> None:
        """Take over a checkpoint's state."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.scheduler.load_state_dict(state["scheduler"])
        torch.set_rng_state(state["rng"])
        if state["commit"] != self.commit:
            self.commit = f"{state['commit']}, then {self.commit}"
        if state["device"] != self.device_name:
            self.device_name = f"{state['device']}, then {self.device_name}"
        self.curves = state["curves"]
        self.epoch = len(self.curves)

    def result(self) -> Result:
        """The finished run, with everything needed to repeat it."""
        network = self.network()
        return Result(
            network=network,
            reduction=network.get("attention_options", {}).get("reduction"),
            parameters=count_parameters(self.model),
            data=self.data.name,
            data_md5=self.data.md5,
            recipe=self.recipe.as_dict(),
            seed=self.seed,
            precision=self.precision,
            device=self.device_name,
            versions=results.versions(),
            commit=self.commit,
            command=command(),
            curves=self.curves,
            seconds=sum(entry["seconds"] for entry in self.curves),
        )


def build_scheduler(optimizer: torch.optim.Optimizer, recipe: Recipe, steps_per_epoch: int) -> LRScheduler:
    """The recipe's learning rate, moved on after every step."""
    if recipe.schedule == "step":
        milestones = [epoch * steps_per_epoch for epoch in recipe.milestones]
        return MultiStepLR(optimizer, milestones, recipe.gamma)
    total_steps = recipe.epochs * steps_per_epoch
    return OneCycleLR(
        optimizer,
        max_lr=recipe.lr,
        total_steps=total_steps,
        # Two steps up at least: with one, PyTorch would divide by zero.
        pct_start=max(recipe.warm_up, min(2 / total_steps, 0.75)),
        anneal_strategy="linear",
        cycle_momentum=False,
    )


def check_classes(output: Tensor | tuple[Tensor, Tensor], data: Dataset) -> None:
    """Raise ValueError unless the output has one column for each of the data's classes."""
    logits = output[0] if isinstance(output, tuple) else output
    if logits.ndim != 2 or logits.shape[1] != data.num_classes:
        raise ValueError(
            f"{data.name} has {data.num_classes} classes, so the model must return (N, {data.num_classes}); "
            f"got {tuple(logits.shape)}. Build it with num_classes={data.num_classes}"
        )


def command() -> str:
    """The command line of this process; `python -m gamlib` and `gamlib` are the same command."""
    program = Path(sys.argv[0])
    return shlex.join(["gamlib" if program.name == "__main__.py" else program.name, *sys.argv[1:]])


def write_log(curves: list[dict[str, float]], path: Path) -> None:
    """One JSON object a line, one line an epoch. Written whole each time: after a resume no epoch stands twice."""
    path.write_text("".join(json.dumps(entry) + "\n" for entry in curves))
