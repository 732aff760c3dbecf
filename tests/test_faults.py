"""Nothing that happens to a run's process loses the run: kills, signals, full disks, damaged files."""

import contextlib
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from processes import ended, start, start_together
from training_run import RECIPE, STEPS, data, network

from gamlib import _files, results
from gamlib._files import whole
from gamlib.training import CheckpointError, Speed, Stopped, checkpoint, fit
from gamlib.training.folder import RunFolder
from gamlib.training.interrupt import SIGNALS, Interrupt


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run tells that nobody disturbs, by precision and number of processes."""
    told = {}

    def run(precision, world=1):
        if (precision, world) not in told:
            out = tmp_path_factory.mktemp("whole") / "run"
            ends = [ended(process) for process in start_together(world, out, "--precision", precision)]
            assert [code for code, _, _ in ends] == [0] * world, ends[0][2]
            told[precision, world] = ends[0][1]
        return told[precision, world]

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_killed_ten_times_ends_as_one_that_was_not(precision, undisturbed, tmp_path):
    """The seed of the steps is fixed, so that a failure can be repeated."""
    for step in sorted(random.Random(precision).sample(range(1, STEPS), 10)):
        code, told, _ = ended(start(tmp_path, "--precision", precision, "--signal", signal.SIGKILL, "--at", step))
        assert (code, told) == (-signal.SIGKILL, {})
    code, told, err = ended(start(tmp_path, "--precision", precision))
    assert code == 0, err
    whole = undisturbed(precision)
    assert told["fingerprint"] == whole["fingerprint"]
    assert told["rng"] == whole["rng"]
    assert len(whole["rates"]) == STEPS
    assert told["rates"] == whole["rates"][-len(told["rates"]) :]


def test_precisions_end_differently(undisturbed):
    """So the fingerprint does see the weights."""
    assert undisturbed("fp32")["fingerprint"] != undisturbed("bf16")["fingerprint"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("world", [1, 2])
def test_a_signal_to_one_process_stops_all_at_the_same_step(number, code, world, undisturbed, tmp_path):
    at = 13
    command = (tmp_path, "--signal", int(number), "--at", at, "--rank", world - 1)
    ends = [ended(process) for process in start_together(world, *command)]
    assert ends[-1][0] == code, ends[-1][2]
    for _, told, err in ends:
        assert told["stopped"].startswith(f"Stopped after step {at + 1} of {STEPS}; saved in {tmp_path}"), err
        assert len(told["rates"]) == at + 1
    # Before the first step, every third, and once for the stop.
    assert [told["saves"] for _, told, _ in ends] == [1 + at // 3 + 1] + [0] * (
        world - 1
    )  # none after the epoch, since one is quite new
    assert checkpoint.paths(tmp_path)[0].name == f"checkpoint-{at + 1:010d}.pt"
    ends = [ended(process) for process in start_together(world, tmp_path)]
    assert ends[0][0] == 0, ends[0][2]
    assert ends[0][1]["fingerprint"] == undisturbed("fp32", world)["fingerprint"]


# ------------------------------------------------------------------ kills inside the saving


def state(step):
    torch.manual_seed(step)
    return {"run": {"seed": "0"}, "step": step, "model": {"weight": torch.randn(50_000)}}


KILLS = 20


def save_and_die(folder, step, moment):
    """Called in a process of its own: save, and be killed at one of 20 moments."""

    def die(*_, **__):
        os.kill(os.getpid(), signal.SIGKILL)

    class File:
        def __init__(self, *arguments):
            self.file = open(*arguments)  # noqa: SIM115

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def write(self, content):
            self.file.write(content[: len(content) * moment // 12])
            self.file.flush()
            die()

    if moment < 12:
        _files.open = File
    elif moment < 15:
        os.fsync = die
    elif moment < 17:
        os.replace = die
    elif moment == 17:
        os.close = die  # after the rename and the folder's fsync
    else:
        checkpoint.Path.unlink = die
    checkpoint.save(state(step), folder)


def test_a_kill_inside_the_saving_leaves_a_usable_newest_checkpoint(tmp_path):
    for step in (1, 2):
        checkpoint.save(state(step), tmp_path)
    found = []
    for moment in range(KILLS):
        step = moment + 3
        code = f"import test_faults as t; t.save_and_die(t.Path({str(tmp_path)!r}), {step}, {moment})"
        # Eight at a time would be faster, but each kill is to be seen alone.
        done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, capture_output=True)
        assert done.returncode == -signal.SIGKILL, done.stderr
        partials = len(list(tmp_path.glob("*.partial")))
        assert partials == (moment < 17)
        with RunFolder(tmp_path, 0, False):
            pass
        assert list(tmp_path.glob("*.partial")) == []
        newest = checkpoint.load(tmp_path, {"seed": "0"})
        found.append(newest["step"] - step)
        expected = state(newest["step"])
        assert torch.equal(newest["model"]["weight"], expected["model"]["weight"])
        checkpoint.save(state(step), tmp_path)
        assert [path.name for path in checkpoint.paths(tmp_path)] == [
            f"checkpoint-{kept:010d}.pt" for kept in (step, step - 1)
        ]
    assert found == [-1] * 17 + [0] * 3  # the one before, until the rename


# ------------------------------------------------------------------ full disks


def limited_size():
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))


def test_a_checkpoint_that_does_not_fit_leaves_the_old_one(undisturbed, tmp_path):
    ended(start(tmp_path, "--signal", signal.SIGKILL, "--at", 7))
    before = {path: path.read_bytes() for path in checkpoint.paths(tmp_path)}
    code, told, err = ended(start(tmp_path, preexec_fn=limited_size))
    assert code == 2, err
    assert "could not be written: File too large. It needs 0.7 MB." in told["error"]
    assert "The checkpoint before it is intact" in told["error"]
    assert {path: path.read_bytes() for path in checkpoint.paths(tmp_path)} == before
    assert list(tmp_path.glob("*.partial")) == []
    assert ended(start(tmp_path))[1]["fingerprint"] == undisturbed("fp32")["fingerprint"]


def test_a_full_disk(undisturbed, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip("only root can mount a small disk; the test before this one limits the file's size instead")
    try:
        ended(start(disk / "run", "--signal", signal.SIGKILL, "--at", 7))
        before = {path: path.read_bytes() for path in checkpoint.paths(disk / "run")}
        (disk / "filler").write_bytes(bytes(shutil.disk_usage(disk).free - 50_000))
        code, told, err = ended(start(disk / "run"))
        assert code == 2, err
        assert "could not be written: No space left on device" in told["error"]
        assert {path: path.read_bytes() for path in checkpoint.paths(disk / "run")} == before
        (disk / "filler").unlink()
        assert ended(start(disk / "run"))[1]["fingerprint"] == undisturbed("fp32")["fingerprint"]
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# ------------------------------------------------------------------ damaged files


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def replace_by_another_file(path):
    torch.save({"state_dict": {}}, path)


def flip_a_weights_bit(path):
    """Nothing in the file's form tells: torch.load would take it."""
    content = bytearray(path.read_bytes())
    weight = state(2)["model"]["weight"].numpy().tobytes()
    content[content.index(weight[:64])] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("damage", [truncate, empty, replace_by_another_file, flip_a_weights_bit])
