"""RepVGG: three branches a layer to train, one convolution a layer to deploy."""

from collections.abc import Mapping
from functools import partial
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.fields import Count, PositiveInt
from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.convolutions import conv_norm
from clscli.models.layers.norms import make_norm
from clscli.models.layers.squeeze_excite import SqueezeExcite
from clscli.models.matching import KeyMap

Stages = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]
FusibleNorm = Literal["batch_norm", "sync_batch_norm"]  # in evaluation, a scale and a shift of each channel


class RepVGG(StagedBackbone):
    """Chain of 3x3 convolutions that trains with two more branches a layer and loses them when deployed.

    Ding et al., "RepVGG: Making VGG-style ConvNets great again", 2021. Stage i has `depths[i]` layers of
    `widths[i]` channels; the stem and every stage halve the map. `groups` are those of every second layer's
    convolutions. With `squeeze_excite` every layer ends with one. Parameters have timm's names.

    `deploy` builds one convolution a layer at once, and takes weights of either form; `fuse` turns a trained
    backbone into that form, which computes the same.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/2101.03697"
    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"^stage_(\d)\.", lambda match: f"stages.{int(match[1]) - 1}."),
            (r"\.branch_3x3\.norm\.", ".conv_kxk.bn."),
            (r"\.branch_3x3\.", ".conv_kxk."),
            (r"\.branch_1x1\.norm\.", ".conv_1x1.bn."),
            (r"\.branch_1x1\.", ".conv_1x1."),
            (r"\.branch_norm\.", ".identity."),
            (r"\.branch_reparam\.", ".reparam_conv."),
            (r"\.se_layer\.conv(\d)\.conv\.", r".attn.fc\1."),
        )
    }

    def __init__(
        self,
        in_channels: int,
        *,
        depths: Stages = (2, 4, 14, 1),
        widths: Stages = (48, 96, 192, 1280),
        groups: PositiveInt = 1,
        squeeze_excite: bool = False,
        norm: FusibleNorm = "batch_norm",
        activation: Activation = "relu",
        deploy: bool = False,
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        if len(depths) != len(widths):
            raise ValueError(
                f"RepVGG needs as many depths as widths, got {len(depths)} depths and {len(widths)} widths"
            )
        if any(width % groups for width in widths):
            raise ValueError(f"RepVGG needs widths that are multiples of its {groups} groups, got {list(widths)}")
        super().__init__(
            widths,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        make_layer = partial(
            RepVGGLayer, squeeze_excite=squeeze_excite, norm=norm, activation=activation, deploy=deploy
        )
        channels = min(64, widths[0])  # the paper's Table 2
        self.stem = make_layer(in_channels, channels, stride=2)
        self.stages = nn.Sequential()
        index = 1
        for width, depth in zip(widths[: self.depth], depths[: self.depth], strict=True):
            stage = nn.Sequential()
            for stride in (2, *(1,) * (depth - 1)):
                stage.append(make_layer(channels, width, stride=stride, groups=1 if index % 2 else groups))
                channels, index = width, index + 1
            self.stages.append(stage)
        self.freeze()

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[self.stem], *([stage] for stage in self.stages)]

    def fuse(self) -> None:
        """Replace the branches of every layer by one convolution, in place."""
        for layer in self.layers().values():
            layer.fuse()
        self.freeze()

    def layers(self) -> dict[str, "RepVGGLayer"]:
        """Return the layers by their names in the state dict."""
        return {name: module for name, module in self.named_modules() if isinstance(module, RepVGGLayer)}

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Fuse the branches in a file where this backbone has one convolution."""
        adapted = dict(tensors)
        for name, layer in self.layers().items():
            if layer.reparam_conv is None:
                continue
            prefixes = tuple(f"{name}.{branch}." for branch in BRANCHES)
            branches = {key: tensor for key, tensor in tensors.items() if key.startswith(prefixes)}
            try:
                weight, bias = fuse_branches({k.removeprefix(f"{name}."): t for k, t in branches.items()})
            except KeyError:  # not all of a layer's branches are there: the report names what is missing
                continue
            adapted = {key: tensor for key, tensor in adapted.items() if key not in branches}
            adapted |= {f"{name}.reparam_conv.weight": weight, f"{name}.reparam_conv.bias": bias}
        return adapted


BRANCHES = ("conv_kxk", "conv_1x1", "identity")


