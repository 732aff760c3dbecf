"""A finished run's folder: returned or refused, never overwritten, and mended where something in it is damaged."""

import dataclasses
import json
import shutil

import pytest
import torch
from torch import nn

from gamlib import create_model, results
from gamlib.__main__ import main
from gamlib.data import DataError, puzzles
from gamlib.models.weights import pack, unpack
from gamlib.training import CheckpointError, Recipe, checkpoint, fit

TINY = Recipe("tiny", epochs=2, lr=0.1, schedule="one-cycle", batch_size=32)


@pytest.fixture(scope="module")
def data():
    return puzzles.dataset("joint").first(64)


def probe(attention="gam", **options):
    torch.manual_seed(0)
    return create_model("probe", attention, options or {"reduction": 4}, num_classes=10)


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    out = tmp_path_factory.mktemp("finished") / "run"
    fit(probe(), data, TINY, out=out)
    return out


@pytest.fixture
def finished(whole, tmp_path):
    """A finished run without its checkpoints, as it is kept to save disk space."""
    shutil.copytree(whole, tmp_path / "run")
    for path in checkpoint.paths(tmp_path / "run"):
        path.unlink()
    return tmp_path / "run"


def content(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_the_same_run_is_returned_with_its_weights(finished, data):
    before = content(finished)
    model = probe()
    result = fit(model, data, TINY, out=finished)
    assert result == results.read(finished / "result.json")[0]
    assert all(
        torch.equal(value, unpack(finished / "weights.safetensors")[1][key])
        for key, value in model.state_dict().items()
    )
    assert not model.training
    assert content(finished) == before


class Own(nn.Sequential):
    """A reader's network, which a result tells by its name alone."""

    def __init__(self, width):
        super().__init__(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, width), nn.Linear(width, 10))


@pytest.mark.parametrize(
    ("changes", "differing"),
    [
        ({"model": "se"}, "network"),
        ({"recipe": dataclasses.replace(TINY, lr=0.2)}, "recipe"),
        ({"recipe": dataclasses.replace(TINY, epochs=3)}, "recipe"),
        ({"seed": 1}, "seed"),
        ({"frozen": True}, "network"),
        ({"md5": {"train": "0"}}, "data"),
        ({"augment": True}, "data"),
    ],
)
def test_another_run_is_refused_and_changes_nothing(finished, data, changes, differing):
    before = content(finished)
    model = probe(changes["model"], reduction=4) if "model" in changes else probe()
    if "frozen" in changes:
        model.conv1.requires_grad_(False)
    other = {key: changes[key] for key in ("md5", "augment") if key in changes}
    arguments = {key: changes[key] for key in ("seed",) if key in changes}
    with pytest.raises(CheckpointError, match=rf"belongs to another run \(another {differing}\)"):
        fit(model, dataclasses.replace(data, **other), changes.get("recipe", TINY), out=finished, **arguments)
    assert content(finished) == before


def test_two_networks_of_one_name_are_told_apart(data, tmp_path):
    fit(Own(4), data, TINY, out=tmp_path)
    for path in checkpoint.paths(tmp_path):
        path.unlink()
    with pytest.raises(CheckpointError, match="another network"):
        fit(Own(5), data, TINY, out=tmp_path)


@pytest.mark.parametrize("left", ["result.json", "weights.safetensors"])
def test_a_part_that_is_left_of_a_finished_run_is_never_overwritten(finished, data, left):
    (finished / {"result.json": "weights.safetensors", "weights.safetensors": "result.json"}[left]).unlink()
    before = content(finished)
    with pytest.raises(CheckpointError, match=r"not all is whole .* and no checkpoint; use another output folder"):
        fit(probe(), data, TINY, out=finished)
    assert content(finished) == before


def test_no_resume_starts_again(finished, data):
    result = fit(probe(), data, dataclasses.replace(TINY, lr=0.05), out=finished, resume="no")
    assert results.read(finished / "result.json")[0] == result
    assert result.recipe["lr"] == 0.05


