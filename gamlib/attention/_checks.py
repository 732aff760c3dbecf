"""Argument checks and the one weight initialisation that all mechanisms share."""

from torch import Tensor, nn

from gamlib._checks import check_integer


def check_hidden_channels(channels: int, reduction: int) -> int:
    """Return the bottleneck's width, channels // reduction; raise ValueError where it is zero."""
    check_integer("channels", channels)
    check_integer("reduction", reduction)
    hidden = channels // reduction
    if hidden < 1:
        raise ValueError(
            f"reduction={reduction} leaves no hidden channel (channels={channels}, channels // reduction = 0); "
            f"allowed here: 1 to {channels}"
        )
    return hidden


def check_kernel_size(kernel_size: int) -> None:
    """Raise ValueError unless `kernel_size` is odd: an even window has no centre to pad around."""
    check_integer("kernel_size", kernel_size)
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd (1, 3, 5, 7, ...), got {kernel_size}")


def check_groups(groups: int, channels: int, hidden: int) -> None:
    """Raise ValueError unless `groups` divides both widths of a grouped bottleneck."""
    check_integer("groups", groups)
    if channels % groups or hidden % groups:
        allowed = [g for g in range(1, hidden + 1) if channels % g == 0 and hidden % g == 0]
        raise ValueError(
            f"groups={groups} must divide both channels={channels} and channels // reduction = {hidden}; "
            f"allowed here: {allowed}"
        )


# torch.fx traces with tensors that have no values. In each file that calls this, torch.fx.wrap makes it one node.
def check_input(x: Tensor, channels: int, normalises: bool = False) -> None:
    """Raise ValueError unless `x` is (N, channels, H, W), more than one value per channel where it `normalises`."""
    if x.ndim != 4 or x.shape[1] != channels:
        raise ValueError(f"expected an input of shape (N, {channels}, H, W), got {tuple(x.shape)}")
    if normalises and x.shape[0] * x.shape[2] * x.shape[3] == 1:
        raise ValueError(
            "in training, BatchNorm needs more than one value per channel, got one image of 1 x 1; use a larger batch, "
            "drop the last incomplete one, or call .eval()"
        )


def init_convs(module: nn.Module) -> None:
    """Kaiming (fan out) for convolutions, zeros for their biases.

    Linear and BatchNorm keep PyTorch's defaults. All mechanisms start alike, so that a comparison is about the
    mechanism. Official code differs: CBAM's and BAM's starts Linear with Kaiming and zero biases, and CBAM's the
    BatchNorm in front of the spatial gate's sigmoid at weight 0, so that this gate is one half everywhere at first; of
    TAM's three gates only the one on rows and columns starts so. For GAM the choice is visible: behind a BatchNorm and
    a ReLU, fan out lets the spatial gate's logits start with a standard deviation of 1 / sqrt(r), 0.25 at r = 16, and
    fan in, which the later NAM code of the same authors has, with 1.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv1d | nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
