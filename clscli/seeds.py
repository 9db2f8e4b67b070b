"""Randomness as a function of what it is for: the same purpose gives the same numbers, whoever draws them."""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


def seed_for(*purpose: int | str) -> int:
    """Turn a purpose such as `(seed, "order", epoch)` into a seed of 63 bits; equal on every machine."""
    text = "/".join(str(part) for part in purpose)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded(*purpose: int | str) -> Iterator[None]:
    """Draw from torch's, Python's and NumPy's global generators as `purpose` says, then put them back.

    For third-party code that knows only the global generators. Of torch, only the CPU generator is touched.
    """
    seed = seed_for(*purpose)
    torch_state, python_state = torch.default_generator.get_state(), random.getstate()
    numpy = sys.modules.get("numpy.random")  # not imported for this: who does not use it needs no seed
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
