"""The neck of HRNet's classifiers: four resolutions become one map."""

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor, nn

from clscli.models.backbones.resnet import Bottleneck, initialize
from clscli.models.fields import PositiveInt
from clscli.models.layers.outputs import Outputs
from clscli.models.matching import KeyMap

BottleneckChannels = Annotated[int, Field(ge=4, multiple_of=4)]


class HRFuseScales(nn.Module):
    """Fuse the maps of several resolutions, as HRNet does for classification, into the smallest of them.

    Wang et al., "Deep high-resolution representation learning for visual recognition", 2019. A
    bottleneck block widens each map to its `mid_channels`. From the largest map on, a 3x3 convolution of
    stride 2 halves the sum so far and the next map is added; a 1x1 convolution makes `out_channels` of the
    last sum. A pooling neck comes after it.

    Takes maps of which each is half as high and wide as the one before: all outputs of HRNet, or of another
    backbone with `out_indices`. Parameters have the names of the paper's code and of timm.
    """

    key_maps: ClassVar[Mapping[str, KeyMap]] = {
        "mmpretrain": (
            (r"^(neck\.)?increase_layers\.", "incre_modules."),
            (r"^(neck\.)?downsample_layers\.", "downsamp_modules."),
            (r"^neck\.final_layer\.", "final_layer."),
            (r"^(downsamp_modules\.\d|final_layer)\.conv\.", r"\1.0."),
            (r"^(downsamp_modules\.\d|final_layer)\.bn\.", r"\1.1."),
        ),
    }

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        mid_channels: tuple[BottleneckChannels, ...] = (128, 256, 512, 1024),
        out_channels: PositiveInt = 2048,
    ) -> None:
        super().__init__()
        if len(in_channels) != len(mid_channels):
            raise ValueError(
                f"it needs one output for each of the {len(mid_channels)} mid_channels, got {len(in_channels)}: "
                "see out_indices of the backbone"
            )
        self.out_channels = out_channels
        self.incre_modules = nn.ModuleList(
            nn.Sequential(Bottleneck(before, after // Bottleneck.expansion))
            for before, after in zip(in_channels, mid_channels, strict=True)
        )
        self.downsamp_modules = nn.ModuleList(
            make_layer(before, after, kernel_size=3, stride=2) for before, after in pairwise(mid_channels)
        )
        self.final_layer = make_layer(mid_channels[-1], out_channels, kernel_size=1, stride=1)
        initialize(self, zero_init_residual=False)

    def forward(self, outputs: tuple[Tensor, ...]) -> Outputs:
        first, *others = [widen(output) for widen, output in zip(self.incre_modules, outputs, strict=True)]
        fused: Tensor = first
        for halve, output in zip(self.downsamp_modules, others, strict=True):
            fused = halve(fused)
            if fused.shape != output.shape:
                raise ValueError(
                    "neck 'hr_fuse_scales' needs maps of which each is half as high and wide as the one before, "
                    f"got {', '.join(shown_size(output) for output in outputs)}"
                )
            fused = fused + output
        result: Tensor = self.final_layer(fused)
        return result

    def adapt_weights(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Take the biases that the paper's code gives to its convolutions into the norms, which undo them."""
        adapted = dict(tensors)
        for name in tensors:
            if name.startswith(("downsamp_modules.", "final_layer.")) and name.endswith(".0.bias"):
                mean = f"{name.removesuffix('0.bias')}1.running_mean"
                if mean in adapted:
                    adapted[mean] = adapted[mean] - adapted.pop(name)
        return adapted


def make_layer(in_channels: int, out_channels: int, *, kernel_size: int, stride: int) -> nn.Sequential:
    """Chain a convolution without bias, its norm and its activation."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=kernel_size // 2, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))


def shown_size(output: Tensor) -> str:
    return "x".join(str(n) for n in output.shape[2:])
