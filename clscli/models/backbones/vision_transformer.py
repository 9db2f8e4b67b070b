"""Vision transformers, adapted from torchvision."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.layers.outputs import Outputs

PositiveInt = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(ge=0, lt=1)]


class VisionTransformer(StagedBackbone):
    """Transformer over image patches, with a class token.

    Dosovitskiy et al., "An image is worth 16x16 words", 2020. Every encoder layer is a stage; the final
    layer norm is applied to the last one only. `out_type` "cls_token" returns the class token's vector (B,
    C), "featmap" the patch tokens as a map (B, C, H / patch_size, W / patch_size). `image_size` is the size
    whose position embedding is learnt; for images of another size it is interpolated. Parameters have
    torchvision's names.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        image_size: PositiveInt = 224,
        patch_size: PositiveInt = 16,
        num_layers: PositiveInt = 12,
        num_heads: PositiveInt = 12,
        hidden_dim: PositiveInt = 768,
        mlp_dim: PositiveInt = 3072,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        out_type: Literal["cls_token", "featmap"] = "cls_token",
        frozen_stages: Annotated[int, Field(ge=0)] = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__([hidden_dim] * num_layers, out_indices=out_indices, frozen_stages=frozen_stages)
        check_divisible("image_size", image_size, "patch_size", patch_size)
        check_divisible("hidden_dim", hidden_dim, "num_heads", num_heads)
        self.patch_size = patch_size
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.out_type = out_type
        model = models.VisionTransformer(
            image_size=image_size,
            patch_size=patch_size,
            num_layers=self.depth,
            num_heads=num_heads,
            hidden_dim=hidden_dim,
            mlp_dim=mlp_dim,
            dropout=dropout,
            attention_dropout=attention_dropout,
            num_classes=1,
        )
        self.conv_proj = make_patch_convolution(in_channels, hidden_dim, patch_size)
        self.class_token: nn.Parameter = model.class_token
        self.encoder = model.encoder
        if self.depth < num_layers:
            self.encoder.ln = nn.Identity()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stages = [[layer] for layer in self.encoder.layers]
        stages[-1].append(self.encoder.ln)
        return [[self.conv_proj], *stages]

    def freeze(self) -> None:
        super().freeze()
        if self.frozen_stages > 0:  # two parts of the stem that are no modules
            self.class_token.requires_grad_(False)
            self.encoder.pos_embedding.requires_grad_(False)

    def forward(self, images: Tensor) -> Outputs:
        tokens, grid = self.embed(images)
        _, *stages = self.stem_and_stages()
        outputs = []
        for index, modules in enumerate(stages):
            for module in modules:
                tokens = module(tokens)
            if index in self.out_indices:
                outputs.append(self.select(tokens, grid))
        return self.pack(outputs)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the class token and the patch tokens (B, 1 + H * W, C), and the patches' grid (H, W)."""
        height, width = images.shape[-2:]
        if height % self.patch_size or width % self.patch_size:
            raise ValueError(
                f"VisionTransformer needs images whose height and width are multiples of {self.patch_size}, "
                f"got {height}x{width}"
            )
        grid = (height // self.patch_size, width // self.patch_size)
        patches = self.conv_proj(images).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.class_token.expand(len(images), -1, -1), patches], dim=1)
        positions = self.encoder.pos_embedding
        if grid != self.grid:
            positions = interpolate_positions(positions, self.grid, grid)
        tokens = self.encoder.dropout(tokens + positions)
        return tokens, grid

    def select(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the class token, or the patch tokens as a map."""
        if self.out_type == "cls_token":
            return tokens[:, 0]
        return tokens[:, 1:].transpose(1, 2).reshape(len(tokens), -1, *grid)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring a file's weights to the names and the grid of this backbone; called before they are matched."""
        # torchvision published its weights before it renamed the layers of the MLP (its pull request 6053).
        adapted = {
            name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): tensor
            for name, tensor in tensors.items()
        }
        positions = adapted.get("encoder.pos_embedding")
        if positions is not None:
            side = math.isqrt(positions.shape[1] - 1)
            if (side, side) != self.grid:
                adapted["encoder.pos_embedding"] = interpolate_positions(positions, (side, side), self.grid)
        return adapted


def interpolate_positions(positions: Tensor, grid: tuple[int, int], new_grid: tuple[int, int]) -> Tensor:
    """Resize the position embedding (1, 1 + H * W, C) of a grid (H, W) to another grid."""
    class_position, patch_positions = positions[:, :1], positions[:, 1:]
    maps = patch_positions.transpose(1, 2).reshape(1, -1, *grid)
    maps = F.interpolate(maps.float(), size=new_grid, mode="bicubic").to(positions.dtype)
    return torch.cat([class_position, maps.flatten(2).transpose(1, 2)], dim=1)


def make_patch_convolution(in_channels: int, hidden_dim: int, patch_size: int) -> nn.Conv2d:
    """Make torchvision's patch projection, which is for three channels only, for any number of them."""
    conv = nn.Conv2d(in_channels, hidden_dim, patch_size, stride=patch_size)
    nn.init.trunc_normal_(conv.weight, std=math.sqrt(1 / (in_channels * patch_size**2)))
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def check_divisible(name: str, value: int, divisor_name: str, divisor: int) -> None:
    if value % divisor:
        raise ValueError(
            f"VisionTransformer needs {name} to be a multiple of {divisor_name}, got {value} and {divisor}"
        )


vit_b_16 = partial(VisionTransformer, patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072)
