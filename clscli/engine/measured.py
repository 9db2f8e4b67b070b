"""What was measured on this machine, kept for the next run of the same spec: it then computes the same numbers."""

from __future__ import annotations

import hashlib
import json
import logging
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from clscli.cache import cache_directory
from clscli.engine.prepare import Plan
from clscli.errors import WriteError
from clscli.files import atomic_write

log = logging.getLogger("clscli")


def measured_once(facts: list[object], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what was measured under the same facts before; else measure it now, and keep it."""
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]
    found = _read().get(key)
    if isinstance(found, dict):
        return found
    found = measure()
    _write({**_read(), key: found})
    return found


def facts_of(plan: Plan, device: torch.device) -> list[object]:
    """Name machine, torch, model and batch: what the speed of a step depends on."""
    spec = plan.spec.spec
    return [
        torch.cuda.get_device_name(device) if device.type == "cuda" else _processor(),
        torch.__version__,
        torch.get_num_threads(),
        plan.blueprint.image_shape,
        spec.data.batch_size,
        spec.data.num_workers,
        spec.data.cache,
        spec.train.precision,
        plan.spec.values["transforms"],
        plan.spec.one("model", "backbone").complete_parameters(),
        [(name, tuple(p.shape)) for name, p in plan.model.named_parameters()],
    ]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _file() -> Path:
    return cache_directory() / "execution.json"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(measured: dict[str, Any]) -> None:
    try:
        cache_directory().mkdir(parents=True, exist_ok=True)
        with atomic_write(_file()) as temporary:
            temporary.write_text(json.dumps(measured, indent=1), encoding="utf-8")
    except (OSError, WriteError):
        log.info("note: %s cannot be written, so the next run tries again", _file())
