"""Losses in runs: sums and means, lists, running counts, teachers."""

import json
import os
import shutil
import signal
from pathlib import Path

import pytest
import torch

import clscli
from clscli.data.loader import BatchLoader
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.evaluate import evaluate
from clscli.engine.prepare import prepare
from clscli.engine.session import new_session
from clscli.engine.teacher import teachers_for
from clscli.errors import Interrupted, PluginError, SpecError
from clscli.models.losses.total import TotalLoss
from clscli.observer import Observer
from clscli.spec import load_spec, render_spec

CPU = torch.device("cpu")


def run(spec, out="run", **kwargs):
    return clscli.train(spec, out=out, device="cpu", **kwargs)


def metrics(path="run"):
    return [json.loads(line) for line in Path(path, "metrics.jsonl").read_text().splitlines()]


def with_loss(spec, *losses, epochs=1):
    spec["model"]["loss"] = losses[0] if len(losses) == 1 else list(losses)
    spec["train"]["epochs"] = epochs
    return spec


def frozen(spec):
    """Let the optimizer change nothing, and the last batch be a small one."""
    spec["optimizer"] = {"type": "sgd", "lr": 0.0}
    spec["data"]["batch_size"] = 7
    return spec


def problems_of(spec):
    with pytest.raises(SpecError) as info:
        run(spec)
    return info.value.problems


class StopAt(Observer):
    """Interrupt this process after so many steps."""

    def __init__(self, steps):
        self.left = steps

    def tick(self, amount):
        if amount:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGINT)


def test_the_reported_loss_of_a_sum_is_per_sample(tiny):
    rows = {}
    for reduction in ("mean", "sum"):
        run(with_loss(frozen(tiny), {"type": "cross_entropy", "reduction": reduction}), out=reduction)
        (rows[reduction],) = metrics(reduction)
        evaluated = evaluate(f"{reduction}/best.pth", device="cpu")
        assert evaluated.loss == pytest.approx(rows[reduction]["loss"], rel=1e-6)
    for key in ("loss", "train_loss"):
        assert rows["sum"][key] == pytest.approx(rows["mean"][key], rel=1e-5)


def test_listed_losses_are_added_up(tiny):
    parts = [
        {"type": "cross_entropy", "label_smoothing": 0.2},
        {"type": "mse", "loss_weight": 2.0, "sum_classes": True},
    ]
    rows = []
    for number, losses in enumerate([[parts[0]], [parts[1]], parts]):
        run(with_loss(frozen(tiny), *losses), out=str(number))
        rows += metrics(str(number))
    for key in ("loss", "train_loss"):
        assert rows[2][key] == pytest.approx(rows[0][key] + rows[1][key], rel=1e-5)
    assert evaluate("2/best.pth", device="cpu").loss == pytest.approx(rows[2]["loss"], rel=1e-6)


def test_a_list_of_losses_in_a_file(tiny, clscli):
    losses = [{"type": "cross_entropy"}, {"type": "seesaw", "loss_weight": 0.5}]
    text = render_spec(with_loss(tiny, *losses))
    assert text.count("[[model.loss]]") == 2
    Path("listed.toml").write_text(text, encoding="utf-8")
    done = clscli("train", "listed.toml", "--device", "cpu", "--set", "model.loss.1.p=0.5")
    assert done.code == 0, done.err
    resolved = load_spec("runs/listed/spec.toml")
    assert resolved.values["model"]["loss"] == [
        {"type": "cross_entropy", "label_smoothing": 0.0, "class_weights": "none"}
        | {"reduction": "mean", "loss_weight": 1.0},
        {"type": "seesaw", "p": 0.5, "q": 2.0, "eps": 0.01, "reduction": "mean", "loss_weight": 0.5},
    ]
    assert resolved.values == load_spec(resolved.values).values
    assert isinstance(new_session(prepare(resolved), CPU).loss, TotalLoss)