def test_a_damaged_checkpoint_is_named_and_the_one_before_it_is_taken(damage, tmp_path):
    for step in (1, 2):
        checkpoint.save(state(step), tmp_path)
    newest, older = checkpoint.paths(tmp_path)
    damage(newest)
    with pytest.warns(UserWarning, match=rf"{newest} .*going on from {older.name}"):
        assert checkpoint.load(tmp_path, {"seed": "0"})["step"] == 1
    assert checkpoint.paths(tmp_path) == [older]
    assert newest.with_suffix(".damaged").exists()  # nothing is thrown away
    damage(older) if damage is not flip_a_weights_bit else truncate(older)
    with pytest.raises(CheckpointError, match=rf"{older} .*delete it, or use another output folder, to start again"):
        checkpoint.load(tmp_path, {"seed": "0"})


def test_damage_is_put_aside_by_one_process_alone(tmp_path):
    """The others may find the file renamed already; the intact one must stay."""
    for step in (1, 2):
        checkpoint.save(state(step), tmp_path)
    newest, older = checkpoint.paths(tmp_path)
    truncate(newest)
    for put_aside in (False, True):
        with pytest.warns(UserWarning, match="going on from"):
            assert checkpoint.load(tmp_path, {"seed": "0"}, put_aside)["step"] == 1
        assert newest.exists() != put_aside
        assert older.exists()
    assert checkpoint.load(tmp_path, {"seed": "0"}, put_aside=False)["step"] == 1


