"""Swin transformers, first and second version, adapted from torchvision."""

import math
import re
from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.swin_transformer import (
    PatchMerging,
    PatchMergingV2,
    SwinTransformerBlock,
    SwinTransformerBlockV2,
)
from torchvision.models.swin_transformer import SwinTransformer as TorchvisionSwinTransformer

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import with_in_channels
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.outputs import Outputs
from clscli.models.matching import KeyMap

PerStage = Annotated[tuple[PositiveInt, ...], Field(min_length=2)]


def _merging(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1])}."


def _merging_after(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1]) + 2}."


def _blocks(match: re.Match[str]) -> str:
    return f"features.{2 * int(match[1]) + 1}."


# mmpretrain gathers the four pixels that it merges in another order: see `adapt_weights`.
_UNFOLDED = "unfolded_"
_MMPRETRAIN: KeyMap = (
    (r"^patch_embed\.projection\.", "features.0.0."),
    (r"^patch_embed\.norm\.", "features.0.2."),
    (r"^norm\d\.", "norm."),
    (r"^stages\.(\d+)\.blocks\.", _blocks),
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.0."),
    (r"\.ffn\.layers\.1\.", ".mlp.3."),
    (r"\.downsample\.reduction\.", f".downsample.{_UNFOLDED}reduction."),
)