def test_a_faulty_list_of_losses_is_a_problem_at_its_place(tiny):
    assert problems_of(with_loss(tiny, {"type": "mse"}, {"type": "seesaw", "p": -1.0})) == [
        "spec: model.loss.1.p: must be at least 0.0, got -1.0"
    ]
    assert problems_of(with_loss(tiny, {"type": "mse"}, {"type": "l1", "reduction": "sum"})) == [
        "spec: model.loss: losses that are added up need one reduction, got mean, sum"
    ]
    tiny["model"]["loss"] = []
    assert problems_of(tiny) == ["spec: model.loss: must be at least one loss, got []"]
    tiny["model"]["loss"] = "mse"
    assert problems_of(tiny) == [
        'spec: model.loss: must be a table, got "mse" -- write model.loss = { type = "mse" }'
    ]


def test_a_loss_that_is_no_scalar_is_refused_before_the_run(tiny, plugin):
    plugin(
        "losses",
        vector="vectors:vector",
        broken="vectors:broken",
        vectors="""
        def vector(): return lambda logits, target: logits.sum(1)
        def broken(): return lambda logits, target: logits.nothing
        """,
    )
    with pytest.raises(PluginError) as info:
        run(with_loss(tiny, {"type": "vector"}))
    assert str(info.value) == (
        "extra 1.0 (loss 'vector') breaks its contract: it must return a scalar, not torch.float32 (2,)"
    )
    with pytest.raises(
        PluginError, match=r"^extra 1\.0 \(loss 'broken'\) failed on logits \(2, 2\): AttributeError: "
    ):
        run(with_loss(tiny, {"type": "broken"}))
    assert not Path("run").exists()


def test_seesaw_goes_on_counting_where_it_stopped(tiny):
    """Three epochs at once, or interrupted on the way: the same counts and weights."""
    with_loss(tiny, {"type": "seesaw"}, epochs=3)
    run(tiny, out="whole")
    with pytest.raises(Interrupted):
        run(tiny, out="parts", observer=StopAt(7))
    stopped = load_checkpoint("parts/last.pth").training
    assert stopped["progress"]["batch"] > 0
    assert int(stopped["loss"]["seen"].sum()) == 8 * stopped["progress"]["step"]
    clscli.resume("parts", device="cpu")
    whole, parts = (load_checkpoint(f"{name}/last.pth") for name in ("whole", "parts"))
    assert whole.training["loss"]["seen"].tolist() == parts.training["loss"]["seen"].tolist() == [36, 36]
    for name, value in whole.weights.items():
        torch.testing.assert_close(parts.weights[name], value, rtol=0, atol=0)
    # Evaluated alone, a checkpoint gives the number that the training saw, though the counts are not in it.
    best = max(metrics("whole"), key=lambda row: (row["top1"], -row["loss"]))
    assert evaluate("whole/best.pth", device="cpu").loss == pytest.approx(best["loss"], rel=1e-6)


def test_a_student_learns_from_its_teacher_and_is_evaluated_without_it(tiny, trained):
    shutil.copy(trained / "best.pth", "teacher.pth")
    loss = {"type": "soft_target_kd", "teacher": "teacher.pth", "alpha": 1.0, "temperature": 2.0}
    with_loss(tiny, loss, epochs=1)

    session = new_session(prepare(load_spec(tiny)), CPU)
    assert list(session.loss.parameters()) == []
    assert session.loss.state_dict() == {}

    rows = run(tiny).last
    saved = load_checkpoint("run/last.pth")
    assert saved.spec["model"]["loss"]["teacher"] == str(Path("teacher.pth").absolute())
    assert not any("teacher" in name for name in saved.weights)

    Path("teacher.pth").unlink()
    assert evaluate("run/best.pth", device="cpu").loss == pytest.approx(rows["loss"], rel=1e-6)
    with pytest.raises(SpecError, match=r"teacher\.pth does not exist -- give the best\.pth of a run$"):
        clscli.resume("run", device="cpu")