def test_a_readers_own_copies_are_left_alone(tmp_path):
    checkpoint.save(state(1), tmp_path)
    for name in ("checkpoint-best.pt", "checkpoint-good.pt", "weights.pt"):
        shutil.copy(checkpoint.paths(tmp_path)[0], tmp_path / name)
    for step in (2, 3, 4):
        checkpoint.save(state(step), tmp_path)
    assert checkpoint.load(tmp_path, {"seed": "0"})["step"] == 4
    with RunFolder(tmp_path, 0, False) as folder:
        folder.clear()
    assert sorted(path.name for path in tmp_path.glob("*.pt")) == [
        "checkpoint-best.pt",
        "checkpoint-good.pt",
        "weights.pt",
    ]


def test_two_runs_never_write_into_one_folder(tmp_path):
    with RunFolder(tmp_path, 0, False):
        with (
            pytest.raises(CheckpointError, match=rf"another run is writing into {tmp_path}"),
            RunFolder(tmp_path, 0, False),
        ):
            pass
        code, told, err = ended(start(tmp_path))
        assert code == 2, err
        assert "another run is writing" in told["error"]
    with RunFolder(tmp_path, 0, False):  # the lock has gone
        pass


def test_pipes_in_the_folder_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / ".lock")
    os.mkfifo(tmp_path / "result.json")
    signal.alarm(20)  # ends the tests where one is
    try:
        with RunFolder(tmp_path, 0, False):
            pass
        with pytest.raises(ValueError, match=r"result\.json is not complete JSON \(it is no file\)"):
            results.read(tmp_path / "result.json")
    finally:
        signal.alarm(0)


def test_a_copy_that_does_not_fit_names_the_copy(tmp_path):
    with pytest.raises(OSError, match="No space") as caught, whole(tmp_path / "copy.jpg"):
        raise OSError(28, "No space left on device", "original.jpg", None, "copy.jpg.partial")
    assert caught.value.filename == str(tmp_path / "copy.jpg")


