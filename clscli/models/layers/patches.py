"""Images as tokens: patch embedding, maps from tokens, and positions for another size."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PatchEmbed(nn.Module):
    """Cut a map (B, C, H, W) into patches and project each: (B, out_channels, H / patch, W / patch).

    The projection has timm's name, `proj`.
    """

    def __init__(self, in_channels: int, out_channels: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_channels, out_channels, patch_size, stride=patch_size)

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.proj(features)
        return output


def to_tokens(features: Tensor) -> Tensor:
    """Turn a map (B, C, H, W) into tokens (B, H * W, C)."""
    return features.flatten(2).transpose(1, 2)


def to_map(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """Turn tokens (B, H * W, C) of a grid (H, W) into a map (B, C, H, W)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], -1, *grid)


def resize_positions(positions: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Resize the position embedding (1, P + H * W, C) of a grid (H, W); the first P tokens, of classes, stay.

    Bicubic with antialias, as timm resizes them.
    """
    if grid == new_grid:
        return positions
    num_patches = grid[0] * grid[1]
    prefix, patches = positions[:, :-num_patches], positions[:, -num_patches:]
    maps = to_map(patches, grid).float()
    maps = F.interpolate(maps, size=new_grid, mode="bicubic", antialias=True).to(positions.dtype)
    return torch.cat([prefix, to_tokens(maps)], dim=1)


def resize_square_positions(positions: Tensor, new_grid: tuple[int, int], num_prefix: int) -> Tensor:
    """Resize the position embedding of a square grid, as weights for another image size hold it."""
    side = math.isqrt(positions.shape[1] - num_prefix)
    return resize_positions(positions, (side, side), new_grid)
