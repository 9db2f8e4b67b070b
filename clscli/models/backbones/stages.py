"""What backbones made of stages share: which outputs they return, and what stays frozen."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Self

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from clscli.models.layers.outputs import Outputs


class StagedBackbone(nn.Module, ABC):
    """Run a stem and a chain of stages, and return the outputs of the stages in `out_indices`.

    A subclass passes the channels of all its stages to ``super().__init__``, builds the first `depth` of
    them, lists what it built in `stem_and_stages`, and ends its own ``__init__`` with ``self.freeze()``.
    Stages after the deepest one asked for are not built: their parameters would take memory, decay without
    ever getting a gradient, and make distributed training wait for gradients that never come.

    `frozen_stages` counts stages: 0 freezes nothing, n freezes the stem and the first n stages. `norm_eval`
    keeps every batch norm in evaluation mode, so that small batches do not move its statistics.
    """

    out_channels: int | tuple[int, ...]

    def __init__(
        self,
        stage_channels: Sequence[int],
        *,
        out_indices: tuple[int, ...],
        frozen_stages: int,
        norm_eval: bool = False,
    ) -> None:
        super().__init__()
        name, num_stages = type(self).__name__, len(stage_channels)
        if frozen_stages > num_stages:
            raise ValueError(
                f"{name} has {num_stages} stages, so frozen_stages must be at most {num_stages}, "
                f"got {frozen_stages}"
            )
        self.out_indices = resolve_indices(out_indices, num_stages, name)
        self.depth = self.out_indices[-1] + 1
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        channels = tuple(stage_channels[index] for index in self.out_indices)
        self.out_channels = channels if len(channels) > 1 else channels[0]

    @abstractmethod
    def stem_and_stages(self) -> list[list[nn.Module]]:
        """Return the modules of the stem, then of each built stage, in the order in which they run."""

    def forward(self, images: Tensor) -> Outputs:
        features, outputs = images, []
        for index, modules in enumerate(self.stem_and_stages(), start=-1):
            for module in modules:
                features = module(features)
            if index in self.out_indices:
                outputs.append(features)
        return self.pack(outputs)

    def pack(self, outputs: list[Tensor]) -> Outputs:
        """Return a single output bare and several as a tuple, like `out_channels`."""
        return tuple(outputs) if len(outputs) > 1 else outputs[0]

    def freeze(self) -> None:
        """Take the frozen stages out of training."""
        for module in self.frozen_modules():
            module.requires_grad_(False)
        self.train(self.training)

    def frozen_modules(self) -> list[nn.Module]:
        """Return the modules of the stem and of the first `frozen_stages` stages."""
        if self.frozen_stages == 0:
            return []
        return [module for modules in self.stem_and_stages()[: self.frozen_stages + 1] for module in modules]

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self


def resolve_indices(indices: tuple[int, ...], num_stages: int, name: str) -> tuple[int, ...]:
    """Return `indices` counted from the first stage, or raise ValueError in the words of `out_indices`."""
    if not indices:
        raise ValueError(f"{name} needs at least one stage in out_indices, got none")
    if not all(-num_stages <= index < num_stages for index in indices):
        raise ValueError(
            f"{name} has {num_stages} stages, so out_indices must be between -{num_stages} and "
            f"{num_stages - 1}, got {list(indices)}"
        )
    resolved = tuple(index % num_stages for index in indices)
    if any(deeper <= shallower for shallower, deeper in pairwise(resolved)):
        raise ValueError(
            f"{name} returns its {num_stages} stages from shallow to deep, so out_indices must increase, "
            f"got {list(indices)}"
        )
    return resolved
