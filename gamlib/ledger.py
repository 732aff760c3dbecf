"""A ledger of the GAM paper's claims: what was run here for each, at what scale, and what it says.

Verdicts are worked out from counts and recorded runs, never typed. Photographs are judged by errors, paired by seed;
puzzles by who solves them. "Supported" and "not supported" need MIN_SEEDS seeds at least; what has fewer is "not
tested", however it looks. A verdict holds for the scale that stands beside it, and for no other.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

from gamlib import results
from gamlib.attention import GAM
from gamlib.paper import Recomputed, reproduce
from gamlib.results import Result

Verdict = Literal["supported", "not supported", "not tested"]
MIN_SEEDS = 3
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

    where: str  # its place in the paper
    text: str
    judge: Callable[[], Finding]


def ledger() -> Iterator[tuple[Claim, Finding]]:
    """All claims with their findings, in the paper's order."""
    for claim in CLAIMS:
        yield claim, claim.judge()


def table() -> str:
    """The ledger as a Markdown table."""
    rows = [["place", "claim", "verdict", "at what scale", "evidence"], ["---"] * 5]
    rows += [[c.where, c.text, f"**{f.verdict}**", f.scale, f.evidence] for c, f in ledger()]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


# ------------------------------------------------------------------ how claims are judged


def recount() -> Finding:
    """Whether the networks have the printed parameters and FLOPs: nine figures of ten, at least."""
    met = [fits for row in recounted().values() for fits in (row.params_met, row.gflops_met)]
    evidence = f"{sum(met)} of {len(met)} figures are met to the printed digit"
    return Finding("supported" if sum(met) >= 0.9 * len(met) else "not supported", "all rows, counted", evidence)


def cheaper_than_abn() -> Finding:
    """Whether GAM's ResNet-18 has fewer parameters and FLOPs than ABN's."""
    gam, abn = (recounted()[2, "resnet18", name] for name in ("gam", "abn"))
    cheaper = gam.parameters < abn.parameters and gam.macs < abn.macs
    evidence = (
        f"{gam.parameters / 1e6:.2f} against {abn.parameters / 1e6:.2f} M parameters, {gam.macs / 1e9:.2f} against "
        f"{abn.macs / 1e9:.2f} G FLOPs"
    )
    return Finding("supported" if cheaper else "not supported", "ResNet-18, counted", evidence)


def groups_are_cheap() -> Finding:
    """Whether grouped convolutions prevent a notable increase: we call it notable from the double on."""
    plain, dense, grouped = (recounted()[1, "resnet50", name].parameters for name in ("none", "gam", "gam_gc"))
    evidence = f"{grouped / plain:.1f} times the plain network's parameters, without groups {dense / plain:.1f} times"
    return Finding("supported" if grouped < 2 * plain else "not supported", "ResNet-50, counted", evidence)


def sees_everything() -> Finding:
    """Whether one gate depends on the whole map: by the gradient of its logit, on a map larger than any kernel."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        size, gate = 33, GAM(32, reduction=4).eval().spatial_gate
        x = torch.randn(1, 32, size, size, requires_grad=True)
    gate.relu, gate.sigmoid = torch.nn.Identity(), torch.nn.Identity()  # what is connected, whatever is open
    gate(x)[0, :, size // 2, size // 2].sum().backward()
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()
    side = int(rows.max() - rows.min()) + 1
    evidence = f"a gate depends on a window of {side} x {side} cells, of a map of {size} x {size}"
    return Finding("supported" if side == size else "not supported", "one module, by gradients", evidence)


def lower_error(better: str, others: Sequence[str], data: str, network: str) -> Callable[[], Finding]:
    """Whether `better` errs less than each of `others`: by the paired differences of recorded runs.

    Supported: every 95% interval lies below 0. Not tested: one of them rests on fewer than MIN_SEEDS pairs.
    """

    def judge() -> Finding:
        told, verdicts = [], []
        ours = of(data, network, better)
        for other in others:
            theirs = of(data, network, other)
            if not {run.seed for run in ours} & {run.seed for run in theirs}:
                told.append(f"{other}: " + ("no run" if not (ours and theirs) else "no seed that both have"))
                verdicts.append("not tested")
                continue
            difference = results.paired_difference(ours, theirs)
            told.append(f"{other}: {difference}")
            decided = "supported" if (difference.high or 0) < 0 else "not supported"
            verdicts.append(decided if difference.n >= MIN_SEEDS else "not tested")
        return Finding(weakest(verdicts), scale_of(ours), f"{better}'s top-1 error minus that of " + "; ".join(told))

    return judge


def solves_alone(ours: str, others: Sequence[str]) -> Callable[[], Finding]:
    """Whether there is a puzzle that the probe solves with `ours` and every seed, with none of `others` and any seed,
    and none where it is the other way round."""

    def judge() -> Finding:
        told, ahead, behind, seeds, all_of_them = [], 0, 0, [], []
        for task in ("joint", "spatial", "channel"):
            runs, solved = on_puzzle(task, [ours, *others])
            seeds += [len(group) for group in runs.values()]
            all_of_them += [run for group in runs.values() for run in group]
            counts = ", ".join(f"{label} {solved[label]} of {len(runs[label])}" for label in runs)
            told.append(f"{task}: {counts}")
            ahead += solved[ours] == len(runs[ours]) and not any(solved[label] for label in others)
            behind += any(solved[label] > solved[ours] for label in others)
        decided = "supported" if ahead and not behind else "not supported"
        return Finding(decided if min(seeds) >= MIN_SEEDS else "not tested", scale_of(all_of_them), "; ".join(told))

    return judge


def solves_more(ours: str, others: Sequence[str], task: str) -> Callable[[], Finding]:
    """Whether the probe solves a puzzle with `ours` and every seed, and with each of `others` and no seed.

    Where nobody solves it, all guess, and small differences of their errors say nothing.
    """

    def judge() -> Finding:
        runs, solved = on_puzzle(task, [ours, *others])
        evidence = "solved by " + ", ".join(f"{label}: {solved[label]} of {len(runs[label])}" for label in runs)
        alone = solved[ours] == len(runs[ours]) and not any(solved[label] for label in others)
        enough = min(map(len, runs.values())) >= MIN_SEEDS
        decided = "supported" if alone else "not supported"
        scale = scale_of([run for group in runs.values() for run in group])
        return Finding(decided if enough else "not tested", scale, evidence)

    return judge


def on_puzzle(task: str, labels: Sequence[str]) -> tuple[dict[str, list[Result]], dict[str, int]]:
    """For each label the probe's runs, and how many of them solve the puzzle."""
    runs = {label: of(f"puzzles-{task}", "probe", label) for label in labels}
    return runs, {label: sum(run.top1_error < results.SOLVED for run in group) for label, group in runs.items()}


