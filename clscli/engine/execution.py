"""Choose precision, memory layout, number of threads and compilation by trying them.

No setting is the fastest for every model on every CPU: bfloat16 with channels last trains a ResNet-18 almost
three times as fast as float32 on one processor, and a MobileNetV3 no faster. So a few real steps decide. The
choice is stored in the run's checkpoints, and cached, so that the same spec on the same machine gives the same
numbers again.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

import torch

from clscli.data.order import Draw
from clscli.data.reader import Reader
from clscli.engine.compilation import is_worth_compiling
from clscli.engine.device import Execution
from clscli.engine.distributed import ALONE, World
from clscli.engine.measured import facts_of, measured_once
from clscli.engine.pixel_caches import open_private_cache
from clscli.engine.prepare import Plan
from clscli.engine.trial import Trial, take_turns

log = logging.getLogger("clscli")

# Another precision must be worth its lost digits; noise in a short trial must not decide.
_WORTH_IT = 1.15
_MAX_BATCH = 32
_TIMED_PICTURES = 16


def choose_execution(plan: Plan, device: torch.device, world: World = ALONE) -> Execution:
    """Choose how to compute training steps; what the spec sets is never changed.

    Of several processes, the first one tries for all. They compile only when the spec says so: a trial in one
    process does not tell what compiling saves when gradients are exchanged.
    """
    if world.size == 1:
        return _choose(plan, device, compiled=None)
    compiled = plan.spec.spec.train.compile is True
    found = world.compute_on_main(lambda: dataclasses.asdict(_choose(plan, device, compiled)))
    return Execution(**found)


def _choose(plan: Plan, device: torch.device, compiled: bool | None) -> Execution:
    if device.type == "cpu":
        facts = ["execution", *facts_of(plan, device)]
        found = measured_once(facts, lambda: _fastest(plan, _candidates(plan.spec.spec.train.precision)))
        execution = Execution(**found)
    else:
        execution = known_execution(plan, device)
    if compiled is None:
        compiled = is_worth_compiling(plan, execution, device)
    return dataclasses.replace(execution, compiled=compiled)


def known_execution(plan: Plan, device: torch.device) -> Execution:
    """Choose without a trial, by what is known of a kind of device.

    Tensor cores multiply 16-bit numbers many times as fast as float32 ones, and convolve them in channels-last
    order (NVIDIA, "Convolutional Layers User's Guide"); bfloat16 needs no gradient scaling, but Ampere or later.
    """
    wanted = plan.spec.spec.train.precision
    if device.type != "cuda":
        return Execution("float32" if wanted == "auto" else wanted, channels_last=False)
    auto = "bfloat16" if torch.cuda.is_bf16_supported(False) else "float16"
    precision = auto if wanted == "auto" else wanted
    return Execution(precision, channels_last=precision != "float32")


def _candidates(wanted: str) -> list[Execution]:
    """List what may be chosen on a CPU, what is preferred first."""
    if wanted != "auto":
        return [Execution(wanted, channels_last=False)]
    plain = [Execution("float32", channels_last=False), Execution("float32", channels_last=True)]
    return [*plain, Execution("bfloat16", channels_last=True)] if _has_bfloat16() else plain


def _fastest(plan: Plan, candidates: list[Execution]) -> dict[str, Any]:
    """Try the candidates on the CPU; return the fields of the best."""
    if len(candidates) == 1 and torch.get_num_threads() == 1:
        return dataclasses.asdict(dataclasses.replace(candidates[0], threads=1))
    seconds = _seconds_per_image(plan, candidates)
    best = min(candidates, key=lambda candidate: seconds[candidate])
    plain = seconds[candidates[0]]
    if len(candidates) > 1:
        tried = ", ".join(f"{candidate} {plain / seconds[candidate]:.2f}x" for candidate in candidates)
        log.info("precision: tried %s", tried)
    if plain / seconds[best] < _WORTH_IT:
        best = candidates[0]
    threads = _share_of_threads(plan, seconds[best])
    if threads > 1:
        # Threads that wait for a core which another process has taken keep all others waiting: with a small
        # network and a neighbour on the machine, one thread trains three times as fast as two, or more.
        alone = dataclasses.replace(best, threads=1)
        with alone.limit_threads():
            if _seconds_per_image(plan, [best])[best] < _WORTH_IT * seconds[best]:
                threads = 1
    return dataclasses.asdict(dataclasses.replace(best, threads=threads))


def _seconds_per_image(plan: Plan, candidates: list[Execution]) -> dict[Execution, float]:
    batch_size = min(plan.spec.spec.data.images_per_batch, len(plan.data.train), _MAX_BATCH)
    trials = [Trial.of(plan, candidate, torch.device("cpu")) for candidate in candidates]
    return dict(zip(candidates, take_turns(trials, batch_size), strict=True))


def _share_of_threads(plan: Plan, seconds: float) -> int:
    """Divide the cores between computing and reading, by the work that each has with one image."""
    threads = torch.get_num_threads()
    computing, reading = threads * seconds, _seconds_to_read(plan)
    return min(max(1, round(threads * computing / (computing + reading))), threads)


def _seconds_to_read(plan: Plan) -> float:
    """Time the reading of one training picture, decoding and transforms, in this process."""
    spec = plan.spec.spec
    if spec.data.num_workers == 0 or spec.data.cache == "device":
        return 0.0  # then it is done between the steps, and takes no core away
    count = min(_TIMED_PICTURES, len(plan.data.train))
    cache = open_private_cache(plan, count) if spec.data.cache in ("memory", "disk") else None
    reader = Reader(plan.data.train, plan.train_transforms, spec.seed, spec.data.scaled_decode, cache)
    for index in range(1 if cache is None else count):  # the first one also pays for imports, or all for decoding
        reader[Draw(0, index)]
    started = time.perf_counter()
    for index in range(count):
        reader[Draw(0, index)]
    return (time.perf_counter() - started) / count


def _has_bfloat16() -> bool:
    """Tell whether this CPU computes in bfloat16 itself; emulated, it is slower than float32."""
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, lambda: False)() for name in names)
