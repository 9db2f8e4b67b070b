"""What the adapters of torchvision's models share: other channels, norms and activations, and timm's names."""

import re
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

from torch import nn

from clscli.models.layers.activations import Activation, make_activation
from clscli.models.layers.norms import Norm, make_norm
from clscli.models.matching import KeyMap


def with_in_channels(conv: nn.Conv2d, in_channels: int) -> nn.Conv2d:
    """Make torchvision's first convolution, which is for three channels only, for any number of them.

    The weights are drawn anew, as He et al. (2015) do; a family that draws them otherwise does that after.
    """
    fresh = nn.Conv2d(
        in_channels,
        conv.out_channels,
        conv.kernel_size,  # type: ignore[arg-type]
        stride=conv.stride,  # type: ignore[arg-type]
        padding=conv.padding,  # type: ignore[arg-type]
        dilation=conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        device=conv.weight.device,
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    if fresh.bias is not None:
        nn.init.zeros_(fresh.bias)
    return fresh


def replace_norms(model: nn.Module, norm: Norm) -> None:
    """Put norms of another kind in the place of a model's batch norms, with the same eps."""
    if norm == "batch_norm":
        return
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                fresh = make_norm(norm, child.num_features, eps=child.eps)
                if isinstance(fresh, nn.SyncBatchNorm):
                    fresh.momentum = child.momentum
                setattr(parent, name, fresh)


def replace_activations(model: nn.Module, activation: Activation) -> None:
    """Put other activations in the place of a model's ReLUs, in place where those are."""
    for parent in list(model.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.ReLU | nn.ReLU6):
                setattr(parent, name, make_activation(activation, inplace=child.inplace))


def cut(chain: nn.Sequential, bounds: Sequence[int]) -> list[list[nn.Module]]:
    """Return the modules of a chain between each two bounds."""
    modules = list(chain)
    return [modules[start:end] for start, end in pairwise(bounds)]


def number_through(prefix: str, starts: Sequence[int]) -> Callable[[re.Match[str]], str]:
    """Make the replacement for a stage and a block in it, both matched, that counts the blocks through.

    `starts` has the number of the first block of every stage.
    """
    return partial(_numbered, prefix, tuple(starts))


def _numbered(prefix: str, starts: tuple[int, ...], match: re.Match[str]) -> str:
    stage, block = int(match[1]), int(match[2])
    return f"{prefix}{starts[stage] + block}." if stage < len(starts) else match[0]


# What timm calls the layers of an inverted residual, in the order in which they run.
_TIMM_LAYERS = {
    "conv_pw": "expand.conv",
    "bn1": "expand.norm",
    "conv_dw": "depthwise.conv",
    "bn2": "depthwise.norm",
    "conv_pwl": "project.conv",
    "bn3": "project.norm",
}
# In the blocks of timm's stage 0, which have no expansion, the same names stand for other layers.
TIMM_INVERTED_RESIDUALS: KeyMap = (
    (r"^(blocks\.0\.\d+)\.bn1\.", r"\1.depthwise.norm."),
    (r"^(blocks\.0\.\d+)\.conv_pw\.", r"\1.project.conv."),
    (r"^(blocks\.0\.\d+)\.bn2\.", r"\1.project.norm."),
    *((rf"\.{layer}\.", f".{name}.") for layer, name in _TIMM_LAYERS.items()),
)
