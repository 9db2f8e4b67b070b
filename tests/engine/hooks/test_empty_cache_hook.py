"""The hook `empty_cache`: memory is given back after the epochs it is asked for."""

import gc
import weakref

import pytest
import torch
from hook_runs import state_of_small_model

from clscli.engine.hooks.empty_cache import EmptyCache


class Cycle:
    """An object that only the garbage collector frees."""

    def __init__(self):
        self.itself = self


@pytest.fixture(autouse=True)
def _no_collector():
    gc.disable()
    yield
    gc.enable()


def test_every_second_epoch_is_tidied_up_after(tmp_path):
    state = state_of_small_model(tmp_path)
    hook = EmptyCache(every=2)
    left = weakref.ref(Cycle())
    hook.on_epoch_end(state)
    assert left() is not None
    state.epoch = 1
    hook.on_epoch_end(state)
    assert left() is None


def test_the_gpu_gets_its_memory_back(tmp_path, monkeypatch):
    state = state_of_small_model(tmp_path)
    emptied = []
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: emptied.append("cuda"))
    monkeypatch.setattr(torch.mps, "empty_cache", lambda: emptied.append("mps"))
    for device in ("cpu", "cuda", "mps"):
        state.device = torch.device(device)
        EmptyCache().on_epoch_end(state)
    assert emptied == ["cuda", "mps"]
