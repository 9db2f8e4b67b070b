"""The hook `time_limit`: the run ends in time, and goes on as if it had not."""

import time

import pytest
import torch

from clscli import resume, train
from clscli.engine.checkpoint import load_checkpoint
from clscli.errors import Interrupted


@pytest.fixture
def clock(plugin):
    """Install the hook `tick`, for which every step takes a minute: `monotonic` is a clock of its own."""
    plugin(
        "hooks",
        tick="ticking:Tick",
        ticking="""
        minutes = 0

        class Tick:
            def on_step_end(self, state):
                global minutes
                minutes += 1
        """,
    )


@pytest.fixture
def slow_steps(clock, monkeypatch):
    """Let every step take a minute."""
    import ticking

    real = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: real() + 60 * ticking.minutes)


def test_the_run_stops_in_time_and_goes_on(tiny, tmp_path, slow_steps):
    train(tiny, out=tmp_path / "straight", device="cpu")
    run = tmp_path / "limited"
    tiny["hooks"] = [{"type": "time_limit", "minutes": 4}, {"type": "tick"}]
    with pytest.raises(Interrupted) as stopped:
        train(tiny, out=run, device="cpu")
    assert str(stopped.value) == (
        f"interrupted (time limit of 4 minutes) in epoch 2, saved {run}/last.pth "
        f"-- go on with: clscli train --resume {run}"
    )
    assert load_checkpoint(run / "last.pth").training["progress"]["step"] == 4

    with pytest.raises(Interrupted, match="in epoch 3"):
        resume(run, device="cpu")  # the whole time again: steps 5 to 8
    assert load_checkpoint(run / "last.pth").training["progress"]["step"] == 8
    assert resume(run, device="cpu").last["epoch"] == 3
    straight, limited = (load_checkpoint(tmp_path / r / "last.pth").weights for r in ("straight", "limited"))
    assert all(torch.equal(straight[name], limited[name]) for name in straight)


def test_the_command_ends_with_the_code_of_an_interrupt(clscli, tiny_file, slow_steps):
    hooks = "hooks=[{type='time_limit',minutes=2},{type='tick'}]"
    done = clscli("train", tiny_file, "--set", hooks, "--out", "run", "--device", "cpu")
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith("interrupted (time limit of 2 minutes) in epoch 1")


def test_no_time_is_refused(clscli, tiny_file):
    done = clscli("train", tiny_file, "--set", "hooks=[{type='time_limit',minutes=0.0}]")
    assert done.code == 2
    assert "hooks.0.minutes: must be greater than 0" in done.err
