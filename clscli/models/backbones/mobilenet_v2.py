"""MobileNetV2, adapted from torchvision."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn
from torchvision import models

from clscli.models.backbones.stages import StagedBackbone
from clscli.models.backbones.torchvision_parts import (
    TIMM_INVERTED_RESIDUALS,
    cut,
    number_through,
    replace_activations,
    replace_norms,
    with_in_channels,
)
from clscli.models.fields import Count, PositiveFloat
from clscli.models.layers.activations import Activation
from clscli.models.layers.norms import Norm
from clscli.models.matching import KeyMap

# torchvision's features in each stage: from a block of stride 2 to the next (Table 2 of the paper).
_BOUNDS = (0, 2, 4, 7, 14, 19)
# The first of them in each row of Table 2, the stages of timm and mmpretrain.
_ROW_STARTS = (1, 2, 4, 7, 11, 14, 17)

# From names that say what a layer is for; the first block has no expansion.
_TO_TORCHVISION: KeyMap = (
    (r"^features\.1\.depthwise\.", "features.1.conv.0."),
    (r"^features\.1\.project\.conv\.", "features.1.conv.1."),
    (r"^features\.1\.project\.norm\.", "features.1.conv.2."),
    (r"\.expand\.", ".conv.0."),
    (r"\.depthwise\.", ".conv.1."),
    (r"\.project\.conv\.", ".conv.2."),
    (r"\.project\.norm\.", ".conv.3."),
    (r"\.conv\.(\d)\.conv\.", r".conv.\1.0."),
    (r"\.conv\.(\d)\.norm\.", r".conv.\1.1."),
)


class MobileNetV2(StagedBackbone):
    """Network for phones: inverted residuals, narrow maps between blocks and wide ones inside.

    Sandler et al., "MobileNetV2: inverted residuals and linear bottlenecks", 2018. Five stages, each half
    the size of the one before; the last ends with the 1x1 convolution before the paper's pooling.
    `width_mult` scales all channels, to multiples of 8, but does not make that convolution narrower than
    1280. Parameters have torchvision's names.
    """

    paper: ClassVar[str] = "https://arxiv.org/abs/1801.04381"
    key_maps: ClassVar[dict[str, KeyMap]] = {
        "timm": (
            (r"^conv_stem\.", "features.0.0."),
            (r"^bn1\.", "features.0.1."),
            (r"^conv_head\.", "features.18.0."),
            (r"^bn2\.", "features.18.1."),
            *TIMM_INVERTED_RESIDUALS,
            (r"^blocks\.(\d+)\.(\d+)\.", number_through("features.", _ROW_STARTS)),
            *_TO_TORCHVISION,
        ),
        "mmpretrain": (
            (r"\.bn\.", ".norm."),
            (r"^conv1\.conv\.", "features.0.0."),
            (r"^conv1\.norm\.", "features.0.1."),
            (r"^conv2\.conv\.", "features.18.0."),
            (r"^conv2\.norm\.", "features.18.1."),
            (r"^layer1\.0\.conv\.0\.", "features.1.depthwise."),
            (r"^layer1\.0\.conv\.1\.", "features.1.project."),
            (r"^(layer\d+\.\d+)\.conv\.0\.", r"\1.expand."),
            (r"^(layer\d+\.\d+)\.conv\.1\.", r"\1.depthwise."),
            (r"^(layer\d+\.\d+)\.conv\.2\.", r"\1.project."),
            (r"^layer(\d+)\.(\d+)\.", number_through("features.", (0, *_ROW_STARTS))),  # counts rows from 1
            *_TO_TORCHVISION,
        ),
    }

    def __init__(
        self,
        in_channels: int,
        *,
        width_mult: PositiveFloat = 1.0,
        norm: Norm = "batch_norm",
        activation: Activation = "relu6",
        norm_eval: bool = False,
        gradient_checkpointing: bool = False,
        frozen_stages: Count = 0,
        out_indices: tuple[int, ...] = (-1,),
    ) -> None:
        features = models.MobileNetV2(num_classes=1, width_mult=width_mult).features
        super().__init__(
            [features[end - 1].out_channels for end in _BOUNDS[1:]],
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            norm_eval=norm_eval,
            gradient_checkpointing=gradient_checkpointing,
        )
        self.bounds = _BOUNDS[: self.depth + 1]
        self.features: nn.Sequential = features[: self.bounds[-1]]
        self.features[0][0] = with_in_channels(features[0][0], in_channels)
        replace_norms(self, norm)
        replace_activations(self, activation)
        self.freeze()

    @staticmethod
    def companions(parameters: Mapping[str, Any]) -> dict[str, Any]:
        """Return the neck and head of the published model, for specs that name none."""
        return {"head": {"type": "linear", "dropout": 0.2}}

    def stem_and_stages(self) -> list[list[nn.Module]]:
        return [[], *cut(self.features, self.bounds)]
