"""Notebook 13: a gentle start, and a fair measurement of speed."""

import torch
from torch import Tensor

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, drawn


def gentle(x: Tensor, attention, strength: Tensor) -> Tensor:
    """x at strength 0, attention(x) at strength 1."""
    return x + strength * (attention(x) - x)


def gentle_trials() -> list[Trial]:
    """Strengths 0, a little, and 1; the attention is made up."""

    def attention(x):
        return x * torch.sigmoid(x.mean(1, keepdim=True) - 0.5)

    return [
        Trial((drawn(*shape), attention, torch.tensor(s))) for shape, s in zip(SHAPES, (0.0, 0.3, 1.0), strict=True)
    ]


def slowdown(plain: Tensor, attended: Tensor) -> Tensor:
    """The median of the ratios, one for each pair of runs, measured one right after the other."""
    return (attended / plain).quantile(0.5)


EXERCISES = {
    "own.gentle": Exercise(
        gentle,
        gentle_trials,
        "At 0 the network is what it was; yet the scalar has a gradient, so it can leave 0.",
        (
            Mistake(
                "At strength 0 it should give x: you mixed the two the other way round.",
                lambda x, a, s: a(x) + s * (x - a(x)),
            ),
            Mistake(
                "At strength 1 it should give attention(x) alone; x is left in it, as in a second shortcut.",
                lambda x, a, s: x + s * a(x),
            ),
            Mistake("At strength 0 nothing is left of x.", lambda x, a, s: s * a(x)),
            Mistake("At strength 0 it should give x, but x is gone as well.", lambda x, a, s: s * (a(x) - x)),
            Mistake(
                "x is multiplied by attention(x), which is the scaled map already.",
                lambda x, a, s: x + s * (x * a(x) - x),
            ),
            Mistake("The strength is not used.", lambda x, a, s: a(x)),
            Mistake("The attention is not used.", lambda x, a, s: x + s * x),
            Mistake(
                "The attention looks at what has been weakened; it should look at x.",
                lambda x, a, s: x + a(s * x) - s * x,
            ),
            Mistake("The sign is turned: it leads away from attention(x).", lambda x, a, s: x - s * (a(x) - x)),
        ),
        trained=True,
    ),
    "own.slowdown": Exercise(
        slowdown,
        lambda: [Trial((drawn(n).double().abs() + 1, drawn(n).double().abs() + 2)) for n in (5, 9, 11)],
        "A pair shares what the machine was doing just then, and the median forgets the pairs that were disturbed.",
        (
            Mistake("One disturbed pair moves a mean; take the median.", lambda p, a: (a / p).mean()),
            Mistake(
                "You took the ratio of two medians, which may come from different moments: first the ratio of each "
                "pair, then the median.",
                lambda p, a: a.quantile(0.5) / p.quantile(0.5),
            ),
            Mistake("The ratio is upside down: above 1 should mean slower.", lambda p, a: (p / a).quantile(0.5)),
            Mistake("That is the ratio of the means.", lambda p, a: a.mean() / p.mean()),
            Mistake("That is the ratio of the fastest runs, each of another moment.", lambda p, a: a.min() / p.min()),
            Mistake("That is a difference in seconds; a ratio is asked for.", lambda p, a: (a - p).quantile(0.5)),
            Mistake(
                "1 is missing: that is how much slower, not how many times as long.",
                lambda p, a: (a / p).quantile(0.5) - 1,
            ),
        ),
    ),
}
