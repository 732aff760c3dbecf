"""Notebook 10: what a run takes, what it waits for, and which process gets which image."""

import torch
from torch import Tensor

from gamlib.course.exercise import Exercise, Mistake, Trial


def hours(images: int, epochs: int, rate: float, gpus: int, efficiency: float) -> float:
    """Of training: `rate` is one GPU's images per second; several reach `efficiency` of the sum."""
    return images * epochs / (rate * gpus * efficiency) / 3600


def images_per_second(decoded: float, cores: int, trained: float, gpus: int) -> float:
    """Of a machine: its cores decode ahead while its GPUs train."""
    return min(decoded * cores, trained * gpus)


def share(batch: Tensor, rank: int, world_size: int) -> Tensor:
    """Which ids of a batch a process gets: dealt like cards, none left over and none twice."""
    return batch[rank::world_size]


def _share_trials() -> list[Trial]:
    batches = [(torch.arange(first, first + n), rank, world) for first, n, rank, world in PLACES]
    return [Trial(values) for values in [*batches, (torch.tensor([5, 3, 9, 1, 7]), 1, 2)]]


PLACES = [(0, 8, 1, 4), (100, 10, 0, 4), (100, 10, 3, 4), (7, 5, 1, 2), (3, 9, 2, 3)]


def _chunk(batch, rank, world):
    size = len(batch) // world
    return batch[rank * size : (rank + 1) * size]


def _padded(batch, rank, world):
    """As PyTorch's DistributedSampler does: the first ids once more, so that all get equally many."""
    missing = -len(batch) % world
    return torch.cat([batch, batch[:missing]])[rank::world]


EXERCISES = {
    "imagenet.hours": Exercise(
        hours,
        lambda: [
            Trial(values)
            for values in [
                (1_281_167, 90, 1200.0, 1, 1.0),
                (1_281_167, 90, 1200.0, 4, 0.9),
                (50_000, 200, 900.0, 2, 0.8),
                (9_000, 3, 20.0, 3, 0.5),
            ]
        ],
        "Testing comes on top: ImageNet's 50,000 validation images after each epoch, without a backward pass.",
        (
            Mistake("Those are seconds; an hour has 3,600 of them.", lambda i, e, s, g, f: i * e / (s * g * f)),
            Mistake("Those are minutes; an hour has 3,600 seconds.", lambda i, e, s, g, f: i * e / (s * g * f) / 60),
            Mistake(
                "The efficiency is left out: several GPUs wait for each other, and reach only a part of the sum.",
                lambda i, e, s, g, f: i * e / (s * g) / 3600,
            ),
            Mistake(
                "A lower efficiency makes your run shorter; it should make it longer.",
                lambda i, e, s, g, f: i * e / (s * g) * f / 3600,
            ),
            Mistake(
                "The number of GPUs is left out: `rate` is one GPU's. (Yours are GPU hours.)",
                lambda i, e, s, g, f: i * e / (s * f) / 3600,
            ),
            Mistake("That is one epoch.", lambda i, e, s, g, f: i / (s * g * f) / 3600),
        ),
    ),
    "imagenet.throughput": Exercise(
        images_per_second,
        lambda: [
            Trial(values)
            for values in [
                *[(100.0, 16, 1200.0, 1), (100.0, 8, 1200.0, 1), (90.0, 64, 1100.0, 8), (300.0, 2, 550.0, 1)],
                *[(120.0, 3, 700.0, 2), (50.0, 40, 450.0, 3)],
            ]
        ],
        "Of two that work side by side, the slower one sets the pace. Pre-resizing speeds up the one, a GPU the other.",
        (
            Mistake(
                "You added the two; an image must be both decoded and trained on, so the slower sets the pace.",
                lambda d, c, t, g: d * c + t * g,
            ),
            Mistake(
                "That is one after the other. The next images are decoded while the GPU trains on these.",
                lambda d, c, t, g: 1 / (1 / (d * c) + 1 / (t * g)),
            ),
            Mistake("The faster of the two has to wait for the slower.", lambda d, c, t, g: max(d * c, t * g)),
            Mistake(
                "That is their mean; the faster one has to wait for the slower.", lambda d, c, t, g: (d * c + t * g) / 2
            ),
            Mistake("You counted one core; all of them decode.", lambda d, c, t, g: min(d, t * g)),
            Mistake("You counted one GPU; all of them train.", lambda d, c, t, g: min(d * c, t)),
            Mistake(
                "All cores decode for all GPUs together: multiply both sides before you compare them.",
                lambda d, c, t, g: min(d, t) * c * g,
            ),
        ),
    ),
    "imagenet.share": Exercise(
        share,
        _share_trials,
        "With 10 ids and 4 processes, two get 3 and two get 2: each image counts once in the test error.",
        (
            Mistake(
                "You cut the batch into equal pieces and lose what is left over: of 10 ids and 4 processes, 2.", _chunk
            ),
            Mistake(
                "Some ids are handed out twice, so that all get equally many. PyTorch's DistributedSampler does so; "
                "in a test, these images count twice.",
                _padded,
            ),
            Mistake("Rank and world size are in each other's place.", lambda b, r, w: b[w :: max(r, 1)]),
            Mistake(
                "Ranks count from 0; you start at rank + 1, and nobody gets the first id.",
                lambda b, r, w: b[r + 1 :: w],
            ),
            Mistake("Each process gets the whole batch; then all do the same work.", lambda b, r, w: b),
            Mistake(
                "You cut what is left over, so that all get equally many.", lambda b, r, w: b[r : len(b) // w * w : w]
            ),
            Mistake(
                "You cut the batch into pieces, and the last may be much smaller; deal like cards, one by one.",
                lambda b, r, w: b.chunk(w)[r],
            ),
            Mistake(
                "Each piece is right in size; but deal like cards, one by one, rank 0 first.",
                lambda b, r, w: b.tensor_split(w)[r],
            ),
        ),
    ),
}
