"""`deterministic = true`: the same numbers from the same run, on a GPU too."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch.backends import cudnn

from clscli.errors import TrainingError


@contextmanager
def deterministic_algorithms(wanted: bool) -> Iterator[None]:
    """While entered, let torch use only algorithms that give the same result every time, if that is wanted.

    Raises TrainingError when an operator has none.
    """
    if not wanted:
        yield
        return
    # What cuBLAS asks for; it reads this when it is first used. The one of its two values that is not slower.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    was_enabled, was_warning = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    before = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    except RuntimeError as error:
        operator, found, _ = str(error).partition(" does not have a deterministic implementation")
        if not found:
            raise
        raise TrainingError(
            f"train.deterministic: {operator} has no deterministic implementation on this device "
            "-- choose another component, or set train.deterministic = false"
        ) from error
    finally:
        torch.use_deterministic_algorithms(was_enabled, warn_only=was_warning)
        cudnn.deterministic, cudnn.benchmark = before
