"""Notebook 12: Grad-CAM, and the test by deletion."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import SHAPES, centred, drawn


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """(N, C, h, w) and the gradients of the class's logit -> heat maps (N, h, w)."""
    weights = gradients.mean((2, 3), keepdim=True)
    return F.relu((weights * features).sum(1))


def delete(x: Tensor, maps: Tensor, count: int) -> Tensor:
    """Pictures (N, 3, H, W) whose `count` pixels with the largest maps (N, H, W) have the picture's mean colour."""
    return torch.where(_first(maps, count, largest=True), x.mean((2, 3), keepdim=True), x)


def area(curve: Tensor) -> Tensor:
    """Under a curve of equal steps, its length taken as 1: trapezoidal rule."""
    return (curve[:-1] + curve[1:]).mean() / 2


def _first(maps, count, largest):
    """(N, 1, H, W): whether a pixel is among the first `count`."""
    n, h, w = maps.shape
    chosen = maps.flatten(1).topk(count, largest=largest).indices
    return torch.zeros(n, h * w, dtype=torch.bool).scatter(1, chosen, True).view(n, 1, h, w)


def _over_the_batch(x, maps, count):
    least = maps.flatten().topk(count * len(x)).values[-1]
    return torch.where(maps[:, None] >= least, x.mean((2, 3), keepdim=True), x)


EXERCISES = {
    "explain.grad_cam": Exercise(
        grad_cam,
        lambda: [Trial((drawn(*shape), centred(*shape) + 0.1)) for shape in SHAPES],
        "One weight per channel: Grad-CAM asks each channel how much it matters, and never a single place.",
        (
            Mistake(
                "The ReLU is missing: what speaks against the class belongs to 0.",
                lambda f, g: (g.mean((2, 3), keepdim=True) * f).sum(1),
            ),
            Mistake(
                "You multiplied each place by its own gradient. Grad-CAM takes one weight per channel, the mean of its "
                "gradients. (Yours has a name, too: HiResCAM.)",
                lambda f, g: F.relu((g * f).sum(1)),
            ),
            Mistake(
                "The ReLU comes too early: first the sum over the channels, then the ReLU.",
                lambda f, g: F.relu(g.mean((2, 3), keepdim=True) * f).sum(1),
            ),
            Mistake(
                "The weights went through a ReLU; channels that speak against the class must be able to.",
                lambda f, g: F.relu((F.relu(g).mean((2, 3), keepdim=True) * f).sum(1)),
            ),
            Mistake(
                "The weight of a channel is the mean of its gradients, not their sum.",
                lambda f, g: F.relu((g.sum((2, 3), keepdim=True) * f).sum(1)),
            ),
            Mistake(
                "The weight of a channel is the mean of its gradients, not the largest.",
                lambda f, g: F.relu((g.amax((2, 3), keepdim=True) * f).sum(1)),
            ),
            Mistake(
                "Sum over the channels; you took their mean.",
                lambda f, g: F.relu((g.mean((2, 3), keepdim=True) * f).mean(1)),
            ),
            Mistake("The gradients are not used.", lambda f, g: F.relu(f.sum(1))),
            Mistake(
                "The gradients keep their sign; you took their size.",
                lambda f, g: F.relu((g.abs().mean((2, 3), keepdim=True) * f).sum(1)),
            ),
        ),
    ),
    "explain.delete": Exercise(
        delete,
        lambda: [
            Trial((drawn(n, 3, h, w), centred(n, h, w), count))
            for (n, _, h, w), count in zip(SHAPES, (7, 1, 20), strict=True)
        ],
        "The colour that fills the holes is part of the question: another one would draw another curve.",
        (
            Mistake(
                "The least important pixels are gone; the most important go first.",
                lambda x, m, k: torch.where(_first(m, k, False), x.mean((2, 3), keepdim=True), x),
            ),
            Mistake(
                "Only the most important pixels are left; that is insertion.",
                lambda x, m, k: torch.where(_first(m, k, True), x, x.mean((2, 3), keepdim=True)),
            ),
            Mistake(
                "They are 0 now; they should have the picture's mean colour.",
                lambda x, m, k: torch.where(_first(m, k, True), 0.0, x),
            ),
            Mistake(
                "They have the mean of all three channels; a mean colour has three numbers.",
                lambda x, m, k: torch.where(_first(m, k, True), x.mean((1, 2, 3), keepdim=True), x),
            ),
            Mistake(
                "They have the mean colour of the whole batch; take each picture's own.",
                lambda x, m, k: torch.where(_first(m, k, True), x.mean((0, 2, 3), keepdim=True), x),
            ),
            Mistake(
                "The threshold is the whole batch's, so one picture loses more than another. Each loses `count`.",
                _over_the_batch,
            ),
            Mistake("One pixel too many is gone.", lambda x, m, k: delete(x, m, k + 1)),
        ),
    ),
    "explain.area": Exercise(
        area,
        lambda: [Trial((drawn(n).double().abs(),)) for n in (3, 9, 17)],
        "It is the mean height of the curve, the ends counting half.",
        (
            Mistake("The ends count half: that is the plain mean of the values.", lambda c: c.mean()),
            Mistake(
                "The steps' length is left out: n values make n - 1 steps, each 1 / (n - 1) long.",
                lambda c: (c[:-1] + c[1:]).sum() / 2,
            ),
            Mistake("n values make n - 1 steps; you divided by n.", lambda c: (c[:-1] + c[1:]).sum() / 2 / len(c)),
            Mistake("Each step has its left end's height; take the mean of its two ends.", lambda c: c[:-1].mean()),
            Mistake("Each step has its right end's height; take the mean of its two ends.", lambda c: c[1:].mean()),
            Mistake("That is the sum of the values.", lambda c: c.sum()),
        ),
    ),
}
