"""`clscli eval`: every sample once, the same numbers every time, and the tables that users ask for."""

import csv
import json
import shutil

import pytest
from conftest import draw_folder, draw_picture

from clscli import evaluate, load
from clscli.engine.run_directory import RunDirectory


def test_json_has_the_documented_keys_and_is_the_same_twice(clscli, trained):
    first, second = (clscli("eval", "--ckpt", trained / "best.pth", "--json", "--device", "cpu") for _ in range(2))
    assert first.code == 0
    assert first.out == second.out
    result = json.loads(first.out)
    assert list(result) == [
        *("samples", "loss", "top1", "top5", "macro_precision", "macro_recall", "macro_f1", "balanced_accuracy"),
        *("per_class", "confusion", "classes", "unreadable"),
    ]
    assert result["samples"] == 12
    assert result["classes"] == ["disc", "square"]
    assert [c["support"] for c in result["per_class"]] == [6, 6]
    assert sum(map(sum, result["confusion"])) == 12
    assert result["top5"] == 1.0  # of two classes, both are among the best two


def test_it_gives_the_numbers_of_the_best_epoch(clscli, trained):
    result = json.loads(clscli("eval", "--ckpt", trained / "best.pth", "--json", "--device", "cpu").out)
    rows = RunDirectory(trained).read_metrics()
    best = max(rows, key=lambda row: (row["top1"], -row["loss"]))
    assert (result["top1"], result["macro_f1"]) == (best["top1"], best["macro_f1"])
    assert result["loss"] == pytest.approx(best["loss"], rel=1e-6)


def test_batches_and_workers_do_not_change_what_is_counted(trained, pictures):
    predictor = load(trained / "best.pth", device="cpu")
    expected = [[0, 0], [0, 0]]
    for i, name in enumerate(("disc", "square")):
        for path in sorted((pictures / "val" / name).iterdir()):
            expected[i][predictor.classes.index(predictor.predict(path).top)] += 1
    assert evaluate(trained / "best.pth", device="cpu").confusion == expected


def test_the_table_for_people(clscli, trained):
    done = clscli("eval", "--ckpt", trained / "best.pth", "--device", "cpu")
    totals, classes, confusion = done.out.split("\n\n")
    assert totals.splitlines()[0].split() == ["samples", "loss", "top-1", "top-2", "balanced", "accuracy"]
    assert [line.split()[0] for line in classes.splitlines()] == ["class", "disc", "square", "macro"]
    assert confusion.splitlines()[0].split() == ["true", "\\", "predicted", "disc", "square"]


def test_out_writes_tables_and_a_picture(clscli, trained, tmp_path):
    done = clscli("eval", "--ckpt", trained / "best.pth", "--out", "report", "--json", "--device", "cpu")
    result = json.loads(done.out)
    assert json.loads((tmp_path / "report/metrics.json").read_text()) == result
    with (tmp_path / "report/confusion.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    assert rows[0] == ["true \\ predicted", "disc", "square"]
    assert [[int(n) for n in row[1:]] for row in rows[1:]] == result["confusion"]
    with (tmp_path / "report/per_class.csv").open(newline="") as file:
        assert [row["class"] for row in csv.DictReader(file)] == ["disc", "square"]
    assert (tmp_path / "report/confusion.png").read_bytes().startswith(b"\x89PNG")


def test_another_folder_whose_classes_are_matched_by_name(clscli, trained, tmp_path):
    root = draw_folder(tmp_path / "more", {"test": 3})
    shutil.rmtree(root / "test/disc")  # only "square" is left: index 0 of its own, 1 of the model
    options = ("--ckpt", trained / "best.pth", "--json", "--device", "cpu")
    done = clscli("eval", *options, "--data", root / "test")
    assert done.err == "note: no pictures of: disc; these classes are in no average\n"
    tree = json.loads(done.out)
    assert tree["macro_recall"] == tree["per_class"][1]["recall"]
    assert [c["support"] for c in tree["per_class"]] == [0, 3]
    assert json.loads(clscli("eval", *options, "--data", root, "--split", "test").out) == tree


def test_what_cannot_be_evaluated(clscli, trained, tmp_path):
    root = draw_folder(tmp_path / "more", {"train": 1})
    ckpt = trained / "best.pth"
    assert clscli("eval", "--ckpt", "nope.pth") == (2, "", "--ckpt nope.pth: no such file\n")
    assert clscli("eval", "--ckpt", ckpt, "--split", "vall") == (
        2,
        "",
        "--split vall: there are val, test and train\n",
    )
    assert clscli("eval", "--ckpt", ckpt, "--data", root, "--device", "cpu") == (
        *(1, ""),
        f"{root}: has no pictures of the split 'val' -- there are: train\n",
    )
    assert clscli("eval", "--ckpt", ckpt, "--data", "nowhere", "--device", "cpu") == (
        *(1, ""),
        "nowhere: no such folder\n",
    )
    assert clscli("eval", "--ckpt", ckpt, "--split", "test", "--device", "cpu") == (
        *(1, ""),
        "the spec's data has no split 'test' -- give a folder: --data DIR\n",
    )
    draw_picture(root / "train/triangle/1.png", "disc", seed=1)
    assert clscli("eval", "--ckpt", ckpt, "--data", root / "train", "--device", "cpu") == (
        *(1, ""),
        f"{root}/train: has classes that the model does not know: 'triangle' (it knows 'disc', 'square')\n",
    )


def test_an_unreadable_picture_stops_it_by_default(clscli, trained, tmp_path):
    root = draw_folder(tmp_path / "more", {"val": 2})
    (root / "val/disc/bad.png").write_bytes(b"no picture")
    done = clscli("eval", "--ckpt", trained / "best.pth", "--data", root, "--device", "cpu")
    assert done == (
        *(1, ""),
        f"{root}/val/disc/bad.png: not a picture, or of a format that cannot be read "
        '-- mend or remove it, or set data.on_bad_image = "skip"\n',
    )
