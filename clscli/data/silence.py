"""Warnings of Pillow's, which nobody who trains can do anything about."""

from __future__ import annotations

import threading
import warnings


class Silence:
    """Ignore warnings while any thread is inside.

    `warnings.catch_warnings` changes the whole process: where threads overlap, the first to leave would end
    the silence of the others, and the last one make it permanent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._num_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.__exit__(None, None, None)


# Pillow warns of odd metadata that does not change the pixels, and of large pictures.
silence = Silence()
