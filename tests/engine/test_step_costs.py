"""What a step may cost besides its arithmetic: no waiting for the device, no memory that is never given back."""

from __future__ import annotations

import gc

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from clscli.engine.loop import run_epochs
from clscli.engine.prepare import prepare
from clscli.engine.session import new_session
from clscli.observer import Observer
from clscli.spec import load_spec

CPU = torch.device("cpu")
# Operators that give Python a number, or a tensor whose shape depends on one: on a GPU they wait for it.
WAITING = ("_local_scalar_dense", "nonzero", "masked_select", "is_nonzero", "equal")


class CountsWaiting(TorchDispatchMode):
    """Count the operators that make Python wait for a device."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += function.overloadpacket.__name__ in WAITING
        return function(*args, **(kwargs or {}))


def test_waiting_is_counted():
    with CountsWaiting() as counter:
        torch.ones(3).sum().item()
        torch.ones(3).sum()
        bool(torch.ones(1) > 0)
    assert counter.count == 2


def waiting_in_an_epoch(spec, batch_size):
    session = new_session(prepare(load_spec(spec, sets=[f"data.batch_size={batch_size}"])), CPU)
    with CountsWaiting() as counter:
        (result,) = run_epochs(session, Observer())
    assert result.step == 24 // batch_size
    return counter.count


@pytest.mark.parametrize("extra", [{}, {"clip_grad_norm": 1.0, "clip_grad_value": 0.5}, {"precision": "bfloat16"}])
def test_no_step_waits_for_the_device(tiny, extra):
    # Not AdamW: torch counts its steps in tensors on the CPU, whose numbers are there at once.
    tiny["optimizer"] = {"type": "sgd", "lr": 0.01}
    tiny["train"] |= {"epochs": 1, **extra}
    assert waiting_in_an_epoch(tiny, 2) == waiting_in_an_epoch(tiny, 12)


def test_memory_is_flat_over_epochs(tiny):
    tiny["train"]["epochs"] = 12
    counts = []
    for _ in run_epochs(new_session(prepare(load_spec(tiny)), CPU), Observer()):
        gc.collect()
        counts.append(sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects()))
    assert len(set(counts[2:])) == 1
