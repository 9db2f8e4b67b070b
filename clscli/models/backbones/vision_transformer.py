"""Vision transformers, adapted from torchvision."""

import math
from collections.abc import Mapping
from functools import partial
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer as TorchvisionVisionTransformer

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import with_in_channels
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.patches import resize_positions, resize_square_positions, to_map, to_tokens
from clscli.models.matching import KeyMap

# What is left when the names of a layer have torchvision's start.
_LAYER: KeyMap = (
    (r"\.attn\.qkv\.", ".self_attention.in_proj_"),
    (r"\.attn\.proj\.", ".self_attention.out_proj."),
)
_TOKENS: KeyMap = (
    (r"^cls_token$", "class_token"),
    (r"^pos_embed$", "encoder.pos_embedding"),
)


class VisionTransformer(StagedBackbone):
    """Transformer over image patches, with a class token.

    Dosovitskiy et al., "An image is worth 16x16 words", 2020. Every encoder layer is a stage; the final
    layer norm is applied to the last one only. `out_type` "cls_token" returns the class token's vector (B,
    C), "featmap" the patch tokens as a map (B, C, H / patch_size, W / patch_size). `image_size` is the size
    whose position embedding is learnt; for images of another size it is interpolated. Parameters have
    torchvision's names; weights of timm's and mmpretrain's ViT and DeiT, without distillation token, fit.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2010.11929"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "timm": (
            *_TOKENS,
            (r"^patch_embed\.proj\.", "conv_proj."),
            (r"^norm\.", "encoder.ln."),
            (r"^blocks\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
            *_LAYER,
            (r"\.norm(\d)\.", r".ln_\1."),
            (r"\.mlp\.fc1\.", ".mlp.0."),
            (r"\.mlp\.fc2\.", ".mlp.3."),
        ),
        "mmpretrain": (
            *_TOKENS,
            (r"^patch_embed\.projection\.", "conv_proj."),
            (r"^ln1\.", "encoder.ln."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.0."),
            (r"\.ffn\.layers\.1\.", ".mlp.3."),
            (r"^layers\.(\d+)\.", r"encoder.layers.encoder_layer_\1."),
            *_LAYER,
            (r"\.ln(\d)\.", r".ln_\1."),
        ),
    }

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
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            [hidden_dim] * num_layers,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            gradient_checkpointing=gradient_checkpointing,
        )
        check_divisible("image_size", image_size, "patch_size", patch_size)
        check_divisible("hidden_dim", hidden_dim, "num_heads", num_heads)
        self.patch_size = self.min_size = self.size_multiple = patch_size
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.out_type = out_type
        model = TorchvisionVisionTransformer(
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
        self.conv_proj = with_in_channels(model.conv_proj, in_channels)
        nn.init.trunc_normal_(self.conv_proj.weight, std=math.sqrt(1 / (in_channels * patch_size**2)))
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
        self.check_size(images)
        tokens, grid = self.embed(images)
        _, *stages = self.stem_and_stages()
        outputs = []
        for index, modules in enumerate(stages):
            tokens = self.run_stage(modules, tokens)
            if index in self.out_indices:
                outputs.append(self.select(tokens, grid))
        return self.pack(outputs)

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """Return the class token and the patch tokens (B, 1 + H * W, C), and the patches' grid (H, W)."""
        patches = self.conv_proj(images)
        grid = (patches.shape[-2], patches.shape[-1])
        tokens = torch.cat([self.class_token.expand(images.shape[0], -1, -1), to_tokens(patches)], dim=1)
        tokens = self.encoder.dropout(tokens + resize_positions(self.encoder.pos_embedding, self.grid, grid))
        return tokens, grid

    def select(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Return the class token, or the patch tokens as a map."""
        return tokens[:, 0] if self.out_type == "cls_token" else to_map(tokens[:, 1:], grid)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Bring a file's weights to the names and the grid of this backbone."""
        # torchvision published its weights before it renamed the layers of the MLP (its pull request 6053).
        adapted = {
            name.replace(".mlp.linear_1.", ".mlp.0.").replace(".mlp.linear_2.", ".mlp.3."): tensor
            for name, tensor in tensors.items()
        }
        positions = adapted.get("encoder.pos_embedding")
        if positions is not None:
            adapted["encoder.pos_embedding"] = resize_square_positions(positions, self.grid, num_prefix=1)
        return adapted


def check_divisible(name: str, value: int, divisor_name: str, divisor: int) -> None:
    if value % divisor:
        raise ValueError(
            f"VisionTransformer needs {name} to be a multiple of {divisor_name}, got {value} and {divisor}"
        )


# Table 1 of the paper.
vit_base = partial(VisionTransformer, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072)
vit_large = partial(VisionTransformer, num_layers=24, num_heads=16, hidden_dim=1024, mlp_dim=4096)
vit_huge = partial(VisionTransformer, num_layers=32, num_heads=16, hidden_dim=1280, mlp_dim=5120)

vit_b_16 = partial(vit_base, patch_size=16)
vit_b_32 = partial(vit_base, patch_size=32)
vit_l_16 = partial(vit_large, patch_size=16)
vit_l_32 = partial(vit_large, patch_size=32)
vit_h_14 = partial(vit_huge, patch_size=14)
