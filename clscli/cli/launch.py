"""`--devices N`: the same command in N processes, started by torch's own launcher, the one that torchrun is."""

from __future__ import annotations

import logging
import os
import signal
import sys
import uuid
from typing import TypeGuard

import typer

from clscli.errors import TrainingError, UsageError


def is_silent() -> bool:
    """Tell whether a launcher has started this process beside another one, which does the speaking."""
    return "WORLD_SIZE" in os.environ and os.environ.get("RANK", "0") != "0"


def wants_launch(devices: int | None) -> TypeGuard[int]:
    """Tell whether processes are still to be started. Raises UsageError when torchrun has started other ones."""
    if devices is None or "WORLD_SIZE" not in os.environ:
        return devices is not None and devices > 1
    if os.environ["WORLD_SIZE"] != str(devices):
        started = os.environ["WORLD_SIZE"]
        raise UsageError(f"--devices {devices}: a launcher has started {started} processes -- remove --devices")
    return False


def launch(devices: int, device: str) -> None:
    """Run this command in so many processes; end with the exit code of the one that failed, if any.

    Raises UsageError when there are fewer GPUs, TrainingError when the system ended a process.
    """
    import torch

    available = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device not in ("auto", "cuda", "cpu"):
        raise UsageError(f"--devices {devices}: each process takes a GPU of its own -- remove --device {device}")
    if devices > available and device != "cpu" and (available or device == "cuda"):
        raise UsageError(f"--devices {devices}: there are {available} CUDA devices here")
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    _quieten()
    # Each process would take all cores for itself.
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, torch.get_num_threads() // devices)))
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=devices,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "clscli", *sys.argv[1:])
    except SignalException:
        raise typer.Exit(130) from None  # process 0 has said what was saved
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        # SIGTERM is what the launcher ends the others with.
        killed = {rank: -code for rank, code in codes.items() if code < 0 and -code != signal.SIGTERM}
        for rank, number in killed.items():
            name = signal.Signals(number).name
            raise TrainingError(
                f"process {rank} of {devices} was ended by {name}, and the others with it "
                "-- go on from the last checkpoint: clscli train --resume RUN"
            ) from None
        raise typer.Exit(max([*codes.values(), 1])) from None


def _quieten() -> None:
    """Keep the launcher's own reports to itself: a process that fails says why."""
    for name in list(logging.Logger.manager.loggerDict):
        if name.startswith("torch.distributed.elastic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