class RepVGGLayer(nn.Module):
    """The sum of a 3x3 convolution, a 1x1 convolution and, where shapes allow, the input, each with a norm."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        stride: int,
        groups: int = 1,
        squeeze_excite: bool,
        norm: FusibleNorm,
        activation: Activation,
        deploy: bool,
    ) -> None:
        super().__init__()
        self.stride, self.groups = stride, groups
        self.reparam_conv: nn.Conv2d | None = None
        self.identity: nn.Module | None = None
        if deploy:
            self.reparam_conv = nn.Conv2d(in_channels, out_channels, 3, stride=stride, padding=1, groups=groups)
        else:
            self.conv_kxk = conv_norm(in_channels, out_channels, 3, norm=norm, stride=stride, groups=groups)
            self.conv_1x1 = conv_norm(in_channels, out_channels, 1, norm=norm, stride=stride, groups=groups)
            if stride == 1 and in_channels == out_channels:
                self.identity = make_norm(norm, out_channels)
        hidden = max(1, out_channels // 16)  # the authors' code
        self.attn = SqueezeExcite(out_channels, hidden) if squeeze_excite else nn.Identity()
        self.act = make_activation(activation)

    def forward(self, features: Tensor) -> Tensor:
        if self.reparam_conv is not None:
            summed = self.reparam_conv(features)
        else:
            summed = self.conv_kxk(features) + self.conv_1x1(features)
            if self.identity is not None:
                summed = summed + self.identity(features)
        output: Tensor = self.act(self.attn(summed))
        return output

    def fuse(self) -> None:
        """Replace the branches by the convolution that computes the same in evaluation mode."""
        if self.reparam_conv is not None:
            return
        weight, bias = fuse_branches(self.state_dict())
        out_channels, group_channels, *_ = weight.shape
        in_channels = group_channels * self.groups
        self.reparam_conv = nn.Conv2d(
            in_channels, out_channels, 3, stride=self.stride, padding=1, groups=self.groups
        ).to(weight)
        self.reparam_conv.load_state_dict({"weight": weight, "bias": bias})
        del self.conv_kxk, self.conv_1x1
        self.identity = None


def fuse_branches(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of the 3x3 convolution that equals the sum of a layer's branches.

    A 1x1 convolution is a 3x3 one that is zero around its centre, and so is the identity.
    """
    weight_3x3 = tensors["conv_kxk.conv.weight"]
    parts = [
        fuse_norm(weight_3x3, tensors, "conv_kxk.bn"),
        fuse_norm(F.pad(tensors["conv_1x1.conv.weight"], (1, 1, 1, 1)), tensors, "conv_1x1.bn"),
    ]
    if "identity.weight" in tensors:
        groups = weight_3x3.shape[0] // weight_3x3.shape[1]  # as many channels come in as go out
        identity = nn.init.dirac_(torch.empty_like(weight_3x3), groups)
        parts.append(fuse_norm(identity, tensors, "identity"))
    weights, biases = zip(*parts, strict=True)
    return torch.stack(weights).sum(0), torch.stack(biases).sum(0)


def fuse_norm(weight: Tensor, tensors: Mapping[str, Tensor], norm: str) -> tuple[Tensor, Tensor]:
    """Return the weight and bias of a convolution that equals one without bias and the batch norm after it."""
    eps = 1e-5  # PyTorch's, and that of all published weights
    scale = tensors[f"{norm}.weight"] * torch.rsqrt(tensors[f"{norm}.running_var"] + eps)
    return weight * scale[:, None, None, None], tensors[f"{norm}.bias"] - tensors[f"{norm}.running_mean"] * scale


# The paper's Tables 2 and 3; D2se: the authors' code.
_b_depths = (4, 6, 16, 1)
repvgg_a0 = partial(RepVGG, depths=(2, 4, 14, 1), widths=(48, 96, 192, 1280))
repvgg_a1 = partial(RepVGG, depths=(2, 4, 14, 1), widths=(64, 128, 256, 1280))
repvgg_a2 = partial(RepVGG, depths=(2, 4, 14, 1), widths=(96, 192, 384, 1408))
repvgg_b0 = partial(RepVGG, depths=_b_depths, widths=(64, 128, 256, 1280))
repvgg_b1 = partial(RepVGG, depths=_b_depths, widths=(128, 256, 512, 2048))
repvgg_b1g2 = partial(repvgg_b1, groups=2)
repvgg_b1g4 = partial(repvgg_b1, groups=4)
repvgg_b2 = partial(RepVGG, depths=_b_depths, widths=(160, 320, 640, 2560))
repvgg_b2g4 = partial(repvgg_b2, groups=4)
repvgg_b3 = partial(RepVGG, depths=_b_depths, widths=(192, 384, 768, 2560))
repvgg_b3g4 = partial(repvgg_b3, groups=4)
repvgg_d2se = partial(RepVGG, depths=(8, 14, 24, 1), widths=(160, 320, 640, 2560), squeeze_excite=True)
