"""Necks that turn maps into vectors."""

from typing import Literal

import torch
from torch import Tensor, nn

from clscli.models.fields import PositiveFloat
from clscli.models.layers.outputs import Outputs

_SHAPES = {1: "(B, C, L)", 2: "(B, C, H, W)", 3: "(B, C, T, H, W)"}


class GlobalAveragePooling(nn.Module):
    """Average every map over all its positions.

    Maps become vectors (B, C); vectors pass unchanged. Several outputs are pooled each for itself. `dim`
    is that of the positions: 2 for maps (B, C, H, W), 1 for sequences (B, C, L), 3 for videos (B, C, T, H,
    W).
    """

    out_channels: int | tuple[int, ...]

    def __init__(self, in_channels: tuple[int, ...], *, dim: Literal[1, 2, 3] = 2) -> None:
        super().__init__()
        self.dim = dim
        self.out_channels = in_channels if len(in_channels) > 1 else in_channels[0]

    def forward(self, outputs: Outputs) -> Outputs:
        if isinstance(outputs, tuple):
            return tuple(self.pool(output) for output in outputs)
        return self.pool(outputs)

    def pool(self, output: Tensor) -> Tensor:
        if output.ndim == 2:
            return output
        require_map(output, self.dim, f"neck 'global_average_pooling' with dim = {self.dim}")
        return output.mean(tuple(range(2, output.ndim)))


class GeneralizedMeanPooling(nn.Module):
    """Pool by a mean between the average and the maximum (GeM), whose power is learnt.

    Radenovic et al., "Fine-tuning CNN image retrieval with no human annotation", 2018. A map (B, C, H, W)
    becomes the p-th root of the mean of its p-th powers, a vector (B, C): p = 1 is the average, and the
    larger p, the nearer to the maximum. Vectors pass unchanged. Several outputs are pooled each for itself,
    with a power of its own. Values below `eps`, of which there are no roots, count as `eps`.
    """

    out_channels: int | tuple[int, ...]
    powers: Tensor

    def __init__(
        self,
        in_channels: tuple[int, ...],
        *,
        p: PositiveFloat = 3.0,
        learn_p: bool = True,
        eps: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__()
        self.eps = eps
        self.out_channels = in_channels if len(in_channels) > 1 else in_channels[0]
        powers = torch.full((len(in_channels),), p)
        if learn_p:
            self.powers = nn.Parameter(powers)
        else:  # a fixed number belongs to the spec, which every checkpoint holds
            self.register_buffer("powers", powers, persistent=False)

    def forward(self, outputs: Outputs) -> Outputs:
        if isinstance(outputs, tuple):
            return tuple(self.pool(o, power) for o, power in zip(outputs, self.powers, strict=True))
        return self.pool(outputs, self.powers[0])

    def pool(self, output: Tensor, power: Tensor) -> Tensor:
        if output.ndim == 2:
            return output
        require_map(output, 2, "neck 'generalized_mean_pooling'")
        # 16 bits hold no small number to the power of 3.
        values = output.to(torch.promote_types(output.dtype, torch.float32)).clamp(min=self.eps)
        return values.pow(power).mean((2, 3)).pow(1 / power)


def require_map(output: Tensor, dim: int, part: str) -> None:
    """Raise ValueError unless an output has so many dimensions of positions; `part` names who needs them."""
    if output.ndim != 2 + dim:
        raise ValueError(f"{part} expects maps {_SHAPES[dim]} or vectors (B, C), got {tuple(output.shape)}")
