"""MLP-Mixer: patches mixed by perceptrons alone."""

from collections.abc import Mapping
from functools import partial
from typing import ClassVar

from torch import Tensor, nn

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt, Rate
from clscli.models.layers.activations import Activation
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.layers.mlp import Mlp
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.patches import PatchEmbed, to_map, to_tokens
from clscli.models.matching import KeyMap


class MlpMixer(StagedBackbone):
    """Patches mixed by perceptrons alone: over the positions of each channel, and the channels of each patch.

    Tolstikhin et al., "MLP-Mixer: An all-MLP architecture for vision", 2021. Every layer is a stage, a map
    (B, hidden_dim, image_size / patch_size, image_size / patch_size); the final norm is applied to the last
    one only. One perceptron has a weight for every position, so all images must have `image_size`, and so
    must those that pretrained weights were trained on. `tokens_mlp_dim` and `channels_mlp_dim` are the
    hidden widths of the two perceptrons. Parameters have timm's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2105.01601"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"^patch_embed\.projection\.", "stem.proj."),
            (r"^ln1\.", "norm."),
            (r"^layers\.(\d+)\.ln", r"blocks.\1.norm"),
            (r"^layers\.(\d+)\.token_mix\.", r"blocks.\1.mlp_tokens."),
            (r"^layers\.(\d+)\.channel_mix\.", r"blocks.\1.mlp_channels."),
            (r"\.layers\.0\.0\.", ".fc1."),
            (r"\.layers\.1\.", ".fc2."),
        )
    }

    def __init__(
        self,
        in_channels: int,
        *,
        image_size: PositiveInt = 224,
        patch_size: PositiveInt = 16,
        num_layers: PositiveInt = 12,
        hidden_dim: PositiveInt = 768,
        tokens_mlp_dim: PositiveInt = 384,
        channels_mlp_dim: PositiveInt = 3072,
        activation: Activation = "gelu",
        dropout: Rate = 0.0,
        drop_path_rate: Rate = 0.1,  # the paper's appendix B, for ImageNet from scratch
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
        if image_size % patch_size:
            raise ValueError(
                f"MlpMixer needs image_size to be a multiple of patch_size, got {image_size} and {patch_size}"
            )
        self.image_size = image_size
        self.grid = (image_size // patch_size, image_size // patch_size)
        self.stem = PatchEmbed(in_channels, hidden_dim, patch_size)
        rates = drop_path_rates(drop_path_rate, num_layers)
        self.blocks = nn.Sequential(
            *(
                MixerBlock(
                    self.grid[0] * self.grid[1],
                    hidden_dim,
                    tokens_mlp_dim=tokens_mlp_dim,
                    channels_mlp_dim=channels_mlp_dim,
                    activation=activation,
                    dropout=dropout,
                    drop_path_rate=rate,
                )
                for rate in rates[: self.depth]
            )
        )
        self.norm = nn.LayerNorm(hidden_dim, eps=1e-6) if self.depth == num_layers else nn.Identity()
        self.initialize()
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = [[block] for block in self.blocks]
        stages[-1].append(self.norm)
        return [[self.stem], *stages]

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        _, *stages = self.stem_and_stages()
        tokens, outputs = to_tokens(self.stem(images)), []
        for index, modules in enumerate(stages):
            tokens = self.run_stage(modules, tokens)
            if index in self.out_indices:
                outputs.append(to_map(tokens, self.grid))
        return self.pack(outputs)

    def check_size(self, images: Tensor) -> None:
        """Raise ValueError when the images (B, C, H, W) have another size than `image_size`."""
        height, width = images.shape[-2:]
        size = self.image_size
        if (height, width) != (size, size):
            raise ValueError(
                f"MlpMixer was built for images of {size}x{size} pixels, its image_size, got {height}x{width}"
            )

    def initialize(self) -> None:
        """Draw new weights as LeCun et al. (1998) do, Flax's default, which the authors' code leaves."""
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="linear")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]


class MixerBlock(nn.Module):
    """A perceptron over the tokens, then one over the channels, of tokens (B, N, C)."""

    def __init__(
        self,
        num_tokens: int,
        channels: int,
        *,
        tokens_mlp_dim: int,
        channels_mlp_dim: int,
        activation: Activation,
        dropout: float,
        drop_path_rate: float,
    ) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp_tokens = Mlp(num_tokens, tokens_mlp_dim, activation=activation, dropout=dropout)
        self.norm2 = nn.LayerNorm(channels, eps=1e-6)
        self.mlp_channels = Mlp(channels, channels_mlp_dim, activation=activation, dropout=dropout)
        self.drop_path = DropPath(drop_path_rate)

    def forward(self, tokens: Tensor) -> Tensor:
        mixed = self.mlp_tokens(self.norm1(tokens).transpose(1, 2)).transpose(1, 2)
        tokens = tokens + self.drop_path(mixed)
        output: Tensor = tokens + self.drop_path(self.mlp_channels(self.norm2(tokens)))
        return output


# The paper's Table 1.
_small = partial(MlpMixer, num_layers=8, hidden_dim=512, tokens_mlp_dim=256, channels_mlp_dim=2048)
_base = partial(MlpMixer, num_layers=12, hidden_dim=768, tokens_mlp_dim=384, channels_mlp_dim=3072)
_large = partial(MlpMixer, num_layers=24, hidden_dim=1024, tokens_mlp_dim=512, channels_mlp_dim=4096)
mixer_s32 = partial(_small, patch_size=32)
mixer_s16 = partial(_small, patch_size=16)
mixer_b32 = partial(_base, patch_size=32)
mixer_b16 = partial(_base, patch_size=16)
mixer_l32 = partial(_large, patch_size=32)
mixer_l16 = partial(_large, patch_size=16)
