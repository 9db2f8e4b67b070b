"""Runs that stop on purpose, their metrics, and a state without a run."""

import json

import pytest
import torch
from torch import nn

from clscli import train
from clscli.engine.hooks import HookState
from clscli.errors import Interrupted
from clscli.observer import Observer

TIMED = ("seconds", "images_per_second", "data_wait")


class _StopAfter(Observer):
    """Interrupt the training after some batches, as Ctrl-C would."""

    def __init__(self, batches):
        self.batches = batches

    def begin(self, what, total, unit="images"):
        self.is_training = what.startswith("epoch")
        self.is_first = True

    def tick(self, amount):
        # The first tick of an epoch only tells how far it is.
        if self.is_training and not self.is_first:
            self.batches -= 1
            if not self.batches:
                raise Interrupted("the test")
        self.is_first = False


def stop_after(batches, spec, out):
    """Begin a run and interrupt it after some batches."""
    with pytest.raises(Interrupted):
        train(spec, out=out, device="cpu", observer=_StopAfter(batches))


def rows(run):
    """Return the epochs of a run, without what depends on the clock."""
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


def state_of_small_model(run):
    """Return a state as hooks see it before the first step, of a model with batch norm."""
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    return HookState(model, optimizer, torch.device("cpu"), run, epochs=3)
