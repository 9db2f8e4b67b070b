"""Which epoch is better: by the metric that is monitored, and by the loss where that is equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sign_of(monitor: str) -> int:
    """Return 1 where more of a metric is better, and -1 for the loss."""
    return -1 if monitor == "loss" else 1


def goodness(metrics: Mapping[str, Any], monitor: str) -> tuple[float, float]:
    """Return what is larger for the better of two epochs."""
    return sign_of(monitor) * metrics[monitor], -metrics["loss"]
