"""Relatives of the course's mechanisms, as far as they are needed to be drawn; neither trained nor exported."""

import torch
from torch import Tensor, nn


class CoordinateAttention(nn.Module):
    """Means along rows and along columns, through one layer, and a gate for each (Hou, Zhou, Feng, CVPR 2021)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        hidden = channels // reduction
        self.both = nn.Sequential(nn.Conv2d(channels, hidden, 1), nn.BatchNorm2d(hidden), nn.Hardswish())
        self.rows, self.columns = nn.Conv2d(hidden, channels, 1), nn.Conv2d(hidden, channels, 1)
        self.row_gate, self.column_gate = nn.Sigmoid(), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        rows, columns = x.mean(3, keepdim=True), x.mean(2, keepdim=True)  # (N, C, H, 1), (N, C, 1, W)
        both = self.both(torch.cat([rows, columns.transpose(2, 3)], dim=2))  # (N, C / r, H + W, 1)
        rows = self.row_gate(self.rows(both.narrow(2, 0, height)))
        columns = self.column_gate(self.columns(both.narrow(2, height, width).transpose(2, 3)))
        return x * rows * columns


class NonLocal(nn.Module):
    """To each position a mean of all, weighted by comparisons (Wang, Girshick, Gupta, He, CVPR 2018)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = channels // 2
        self.query, self.key, self.value = (nn.Conv2d(channels, hidden, 1) for _ in range(3))
        self.softmax = nn.Softmax(dim=2)
        self.back = nn.Conv2d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        queries, keys, values = (layer(x).flatten(2) for layer in (self.query, self.key, self.value))  # (N, C / 2, H W)
        weights = self.softmax(queries.transpose(1, 2).matmul(keys))  # (N, H W, H W)
        moved = values.matmul(weights.transpose(1, 2))
        return x + self.back(moved.unflatten(2, x.shape[2:]))
