"""What `[train]` and the checkpoint hook change about a run, and that a run that was stopped ends the same."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.determinism import deterministic_algorithms
from clscli.engine.initial_weights import load_initial
from clscli.engine.prepare import prepare
from clscli.errors import CheckpointError, Interrupted, PluginError, SpecError, TrainingError
from clscli.observer import Observer
from clscli.spec import load_spec

TIMED = ("seconds", "images_per_second", "data_wait")


def run(spec, out="run", **kwargs):
    return clscli.train(spec, out=out, device="cpu", **kwargs)


def metrics(path="run"):
    rows = [json.loads(line) for line in Path(path, "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMED} for row in rows]


def weights(path):
    return load_checkpoint(path).weights


def same(first, second):
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


class StopAt(Observer):
    """Interrupt this process after so many ticks of training and validation."""

    def __init__(self, ticks):
        self.left = ticks

    def tick(self, amount):
        if amount:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)


OPTIONS = {
    "accumulation": {"train": {"accumulation_steps": 3}},
    "mixing": {"transforms": {"batch": [{"type": "mixup", "p": 0.4}, {"type": "cutmix", "p": 0.4}]}},
    "freezing": {"train": {"freeze_epochs": 1, "clip_grad_norm": 0.5}},
    "steps": {"train": {"val_every_steps": 2, "monitor": "loss"}},
    "epochs": {"train": {"val_every": 2, "val_from_epoch": 2}},
    "plateau": {"train": {"val_every_steps": 2}, "scheduler": {"type": "reduce_on_plateau", "patience": 0}},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_a_stopped_run_ends_like_one_that_never_stopped(tiny, name):
    tiny["data"]["batch_size"] = 5  # 5 batches: with accumulation, two groups
    for table, keys in OPTIONS[name].items():
        tiny[table] = {**tiny.get(table, {}), **keys}
    tiny["hooks"] = [{"type": "early_stopping", "patience": 3}]
    straight = run(tiny, out="straight")
    for ticks in (1, 3, 6, 7):
        shutil.rmtree("stopped", ignore_errors=True)
        with pytest.raises(Interrupted):
            run(tiny, out="stopped", observer=StopAt(ticks))
        resumed = clscli.resume("stopped", device="cpu")
        assert metrics("stopped") == metrics("straight")
        assert same(weights("stopped/last.pth"), weights("straight/last.pth"))
        assert same(weights("stopped/best.pth"), weights("straight/best.pth"))
        assert resumed.best["step"] == straight.best["step"]


def test_the_backbone_is_frozen_at_first(tiny, caplog):
    before = prepare(load_spec(tiny)).model.state_dict()
    tiny["train"] |= {"epochs": 2, "freeze_epochs": 1}
    tiny["hooks"] = [{"type": "checkpoint"}]
    with caplog.at_level("INFO", logger="clscli"):
        run(tiny)
    assert "the backbone is frozen until epoch 1 is over" in caplog.messages
    first, second = weights("run/epoch_0001.pth"), weights("run/epoch_0002.pth")
    backbone = [name for name in before if name.startswith("backbone.")]
    assert all(torch.equal(first[name], before[name]) for name in backbone)  # the statistics of batch norm, too
    assert not torch.equal(first["head.fc.weight"], before["head.fc.weight"])
    assert not any(torch.equal(second[name], first[name]) for name in backbone if first[name].ndim > 1)


def test_what_the_backbone_freezes_for_good_stays_frozen(tiny):
    tiny["model"]["backbone"]["frozen_stages"] = 1
    before = prepare(load_spec(tiny)).model.state_dict()
    tiny["train"] |= {"epochs": 2, "freeze_epochs": 1}
    run(tiny)
    after = weights("run/last.pth")
    unchanged = {name for name in before if torch.equal(before[name], after[name])}
    assert "backbone.layer1.0.conv1.weight" in unchanged
    assert "backbone.layer2.0.conv1.weight" not in unchanged


def test_freezing_all_that_there_is_is_refused(tiny, plugin):
    plugin(
        "heads",
        first="heads_extra:First",
        heads_extra="""
        from torch import nn
        class First(nn.Module):
            '''Take the first channels for logits.'''
            def __init__(self, in_channels: int, num_classes: int):
                super().__init__()
                self.num_classes = num_classes
            def forward(self, outputs):
                outputs = outputs if hasattr(outputs, "ndim") else outputs[-1]
                return outputs.flatten(1)[:, :self.num_classes]
        """,
    )
    tiny["model"]["head"] = {"type": "first"}
    tiny["train"]["freeze_epochs"] = 1
    with pytest.raises(SpecError) as info:
        run(tiny)
    assert info.value.problems == [
        "spec: train.freeze_epochs: with the backbone frozen there is nothing to train: "
        "neck and head have no parameters"
    ]


@pytest.mark.parametrize(("monitor", "sign"), [("loss", -1), ("macro_f1", 1), ("top5", 1)])
def test_the_best_is_what_the_monitor_says(tiny, monitor, sign):
    tiny["train"] |= {"epochs": 6, "monitor": monitor}
    result = run(tiny)
    expected = max(metrics(), key=lambda row: (sign * row[monitor], -row["loss"]))
    assert result.best["epoch"] == expected["epoch"]
    assert load_checkpoint("run/best.pth").metrics["epoch"] == expected["epoch"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"val_every": 2}, [2, 4, 5]),
        ({"val_every": 2, "val_from_epoch": 3}, [4, 5]),
        ({"val_from_epoch": 9}, [5]),
    ],
)
def test_validation_every_few_epochs(tiny, options, expected):
    tiny["train"] |= {"epochs": 5, **options}
    result = run(tiny)
    rows = metrics()
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["epoch"] for row in rows if "top1" in row] == expected
    assert all("train_loss" in row for row in rows)
    assert result.best["epoch"] in expected
    assert Path("run/curves.png").stat().st_size > 0


def test_validation_every_few_steps(tiny):
    tiny["train"] |= {"epochs": 4, "val_every_steps": 2, "val_from_epoch": 2}  # epochs of 3 steps
    run(tiny)
    rows = metrics()
    assert [(row["epoch"], row["step"]) for row in rows] == [
        (1, 3),
        (2, 4),
        (2, 6),
        (3, 8),
        (3, 9),
        (4, 10),
        (4, 12),
    ]
    assert [row["step"] for row in rows if "top1" in row] == [4, 6, 8, 10, 12]


def test_early_stopping_counts_validated_epochs_and_the_last_is_validated(tiny, plugin):
    tiny["optimizer"] = {"type": "sgd", "lr": 0.0}
    tiny["train"] |= {"epochs": 50, "val_every": 2}
    tiny["hooks"] = [{"type": "early_stopping", "patience": 2, "monitor": "loss", "min_delta": 10.0}]
    assert run(tiny).last["epoch"] == 6
    plugin(
        "hooks",
        quitter="quitting:Quitter",
        quitting="""
        class Quitter:
            '''Stop after the first epoch.'''
            def on_epoch_end(self, state): state.stop("enough")
        """,
    )
    tiny["hooks"] = [{"type": "quitter"}]
    result = run(tiny, out="quit")
    assert result.last["epoch"] == 1
    assert result.best["top1"] == result.last["top1"]


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ("Path('a')", "pathlib"),
        ("[1, {'x': numpy.float64(1)}]", "numpy.float64"),
        ("lambda: 1", "builtins.function"),
    ],
)
def test_what_a_hook_keeps_must_be_what_a_checkpoint_can_give_back(tiny, plugin, value, named):
    """Saved, it would make a last.pth that nothing can go on from."""
    plugin(
        "hooks",
        keeper="keeping:Keeper",
        keeping=f"""
        from pathlib import Path
        import numpy
        class Keeper:
            '''Keep something.'''
            def state_dict(self): return {{"fine": (None, True, 1, 1.5, "a", {{1, 2}}), "strange": {value}}}
            def load_state_dict(self, state): pass
            def on_run_end(self, state): pass
        """,
    )
    tiny["hooks"] = [{"type": "keeper"}]
    with pytest.raises(PluginError, match=f"must return tensors and plain values, and has a {named}"):
        run(tiny)


def test_a_new_run_from_the_weights_of_another(tiny, trained, caplog):
    tiny["train"] |= {"epochs": 1, "init_from": str(trained / "best.pth")}
    tiny["optimizer"] = {"type": "sgd", "lr": 0.0, "momentum": 0.0}
    with caplog.at_level("INFO", logger="clscli"):
        result = run(tiny)
    old, new = weights(trained / "best.pth"), weights("run/last.pth")
    parameters = [name for name in old if "running" not in name and "num_batches" not in name]
    assert all(torch.equal(old[name], new[name]) for name in parameters)
    assert result.last["epoch"] == 1
    epoch = load_checkpoint(trained / "best.pth").metrics["epoch"]
    count = len([name for name in old if name.startswith("backbone.") and "num_batches" not in name])
    assert f"a new run from the weights of {trained}/best.pth (epoch {epoch})" in caplog.messages
    assert f"backbone 'resnet18': loaded {count} of {count} tensors" in caplog.messages
    # Resuming goes by the run alone.
    data = torch.load("run/last.pth", weights_only=True)
    data["spec"]["train"] |= {"epochs": 2, "init_from": "/nowhere.pth"}
    torch.save(data, "run/last.pth")
    assert clscli.resume("run", device="cpu").last["epoch"] == 2


def test_a_head_for_other_classes_is_replaced(tiny, trained, pictures, tmp_path, caplog):
    shutil.copytree(pictures, "photos")
    for split in ("train", "val"):
        shutil.copytree(f"photos/{split}/disc", f"photos/{split}/ring")
    tiny["data"]["root"] = str(tmp_path / "photos")
    tiny["train"] |= {"epochs": 1, "init_from": str(trained / "best.pth")}
    tiny["model"]["backbone"]["pretrained"] = "/no/such.pth"
    with caplog.at_level("INFO", logger="clscli"):
        run(tiny)
    assert "head replaced: 2 -> 3 classes" in caplog.messages
    assert "model.backbone.pretrained is not used: train.init_from stands above it" in caplog.messages


def test_init_from_in_a_file_is_relative_to_it_and_must_be_there(clscli, tiny, tmp_path):
    from clscli.spec import render_spec

    Path("specs").mkdir()
    Path("specs/s.toml").write_text(render_spec({**tiny, "train": {**tiny["train"], "init_from": "a.pth"}}))
    done = clscli("train", "specs/s.toml", "--device", "cpu", "--dry-run")
    assert done.code == 2
    assert done.err.endswith(f"train.init_from: {tmp_path}/specs/a.pth: no such checkpoint\n")


@pytest.mark.parametrize("use", ["init_from", "teacher"])
def test_a_checkpoint_that_a_run_begins_with_is_read_once(tiny, trained, monkeypatch, use):
    read = []

    def count(path):
        read.append(path)
        return load_checkpoint(path)

    if use == "init_from":
        tiny["train"]["init_from"] = str(trained / "best.pth")
    else:
        tiny["model"]["loss"] = {"type": "soft_target_kd", "teacher": str(trained / "best.pth")}
    module = {"init_from": "initial_weights", "teacher": "teacher"}[use]
    monkeypatch.setattr(f"clscli.engine.{module}.load_checkpoint", count)
    run(tiny)
    assert read == [trained / "best.pth"]


def test_the_norm_of_the_gradient_is_in_the_metrics(tiny):
    run(tiny, out="free")
    assert "grad_norm" not in metrics("free")[0]
    tiny["train"] |= {"epochs": 1, "clip_grad_norm": 1e9}
    norms = []
    clip = torch.nn.utils.clip_grad_norm_

    def note(*arguments):
        norms.append(clip(*arguments))
        return norms[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.utils, "clip_grad_norm_", note)
        run(tiny)
    assert len(norms) == 3
    assert metrics()[0]["grad_norm"] == pytest.approx(sum(norm.item() for norm in norms) / 3)


def test_weights_of_another_model_are_refused(tiny, trained):
    tiny["train"]["init_from"] = str(trained / "best.pth")
    tiny["model"] = {"backbone": {"type": "resnet18", "stem": "cifar", "base_channels": 8, "layers": [1, 1, 1, 1]}}
    with pytest.raises(CheckpointError, match=r"best\.pth: only 0 of the \d+ tensors of backbone 'resnet18' are"):
        run(tiny)


@pytest.mark.parametrize(("table", "key"), [("train", "init_from"), ("backbone", "pretrained")])
def test_a_dry_run_tries_the_weights_that_are_here(clscli, tiny, trained, table, key):
    from clscli.spec import render_spec

    where = tiny["train"] if table == "train" else tiny["model"]["backbone"]
    where[key] = str(trained / "best.pth")
    Path("s.toml").write_text(render_spec(tiny))
    good = clscli("train", "s.toml", "--device", "cpu", "--dry-run")
    assert good.code == 0
    assert "backbone 'resnet18': loaded " in good.out
    wide = "--set", "model.backbone.base_channels=8"
    bad = clscli("train", "s.toml", "--device", "cpu", "--dry-run", *wide)
    assert bad.code == 1
    assert bad.out == ""
    assert bad.err.endswith("these are weights of another model\n")


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({}, ["epoch_0001.pth", "epoch_0002.pth", "epoch_0003.pth"]),
        ({"keep": 1}, ["epoch_0003.pth"]),
        ({"every_epochs": 2}, ["epoch_0002.pth"]),
        ({"every_steps": 4, "keep": 2}, ["step_00000004.pth", "step_00000008.pth"]),
        ({"every_minutes": 1e-9, "keep": 2}, ["step_00000008.pth", "step_00000009.pth"]),
    ],
)
def test_the_checkpoint_hook_keeps_the_newest(tiny, options, names):
    tiny["hooks"] = [{"type": "checkpoint", **options}]
    run(tiny)
    found = sorted(path.name for path in Path("run").glob("*_*.pth"))
    assert found == names


@pytest.mark.parametrize("name", ["step_00000002.pth", "epoch_0001.pth", "step_00000004.pth", "step_00000006.pth"])
def test_every_kept_checkpoint_can_be_resumed(tiny, name):
    tiny["train"]["val_every_steps"] = 2
    tiny["hooks"] = [{"type": "checkpoint", "every_epochs": 1, "every_steps": 2, "keep": 20}]
    tiny["hooks"] += [{"type": "early_stopping", "patience": 2}]
    run(tiny)
    before, rows = weights("run/last.pth"), metrics()
    clscli.resume(Path("run", name), device="cpu")
    assert metrics() == rows
    assert same(weights("run/last.pth"), before)


def test_a_checkpoint_within_an_epoch_is_also_the_last(tiny, plugin):
    plugin(
        "hooks",
        killer="killing:Killer",
        killing="""
        class Killer:
            '''Die without a word, as a machine does.'''
            priority = 10
            def on_step_end(self, state):
                if state.step == 3: raise SystemExit
        """,
    )
    tiny["data"]["batch_size"] = 4
    run(tiny, out="straight")
    tiny["hooks"] = [{"type": "checkpoint", "every_steps": 2}, {"type": "killer"}]
    with pytest.raises(SystemExit):
        run(tiny)
    data = torch.load("run/last.pth", weights_only=True)
    assert data["training"]["progress"]["batch"] == 2
    assert data["training"]["progress"]["samples"] == 8
    data["spec"]["hooks"] = data["spec"]["hooks"][:1]
    data["training"]["hooks"] = data["training"]["hooks"][:1]
    torch.save(data, "run/last.pth")
    clscli.resume("run", device="cpu")
    assert metrics("run") == metrics("straight")
    assert same(weights("run/last.pth"), weights("straight/last.pth"))


def test_deterministic_runs_use_deterministic_algorithms(tiny, plugin):
    plugin(
        "hooks",
        spy="spying:Spy",
        spying="""
        import torch
        class Spy:
            '''Write down what torch was told, and do what it then refuses.'''
            def on_run_start(self, state):
                with open("told.txt", "w") as file:
                    print(torch.are_deterministic_algorithms_enabled(), file=file)
        """,
    )
    tiny["hooks"] = [{"type": "spy"}]
    tiny["train"] |= {"epochs": 1, "deterministic": True}
    run(tiny)
    assert Path("told.txt").read_text() == "True\n"
    assert not torch.are_deterministic_algorithms_enabled()


def test_an_operator_that_is_not_deterministic_is_named():
    with pytest.raises(TrainingError) as info, deterministic_algorithms(True):
        torch.zeros(4).put_(torch.tensor([0]), torch.tensor([1.0]))
    assert str(info.value) == (
        "train.deterministic: put_ has no deterministic implementation on this device "
        "-- choose another component, or set train.deterministic = false"
    )
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_environment_names_the_libraries(trained):
    versions = json.loads((trained / "env.json").read_text())["versions"]
    assert {"python", "clscli", "torch", "torchvision", "numpy", "pillow"} <= versions.keys()


def test_a_layer_is_taken_as_a_whole_or_not_at_all(tiny, trained):
    """The bias has the same shape, but it belongs to other features."""
    tiny["model"]["head"] = {"type": "stacked_linear", "mid_channels": [8]}
    model = prepare(load_spec(tiny)).model
    before = model.head.fc.bias.clone()
    lines = load_initial(load_spec(tiny), model, ["disc", "square"], load_checkpoint(trained / "best.pth"))
    assert torch.equal(model.head.fc.bias, before)
    assert (
        lines[-1] == "left as initialised: head.hidden.0.weight, head.hidden.0.bias, head.fc.weight, head.fc.bias"
    )
