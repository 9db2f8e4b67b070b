"""Compile the model where that pays: it takes a minute for each size of batch, and saves some of each step."""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Any

import torch

from clscli.data.order import num_batches
from clscli.engine.device import Execution
from clscli.engine.measured import facts_of, measured_once
from clscli.engine.prepare import Plan
from clscli.engine.trial import Forward, Trial
from clscli.errors import TrainingError, describe

log = logging.getLogger("clscli")

# Trying takes a minute or two: of shorter runs, a trial that finds nothing would take more than a few percent.
_LONG_RUN_SECONDS = 3600.0
# Not even timed below: an hour for these is the speed of a ViT-B/16 in float32 on two cores.
_FEWEST_IMAGES = 5000
# A saving must be more than the noise of its measurement, and than what compiling costs each time it is resumed.
_WORTH_IT = 1.1
_TIMES_ITS_COST = 2.0


def is_worth_compiling(plan: Plan, execution: Execution, device: torch.device) -> bool:
    """Do as the spec says; under "auto", find out by trying whether a long run is shorter when compiled."""
    wanted = plan.spec.spec.train.compile
    if wanted != "auto":
        return wanted
    images = len(plan.sampler) * plan.spec.spec.train.epochs
    if device.type not in ("cpu", "cuda") or images < _FEWEST_IMAGES:
        return False
    facts = [*facts_of(plan, device), dataclasses.astuple(execution)]
    try:
        estimate = measured_once(["step", *facts], lambda: _time_steps(plan, execution, device))
        if estimate["plain"] * images < _LONG_RUN_SECONDS:
            return False
        tried = measured_once(["compiled step", *facts], lambda: _try_compiling(plan, execution, device))
    except Exception as error:  # whatever a compiler, or code that it cannot compile, may raise
        log.info("note: the model is not compiled: %s", _cause(error))
        return False
    plain, compiled, cost = tried["plain"], tried["compiled"], tried["compiling"]
    log.info("compiling: takes %.0f s, and steps are then %.2fx as fast", cost, plain / compiled)
    return bool(plain / compiled >= _WORTH_IT and (plain - compiled) * images > _TIMES_ITS_COST * cost)


def compile_now(plan: Plan, execution: Execution, device: torch.device) -> Execution:
    """Compile the model, if it is to be, for all its batches, so that no step of the run can fail for that.

    The compiled code is kept by torch for all models of the same code and shapes, not for this one. Raises
    TrainingError when `train.compile = true` cannot be done; under "auto" the run then does without.
    """
    if not execution.compiled:
        return execution
    sizes = _batch_sizes(plan)
    log.info("compiling the model for batches of %s pictures", " and ".join(map(str, sizes)))
    try:
        with execution.limit_threads():
            trial = Trial.of(plan, execution, device)
            _compile(trial, sizes)
    except Exception as error:
        if plan.spec.spec.train.compile is True:
            raise TrainingError(
                f"train.compile = true: the model cannot be compiled here: {_cause(error)} "
                '-- write false, or "auto", which compiles only what can be compiled'
            ) from error
        log.info("note: the model is not compiled: %s", _cause(error))
        return dataclasses.replace(execution, compiled=False)
    return execution


def _time_steps(plan: Plan, execution: Execution, device: torch.device) -> dict[str, Any]:
    """Time training steps as they are, in seconds for each image."""
    with execution.limit_threads():
        trial = Trial.of(plan, execution, device)
        return {"plain": trial.seconds_per_image(_batch_sizes(plan)[-1])}


def _try_compiling(plan: Plan, execution: Execution, device: torch.device) -> dict[str, Any]:
    """Time steps as they are and compiled, next to each other, and the compiling."""
    sizes = _batch_sizes(plan)
    log.info("compiling: trying it, as this run is long")
    with execution.limit_threads():  # the compiled code is for one number of threads
        trial = Trial.of(plan, dataclasses.replace(execution, compiled=True), device)
        plain = trial.seconds_per_image(sizes[-1])
        started = time.perf_counter()
        forward = _compile(trial, sizes)
        compiling = time.perf_counter() - started
        return {"plain": plain, "compiled": trial.seconds_per_image(sizes[-1], forward), "compiling": compiling}


def _compile(trial: Trial, sizes: list[int]) -> Forward:
    """Have the model compiled, which torch does at the first step with each size."""
    forward = trial.execution.forward(trial.model)
    for size in sizes:
        trial.step(size, forward)
    return forward


def _batch_sizes(plan: Plan) -> list[int]:
    """Return the sizes that training batches have: one, or two that differ by one picture."""
    pictures = len(plan.sampler)
    batches = num_batches(pictures, plan.spec.spec.data.images_per_batch)
    return sorted({pictures // batches, -(-pictures // batches)})


def _cause(error: Exception) -> str:
    """Name what went wrong on one line, without the advice to developers that fills torch's messages."""
    inner = getattr(error, "inner_exception", error)  # what the backend of the compiler raised
    lines = [line.strip() for line in str(inner).splitlines() if line.strip()]
    return lines[0] if lines else describe(inner)
