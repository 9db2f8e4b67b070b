"""How a computation lets somebody watch it: a progress bar, a test, or a wish to stop."""

from __future__ import annotations


class Observer:
    """Follow a computation batch by batch; this one does nothing. Raise from `tick` to stop between two steps."""

    def begin(self, what: str, num_images: int) -> None:
        """Take note that a pass over `num_images` pictures begins."""

    def tick(self, num_images: int) -> None:
        """Take note of a finished batch."""
