"""What passes between the parts of a classifier."""

from torch import Tensor

Outputs = Tensor | tuple[Tensor, ...]
"""One output of a backbone or neck, or several from shallow to deep: maps (B, C, H, W) or vectors (B, C)."""


def last_output(outputs: Outputs) -> Tensor:
    """Return the deepest output."""
    return outputs[-1] if isinstance(outputs, tuple) else outputs
