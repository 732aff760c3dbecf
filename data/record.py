"""Records the runs of one or more `gamlib compare` for the course: results as JSON, weights of a seed in float16.

    python data/record.py [--no-weights] NAME OUT [OUT ...]

OUT is a folder that `gamlib compare` wrote; the runs in all compare.json become data/results/NAME.json, in the order of
data, seeds and networks. A run that stands in two of them is taken from the first. Where it wrote to is left out of the
command. Of the first seed, the weights of each network go to data/zoo/DATA-NETWORK-ATTENTION.safetensors: kernels and
matrices in float16, the few numbers of a channel in float32; with the error of just these weights, in float32.
--no-weights leaves that out.
"""

import dataclasses
import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from gamlib import create_model, data, list_attention, results
from gamlib.training import Speed, evaluate

HERE = Path(__file__).resolve().parent


def main(name: str, folders: list[Path], weights: bool) -> None:
    found = {}
    for folder in folders:
        for run in results.read(folder / "compare.json"):
            run = dataclasses.replace(run, command=re.sub(r" --out \S+", "", run.command))
            found.setdefault((run.data, run.seed, run.label), (run, folder / run.data / f"{run.label}-seed{run.seed}"))
    order = ["none", *list_attention(), "abn"]
    labels = sorted(
        dict.fromkeys(label for _, _, label in found), key=lambda label: (order.index(label.partition("-")[0]), label)
    )
    keys = sorted(found, key=lambda key: (key[0], key[1], labels.index(key[2])))
    runs = [found[key][0] for key in keys]
    results.save(runs, HERE / "results" / f"{name}.json")
    for run, folder in (found[key] for key in keys):
        if weights and run.seed == runs[0].seed:
            path = HERE / "zoo" / f"{run.data}-{run.network['name']}-{run.label}.safetensors"
            state = load_file(folder / "weights.safetensors")
            halves = {key: value.half() if value.ndim > 1 else value for key, value in state.items()}
            error = error_of(run, halves)
            about = {"network": json.dumps(run.network), "data": run.data, "top1_error": f"{error:.2f}"}
            save_file(halves, path, about)
            size = path.stat().st_size / 1e6
            print(f"{path.name}: {size:.2f} MB, error {error:.2f}%, in training {run.top1_error:.2f}%")
    print(results.table(runs))


def error_of(run: results.Result, state: dict[str, torch.Tensor]) -> float:
    """Of these weights, on the test images, in float32."""
    model = create_model(**run.network)
    model.load_state_dict(state)
    return evaluate(model, data.load(run.data), Speed(precision="fp32"))["test_top1_error"]


if __name__ == "__main__":
    given = [argument for argument in sys.argv[1:] if argument != "--no-weights"]
    if len(given) < 2:
        sys.exit(__doc__)
    main(given[0], [Path(folder) for folder in given[1:]], weights="--no-weights" not in sys.argv)
