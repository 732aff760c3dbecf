"""Notebook 10: what a run waits for, which process gets which image, and how parts of a batch add up."""

import torch
from torch import Tensor

from gamlib.course.exercise import Exercise, Mistake, Trial
from gamlib.course.exercises._draw import drawn


def in_parts(gradients: Tensor, sizes: Tensor) -> Tensor:
    """(P, K) and (P,) -> (K,): the whole batch's mean gradient, from those of P parts of `sizes` images."""
    return (gradients * sizes[:, None]).sum(0) / sizes.sum()


def _parts_trials() -> list[Trial]:
    return [
        Trial((drawn(len(sizes), 5), torch.tensor(sizes, dtype=torch.float64)))
        for sizes in ([64.0, 64, 64, 64], [8.0, 8, 7], [30.0, 3], [5.0, 3, 2])
    ]


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
    "imagenet.parts": Exercise(
        in_parts,
        _parts_trials,
        "So a batch of 256 fits a card that holds 64. gamlib weights the losses instead, which comes to the same.",
        (
            Mistake(
                "A plain mean lets a small part count as much as a large one; it is right where all are equal.",
                lambda g, n: g.mean(0),
            ),
            Mistake(
                "A sum of means is as many times too long as there are parts: as if the learning rate were larger.",
                lambda g, n: g.sum(0),
            ),
            Mistake(
                "That is the gradient of the summed loss; the loss is a mean, so divide by all images.",
                lambda g, n: (g * n[:, None]).sum(0),
            ),
            Mistake(
                "You divide by the number of parts; what was weighted with images has to be divided by images.",
                lambda g, n: (g * n[:, None]).mean(0),
            ),
            Mistake(
                "A part with more images has to count more, not less.",
                lambda g, n: (g / n[:, None]).sum(0) / (1 / n).sum(),
            ),
            Mistake(
                "You divide by the images, but let each part count once: weight each row with its own number first.",
                lambda g, n: g.sum(0) / n.sum(),
            ),
            Mistake(
                "You divide each row by its images; multiply it with them, and divide the sum by all of them.",
                lambda g, n: (g / n[:, None]).sum(0),
            ),
            Mistake("The first part is lost: gradients have to add up over all of them.", lambda g, n: g[-1]),
            Mistake("The last part is left out.", lambda g, n: (g[:-1] * n[:-1, None]).sum(0) / n[:-1].sum()),
        ),
    ),
    "imagenet.throughput": Exercise(
        images_per_second,
        lambda: [
            Trial(values)
            for values in [
                *[(100.0, 16, 1200.0, 1), (100.0, 8, 1200.0, 1), (90.0, 64, 1100.0, 8), (300.0, 2, 550.0, 1)],
                *[(120.0, 3, 700.0, 2), (50.0, 40, 450.0, 3), (100.0, 2, 60.0, 1)],
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
            Mistake("You took the GPUs alone; each image has to be decoded, too.", lambda d, c, t, g: t * g),
            Mistake("You took the cores alone; each image has to be trained on, too.", lambda d, c, t, g: d * c),
            Mistake(
                "Multiply before you compare: cores belong to decoding, GPUs to training.",
                lambda d, c, t, g: min(d, t * g) * c,
            ),
            Mistake(
                "Multiply before you compare: GPUs belong to training, cores to decoding.",
                lambda d, c, t, g: min(d * c, t) * g,
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
            Mistake("All processes get the same ids; where one starts depends on its rank.", lambda b, r, w: b[::w]),
            Mistake(
                "Ranks count from 0; you start at rank - 1, and rank 0 gets one of the last ids.",
                lambda b, r, w: b[r - 1 :: w],
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
