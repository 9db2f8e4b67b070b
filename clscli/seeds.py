"""Randomness as a function of what it is for: the same purpose gives the same numbers, whoever draws them."""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType

import torch


def seed_for(*purpose: int | str) -> int:
    """Turn a purpose such as `(seed, "order", epoch)` into a seed of 63 bits; equal on every machine."""
    text = "/".join(str(part) for part in purpose)
    data = text.encode(errors="surrogatepass")  # file names need not be valid Unicode
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded(*purpose: int | str) -> Iterator[None]:
    """Draw from torch's, Python's and NumPy's global generators as `purpose` says, then put them back.

    For third-party code that knows only the global generators. Of torch, only the CPU generator is touched.
    """
    with preserved():
        _seed(*purpose)
        yield


@contextmanager
def preserved() -> Iterator[None]:
    """Put the global generators, and what `current_draw` says, back at the end."""
    draw = _current_draw.get()
    torch_state, python_state = torch.default_generator.get_state(), random.getstate()
    numpy = _numpy_random()
    numpy_state = numpy.get_state() if numpy is not None else None
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        random.setstate(python_state)
        if numpy is not None:
            numpy.set_state(numpy_state)
        _current_draw.set(draw)


def _seed(*purpose: int | str) -> None:
    seed = seed_for(*purpose)
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    if (numpy := _numpy_random()) is not None:
        numpy.seed(seed % 2**32)


@dataclass(frozen=True)
class CurrentDraw:
    """Which sample is being augmented, in which epoch of a run with which seed, and how often it was in it."""

    seed: int
    epoch: int
    index: int
    repeat: int = 0


_NO_DRAW = CurrentDraw(0, 0, 0)
_current_draw = ContextVar("current_draw", default=_NO_DRAW)


@contextmanager
def augmenting(seed: int, epoch: int, index: int, repeat: int = 0) -> Iterator[None]:
    """Draw as is right for one sample in one epoch, see `seeded`; transforms may ask which it is."""
    with preserved():
        augment_as(seed, epoch, index, repeat)
        yield


def augment_as(seed: int, epoch: int, index: int, repeat: int = 0) -> None:
    """Begin to draw as is right for one sample in one epoch, within `preserved`.

    Putting the generators back takes twenty times as long as this: once for a batch is enough.
    """
    _current_draw.set(CurrentDraw(seed, epoch, index, repeat))
    _seed(seed, "augment", epoch, index, *[repeat] * bool(repeat))


def current_draw() -> CurrentDraw:
    """Return which sample is being augmented: what `augmenting` was given; zeros outside of it.

    For transforms that depend on the epoch, not on chance alone.
    """
    return _current_draw.get()


def _numpy_random() -> ModuleType | None:
    """Return `numpy.random` if NumPy is in use; `import numpy` alone does not load it, its first use does."""
    return importlib.import_module("numpy.random") if "numpy" in sys.modules else None