def test_a_folder_is_no_teacher_but_its_checkpoint_is_named(tiny, trained):
    with pytest.raises(SpecError, match=r"the teacher .* is a folder -- give the checkpoint in it: .*/best\.pth$"):
        prepare(load_spec(with_loss(tiny, {"type": "soft_target_kd", "teacher": str(trained)})))


def test_the_training_loss_of_a_student_is_the_divergence_from_its_teacher(tiny, trained):
    loss = {"type": "soft_target_kd", "teacher": str(trained / "best.pth"), "alpha": 1.0, "temperature": 2.0}
    tiny["model"]["head"] = {"type": "linear"}  # without dropout, nothing is random but the pictures
    run(with_loss(frozen(tiny), loss))

    session = new_session(prepare(load_spec(tiny)), CPU)
    checkpoint = load_checkpoint(trained / "best.pth")
    teacher = checkpoint.build(checkpoint.resolve()).eval()
    total = 0.0
    with torch.no_grad():
        for batch in session.train.epoch(0):
            taught = (teacher(batch.images) / 2).softmax(1)
            log_p = (session.model.train()(batch.images) / 2).log_softmax(1)
            total += 4 * (taught * (taught.log() - log_p)).sum().item()
    assert metrics()[0]["train_loss"] == pytest.approx(total / 24, rel=1e-4)


def test_the_teacher_s_classes_are_matched_by_name(trained, pictures):
    view = prepare(load_spec(trained / "spec.toml")).data.val
    images = next(iter(BatchLoader(view, [], batch_size=4, seed=0, num_workers=0).epoch(0))).images
    ordered = teachers_for(["disc", "square"], 3)(trained / "best.pth")(images)
    swapped = teachers_for(["square", "disc"], 3)(trained / "best.pth")(images)
    torch.testing.assert_close(swapped, ordered.flip(1))
    assert not ordered.requires_grad


def test_the_teacher_sees_images_in_its_own_size(trained):
    teacher = teachers_for(["disc", "square"], 3)(trained / "best.pth")
    flat = torch.full((1, 3, 20, 20), 90, dtype=torch.uint8)
    large = torch.full((1, 3, 50, 30), 90, dtype=torch.uint8)
    torch.testing.assert_close(teacher(large), teacher(flat))


@pytest.mark.parametrize(
    ("classes", "channels", "message"),
    [
        (["disc", "ring", "square", "star"], 3, "does not know the classes ring, star"),
        (["disc"], 3, "has classes that the student has not: square"),
        (["disc", "square"], 1, "sees images of 3 channels, the student of 1"),
    ],
)
def test_a_teacher_of_something_else_is_refused(trained, classes, channels, message):
    with pytest.raises(ValueError, match=f"^the teacher {trained}/best.pth {message}$"):
        teachers_for(classes, channels)(trained / "best.pth")


def test_a_wrong_teacher_is_refused_before_the_run(tiny, trained, tmp_path):
    shutil.copytree(tiny["data"]["root"], "more")
    for split in ("train", "val"):
        shutil.copytree(f"more/{split}/disc", f"more/{split}/ring")
    tiny["data"]["root"] = "more"
    teacher = str(trained / "best.pth")
    assert problems_of(with_loss(tiny, {"type": "soft_target_kd", "teacher": teacher})) == [
        f"spec: model.loss: loss 'soft_target_kd': the teacher {teacher} does not know the classes ring"
    ]
    assert problems_of(with_loss(tiny, {"type": "soft_target_kd"})) == ["spec: model.loss.teacher: is required"]
    with pytest.raises(SpecError, match=r"model\.loss: .*the teacher .*nowhere\.pth does not exist"):
        run(with_loss(tiny, {"type": "soft_target_kd", "teacher": "nowhere.pth"}))
    assert not Path("run").exists()
