"""Ctrl-C and SIGTERM ask a run to stop between two steps; a second Ctrl-C stops it at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self

from clscli.engine.distributed import ALONE, World
from clscli.errors import Interrupted


class StopRequest:
    """While this is entered, SIGINT and SIGTERM set `requested` instead of ending the process.

    Of several processes, all stop at the same check, whichever of them got the signal.
    """

    def __init__(self, world: World = ALONE) -> None:
        self.world = world
        self.requested = 0  # the signal's number
        self._previous: dict[int, object] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # Python lets no other thread do this
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # A launcher repeats a signal, and ends the processes that are left when one has ended: this one is about
        # to end, and first has to save what it has, or to say why.
        is_ending = error is not None and self.world.size > 1
        for number, handler in self._previous.items():
            signal.signal(number, signal.SIG_IGN if is_ending else handler)  # type: ignore[arg-type]  # what signal.signal itself returned

    def check(self) -> None:
        """Raise Interrupted, with the signal's name, once one has come."""
        requested = self.world.max(self.requested)
        if requested:
            raise Interrupted(signal.Signals(requested).name)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        # A launcher passes on the Ctrl-C that the terminal has sent to every process: that is no second one.
        if self.requested and self.world.size == 1:
            raise KeyboardInterrupt
        self.requested = number
