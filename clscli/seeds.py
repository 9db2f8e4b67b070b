"""Randomness as a function of what it is for: the same purpose gives the same numbers, whoever draws them."""

from __future__ import annotations

import hashlib
import importlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager
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
    seed = seed_for(*purpose)
    torch_state, python_state = torch.default_generator.get_state(), random.getstate()
    numpy = _numpy_random()
    numpy_state = numpy.get_state() if numpy is not None else None
    torch.default_generator.manual_seed(seed)
    random.seed(seed)
    if numpy is not None:
        numpy.seed(seed % 2**32)
    try:
        yield
    finally:
        torch.default_generator.set_state(torch_state)
        random.setstate(python_state)
        if numpy is not None:
            numpy.set_state(numpy_state)


def _numpy_random() -> ModuleType | None:
    """Return `numpy.random` if NumPy is in use; `import numpy` alone does not load it, its first use does."""
    return importlib.import_module("numpy.random") if "numpy" in sys.modules else None
