"""What a run is known by: its mechanism's name and place, its classes, its folder."""

import dataclasses
import signal
from functools import partial
from pathlib import Path

import pytest

from gamlib import BAM, GAM, create_model, register_attention
from gamlib.__main__ import main
from gamlib.attention import registry
from gamlib.attention.controls import Scaled
from gamlib.data import puzzles
from gamlib.training import Stopped, fit, recipes


@pytest.fixture(autouse=True)
def own_registry(monkeypatch):
    """What a test registers is gone after it."""
    monkeypatch.setattr("gamlib.attention.registry._REGISTRY", dict(registry._REGISTRY))


def test_a_registered_class_is_known_by_its_name(tmp_path, capsys):
    """In create_model's spec, in the checkpoint, and to evaluate; where it is not registered, evaluate says so."""

    class Mine(GAM):
        pass

    register_attention("mine", Mine)
    for attention, options, name in [
        (Mine, {"reduction": 4}, "mine"),
        (partial(Mine, reduction=4), {}, "mine"),
        (GAM, {"reduction": 4}, "gam"),
        ("gam", {"reduction": 4}, "gam"),
    ]:
        model = create_model("probe", attention, options, num_classes=10, width=8)
        assert (model.spec["attention"], model.spec["attention_options"]["reduction"]) == (name, 4)
    for attention, name in [(GAM, "gam"), (Mine, "mine")]:
        out = tmp_path / name
        model = create_model("probe", attention, {"reduction": 4}, num_classes=10, width=8)
        fit(model, puzzles.dataset("joint").first(256), recipes.get("smoke"), out=out)
        for path in (out, max(out.glob("checkpoint-*.pt")), out / "weights.safetensors"):
            assert main(["evaluate", str(path)]) == 0
            assert f"probe + {name} on 2,000 test images" in capsys.readouterr().out
    del registry._REGISTRY["mine"]
    assert main(["evaluate", str(tmp_path / "mine")]) == 2
    error = capsys.readouterr().err
    assert "holds a network with attention 'mine', which this process does not know" in error
    assert "register_attention('mine', ...)" in error


def test_bam_stands_where_bam_stands():
    class Subclass(BAM):
        pass

    class Registered(BAM):
        pass

    class InEveryBlock(BAM):
        place = "block"

    def places(attention, **options):
        model = create_model("resnet18", attention, options, num_classes=10)
        return [name for name, _ in model.named_modules() if name.endswith("attention")]

    register_attention("registered", Registered)
    expected = ["layer1.attention", "layer2.attention", "layer3.attention"]
    for attention in ("bam", BAM, partial(BAM, reduction=8), Subclass, partial(Subclass), "registered", Registered):
        assert places(attention) == expected
    assert places(partial(partial(BAM), reduction=8)) == expected
    assert len(places(InEveryBlock)) == len(places("se")) == 8
    assert create_model("resnet18", partial(BAM, reduction=8)).spec["attention_options"] == {"reduction": 8}


def test_default_folders_tell_all_options_apart(tmp_path, monkeypatch, capsys):
    """As the command line is typed, so is the folder named: no two of these meet in one."""
    monkeypatch.chdir(tmp_path)
    folders = []

    def no_fit(model, data, recipe, seed, out, *rest, **named):
        folders.append(str(out))
        raise Stopped("enough", signal.SIGTERM)

    monkeypatch.setattr("gamlib.cli.train.fit", no_fit)
    monkeypatch.setattr("gamlib.cli.train.forecast", lambda *_: "")
    usual = ["train", "--attention", "gam", "--recipe", "smoke"]
    given = [
        [],
        ["--reduction", "4"],
        ["--reduction", "2"],
        ["--attention", "gam:reduction=4,kernel_size=3"],
        ["--attention", "gam:reduction=2,kernel_size=3"],
        ["--seed", "1"],
        ["--epochs", "2"],
        ["--lr", "0.05"],
        ["--schedule", "step", "--milestones", "1", "2", "--epochs", "3"],
        ["--schedule", "step", "--milestones", "2", "--epochs", "3"],
        ["--precision", "fp32"],
        ["--model", "resnet20"],
        ["--model", "resnet18"],
        ["--model", "resnet18", "--stem", "imagenet"],
        ["--data", "puzzles-channel"],
    ]
    for options in given:
        assert main([*usual, *options]) == 143
    assert len(set(folders)) == len(given), folders
    assert main([*usual, "--reduction", "16"]) == 143
    assert folders[-1] == folders[0], "what is the default need not be said"
    assert folders[0] == str(Path("runs/puzzles-joint-probe-gam-smoke-seed0"))


def test_evaluate_refuses_other_classes(tmp_path, capsys, monkeypatch):
    data_set = puzzles.dataset("joint").first(256)
    model = create_model("probe", num_classes=10, width=8)
    fit(model, data_set, recipes.get("smoke"), out=tmp_path)
    for path in (tmp_path, max(tmp_path.glob("checkpoint-*.pt"))):
        for classes, said in [
            (tuple("0123456798"), "class 8 is '8' in the one and '9' in the other"),
            (tuple("0123456789a"), "10 against 11"),
        ]:
            other = dataclasses.replace(data_set, classes=classes, num_classes=len(classes))
            monkeypatch.setattr("gamlib.cli.options.chosen_data", lambda *_, other=other: other)
            assert main(["evaluate", str(path)]) == 2
            assert said in capsys.readouterr().err
        monkeypatch.setattr("gamlib.cli.options.chosen_data", lambda *_: dataclasses.replace(data_set, classes=()))
        assert main(["evaluate", str(path)]) == 0


def test_a_readers_class_of_one_of_our_names_is_not_taken_for_ours():
    class gam(GAM):
        pass

    def scaled(channels):
        return GAM(channels, reduction=4)

    assert create_model("probe", gam, {"reduction": 4}).spec["attention"] == "own-gam"
    assert create_model("probe", scaled).spec["attention"] == "own-scaled"
    assert create_model("probe", GAM, {"reduction": 4}).spec["attention"] == "gam"


def test_a_constant_of_another_size_is_another_run(tmp_path):
    for factor in (0.25, 8.0):
        model = create_model("probe", lambda channels, factor=factor: Scaled(channels, factor=factor), width=8)
        assert f"factor={factor}" in repr(model)


def test_names_that_lead_elsewhere_are_refused():
    for name in ("a/b", "../x", "a:b", "none ", "1"):
        with pytest.raises(ValueError, match="name must be a non-empty string in lower case"):
            register_attention(name, GAM)