class SwinTransformer(StagedBackbone):
    """Transformer with attention in windows, which shift from block to block.

    Liu et al., "Swin transformer: Hierarchical vision transformer using shifted windows", 2021. Stage i has
    `depths[i]` blocks with `num_heads[i]` heads and `embed_dim` * 2^i channels, and returns a map; every
    stage but the first halves it. The final norm is applied to the last one only. `window_size` is the side
    of a window, in patches of 4x4 pixels; maps that it does not divide are padded, so images may have any
    size. Weights learnt with another window size are resized. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2103.14030"
    block: ClassVar[type[nn.Module]] = SwinTransformerBlock
    patch_merging: ClassVar[type[nn.Module]] = PatchMerging
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            (r"^patch_embed\.proj\.", "features.0.0."),
            (r"^patch_embed\.norm\.", "features.0.2."),
            (r"^layers\.(\d+)\.downsample\.", _merging),
            (r"^layers\.(\d+)\.blocks\.", _blocks),
            (r"\.mlp\.fc1\.", ".mlp.0."),
            (r"\.mlp\.fc2\.", ".mlp.3."),
        ),
        "mmpretrain": (
            *_MMPRETRAIN,
            (r"\.downsample\.norm\.", f".downsample.{_UNFOLDED}norm."),
            (r"^stages\.(\d+)\.downsample\.", _merging_after),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        embed_dim: PositiveInt = 96,
        depths: PerStage = (2, 2, 6, 2),
        num_heads: PerStage = (3, 6, 12, 24),
        window_size: Annotated[int, Field(ge=2)] = 7,
        mlp_ratio: PositiveFloat = 4.0,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.2,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        check_structure(type(self).__name__, embed_dim, depths, num_heads)
        channels = [embed_dim * 2**index for index in range(len(depths))]
        super().__init__(
            channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.min_size = 4
        model = TorchvisionSwinTransformer(
            patch_size=[4, 4],
            embed_dim=embed_dim,
            depths=list(depths),
            num_heads=list(num_heads),
            window_size=[window_size, window_size],
            mlp_ratio=mlp_ratio,
            dropout=dropout,
            attention_dropout=attention_dropout,
            stochastic_depth_prob=drop_path_rate,
            num_classes=1,
            block=self.block,
            downsample_layer=self.patch_merging,
        )
        # torchvision's chain: the patches, then blocks and merging by turns.
        self.features: nn.Sequential = model.features[: 2 * self.depth]
        self.features[0][0] = make_patch_convolution(self.features[0][0], in_channels)
        self.norm = model.norm if self.depth == len(depths) else nn.Identity()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        patches, *blocks = list(self.features)
        stages = [blocks[:1], *(blocks[2 * index - 1 : 2 * index + 1] for index in range(1, self.depth))]
        stages[-1].append(self.norm)
        return [[patches], *stages]

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        features, outputs = images, []
        for index, modules in enumerate(self.stem_and_stages(), start=-1):
            features = self.run_stage(modules, features)
            if index in self.out_indices:
                outputs.append(features.permute(0, 3, 1, 2))  # torchvision's blocks have channels last
        return self.pack(outputs)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring a file's weights to the window size and the orders of this backbone."""
        adapted = {}
        for name, tensor in tensors.items():
            if _UNFOLDED in name:
                name, tensor = name.replace(_UNFOLDED, ""), reorder_merged(tensor)
            adapted[name] = tensor
        for name, own in self.state_dict(keep_vars=True).items():
            if name.endswith(".relative_position_bias_table") and name in adapted:
                adapted[name] = resize_bias_table(adapted[name], len(own))
        return adapted | self.constants_of(adapted)

    def constants_of(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the buffers, which follow from the window size, of the layers that the tensors are for."""
        return {
            name: buffer
            for name, buffer in self.named_buffers()
            if f"{name.rpartition('.')[0]}.proj.weight" in tensors
        }


class SwinTransformerV2(SwinTransformer):
    """Swin transformer whose attention compares directions, and learns positions for windows of any size.

    Liu et al., "Swin transformer V2: Scaling up capacity and resolution", 2022. Stages and parameters are
    those of `swin_t`. Layer norms come after attention and MLP, and a small network makes the position bias
    from the distance of two patches, so weights learnt with another window size need no resizing.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2111.09883"
    block = SwinTransformerBlockV2
    patch_merging = PatchMergingV2
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": SwinTransformer.key_maps["timm"],
        "mmpretrain": (*_MMPRETRAIN, (r"^stages\.(\d+)\.downsample\.", _merging)),
    }

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Join the biases of queries and values, which other libraries keep apart; keys have none."""
        adapted = super().adapt_weights(tensors)
        for name in [name for name in adapted if name.endswith(".q_bias")]:
            attention = name.removesuffix("q_bias")
            query, value = adapted.pop(name), adapted.pop(f"{attention}v_bias")
            adapted[f"{attention}qkv.bias"] = torch.cat([query, torch.zeros_like(query), value])
        return adapted


def make_patch_convolution(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """Make the patch projection for any number of channels, as PyTorch draws it, and so torchvision."""
    conv = with_in_channels(conv, in_channels)
    conv.reset_parameters()
    return conv


def reorder_merged(tensor: Tensor) -> Tensor:
    """Sort the inputs of a patch merging, its last dimension, from mmpretrain's order to torchvision's.

    mmpretrain unfolds: by channel, row, column. torchvision concatenates: by column, row, channel.
    """
    *leading, merged = tensor.shape
    return tensor.reshape(*leading, merged // 4, 2, 2).transpose(-3, -1).flatten(-3)


def resize_bias_table(table: Tensor, num_offsets: int) -> Tensor:
    """Resize a table of biases by relative position ((2 * W - 1)^2, heads) to another window size."""
    if len(table) == num_offsets:
        return table
    side, new_side = math.isqrt(len(table)), math.isqrt(num_offsets)
    maps = table.T.reshape(1, -1, side, side).float()
    maps = F.interpolate(maps, size=(new_side, new_side), mode="bicubic")
    return maps.flatten(2)[0].T.to(table.dtype)


def check_structure(name: str, embed_dim: int, depths: tuple[int, ...], num_heads: tuple[int, ...]) -> None:
    """Raise ValueError in the words of Swin's parameters."""
    if len(depths) != len(num_heads):
        raise ValueError(f"{name} needs as many depths as num_heads, got {len(depths)} and {len(num_heads)}")
    for index, heads in enumerate(num_heads):
        width = embed_dim * 2**index
        if width % heads:
            raise ValueError(
                f"{name} needs stages whose channels are multiples of their num_heads, got {width} and {heads}"
            )


# The drop path rates are those of the papers, for training on ImageNet-1k.
swin_t = partial(SwinTransformer, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.2)
swin_s = partial(SwinTransformer, embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12, 24), drop_path_rate=0.3)
swin_b = partial(
    SwinTransformer, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16, 32), drop_path_rate=0.5
)

swin_v2_t = partial(
    SwinTransformerV2,
    embed_dim=96,
    depths=(2, 2, 6, 2),
    num_heads=(3, 6, 12, 24),
    window_size=8,
    drop_path_rate=0.2,
)
swin_v2_s = partial(
    SwinTransformerV2,
    embed_dim=96,
    depths=(2, 2, 18, 2),
    num_heads=(3, 6, 12, 24),
    window_size=8,
    drop_path_rate=0.3,
)
swin_v2_b = partial(
    SwinTransformerV2,
    embed_dim=128,
    depths=(2, 2, 18, 2),
    num_heads=(4, 8, 16, 32),
    window_size=8,
    drop_path_rate=0.5,
)
