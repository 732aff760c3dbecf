"""A run's output folder: checkpoints, the log, and at the end the result and the weights."""

import json
import time
import warnings
from concurrent import futures
from pathlib import Path

from torch import nn

from gamlib import results
from gamlib._files import lock, write
from gamlib.models.weights import pack, unpack
from gamlib.results import Result
from gamlib.results.charts import write_curves
from gamlib.training import checkpoint, distributed

RECENT = 20.0  # seconds
RESULT, WEIGHTS, LOG, CURVES = "result.json", "weights.safetensors", "metrics.jsonl", "curves.png"


class RunFolder:
    """Reads in every process, writes in the first one; given None, it does neither. To be used in a with statement.

    Args:
        path: the folder; made where it does not exist.
        save_every: seconds from one checkpoint to the next within an epoch.
        tensorboard: whether to write the curves for TensorBoard, too.

    Raises:
        ValueError: for a negative save_every.
        CheckpointError: on entering, where another run is writing into the folder.
    """

    def __init__(self, path: str | Path | None, save_every: float, tensorboard: bool) -> None:
        if not save_every >= 0:
            raise ValueError(f"save_every must be 0 seconds or more, got {save_every}")
        self.path = None if path is None else Path(path)
        self.writes = self.path is not None and distributed.is_main_process()
        self.save_every, self.last_saved = save_every, time.monotonic()
        self.tensorboard, self._writer = tensorboard, None
        self._lock = None
        self._thread, self._writing = futures.ThreadPoolExecutor(1), None

    def __enter__(self) -> "RunFolder":
        if self.writes:
            checkpoint.make_folder(self.path)
            try:
                self._lock = lock(self.path)
            except BlockingIOError:
                raise checkpoint.CheckpointError(
                    f"another run is writing into {self.path}; wait until it has ended, or choose another output folder"
                ) from None
            for name in (f"checkpoint-{'[0-9]' * 10}.pt", RESULT, WEIGHTS, LOG, CURVES):
                for partial in self.path.glob(f"{name}.partial"):  # left by a process that was killed
                    partial.unlink()

        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        try:
            self.wait()
        except Exception as error:
            if kind is None:
                raise
            warnings.warn(str(error), stacklevel=2)  # besides what ends the run
        finally:  # after the last checkpoint is written, or where a second Ctrl-C does not wait for it
            self._thread.shutdown(wait=False)
            if self._lock is not None:
                self._lock.close()
            if self._writer is not None:
                self._writer.close()

    def clear(self) -> None:
        """Remove what an earlier run left here."""
        if self.writes:
            for path in [*checkpoint.paths(self.path), *(self.path / name for name in (RESULT, WEIGHTS, LOG, CURVES))]:
                path.unlink(missing_ok=True)
        distributed.barrier()

    def load(self, own: dict[str, object]) -> dict[str, object] | None:
        """The state to go on from; None where there is none, or where it can't be used and a finished run lies there.

        Raises:
            CheckpointError: as `checkpoint.load` does.
        """
        if self.path is None:
            return None
        try:
            return checkpoint.load(self.path, own["run"], self.writes, own["recipe"])
        except checkpoint.CheckpointError:
            if (self.path / RESULT).is_file() and (self.path / WEIGHTS).is_file():
                return None  # `finished` tells whether these are whole, and of this run
            raise

    def finished(self, model: nn.Module, own: dict[str, object], state: dict[str, object] | None) -> Result | None:
        """The result of a run that was complete, whose weights `model` gets; None where there is none.

        Args:
            own: the state of the run that asks.
            state: the checkpoint that it could go on from, which is known to be of the same run.

        Raises:
            CheckpointError: where a result or weights lie there that are another run's, or that are damaged or not
                both there, and no checkpoint is left to write them anew from.
        """
        if self.path is None:
            return None
        # A log or a chart without a checkpoint may be another program's.
        foreign = state is None and ((self.path / LOG).exists() or (self.path / CURVES).is_file())
        if not foreign and not any((self.path / name).exists() for name in (RESULT, WEIGHTS)):
            return None
        try:
            about, weights = unpack(self.path / WEIGHTS)
            result = results.read(self.path / RESULT)[0]
            run = json.loads(about.get("run", "{}"))  # before December 2026 the weights did not say whose they were
            if run and (result.network, str(result.seed)) != (json.loads(about["network"]), run["seed"]):
                raise ValueError(f"{RESULT} is of {result.label} with seed {result.seed}, but {WEIGHTS} is not")
        except (ValueError, OSError, TypeError, KeyError) as error:  # texts about weights may say anything
            if state is None:
                raise checkpoint.CheckpointError(
                    f"{self.path} holds what a run or another program left, but not all is whole ({error}), and no "
                    "checkpoint; use another output folder. (To start again in this one, and lose what is there: "
                    "--resume no)"
                ) from None
            if (self.path / WEIGHTS).exists() and (self.path / RESULT).exists():
                warnings.warn(f"{error}; written anew from the last checkpoint", stacklevel=3)
            return None
        if run or state is None:  # else the checkpoint tells whose they are
            saved = {"run": run, "recipe": result.recipe}
            checkpoint.check_run(saved, own["run"], self.path / WEIGHTS, own["recipe"])
        elif state["epoch"] < own["recipe"]["epochs"]:
            return None
        model.load_state_dict(weights)
        if self.writes and not ((self.path / CURVES).is_file() and (self.path / CURVES).stat().st_size):
            write_curves([result], self.path / CURVES)
        return result

    def save(self, state: dict[str, object]) -> None:
        """Begin to write a checkpoint, of a copy: training goes on meanwhile.

        Raises:
            CheckpointError: where the one before it could not be written.
        """
        if self.writes:
            self.wait()
            self._writing = self._thread.submit(checkpoint.save, checkpoint.copied(state), self.path)
            self.last_saved = time.monotonic()

    def wait(self) -> None:
        """Return when the last checkpoint is on the disk. Raises CheckpointError where it could not be written."""
        if self._writing is not None:
            futures.wait([self._writing])
            writing, self._writing = self._writing, None
            writing.result()

    def is_due(self) -> bool:
        """Whether the last checkpoint is so old that another should be written.

        Raises:
            CheckpointError: where the last one, as it turns out, could not be written.
        """
        if self._writing is not None and self._writing.done():
            self.wait()
        return self.writes and time.monotonic() - self.last_saved >= self.save_every

    def is_recent(self) -> bool:
        """Whether the last checkpoint is so new that the end of an epoch needs none."""
        return time.monotonic() - self.last_saved < RECENT

    def log(self, curves: list[dict[str, int | float]]) -> None:
        """Write metrics.jsonl: a line an epoch, and whole each time, so that after a resume no epoch stands twice."""
        if self.writes:
            text = "".join(json.dumps(entry) + "\n" for entry in curves)
            write(text.encode(), self.path / LOG)
            if self.tensorboard:
                self._log_to_tensorboard(curves[-1])

    def _log_to_tensorboard(self, entry: dict[str, int | float]) -> None:
        epoch = entry["epoch"]
        try:
            from torch.utils.tensorboard import SummaryWriter

            # Points of this epoch and later ones, which a killed process may have written, are dropped.
            self._writer = self._writer or SummaryWriter(str(self.path / "tensorboard"), purge_step=epoch)
            for name, value in entry.items():
                if name != "epoch":
                    self._writer.add_scalar(name, value, epoch)
            self._writer.flush()
        except Exception as error:  # a broken installation raises anything, and must not end a run
            warnings.warn(f"no curves for TensorBoard: it fails ({error!r})", stacklevel=2)
            self.tensorboard = False

    def finish(self, state: dict[str, object], result: Result) -> None:
        """Write the weights, then the result: where it stands, the run is complete. Then a chart of the curves."""
        if self.writes:
            # Contiguous copies: safetensors refuses tensors that share memory, as tied weights do.
            weights = {key: value.detach().cpu().clone().contiguous() for key, value in state["model"].items()}
            about = {key: json.dumps(state[key]) for key in ("network", "classes", "run")} | {"data": result.data}
            write(pack(weights, about), self.path / WEIGHTS)
            self.log(result.curves)
            results.save([result], self.path / RESULT)
            write_curves([result], self.path / CURVES)
