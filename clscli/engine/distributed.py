"""Several processes that train one model: torch.distributed, and what has to be agreed between them.

Each process computes a slice of every batch, and takes every decision that process 0 takes: a run whose
processes disagree about the next step waits for ever. What is agreed goes over the CPU, as JSON or single
numbers, so that no GPU is waited for; gradients go over NCCL on CUDA, else over gloo.
"""

from __future__ import annotations

import functools
import gc
import itertools
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from clscli.engine.device import choose_device
from clscli.errors import ClscliError, EndedElsewhere, TrainingError, UsageError

log = logging.getLogger("clscli")

# For what one process does while the others wait: a download, a trial, a slow disk. A process that has ended is
# noticed at once, by its connections; this is for one that hangs.
_PATIENCE = timedelta(minutes=30)

_groups = itertools.count()


@dataclass(frozen=True)
class World:
    """The processes of a run, as one of them sees them; by default it is alone, and nothing here does anything."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0  # among those on this machine
    local_size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes and speaks."""
        return self.rank == 0

    def sum(self, number: int) -> int:
        """Add up a number over all processes."""
        return self._reduced(number, dist.ReduceOp.SUM)

    def max(self, number: int) -> int:
        """Return the largest of the numbers that the processes have."""
        return self._reduced(number, dist.ReduceOp.MAX)

    def _reduced(self, number: int, how: Any) -> int:
        if self.size == 1:
            return number
        tensor = torch.tensor(number)
        dist.all_reduce(tensor, how)
        return int(tensor)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes; the tensor itself stays as it is."""
        if self.size == 1:
            return tensor
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    def gather_rows(self, tensor: Tensor) -> Tensor:
        """Return the rows that all processes have of a tensor on the CPU, in their order."""
        if self.size == 1:
            return tensor
        parts = []
        for rank, count in enumerate(self.gather(len(tensor))):
            part = tensor.contiguous() if rank == self.rank else tensor.new_empty(count, *tensor.shape[1:])
            if count:
                dist.broadcast(part, rank)
            parts.append(part)
        return torch.cat(parts)

    def from_main(self, value: Any) -> Any:
        """Return process 0's value, a plain one, which comes out as JSON has it."""
        return value if self.size == 1 else self._sent(value, source=0)

    def gather(self, value: Any) -> list[Any]:
        """Return the plain values of all processes, in their order."""
        return [value] if self.size == 1 else [self._sent(value, rank) for rank in range(self.size)]

    def _sent(self, value: Any, source: int) -> Any:
        data = json.dumps(value).encode() if self.rank == source and value is not None else b""
        length = torch.tensor(len(data))
        dist.broadcast(length, source)
        if not length:
            return None
        content = torch.tensor(list(data) or [0] * int(length), dtype=torch.uint8)
        dist.broadcast(content, source)
        return json.loads(bytes(content.tolist()))

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.sum(0)

    @contextmanager
    def together(self) -> Iterator[None]:
        """End all processes when what is done in here fails in one; only the first that failed says why.

        Nothing in here may wait for other processes after it may have failed in some.
        """
        if self.size == 1:
            yield
            return
        error: ClscliError | None = None
        try:
            yield
        except ClscliError as raised:
            error = raised
        own = error is not None and not isinstance(error, EndedElsewhere)
        failed = self.gather(own)
        if any(failed):
            if error is not None and failed.index(True) == self.rank:
                raise error
            raise EndedElsewhere

    def one_after_another(self, compute: Callable[[], Any]) -> Any:
        """Return what each process computes; the first of each machine goes first, and fills the caches."""
        result = None
        for is_turn_of_first in (True, False):
            with self.together():
                if (self.local_rank == 0) is is_turn_of_first:
                    result = compute()
        return result

    def compute_on_main(self, compute: Callable[[], Any]) -> Any:
        """Return what process 0 computes, a plain value; the others wait for it."""
        value = None
        with self.together():
            if self.is_main:
                value = compute()
        return self.from_main(value)

    def share_buffers(self, model: nn.Module) -> None:
        """Give all processes process 0's buffers, such as the statistics of batch norm, which saw its slices."""
        if self.size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def replicate(self, model: nn.Module) -> nn.Module:
        """Return a model whose backward pass ends with the mean of the gradient over all processes."""
        return model if self.size == 1 else DistributedDataParallel(model)

    def without_reduction(self, replica: nn.Module) -> AbstractContextManager[None]:
        """While entered, gradients stay with each process, to be reduced with those of the next batch."""
        if isinstance(replica, DistributedDataParallel):
            context: AbstractContextManager[None] = replica.no_sync()
            return context
        return nullcontext()


ALONE = World()


