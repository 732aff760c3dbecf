"""Grad-CAM: which places of a feature map speak for a class (Selvaraju et al., ICCV 2017)."""

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from gamlib._checks import unknown_name
from gamlib._modules import named_modules, on_its_device, unwrapped
from gamlib.explain.gates import hooked, normal


@torch.inference_mode(False)  # where a caller is in it, there are no gradients
def grad_cam(
    model: nn.Module, x: Float[Tensor, "n 3 h w"], labels: Int64[Tensor, " n"] | None = None, layer: str | None = None
) -> Float[Tensor, "n h w"]:
    """Heat maps: relu(sum over channels of weight * feature), weight = mean over places of d logit / d feature
    (equations 1 and 2), brought to the picture's size, and divided by their largest value.

    Args:
        model: (N, 3, H, W) -> logits (N, K), in eval. Its parameters and their gradients are left as they are.
        x: a batch as the network takes it, normalised as in its training.
        labels: the class to ask about, for each picture; None is the network's own answer.
        layer: name of a module with output (N, C, h, w), as in a network that nothing wraps; None is the last one with
            more than one place, where the network is convolutional to its end.

    Returns:
        (N, H, W) in [0, 1]; all zeros for a picture in which no place speaks for its class.

    Raises:
        ValueError: for a network in training, an unknown layer, one whose output is not (N, C, h, w), labels that are
            not one class for each picture, or, where no layer is named, a network that is not convolutional to its end.
    """
    model = unwrapped(model)
    check_eval(model)
    if x.ndim != 4 or len(x) == 0:
        raise ValueError(f"x must be (N, 3, H, W) with N 1 or more, got {tuple(x.shape)}")
    x, labels = on_its_device(model, x, labels)
    layer = last_map(model, x) if layer is None else layer
    modules = named_modules(model)
    if layer not in modules:
        raise unknown_name("layer", layer, [name for name in modules if name])
    kept: list[Tensor] = []

    def keep(layer: str, module: nn.Module, inputs: tuple, output: Tensor) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != 4:
            shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise ValueError(f"layer {layer!r} must return (N, C, h, w), got {shape}")
        kept.append(output if output.requires_grad else output.detach().requires_grad_())
        return kept[-1].clone()  # what comes next may work in place

    tensors = (*model.named_parameters(), *model.named_buffers())
    state = {name: normal(tensor.detach()) for name, tensor in tensors if tensor.is_inference()}
    with torch.enable_grad(), hooked(model, [layer], keep):
        logits = functional_call(model, state, (normal(x),))
    if len(kept) != 1:
        raise ValueError(f"layer {layer!r} ran {len(kept)} times in one pass; choose one that runs once")
    labels = logits.argmax(1) if labels is None else labels
    check_labels(labels, logits)
    with torch.enable_grad():
        (gradients,) = torch.autograd.grad(logits.gather(1, normal(labels)[:, None]).sum(), kept[0], allow_unused=True)
    if gradients is None:
        raise ValueError(f"the answer does not depend on layer {layer!r}; choose another one")
    weights = gradients.mean((2, 3), keepdim=True)  # (N, C, 1, 1)
    maps = F.relu((weights * kept[0].detach()).sum(1, keepdim=True))  # (N, 1, h, w)
    maps = F.interpolate(maps, x.shape[2:], mode="bilinear", align_corners=False)[:, 0]  # (N, H, W)
    peaks = maps.amax((1, 2), keepdim=True)
    return maps / peaks.where(peaks > 0, 1)


def check_eval(model: nn.Module) -> None:
    """Raise ValueError where a part of the network is in training."""
    if any(module.training for module in named_modules(model).values()):
        raise ValueError("the network is in training: its answers would depend on the whole batch; call .eval() first")


def check_labels(labels: Tensor, logits: Tensor) -> None:
    """Raise ValueError unless `labels` are one class for each row of the logits."""
    n, classes = logits.shape
    whole = isinstance(labels, Tensor) and labels.dtype == torch.int64
    if not whole or labels.shape != (n,) or labels.min() < 0 or labels.max() >= classes:
        got = f"{labels.dtype} {tuple(labels.shape)}" if isinstance(labels, Tensor) else type(labels).__name__
        values = f", {int(labels.min())} to {int(labels.max())}" if whole and labels.numel() else ""
        raise ValueError(f"labels must be int64 ({n},), classes from 0 to {classes - 1}; got {got}{values}")


def last_map(model: nn.Module, x: Tensor) -> str:
    """Name of the module that is the last to return (N, C, h, w) with more than one place.

    Raises:
        ValueError: where there is none, or places are still told apart after it, in another form: as tokens (N, L, C),
            or with the channels last. So it is in transformers, whose last such map is that of the first layer.
    """
    found: list[tuple[str, int]] = []  # and its number of places
    after: list[str] = []  # modules that tell places apart in another form

    def look(name: str, module: nn.Module, inputs: tuple, output: object) -> None:
        if not isinstance(output, Tensor) or output.ndim < 3:
            return
        if output.ndim == 4 and _is_map(output, x):
            found.append((name, output.shape[2:].numel()))
            after.clear()
        elif found and _is_told_apart(output, x, found[-1][1]):
            after.append(name)

    with torch.no_grad(), hooked(model, [name for name in named_modules(model) if name], look):
        model(x)
    if not found:
        raise ValueError(f"no module of {type(model).__name__} returns (N, C, h, w) with more than one place")
    last, _ = found[-1]
    if after:
        raise ValueError(
            f"Grad-CAM was made for convolutional networks: after {last!r}, the last of {type(model).__name__}'s "
            f"layers that returns (N, C, h, w), {len(after)} more tell places apart in another form, such as "
            f"{after[-1]!r}. Name a layer, or use a method for transformers"
        )
    return last


def _is_map(output: Tensor, x: Tensor) -> bool:
    """One (N, C, h, w) for each picture, of more than one place, in the picture's proportions."""
    return len(output) == len(x) and _in_proportion(*output.shape[2:], x)


def _is_told_apart(output: Tensor, x: Tensor, places: int) -> bool:
    """Tokens (N, L, C), as many as there were places at least, or (N, h, w, C) with more than one place."""
    if output.ndim == 3:
        return output.shape[1] >= places and output.shape[2] > 1
    return output.ndim == 4 and len(output) == len(x) and _in_proportion(*output.shape[1:3], x)


def _in_proportion(h: int, w: int, x: Tensor) -> bool:
    """Whether h x w are more than one place of such pictures: channels that stand there are no height or width."""
    height, width = x.shape[2:]
    return 1 < h * w <= height * width and abs(h * width - w * height) <= 2 * max(height, width)  # to two cells
