"""Slow, literal versions of the mechanisms, written from the papers' equations with loops and einsum.

They share no code with gamlib. Each takes a module only to read its weights. Names follow the equations.
"""

import torch
from torch import Tensor, nn


def sigmoid(z: Tensor) -> Tensor:
    return 1 / (1 + torch.exp(-z))


def relu(z: Tensor) -> Tensor:
    return torch.where(z > 0, z, torch.zeros_like(z))


def linear(z: Tensor, layer: nn.Linear) -> Tensor:
    """(..., C) -> (..., K)."""
    out = torch.einsum("...c,kc->...k", z, layer.weight)
    return out if layer.bias is None else out + layer.bias


def conv(x: Tensor, layer: nn.Conv2d) -> Tensor:
    """A convolution that keeps H and W, as a sum over the window, group by group."""
    n, c, h, w = x.shape
    k, d, groups = layer.kernel_size[0], layer.dilation[0], layer.groups
    reach = d * (k // 2)
    padded = x.new_zeros(n, c, h + 2 * reach, w + 2 * reach)
    padded[:, :, reach : reach + h, reach : reach + w] = x
    inside, outside = c // groups, layer.out_channels // groups
    maps = []
    for g in range(groups):
        total = x.new_zeros(n, outside, h, w)
        for i in range(k):
            for j in range(k):
                window = padded[:, g * inside : (g + 1) * inside, i * d : i * d + h, j * d : j * d + w]
                weight = layer.weight[g * outside : (g + 1) * outside, :, i, j]
                total = total + torch.einsum("nchw,oc->nohw", window, weight)
        maps.append(total)
    out = torch.cat(maps, dim=1)
    return out if layer.bias is None else out + layer.bias.view(1, -1, 1, 1)


def batch_norm(x: Tensor, layer: nn.BatchNorm2d | nn.BatchNorm1d) -> Tensor:
    """With the batch's own statistics in training, the running ones in eval."""
    shape = (1, -1, *[1] * (x.ndim - 2))
    if layer.training:
        dims = [d for d in range(x.ndim) if d != 1]
        mean, var = x.mean(dims), x.var(dims, unbiased=False)
    else:
        mean, var = layer.running_mean, layer.running_var
    normal = (x - mean.view(shape)) / torch.sqrt(var.view(shape) + layer.eps)
    return normal * layer.weight.view(shape) + layer.bias.view(shape)


def channel_means(x: Tensor) -> Tensor:
    n, c, h, w = x.shape
    means = x.new_zeros(n, c)
    for i in range(h):
        for j in range(w):
            means = means + x[:, :, i, j] / (h * w)
    return means


def channel_peaks(x: Tensor) -> Tensor:
    n, c, _, _ = x.shape
    return torch.stack([torch.stack([x[a, b].max() for b in range(c)]) for a in range(n)])


def scale_channels(x: Tensor, gate: Tensor) -> Tensor:
    return torch.einsum("nchw,nc->nchw", x, gate)


def scale_places(x: Tensor, gate: Tensor) -> Tensor:
    return torch.einsum("nchw,nhw->nchw", x, gate)


def se_gate(x: Tensor, gate: nn.Module) -> Tensor:
    """SENet, equations 2 and 3: (N, C)."""
    return sigmoid(linear(relu(linear(channel_means(x), gate.fc1)), gate.fc2))


def se(x: Tensor, module: nn.Module) -> Tensor:
    """SENet, equation 4."""
    return scale_channels(x, se_gate(x, module.channel_gate))


def bam_channel(x: Tensor, branch: nn.Module) -> Tensor:
    """BAM, equation 3, its BatchNorm where the official code has it: (N, C)."""
    return linear(relu(batch_norm(linear(channel_means(x), branch.fc1), branch.bn)), branch.fc2)


def bam_spatial(x: Tensor, layers: nn.Sequential) -> Tensor:
    """BAM, equation 4: (N, H, W)."""
    x = relu(batch_norm(conv(x, layers[0]), layers[1]))
    x = relu(batch_norm(conv(x, layers[3]), layers[4]))
    x = relu(batch_norm(conv(x, layers[6]), layers[7]))
    return conv(x, layers[9])[:, 0]


def bam_combine(x: Tensor, mc: Tensor, ms: Tensor) -> Tensor:
    """BAM, equation 1, and the official code's product of the two branches."""
    m = sigmoid(torch.einsum("nc,nhw->nchw", mc, ms))
    return x + torch.einsum("nchw,nchw->nchw", x, m)


def bam(x: Tensor, module: nn.Module) -> Tensor:
    channel, spatial = module.gate.channel_branch, module.gate.spatial_branch
    return bam_combine(x, bam_channel(x, channel), bam_spatial(x, spatial.layers))


def z_pool(x: Tensor) -> Tensor:
    """[max; mean] over the second dimension: (N, D, A, B) -> (N, 2, A, B)."""
    peak = x.sort(dim=1).values[:, -1]
    mean = sum(x[:, d] for d in range(x.shape[1])) / x.shape[1]
    return torch.stack([peak, mean], dim=1)


def pool_and_convolve(x: Tensor, gate: nn.Module) -> Tensor:
    """[max; mean] over the second dimension -> conv -> BN -> sigmoid: (N, D, A, B) -> (N, A, B)."""
    return sigmoid(batch_norm(conv(z_pool(x), gate.conv), gate.bn))[:, 0]


def cbam_channel(x: Tensor, gate: nn.Module) -> Tensor:
    """CBAM, equation 2: (N, C)."""
    first, _, second = gate.mlp

    def mlp(z: Tensor) -> Tensor:
        return linear(relu(linear(z, first)), second)

    return sigmoid(mlp(channel_means(x)) + mlp(channel_peaks(x)))


def cbam(x: Tensor, module: nn.Module) -> Tensor:
    """CBAM, equations 1 and 3."""
    x = scale_channels(x, cbam_channel(x, module.channel_gate))
    return scale_places(x, pool_and_convolve(x, module.spatial_gate))


def tam(x: Tensor, module: nn.Module) -> Tensor:
    """Triplet attention, Section 3.2: three rotated copies, each scaled and rotated back, and their mean."""
    total = scale_places(x, pool_and_convolve(x, module.hw_gate))
    for dim, gate in ((2, module.cw_gate), (3, module.ch_gate)):
        rotated = x.transpose(1, dim)
        total = total + scale_places(rotated, pool_and_convolve(rotated, gate)).transpose(1, dim)
    return total / 3


def shuffle(x: Tensor, groups: int) -> Tensor:
    """ShuffleNet's channel shuffle: channel a * (C / g) + b goes to place b * g + a."""
    c = x.shape[1]
    out = torch.empty_like(x)
    for a in range(groups):
        for b in range(c // groups):
            out[:, b * groups + a] = x[:, a * (c // groups) + b]
    return out


def gam_channel(x: Tensor, gate: nn.Module) -> Tensor:
    """GAM, Mc of equation 1, the MLP pixel by pixel: (N, C, H, W)."""
    first, _, second = gate.mlp
    mc = torch.zeros_like(x)
    for i in range(x.shape[2]):
        for j in range(x.shape[3]):
            mc[:, :, i, j] = sigmoid(linear(relu(linear(x[:, :, i, j], first)), second))
    return mc


def gam_spatial(x: Tensor, gate: nn.Module) -> Tensor:
    """GAM, Ms of equation 2: (N, C, H, W)."""
    hidden = relu(batch_norm(conv(x, gate.conv1), gate.bn))
    if gate.shuffle == "between":
        hidden = shuffle(hidden, gate.groups)
    logits = conv(hidden, gate.conv2)
    if gate.shuffle == "after":
        logits = shuffle(logits, gate.groups)
    return sigmoid(logits)


def gam(x: Tensor, module: nn.Module) -> Tensor:
    """GAM, equations 1 and 2."""
    if module.channel_gate is not None:
        x = torch.einsum("nchw,nchw->nchw", x, gam_channel(x, module.channel_gate))
    if module.spatial_gate is not None:
        x = torch.einsum("nchw,nchw->nchw", x, gam_spatial(x, module.spatial_gate))
    return x


def abn_map(a: Tensor, gate: nn.Module) -> Tensor:
    """ABN, M of the class maps a: (N, K, H, W) -> (N, H, W)."""
    return sigmoid(batch_norm(conv(a, gate.conv), gate.bn))[:, 0]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the images of -log p(label)."""
    total = torch.zeros((), dtype=logits.dtype)
    for image, label in zip(logits, labels, strict=True):
        total = total - torch.log(torch.exp(image[label]) / torch.exp(image).sum())
    return total / len(labels)


def abn(x: Tensor, model: nn.Module) -> tuple[Tensor, Tensor]:
    """ABN around a small ResNet: logits and attention logits, the stages taken as they are."""
    backbone, branch, gate = model.backbone, model.branch, model.attention_gate
    x = relu(batch_norm(conv(x, backbone.conv1), backbone.bn1))
    x = backbone.layer2(backbone.layer1(x))
    a = relu(batch_norm(conv(batch_norm(branch.stage(x), branch.bn1), branch.conv), branch.bn2))
    attention_logits = channel_means(conv(a, model.attention_head))
    x = backbone.layer3(x + scale_places(x, abn_map(a, gate)))
    return linear(channel_means(x), backbone.fc), attention_logits


def grad_cam(features: Tensor, gradients: Tensor) -> Tensor:
    """Grad-CAM's equations 1 and 2, place by place: (N, C, h, w) twice -> (N, h, w)."""
    n, c, h, w = features.shape
    maps = features.new_zeros(n, h, w)
    for picture in range(n):
        for k in range(c):
            alpha = sum(gradients[picture, k, i, j] for i in range(h) for j in range(w)) / (h * w)
            for i in range(h):
                for j in range(w):
                    maps[picture, i, j] += alpha * features[picture, k, i, j]
    return relu(maps)
