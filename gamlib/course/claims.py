"""The GAM paper's claims: what was run here for each, at what scale, and what it says.

Verdicts are worked out from counts and recorded runs, never typed. There are four:

    supported       every 95% interval of a difference, paired by seed, lies below 0
    contradicted    one of them lies above 0
    can't say yet   one of them holds 0, or both sides are at a ceiling; more seeds, or a harder task, may tell
    not tested      fewer than MIN_SEEDS paired seeds (runs that are counted: MIN_COUNTED of each), however they look

The paper speaks of photographs, so its claims are judged on photographs. What the puzzles say stands by itself; there,
a network solves a task or does not, so runs are counted. A verdict holds for the scale beside it, and for no other.
None is corrected for the number of claims: of twenty intervals about nothing, one misses 0.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch

from gamlib import results
from gamlib.attention import GAM
from gamlib.course import plan
from gamlib.paper import Recomputed, reproduce
from gamlib.results import Result

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Verdict = Literal["supported", "contradicted", "can't say yet", "not tested"]
MIN_SEEDS = 3
MIN_COUNTED = 4  # where runs are counted: three of three against none of three comes by chance in one case of ten
PAPER = "The paper's claims"
PHOTOGRAPHS = "Not in the paper, on photographs"
PUZZLES = "What the puzzles say"
COLOURS: dict[Verdict, str] = {
    "supported": "#7FC8A9",
    "contradicted": "#F2A378",
    "can't say yet": "#F3E3A1",
    "not tested": "#EDEDED",
}
POOLING = ("se", "bam", "cbam", "tam")  # the mechanisms that pool


@dataclass(frozen=True)
class Finding:
    """What was run for a claim, and what came out."""

    verdict: Verdict
    scale: str  # networks, data, epochs
    evidence: str  # the numbers


@dataclass(frozen=True)
class Claim:
    """A claim, in our words, and how it is judged."""

    where: str  # its place in the paper, or PHOTOGRAPHS or PUZZLES
    text: str
    judge: Callable[[], Finding]


def judged() -> Iterator[tuple[Claim, Finding]]:
    """All claims with their findings, in the paper's order."""
    for claim in CLAIMS:
        yield claim, claim.judge()


def table() -> str:
    """The claims as three Markdown tables: the paper's, ours about photographs, and what the puzzles say."""
    tables = []
    for part, found in _by_part().items():
        headings, rows = ["claim", "verdict", "at what scale", "evidence"], []
        for claim, finding in found:
            rows.append([claim.text, f"**{finding.verdict}**", finding.scale, finding.evidence])
            if part == PAPER:
                rows[-1].insert(0, claim.where)
        headings = ["place", *headings] if part == PAPER else headings
        lines = [headings, ["---"] * len(headings), *rows]
        tables.append(f"**{part}**\n\n" + "\n".join("| " + " | ".join(line) + " |" for line in lines))
    return "\n\n".join(tables)


def board() -> tuple["Figure", str]:
    """The verdicts on all claims as a figure, and the same in words, for `show`."""
    from matplotlib.figure import Figure

    rows: list[tuple[str, Verdict | None]] = []
    for part, found in _by_part().items():
        rows += [(part, None), *((claim.text, finding.verdict) for claim, finding in found)]
    figure = Figure(figsize=(8.5, 0.29 * len(rows)), dpi=70, layout="constrained", facecolor="white")
    panel = figure.subplots()
    panel.set(xlim=(0, 8.5), ylim=(len(rows), 0))
    panel.axis("off")
    for y, (text, verdict) in enumerate(rows):
        weight = "normal" if verdict else "bold"
        panel.text(1.7 if verdict else 0, y + 0.5, text, va="center", fontsize=11, weight=weight)
        if verdict:
            box = {"boxstyle": "square,pad=0.3", "facecolor": COLOURS[verdict], "edgecolor": "none"}
            panel.text(0.75, y + 0.5, f"{verdict:^15}", va="center", ha="center", fontsize=10.5, bbox=box)
    said = "; ".join(f"{text.rstrip('.')}: {verdict}" for text, verdict in rows if verdict)
    return figure, f"The claims, each with its verdict in a coloured box. {said}."


