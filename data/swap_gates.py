"""Swaps gates between photographs, and records what the answers do: swaps.json, beside this file.

    python data/swap_gates.py

For each mechanism the zoo's ResNet-20 is asked 2,000 test pictures of CIFAR-100, each with its own gates and with all
those of another one, to which it gives another answer. Notebooks 02 to 04 and 08 show it. A minute or two on a CPU.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch

from gamlib import create_model, data, explain, results
from gamlib._device import device_name
from gamlib._files import write
from gamlib.cli.options import usable
from gamlib.course.photographs import normalised

RECORD = Path(__file__).resolve().parent / "swaps.json"
MECHANISMS = ("se", "bam", "cbam", "tam", "gam")
PICTURES, BATCH = 2000, 250


def partners(answers: torch.Tensor) -> torch.Tensor:
    """For each picture of a batch the next one, in a ring, to which another answer was given."""
    n = len(answers)
    return torch.tensor(
        [next((i + k) % n for k in range(1, n) if answers[(i + k) % n] != answers[i]) for i in range(n)]
    )


def swapped(attention: str, images: torch.Tensor, labels: torch.Tensor) -> dict[str, Any]:
    """Shares, in %, of what the answers do with the partner's gates, and errors with both."""
    options = {} if attention == "tam" else {"reduction": 4}
    network = create_model("resnet20", attention, options, num_classes=100, weights="cifar100").eval()
    owns, others, news = [], [], []
    for x in images.split(BATCH):
        gates = explain.capture_gates(network, x)
        with torch.no_grad():
            own = network(x).argmax(1)
            partner = partners(own)
            with explain.replace_gates(network, {name: gate[partner] for name, gate in gates.items()}):
                new = network(x).argmax(1)
        owns, others, news = [*owns, own], [*others, own[partner]], [*news, new]
    own, other, new = (torch.cat(parts) for parts in (owns, others, news))
    stays, follows = ((new == answers).double().mean().item() * 100 for answers in (own, other))
    errors = [(answers != labels).double().mean().item() * 100 for answers in (own, new)]
    found = {
        "stays": stays,
        "follows": follows,
        "else": 100 - stays - follows,
        "error": errors[0],
        "swapped": errors[1],
    }
    return {"attention": attention} | {name: round(value, 2) for name, value in found.items()}


def main(argv: list[str]) -> None:
    """Ask all networks, and record what they answer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, help="data root, as of `gamlib train`")
    dataset = usable(data.load, "cifar100", parser.parse_args(argv).root, download=True)
    images, labels = normalised(dataset.test_images[:PICTURES] / 255), dataset.test_labels[:PICTURES]
    found = [swapped(name, images, labels) for name in MECHANISMS]
    about = {"pictures": PICTURES, "data_md5": dataset.md5, "device": device_name(torch.device("cpu"))}
    about |= {"versions": results.versions(), "commit": results.commit()}
    write((json.dumps(about | {"networks": found}, indent=1) + "\n").encode(), RECORD)
    for network in found:
        print(network)


if __name__ == "__main__":
    if results.commit() is None:
        sys.exit("swap_gates.py: gamlib runs from no git checkout; a record must say which commit it is of")
    main(sys.argv[1:])