def test_a_checkpoint_is_due_by_the_clock(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr("gamlib.training.folder.time.monotonic", lambda: now[0])
    with RunFolder(tmp_path, 300.0, False) as folder:
        assert not folder.is_due()
        now[0] += 300
        assert folder.is_due()
        folder.save(state(1))
        assert not folder.is_due()
    with pytest.raises(ValueError, match="save_every must be 0 seconds or more, got nan"):
        RunFolder(tmp_path, float("nan"), False)


@pytest.fixture
def slow_disk(monkeypatch):
    """Lets a checkpoint be written when it is set."""
    ready, save = threading.Event(), checkpoint.save
    monkeypatch.setattr(checkpoint, "save", lambda *given: (ready.wait(20), save(*given)))
    return ready


def test_training_goes_on_while_a_checkpoint_is_written_and_does_not_reach_it(tmp_path, slow_disk):
    with RunFolder(tmp_path, 300, False) as folder:
        moving = state(1) | {"curves": [{"epoch": 1}]}
        folder.save(moving)
        moving["model"]["weight"].zero_()
        moving["curves"].append({"epoch": 2})
        assert not folder.is_due()  # nor does this wait
        assert checkpoint.paths(tmp_path) == []
        slow_disk.set()
        folder.wait()
        found = checkpoint.load(tmp_path, {"seed": "0"})
    assert torch.equal(found["model"]["weight"], state(1)["model"]["weight"])
    assert found["curves"] == [{"epoch": 1}]


def end(folder, kind):
    """End a run's folder as an error of this kind does; with None, as a whole run does."""
    with folder:
        folder.save(state(1))
        while kind is not None and not folder._writing.done():
            time.sleep(0.01)
        if kind is not None:
            raise kind


def test_a_run_does_not_end_before_its_checkpoint_is_written(tmp_path, slow_disk):
    for kind, out in ((None, tmp_path / "whole"), (KeyError, tmp_path / "ended")):
        slow_disk.clear()
        threading.Timer(0.3, slow_disk.set).start()
        with contextlib.suppress(KeyError):
            end(RunFolder(out, 0, False), kind)
        assert len(checkpoint.paths(out)) == 1


def test_the_folder_is_locked_until_the_last_checkpoint_is_written(tmp_path, monkeypatch):
    locked, save = [], checkpoint.save

    def slowly(*given):
        time.sleep(0.3)
        try:
            _files.lock(tmp_path).close()
        except BlockingIOError:
            locked.append(True)
        save(*given)

    monkeypatch.setattr(checkpoint, "save", slowly)
    for kind in (None, KeyError):
        folder = RunFolder(tmp_path, 0, False)
        with contextlib.suppress(KeyError), folder:
            folder.save(state(1))
            if kind is not None:
                raise kind
    assert locked == [True, True]
    _files.lock(tmp_path).close()


def test_an_error_of_any_kind_while_writing_does_not_hide_what_ended_the_run(tmp_path, monkeypatch):
    def fail(*_):
        raise MemoryError("no memory for the copy")

    monkeypatch.setattr(checkpoint, "save", fail)
    with pytest.raises(KeyError), pytest.warns(UserWarning, match="no memory for the copy"):
        end(RunFolder(tmp_path, 300, False), KeyError)
    with pytest.raises(MemoryError):
        end(RunFolder(tmp_path, 300, False), None)


def test_ctrl_c_while_a_write_is_waited_for_does_not_lose_its_error(tmp_path, monkeypatch):
    def fail(*_):
        raise CheckpointError("the disk is full")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save", fail)
    folder = RunFolder(tmp_path, 300, False)
    folder.save(state(1))
    with monkeypatch.context() as patch:
        patch.setattr("gamlib.training.folder.futures.wait", interrupted)
        with pytest.raises(KeyboardInterrupt):
            folder.wait()
    with pytest.raises(CheckpointError, match="the disk is full"):
        folder.wait()


def test_a_copied_state_keeps_what_a_state_dict_says_of_its_version():
    model = torch.nn.BatchNorm2d(3)
    copied = checkpoint.copied(model.state_dict())
    assert copied._metadata == model.state_dict()._metadata
    assert copied["weight"].data_ptr() != model.weight.data_ptr()


SLOW = """
import sys, time
sys.path[:0] = {paths!r}
import training_run
from gamlib.training import checkpoint
save = checkpoint.save
def slowly(state, folder):
    time.sleep({seconds} if state["step"] in {steps} else 0)
    save(state, folder)
checkpoint.save = slowly
sys.argv = ["training_run.py", {out!r}]
sys.exit(training_run.main())
"""


def slow_run(out, seconds, steps):
    """A process that trains, and takes its time to write some checkpoints."""
    paths = [str(Path(__file__).parent), *sys.path]
    code = SLOW.format(paths=paths, seconds=seconds, steps=steps, out=str(out))
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(holds, seconds=120):
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_sigterm_while_the_last_checkpoint_is_written_loses_nothing(tmp_path, undisturbed):
    process = slow_run(tmp_path, 3, (STEPS,))
    log = tmp_path / "metrics.jsonl"
    until(lambda: log.is_file() and log.read_text().count("\n") == 3)  # of the last epoch
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert checkpoint.paths(tmp_path)[0].name == f"checkpoint-{STEPS:010d}.pt"
    assert (tmp_path / "weights.safetensors").is_file()


def test_a_log_never_stands_without_a_checkpoint(tmp_path, monkeypatch):
    """It would pass for another program's, and the folder be refused."""
    stood, save, log = [], checkpoint.save, RunFolder.log

    def slowly(*given):
        time.sleep(1)
        save(*given)

    def noted(folder, curves):
        stood.append(len(checkpoint.paths(tmp_path)))
        log(folder, curves)

    monkeypatch.setattr(checkpoint, "save", slowly)
    monkeypatch.setattr(RunFolder, "log", noted)
    few = data().first(16)
    fit(network(), few, RECIPE, out=tmp_path, speed=Speed(precision="fp32"))
    assert min(stood) >= 1


def test_a_checkpoint_that_could_not_be_written_ends_the_run_at_the_next_chance(tmp_path, monkeypatch):
    def fail(*_):
        raise CheckpointError("the disk is full")

    monkeypatch.setattr(checkpoint, "save", fail)
    for ask in (RunFolder.wait, RunFolder.is_due, lambda folder: folder.save(state(2))):
        folder = RunFolder(tmp_path, 300, False)
        folder.save(state(1))
        while not folder._writing.done():
            time.sleep(0.01)
        with pytest.raises(CheckpointError, match="the disk is full"):
            ask(folder)
    with pytest.raises(CheckpointError, match="the disk is full"):
        end(RunFolder(tmp_path, 300, False), None)
    with pytest.raises(KeyError), pytest.warns(UserWarning, match="the disk is full"):
        end(RunFolder(tmp_path, 300, False), KeyError)


def test_file_and_folder_are_brought_to_the_disk(tmp_path, monkeypatch):
    synced, fsync = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (synced.append(stat.S_ISDIR(os.fstat(fd).st_mode)), fsync(fd)))
    checkpoint.save(state(1), tmp_path)
    assert synced == [False, True]


