"""A training run in plain PyTorch: one step, one epoch, and the state that goes on from one to the next."""

import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from gamlib import results
from gamlib._device import device_name, peak_memory
from gamlib._modules import unwrapped
from gamlib._output import progress_bar
from gamlib.cost import count_parameters
from gamlib.data import Data
from gamlib.results import Result
from gamlib.training import distributed
from gamlib.training.evaluator import LOOK_EVERY, Evaluator
from gamlib.training.graph import StepGraph
from gamlib.training.guards import Diverged, SpikeGuard
from gamlib.training.interrupt import Interrupt
from gamlib.training.metrics import count, cross_entropy, means
from gamlib.training.recipes import Recipe
from gamlib.training.speed import Speed


class Trainer:
    """A run's state (model, optimizer, position, curves) and how it moves on, step by step."""

    def __init__(self, model: nn.Module, data: Data, recipe: Recipe, seed: int, speed: Speed) -> None:
        self.evaluator = Evaluator(model, data, speed)
        # A network that was compiled by its owner is saved as what it is inside.
        self.model, self.data, self.device = unwrapped(model), self.evaluator.data, self.evaluator.device
        if speed.graph and (self.device.type != "cuda" or distributed.is_started()):
            raise ValueError(f"graph=True needs one NVIDIA GPU and no torchrun; got {self.device.type}. Leave it out")
        # On other devices nobody has tried whether the fused update leaves out what it should.
        speed = speed if self.device.type in ("cpu", "cuda") else dataclasses.replace(speed, fused=False)
        self.precision, self.speed = self.evaluator.precision, speed
        self.recipe, self.seed = recipe, seed
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"{type(model).__name__} has no parameters to train")
        check_batches(data.train_count, recipe.batch_size)
        self.steps_per_epoch = -(-data.train_count // recipe.batch_size)
        self.steps = recipe.epochs * self.steps_per_epoch
        self.optimizer = torch.optim.SGD(
            self.parameters,
            lr=torch.tensor(recipe.lr, device=self.device) if speed.graph else recipe.lr,
            momentum=recipe.momentum,
            weight_decay=recipe.weight_decay,
            nesterov=recipe.nesterov,
            fused=speed.fused or None,  # None: PyTorch's choice of the other two, which on a GPU is not a loop
        )
        for p in self.parameters:
            # PyTorch starts from zeros, too. But where the very first fused update is left out, as fp16's often is, it
            # would take uninitialised memory for the momentum of the second.
            self.optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
        self.scaler = torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")
        self.wrapped = distributed.wrap(model)
        self.trained = torch.compile(self.wrapped) if speed.compile else self.wrapped
        self.commit, self.device_name = results.commit(), device_name(self.device)
        if distributed.world_size() > 1:
            self.device_name = f"{distributed.world_size()} x {self.device_name}"
        self.epoch, self.batch = 0, 0  # the position: epochs finished, and batches of the next one
        self.sums = torch.zeros_like(self.evaluator.sums)  # over those batches
        self.seconds = self.waited = 0.0  # of this epoch so far; of them, waiting for images
        self.curves: list[dict[str, int | float]] = []
        # What the host learns at its next look: whether loss or gradient was not finite (and both, and after how many
        # good steps), and whether a process was asked to stop.
        self.bad = torch.zeros((), dtype=torch.bool, device=self.device)
        self.first_bad = self.sums.new_zeros(2)
        self.good_steps = torch.zeros((), dtype=torch.int64, device=self.device)
        self.asking = torch.zeros((), dtype=torch.bool, device=self.device)  # whether this process was asked
        self.asked = self.sums.new_zeros(())
        self.must_stop = False  # whether one of the processes was asked to
        self.first_step = 0  # of this sitting
        self.looked = (0.0, 0.0)  # images and loss at the last look
        self.spikes = SpikeGuard(recipe.calmer)
        self.compute = StepGraph(self._compute, recipe.batch_size) if speed.graph else self._compute

    @property
    def step(self) -> int:
        """Number of updates so far."""
        return self.epoch * self.steps_per_epoch + self.batch

    def train_epoch(self, interrupt: Interrupt) -> Iterator[None]:
        """The epoch's remaining steps, one at a time."""
        self.wrapped.train()
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.data.train_count)
        batches = torch.from_numpy(order).split(min(self.recipe.batch_size, len(order)))[self.batch :]
        shards = [distributed.shard(batch) for batch in batches]
        start = time.perf_counter()
        for images, labels in self.data.train_batches(shards, self.seed, self.epoch):
            self.waited += time.perf_counter() - start
            self.take_step(images, labels, interrupt)
            self.batch += 1
            if self.step % LOOK_EVERY[self.device.type] == 0 or self.batch == self.steps_per_epoch:
                self.look()
                self.must_stop = bool(self.asked)  # here alone: all processes come to this line after the same step
            self.seconds += time.perf_counter() - start
            yield
            start = time.perf_counter()

    def take_step(self, images: Tensor, labels: Tensor, interrupt: Interrupt) -> None:
        """One batch: forward, loss, backward, update. Nothing here waits for a GPU to finish.

        Args:
            images, labels: this process's shard of the batch.
            interrupt: tells whether this process was asked to stop.
        """
        lr = self.recipe.learning_rate(self.step, self.steps_per_epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = group["lr"].fill_(lr) if self.speed.graph else lr
        # What the network itself draws, such as dropout, depends on the step, not on what was drawn before it.
        torch.manual_seed(((self.seed << 40) + (self.step << 12) + distributed.rank()) % 2**63)
        self.asking.fill_(interrupt.number is not None)
        self.compute(images, labels)

    def _compute(self, images: Tensor, labels: Tensor) -> None:
        """The step's work on the device. What it changes it changes in place: a CUDA graph knows tensors by address."""
        self.optimizer.zero_grad(set_to_none=True)
        # Gradients are averaged over the processes, but shards of a batch may differ: by an image, or by broken ones.
        dtype = torch.promote_types(self.evaluator.dtype, torch.float32)  # the loss's
        batch_size = distributed.all_reduce_sum(torch.full((), len(labels), dtype=dtype, device=self.device))
        parts = self.recipe.micro_batches(len(labels))
        losses, counted = [], []
        for i, (some, theirs) in enumerate(zip(images.tensor_split(parts), labels.tensor_split(parts), strict=True), 1):
            with distributed.averaging(self.wrapped, i == parts):
                output = self.evaluator.predict(some, self.trained)
                loss = cross_entropy(output, theirs)
                part = loss * (len(theirs) * distributed.world_size() / batch_size)
                # After a bad step the gradients stay bad, so that fp16's scaler leaves out what follows, too, until the
                # host looks. (torch.where(bad, nan, part) would not do: its gradient is zero, and momentum would move
                # the weights.)
                self.scaler.scale(part * torch.where(self.bad, torch.nan, 1.0)).backward()
            losses.append(loss.detach() * (len(theirs) / len(labels)))
            counted.append(count(output, theirs, loss))
        self.update(sum(losses), sum(counted))

    def update(self, loss: Tensor, sums: Tensor) -> None:
        """Move the weights, unless loss or gradient are not finite in one of the processes."""
        norm = torch.nn.utils.get_total_norm([p.grad for p in self.parameters if p.grad is not None])
        finite = loss.isfinite()
        if self.precision != "fp16":  # there the scaler leaves out an update with infinite gradients, and goes on
            finite = finite & norm.isfinite()
        self.first_bad.copy_(
            torch.where(self.bad, self.first_bad, torch.stack([loss.to(sums.dtype), norm.to(sums.dtype)]))
        )
        flags = torch.stack([self.bad | ~finite, self.asking])
        reduced = distributed.all_reduce_sum(torch.cat([flags.to(sums.dtype), sums]))
        self.bad.copy_(reduced[0] > 0)
        self.good_steps += ~self.bad
        self.asked += reduced[1]
        self.sums += reduced[2:]
        if self.speed.fused and self.precision != "fp16":
            self.optimizer.found_inf = self.bad.float()  # the fused kernel reads it and leaves everything as it is
        elif not self.speed.fused and self.bad:
            self.look()
        self.scaler.step(self.optimizer)
        self.scaler.update()

    def look(self) -> None:
        """Read what the steps since the last look left on the device. Raises Diverged where one of them was bad."""
        if self.bad:
            step = self.first_step + int(self.good_steps)
            lr = self.recipe.learning_rate(step, self.steps_per_epoch)
            loss, norm = self.first_bad.tolist()
            raise Diverged(
                f"step {step + 1:,} of {self.steps:,} (epoch {step // self.steps_per_epoch + 1}): loss {loss:.4g}, "
                f"gradient norm {norm:.4g}, at learning rate {lr:.4g}. The weights were not updated by it (BatchNorm's "
                f"statistics may have taken it in; the last checkpoint has not). "
                f"Try {self.recipe.calmer}, or --precision fp32"
            )
        if self.precision == "fp16" and self.scaler.get_scale() < 1:
            raise Diverged(
                f"step {self.step:,} of {self.steps:,}: fp16's gradients are infinite at any loss scale. "
                f"Try --precision fp32, or {self.recipe.calmer}"
            )
        images, loss = self.sums[:2].tolist()
        if images > self.looked[0]:
            mean = (loss - self.looked[1]) / (images - self.looked[0])
            self.spikes.look(mean, self.step, float(self.optimizer.param_groups[0]["lr"]))
        self.looked = (images, loss)

    def end_epoch(self) -> None:
        """Add the epoch to `curves`, once it is tested, and move on to the next one."""
        entry = {"epoch": self.epoch + 1, "lr": self.recipe.learning_rate(self.step - 1, self.steps_per_epoch)}
        entry |= means(self.sums, "train") | means(self.evaluator.sums, "test")
        # Broken photographs, where the data leaves them out.
        entry["skipped"] = self.data.train_count + self.data.test_count - int(self.sums[0] + self.evaluator.sums[0])
        entry |= {"seconds": self.seconds + self.evaluator.seconds, "waited": self.waited}
        entry["images_per_second"] = float(self.sums[0]) / self.seconds
        if self.device.type == "cuda":
            entry["memory"] = peak_memory(self.device)
        self.curves.append(entry)
        self.epoch, self.batch = self.epoch + 1, 0
        self.sums.zero_()
        self.looked = (0.0, 0.0)
        self.seconds = self.waited = 0.0

    def progress_bar(self) -> tqdm:
        """A bar over all steps of the run."""
        network = self.network()
        name = " + ".join(str(network[key]) for key in ("name", "attention") if key in network)
        disable = not distributed.is_main_process()
        return progress_bar(total=self.steps, initial=self.step, desc=name, unit="step", disable=disable)

    def network(self) -> dict[str, object]:
        """What the network is: create_model's arguments, or a reader's own class by name."""
        return getattr(self.model, "spec", {"name": type(self.model).__name__})

    def identity(self) -> dict[str, str]:
        """What must agree for a checkpoint to be of this run."""
        shapes = {key: list(value.shape) for key, value in self.model.state_dict().items()}
        trained = [name for name, p in self.model.named_parameters() if p.requires_grad]
        data = self.data
        return {
            "network": results.digest([self.network(), repr(self.model), shapes, trained]),
            "data": results.digest([data.name, data.md5, data.num_classes, data.mean, data.std, data.augment]),
            "recipe": self.recipe.digest(),
            "seed": str(self.seed),
            "precision": self.precision,
        }

    def state(self) -> dict[str, object]:
        """All that a checkpoint needs. Learning rate, order and random numbers are functions of seed and position."""
        return {
            "run": self.identity(),
            "network": json.loads(json.dumps(self.network(), default=results.describe)),
            "data": self.data.name,
            "classes": list(self.data.classes),
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "batch": self.batch,
            "model": self.model.state_dict(),
            "momentum": [self.optimizer.state[p]["momentum_buffer"] for p in self.parameters],
            "scaler": self.scaler.state_dict(),
            "sums": self.sums,
            "seconds": self.seconds,
            "waited": self.waited,
            "commit": self.commit,
            "device": self.device_name,
            "curves": self.curves,
        }

    def load_state(self, state: dict) -> None:
        """Take over a checkpoint's state."""
        self.model.load_state_dict(state["model"])
        for p, saved in zip(self.parameters, state["momentum"], strict=True):
            self.optimizer.state[p]["momentum_buffer"].copy_(saved)
        self.scaler.load_state_dict(state["scaler"])
        self.epoch, self.batch, self.curves = state["epoch"], state["batch"], state["curves"]
        self.sums.copy_(state["sums"])
        self.looked = tuple(self.sums[:2].tolist())
        self.seconds, self.waited = state["seconds"], state["waited"]
        self.first_step = self.step
        self.commit = joined(state["commit"], self.commit)
        self.device_name = joined(state["device"], self.device_name)

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
            switches=self.speed.switches(),
        )


def check_batches(images: int, batch_size: int) -> None:
    """Raise ValueError where a process would get too few images of the epoch's last batch for BatchNorm."""
    processes = distributed.world_size()
    last = images % batch_size or min(batch_size, images)
    if max(batch_size, processes) > 1 and last < 2 * processes:
        among = f" for {processes} processes" if processes > 1 else ""
        raise ValueError(
            f"batch_size={batch_size} leaves a last batch of {last} of {images:,} images{among}, "
            f"and BatchNorm can't train on fewer than two in each process; choose another batch_size"
        )


def joined(before: str | None, now: str | None) -> str | None:
    """What several sittings were run on or from, one after the other; a change is never lost."""
    return now if before == now else before if str(before).endswith(f", then {now}") else f"{before}, then {now}"


def command() -> str:
    """The command line of this process; `python -m gamlib` and `gamlib` are the same command."""
    program = Path(sys.argv[0])
    return shlex.join(["gamlib" if program.name == "__main__.py" else program.name, *sys.argv[1:]])
