"""Choose precision, memory layout and number of threads by trying them.

No setting is the fastest for every model on every CPU: bfloat16 with channels last trains a ResNet-18 almost
three times as fast as float32 on one processor, and a MobileNetV3 no faster. So a few real steps decide. The
choice is stored in the run's checkpoints, and cached, so that the same spec on the same machine gives the same
numbers again.
"""

from __future__ import annotations

import copy
import dataclasses
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
from clscli.data.loader import Draw, Reader
from clscli.engine.device import Execution
from clscli.engine.prepare import Plan
from clscli.errors import WriteError
from clscli.files import atomic_write
from clscli.models.classifier import Classifier
from clscli.models.layers.outputs import Outputs

log = logging.getLogger("clscli")

# Another precision must be worth its lost digits; noise in a short trial must not decide.
_WORTH_IT = 1.15
_MAX_BATCH = 32
_TIMED_STEPS = 3
_TIMED_PICTURES = 16
_ENOUGH_SECONDS = 1.5  # a slow model need not be timed three times


def choose_execution(plan: Plan, device: torch.device) -> Execution:
    """Choose how to compute training steps; what the spec sets is never changed."""
    wanted = plan.spec.spec.train.precision
    if device.type == "cuda":
        auto = "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16"
        precision = auto if wanted == "auto" else wanted
        return Execution(precision, channels_last=precision != "float32")
    if device.type != "cpu":
        return Execution("float32" if wanted == "auto" else wanted, channels_last=False)
    cached, key = _read_cache(), _key(plan)
    if key not in cached:
        cached[key] = dataclasses.asdict(_fastest(plan, _candidates(wanted)))
        _write_cache(cached)
    return Execution(**cached[key])


def _candidates(wanted: str) -> list[Execution]:
    """List what may be chosen on a CPU, what is preferred first."""
    if wanted != "auto":
        return [Execution(wanted, channels_last=False)]
    plain = [Execution("float32", channels_last=False), Execution("float32", channels_last=True)]
    return [*plain, Execution("bfloat16", channels_last=True)] if _has_bfloat16() else plain


def _fastest(plan: Plan, candidates: list[Execution]) -> Execution:
    if len(candidates) == 1 and torch.get_num_threads() == 1:
        return dataclasses.replace(candidates[0], threads=1)
    seconds = {candidate: _seconds_per_image(plan, candidate) for candidate in candidates}
    best = min(candidates, key=lambda candidate: seconds[candidate])
    plain = seconds[candidates[0]]
    if len(candidates) > 1:
        tried = ", ".join(f"{candidate} {plain / seconds[candidate]:.2f}x" for candidate in candidates)
        log.info("precision: tried %s", tried)
    if plain / seconds[best] < _WORTH_IT:
        best = candidates[0]
    return dataclasses.replace(best, threads=_share_of_threads(plan, seconds[best]))


def _share_of_threads(plan: Plan, seconds: float) -> int:
    """Divide the cores between computing and reading, by the work that each has with one image.

    Threads that wait for a core which a reading process has taken keep all others waiting: with a small
    network and a neighbour on the machine, one thread trains three times as fast as two.
    """
    threads = torch.get_num_threads()
    computing, reading = threads * seconds, _seconds_to_read(plan)
    return min(max(1, round(threads * computing / (computing + reading))), threads)


def _seconds_to_read(plan: Plan) -> float:
    """Time the reading of one training picture, decoding and transforms, in this process."""
    if plan.spec.spec.data.num_workers == 0:
        return 0.0  # then it is done between the steps, and takes no core away
    reader = Reader(plan.data.train, plan.train_transforms, plan.spec.spec.seed)
    count = min(_TIMED_PICTURES, len(reader))
    reader[Draw(0, 0)]  # the first one also pays for imports
    started = time.perf_counter()
    for index in range(count):
        reader[Draw(0, index)]
    return (time.perf_counter() - started) / count


def _seconds_per_image(plan: Plan, execution: Execution) -> float:
    """Time the fastest of a few steps, forward and backward, on a copy of the model."""
    device = torch.device("cpu")
    model: Classifier = copy.deepcopy(plan.model).to(memory_format=execution.memory_format).train()
    batch = min(plan.spec.spec.data.batch_size, len(plan.data.train), _MAX_BATCH)
    images = torch.zeros(batch, *plan.blueprint.image_shape, dtype=torch.uint8)
    images = images.to(memory_format=execution.memory_format)
    times: list[float] = []
    while len(times) <= _TIMED_STEPS and not (len(times) > 1 and sum(times) > _ENOUGH_SECONDS):
        started = time.perf_counter()
        with execution.autocast(device):
            outputs: Outputs = model(images)
        logits = outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs))
        torch.autograd.backward(logits.float().square().mean())
        times.append(time.perf_counter() - started)
        model.zero_grad()
    return min(times[1:]) / batch  # the first step also pays for memory and kernels


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
        plan.spec.spec.data.num_workers,
        plan.spec.spec.train.precision,
        plan.spec.values["transforms"],
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
    return cache_directory() / "execution.json"


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
    except (OSError, WriteError):
        log.info("note: %s cannot be written, so the next run tries again", _cache_file())
