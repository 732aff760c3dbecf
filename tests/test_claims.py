"""gamlib.course.claims: verdicts from recorded runs, each case with runs made for it."""

import dataclasses
import re

import pytest
from test_results import run

from gamlib import results
from gamlib.course import claims

VERDICTS = ("supported", "contradicted", "can't say yet", "not tested")


def given(monkeypatch, runs):
    """Let these be the recorded runs of every study that a judge asks for first."""
    asked = []

    def runs_of(study):
        asked.append(study)
        return runs if study == asked[0] else []

    monkeypatch.setattr(claims, "runs_of", runs_of)


def test_every_claim_has_a_verdict_and_none_is_stronger_than_its_runs():
    found = list(claims.judged())
    assert len(found) >= 25
    for claim, finding in found:
        assert all((claim.where, claim.text, finding.scale, finding.evidence))
        assert finding.verdict in VERDICTS
        seeds = [int(n) for n in re.findall(r"(\d+) seeds?\b", finding.evidence)]
        if finding.verdict != "not tested":
            assert finding.scale != "no run"
        if finding.verdict == "supported":
            assert all(n >= claims.MIN_SEEDS for n in seeds)
            assert "no run" not in finding.evidence
        if claim.where not in (claims.PUZZLES,):
            assert "puzzles" not in finding.scale, "the paper speaks of photographs"
    printed = claims.table()
    assert all(claim.text in printed for claim, _ in found)
    parts = [printed.index(f"**{part}**") for part in (claims.PAPER, claims.PHOTOGRAPHS, claims.PUZZLES)]
    assert parts == sorted(parts)
    figure, words = claims.board()
    drawn = [text.get_text().strip() for text in figure.axes[0].texts]
    for claim, finding in found:
        place = drawn.index(claim.text)
        assert drawn[place + 1] == finding.verdict
        assert f"{claim.text.rstrip('.')}: {finding.verdict}" in words


@pytest.mark.parametrize(
    ("gam", "others", "verdict"),
    [
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1]}, "supported"),
        ([41.0, 41.2, 41.1], {"none": [39.0, 39.1, 39.2]}, "contradicted"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 39.0, 37.1]}, "can't say yet"),  # the interval holds 0
        ([39.0, 39.1], {"none": [45.0, 45.1]}, "not tested"),
        ([45.0, 45.1], {"none": [39.0, 39.1]}, "not tested"),
        ([39.0, 39.1, 39.2], {}, "not tested"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1], "se": [39.1, 39.0, 39.2]}, "can't say yet"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1], "se": [41.0]}, "not tested"),
        ([39.0, 39.1, 39.2], {"none": [39.1, 39.0, 39.2], "se": [41.0]}, "can't say yet"),
        ([39.0, 39.1, 39.2], {"none": [39.1, 39.0, 39.2], "se": [37.0, 37.2, 37.1]}, "contradicted"),
        ([39.0, 39.1, 39.2], {"none": [41.0, 41.2, 41.1], "se": [41.0, 41.3, 41.1]}, "supported"),
    ],
)
def test_the_verdict_on_errors(monkeypatch, gam, others, verdict):
    sides = {"gam": gam} | others
    given(
        monkeypatch, [run(seed, error, label) for label, errors in sides.items() for seed, error in enumerate(errors)]
    )
    finding = claims.lower_error("gam", ["none", *(["se"] if "se" in others else [])], ["one", "two"])()
    assert finding.verdict == verdict, finding.evidence
    assert finding.scale == ("resnet20, cifar100, 12 epochs" if others else "no run")


@pytest.mark.parametrize(
    ("solved", "seeds", "verdict"),
    [
        ({"gam": 4, "none": 0}, 4, "supported"),
        ({"gam": 0, "none": 4}, 4, "contradicted"),
        ({"gam": 4, "none": 4}, 4, "can't say yet"),  # a ceiling: nothing is left to gain
        ({"gam": 0, "none": 0}, 4, "can't say yet"),  # both guess
        ({"gam": 4, "none": 1}, 4, "can't say yet"),
        ({"gam": 3, "none": 0}, 4, "can't say yet"),
        ({"gam": 3, "none": 0}, 3, "not tested"),  # by chance in one case of ten
        ({"gam": 0, "none": 0}, 0, "not tested"),
        ({"gam": 4, "none": 0, "se": 4}, 4, "can't say yet"),
        ({"gam": 0, "none": 0, "se": 4}, 4, "contradicted"),
    ],
)
def test_the_verdict_on_a_puzzle(monkeypatch, solved, seeds, verdict):
    runs = [
        puzzle_run("joint", seed, 0.0 if seed < won else 60.0 - 5 * (label == "gam"), label)
        for label, won in solved.items()
        for seed in range(seeds)
    ]
    others = [puzzle_run("spatial", seed, 0.0, "none") for seed in (8, 9)]
    given(monkeypatch, runs + others)
    finding = claims.solves_more("gam", [label for label in solved if label != "gam"], "joint")()
    assert finding.verdict == verdict
    assert finding.evidence.startswith(f"solved by gam: {solved['gam']} of {seeds}, none: {solved['none']} of {seeds}")
    assert finding.scale == ("probe, puzzles-joint, 12 epochs" if seeds else "no run")


