"""Conformer: a residual network and a transformer side by side, which exchange their features in every block."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveFloat, PositiveInt, Rate
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.attention import Attention
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.patches import to_map, to_tokens
from clscli.models.layers.transformer import TransformerBlock, check_heads, initialize_linear_layers
from clscli.models.matching import KeyMap

# Of all norms but the last, as published.
_EPS = 1e-6
# Inside a bottleneck there are this many times fewer channels.
_EXPANSION = 4
_STEM_CHANNELS = 64


class Conformer(StagedBackbone):
    """Residual network and transformer side by side, which add their features to each other's.

    Peng et al., "Conformer: local features coupling global representations for visual recognition", 2021.
    The `num_layers` blocks make four stages of the convolutional branch: a third of them at stride 4, a
    third at stride 8, the rest but one at stride 16, and the last block, which ends at stride 32. Stage i
    has `base_channels` * 1, 2, 4 and 4 channels.

    With `out_type` "two_branches" the maps of the stages in `out_indices` are followed by one more output:
    the class token's vector after the deepest of them, with its final layer norm if that is the last stage.
    So the default is (map, class token), for the head `conformer`. "featmap" returns the maps only. Patches
    of the transformer have `patch_size`, a multiple of 16; it has no position embedding, and images are
    padded to whole patches. Parameters have the names of the authors' code.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2105.03889"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"(trans_1|trans_block)\.ln([12])\.", r"\1.norm\2."),
            (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
            (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        patch_size: Annotated[int, Field(ge=16, multiple_of=16)] = 16,
        num_layers: Annotated[int, Field(ge=6, multiple_of=3)] = 12,
        num_heads: PositiveInt = 6,
        hidden_dim: PositiveInt = 384,
        mlp_ratio: PositiveFloat = 4.0,
        base_channels: Annotated[int, Field(ge=4, multiple_of=4)] = 64,
        norm: Norm = "batch_norm",
        activation: Activation = "relu",
        drop_path_rate: Rate = 0.1,  # of the authors' training command
        out_type: Literal["two_branches", "featmap"] = "two_branches",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        check_heads("Conformer", hidden_dim, num_heads)
        stage_channels = [base_channels, 2 * base_channels, 4 * base_channels, 4 * base_channels]
        super().__init__(
            stage_channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.out_type = out_type
        if out_type == "two_branches":
            self.out_channels = (*(stage_channels[index] for index in self.out_indices), hidden_dim)
        third = num_layers // 3
        self.stage_ends = (third, 2 * third, num_layers - 1, num_layers)[: self.depth]
        self.token_stride = patch_size // 4  # of the transformer's patches in the map after the stem

        self.conv1 = nn.Conv2d(in_channels, _STEM_CHANNELS, 7, stride=2, padding=3, bias=False)
        self.bn1 = make_norm(norm, _STEM_CHANNELS)
        self.act1 = make_activation(activation)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.cls_token = nn.Parameter(nn.init.trunc_normal_(torch.empty(1, 1, hidden_dim), std=0.02))

        make_bottleneck = partial(Bottleneck, norm=norm, activation=activation)
        make_transformer = partial(make_transformer_block, hidden_dim, num_heads, mlp_ratio)
        rates = drop_path_rates(drop_path_rate, num_layers)
        # The first block has no exchange. Numbers and names are those of the authors' code.
        self.conv_1 = make_bottleneck(_STEM_CHANNELS, base_channels, project=True)
        self.trans_patch_conv = nn.Conv2d(_STEM_CHANNELS, hidden_dim, self.token_stride, stride=self.token_stride)
        self.trans_1 = make_transformer(rates[0])
        channels = base_channels
        for number in range(2, self.stage_ends[-1] + 1):
            level = (number - 1) // third  # how often the map has been halved
            out_channels = base_channels * 2**level
            block = CoupledBlock(
                cnn_block=make_bottleneck(
                    channels,
                    out_channels,
                    stride=1 if channels == out_channels else 2,
                    project=channels != out_channels,
                ),
                squeeze_block=Squeeze(out_channels // _EXPANSION, hidden_dim, self.token_stride // 2**level),
                trans_block=make_transformer(rates[number - 1]),
                expand_block=Expand(hidden_dim, out_channels // _EXPANSION, norm, activation),
                fusion_block=make_bottleneck(
                    out_channels,
                    out_channels,
                    stride=2 if number == num_layers else 1,
                    project=number == num_layers,
                    drop_path=rates[number - 1],
                ),
            )
            self.add_module(f"conv_trans_{number}", block)
            channels = out_channels
        ends_whole = out_type == "two_branches" and self.depth == len(stage_channels)
        self.trans_norm = nn.LayerNorm(hidden_dim) if ends_whole else nn.Identity()
        self.initialize()
        self.freeze()

    def coupled_blocks(self) -> Iterator[tuple[int, nn.Module]]:
        """Yield the blocks in which the branches exchange their features, with their numbers."""
        for number in range(2, self.stage_ends[-1] + 1):
            yield number, self.get_submodule(f"conv_trans_{number}")

    def stem_and_stages(self) -> list[list[nn.Module]]:
        stages: list[list[nn.Module]] = [[] for _ in self.stage_ends]
        stages[0] += [self.conv_1, self.trans_patch_conv, self.trans_1]
        for number, block in self.coupled_blocks():
            stages[sum(number > end for end in self.stage_ends)].append(block)
        stages[-1].append(self.trans_norm)
        return [[self.conv1, self.bn1, self.act1, self.maxpool], *stages]

    def forward(self, images: Tensor) -> Outputs:
        self.check_size(images)
        stem = self.maxpool(self.act1(self.bn1(self.conv1(images))))
        height, width = stem.shape[-2:]
        stem = F.pad(stem, (0, -width % self.token_stride, 0, -height % self.token_stride))
        features, _ = self.run(self.conv_1, stem)
        patches = to_tokens(self.trans_patch_conv(stem))
        tokens = torch.cat([self.cls_token.expand(images.shape[0], -1, -1), patches], dim=1)
        tokens = self.run(self.trans_1, tokens)
        outputs = []
        for number, block in self.coupled_blocks():
            features, tokens = self.run(block, features, tokens)
            if number in self.stage_ends and self.stage_ends.index(number) in self.out_indices:
                outputs.append(features)
        if self.out_type == "two_branches":
            outputs.append(self.trans_norm(tokens[:, 0]))
        return self.pack(outputs)

    def initialize(self) -> None:
        """Draw new weights, as the authors' code; every bottleneck starts as its shortcut."""
        initialize_linear_layers(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)  # type: ignore[arg-type]  # a norm has one

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        if parameters["out_type"] == "featmap":
            return {}
        return {"neck": [], "head": {"type": "conformer"}}


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and a shortcut; returns the output, and what is after the 3x3.

    `coupled` features, if there are any, are added to the 3x3 convolution's input. `project` puts a
    convolution into the shortcut.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        norm: Norm,
        activation: Activation,
        stride: int = 1,
        project: bool = False,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        channels = out_channels // _EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = make_norm(norm, channels, eps=_EPS)
        self.act1 = make_activation(activation)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = make_norm(norm, channels, eps=_EPS)
        self.act2 = make_activation(activation)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = make_norm(norm, out_channels, eps=_EPS)
        self.act3 = make_activation(activation)
        self.residual_conv: nn.Module = nn.Identity()
        self.residual_bn: nn.Module = nn.Identity()
        if project:
            self.residual_conv = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.residual_bn = make_norm(norm, out_channels, eps=_EPS)
        self.drop_path = DropPath(drop_path)

    def forward(self, features: Tensor, coupled: Tensor | None = None) -> tuple[Tensor, Tensor]:
        reduced = self.act1(self.bn1(self.conv1(features)))
        if coupled is not None:
            reduced = reduced + coupled
        inner = self.act2(self.bn2(self.conv2(reduced)))
        residual = self.drop_path(self.bn3(self.conv3(inner)))
        return self.act3(residual + self.residual_bn(self.residual_conv(features))), inner


class Squeeze(nn.Module):
    """Turn a map into tokens for the transformer, as many as it has patches."""

    def __init__(self, in_channels: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv_project = nn.Conv2d(in_channels, channels, 1)
        self.sample_pooling = nn.AvgPool2d(stride, stride=stride)
        self.ln = nn.LayerNorm(channels, eps=_EPS)
        self.act = nn.GELU()

    def forward(self, features: Tensor) -> tuple[Tensor, tuple[int, int]]:
        pooled = self.sample_pooling(self.conv_project(features))
        return self.act(self.ln(to_tokens(pooled))), pooled.shape[-2:]


class Expand(nn.Module):
    """Turn the transformer's patch tokens of a grid (H, W) into a map of `size`, by repeating them."""

    def __init__(self, in_channels: int, channels: int, norm: Norm, activation: Activation) -> None:
        super().__init__()
        self.conv_project = nn.Conv2d(in_channels, channels, 1)
        self.bn = make_norm(norm, channels, eps=_EPS)
        self.act = make_activation(activation)

    def forward(self, patches: Tensor, grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        features = self.act(self.bn(self.conv_project(to_map(patches, grid))))
        return F.interpolate(features, size=size)


class CoupledBlock(nn.Module):
    """A block of both branches: two bottlenecks (the paper's figure 2), and a transformer block between them."""

    def __init__(
        self,
        *,
        cnn_block: Bottleneck,
        squeeze_block: Squeeze,
        trans_block: TransformerBlock,
        expand_block: Expand,
        fusion_block: Bottleneck,
    ) -> None:
        super().__init__()
        self.cnn_block = cnn_block
        self.squeeze_block = squeeze_block
        self.trans_block = trans_block
        self.expand_block = expand_block
        self.fusion_block = fusion_block

    def forward(self, features: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        features, inner = self.cnn_block(features)
        squeezed, grid = self.squeeze_block(inner)
        # The class token meets itself: the authors' code has put it before the map's tokens.
        tokens = self.trans_block(tokens + torch.cat([tokens[:, :1], squeezed], dim=1))
        expanded = self.expand_block(tokens[:, 1:], grid, inner.shape[-2:])
        features, _ = self.fusion_block(features, expanded)
        return features, tokens


def make_transformer_block(channels: int, num_heads: int, mlp_ratio: float, drop_path: float) -> TransformerBlock:
    attention = Attention(channels, num_heads)
    return TransformerBlock(channels, attention, mlp_ratio=mlp_ratio, drop_path=drop_path, eps=_EPS)


conformer_tiny_patch16 = partial(Conformer, base_channels=64)
conformer_small_patch16 = partial(Conformer, base_channels=256)
conformer_small_patch32 = partial(Conformer, base_channels=256, patch_size=32)
conformer_base_patch16 = partial(Conformer, base_channels=384, hidden_dim=576, num_heads=9)
