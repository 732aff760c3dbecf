"""What every notebook starts with, and how it shows a figure."""

import io

import matplotlib.pyplot as plt
import torch
from matplotlib.figure import Figure


def start() -> None:
    """One look for all figures, short numbers in printed tensors, and a fixed seed."""
    plt.rcParams.update(
        {
            "figure.facecolor": "white",  # legible on a dark page, too
            "figure.dpi": 100,
            "figure.constrained_layout.use": True,
            "axes.grid": False,
            "image.cmap": "viridis",
            "image.interpolation": "nearest",
            "font.size": 10,
        }
    )
    torch.set_printoptions(precision=3, sci_mode=False)
    torch.manual_seed(0)


def show(figure: Figure, alt: str) -> None:
    """Display a figure as PNG with a text for those who can't see it, and close it.

    Args:
        figure: a matplotlib figure.
        alt: what the figure shows, in a sentence or two.
    """
    from IPython.display import Image, display

    png = io.BytesIO()
    figure.savefig(png, format="png")
    plt.close(figure)
    display(Image(png.getvalue(), format="png", alt=alt))
