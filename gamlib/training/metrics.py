"""Loss and errors, counted over whole data sets."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


def cross_entropy(output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Mean cross-entropy; of a network with two outputs (ABN in training), the sum of both."""
    if isinstance(output, tuple):
        return sum(F.cross_entropy(logits.float(), labels) for logits in output)
    return F.cross_entropy(output.float(), labels)


@dataclass
class Totals:
    """Sums over the samples seen so far. Kept as tensors on the device, so that adding a batch never waits for it."""

    count: int = 0
    loss: Tensor | float = 0.0
    top1: Tensor | float = 0.0
    top5: Tensor | float = 0.0

    def add(self, output: Tensor | tuple[Tensor, Tensor], labels: Tensor, loss: Tensor) -> None:
        """Add a batch: its logits (N, K), its labels (N,), and its mean loss."""
        logits = (output[0] if isinstance(output, tuple) else output).detach()
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices  # (N, 5)
        hits = best == labels[:, None]
        self.count += len(labels)
        self.loss = self.loss + loss.detach().double() * len(labels)
        self.top1 = self.top1 + hits[:, 0].sum().double()
        self.top5 = self.top5 + hits.any(dim=1).sum().double()

    def means(self, prefix: str) -> dict[str, float]:
        """Mean loss, top-1 error and top-5 error (both in %) under the names {prefix}_loss, ..."""
        loss, top1, top5 = (float(total) / self.count for total in (self.loss, self.top1, self.top5))
        return {
            f"{prefix}_loss": loss,
            f"{prefix}_top1_error": 100 * (1 - top1),
            f"{prefix}_top5_error": 100 * (1 - top5),
        }


@torch.no_grad()
def evaluate(predict, images: Tensor, labels: Tensor, batch_size: int = 500) -> dict[str, float]:
    """Test loss and errors (%) of `predict`: uint8 images (N, 3, H, W) -> logits (N, K). Every sample counts once."""
    totals = Totals()
    for x, y in zip(images.split(batch_size), labels.split(batch_size), strict=True):
        logits = predict(x)
        totals.add(logits, y, cross_entropy(logits, y))
    return totals.means("test")
