"""The hook `wandb`: what it sends. With the real package in its offline mode, if it is installed."""

import sys
from types import ModuleType, SimpleNamespace

import pytest
from hook_runs import rows, stop_after

from clscli import resume, train
from clscli.engine.checkpoint import load_checkpoint


class _Run:
    """A run of the stand-in."""

    def __init__(self, options):
        self.options = options
        self.id = options["id"] or "made-up"
        self.logged = []
        self.is_finished = False

    def log(self, numbers, step):
        self.logged.append((step, numbers))

    def finish(self):
        self.is_finished = True


@pytest.fixture
def runs(monkeypatch):
    """Put a stand-in in wandb's place; return the runs that are begun."""
    begun = []
    module = ModuleType("wandb")
    module.__file__ = "wandb.py"

    def init(**options):
        begun.append(_Run(options))
        return begun[-1]

    module.init = init
    monkeypatch.setitem(sys.modules, "wandb", module)
    return begun


def test_without_the_package_nothing_starts(clscli, tiny_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    done = clscli("train", tiny_file, "--set", "hooks=[{type='wandb'}]")
    reason = "hook 'wandb': needs the package wandb -- pip install 'clscli[wandb]'"
    assert (done.code, done.err) == (2, f"--set hooks=[{{type='wandb'}}]: hooks.0: {reason}\n")


def _forget_wandb(monkeypatch):
    """Let the package be imported anew, and forgotten again after the test."""
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.delitem(sys.modules, "wandb")


def test_a_folder_called_wandb_is_not_the_package(clscli, tiny_file, tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    _forget_wandb(monkeypatch)
    done = clscli("train", tiny_file, "--set", "hooks=[{type='wandb'}]")
    assert done.code == 2
    assert "needs the package wandb" in done.err


def test_a_broken_package_is_called_broken(clscli, tiny_file, tmp_path, monkeypatch):
    (tmp_path / "wandb.py").write_text("import no_such_protobuf\n")
    monkeypatch.syspath_prepend(tmp_path)
    _forget_wandb(monkeypatch)
    done = clscli("train", tiny_file, "--set", "hooks=[{type='wandb'}]")
    assert done.code == 2
    assert done.err.endswith(
        "hook 'wandb': the package wandb cannot be imported: No module named 'no_such_protobuf'\n"
    )


def test_the_spec_and_every_epoch_are_sent(runs, tiny, tmp_path):
    tiny["hooks"] = [{"type": "wandb", "project": "shapes", "tags": ["small"], "mode": "offline"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    (run,) = runs
    config = run.options.pop("config")
    assert config["train"]["epochs"] == 3
    assert config["hooks"][0]["project"] == "shapes"
    assert run.options == {
        "project": "shapes",
        "entity": None,
        "name": "run",
        "tags": ("small",),
        "mode": "offline",
        "dir": str(tmp_path / "run"),
        "id": None,
        "resume": "allow",
    }
    # What is logged for the same step is one entry there.
    logged = {}
    for step, numbers in run.logged:
        logged[step] = logged.get(step, {}) | numbers
    for (step, numbers), row in zip(logged.items(), rows(tmp_path / "run"), strict=True):
        assert step == row["step"]
        assert numbers.pop("images_per_second") > 0
        assert numbers == {name: row[name] for name in numbers}
        assert {"epoch", "lr", "train_loss", "loss", "top1"} <= set(numbers)
    assert run.is_finished


def test_a_resumed_run_goes_on_under_its_id(runs, tiny, tmp_path):
    tiny["hooks"] = [{"type": "wandb"}]
    stop_after(4, tiny, tmp_path / "run")
    resume(tmp_path / "run", device="cpu")
    assert [run.options["id"] for run in runs] == [None, "made-up"]
    assert [[step for step, _ in run.logged] for run in runs] == [[3, 3], [6, 6, 9, 9]]
    assert [run.is_finished for run in runs] == [False, True]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the package's own
def test_the_real_package_takes_it_offline(tiny, tmp_path):
    wandb = pytest.importorskip("wandb")
    tiny["hooks"] = [{"type": "wandb", "mode": "offline"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    (kept,) = (tmp_path / "run/wandb").glob("offline-run-*/run-*.wandb")
    state = SimpleNamespace(**load_checkpoint(tmp_path / "run/last.pth").training["hooks"][0])
    assert kept.name == f"run-{state.id}.wandb"
    assert b"macro_f1" in kept.read_bytes()
    assert wandb.run is None
