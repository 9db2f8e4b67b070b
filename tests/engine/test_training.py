"""The loop: what it computes, what stops it, and what hooks see."""

import copy
import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

import clscli
from clscli.data.loader import BatchLoader
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.prepare import prepare
from clscli.errors import DataError, PluginError, SpecError, TrainingError
from clscli.seeds import seed_for
from clscli.spec import load_spec


def run(spec, **kwargs):
    return clscli.train(spec, out="run", device="cpu", **kwargs)


def metrics(path="run"):
    return [json.loads(line) for line in Path(path, "metrics.jsonl").read_text().splitlines()]


def test_training_is_a_plain_pytorch_loop(tiny):
    """Two ways to the same weights: the engine, and twenty lines that do what it says it does."""
    tiny["train"]["epochs"] = 2
    run(tiny)

    spec = load_spec(tiny)
    plan = prepare(spec)
    model = plan.model.train()
    loader = BatchLoader(
        plan.data.train, plan.train_transforms, batch_size=8, seed=0, sampler=plan.sampler, num_workers=0
    )
    decayed = [p for p in model.parameters() if p.ndim > 1]
    spared = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01)
    steps, step, epoch_losses = 6, 0, []
    for epoch in range(2):
        losses = []
        for batch in loader.epoch(epoch):
            torch.manual_seed(seed_for(0, "step", step))
            for group in optimizer.param_groups:
                group["lr"] = 0.01 * (1 + math.cos(math.pi * step / steps)) / 2
            loss = torch.nn.functional.cross_entropy(
                model(batch.images.contiguous()), batch.targets, label_smoothing=0.1
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            step += 1
        epoch_losses.append(sum(losses) / len(losses))

    saved = load_checkpoint("run/last.pth").weights
    for name, value in model.state_dict().items():
        torch.testing.assert_close(saved[name], value, msg=lambda text, name=name: f"{name}: {text}")
    assert [row["train_loss"] for row in metrics()] == pytest.approx(epoch_losses, rel=1e-5)


def test_best_is_the_best_top1_and_ties_go_to_the_lower_loss(tiny):
    tiny["train"]["epochs"] = 8
    result = run(tiny)
    rows = metrics()
    expected = max(rows, key=lambda row: (row["top1"], -row["loss"]))
    assert result.best == expected
    assert result.last == rows[-1]
    assert load_checkpoint("run/best.pth").metrics == expected


def test_it_learns(tiny):
    tiny["train"]["epochs"] = 40
    assert run(tiny).best["top1"] >= 0.9


@pytest.mark.parametrize("precision", ["bfloat16", "float32", "auto"])
def test_every_precision_trains(tiny, precision):
    tiny["train"] |= {"epochs": 1, "precision": precision}
    assert math.isfinite(run(tiny).last["train_loss"])
    chosen = load_checkpoint("run/last.pth").training["execution"]["precision"]
    assert chosen == precision if precision != "auto" else chosen in ("float32", "bfloat16")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(tiny):
    tiny["optimizer"] = {"type": "sgd", "lr": 1e-3}
    tiny["train"]["epochs"] = 2
    run(tiny)
    good = load_checkpoint("run/last.pth")
    poisoned = torch.load("run/last.pth", weights_only=True)
    poisoned["training"]["progress"]["epoch"] = 1
    poisoned["weights"]["head.fc.bias"].fill_(math.inf)
    torch.save(poisoned, "run/last.pth")
    before = Path("run/last.pth").read_bytes()
    with pytest.raises(TrainingError) as info:
        clscli.resume("run", device="cpu")
    step = good.training["progress"]["step"]
    assert str(info.value) == (
        f"the loss is not finite in epoch 2, step {step + 1} -- the last checkpoint is run/last.pth; "
        "try a lower optimizer.lr"
    )
    assert Path("run/last.pth").read_bytes() == before


def test_a_rate_that_is_too_high_is_an_error_in_words(tiny):
    tiny["optimizer"] = {"type": "sgd", "lr": 1e38}
    with pytest.raises(
        TrainingError, match=r"^the loss is not finite in epoch 1, step \d+ -- nothing was saved yet"
    ):
        run(tiny)


def test_weights_that_the_last_step_of_an_epoch_spoils_are_not_saved(tiny):
    """With one step an epoch, its loss is still fine, and the validation is the first to see the new weights."""
    tiny["data"]["batch_size"] = 24
    tiny["optimizer"] = {"type": "sgd", "lr": 1e38}
    with pytest.raises(
        TrainingError, match=r"^the validation loss is not finite in epoch 1 -- nothing was saved yet"
    ):
        run(tiny)
    assert not list(Path("run").glob("*.pth"))


def test_batches_of_one_picture_are_refused_where_a_norm_needs_more(tiny):
    tiny["data"]["batch_size"] = 1
    tiny["transforms"]["train"] = [{"type": "random_crop", "size": 8}]
    with pytest.raises(SpecError, match=r"data\.batch_size: 1 makes batches of a single picture"):
        run(tiny)
    assert not Path("run").exists()
    tiny["transforms"]["train"] = [{"type": "random_crop", "size": 20}]
    tiny["train"]["epochs"] = 1
    assert run(tiny).last["epoch"] == 1


def test_class_weights_follow_the_training_pictures(tiny):
    tiny["model"]["loss"] = {"type": "cross_entropy", "class_weights": [1.0, 2.0, 3.0]}
    with pytest.raises(SpecError) as info:
        run(tiny)
    assert info.value.problems == [
        "spec: model.loss: loss 'cross_entropy': class_weights needs one weight for each of the 2 classes, got 3"
    ]


def test_early_stopping_ends_the_run_and_says_why(tiny, caplog):
    tiny["optimizer"] = {"type": "sgd", "lr": 0.0}  # nothing changes but batch norm's statistics
    tiny["train"]["epochs"] = 50
    tiny["hooks"] = [{"type": "early_stopping", "patience": 2, "monitor": "loss", "min_delta": 10.0}]
    with caplog.at_level("INFO", logger="clscli"):
        result = run(tiny)
        tiny["hooks"][0]["patience"] = 1
        clscli.train(tiny, out="short", device="cpu")
    assert result.last["epoch"] == 3
    assert "stopped early: loss has not improved for 2 validations" in caplog.messages
    assert "stopped early: loss has not improved for 1 validation" in caplog.messages
    # A run that has ended early stays ended.
    assert clscli.resume("run", device="cpu").last["epoch"] == 3


def test_resuming_needs_the_same_classes(tiny, pictures, tmp_path):
    shutil.copytree(pictures, "photos")
    tiny["data"]["root"] = str(tmp_path / "photos")
    run(tiny)
    shutil.copytree("photos/train/disc", "photos/train/ring")
    with pytest.raises(clscli.ClscliError) as info:
        clscli.resume("run", device="cpu")
    assert str(info.value) == "run/last.pth: the pictures now have other classes than when the run began"


def test_a_picture_that_breaks_during_the_run(tiny, pictures, tmp_path):
    shutil.copytree(pictures, "photos")
    tiny["data"]["root"] = str(tmp_path / "photos")
    path = tmp_path / "photos/train/disc/003.png"
    whole = path.read_bytes()
    # The end is there, so that only decoding finds the damage in the middle.
    path.write_bytes(whole[:200] + bytes(len(whole) - 400) + whole[-200:])
    with pytest.raises(DataError) as info:
        run(tiny)
    assert str(info.value).startswith(f"{path}: ")
    assert str(info.value).endswith(' -- mend or remove it, or set data.on_bad_image = "skip"')
    shutil.rmtree("run")
    tiny["data"]["on_bad_image"] = "skip"
    run(tiny)
    assert [row["unreadable"] for row in metrics()] == [1, 1, 1]
    log = (tmp_path / "run/train.log").read_text()
    assert f"skipped: 1 pictures cannot be read: {path} (" in log


def test_a_transform_that_fails_on_some_pictures_names_them(tiny, pictures, tmp_path):
    shutil.copytree(pictures, "photos")
    with Image.open("photos/train/disc/000.png") as image:
        image.resize((4, 4)).save("photos/train/disc/tiny.png")
    tiny["data"]["root"] = str(tmp_path / "photos")
    tiny["transforms"]["train"] = [{"type": "random_crop", "size": 20, "padding": 5, "padding_mode": "reflect"}]
    with pytest.raises(DataError) as info:
        run(tiny)
    assert str(info.value).startswith(f"{tmp_path}/photos/train/disc/tiny.png: RandomCrop failed on it: ")


def test_the_spec_of_the_caller_is_left_alone(tiny):
    before = copy.deepcopy(tiny)
    tiny["train"]["epochs"] = before["train"]["epochs"] = 1
    run(tiny)
    assert tiny == before


def test_hooks_run_in_order_of_priority_and_name_themselves_when_they_fail(tiny, plugin):
    plugin(
        "hooks",
        late="events:Late",
        early="events:Early",
        broken="events:Broken",
        events="""
            from pathlib import Path

            class Early:
                '''Write down every event.'''
                priority = -5
                name = "early"
                def note(self, event, state):
                    with Path("events.txt").open("a") as file:
                        print(self.name, event, state.epoch, state.step, file=file)
                def on_run_start(self, state): self.note("run_start", state)
                def on_epoch_start(self, state): self.note("epoch_start", state)
                def on_step_end(self, state): self.note("step_end", state)
                def on_epoch_end(self, state): self.note("epoch_end", state)
                def on_run_end(self, state): self.note("run_end", state)

            class Late(Early):
                '''Write down every event, later.'''
                priority = 5
                name = "late"

            class Broken:
                '''Fail.'''
                def on_epoch_end(self, state): raise KeyError("oh no")
        """,
    )
    tiny["hooks"] = [{"type": "late"}, {"type": "early"}]
    tiny["data"]["batch_size"] = 12
    tiny["train"]["epochs"] = 1
    run(tiny)
    expected = [("run_start", 0, 0), ("epoch_start", 0, 0), ("step_end", 0, 1), ("step_end", 0, 2)]
    expected += [("epoch_end", 0, 2), ("run_end", 0, 2)]
    assert [line.split() for line in Path("events.txt").read_text().splitlines()] == [
        [name, event, str(epoch), str(step)] for event, epoch, step in expected for name in ("early", "late")
    ]
    tiny["hooks"] = [{"type": "broken"}]
    with pytest.raises(
        PluginError, match=r"^extra 1\.0 \(hook 'broken'\) failed in on_epoch_end: KeyError: 'oh no'$"
    ):
        clscli.train(tiny, out="broken", device="cpu")