def puzzle_run(task: str, seed: int, error: float, label: str, **changes: object) -> results.Result:
    return run(seed, error, data=f"puzzles-{task}", network={"name": "probe", "attention": label}, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 0},
        {"recipe": {"name": "puzzles", "epochs": 200}},
        {"data_md5": {"train": "another"}},
        {"network": {"name": "probe", "attention": "gam", "attention_options": {"reduction": 8}}},
    ],
)
def test_no_verdict_on_runs_that_are_not_of_one_network_one_a_seed(monkeypatch, changes):
    good = [puzzle_run("joint", seed, 0.0, "gam") for seed in range(2)]
    odd = dataclasses.replace(puzzle_run("joint", 2, 0.0, "gam"), **changes)
    plain = [puzzle_run("joint", seed, 60.0, "none") for seed in range(3)]
    given(monkeypatch, [*good, odd, *plain])
    with pytest.raises(ValueError, match="not one run a seed of one network"):
        claims.solves_more("gam", ["none"], "joint")()


def test_seeds_that_do_not_meet_are_not_tested(monkeypatch):
    given(monkeypatch, [run(seed, 39.0, "gam") for seed in range(3)] + [run(seed, 41.0) for seed in range(3, 6)])
    finding = claims.lower_error("gam", ["none"], ["one"])()
    assert (finding.verdict, finding.scale) == ("not tested", "resnet20, cifar100, 12 epochs")
    assert "no seed that both have" in finding.evidence


@pytest.mark.parametrize(
    ("size", "corner", "centre", "verdict"),
    [(4, 16, 16, "supported"), (7, 49, 49, "supported"), (8, 49, 64, "contradicted"), (14, 49, 169, "contradicted")],
)
def test_what_a_gate_sees_of_a_map(size, corner, centre, verdict):
    """A window of 13 x 13 cells, cut off at the edges."""
    finding = claims.sees_the_map(size)()
    assert finding.verdict == verdict
    shares = [f"{100 * cells / size**2:.0f}" for cells in (corner, centre)]
    assert finding.evidence.endswith(f"{size}: {shares[0]} and {shares[1]}%")
    both = claims.sees_the_map(4, size)()
    assert both.verdict == verdict, "a claim on several maps is as strong as its weakest"
    assert both.evidence.endswith(f"4: 100 and 100%, {size}: {shares[0]} and {shares[1]}%")


def test_the_halves_are_not_mixed_up(monkeypatch):
    """Table 3's ch is GAM without its spatial gate, sp without its channel gate."""
    errors = {"none": 41.0, "gam-spatialFalse": 39.0, "gam-channelFalse": 43.0}
    options = {"gam-spatialFalse": {"spatial": False}, "gam-channelFalse": {"channel": False}}
    runs = []
    for label, error in errors.items():
        network = {"name": "resnet20", "attention": label.partition("-")[0], "stem": "cifar", "num_classes": 100}
        network |= {"attention_options": options.get(label, {})}
        runs += [run(seed, error + 0.1 * seed, network=network) for seed in range(3)]
    given(monkeypatch, runs)
    verdicts = {claim.text: claim.judge for claim in claims.CLAIMS}
    assert verdicts["Channel attention alone errs less than none."]().verdict == "supported"
    given(monkeypatch, runs)
    assert verdicts["Spatial attention alone errs less than none."]().verdict == "contradicted"


def test_what_the_recorded_puzzles_say():
    """By name, so that a study or a mechanism left out shows: these runs are complete, and do not change."""
    found = {claim.text: finding for claim, finding in claims.judged() if claim.where == claims.PUZZLES}
    told = [(text, finding.verdict) for text, finding in found.items()]
    assert told == [
        ("GAM solves joint more often than all that pool.", "can't say yet"),
        ("GAM solves spatial more often than all that pool.", "contradicted"),
        ("GAM solves channel more often than all that pool.", "contradicted"),
        ("GAM solves joint more often than a plain network of its size.", "supported"),
        ("Channel attention alone solves joint more often than none.", "can't say yet"),
        ("Spatial attention alone solves joint more often than none.", "supported"),
        ("Both halves together solve joint more often than either alone.", "can't say yet"),
    ]
    first = found["GAM solves joint more often than all that pool."].evidence
    assert first == "solved by gam: 5 of 5, se: 0 of 5, bam: 5 of 5, cbam: 3 of 5, tam: 5 of 5"
