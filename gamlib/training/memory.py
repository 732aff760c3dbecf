"""How much memory a training step needs, worked out from what autograd would keep: nothing is computed for it."""

import torch
from torch import Tensor, nn

from gamlib.cost import meta_copy
from gamlib.training.metrics import cross_entropy
from gamlib.training.recipes import LEAST_MICRO_BATCH

ROOM = 1.2  # what a step really takes, over what is counted here: up to 16% more, on an H200 (data/rates.json)


def memory_needed(model: nn.Module, image_shape: tuple[int, int, int], images: int, precision: str) -> int:
    """Bytes of weights, gradients, momentum, and of all tensors that the backward pass of one step needs.

    Args:
        model: (N, C, H, W) -> logits, or a pair of them.
        image_shape: (C, H, W).
        images: that are in memory at once: the batch, or the micro-batch.
        precision: "fp32", "bf16" or "fp16"; in the last two, what is kept takes half, and each weight a copy more.
    """
    trained = [p.requires_grad for p in model.parameters()]
    model = meta_copy(model).train()
    for p, is_trained in zip(model.parameters(), trained, strict=True):
        p.requires_grad_(is_trained)
    own = {t.untyped_storage()._cdata for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}  # by storage: a ReLU's output is the next convolution's input, and there once

    def keep(tensor: Tensor) -> Tensor:
        if (storage := tensor.untyped_storage()._cdata) not in own:
            kept.setdefault(storage, tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = model(torch.empty(images, *image_shape, device="meta"))
        cross_entropy(output, torch.zeros(images, dtype=torch.int64, device="meta"))
    held = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in model.parameters()]
    size, learnt = sum(size for size, _ in sizes), sum(size for size, is_trained in sizes if is_trained)
    return size + 2 * learnt + (held if precision == "fp32" else (size + held) // 2)


def advice(
    model: nn.Module, image_shape: tuple[int, int, int], images: int, precision: str, device: torch.device
) -> str:
    """How much that is, and, where the GPU has less free, into how large micro-batches it has to be split."""
    needed = memory_needed(model, image_shape, images, precision)
    said = f"about {needed / 1e9:.3g} GB for {images:,} images at once"
    free = torch.cuda.mem_get_info()[0] if device.type == "cuda" else None
    if free is None or ROOM * needed < free:
        return said
    said += f"; this GPU has {free / 1e9:.1f} GB free"
    while (images := images // 2) >= LEAST_MICRO_BATCH:
        if ROOM * memory_needed(model, image_shape, images, precision) < free:
            return f"{said}: add --micro-batch {images}"
    return f"{said}, too little for any micro-batch: take a smaller network"
