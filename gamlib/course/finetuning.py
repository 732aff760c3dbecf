"""The recorded fine-tuning runs that notebook 13 shows (data/finetuning.json; `data/finetune.py` carries them out)."""

import json
from typing import Any

from gamlib._paths import recorded
from gamlib.results import Summary, summarise


def read(data: str) -> dict[str, list[dict[str, Any]]]:
    """Runs on one data set by arm, each by seed.

    A run has its errors in %, "before" the first step, "after" the last, with "fixed_gates" and in "curves"; its
    "strengths"; and where it comes from.
    """
    arms: dict[str, list[dict[str, Any]]] = {}
    for run in sorted(json.loads(recorded("finetuning.json").read_text(encoding="utf-8")), key=lambda run: run["seed"]):
        if run["data"] == data:
            arms.setdefault(run["arm"], []).append(run)
    return arms


def end(run: dict[str, Any]) -> float:
    """Top-1 error at the end, on the test images, %."""
    return run["curves"][-1]["test_top1_error"]


def paired_difference(runs: list[dict[str, Any]], plain: list[dict[str, Any]]) -> Summary:
    """Error at the end minus that of `plain`, in points, seed by seed."""
    ends = {run["seed"]: end(run) for run in plain}
    return summarise([end(run) - ends[run["seed"]] for run in runs if run["seed"] in ends])
