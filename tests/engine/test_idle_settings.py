"""Settings that have no effect in a run are told before it starts."""

import sys

import pytest

from clscli import train
from clscli.errors import SpecError

# Three epochs of three batches.
ONE_BATCH = "is 4, but an epoch has 3 batches: it is one step"
FROZEN = "the backbone is never trained"
AT_THE_END = "it is validated after the last epoch alone"
NOTES = [
    ("train.accumulation_steps=4", f"train.accumulation_steps: {ONE_BATCH}"),
    ("train.accumulation_steps=3", None),
    ("train.val_every=4", f"train.val_every: is 4, but the run has 3 epochs: {AT_THE_END}"),
    ("train.val_every=3", None),
    ("train.val_every_steps=10", f"train.val_every_steps: is 10, but the run has 9 steps: {AT_THE_END}"),
    ("train.val_every_steps=9", None),
    ("train.val_from_epoch=4", f"train.val_from_epoch: is 4, but the run has 3 epochs: {AT_THE_END}"),
    ("train.val_from_epoch=3", None),
    ("train.freeze_epochs=3", f"train.freeze_epochs: is 3, and the run has 3 epochs: {FROZEN}"),
    ("train.freeze_epochs=2", None),
    (
        "scheduler={type='multi_step',milestones=[2,5,3]}",
        "scheduler.milestones: the run has 3 epochs, and never comes to 3, 5",
    ),
    ("scheduler={type='multi_step',milestones=[1,2]}", None),
    (
        "scheduler={type='step',step_size=3}",
        "scheduler.step_size: is 3, but the run has 3 epochs: the rate is never lowered",
    ),
    ("scheduler={type='step',step_size=2}", None),
]


@pytest.mark.parametrize(("setting", "note"), NOTES)
def test_a_setting_without_effect_is_told_by_a_dry_run(clscli, tiny_file, setting, note):
    done = clscli("train", tiny_file, "--device", "cpu", "--set", setting, "--dry-run")
    assert done.code == 0
    notes = [line for line in done.err.splitlines() if line.startswith("note: ")]
    assert notes == ([] if note is None else [f"note: --set {setting}: {note}"])


def test_a_run_tells_it_in_its_log(tiny, tmp_path):
    tiny["train"] |= {"epochs": 1, "freeze_epochs": 2}
    train(tiny, out=tmp_path / "run", device="cpu")
    log = (tmp_path / "run/train.log").read_text()
    assert log.count(f"note: spec: train.freeze_epochs: is 2, and the run has 1 epoch: {FROZEN}\n") == 1
    assert "the backbone is frozen until" not in log


def test_only_one_average_can_be_judged_and_all_hooks_are_told_of(tiny, monkeypatch):
    tiny["hooks"] = [{"type": "ema"}, {"type": "ema"}, {"type": "tensorboard"}, {"type": "ema", "decay": 0.5}]
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.raises(SpecError) as info:
        train(tiny, device="cpu")
    assert info.value.problems == [
        "spec: hooks.2: hook 'tensorboard': needs the package tensorboard -- pip install 'clscli[tensorboard]'",
        "spec: hooks.1: hook 'ema' is there already, as hooks.0 -- only one average can be judged",
        "spec: hooks.3: hook 'ema' is there already, as hooks.0 -- only one average can be judged",
    ]


def test_a_used_folder_is_refused_before_any_work(clscli, tiny_file, tmp_path, monkeypatch):
    (tmp_path / "used").mkdir()
    (tmp_path / "used/notes.txt").write_text("mine")
    monkeypatch.setattr("clscli.engine.trainer.prepare", lambda *_: pytest.fail("the model was built"))
    done = clscli("train", tiny_file, "--device", "cpu", "--out", "used")
    assert (done.code, done.err) == (2, "--out used: is not empty -- choose another folder\n")
