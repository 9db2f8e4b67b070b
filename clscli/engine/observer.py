"""How a computation lets somebody watch it: a progress bar, a test, or a wish to stop."""

from __future__ import annotations


class Observer:
    """Follow a computation batch by batch, or a download; this one does nothing.

    Raise from `tick` to stop between two steps.
    """

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        """Take note that a pass over `total` pictures begins, or a download of so many MB."""

    def tick(self, amount: int) -> None:
        """Take note of a finished batch, or of what has arrived."""
