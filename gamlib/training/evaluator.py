"""How images reach a network, and how it is tested."""

import time
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gamlib._device import DEVICES, counting_dtype, device_of
from gamlib.data import Data
from gamlib.training import distributed
from gamlib.training.interrupt import Interrupt
from gamlib.training.metrics import COUNTED, count, cross_entropy, means
from gamlib.training.speed import Speed

LOOK_EVERY = dict.fromkeys(DEVICES, 10) | {"cpu": 1}  # batches; a look lets the host wait for the GPU


def evaluate(model: nn.Module, data: Data, speed: Speed | None = None) -> dict[str, float]:
    """Test loss, top-1 error and top-5 error (both in %) over all test images, each counted once.

    Args:
        model: (N, 3, H, W) -> logits (N, K); left in eval.
        data: from `gamlib.data.load` ...
        speed: precision and layout; None is `Speed()`.

    Raises:
        ValueError: for a model whose output has not one column for each class, or a device that is not here.
        Diverged: where its outputs are not finite.
    """
    speed = speed or Speed()
    distributed.start(speed.device)
    evaluator = Evaluator(model, data, speed)
    for _ in evaluator.run(Interrupt()):
        pass
    return means(evaluator.sums, "test")


class Evaluator:
    """A network on its device, its data, and how the one sees the other."""

    def __init__(self, model: nn.Module, data: Data, speed: Speed) -> None:
        self.device = device_of(speed.device)
        self.precision = speed.resolve(self.device)
        self.layout = torch.channels_last if speed.channels_last else torch.contiguous_format
        self.model = model.to(self.device, memory_format=self.layout)
        self.dtype = next((p.dtype for p in model.parameters()), torch.float32)
        self.data = data.to(self.device)
        self.mean = torch.tensor(data.mean, dtype=self.dtype, device=self.device).view(1, 3, 1, 1) * 255
        self.std = torch.tensor(data.std, dtype=self.dtype, device=self.device).view(1, 3, 1, 1) * 255
        # Over the last test's images.
        self.sums = torch.zeros(COUNTED, dtype=counting_dtype(self.device), device=self.device)
        self.seconds = 0.0  # that it took
        self.must_stop = False  # whether one of the processes was asked to

    def predict(self, images: Tensor, network: nn.Module) -> Tensor | tuple[Tensor, Tensor]:
        """uint8 images (N, 3, H, W) -> what the network says of them, normalised and in the run's precision."""
        x = ((images.to(self.dtype) - self.mean) / self.std).contiguous(memory_format=self.layout)
        low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        with torch.autocast(self.device.type, low, enabled=low is not None):
            output = network(x)
        logits = output[0] if isinstance(output, tuple) else output
        if logits.ndim != 2 or logits.shape[1] != self.data.num_classes:
            raise ValueError(
                f"{self.data.name} has {self.data.num_classes} classes, so the model must return "
                f"(N, {self.data.num_classes}); got {tuple(logits.shape)}. "
                f"Build it with num_classes={self.data.num_classes}"
            )
        return output

    @torch.no_grad()
    def run(self, interrupt: Interrupt) -> Iterator[None]:
        """All test images, a batch at a time; each counts once, whatever the number of processes."""
        distributed.broadcast_buffers(self.model)
        self.model.eval()
        start = time.perf_counter()
        sums = torch.zeros_like(self.sums)
        batches = torch.arange(self.data.test_count).split(self.data.test_batch * distributed.world_size())
        shards = [distributed.shard(batch) for batch in batches]
        for number, (images, labels) in enumerate(self.data.test_batches(shards), start=1):
            if len(labels) > 0:
                logits = self.predict(images, self.model)
                sums += count(logits, labels, cross_entropy(logits, labels))
            if number % LOOK_EVERY[self.device.type] == 0:  # in all processes at once
                asked = torch.full((), interrupt.number is not None, dtype=self.sums.dtype, device=self.device)
                self.must_stop = bool(distributed.all_reduce_sum(asked))
            yield
        self.sums = distributed.all_reduce_sum(sums)
        self.seconds = time.perf_counter() - start