def test_a_folder_that_can_not_be_brought_to_the_disk_is_no_error(tmp_path, monkeypatch):
    def refuse(fd):
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "fsync", refuse)
    checkpoint.save(state(1), tmp_path)
    assert checkpoint.load(tmp_path, {"seed": "0"})["step"] == 1


# ------------------------------------------------------------------ signals


def test_a_first_signal_asks_and_a_second_ctrl_c_breaks_off():
    before = {number: signal.getsignal(number) for number in SIGNALS}
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.number == signal.SIGINT
        os.kill(os.getpid(), signal.SIGTERM)  # changes nothing any more
        assert interrupt.number == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert before == {number: signal.getsignal(number) for number in SIGNALS}


def test_a_closed_terminal_is_a_signal_too_unless_it_is_ignored():
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGHUP)
        assert interrupt.number == signal.SIGHUP
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with Interrupt() as interrupt:
            os.kill(os.getpid(), signal.SIGHUP)
            assert interrupt.number is None
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_notebook_shows_a_stopped_run_without_a_traceback():
    stopped = Stopped("Stopped after step 3.", signal.SIGTERM)
    assert stopped._render_traceback_() == ["Stopped after step 3."]
    assert stopped.exit_code == 143
    assert isinstance(stopped, KeyboardInterrupt)


def test_another_runs_checkpoint_stops_and_is_left_alone(tmp_path):
    checkpoint.save(state(1), tmp_path)
    before = checkpoint.paths(tmp_path)[0].read_bytes()
    with pytest.raises(CheckpointError, match=r"belongs to another run \(another seed\)"):
        checkpoint.load(tmp_path, {"seed": "1"})
    assert checkpoint.paths(tmp_path)[0].read_bytes() == before
