"""How a computation lets somebody watch it: a progress bar, the log, a test, or a wish to stop."""

from __future__ import annotations

import logging
import time

log = logging.getLogger("clscli")

# A pass that is over before has nothing to say; a longer one says how far it is from time to time.
_FIRST_LINE, _NEXT_LINE = 5.0, 30.0  # seconds


class Observer:
    """Follow a computation batch by batch, or a download; this one does nothing.

    Raise from `tick` to stop between two steps.
    """

    is_visible = False  # whether somebody sees how far a pass has come

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        """Take note that a pass over `total` pictures begins, or a download of so many MB."""

    def tick(self, amount: int) -> None:
        """Take note of a finished batch, or of what has arrived."""


class LogLines(Observer):
    """Log how far a long pass has come; 0 for a total that is not known."""

    def __init__(self, what: str = "", total: int = 0, unit: str = "images") -> None:
        self.begin(what, total, unit)

    def begin(self, what: str, total: int, unit: str = "images") -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = 0
        self.due = time.monotonic() + _FIRST_LINE

    def tick(self, amount: int) -> None:
        self.done += amount
        if time.monotonic() >= self.due:
            self.due = time.monotonic() + _NEXT_LINE
            of_total = f" of {self.total:,}" if self.total else ""
            log.info("%s: %s%s %s so far", self.what, f"{self.done:,}", of_total, self.unit)


def seen_or_logged(observer: Observer | None) -> Observer:
    """Return an observer for a pass before the training: one that somebody sees, or else the log."""
    return observer if observer is not None and observer.is_visible else LogLines()
