"""A training step as one CUDA graph: the host starts it with one call, instead of one for each of its kernels."""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UP = 3  # steps before it is recorded: libraries choose their kernels in the first ones


class StepGraph:
    """Takes the first steps as they come, then records one and replays it; batches of other sizes go as they come.

    Args:
        step: (images, labels) -> None: does all its work on the GPU, in tensors that stay where they are.
        batch_size: of the batches that are replayed.
    """

    def __init__(self, step: Callable[[Tensor, Tensor], None], batch_size: int) -> None:
        self.step, self.batch_size = step, batch_size
        self.taken, self.graph = 0, None

    def __call__(self, images: Tensor, labels: Tensor) -> None:
        """One step."""
        self.taken += 1
        if len(labels) != self.batch_size or self.taken <= WARM_UP:
            self.step(images, labels)
            return
        if self.graph is None:
            self.images, self.labels = images.clone(), labels.clone()
            self.graph = torch.cuda.CUDAGraph()
            # The thread that pins photographs may ask the GPU something meanwhile.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.step(self.images, self.labels)
        self.images.copy_(images, non_blocking=True)
        self.labels.copy_(labels, non_blocking=True)
        self.graph.replay()
