"""How many pictures fit into memory: `data.batch_size = "auto"`, and what to say when they do not."""

from __future__ import annotations

import dataclasses
import gc
import logging
import traceback
from collections.abc import Callable

import torch

from clscli.data.pipeline import output_shape
from clscli.engine.distributed import ALONE, World
from clscli.engine.execution import known_execution
from clscli.engine.prepare import Plan
from clscli.engine.session import Session
from clscli.engine.trial import Trial
from clscli.machine import available_memory

log = logging.getLogger("clscli")

# Beyond these a batch makes an image hardly cheaper, but takes steps away from training.
_LARGEST = {"cuda": 1024, "cpu": 256}
_STEPS_PER_EPOCH = 10  # at least, also of a small data set
_SMALL = 8  # with fewer pictures batch norm suffers (Wu and He, "Group Normalization", 2018, figure 1)

# A trial has neither the loss and its targets, nor a memory that a thousand steps have left in pieces.
_CUDA_MARGIN = 1.25
# Of what is free: gradients of what was kept come on top, and other processes go on.
_CPU_SHARE = 0.5


def settle_batch_size(plan: Plan, device: torch.device, world: World = ALONE) -> Plan:
    """Replace `data.batch_size = "auto"` by the largest power of two that fits, within reason."""
    if plan.spec.spec.data.batch_size != "auto":
        return plan
    if world.size > 1 and plan.spec.spec.train.strategy == "fsdp":
        with world.together():
            message = '"auto" tries the whole model on one device, which train.strategy = "fsdp" avoids'
            raise plan.spec.error(("data", "batch_size"), f"{message} -- write a number")
    size = world.compute_on_main(lambda: _find_batch_size(plan, device, world))
    return dataclasses.replace(plan, spec=plan.spec.settled("data", "batch_size", size))


def _find_batch_size(plan: Plan, device: torch.device, world: World) -> int:
    pictures = max(1, len(plan.data.train) // world.size)  # for each process
    limit = min(_LARGEST.get(device.type, _LARGEST["cpu"]), max(_SMALL, pictures // _STEPS_PER_EPOCH), pictures)
    trial = Trial.of(plan, known_execution(plan, device), device)
    size = largest_that_fits(
        _fits_cuda(trial) if device.type == "cuda" else _fits_cpu(trial, world.local_size), limit
    )
    reason = "more may not fit into memory" if size * 2 <= limit else f"enough for {pictures} training pictures"
    log.info('batch size: %d, chosen by "auto": %s', size, reason)
    return size


def largest_that_fits(fits: Callable[[int], bool], limit: int) -> int:
    """Double from one up to `limit`, as long as it fits."""
    size = 1
    while size * 2 <= limit and fits(size * 2):
        size *= 2
    return size


def _fits_cuda(trial: Trial) -> Callable[[int], bool]:
    """Try steps, with room for what an optimizer of the Adam family keeps: two numbers for each parameter."""
    state = 2 * sum(p.numel() * p.element_size() for p in trial.model.parameters())
    return lambda size: _can_step(trial, int(size * _CUDA_MARGIN), room=state)


def _fits_cpu(trial: Trial, processes: int = 1) -> Callable[[int], bool]:
    """Estimate: a CPU has no error for too much, the system ends the process."""
    available, per_image = available_memory() // processes, trial.bytes_per_image()
    return lambda size: size * per_image <= available * _CPU_SHARE


def _can_step(trial: Trial, batch_size: int, room: int = 0) -> bool:
    """Try a step that leaves `room` bytes free, and tidy up."""
    try:
        taken = torch.empty(room, dtype=torch.uint8, device=trial.device)
        trial.step(batch_size)
        del taken  # only now
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        release(error)
        trial.model.zero_grad(set_to_none=True)
        return False
    finally:
        if trial.device.type == "cuda":
            torch.cuda.empty_cache()
    return True


# CUDA has a class for it; the CPU's allocator, MPS, and libraries that ask for workspace on a full GPU do not.
_SIGNS = ("DefaultCPUAllocator", "not enough memory", "out of memory", "STATUS_ALLOC_FAILED")


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an exception of torch's says that there is no memory left."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(sign in str(error) for sign in _SIGNS)


def release(error: BaseException) -> None:
    """Let go of the activations that the frames of a failed step still hold."""
    traceback.clear_frames(error.__traceback__)
    gc.collect()


def explain_out_of_memory(plan: Plan, session: Session) -> str:
    """Say which batch would fit, found by trying on what is left of the run, and what else takes less memory."""
    session.optimizer.zero_grad(set_to_none=True)
    if session.device.type == "cuda":
        torch.cuda.empty_cache()
    data, settings = plan.spec.spec.data, plan.spec.spec.train
    shape = output_shape(plan.train_transforms, plan.data.train)
    trial = Trial(session.model.train(), session.execution, session.device, shape)
    size = min(data.images_per_batch, len(plan.data.train))
    failed = f"no memory left on {session.device} for batches of {size} pictures"
    advice = _savings(plan, session)
    if session.sharding is not None:  # a step takes all processes, and the others are in the middle of one
        return f"{failed} -- write a smaller data.batch_size, or {' or '.join(advice)}"
    fitting = next((half for half in _halves(size) if _can_step(trial, half)), None)
    if fitting is None:
        return f"{failed}, nor for any smaller batch -- take a smaller model, or {' or '.join(advice)}"
    groups = settings.accumulation_steps * -(-size // fitting)
    return (
        f"{failed}, but for {fitting}: write data.batch_size = {fitting}, "
        f"with train.accumulation_steps = {groups} to take the same steps; or {' or '.join(advice)}"
    )


def _halves(size: int) -> list[int]:
    """List the powers of two below `size`, down to 2: batch norm over maps of one pixel refuses one picture."""
    return [1 << bits for bits in range((size - 1).bit_length() - 1, 0, -1)]


def _savings(plan: Plan, session: Session) -> list[str]:
    """Name the settings of this run that could take less memory."""
    backbone = plan.spec.one("model", "backbone")
    savings = []
    if backbone.has_parameter("gradient_checkpointing") and not backbone.kwargs.get("gradient_checkpointing"):
        savings.append("model.backbone.gradient_checkpointing = true")
    if session.execution.precision == "float32":
        savings.append('train.precision = "bfloat16"')
    return [*savings, "smaller pictures"]
