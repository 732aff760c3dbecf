"""Notebook 09: a learning rate that drops, and two kinds of doubt about an error."""

import torch
from torch import Tensor

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import drawn


def learning_rate(epoch: int, lr: float, milestones: tuple[int, ...], gamma: float) -> float:
    """In an epoch, counted from 0, of a step schedule."""
    return lr * gamma ** sum(epoch >= milestone for milestone in milestones)


def standard_error(error: float, images: int) -> float:
    """Of an error in %, found on so many test images: in points."""
    p = error / 100
    return 100 * (p * (1 - p) / images) ** 0.5


def paired_interval(ours: Tensor, theirs: Tensor, t: float) -> Tensor:
    """(2,): lower and upper end of the interval of the mean difference, one pair a seed."""
    differences = ours - theirs
    half = t * differences.std() / len(differences) ** 0.5
    return torch.stack([differences.mean() - half, differences.mean() + half])


def paired_trials() -> list[Trial]:
    """Errors of three and of five seeds; t is that of n - 1 degrees of freedom."""
    return [
        Trial((drawn(n) + 40, drawn(n) * 2 + 41, t))
        for n, t in [(3, 4.302652729911275), (5, 2.7764451051977987), (12, 2.200985160082949)]
    ]


def _interval(middle, half):
    return torch.stack([middle - half, middle + half])


def _unpaired(a, b, t):
    half = t * (a.var() / len(a) + b.var() / len(b)).sqrt()
    return _interval((a - b).mean(), half)


def _of_differences(a, b, half):
    d = a - b
    return _interval(d.mean(), half(d))


EXERCISES = {
    "training.learning_rate": Exercise(
        learning_rate,
        lambda: [
            Trial((epoch, lr, milestones, gamma))
            for epoch, lr, milestones, gamma in [
                (0, 0.1, (60, 120, 160), 0.2),
                (59, 0.1, (60, 120, 160), 0.2),
                (60, 0.1, (60, 120, 160), 0.2),
                (130, 0.1, (60, 120, 160), 0.2),
                (199, 0.4, (60, 120, 160), 0.2),
                (45, 0.1, (30, 60), 0.1),
                (89, 0.1, (30, 60), 0.3),
                (65, 0.1, (30, 80), 0.1),  # milestones that are no multiples of the first
                (180, 0.1, (50, 110, 190), 0.5),
            ]
        ],
        "By epoch 160 the paper's rate is 0.0008, with the factor 0.2 that it does not print.",
        (
            Mistake(
                "The rate drops an epoch too late: in the epoch of the milestone itself it is the lower one already.",
                lambda e, lr, m, g: lr * g ** sum(e > k for k in m),
            ),
            Mistake(
                "The rate drops an epoch too early. Epochs are counted from 0 here.",
                lambda e, lr, m, g: lr * g ** sum(e + 1 >= k for k in m),
            ),
            Mistake(
                "It drops once and never again; it drops at each milestone.",
                lambda e, lr, m, g: lr * g ** min(1, sum(e >= k for k in m)),
            ),
            Mistake("You divide by gamma, so the rate grows.", lambda e, lr, m, g: lr / g ** sum(e >= k for k in m)),
            Mistake(
                "You take the share gamma away; gamma is what is left.",
                lambda e, lr, m, g: lr * (1 - g) ** sum(e >= k for k in m),
            ),
            Mistake(
                "You subtract at each milestone; the rate is multiplied.",
                lambda e, lr, m, g: lr - g * sum(e >= k for k in m),
            ),
            Mistake(
                "It drops to a tenth each time, whatever gamma is.",
                lambda e, lr, m, g: lr * 0.1 ** sum(e >= k for k in m),
            ),
            Mistake("It never drops.", lambda e, lr, m, g: lr),
        ),
    ),
    "training.standard_error": Exercise(
        standard_error,
        lambda: [Trial(values) for values in [(18.67, 10_000), (40.0, 10_000), (25.0, 2_000), (3.0, 500)]],
        "At 40% error on 10,000 images it is half a point, so the interval is about two points wide.",
        (
            Mistake(
                "That is a share of 1; the answer is asked for in points, of 100.",
                lambda e, n: (e / 100 * (1 - e / 100) / n) ** 0.5,
            ),
            Mistake(
                "The error is in percent: make it a share of 1 before you take p (1 - p).",
                lambda e, n: (e * (1 - e) / n) ** 0.5,
            ),
            Mistake(
                "That is the variance, in points squared; the standard error is its root.",
                lambda e, n: 100 * 100 * (e / 100 * (1 - e / 100) / n),
            ),
            Mistake(
                "The root goes over the number of images as well: divide by n before you take it.",
                lambda e, n: 100 * (e / 100 * (1 - e / 100)) ** 0.5 / n,
            ),
            Mistake(
                "That is the spread of one picture, right or wrong; the mean of n has it divided by the root of n.",
                lambda e, n: 100 * (e / 100 * (1 - e / 100)) ** 0.5,
            ),
            Mistake(
                "That is half of the 95% interval: 1.96 standard errors. One is asked for.",
                lambda e, n: 196 * (e / 100 * (1 - e / 100) / n) ** 0.5,
            ),
            Mistake("The 1 - p is left out: it is p (1 - p).", lambda e, n: 100 * (e / 100 / n) ** 0.5),
        ),
    ),
    "training.paired_interval": Exercise(
        paired_interval,
        paired_trials,
        "Whatever a seed does to both networks alike has dropped out of each difference.",
        (
            Mistake(
                "You took the spread of each side by itself; take the differences first, seed by seed, then their "
                "spread.",
                _unpaired,
            ),
            Mistake(
                "The standard deviation is divided by n; of a sample, it is n - 1.",
                lambda a, b, t: _of_differences(a, b, lambda d: t * d.std(correction=0) / len(d) ** 0.5),
            ),
            Mistake(
                "That is the spread of single differences; the mean of n of them has it divided by the root of n.",
                lambda a, b, t: _of_differences(a, b, lambda d: t * d.std()),
            ),
            Mistake(
                "Divide by the root of n, not by n.",
                lambda a, b, t: _of_differences(a, b, lambda d: t * d.std() / len(d)),
            ),
            Mistake(
                "1.96 is for many seeds; for a few, t is larger, and it is handed to you.",
                lambda a, b, t: _of_differences(a, b, lambda d: 1.96 * d.std() / len(d) ** 0.5),
            ),
            Mistake(
                "That is one standard error to each side; it takes t of them.",
                lambda a, b, t: _of_differences(a, b, lambda d: d.std() / len(d) ** 0.5),
            ),
            Mistake(
                "You took theirs minus ours: below 0 should mean that ours errs less.",
                lambda a, b, t: paired_interval(b, a, t),
            ),
            Mistake("Upper and lower end are in each other's place.", lambda a, b, t: paired_interval(a, b, t).flip(0)),
            Mistake(
                "You used the variance where the standard deviation belongs: its root.",
                lambda a, b, t: _of_differences(a, b, lambda d: t * d.var() / len(d) ** 0.5),
            ),
        ),
    ),
}