@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "empty", "no result", "no json", "no chart", "empty chart", "no weights"]
)
def test_a_damaged_folder_mends_itself_from_its_checkpoint(whole, data, tmp_path, damage, recwarn):
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    weights, result = out / "weights.safetensors", out / "result.json"
    good = weights.read_bytes()
    if damage == "flipped":
        weights.write_bytes(good[:-5] + bytes([good[-5] ^ 1]) + good[-4:])
    elif damage in ("cut", "empty"):
        weights.write_bytes(good[: len(good) // 2 if damage == "cut" else 0])
    elif damage == "empty chart":
        (out / "curves.png").write_bytes(b"")
    elif damage == "no json":
        result.write_text("{")
    else:
        {"no result": result, "no weights": weights, "no chart": out / "curves.png"}[damage].unlink()
    fit(probe(), data, TINY, out=out)
    assert weights.read_bytes() == good
    assert results.read(result)[0].curves == results.read(whole / "result.json")[0].curves
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    told = [str(warning.message) for warning in recwarn if "written anew" in str(warning.message)]
    assert len(told) == (damage in ("cut", "flipped", "empty", "no json"))


def test_weights_are_the_same_bytes_each_time_and_a_flipped_bit_is_seen(tmp_path):
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(3, dtype=torch.float16)}
    about = {f"key{i}": "text" for i in range(8)}
    first = pack(state, about)
    assert all(pack(state, about) == first for _ in range(20))
    path = tmp_path / "w.safetensors"
    path.write_bytes(first)
    told, read = unpack(path)
    assert all(torch.equal(read[key], state[key]) for key in state)
    assert told.items() >= about.items()
    for place in (len(first) - 1, len(first) - 20):
        path.write_bytes(first[:place] + bytes([first[place] ^ 4]) + first[place + 1 :])
        with pytest.raises(ValueError, match="is damaged: its numbers are not those that were saved"):
            unpack(path)
    header = int.from_bytes(first[:8], "little")
    assert header % 8 == 0
    assert json.loads(first[8 : 8 + header])["a"]["shape"] == [2, 3]


def test_a_compiled_network_is_saved_as_what_it_is_inside(data, tmp_path):
    fit(torch.compile(probe(), backend="eager"), data, TINY, out=tmp_path)
    assert unpack(tmp_path / "weights.safetensors")[1].keys() == probe().state_dict().keys()
    assert main(["evaluate", str(tmp_path), "--data", "puzzles-joint"]) == 0


def test_weights_of_a_wrapped_network_fit(tmp_path):
    for wrapper in ("_orig_mod.", "module."):
        path = tmp_path / "w.safetensors"
        path.write_bytes(pack({wrapper + key: value for key, value in probe().state_dict().items()}, {}))
        create_model("probe", "gam", {"reduction": 4}, num_classes=10, weights=path)


def test_files_of_others_are_left_alone(data, tmp_path):
    for name in ("checkpoint-mine.pt.partial", "checkpoint-mine.pt"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "checkpoint-0000000001.pt.partial").write_text("half, of a process that was killed")
    fit(probe(), data, TINY, out=tmp_path)
    assert (tmp_path / "checkpoint-mine.pt.partial").read_text() == "mine"
    assert not list(tmp_path.glob("checkpoint-00*.partial"))


def test_texts_about_weights_may_say_anything(data, tmp_path):
    fit(probe(), data, TINY, out=tmp_path)
    about, weights = unpack(tmp_path / "weights.safetensors")
    about.pop("sha256")
    (tmp_path / "weights.safetensors").write_bytes(pack(weights, about | {"run": "5"}))
    for path in tmp_path.glob("checkpoint-*.pt"):
        path.unlink()
    with pytest.raises(CheckpointError, match="holds what a run or another program left"):
        fit(probe(), data, TINY, out=tmp_path)


def test_a_broken_tensorboard_ends_no_run(data, tmp_path, monkeypatch):
    class Broken:
        def find_spec(self, name, path=None, target=None):
            if name == "torch.utils.tensorboard":
                raise TypeError("Descriptors cannot be created directly")

    monkeypatch.delitem(__import__("sys").modules, "torch.utils.tensorboard", raising=False)
    monkeypatch.setattr("sys.meta_path", [Broken(), *__import__("sys").meta_path])
    with pytest.warns(UserWarning, match="no curves for TensorBoard: it fails") as told:
        fit(probe(), data, TINY, out=tmp_path, tensorboard=True)
    assert len([w for w in told if "TensorBoard" in str(w.message)]) == 1
    assert (tmp_path / "result.json").is_file()


def test_a_file_system_without_locks(data, tmp_path, monkeypatch):
    def no_lock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", no_lock)
    assert fit(probe(), data, TINY, out=tmp_path).curves


def test_the_first_checkpoint_that_does_not_fit_speaks_of_none_before_it(data, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("gamlib.training.checkpoint.write", full)
    with pytest.raises(CheckpointError, match=r"No space left on device.*Make room, or choose another output folder"):
        fit(probe(), data, TINY, out=tmp_path)


def test_a_whole_run_is_returned_whatever_became_of_its_checkpoints(whole, data, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    for path in checkpoint.paths(tmp_path / "run"):
        path.write_bytes(path.read_bytes()[:5000])
    assert fit(probe(), data, TINY, out=tmp_path / "run") == results.read(whole / "result.json")[0]


def test_what_is_written_for_readers_never_stands_between_a_run_and_its_end(data, tmp_path):
    """Charts, the log and TensorBoard: a name that mathtext chokes on, files and folders in the way."""
    odd = dataclasses.replace(data, name="p$1_$2")
    assert fit(probe(), odd, TINY, out=tmp_path / "a").data == "p$1_$2"
    assert (tmp_path / "a" / "curves.png").is_file()
    (tmp_path / "b" / "curves.png").mkdir(parents=True)
    with pytest.warns(UserWarning, match=r"curves\.png could not be drawn"):
        fit(probe(), data, TINY, out=tmp_path / "b")
    assert (tmp_path / "b" / "result.json").is_file()
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "tensorboard").touch()
    with pytest.warns(UserWarning, match="no curves for TensorBoard"):
        fit(probe(), data, TINY, out=tmp_path / "c", tensorboard=True)
    assert (tmp_path / "c" / "result.json").is_file()


def test_data_that_breaks_in_the_middle_loses_no_step(data, tmp_path):
    class Breaks(type(data)):
        def train_batches(self, batches, seed, epoch):
            for i, batch in enumerate(super().train_batches(batches, seed, epoch)):
                if (epoch, i) == (1, 1):
                    raise DataError("a worker was killed")
                yield batch

    fields = {field.name: getattr(data, field.name) for field in dataclasses.fields(data)}
    with pytest.raises(DataError, match="a worker was killed"):
        fit(probe(), Breaks(**fields), TINY, out=tmp_path)
    assert checkpoint.read(checkpoint.paths(tmp_path)[0])["step"] == 3


@pytest.mark.parametrize("name", ["metrics.jsonl", "curves.png"])
def test_what_another_program_left_is_not_written_over(data, tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(CheckpointError, match="holds what a run or another program left"):
        fit(probe(), data, TINY, out=tmp_path)
    assert (tmp_path / name).read_text() == "mine"


def test_a_folder_in_the_logs_place_is_refused_at_once(data, tmp_path):
    (tmp_path / "metrics.jsonl").mkdir()
    with pytest.raises(CheckpointError, match="holds what a run or another program left"):
        fit(probe(), data, TINY, out=tmp_path)


def test_another_programs_comparison_is_not_written_over(tmp_path, capsys):
    (tmp_path / "compare.json").write_text("{}")
    assert main(["compare", "--attention", "none", "--out", str(tmp_path)]) == 2
    assert "compare.json: schema None, expected 1" in capsys.readouterr().err
    assert (tmp_path / "compare.json").read_text() == "{}"


def test_a_file_as_output_folder_is_a_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    for command in ("train", "compare"):
        assert main([command, "--out", str(tmp_path / "file")]) == 2
        assert f"the output folder {tmp_path / 'file'} can't be made (File exists)" in capsys.readouterr().err


def test_a_refusal_says_which_seed(finished, data):
    with pytest.raises(CheckpointError, match=r"another seed.*; seed is 0 there and 1 here"):
        fit(probe(), data, TINY, seed=1, out=finished)


def test_a_finished_run_is_returned_where_no_lock_can_be_made(finished, data, monkeypatch):
    """As on a disk that can only be read; root may write into any folder, so the system is asked to refuse."""
    before = content(finished)

    def refuse(path, mode="r", *rest, **more):
        if "w" in mode:
            raise PermissionError(13, "Read-only file system", str(path))
        return open(path, mode, *rest, **more)

    monkeypatch.setattr("gamlib.training.folder.open", refuse, raising=False)
    assert fit(probe(), data, TINY, out=finished) == results.read(finished / "result.json")[0]
    assert content(finished) == before


def test_another_runs_result_is_not_handed_out(whole, data, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    fit(probe("se"), data, TINY, out=tmp_path / "other")
    expected = (whole / "result.json").read_bytes()
    shutil.copy(tmp_path / "other" / "result.json", tmp_path / "run")
    with pytest.warns(UserWarning, match="is of se with seed 0, but weights.safetensors is not; written anew"):
        assert fit(probe(), data, TINY, out=tmp_path / "run").label == "gam"
    assert json.loads((tmp_path / "run" / "result.json").read_bytes())["runs"][0]["network"]["attention"] == "gam"
    assert b'"gam"' in expected
    shutil.copy(tmp_path / "other" / "result.json", tmp_path / "run")
    for path in checkpoint.paths(tmp_path / "run"):
        path.unlink()
    with pytest.raises(CheckpointError, match=r"is of se with seed 0, but weights\.safetensors is not"):
        fit(probe(), data, TINY, out=tmp_path / "run")


def test_what_a_lock_or_a_chart_would_write_over_is_kept(data, tmp_path, capsys):
    (tmp_path / "keep").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / ".lock").symlink_to(tmp_path / "keep")
    fit(probe(), data, TINY, out=tmp_path / "run")
    assert (tmp_path / "keep").read_text() == "mine"
    (tmp_path / "both").mkdir()
    (tmp_path / "both" / "compare.png").write_text("mine")
    assert main(["compare", "--attention", "none", "--out", str(tmp_path / "both")]) == 2
    assert "holds a compare.png without a compare.json" in capsys.readouterr().err


def test_dollars_in_a_name_are_drawn(finished):
    (run,) = results.read(finished / "result.json")
    assert results.draw_errors([dataclasses.replace(run, data="a$\\frac$b")]).savefig(finished / "x.png") is None
