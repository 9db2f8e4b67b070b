"""What the logging hooks have in common: the numbers of an epoch, and the spec of the run."""

from __future__ import annotations

import tomllib
from typing import Any

from clscli.engine.hooks import HookState


def epoch_scalars(state: HookState) -> dict[str, float]:
    """Return what training an epoch came to so far, by the names in `metrics.jsonl`."""
    return {
        "lr": state.lr,
        "train_loss": state.train_loss,
        "images_per_second": round(state.images_per_second, 1),
    }


def spec_values(state: HookState) -> dict[str, Any]:
    """Return the resolved spec of the run, as it lies in the run directory."""
    return tomllib.loads((state.run / "spec.toml").read_text(encoding="utf-8"))
