"""Loss and errors, counted over whole data sets."""

import torch
from torch import Tensor
from torch.nn import functional as F

from gamlib._device import counting_dtype
from gamlib.data import DataError
from gamlib.training.guards import Diverged

COUNTED = 5  # how many sums `count` returns


def cross_entropy(output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> Tensor:
    """Mean cross-entropy, in float32 at least; of a network with two outputs (ABN in training), the sum of both."""
    if isinstance(output, tuple):
        return sum(cross_entropy(logits, labels) for logits in output)
    return F.cross_entropy(output.to(torch.promote_types(output.dtype, torch.float32)), labels)


def count(output: Tensor | tuple[Tensor, Tensor], labels: Tensor, loss: Tensor) -> Tensor:
    """Sums over a batch, on its device: images, loss, top-1 hits, top-5 hits, images whose logits are not finite.

    Args:
        output: logits (N, K), or a pair whose first is.
        labels: int64 (N,).
        loss: the batch's mean loss.

    Returns:
        float64 (5,), or float32 where the device has no other; such sums can be added, over batches and over processes.
    """
    logits = (output[0] if isinstance(output, tuple) else output).detach()
    best = logits.topk(min(5, logits.shape[1]), dim=1).indices  # (N, 5)
    hits = best == labels[:, None]
    n = torch.full((), len(labels), dtype=counting_dtype(logits.device), device=logits.device)
    lost = (~logits.isfinite()).any(dim=1).sum()
    return torch.stack([n, loss.detach().to(n.dtype) * len(labels), hits[:, 0].sum(), hits.any(dim=1).sum(), lost])


def means(sums: Tensor, prefix: str) -> dict[str, float]:
    """Mean loss, top-1 error and top-5 error (both in %) under the names {prefix}_loss, ...

    Raises:
        DataError: where there were no images.
        Diverged: where logits were not finite. They have no largest one, so they can't be scored.
    """
    n, loss, top1, top5, lost = sums.tolist()
    if n == 0:
        raise DataError(f"none of the {prefix} images could be read")
    if lost:
        raise Diverged(f"the network's outputs for {lost:,.0f} of {n:,.0f} {prefix} images are nan or infinite")
    return {
        f"{prefix}_loss": loss / n,
        f"{prefix}_top1_error": 100 * (1 - top1 / n),
        f"{prefix}_top5_error": 100 * (1 - top5 / n),
    }
