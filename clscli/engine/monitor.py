"""Which epoch is better: by the metric that is monitored, and by the loss where that is equal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def sign_of(monitor: str) -> int:
    """Return 1 where more of a metric is better, and -1 for the loss."""
    return -1 if monitor == "loss" else 1


def main_metric(metrics: Mapping[str, Any]) -> str:
    """Name the metric for which a message has room: the accuracy, or with several labels a picture the mAP."""
    return "top1" if "top1" in metrics else "map"


def goodness(metrics: Mapping[str, Any], monitor: str) -> tuple[float, float]:
    """Return what is larger for the better of two epochs."""
    return sign_of(monitor) * metrics[monitor], -metrics["loss"]
