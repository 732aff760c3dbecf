"""Notebook 11: what two parts do together, and what a comparison must hold equal."""

import math
from collections.abc import Callable

from gamlib.course.exercise import Exercise, Mistake, Trial


def interaction(none: float, channel: float, spatial: float, both: float) -> float:
    """Of four errors: what both parts change together, minus what each changes alone."""
    return (both - none) - (channel - none) - (spatial - none)


def nearest_width(count: Callable[[int], int], target: int) -> int:
    """The width whose count lies nearest to the target; `count` grows with the width."""
    width = 1
    while count(width) < target:
        width += 1
    return min((w for w in (width - 1, width) if w > 0), key=lambda w: abs(count(w) - target))


def reduction_for(kernel_size: int, reduction: int, new_kernel_size: int) -> int:
    """The reduction that keeps the kernels' weights nearest to what they were, as C / r channels times k x k."""
    return round(reduction * new_kernel_size**2 / kernel_size**2)


def resnet(width: int) -> int:
    """Parameters of a small ResNet: nearly quadratic in its width."""
    if width > 10_000:
        raise ValueError(f"asked for a width of {width}: does the loop never end?")
    return 1075 * width**2 + 210 * width + 100


def with_wide_head(width: int) -> int:
    """Parameters of a network with a thousand classes: the last layer grows with the width, not with its square."""
    return 40 * width**2 + 4000 * width + 1000


def _above(count, target):
    width = 1
    while count(width) < target:
        width += 1
    return width


def _below(count, target):
    return max(1, _above(count, target) - 1)


def _one_past(count, target):
    return _above(count, target) + 1


def _by_ratio(count, target):
    return round(16 * target / count(16))


def _by_root(count, target):
    return round(16 * (target / count(16)) ** 0.5)


EXERCISES = {
    "ablations.interaction": Exercise(
        interaction,
        lambda: [
            Trial(values)
            for values in [(30.91, 30.25, 29.61, 29.34), (60.0, 60.5, 0.5, 0.25), (41.0, 40.0, 39.0, 35.0)]
        ],
        "In Table 3 it is +0.39 points: together the halves gain less than the sum of what each gains.",
        (
            Mistake("That is what both gain over neither; take away what each gains alone.", lambda n, c, s, b: b - n),
            Mistake(
                "The sign is turned: below 0 should mean that together they lower the error by more than the sum.",
                lambda n, c, s, b: c + s - n - b,
            ),
            Mistake(
                "You took the errors of the halves, not what they change: subtract the error of none from each.",
                lambda n, c, s, b: (b - n) - c - s,
            ),
            Mistake("That is what both gain over the better half.", lambda n, c, s, b: b - min(c, s)),
            Mistake("That is what both gain over the mean of the halves.", lambda n, c, s, b: b - (c + s) / 2),
            Mistake(
                "The error of none is left out; without it there is nothing to change from.",
                lambda n, c, s, b: b - c - s,
            ),
        ),
    ),
    "ablations.nearest_width": Exercise(
        nearest_width,
        lambda: [
            Trial((count, target))
            for count, target in [
                *(
                    (resnet, target)
                    for target in (resnet(25) + 1000, resnet(25) - 1000, resnet(9), resnet(32) - 20_000)
                ),
                (resnet, resnet(90) + 50_000),
                (resnet, resnet(150) + 300),
                (resnet, 500),  # less than the narrowest has
                (resnet, resnet(1) + 100),
                (resnet, (resnet(16) + resnet(17)) // 2 + 200),
                (resnet, (resnet(2) + resnet(3)) // 2 - 100),  # by the logarithm, or the root, 3 lies nearer
                (with_wide_head, with_wide_head(11) - 900),
                (with_wide_head, with_wide_head(40) + 900),
            ]
        ],
        "Take the nearest on both sides: the first that is large enough would hand the wider network a gift.",
        (
            Mistake("That is the first width that reaches the target; the one before it may lie nearer.", _above),
            Mistake("That is the last width below the target; the next one may lie nearer.", _below),
            Mistake("That is one past the first width that reaches the target.", _one_past),
            Mistake(
                "You scaled the width with the count; but parameters grow with the square of the width.", _by_ratio
            ),
            Mistake(
                "The square root is a good guess, but the first and the last layer do not grow like that: search, and "
                "take the nearest.",
                _by_root,
            ),
        ),
    ),
    "ablations.reduction": Exercise(
        reduction_for,
        lambda: [Trial(values) for values in [(7, 4, 9), (7, 4, 11), (7, 16, 3), (3, 4, 7), (7, 8, 5)]],
        "So kernel 9 with r = 7 takes the weights of kernel 7 with r = 4: now a difference is not one of size.",
        (
            Mistake("A kernel has k x k weights: the ratio stands squared.", lambda k, r, new: round(r * new / k)),
            Mistake(
                "It is the wrong way round: a larger kernel needs a larger reduction to cost the same.",
                lambda k, r, new: max(1, round(r * k**2 / new**2)),
            ),
            Mistake("Round to the nearest; you cut off.", lambda k, r, new: int(r * new**2 / k**2)),
            Mistake("A reduction is a whole number.", lambda k, r, new: r * new**2 / k**2),
            Mistake("You always rounded up; the nearest is asked for.", lambda k, r, new: math.ceil(r * new**2 / k**2)),
            Mistake("The reduction stays as it was, so the larger kernel has more weights.", lambda k, r, new: r),
        ),
    ),
}
