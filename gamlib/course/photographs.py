"""Three photographs of CIFAR-100's classes, and whether a network's answers to them follow its gates.

photographs.png holds them side by side, 32 x 32 each, scaled down from pictures that anybody may use:

- raccoon: pixnio.com, in the public domain; it is the picture of scipy.datasets.face.
- rocket: SpaceX, 2015, the launch of DSCOVR, in the public domain; it is scikit-image's data.rocket.
- cup: Rachel Michetti, for Pikolo Espresso Bar, CC0; it is scikit-image's data.coffee.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from gamlib import explain
from gamlib.data.cifar100 import CLASSES, MEAN, STD

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMES = ("raccoon", "rocket", "cup")
OWN, OTHER = "#B7E4D5", "#F6C9A8"


def photographs() -> Tensor:
    """(3, 3, 32, 32), from 0 to 1, in the order of NAMES."""
    import numpy as np
    from PIL import Image

    with Image.open(Path(__file__).with_suffix(".png")) as strip:
        pixels = torch.from_numpy(np.array(strip.convert("RGB")))
    return pixels.view(32, 3, 32, 3).permute(1, 3, 0, 2) / 255


def normalised(pictures: Tensor) -> Tensor:
    """As the networks of the zoo take them."""
    return (pictures - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)


def swapped(network: nn.Module) -> list[list[tuple[str, float]]]:
    """A row for each photograph, a column for each whose gates it gets: the answer, and its probability."""
    x = normalised(photographs())
    gates = explain.capture_gates(network, x)
    table: list[list[tuple[str, float]]] = [[] for _ in NAMES]
    for source in range(len(NAMES)):
        others = {name: gate[source : source + 1] for name, gate in gates.items()}
        with torch.no_grad(), explain.replace_gates(network, others):
            most = network(x).softmax(1).max(1)
        for row, share, answer in zip(table, most.values.tolist(), most.indices.tolist(), strict=True):
            row.append((CLASSES[answer], share))
    return table


def draw_swapped(network: nn.Module) -> tuple["Figure", str]:
    """`swapped` as a figure, and the same in words, for `show`: green where the answer stays what it was."""
    from matplotlib.figure import Figure

    table, pictures = swapped(network), photographs()
    figure = Figure(figsize=(7.2, 3.2), layout="constrained", facecolor="white")
    panels = figure.subplots(3, 4, width_ratios=[1, 1.6, 1.6, 1.6])
    for i, row in enumerate(panels):
        row[0].imshow(pictures[i].permute(1, 2, 0).numpy())
        for j, panel in enumerate(row[1:]):
            answer, share = table[i][j]
            panel.set_facecolor(OWN if answer == table[i][i][0] else OTHER)
            weight = "bold" if i == j else "normal"
            text = f"{answer}\n{share:.0%}"
            panel.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, fontweight=weight)
            if i == 0:
                panel.set_title(f"gates of the {NAMES[j]}", fontsize=10)
        for panel in row:
            panel.set(xticks=[], yticks=[])
            panel.spines[:].set_visible(False)
    words = "; ".join(
        f"the {name} with the gates of raccoon, rocket and cup: {', '.join(answer for answer, _ in row)}"
        for name, row in zip(NAMES, table, strict=True)
    )
    return figure, f"Three photographs, and the answers to each with the gates of each. {words}."


def draw_gates(network: nn.Module, names: Sequence[str]) -> "Figure":
    """The photographs, and below each these gates (named as by `explain.list_gates`), their mean over the channels."""
    from matplotlib.figure import Figure

    pictures = photographs()
    gates = explain.capture_gates(network, normalised(pictures), list(names))
    figure = Figure(figsize=(6.2, 1.9 + 1.75 * len(names)), layout="constrained", facecolor="white")
    panels = figure.subplots(1 + len(names), len(NAMES))
    for i, picture in enumerate(pictures):
        panels[0, i].imshow(picture.permute(1, 2, 0).numpy())
        for row, name in zip(panels[1:], names, strict=True):
            image = row[i].imshow(gates[name][i].mean(0).numpy(), vmin=0, vmax=1)
    for row, name in zip(panels[1:], names, strict=True):
        row[0].set_ylabel(name.replace(".attention.", "\n"), fontsize=8)
    for panel in panels.flat:
        panel.set(xticks=[], yticks=[])
    figure.colorbar(image, ax=panels[1:], label="gate", shrink=0.8)
    return figure
