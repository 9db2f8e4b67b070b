"""What transformers with class tokens share: the chain of blocks, their outputs, positions for another size."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.patches import resize_positions, resize_square_positions, to_map

OutType = Literal["cls_token", "featmap"]


class TokenBackbone(StagedBackbone):
    """Run transformer blocks over class tokens and patch tokens; every block is a stage.

    A subclass calls ``super().__init__``, builds `blocks`, what `embed` needs, `norm` with `final_norm`, and
    sets `grid`, the patches (H, W) for which the position embedding named `positions_name` is made.
    `num_class_tokens` come before the patches; with `out_type` "cls_token" each of them is an output (B, C)
    of a stage, with "featmap" the patches are, as a map (B, C, H, W).
    """

    positions_name = "pos_embed"
    blocks: nn.ModuleList
    norm: nn.Module
    grid: tuple[int, int]

    def __init__(
        self,
        hidden_dim: int,
        num_layers: int,
        *,
        num_class_tokens: int = 1,
        out_type: OutType,
        gradient_checkpointing: bool,
        frozen_stages: int,
        out_indices: tuple[int, ...],
    ) -> None:
        super().__init__(
            [hidden_dim] * num_layers,
            gradient_checkpointing=gradient_checkpointing,
            frozen_stages=frozen_stages,
            out_indices=out_indices,
        )
        self.num_layers = num_layers
        self.num_class_tokens = num_class_tokens
        self.out_type = out_type
        num_outputs = len(self.out_indices) * (num_class_tokens if out_type == "cls_token" else 1)
        self.out_channels = (hidden_dim,) * num_outputs if num_outputs > 1 else hidden_dim

    @abstractmethod
    def stem(self) -> list[nn.Module]:
        """Return the modules that `embed` runs."""

    @abstractmethod
    def embed(self, images: Tensor) -> tuple[Any, tuple[int, int]]:
        """Return what the first block takes, and the patches' grid (H, W).

        Blocks take and return the class tokens and the patch tokens (B, P + H * W, C), unless a subclass's
        `select` knows better.
        """

    def final_norm(self, channels: int, *, eps: float) -> nn.Module:
        """Make the norm that follows the last block, if that is built."""
        return nn.LayerNorm(channels, eps=eps) if self.depth == self.num_layers else nn.Identity()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stages = [[block] for block in self.blocks]
        stages[-1].append(self.norm)
        return [self.stem(), *stages]

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        tokens, grid = self.embed(images)
        outputs = []
        for index, block in enumerate(self.blocks):
            tokens = self.run(block, tokens)
            if index in self.out_indices:
                outputs += self.select(tokens, grid, index)
        return self.pack(outputs)

    def select(self, tokens: Any, grid: tuple[int, int], index: int) -> list[Tensor]:
        """Return the outputs of a stage from what its block returned."""
        if index == self.depth - 1:
            tokens = self.norm(tokens)
        if self.out_type == "cls_token":
            return list(tokens[:, : self.num_class_tokens].unbind(1))
        return [to_map(tokens[:, self.num_class_tokens :], grid)]

    def positions_for(self, grid: tuple[int, int]) -> Tensor:
        """Return the position embedding for a grid of patches."""
        return resize_positions(getattr(self, self.positions_name), self.grid, grid)

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Resize the position embedding of another image size; called before the weights are matched."""
        adapted = dict(tensors)
        positions = adapted.get(self.positions_name)
        if positions is not None:
            resized = resize_square_positions(positions, self.grid, self.num_class_tokens)
            adapted[self.positions_name] = resized
        return adapted


def patch_grid(name: str, image_size: int, patch_size: int) -> tuple[int, int]:
    """Return how many patches a square image has in height and width, or raise ValueError."""
    if image_size % patch_size:
        raise ValueError(
            f"{name} needs image_size to be a multiple of patch_size, got {image_size} and {patch_size}"
        )
    return (image_size // patch_size, image_size // patch_size)


def make_class_token(channels: int) -> nn.Parameter:
    """Make the token (1, 1, C) that gathers what is known of an image, drawn as DeiT draws it."""
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, channels), std=0.02))
