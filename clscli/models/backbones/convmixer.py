"""ConvMixer: patches mixed by large depthwise convolutions."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import make_conv
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap


class ConvMixer(StagedBackbone):
    """Patches mixed by large depthwise convolutions, and their channels by 1x1 convolutions.

    Trockman and Kolter, "Patches are all you need?", 2022. Every one of the `num_layers` layers is a stage,
    a map of `hidden_dim` channels and an image's size / `patch_size`; pixels beyond the last whole patch are
    not seen. Parameters have timm's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2201.09792"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {"mmpretrain": ((r"^stages\.", "blocks."),)}

    def __init__(
        self,
        in_channels: int,
        *,
        hidden_dim: PositiveInt = 1536,
        num_layers: PositiveInt = 20,
        kernel_size: PositiveInt = 9,
        patch_size: PositiveInt = 7,
        norm: Norm = "batch_norm",
        activation: Activation = "gelu",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        super().__init__(
            [hidden_dim] * num_layers,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        if kernel_size % 2 == 0:
            raise ValueError(f"ConvMixer needs an odd kernel_size, which keeps a map's size, got {kernel_size}")
        self.min_size = patch_size
        self.stem = nn.Sequential(
            nn.Conv2d(in_channels, hidden_dim, patch_size, stride=patch_size),
            make_activation(activation),
            make_norm(norm, hidden_dim),
        )
        self.blocks = nn.Sequential(
            *(make_block(hidden_dim, kernel_size, norm, activation) for _ in range(self.depth))
        )
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.stem], *([block] for block in self.blocks)]

    def run_stage(self, modules: Sequence[nn.Module], features: Tensor) -> Tensor:
        """Run a block, and checkpoint it as a whole: each of its layers would keep a map of its own."""
        for module in modules:
            features = self.run(module, features)
        return features


class Residual(nn.Module):
    """Add the input to what a module makes of it."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, features: Tensor) -> Tensor:
        output: Tensor = self.fn(features) + features
        return output


def make_block(channels: int, kernel_size: int, norm: Norm, activation: Activation) -> nn.Sequential:
    """Make a layer of the paper's figure 2: the mixing of positions, then that of channels."""
    positions = nn.Sequential(
        make_conv("conv2d", channels, channels, kernel_size, groups=channels, bias=True),
        make_activation(activation),
        make_norm(norm, channels),
    )
    return nn.Sequential(
        Residual(positions),
        make_conv("conv2d", channels, channels, 1, bias=True),
        make_activation(activation),
        make_norm(norm, channels),
    )


# The paper's Table 1; its smallest model was trained with ReLU.
convmixer_768_32 = partial(
    ConvMixer, hidden_dim=768, num_layers=32, kernel_size=7, patch_size=7, activation="relu"
)
convmixer_1024_20_ks9_p14 = partial(ConvMixer, hidden_dim=1024, num_layers=20, kernel_size=9, patch_size=14)
convmixer_1536_20 = partial(ConvMixer, hidden_dim=1536, num_layers=20, kernel_size=9, patch_size=7)
