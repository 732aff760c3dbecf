"""How `check` answers: in a small box in a notebook, as a line of text elsewhere."""

import html
import sys

SIGNS = {  # how what is said begins -> its sign and colour, of Okabe and Ito's
    "right": ("✓", "#009E73"),
    "perhaps": ("?", "#E69F00"),
    "not attempted": ("○", "#888888"),
}
WRONG = ("✗", "#D55E00")


class Answer:
    """What is said of a solution. In a notebook it wraps at words, as plain text there does not."""

    def __init__(self, name: str, said: str) -> None:
        self.name, self.said = name, said

    def __repr__(self) -> str:
        return f"{self.name}: {self.said}"

    def _repr_html_(self) -> str:
        sign, colour = next((look for start, look in SIGNS.items() if self.said.startswith(start)), WRONG)
        box = f"border-left: 0.3em solid {colour}; padding: 0.1em 0.8em; white-space: pre-wrap"
        return (
            f'<div style="{box}"><span style="color: {colour}; font-weight: bold">{sign}</span> '
            f"<b>{html.escape(self.name)}</b>: {html.escape(self.said)}</div>"
        )


def say(name: str, said: str) -> None:
    """Show it: as a box where there is a notebook, else as text."""
    if "ipykernel" in sys.modules:
        from IPython.display import display

        display(Answer(name, said))
    else:
        print(Answer(name, said))
