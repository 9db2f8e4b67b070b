"""DeiT: the plain vision transformer, with and without a distillation token."""

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clscli.models.backbones.tokens import OutType, TokenBackbone, make_class_token, patch_grid
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.attention import Attention
from clscli.models.layers.drop_path import drop_path_rates
from clscli.models.layers.patches import PatchEmbed, to_tokens
from clscli.models.layers.transformer import TransformerBlock, check_heads, initialize_linear_layers
from clscli.models.matching import KeyMap


class DeiT(TokenBackbone):
    """Vision transformer in the sizes that train on ImageNet alone, with strong augmentation.

    Touvron et al., "Training data-efficient image transformers & distillation through attention", 2020. The
    architecture is that of Dosovitskiy et al., "An image is worth 16x16 words", 2020. Every block is a
    stage; the final layer norm is applied to the last one only.

    `out_type` "cls_token" returns the class token's vector (B, C), "featmap" the patch tokens as a map (B,
    C, H / patch_size, W / patch_size). `distilled` adds a second token, which is to learn from a teacher:
    then "cls_token" returns both vectors, class token first, for the head `deit`. `image_size` is the size
    whose position embedding is learnt; for images of another size it is interpolated. Parameters have
    timm's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2012.12877"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"^patch_embed\.projection\.", "patch_embed.proj."),
            (r"^layers\.", "blocks."),
            (r"^ln1\.", "norm."),
            (r"\.ln([12])\.", r".norm\1."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        ),
        "torchvision": (
            (r"^conv_proj\.", "patch_embed.proj."),
            (r"^class_token$", "cls_token"),
            (r"^encoder\.pos_embedding$", "pos_embed"),
            (r"^encoder\.ln\.", "norm."),
            (r"^encoder\.layers\.encoder_layer_", "blocks."),
            (r"\.ln_([12])\.", r".norm\1."),
            (r"\.self_attention\.in_proj_", ".attn.qkv."),
            (r"\.self_attention\.out_proj\.", ".attn.proj."),
            # linear_1 and linear_2: in the weights from before torchvision's pull request 6053
            (r"\.mlp\.(0|linear_1)\.", ".mlp.fc1."),
            (r"\.mlp\.(3|linear_2)\.", ".mlp.fc2."),
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
        mlp_ratio: PositiveFloat = 4.0,
        distilled: bool = False,
        dropout: Rate = 0.0,
        attention_dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.1,  # the paper's Table 9
        out_type: OutType = "cls_token",
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            hidden_dim,
            num_layers,
            num_class_tokens=2 if distilled else 1,
            out_type=out_type,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )
        check_heads("DeiT", hidden_dim, num_heads)
        self.grid = patch_grid("DeiT", image_size, patch_size)
        self.size_multiple = patch_size
        self.patch_embed = PatchEmbed(in_channels, hidden_dim, patch_size)
        self.cls_token = make_class_token(hidden_dim)
        self.dist_token = make_class_token(hidden_dim) if distilled else None
        num_tokens = self.num_class_tokens + self.grid[0] * self.grid[1]
        self.pos_embed = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, num_tokens, hidden_dim), std=0.02))
        self.pos_drop = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            TransformerBlock(
                hidden_dim,
                Attention(hidden_dim, num_heads, attention_dropout=attention_dropout, dropout=dropout),
                mlp_ratio=mlp_ratio,
                dropout=dropout,
                drop_path=rate,
            )
            for rate in drop_path_rates(drop_path_rate, num_layers)[: self.depth]
        )
        self.norm = self.final_norm(hidden_dim, eps=1e-6)
        initialize_linear_layers(self)
        self.freeze()

    def stem(self) -> list[nn.Module]:
        return [self.patch_embed, self.pos_drop]

    def embed(self, images: Tensor) -> tuple[Tensor, tuple[int, int]]:
        patches = self.patch_embed(images)
        grid = patches.shape[-2:]
        class_tokens = [self.cls_token] if self.dist_token is None else [self.cls_token, self.dist_token]
        tokens = torch.cat([*(t.expand(images.shape[0], -1, -1) for t in class_tokens), to_tokens(patches)], dim=1)
        return self.pos_drop(tokens + self.positions_for(grid)), grid

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        returns_both_tokens = parameters["distilled"] and parameters["out_type"] == "cls_token"
        return {"head": {"type": "deit"}} if returns_both_tokens else {}


deit_tiny_patch16 = partial(DeiT, num_heads=3, hidden_dim=192)
deit_small_patch16 = partial(DeiT, num_heads=6, hidden_dim=384)
deit_base_patch16 = partial(DeiT, num_heads=12, hidden_dim=768)
deit_base_patch16_384 = partial(DeiT, num_heads=12, hidden_dim=768, image_size=384)
deit_tiny_distilled_patch16 = partial(DeiT, num_heads=3, hidden_dim=192, distilled=True)
deit_small_distilled_patch16 = partial(DeiT, num_heads=6, hidden_dim=384, distilled=True)
deit_base_distilled_patch16 = partial(DeiT, num_heads=12, hidden_dim=768, distilled=True)
deit_base_distilled_patch16_384 = partial(DeiT, num_heads=12, hidden_dim=768, distilled=True, image_size=384)
