"""Stochastic depth."""

from torch import Tensor, nn


class DropPath(nn.Module):
    """Set a residual to zero for some samples of a training batch, and scale up the others to make up for it.

    Huang et al., "Deep networks with stochastic depth", 2016. Takes any tensor (B, ...).
    """

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, residual: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return residual
        keep = 1 - self.rate
        mask = residual.new_empty(residual.shape[0], *(1,) * (residual.ndim - 1)).bernoulli_(keep)
        return residual * mask / keep

    def extra_repr(self) -> str:
        return f"rate={self.rate:.3g}"


def drop_path_rates(rate: float, num_blocks: int) -> list[float]:
    """Return the rate of each block: linearly from 0 for the first to `rate` for the last."""
    return [rate * index / max(1, num_blocks - 1) for index in range(num_blocks)]
