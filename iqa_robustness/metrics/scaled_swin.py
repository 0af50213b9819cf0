"""The scaled Swin stage of MANIQA: windowed attention on a fixed grid, two layers of two blocks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WINDOW = 4
HEADS = 4
# What keeps tokens of two sides of the torus apart: large enough that softmax leaves 1e-44 of them.
SEPARATION = -100.0


def windowed(tokens: Tensor) -> Tensor:
    """(N, h, w, C) to (N · windows, 16, C), windows row by row."""
    count, height, width, channels = tokens.shape
    cut = tokens.view(count, height // WINDOW, WINDOW, width // WINDOW, WINDOW, channels)
    return cut.transpose(2, 3).reshape(-1, WINDOW * WINDOW, channels)


def unwindowed(windows: Tensor, side: int) -> Tensor:
    """The inverse of `windowed` for a square grid: (N · windows, 16, C) to (N, side, side, C)."""
    across = side // WINDOW
    grid = windows.view(-1, across, across, WINDOW, WINDOW, windows.shape[-1])
    return grid.transpose(2, 3).reshape(-1, side, side, windows.shape[-1])


def relative_positions() -> Tensor:
    """(16, 16) int64: which of the 7 × 7 offsets lies between two places of a window."""
    place = torch.stack(torch.meshgrid(torch.arange(WINDOW), torch.arange(WINDOW), indexing="ij")).flatten(1)
    offset = place[:, :, None] - place[:, None, :] + WINDOW - 1
    return offset[0] * (2 * WINDOW - 1) + offset[1]


def separation(side: int, shift: int) -> Tensor:
    """(windows, 16, 16): 0 between places that are neighbours before the shift, `SEPARATION` between others."""
    region = torch.zeros(side)
    region[side - WINDOW : side - shift] = 1
    region[side - shift :] = 2
    regions = windowed((region[:, None] * 3 + region[None, :])[None, :, :, None]).squeeze(2)
    return (regions[:, :, None] != regions[:, None, :]).float() * SEPARATION


class WindowAttention(nn.Module):
    """Self-attention among the 16 tokens of a window, with a bias for each offset and head."""

    relative_position_index: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, HEADS))
        self.register_buffer("relative_position_index", relative_positions())
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, windows: Tensor, mask: Tensor | None) -> Tensor:
        """(N · windows, 16, C) to the same; `mask` is (windows, 16, 16)."""
        rows, places, channels = windows.shape
        parts = self.qkv(windows).view(rows, places, 3, HEADS, channels // HEADS).permute(2, 0, 3, 1, 4)
        query, key, value = parts.unbind(0)
        attention = (query * (channels // HEADS) ** -0.5) @ key.transpose(-2, -1)
        attention = attention + self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        if mask is not None:
            apart = attention.view(-1, len(mask), HEADS, places, places) + mask[None, :, None]
            attention = apart.view(rows, HEADS, places, places)
        mixed: Tensor = self.proj((attention.softmax(dim=-1) @ value).transpose(1, 2).reshape(windows.shape))
        return mixed


class Perceptron(nn.Module):
    """Linear, GELU, linear, for each token."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(…, C) to (…, C)."""
        result: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return result


class SwinBlock(nn.Module):
    """Windowed attention and a perceptron, each added to its input; the windows may be shifted over the torus.

    The mask of a shifted block is part of the published checkpoints, so it is a buffer here too.
    """

    attn_mask: Tensor | None

    def __init__(self, channels: int, *, side: int, hidden: int, shift: int) -> None:
        super().__init__()
        self.side, self.shift = side, shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.attn = WindowAttention(channels)
        self.mlp = Perceptron(channels, hidden)
        self.register_buffer("attn_mask", separation(side, shift) if shift else None)

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, side², C) to the same."""
        grid = self.norm1(tokens).view(len(tokens), self.side, self.side, -1)
        moved = torch.roll(grid, (-self.shift, -self.shift), dims=(1, 2))
        mixed = unwindowed(self.attn(windowed(moved), self.attn_mask), self.side)
        tokens = tokens + torch.roll(mixed, (self.shift, self.shift), dims=(1, 2)).view(tokens.shape)
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class SwinLayer(nn.Module):
    """Two blocks, the second with shifted windows, then a 3 × 3 convolution and ReLU."""

    def __init__(self, channels: int, *, side: int, hidden: int) -> None:
        super().__init__()
        self.side = side
        self.conv = nn.Conv2d(channels, channels, 3, padding=1)
        self.blocks = nn.ModuleList(
            SwinBlock(channels, side=side, hidden=hidden, shift=shift) for shift in (0, WINDOW // 2)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        """(N, side², C) to the same."""
        for block in self.blocks:
            tokens = block(tokens)
        maps = tokens.transpose(1, 2).unflatten(2, (self.side, self.side))
        return F.relu(self.conv(maps)).flatten(2).transpose(1, 2)


class ScaledSwin(nn.Module):
    """Two Swin layers, each scaled and added to its input.

    Source: Yang et al., CVPRW 2022 (MANIQA), in the key layout of its checkpoints: `downsample` is in them and is not
    used.
    """

    def __init__(self, channels: int, *, side: int, hidden: int, scale: float) -> None:
        super().__init__()
        self.scale = scale
        self.downsample = nn.Conv2d(channels, channels, 3, stride=2, padding=1)
        self.layers = nn.ModuleList(SwinLayer(channels, side=side, hidden=hidden) for _ in range(2))

    def forward(self, maps: Tensor) -> Tensor:
        """(N, C, side, side) to the same."""
        tokens = maps.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens) * self.scale + tokens
        return tokens.transpose(1, 2).view(maps.shape)
