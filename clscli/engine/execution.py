"""`precision = "auto"`: choose precision and memory layout by trying them.

No setting is the fastest for every model on every CPU: bfloat16 with channels last trains a ResNet-18 almost
three times as fast as float32 on one processor, and a MobileNetV3 no faster. So a few real steps decide. The
choice is stored in the run's checkpoints, and cached, so that the same spec on the same machine gives the same
numbers again.
"""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import platform
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clscli.cache import cache_directory
from clscli.engine.checkpoint import atomic_write
from clscli.engine.device import Execution
from clscli.engine.prepare import Plan
from clscli.errors import CheckpointError
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs

log = logging.getLogger("clscli")

# Another precision must be worth its lost digits; noise in a short trial must not decide.
_WORTH_IT = 1.15
_TIMED_STEPS = 3
_MAX_BATCH = 32


def choose_execution(plan: Plan, device: torch.device) -> Execution:
    """Choose how to compute training steps; what the spec sets is never changed."""
    wanted = plan.spec.spec.train.precision
    if wanted != "auto":
        return Execution(wanted, channels_last=device.type == "cuda" and wanted != "float32")
    if device.type == "cuda":
        return Execution("bfloat16" if torch.cuda.is_bf16_supported(False) else "float16", channels_last=True)
    if device.type != "cpu":
        return Execution("float32", channels_last=False)
    cached = _read_cache()
    key = _key(plan)
    if key in cached:
        return Execution(**cached[key])
    chosen = _fastest(plan)
    _write_cache({**cached, key: {"precision": chosen.precision, "channels_last": chosen.channels_last}})
    return chosen


def _fastest(plan: Plan) -> Execution:
    candidates = [Execution("float32", False), Execution("float32", True)]
    if _has_bfloat16():
        candidates.append(Execution("bfloat16", True))
    seconds = {candidate: _seconds_per_step(plan, candidate) for candidate in candidates}
    plain = seconds[candidates[0]]
    best = min(candidates, key=lambda candidate: seconds[candidate])
    tried = ", ".join(f"{candidate} {plain / seconds[candidate]:.2f}x" for candidate in candidates)
    log.info("precision: tried %s", tried)
    return best if plain / seconds[best] >= _WORTH_IT else candidates[0]


def _seconds_per_step(plan: Plan, execution: Execution) -> float:
    """Time the fastest of a few steps, forward and backward, on a copy of the model."""
    device = torch.device("cpu")
    model: Classifier = copy.deepcopy(plan.model).to(memory_format=execution.memory_format).train()
    batch = min(plan.spec.spec.data.batch_size, len(plan.data.train), _MAX_BATCH)
    images = torch.zeros(batch, *plan.blueprint.image_shape, dtype=torch.uint8)
    images = images.to(memory_format=execution.memory_format)
    times = []
    for _ in range(1 + _TIMED_STEPS):  # the first one also pays for memory and kernels
        started = time.perf_counter()
        with execution.autocast(device):
            outputs: Outputs = model(images)
        logits = outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs))
        torch.autograd.backward(logits.float().square().mean())
        times.append(time.perf_counter() - started)
        model.zero_grad()
    return min(times[1:])


def _has_bfloat16() -> bool:
    """Tell whether this CPU computes in bfloat16 itself; emulated, it is slower than float32."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)


def _key(plan: Plan) -> str:
    """Name machine, torch, model and batch: what the choice depends on."""
    facts = [
        _processor(),
        torch.__version__,
        torch.get_num_threads(),
        plan.blueprint.image_shape,
        plan.spec.spec.data.batch_size,
        [(name, tuple(p.shape)) for name, p in plan.model.named_parameters()],
    ]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:32]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _cache_file() -> Path:
    return cache_directory() / "precision.json"


def _read_cache() -> dict[str, Any]:
    try:
        found = json.loads(_cache_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write_cache(choices: dict[str, Any]) -> None:
    try:
        cache_directory().mkdir(parents=True, exist_ok=True)
        with atomic_write(_cache_file()) as temporary:
            temporary.write_text(json.dumps(choices, indent=1), encoding="utf-8")
    except (OSError, CheckpointError):
        log.info("note: %s cannot be written, so the next run tries again", _cache_file())
