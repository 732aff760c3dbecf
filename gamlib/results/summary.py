"""What several seeds say together: means, intervals, and differences seed by seed."""

import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from gamlib.results.schema import Result


@dataclass(frozen=True)
class Summary:
    """A mean over seeds, and the interval that holds the true mean with 95% confidence (Student's t)."""

    n: int  # seeds
    mean: float
    low: float | None  # None for one seed: it says nothing of how much seeds differ
    high: float | None

    def __str__(self) -> str:
        if self.low is None:
            return f"{self.mean:.2f} (1 seed, no interval)"
        return f"{self.mean:.2f} ({self.low:.2f} to {self.high:.2f}, {self.n} seeds)"


def summarise(values: Sequence[float]) -> Summary:
    """Mean and interval of one value a seed.

    Raises:
        ValueError: for no values, or one that is not finite.
    """
    values = [float(value) for value in values]
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f"there must be one value at least, and all finite; got {values}")
    n, mean = len(values), statistics.mean(values)
    if n == 1:
        return Summary(1, mean, None, None)
    from scipy import stats  # a second of import, and of no use elsewhere

    half = float(stats.t.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5
    return Summary(n, mean, mean - half, mean + half)


def paired_difference(runs: Sequence[Result], control: Sequence[Result]) -> Summary:
    """Top-1 error of `runs` minus that of `control`, in points, seed by seed: below 0 where `runs` are better.

    Networks of one seed start from one backbone and see the images in one order: where that moves both errors alike, it
    drops out.

    Args:
        runs: of one network, one a seed.
        control: of another, on the same data, by the same recipe. Seeds that only one of them has are left out.

    Raises:
        ValueError: where two runs of one side have the same seed, the two differ in data, recipe, precision or
            backbone, or no seed is in both.
    """
    sides = [{run.seed: run for run in side} for side in (runs, control)]
    if [len(side) for side in sides] != [len(runs), len(control)]:
        raise ValueError("two runs of one side have the same seed; a pair needs one run of each network")
    alike = {conditions(run) for run in (*runs, *control)}
    if max(len(groups(side)) for side in (runs, control)) > 1:
        raise ValueError("the runs of one side are of several networks; a pair needs one network on each side")
    if len(alike) > 1:
        raise ValueError(
            f"the runs differ in more than their attention and width: {'; '.join(sorted(alike))}; compare runs of one "
            "data set, backbone, recipe and precision"
        )
    both = sorted(sides[0].keys() & sides[1].keys())
    if not both:
        raise ValueError(f"no seed is in both: {sorted(sides[0])} and {sorted(sides[1])}")
    return summarise([sides[0][seed].top1_error - sides[1][seed].top1_error for seed in both])


def groups(runs: Sequence[Result]) -> list[list[Result]]:
    """Runs that differ in their seed alone, together."""
    found: dict[str, list[Result]] = {}
    for run in runs:
        key = json.dumps([run.data, run.data_md5, run.network, run.recipe, run.precision], sort_keys=True)
        found.setdefault(key, []).append(run)
    return list(found.values())


def conditions(run: Result) -> str:
    """What two runs must share to be compared: data, backbone and its stem, recipe, precision."""
    md5 = "".join(run.data_md5.values())[:8]
    recipe = json.dumps(run.recipe, sort_keys=True)
    backbone = f"{run.network['name']} with stem {run.network.get('stem')}"
    return f"{run.data} (md5 {md5}), {backbone}, recipe {recipe}, {run.precision}"