def _by_part() -> dict[str, list[tuple[Claim, Finding]]]:
    """All claims with their findings: the paper's, ours about photographs, and the puzzles'."""
    parts: dict[str, list[tuple[Claim, Finding]]] = {PAPER: [], PHOTOGRAPHS: [], PUZZLES: []}
    for claim, finding in judged():
        parts[claim.where if claim.where in parts else PAPER].append((claim, finding))
    return parts


# ------------------------------------------------------------------ how claims are judged


def recount() -> Finding:
    """Whether the networks have the printed parameters and FLOPs: nine figures of ten, at least."""
    met = [fits for row in recounted().values() for fits in (row.params_met, row.gflops_met)]
    evidence = f"{sum(met)} of {len(met)} figures are met to the printed digit; nine of ten were asked for"
    return Finding("supported" if sum(met) >= 0.9 * len(met) else "contradicted", "all rows, counted", evidence)


def cheaper_than_abn() -> Finding:
    """Whether GAM's ResNet-18 has fewer parameters and FLOPs than ABN's."""
    gam, abn = (recounted()[2, "resnet18", name] for name in ("gam", "abn"))
    cheaper = gam.parameters < abn.parameters and gam.macs < abn.macs
    evidence = (
        f"{gam.parameters / 1e6:.2f} against {abn.parameters / 1e6:.2f} M parameters, {gam.macs / 1e9:.2f} against "
        f"{abn.macs / 1e9:.2f} G FLOPs"
    )
    return Finding("supported" if cheaper else "contradicted", "ResNet-18, counted", evidence)


def groups_are_cheap() -> Finding:
    """Whether grouped convolutions prevent a notable increase: we call it notable from the double on."""
    plain, dense, grouped = (recounted()[1, "resnet50", name].parameters for name in ("none", "gam", "gam_gc"))
    evidence = (
        f"{grouped / plain:.1f} times the plain network's parameters, without groups {dense / plain:.1f}; notable: "
        "from twice on"
    )
    return Finding("supported" if grouped < 2 * plain else "contradicted", "ResNet-50, counted", evidence)


