"""Trains a network by a recipe: the loop over a run's steps, and what is written on the way."""

import signal
from collections.abc import Callable
from pathlib import Path

from torch import nn
from tqdm import tqdm

from gamlib._checks import check_seed
from gamlib._device import reset_peak_memory
from gamlib.data import Data, DataError
from gamlib.results import Result
from gamlib.training import distributed
from gamlib.training.checkpoint import CheckpointError
from gamlib.training.folder import RunFolder
from gamlib.training.interrupt import Interrupt, Stopped
from gamlib.training.recipes import Recipe
from gamlib.training.speed import Speed
from gamlib.training.trainer import Trainer


def fit(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int = 0,
    out: str | Path | None = None,
    resume: str = "auto",
    speed: Speed | None = None,
    save_every: float = 300.0,
    tensorboard: bool = False,
    before_start: Callable[[], None] | None = None,
) -> Result:
    """Train `model` on `data` by `recipe`, testing after each epoch. The model is changed in place, left in eval.

    Whatever is drawn at random is a function of seed, epoch, image and step, so a run that goes on from a checkpoint,
    in the middle of an epoch too, does just what it would have done. Ctrl-C, a notebook's stop button and SIGTERM let
    the step finish, write a checkpoint, and stop; the same call goes on.

    Under torchrun, each process calls this; together they train one model with the recipe's batch size.

    Args:
        model: (N, 3, H, W) -> logits (N, K), or in training a pair of them (ABN).
        data: from `gamlib.data.load`, `gamlib.data.puzzles.dataset` ...
        recipe: from `gamlib.training.recipes`.
        seed: decides the order and the augmentation of the images, and dropout. The weights are the model's own: call
            torch.manual_seed before you build it.
        out: folder for checkpoints, metrics.jsonl, curves.png, result.json and weights.safetensors; None writes
            nothing.
        resume: "auto" goes on from the newest checkpoint in `out`, and returns the result at once where the run is
            finished; "no" starts again, and removes what an earlier run left there.
        speed: device, precision, layout, fused update, compilation; None is `Speed()`.
        save_every: seconds from one checkpoint to the next within an epoch. One is written after each epoch, too,
            unless the last one is quite new: a GPU would wait for the disk.
        tensorboard: whether to write the curves for TensorBoard, too, where it is installed.
        before_start: called before the first step of a run that is not finished, in every process.

    Raises:
        ValueError: for a bad seed, an unknown `resume`, a batch size that leaves a process with a last batch of one
            image (BatchNorm can't train on it), a device that is not here, or a model whose output has not one column
            for each class.
        CheckpointError: where `out` holds a checkpoint or the result of another run, or none that is whole, or can't be
            written.
        DataError: for a broken photograph.
        Diverged: where loss, gradients or outputs are not finite; the weights are as before that step.
        Stopped: when asked to stop (a KeyboardInterrupt).
    """
    if resume not in ("auto", "no"):
        raise ValueError(f"resume must be 'auto' or 'no', got {resume!r}")
    check_seed(seed)
    speed = speed or Speed()
    distributed.start(speed.device)
    trainer = Trainer(model, data, recipe, seed, speed)
    with RunFolder(out, save_every, tensorboard) as folder:
        if resume == "no":
            folder.clear()
        own = trainer.state()
        state = folder.load(own)
        finished = folder.finished(trainer.model, own, state)
        found = -1 if state is None else state["step"]
        same = distributed.same(found + trainer.steps + 1 if finished else found, trainer.device)
        distributed.barrier()  # also before an error: no process leaves while another still compares
        if not same:
            raise CheckpointError(f"{out} holds something else for each process; give a folder that all of them share")
        if finished is not None:
            model.eval()
            return finished  # as it was written: with that day's commit and versions
        if before_start is not None:
            before_start()
        if state is None:
            folder.save(own)
            folder.wait()  # a log without a checkpoint would pass for another program's
        else:
            trainer.load_state(state)
        reset_peak_memory(trainer.device)  # `before_start` may have trained a copy
        with Interrupt() as interrupt, trainer.progress_bar() as bar:
            try:
                while trainer.epoch < recipe.epochs:
                    follow(trainer, folder, interrupt, bar)
                folder.wait()
            except DataError:  # what was learned until then is kept
                trainer.look()
                folder.save(trainer.state())
                raise
        model.eval()
        result = trainer.result()
        folder.finish(trainer.state(), result)
        distributed.barrier()
        return result


def follow(trainer: Trainer, folder: RunFolder, interrupt: Interrupt, bar: tqdm) -> None:
    """Rest of an epoch: its steps, its test, its entry in the log, and the checkpoints on the way."""
    for _ in trainer.train_epoch(interrupt):
        bar.update()
        if trainer.must_stop:
            stop(trainer, folder, interrupt)
        if folder.is_due():
            trainer.look()  # nothing is saved that is not known to be good
            folder.save(trainer.state())
    for _ in trainer.evaluator.run(interrupt):
        if trainer.evaluator.must_stop:
            stop(trainer, folder, interrupt)
    trainer.end_epoch()
    bar.set_postfix_str(f"test error {trainer.curves[-1]['test_top1_error']:.1f}%")
    if trainer.epoch == trainer.recipe.epochs or not folder.is_recent():
        folder.save(trainer.state())
    folder.log(trainer.curves)


def stop(trainer: Trainer, folder: RunFolder, interrupt: Interrupt) -> None:
    """Save and raise Stopped."""
    folder.save(trainer.state())
    folder.wait()
    distributed.barrier()  # no process leaves before the main process has saved
    at = f"Stopped after step {trainer.step:,} of {trainer.steps:,}"
    kept = f"saved in {folder.path}; the same command, or the same cell, goes on from there"
    raise Stopped(
        f"{at}; {kept if folder.path else 'nothing is saved, since there is no output folder'}.",
        interrupt.number or signal.SIGTERM,  # None where another process was asked
    )
