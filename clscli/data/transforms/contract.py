"""What a transform is."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor


class Transform(Protocol):
    """Change one picture, `uint8 (C, H, W)`, into another one; its size and number of channels may change.

    Chance is drawn from torch's, Python's or NumPy's global generators: clscli seeds them for each picture.
    A component that takes other transforms annotates its parameter as `Transform` or `list[Transform]`.
    """

    def __call__(self, image: Tensor, /) -> Tensor: ...
