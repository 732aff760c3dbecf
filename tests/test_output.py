"""What is printed may fail: a dead tee, a closed terminal, a full disk. Nothing that is being done ends by it."""

import contextlib
import io
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import SCRIPT
from training_run import STEPS

from gamlib import _output, results
from gamlib._output import Output, progress_bar
from gamlib.training import checkpoint

ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "GAMLIB_PROFILE": "smoke"}


def command(*arguments):
    return [sys.executable, "-m", "gamlib", *map(str, arguments)]


class Failing(io.StringIO):
    """A stream whose disk is full, whose reader is gone, or that is closed."""

    encoding = "utf-8"

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), OSError(28, "No space"), OSError(5, "I/O"), ValueError("closed")]
)
def test_a_stream_that_fails_is_no_error(error):
    stream = Output(Failing(error))
    assert stream.write("text") == 4
    stream.flush()
    print("text", file=stream)


@pytest.mark.parametrize(
    ("encoding", "text"), [("ascii", "41.07 +- 0.25"), ("cp932", "41.07 ± 0.25"), ("latin-1", "41.07 ± 0.25")]
)
def test_characters_that_an_encoding_lacks_are_written_otherwise(encoding, text):
    raw = io.BytesIO()
    stream = Output(io.TextIOWrapper(raw, encoding=encoding))
    stream.write("41.07 ± 0.25 ✓")
    stream.flush()
    assert raw.getvalue().decode(encoding) in (f"{text} ?", f"{text} ✓")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp932"])
def test_tables_in_terminals_of_other_encodings(encoding):
    done = subprocess.run(command("results"), capture_output=True, env=ENVIRONMENT | {"PYTHONIOENCODING": encoding})
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    assert results.list_recorded()[0].encode() in done.stdout


def test_a_reader_that_has_seen_enough():
    """As with | head."""
    with subprocess.Popen(
        command("results"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT
    ) as process:
        process.stdout.close()
        assert process.wait(timeout=120) == 0
        assert process.stderr.read() == b""


@pytest.mark.parametrize("closed", [(1,), (2,), (1, 2)])
def test_closed_outputs(closed):
    """As with >&- and 2>&-."""

    def close():
        for descriptor in closed:
            os.close(descriptor)

    with subprocess.Popen(command("results"), preexec_fn=close, env=ENVIRONMENT) as process:
        assert process.wait(timeout=120) == 0


def test_a_dead_tee_loses_no_step(tmp_path):
    """The reader of the bar is killed in the middle; training goes on to its end."""
    script = [sys.executable, str(SCRIPT), str(tmp_path / "run")]
    with subprocess.Popen(script, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=ENVIRONMENT) as process:
        while not checkpoint.paths(tmp_path / "run"):
            time.sleep(0.05)
            assert process.poll() is None
        process.stdout.close()
        process.wait(timeout=300)
    assert checkpoint.read(checkpoint.paths(tmp_path / "run")[0])["step"] == STEPS
    assert (tmp_path / "run" / "result.json").is_file()


def train(out, *more):
    return command("train", "--recipe", "puzzles", "--attention", "se", "--out", out, "--epochs", "50", *more)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_after_the_tee_has_died_saves_and_stops(tmp_path, number):
    with subprocess.Popen(train(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as process:
        while not (tmp_path / "metrics.jsonl").exists():
            time.sleep(0.05)
            assert process.poll() is None, process.stderr.read()
        before = checkpoint.paths(tmp_path)[0]
        process.stdout.close()
        time.sleep(0.7)  # the next writes of the bar fail
        process.send_signal(number)
        assert process.wait(timeout=120) == 128 + number
        assert b"Traceback" not in process.stderr.read()
    assert checkpoint.paths(tmp_path)[0] > before


def test_a_closed_terminal_saves_without_a_traceback(tmp_path):
    leader, follower = pty.openpty()
    with open(tmp_path / "err", "wb") as errors:
        process = subprocess.Popen(
            train(tmp_path / "run"),
            stdin=follower,
            stdout=follower,
            stderr=errors,
            env=ENVIRONMENT,
            start_new_session=True,
        )
        os.close(follower)
        os.set_blocking(leader, False)
        while not (tmp_path / "run" / "metrics.jsonl").exists():
            time.sleep(0.05)
            with contextlib.suppress(BlockingIOError):
                os.read(leader, 1 << 16)
            assert process.poll() is None
        os.close(leader)  # the window is closed
        process.send_signal(signal.SIGHUP)
        assert process.wait(timeout=120) == 128 + signal.SIGHUP
    assert b"Traceback" not in (tmp_path / "err").read_bytes()


def test_ctrl_c_while_pytorch_comes_in_leaves_no_traceback():
    """In the first seconds; whenever it comes, the process ends, and quietly."""
    for delay in (0.2, 0.6, 1.2):
        process = subprocess.Popen(command("paper"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        time.sleep(delay)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        assert b"Traceback" not in err
        assert process.returncode in (-signal.SIGINT, 130, 0), (process.returncode, out)


def test_a_bar_in_a_file_is_short(tmp_path, monkeypatch):
    with open(tmp_path / "log", "w") as file:
        monkeypatch.setattr(sys, "stdout", file)
        with progress_bar(total=10_000) as bar:
            for _ in range(10_000):
                bar.update()
    assert (tmp_path / "log").stat().st_size < 1000
    assert bar.mininterval >= 10


def test_a_bar_fits_the_terminal(monkeypatch):
    leader, follower = pty.openpty()
    import fcntl
    import struct
    import termios

    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    with open(follower, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        with progress_bar(total=3, desc="resnet20 + gam-kernel_size9-shuffleafter") as bar:
            bar.update()
        terminal.flush()
        drawn = os.read(leader, 1 << 16).decode()
    os.close(leader)
    assert max(len(line) for line in drawn.replace("\n", "\r").split("\r")) <= 60


def test_every_bar_is_made_in_one_place():
    for path in Path(_output.__file__).parent.rglob("*.py"):
        assert not re.search(r"\btqdm\(", path.read_text(encoding="utf-8")) or path.name == "_output.py", path


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_a_table_that_a_full_disk_swallowed_is_told():
    with open("/dev/full", "w") as full:
        done = subprocess.run(command("results", "puzzles-joint"), stdout=full, stderr=subprocess.PIPE, env=ENVIRONMENT)
    assert done.returncode == 0
    assert done.stderr.decode() == "gamlib: not all that was printed could be written (No space left on device)\n"
