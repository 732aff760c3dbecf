"""Records the runs of a `gamlib compare` for the course: results as JSON, weights of the first seed in float16.

    python data/record.py OUT NAME

OUT is the folder that `gamlib compare` wrote; its compare.json becomes data/results/NAME.json. Of the first seed, the
weights of each network go to data/zoo/DATA-NETWORK-ATTENTION.safetensors.
"""

import math
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

from gamlib import results

HERE = Path(__file__).resolve().parent


def main(out: Path, name: str) -> None:
    runs = results.read(out / "compare.json")
    results.save(runs, HERE / "results" / f"{name}.json")
    first = runs[0].seed
    for run in runs:
        if run.seed == first:
            state = load_file(out / run.data / f"{run.label}-seed{run.seed}" / "weights.safetensors")
            halves = {key: value.half() if value.is_floating_point() else value for key, value in state.items()}
            worst = max(float((halves[key].to(value.dtype) - value).abs().max()) for key, value in state.items())
            assert math.isfinite(worst), "float16 overflow"
            path = HERE / "zoo" / f"{run.data}-{run.network['name']}-{run.label}.safetensors"
            save_file(halves, path)
            print(f"{path.name}: {path.stat().st_size / 1e6:.2f} MB, largest rounding {worst:.1e}")
    print(results.table(runs))


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
