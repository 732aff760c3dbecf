"""The command line, a file for each command: gamlib paper | train | evaluate | compare | results | resize | doctor."""

import argparse
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch.distributed import DistNetworkError

from gamlib._output import Output
from gamlib._version import __version__
from gamlib.cli import compare, doctor, evaluate, paper, resize, results, train
from gamlib.cli.options import Help, UsageError, first_line, usable
from gamlib.data import DataError
from gamlib.training import CheckpointError, Diverged, Stopped, distributed

COMMANDS = {
    "paper": paper,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "results": results,
    "resize": resize,
    "doctor": doctor,
}


def run(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code: 0; 1 where doctor or resize found something to mend, or training diverged; 2 for a mistake of the
        user's; 130 after Ctrl-C, 143 after SIGTERM.
    """
    with guarded_output():
        return run_command(parser().parse_args(argv))


@contextmanager
def guarded_output() -> Iterator[None]:
    """While it is open, an output that fails ends nothing, and warnings are notes."""
    outputs, sys.stdout, sys.stderr = (sys.stdout, sys.stderr), Output(sys.stdout), Output(sys.stderr)
    as_in_python, warnings.formatwarning = warnings.formatwarning, lambda message, *_: f"note: {message}\n"
    try:
        yield
    finally:
        sys.stdout.flush()
        if isinstance(sys.stdout, Output) and sys.stdout.lost:
            print(f"gamlib: not all that was printed could be written ({sys.stdout.lost})", file=sys.stderr)
        sys.stderr.flush()
        (sys.stdout, sys.stderr), warnings.formatwarning = outputs, as_in_python


def run_command(arguments: argparse.Namespace) -> int:
    """Run the command that was parsed; returns the exit code."""

    def work() -> int:
        if arguments.command in ("train", "evaluate", "compare"):
            usable(distributed.start, arguments.device)
        if not distributed.is_main_process():
            sys.stdout = open(os.devnull, "w")  # noqa: SIM115 (until the command ends)
        return arguments.run(arguments)

    return exit_code(f"gamlib {arguments.command}", work)


def exit_code(program: str, work: Callable[[], int]) -> int:
    """What `work` returns; where it fails, a sentence on standard error, and the code that `run` promises.

    Where several processes train together and one fails, it ends at once: to part in peace it would have to wait for
    the others, and they wait for it.
    """
    code = 1
    try:
        code = _told(program, work)
    finally:
        if distributed.world_size() > 1 and code in (1, 2):
            if sys.exc_info()[1] is not None:
                traceback.print_exc()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        distributed.leave()
    return code


def _told(program: str, work: Callable[[], int]) -> int:
    try:
        return work()
    except (DataError, CheckpointError, UsageError, OSError) as error:
        reason = getattr(error, "strerror", None)
        print(f"{program}: {f'{error.filename}: {reason}' if reason and error.filename else error}", file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as error:
        if type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            print(f"{program}: torch.compile fails here ({first_line(error)}); leave out --compile", file=sys.stderr)
            return 2
        if isinstance(error, DistNetworkError) or (distributed.world_size() > 1 and "onnection" in str(error)):
            advice = "another one may have ended, and say why, or the port be taken"
            print(f"{program}: the processes can't reach each other ({first_line(error)}); {advice}", file=sys.stderr)
            return 2
        if not (isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
            raise
        reason = f" ({first_line(error)})" if str(error) else ""
        print(
            f"{program}: out of memory{reason}. Try --micro-batch (same batch, in parts), a smaller --batch-size "
            "or network, or --precision bf16; what was saved is intact",
            file=sys.stderr,
        )
        return 2
    except Diverged as error:
        print(f"{program}: {error}", file=sys.stderr)
        return 1
    except Stopped as stopped:
        print(f"\n{stopped}")
        return stopped.exit_code
    except KeyboardInterrupt:
        print("\nStopped at once.", file=sys.stderr)
        return 130


def parser() -> argparse.ArgumentParser:
    """All commands and their options."""
    top = argparse.ArgumentParser(
        prog="gamlib", description="Attention in convolutional networks, from SE to GAM.", formatter_class=Help
    )
    top.add_argument("--version", action="version", version=f"gamlib {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar=" | ".join(COMMANDS))
    for module in COMMANDS.values():
        module.add(commands)
    return top
