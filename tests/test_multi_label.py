"""Pictures with several labels each, or none: from a list of files to predictions."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import draw_picture, tiny_spec
from PIL import Image

import clscli as package
from clscli import MultiLabelEvaluation
from clscli.data.samplers import ClassWeighted
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.prepare import prepare
from clscli.errors import DataError, SpecError, UsageError
from clscli.spec import load_spec, render_spec


def draw_tagged(folder: Path, count: int = 40) -> None:
    """Draw pictures with bright left, right or upper halves, and tags.csv that says which."""
    rows = ["path,tags"]
    for number in range(count):
        tags = [tag for bit, tag in enumerate(("left", "right", "top")) if number >> bit & 1]
        image = Image.new("RGB", (16, 16), (number, 20, 20))
        boxes = {"left": (0, 8, 8, 16), "right": (8, 8, 16, 16), "top": (0, 0, 16, 8)}
        for tag in tags:
            image.paste((200, 200, 200), boxes[tag])
        image.save(folder / f"{number:03}.png")
        rows.append(f"{number:03}.png,{'|'.join(tags)}")
    (folder / "tags.csv").write_text("\n".join(rows) + "\n")


def tagged_spec(folder: Path) -> dict:
    train = {"type": "filelist", "path": str(folder / "tags.csv"), "labels_column": "tags", "separator": "|"}
    spec = tiny_spec(folder)
    spec["data"] = {"train": train, "batch_size": 8, "num_workers": 0}
    spec["model"] = {"backbone": {"type": "lenet5"}, "head": {"type": "linear"}}
    resize = {"type": "resize", "size": 32}
    spec["transforms"] = {"train": [resize], "eval": [resize]}
    return spec


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tagged")
    draw_tagged(folder)
    return folder


@pytest.fixture
def spec(folder) -> dict:
    return tagged_spec(folder)


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    package.train(tagged_spec(folder) | {"train": {"epochs": 8, "precision": "float32"}}, out=out, device="cpu")
    return out


def problems_of(spec):
    with pytest.raises(SpecError) as error:
        prepare(load_spec(spec))
    return error.value.problems


# Training


def test_a_run_learns_to_tell_labels(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {"loss", "map", "macro_f1", "micro_f1"} < set(rows[-1])
    assert not {"top1", "train_top1"} & set(rows[-1])
    checkpoint = load_checkpoint(run / "best.pth")
    assert checkpoint.multi_label
    assert checkpoint.classes == ["left", "right", "top"]
    assert checkpoint.spec["model"]["loss"]["type"] == "binary_cross_entropy"
    assert checkpoint.spec["train"]["monitor"] == "map"
    assert checkpoint.metrics["map"] == max(row["map"] for row in rows) > 0.9
    assert (run / "curves.png").stat().st_size > 0
    with (run / "split.csv").open() as file:
        assert {row["class"] for row in csv.DictReader(file)} >= {"", "left", "left,right"}


def test_what_is_written_stays(spec):
    spec["model"]["loss"] = {"type": "asymmetric"}
    spec["train"]["monitor"] = "micro_f1"
    plan = prepare(load_spec(spec))
    assert plan.spec.values["model"]["loss"]["type"] == "asymmetric"
    assert plan.spec.values["train"]["monitor"] == "micro_f1"


def test_positives_are_balanced_by_pictures_not_by_labels(spec):
    spec["model"]["loss"] = {"type": "binary_cross_entropy", "pos_weight": "balanced"}
    plan = prepare(load_spec(spec))
    counts, total = plan.data.train.class_counts, len(plan.data.train)
    assert plan.build_loss().pos_weight.tolist() == pytest.approx([(total - n) / n for n in counts])


def test_a_run_that_was_stopped_goes_on_to_the_same_weights(spec, tmp_path):
    spec["transforms"]["batch"] = [{"type": "mixup", "p": 0.5}]
    spec["hooks"] = [{"type": "checkpoint", "every_steps": 7}]
    whole = package.train(spec, out=tmp_path / "whole", device="cpu")
    (tmp_path / "again").mkdir()
    for name in ("split.csv", "metrics.jsonl"):
        (tmp_path / "again" / name).write_bytes((tmp_path / "whole" / name).read_bytes())
    (tmp_path / "again/last.pth").write_bytes((tmp_path / "whole/step_00000007.pth").read_bytes())
    package.resume(tmp_path / "again", device="cpu")
    first, second = (load_checkpoint(tmp_path / name / "last.pth").weights for name in ("whole", "again"))
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert whole.monitor == "map"


# What does not fit is refused before the run


def test_parts_for_one_label_are_refused(spec):
    spec["model"]["head"] = {"type": "arcface"}
    spec["model"]["loss"] = [{"type": "binary_cross_entropy"}, {"type": "cross_entropy"}]
    spec["train"]["monitor"] = "top1"
    spec["hooks"] = [{"type": "early_stopping", "monitor": "balanced_accuracy"}]
    has = "the pictures have several labels each"
    assert problems_of(spec) == [
        "spec: model.head: head 'arcface' is for one label, and the pictures have several labels each "
        '-- write model.head = { type = "multi_label_linear" or "linear" }',
        "spec: model.loss.1: loss 'cross_entropy' is for one label, and the pictures have several labels each "
        '-- write model.loss = { type = "binary_cross_entropy" or "asymmetric" or "focal" }',
        f"spec: train.monitor: 'top1' is not measured where {has} -- there are: loss, map, macro_f1, micro_f1",
        f"spec: hooks.0.monitor: 'balanced_accuracy' is not measured where {has} "
        "-- there are: loss, map, macro_f1, micro_f1",
    ]


@pytest.mark.parametrize(
    ("loss", "fits"),
    [
        ({"type": "label_smooth"}, False),
        ({"type": "label_smooth", "mode": "multi_label"}, True),
        ({"type": "softmax_focal"}, False),
        ({"type": "seesaw"}, False),
        ({"type": "mse"}, False),
        ({"type": "focal"}, True),
    ],
)
def test_losses_say_what_they_are_for(spec, loss, fits):
    spec["model"]["loss"] = loss
    if fits:
        prepare(load_spec(spec))
    else:
        assert f"loss '{loss['type']}' is for one label, and the pictures have several" in problems_of(spec)[0]


def test_parts_for_several_labels_are_refused(tiny):
    tiny["model"]["head"] = {"type": "multi_label_linear"}
    tiny["train"]["monitor"] = "map"
    assert problems_of(tiny) == [
        "spec: model.head: head 'multi_label_linear' is for several labels, and the pictures have one label each "
        '-- write model.head = { type = "linear" }, or give the data several labels, '
        "such as a filelist's labels_column",
        "spec: train.monitor: 'map' is not measured where the pictures have one label each "
        "-- there are: loss, top1, top5, macro_f1, balanced_accuracy",
    ]


def test_a_sampler_by_class_is_refused(spec):
    spec["data"]["sampler"] = {"type": "class_weighted"}
    assert problems_of(spec) == [
        "spec: data.sampler: sampler 'class_weighted': draws pictures by their one class, and these have several "
        "labels -- show those of rare classes more often by "
        'data.train = { type = "class_balanced", dataset = ... }'
    ]
    assert ClassWeighted.__doc__ is not None
    assert "class_balanced" in ClassWeighted.__doc__


def test_validation_pictures_have_several_labels_too(spec, pictures):
    spec["data"]["val"] = {"type": "folder", "root": str(pictures / "val")}
    names = "'disc', 'square'"
    message = f"has classes that the model does not know: {names} (it knows 'left', 'right', 'top')"
    assert problems_of(spec) == [f"spec: data.val: the validation pictures: {message}"]
    draw_picture(Path("val/left/1.png"), "disc", 1)
    spec["data"]["val"] = {"type": "folder", "root": "val"}
    assert problems_of(spec) == [
        "spec: data.val: the validation pictures have one label each, and those that the model is trained on "
        "have several"
    ]


# Evaluation


def test_evaluation_reports_every_label(run, clscli, tmp_path):
    result = package.evaluate(run / "best.pth", device="cpu")
    assert isinstance(result, MultiLabelEvaluation)
    metrics = load_checkpoint(run / "best.pth").metrics
    assert {key: metrics[key] for key in result.summary()} == result.summary()
    shown = clscli("eval", "--ckpt", run / "best.pth", "--device", "cpu", "--out", "report")
    assert shown.code == 0
    assert shown.out.splitlines()[0].split() == ["samples", "loss", "mAP", "threshold"]
    assert "micro average" in shown.out
    assert "wrote metrics.json and per_class.csv to report" in shown.err
    found = json.loads(Path("report/metrics.json").read_text())
    assert found["map"] == result.map
    assert "confusion" not in found
    assert set(found["per_class"][0]) == {"class", "average_precision", "precision", "recall", "f1", "support"}
    assert (
        Path("report/per_class.csv")
        .read_text()
        .startswith("class,average_precision,precision,recall,f1,support\n")
    )


def test_a_threshold_moves_counts_and_not_the_ranking(run):
    low, high = (package.evaluate(run / "best.pth", device="cpu", threshold=t) for t in (0.0, 1.0))
    assert (low.micro_recall, high.micro_recall) == (1.0, 0.0)
    assert low.map == high.map


def test_pictures_of_one_label_are_not_evaluated(run, tmp_path):
    for name in ("left", "right"):
        draw_picture(tmp_path / "one" / name / "1.png", "disc", 1)
    with pytest.raises(DataError) as error:
        package.evaluate(run / "best.pth", data=tmp_path / "one", device="cpu")
    assert str(error.value) == (
        f"{tmp_path / 'one'}: the pictures have one label each, and those that the model is trained on "
        "have several"
    )


# Prediction


def test_all_labels_above_the_threshold_are_predicted(run, folder):
    predictor = package.load(run / "best.pth", device="cpu")
    everything = predictor.predict(folder / "007.png", threshold=0.0)
    assert {s.name for s in everything.scores} == {"left", "right", "top"}
    scores = {s.name: s.score for s in everything.scores}
    assert list(scores.values()) == sorted(scores.values(), reverse=True)
    least = everything.scores[1].score
    assert [s.name for s in predictor.predict(folder / "007.png", threshold=least).scores] == list(scores)[:2]
    assert predictor.predict(folder / "007.png", threshold=1.0).scores == []
    assert len(predictor.predict(folder / "007.png", 1, threshold=0.0).scores) == 1
    assert {s.name for s in predictor.predict(folder / "007.png").scores} == {
        name for name, score in scores.items() if score >= 0.5
    }
    with pytest.raises(UsageError, match="threshold must be from 0 to 1, got 2"):
        predictor.predict(folder / "007.png", threshold=2.0)


def test_pictures_without_a_label_are_in_every_format(run, folder, clscli):
    def predict(form):
        arguments = ("--ckpt", run / "best.pth", "--device", "cpu", "--threshold", 1, "--format", form)
        return clscli("predict", folder / "000.png", *arguments).out

    assert predict("table") == f"{folder / '000.png'}  (no class)\n"
    assert predict("csv") == f"path,rank,class,score\n{folder / '000.png'},,,\n"
    assert json.loads(predict("jsonl")) == {"path": str(folder / "000.png"), "predictions": []}


def test_a_threshold_is_for_several_labels(trained, pictures, clscli):
    picture = next((pictures / "val/disc").iterdir())
    ckpt = trained / "best.pth"
    message = f"threshold: {ckpt} gives each picture one class -- a threshold is for several labels"
    for arguments in (("predict", picture), ("eval",)):
        shown = clscli(*arguments, "--ckpt", ckpt, "--threshold", 0.3, "--device", "cpu")
        assert shown.code == 2
        assert message in shown.err


# Several processes


@pytest.mark.slow
def test_two_processes_come_to_the_same_numbers(spec, tmp_path):
    spec["data"]["batch_size"] = 4
    Path("spec.toml").write_text(render_spec(spec))
    command = [sys.executable, "-m", "clscli", "train", "spec.toml", "--out", "two", "--device", "cpu"]
    subprocess.run([*command, "--devices", "2"], check=True, capture_output=True, timeout=300)
    spec["data"]["batch_size"] = 8
    package.train(spec, out="one", device="cpu")
    one, two = (
        [json.loads(line) for line in Path(name, "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    for key in ("loss", "map", "macro_f1", "micro_f1", "train_loss"):
        assert [row[key] for row in two] == pytest.approx([row[key] for row in one], rel=1e-4), key