def not_run(evidence: str) -> Callable[[], Finding]:
    """Nothing was run."""
    return lambda: Finding("not tested", "no run", evidence)


def weakest(verdicts: Sequence[Verdict]) -> Verdict:
    """Of a claim with several parts: refuted by one part, else not tested for one, else supported."""
    order: list[Verdict] = ["not supported", "not tested", "supported"]
    return min(verdicts, key=order.index)


@functools.cache
def recounted() -> dict[tuple[int, str, str], Recomputed]:
    """The paper's rows, counted: (table, architecture, attention) -> row."""
    return {(done.row.table, done.row.architecture, done.row.attention): done for done in reproduce()}


@functools.cache
def all_runs() -> list[Result]:
    """All recorded runs but the repeated ones: a seed that was run again, under another rounding, is no new seed."""
    return [run for name in results.list_recorded() if not name.startswith("repeat-") for run in results.load(name)]


def of(data: str, network: str, label: str) -> list[Result]:
    """The recorded runs of one network on one data set, one a seed.

    Raises:
        ValueError: where they differ in more than their seed, or two have the same: no verdict can rest on them.
    """
    runs = [run for run in all_runs() if (run.data, run.network["name"], run.label) == (data, network, label)]
    if len(results.groups(runs)) > 1 or len({run.seed for run in runs}) < len(runs):
        raise ValueError(f"the recorded runs of {network} + {label} on {data} are not one run a seed of one network")
    return runs


def scale_of(runs: Sequence[Result]) -> str:
    """Backbones, data and epochs of some runs."""
    if not runs:
        return "no run"
    told = [{run.network["name"] for run in runs}, {run.data for run in runs}, {run.recipe["epochs"] for run in runs}]
    networks, data, epochs = (", ".join(map(str, sorted(values))) for values in told)
    return f"{networks}, {data}, {epochs} epochs"


CIFAR = ("cifar100", "resnet20")
CHANNEL, SPATIAL = "gam-spatialFalse", "gam-channelFalse"  # the halves: Table 3's ch and sp
NEEDS_IMAGENET = "needs ImageNet and a GPU; notebook 10 has the command"
NEEDS_SEVERAL = "needs several networks, and several seeds of each; the paper has one run a row"
STEM = "needs ImageNet and a GPU; by the counts, Table 4 takes the stem's max-pooling away, not the attention's"

CLAIMS = [
    Claim("abstract", "GAM is global: a gate depends on the whole map.", sees_everything),
    Claim(
        "abstract, Section 3",
        "Pooling loses information, and GAM keeps it: it solves what mechanisms with pooling do not.",
        solves_alone("gam", POOLING),
    ),
    Claim("Section 3", "Grouped convolutions prevent a notable increase of the parameters.", groups_are_cheap),
    Claim("Tables 1 to 4", "The networks have the printed parameters and FLOPs.", recount),
    Claim("Table 1", "GAM errs less than no attention.", lower_error("gam", ["none"], *CIFAR)),
    Claim("Table 1", "GAM errs less than SE, BAM and CBAM.", lower_error("gam", ["se", "bam", "cbam"], *CIFAR)),
    Claim("Table 1", "So does GAM with groups.", lower_error("gam-groups2", ["se", "bam", "cbam"], *CIFAR)),
    Claim("Table 2", "GAM errs less than all others.", not_run(NEEDS_IMAGENET)),
    Claim("Table 2", "Around ResNet-18, it has fewer parameters and FLOPs than ABN.", cheaper_than_abn),
    Claim("abstract, Section 5", "It outperforms stably, across networks and depths.", not_run(NEEDS_SEVERAL)),
    Claim("Table 3", "Channel attention alone errs less than none.", solves_more(CHANNEL, ["none"], "joint")),
    Claim("Table 3", "Spatial attention alone errs less than none.", solves_more(SPATIAL, ["none"], "joint")),
    Claim("Table 3", "Both err less than either alone.", solves_more("gam", [CHANNEL, SPATIAL], "joint")),
    Claim("Section 3, Table 4", "Max-pooling contributes negatively.", not_run(STEM)),
    Claim("Table 4", "GAM errs less than CBAM with and without max-pooling.", not_run(NEEDS_IMAGENET)),
    Claim(
        "not in the paper",
        "GAM errs less than a plain network of its size, on photographs.",
        lower_error("gam", ["none-width25"], *CIFAR),
    ),
    Claim(
        "not in the paper",
        "GAM errs less than a plain network of its size, on a puzzle.",
        solves_more("gam", ["none-width49"], "joint"),
    ),
]
