"""The recorded swaps of gates between photographs (data/swaps.json; `data/swap_gates.py` carries them out)."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from gamlib._paths import recorded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# What an answer does when a picture gets the gates of another: key -> words and colour, of Okabe and Ito's.
KINDS = {
    "stays": ("stays what it was", "#009E73"),
    "follows": ("is that of the gates' own picture", "#D55E00"),
    "else": ("is another still", "#BBBBBB"),
}


def read() -> dict[str, Any]:
    """How many "pictures", where it comes from, and "networks": for each its shares and its errors, in %."""
    return json.loads(recorded("swaps.json").read_text(encoding="utf-8"))


def draw(attentions: Sequence[str]) -> tuple["Figure", str]:
    """A bar per network, and the same in words, for `show`."""
    from matplotlib.figure import Figure

    record = read()
    rows = {row["attention"]: row for row in record["networks"]}
    figure = Figure(figsize=(8, 1.1 + 0.42 * len(attentions)), layout="constrained", facecolor="white")
    panel = figure.subplots()
    for y, name in enumerate(attentions):
        left = 0.0
        for kind, (words, colour) in KINDS.items():
            share = rows[name][kind]
            panel.barh(-y, share, left=left, color=colour, label=words if y == 0 else None, height=0.7)
            if share >= 5:  # else there is no room for it
                panel.text(left + share / 2, -y, f"{share:.0f}%", ha="center", va="center", fontsize=10)
            left += share
    panel.set_yticks([-y for y in range(len(attentions))], attentions)
    panel.set(xlim=(0, 100), xticks=[])
    panel.spines[:].set_visible(False)
    panel.tick_params(length=0)
    panel.set_title(f"the answer to a photograph with another one's gates ({record['pictures']} of them)", fontsize=10)
    figure.legend(loc="outside lower center", ncols=3, fontsize=9, frameon=False)
    words = "; ".join(
        f"{name}: " + ", ".join(f"{kind} {rows[name][kind]:.1f}%" for kind in KINDS) for name in attentions
    )
    return figure, f"What the answers to photographs do when each gets the gates of another. {words}."