def sees_the_map(*sizes: int) -> Callable[[], Finding]:
    """Whether each gate of one GAM depends on the whole map: by the gradients of its logits, whatever is open."""

    def judge() -> Finding:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            gate = GAM(8, reduction=4).eval().spatial_gate
            maps = [torch.randn(1, 8, size, size, requires_grad=True) for size in sizes]
        gate.relu, gate.sigmoid = torch.nn.Identity(), torch.nn.Identity()
        shares = []  # in a corner and in the middle
        for x in maps:
            logits = gate(x).sum(1)[0]
            for place in (0, len(logits) // 2):
                (gradient,) = torch.autograd.grad(logits[place, place], x, retain_graph=True)
                shares.append(100 * (gradient.abs().sum((0, 1)) > 0).float().mean().item())
        told = ", ".join(f"{n}: {a:.0f} and {b:.0f}%" for n, a, b in zip(sizes, shares[::2], shares[1::2], strict=True))
        evidence = f"side of the map: share of it that a gate in a corner and one in the middle depend on; {told}"
        return Finding("supported" if min(shares) == 100 else "contradicted", "one module, by gradients", evidence)

    return judge


def lower_error(better: str, others: Sequence[str], studies: Sequence[str]) -> Callable[[], Finding]:
    """Whether `better` errs less than each of `others`: by the paired differences of the recorded runs of `studies`."""

    def judge() -> Finding:
        evidence, verdicts = [], []
        ours, rivals = of(studies, better), {other: of(studies, other) for other in others}
        for other, theirs in rivals.items():
            if not {run.seed for run in ours} & {run.seed for run in theirs}:
                evidence.append(f"{other}: " + ("no run" if not (ours and theirs) else "no seed that both have"))
                verdicts.append("not tested")
                continue
            difference = results.paired_difference(ours, theirs)
            evidence.append(f"{other}: {difference}")
            verdicts.append(verdict_on(difference))
        text = f"{better}'s top-1 error minus that of " + "; ".join(evidence)
        return Finding(weakest(verdicts), scale_of(ours if any(rivals.values()) else []), text)

    return judge


def verdict_on(difference: results.Summary) -> Verdict:
    """On "the first errs less", from the interval of the difference of two errors."""
    if difference.n < MIN_SEEDS:
        return "not tested"
    if difference.high < 0:
        return "supported"
    return "contradicted" if difference.low > 0 else "can't say yet"


def solves_more(ours: str, others: Sequence[str], task: str) -> Callable[[], Finding]:
    """Whether the probe solves a puzzle more often with `ours`: with every seed, and with each of `others` with none.

    Contradicted: one of the others solves it with every seed, and ours with none. Where both solve it, or neither
    does, and anywhere between, it can't be said: no error below 0 is left to gain, and two that guess err alike.
    """

    def judge() -> Finding:
        runs = {label: of([*PUZZLE_STUDIES, f"puzzles-{task}"], label, f"puzzles-{task}") for label in (ours, *others)}
        solved = {label: sum(run.top1_error < results.SOLVED for run in group) for label, group in runs.items()}
        evidence = "solved by " + ", ".join(f"{label}: {solved[label]} of {len(runs[label])}" for label in runs)
        verdicts = [verdict_on_counts((solved[ours], len(runs[ours])), (solved[o], len(runs[o]))) for o in others]
        scale = scale_of([run for group in runs.values() for run in group])
        return Finding(weakest(verdicts), scale, evidence)

    return judge


def verdict_on_counts(ours: tuple[int, int], theirs: tuple[int, int]) -> Verdict:
    """On "the first solves it more often", from (seeds that solve it, seeds) of both."""
    if min(ours[1], theirs[1]) < MIN_COUNTED:
        return "not tested"
    outcome = [("all" if won == seeds else "none" if won == 0 else "some") for won, seeds in (ours, theirs)]
    return {("all", "none"): "supported", ("none", "all"): "contradicted"}.get(tuple(outcome), "can't say yet")


def not_run(evidence: str) -> Callable[[], Finding]:
    """Nothing was run."""
    return lambda: Finding("not tested", "no run", evidence)


def weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """Verdict on a claim with several comparisons: that of its weakest."""
    order: list[Verdict] = ["contradicted", "can't say yet", "not tested", "supported"]
    return min(verdicts, key=order.index)


@functools.cache
def recounted() -> dict[tuple[int, str, str], Recomputed]:
    """The paper's rows, counted: (table, architecture, attention) -> row."""
    return {(done.row.table, done.row.architecture, done.row.attention): done for done in reproduce()}


@functools.cache
def runs_of(study: str) -> list[Result]:
    """The recorded runs of one study of the plan."""
    return plan.get(study, plan.read()).recorded()


def of(studies: Sequence[str], label: str, data: str | None = None) -> list[Result]:
    """The recorded runs of one network in some studies, one per seed; on one data set, where they have several.

    Raises:
        ValueError: where they differ in more than their seed, or two have the same: no verdict can rest on them.
    """
    runs = [run for study in studies for run in runs_of(study) if run.label == label and data in (None, run.data)]
    if len(results.groups(runs)) > 1 or len({run.seed for run in runs}) < len(runs):
        raise ValueError(f"the runs of {label} in {', '.join(studies)} are not one run a seed of one network")
    return runs


def scale_of(runs: Sequence[Result]) -> str:
    """Backbones, data and epochs of some runs."""
    if not runs:
        return "no run"
    shared = [{run.network["name"] for run in runs}, {run.data for run in runs}, {run.recipe["epochs"] for run in runs}]
    networks, data, epochs = (", ".join(map(str, sorted(values))) for values in shared)
    return f"{networks}, {data}, {epochs} epochs"


CIFAR = ("cifar100-resnet20-laptop", "cifar100-resnet20-parts")
LONGER = ("cifar100-resnet20-quick",)
PUZZLE_STUDIES = ("ablation-halves",)
CHANNEL, SPATIAL = "gam-spatialFalse", "gam-channelFalse"  # the halves: Table 3's ch and sp
NEEDS_IMAGENET = "needs ImageNet and a GPU; notebook 10 has the command"
NEEDS_SEVERAL = "needs several networks, and several seeds of each; the paper has one run a row"
STEM = "needs ImageNet and a GPU; by the counts, Table 4 takes the stem's max-pooling away, not the attention's"
# Maps in front of the paper's gates: ResNets on CIFAR-100, 32 to 4; on ImageNet, 56 to 7; MobileNetV2 from 112.
SMALL, LARGE = (4, 7), (8, 14, 16, 28, 32, 56, 112)

CLAIMS = [
    Claim("abstract", "GAM is global: on maps up to 7 x 7, a gate depends on all of it.", sees_the_map(*SMALL)),
    Claim("abstract", "GAM is global: on maps from 8 x 8, a gate depends on all of it.", sees_the_map(*LARGE)),
    Claim(
        "abstract, Section 3",
        "Pooling loses information, and GAM keeps it: GAM errs less than all that pool.",
        lower_error("gam", POOLING, CIFAR),
    ),
    Claim("Section 3", "Grouped convolutions prevent a notable increase of the parameters.", groups_are_cheap),
    Claim("Tables 1 to 4", "The networks have the printed parameters and FLOPs.", recount),
    Claim("Table 1", "GAM errs less than no attention.", lower_error("gam", ["none"], CIFAR)),
    Claim("Table 1", "GAM errs less than SE, BAM and CBAM.", lower_error("gam", ["se", "bam", "cbam"], CIFAR)),
    Claim(
        "Table 1",
        "GAM with groups errs less than SE, BAM and CBAM.",
        lower_error("gam-groups2", ["se", "bam", "cbam"], CIFAR),
    ),
    Claim("Table 2", "On ImageNet, GAM errs less than all others.", not_run(NEEDS_IMAGENET)),
    Claim("Table 2", "Around ResNet-18, GAM has fewer parameters and FLOPs than ABN.", cheaper_than_abn),
    Claim("abstract, Section 5", "GAM outperforms stably, across networks and depths.", not_run(NEEDS_SEVERAL)),
    Claim("Table 3", "Channel attention alone errs less than none.", lower_error(CHANNEL, ["none"], CIFAR)),
    Claim("Table 3", "Spatial attention alone errs less than none.", lower_error(SPATIAL, ["none"], CIFAR)),
    Claim("Table 3", "Both halves together err less than either alone.", lower_error("gam", [CHANNEL, SPATIAL], CIFAR)),
    Claim("Section 3, Table 4", "Max-pooling contributes negatively.", not_run(STEM)),
    Claim("Table 4", "GAM errs less than CBAM with and without max-pooling.", not_run(NEEDS_IMAGENET)),
    Claim(PHOTOGRAPHS, "GAM errs less than a plain network of its size.", lower_error("gam", ["none-width25"], CIFAR)),
    Claim(PHOTOGRAPHS, "GAM errs less than its own layers, added.", lower_error("gam", ["gam_added"], CIFAR)),
    Claim(PHOTOGRAPHS, "GAM errs less than plain branches made as small.", lower_error("gam", ["scaled"], CIFAR)),
    Claim(PHOTOGRAPHS, "Trained longer, GAM errs less than no attention.", lower_error("gam", ["none"], LONGER)),
    Claim(
        PHOTOGRAPHS,
        "Trained longer, GAM errs less than a plain network of its size.",
        lower_error("gam", ["none-width25"], LONGER),
    ),
    *(
        Claim(PUZZLES, f"GAM solves {task} more often than all that pool.", solves_more("gam", POOLING, task))
        for task in ("joint", "spatial", "channel")
    ),
    Claim(
        PUZZLES,
        "GAM solves joint more often than a plain network of its size.",
        solves_more("gam", ["none-width49"], "joint"),
    ),
    Claim(
        PUZZLES, "Channel attention alone solves joint more often than none.", solves_more(CHANNEL, ["none"], "joint")
    ),
    Claim(
        PUZZLES, "Spatial attention alone solves joint more often than none.", solves_more(SPATIAL, ["none"], "joint")
    ),
    Claim(
        PUZZLES,
        "Both halves together solve joint more often than either alone.",
        solves_more("gam", [CHANNEL, SPATIAL], "joint"),
    ),
]
