"""Records the runs of one or more `gamlib compare` for the course: results as JSON, weights of a seed in float16.

    python data/record.py NAME OUT [OUT ...]

OUT is a folder that `gamlib compare` wrote; the runs in all compare.json become data/results/NAME.json, in the order of
data, seeds and networks. A run that stands in two of them is taken from the first. Of the first seed, the weights of
each network go to data/zoo/DATA-NETWORK-ATTENTION.safetensors.
"""

import json
import math
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from gamlib import results

HERE = Path(__file__).resolve().parent


def main(name: str, folders: list[Path]) -> None:
    found = {}
    for folder in folders:
        for run in results.read(folder / "compare.json"):
            found.setdefault((run.data, run.seed, run.label), (run, folder / run.data / f"{run.label}-seed{run.seed}"))
    labels = list(dict.fromkeys(label for _, _, label in found))
    keys = sorted(found, key=lambda key: (key[0], key[1], labels.index(key[2])))
    runs = [found[key][0] for key in keys]
    results.save(runs, HERE / "results" / f"{name}.json")
    for run, folder in (found[key] for key in keys):
        if run.seed == runs[0].seed:
            state = load_file(folder / "weights.safetensors")
            halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
            worst = max(float((halves[key].to(value.dtype) - value).abs().max()) for key, value in state.items())
            assert math.isfinite(worst), "float16 overflow"
            path = HERE / "zoo" / f"{run.data}-{run.network['name']}-{run.label}.safetensors"
            save_file(halves, path, {"network": json.dumps(run.network), "data": run.data})
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, largest rounding {worst:.1e}")
    print(results.table(runs))


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(sys.argv[1], [Path(folder) for folder in sys.argv[2:]])
