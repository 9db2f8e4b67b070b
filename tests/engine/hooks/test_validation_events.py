"""What hooks see of a validation: metrics of the weights as they are, in the middle of an epoch as at its end."""

import math

import pytest
import torch
from hook_runs import rows, stop_after

from clscli import resume, train
from clscli.engine.hooks import HookState
from clscli.engine.hooks.early_stopping import EarlyStopping
from clscli.engine.schedules.plateau import ReduceOnPlateau

RECORDING = """
EVENTS = []

class Record:
    def note(self, event, state):
        EVENTS.append((event, state.step, state.validated, state.metrics.get("loss"), state.train_loss))
    def on_epoch_start(self, state): self.note("epoch_start", state)
    def on_step_end(self, state): self.note("step", state)
    def on_validation_end(self, state): self.note("validation", state)
    def on_epoch_end(self, state): self.note("epoch_end", state)
"""


@pytest.fixture
def recorded(plugin):
    """Install the hook `record`; return the events that it has seen."""
    plugin("hooks", record="recording:Record", recording=RECORDING)
    from recording import EVENTS

    return EVENTS


def test_metrics_are_of_the_weights_as_they_are(recorded, tiny, tmp_path):
    tiny["train"] |= {"epochs": 2, "val_every_steps": 2}  # of three an epoch
    tiny["hooks"] = [{"type": "record"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    assert [(event, step, validated) for event, step, validated, *_ in recorded] == [
        *[("epoch_start", 0, False), ("step", 1, False), ("step", 2, False), ("validation", 2, True)],
        *[("step", 3, False), ("epoch_end", 3, False)],
        *[("epoch_start", 3, False), ("step", 4, False), ("validation", 4, True)],
        *[("step", 5, False), ("step", 6, False), ("validation", 6, True), ("epoch_end", 6, True)],
    ]
    validations = [(step, *losses) for event, step, _, *losses in recorded if event == "validation"]
    validated = [row for row in rows(tmp_path / "run") if "loss" in row]
    assert validations == [(row["step"], row["loss"], row["train_loss"]) for row in validated]


def test_an_average_of_epochs_leaves_out_those_validated_before_their_end(tiny, tmp_path, caplog):
    tiny["train"] |= {"epochs": 3, "val_every_steps": 2}
    tiny["hooks"] = [{"type": "model_average"}]
    with caplog.at_level("INFO", logger="clscli"):
        train(tiny, out=tmp_path / "run", device="cpu")
    assert caplog.messages[-1].startswith("average of the best epochs, 2, 3: val_loss ")


def test_hooks_of_a_run_resumed_after_a_validation_see_the_same(recorded, tiny, tmp_path):
    tiny["train"] |= {"epochs": 2, "val_every_steps": 2}
    tiny["hooks"] = [{"type": "record"}]
    train(tiny, out=tmp_path / "straight", device="cpu")
    straight, recorded[:] = list(recorded), []
    stop_after(3, tiny, tmp_path / "stopped")  # after the third step: its validation is before it
    resume(tmp_path / "stopped", device="cpu")
    again = [event for event in recorded if event not in straight]
    assert {event for event, *_ in again} <= {"epoch_start"}  # in the middle of an epoch, this one alone is new
    assert [e for e in recorded if e[0] == "validation"] == [e for e in straight if e[0] == "validation"]


def test_a_validation_that_a_resumed_run_begins_with_has_no_speed(tiny, tmp_path, caplog):
    """Stopped after the step that a validation follows: the line of that has no pictures to count."""
    tiny["train"] |= {"epochs": 1, "val_every_steps": 2}
    stop_after(2, tiny, tmp_path / "run")
    with caplog.at_level("INFO", logger="clscli"):
        resume(tmp_path / "run", device="cpu")
    (line,) = [message for message in caplog.messages if message.startswith("epoch 1/1, step 2")]
    assert "images/s" not in line


def state_with(tmp_path, monitor, **metrics):
    model = torch.nn.Linear(2, 2)
    state = HookState(model, torch.optim.SGD(model.parameters(), 0.1), torch.device("cpu"), tmp_path, 9, monitor)
    state.metrics = metrics
    return state


def test_early_stopping_follows_the_metric_of_the_run(tmp_path):
    hook = EarlyStopping(patience=1)
    hook.on_validation_end(state_with(tmp_path, "loss", loss=1.0, top1=0.5))
    hook.on_validation_end(better := state_with(tmp_path, "loss", loss=0.9, top1=0.1))
    assert better.stop_reason is None
    hook.on_validation_end(worse := state_with(tmp_path, "loss", loss=0.95, top1=0.9))
    assert worse.stop_reason == "loss has not improved for 1 validation"


def test_early_stopping_has_a_metric_of_its_own_if_asked(tmp_path):
    hook = EarlyStopping(patience=2, monitor="top1")
    for top1 in (0.5, 0.5, 0.5):
        hook.on_validation_end(state := state_with(tmp_path, "loss", loss=1.0 - top1, top1=top1))
    assert state.stop_reason == "top1 has not improved for 2 validations"


def test_early_stopping_counts_validations_within_an_epoch(tiny, tmp_path, caplog):
    tiny["optimizer"] = {"type": "sgd", "lr": 0.0}
    tiny["train"] |= {"epochs": 9, "val_every_steps": 1}
    tiny["hooks"] = [{"type": "early_stopping", "patience": 4, "monitor": "loss", "min_delta": 10.0}]
    with caplog.at_level("INFO", logger="clscli"):
        result = train(tiny, out=tmp_path / "run", device="cpu")
    assert caplog.messages[-1] == "stopped early: loss has not improved for 4 validations"
    assert result.last["epoch"] == 2


@pytest.mark.parametrize(("monitor", "loss", "factor"), [("loss", 0.5, 1), ("loss", 2.0, 0.1), ("top1", 0.5, 0.1)])
def test_a_plateau_is_one_of_the_metric_of_the_run(monitor, loss, factor):
    schedule = ReduceOnPlateau(9, 3, warmup_steps=0, patience=0, train_monitor=monitor)
    schedule.observe({"top1": 0.5, "loss": 1.0})
    schedule.observe({"top1": 0.5, "loss": loss})
    assert math.isclose(schedule(1), factor)


def test_a_spec_gives_the_metric_of_the_run_to_its_schedule(tiny, tmp_path):
    from clscli.engine.schedules import build_schedule
    from clscli.spec import load_spec

    tiny["scheduler"] = {"type": "reduce_on_plateau", "patience": 0, "warmup_epochs": 0.0}
    tiny["train"]["monitor"] = "loss"
    schedule = build_schedule(load_spec(tiny), 3)
    for loss, factor in ((1.0, 1.0), (0.5, 1.0), (0.6, 0.1)):
        schedule.observe({"top1": 0.5, "loss": loss})
        assert math.isclose(schedule(1), factor)
