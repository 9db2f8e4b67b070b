"""Normalisation of maps (B, C, H, W), by name."""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Norm = Literal["batch_norm", "sync_batch_norm", "group_norm", "layer_norm"]

# Wu and He, "Group normalization", 2018, Table 3.
_NUM_GROUPS = 32


class LayerNorm2d(nn.LayerNorm):
    """Layer norm over the channels of each pixel of a map (B, C, H, W)."""

    def forward(self, features: Tensor) -> Tensor:
        channels_last = features.permute(0, 2, 3, 1)
        normalized = F.layer_norm(channels_last, self.normalized_shape, self.weight, self.bias, self.eps)
        return normalized.permute(0, 3, 1, 2)


def make_norm(name: Norm, channels: int, *, eps: float | None = None) -> nn.Module:
    """Make a norm for maps of `channels` channels.

    `group_norm` has 32 groups, or as many as divide both that and the channels. `sync_batch_norm` is
    `batch_norm` whose statistics are those of all devices together. `eps` None is 1e-5, but 1e-6 for
    `layer_norm`, as transformers and ConvNeXt have it.
    """
    if name == "layer_norm":
        return LayerNorm2d(channels, eps=1e-6 if eps is None else eps)
    eps = 1e-5 if eps is None else eps
    if name == "group_norm":
        return nn.GroupNorm(math.gcd(_NUM_GROUPS, channels), channels, eps=eps)
    return nn.SyncBatchNorm(channels, eps=eps) if name == "sync_batch_norm" else nn.BatchNorm2d(channels, eps=eps)