def own_part(tensor: Tensor) -> Tensor:
    """Return this process's part of a tensor that is divided between processes; any other as it is."""
    to_local = getattr(tensor, "to_local", None)  # of torch's DTensor, whose import takes half a second
    return to_local() if callable(to_local) else tensor


def whole(tensor: Tensor) -> Tensor:
    """Return what processes have parts of as one tensor, in all of them; any other tensor as it is."""
    full_tensor = getattr(tensor, "full_tensor", None)
    return full_tensor() if callable(full_tensor) else tensor


def synchronize_batch_norm(model: nn.Module, device: torch.device) -> None:
    """Let batch norm compute its statistics over the slices of all processes. Raises TrainingError."""
    if device.type != "cuda":
        raise TrainingError(
            f"train.sync_batch_norm: torch has it for CUDA alone, and this run computes on {device.type} "
            "-- set it to false"
        )
    plain = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
    for name, module in model.named_modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and type(module) not in plain:
            raise TrainingError(
                f"train.sync_batch_norm: {name} is a {type(module).__name__}, which torch cannot convert "
                "-- set it to false"
            )
    nn.SyncBatchNorm.convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]


def processes_started(environment: Mapping[str, str] = os.environ) -> int:
    """Return how many processes a launcher such as torchrun has started, this one among them; 1 without one."""
    names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    return int(environment["WORLD_SIZE"]) if all(name in environment for name in names) else 1


@contextmanager
def join(device: str) -> Iterator[tuple[World, torch.device]]:
    """While entered, be one of the processes that a launcher has started, with a device of its own.

    Only process 0 logs, and of several that fail the first one says why. Raises UsageError for a device that not
    all of them can have, and TrainingError when another process ends without having said so.
    """
    size = processes_started()
    if size == 1:
        yield ALONE, choose_device(device)
        return
    world = World(
        int(os.environ["RANK"]),
        size,
        int(os.environ.get("LOCAL_RANK", "0")),
        int(os.environ.get("LOCAL_WORLD_SIZE", "1")),
    )
    was_disabled = log.disabled
    log.disabled = was_disabled or not world.is_main
    # Each group under names of its own: those of an earlier run in these processes are still in the store.
    names = f"clscli-{next(_groups)}"
    store = dist.PrefixStore(names, _store())  # type: ignore[attr-defined]
    backend = "cpu:gloo,cuda:nccl" if _has_nccl() else "gloo"
    dist.init_process_group(backend, store=store, rank=world.rank, world_size=size, timeout=_PATIENCE)
    has_failed = True
    try:
        with world.together():
            chosen = _own_device(device, world)
        yield world, chosen
        has_failed = False
    except ClscliError as error:
        if isinstance(error, EndedElsewhere) or _is_first_to_fail(store):
            raise
        raise EndedElsewhere(error.exit_code) from None
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        raise ended_elsewhere(world, "another process of the run has ended") from None
    finally:
        if not (has_failed and _has_nccl()):  # NCCL would wait for processes that may not answer any more
            gc.collect()  # a group that is still in use when Python ends takes the process down with it
            dist.destroy_process_group()
        log.disabled = was_disabled


@functools.cache
def _store() -> Any:
    """Connect to where the processes find each other, as the launcher's environment says."""
    store = next(rendezvous("env://", timeout=_PATIENCE))[0]
    return store


def _is_first_to_fail(store: Any) -> bool:
    """Tell whether no other process has failed before this one: the reason is said once, not by each of them."""
    try:
        return bool(store.add("failed", 1) == 1)
    except RuntimeError:  # the process that holds the store is gone
        return True


def _has_nccl() -> bool:
    return torch.cuda.is_available() and dist.is_nccl_available()


def _own_device(name: str, world: World) -> torch.device:
    """Choose one GPU for each process of a machine, or the CPU for all of them."""
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return choose_device("cpu")
    if name not in ("auto", "cuda"):
        raise UsageError(f"--device {name}: {world.size} processes need one GPU each -- write auto, cuda or cpu")
    device = choose_device(f"cuda:{world.local_rank}")
    torch.cuda.set_device(device)
    return device


def is_lost_connection(error: BaseException) -> bool:
    """Tell whether torch says that another process does not answer any more; gloo has no class for that."""
    signs = ("Connection closed by peer", "Connection reset by peer", "Broken pipe", "gloo")
    return isinstance(error, dist.DistError) or any(sign in str(error) for sign in signs)


def ended_elsewhere(world: World, message: str) -> ClscliError:
    """Return what to raise when another process has ended: process 0 speaks for those that are left."""
    return TrainingError(message) if world.is_main else EndedElsewhere(1)
