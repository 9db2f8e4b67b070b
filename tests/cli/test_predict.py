"""`clscli predict`: sources, formats, and what happens to pictures that cannot be read."""

import csv
import io
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from clscli import evaluate, load
from clscli.errors import DataError, UsageError


@pytest.fixture
def predict(clscli, trained):
    def run(*arguments, **kwargs):
        return clscli("predict", *arguments, "--ckpt", trained / "best.pth", "--device", "cpu", **kwargs)

    return run


def jsonl(text):
    return [json.loads(line) for line in text.splitlines()]


def test_all_kinds_of_sources_in_the_order_given(predict, pictures, tmp_path):
    val = pictures / "val"
    disc, square = (sorted((val / name).iterdir()) for name in ("disc", "square"))
    done = predict(
        *(square[3], val / "disc", f"{val}/square/00[01].png", "-", "--format", "jsonl"),
        stdin=f"{disc[5]}\n\n{square[5]}\r\n",
    )
    assert done.code == 0
    expected = [square[3], *disc, *square[:2], disc[5], square[5]]
    assert [row["path"] for row in jsonl(done.out)] == [str(path) for path in expected]


def test_a_folder_is_searched_to_any_depth_for_pictures_only(predict, pictures, tmp_path):
    source = pictures / "val/disc/000.png"
    for name in ("b/c/deep picture é.png", "a.PNG", ".hidden/x.png", "b/.y.png", "b/notes.txt"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, tmp_path / "in" / name)
    done = predict("in", "--format", "jsonl")
    assert [row["path"] for row in jsonl(done.out)] == ["in/a.PNG", "in/b/c/deep picture é.png"]


def test_formats_agree(predict, pictures, tmp_path):
    folder = pictures / "val/square"
    lines = predict(folder, "--format", "jsonl")
    rows = jsonl(lines.out)
    assert json.loads(predict(folder, "--format", "json").out) == rows
    table = list(csv.DictReader(io.StringIO(predict(folder, "--format", "csv").out)))
    assert [(r["path"], int(r["rank"]), r["class"], float(r["score"])) for r in table] == [
        (row["path"], rank, p["class"], p["score"])
        for row in rows
        for rank, p in enumerate(row["predictions"], start=1)
    ]
    first = predict(folder, "--topk", "1").out.splitlines()[0]
    best = rows[0]["predictions"][0]
    assert first == f"{rows[0]['path']}  {best['class']} {100 * best['score']:.1f} %"
    predict(folder, "--format", "jsonl", "--out", "result.jsonl")
    assert (tmp_path / "result.jsonl").read_text() == lines.out


def test_scores_are_probabilities_best_first_and_topk_is_clamped(predict, pictures):
    rows = jsonl(predict(pictures / "val", "--format", "jsonl", "--topk", "99").out)
    for row in rows:
        scores = [p["score"] for p in row["predictions"]]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1, abs=1e-6)
        assert {p["class"] for p in row["predictions"]} == {"disc", "square"}


def test_unreadable_pictures_are_named_and_the_others_predicted(predict, pictures, tmp_path):
    good = pictures / "val/disc/000.png"
    (tmp_path / "bad.png").write_bytes(good.read_bytes()[:60])
    done = predict("nope.jpg", good, "bad.png", good, "--format", "jsonl")
    assert done.code == 1
    rows = jsonl(done.out)
    assert [row["path"] for row in rows] == ["nope.jpg", str(good), "bad.png", str(good)]
    assert rows[0] == {"path": "nope.jpg", "error": "no such file"}
    assert rows[1]["predictions"][0]["class"] == rows[3]["predictions"][0]["class"]
    lines = done.err.splitlines()
    assert lines[0] == "nope.jpg: no such file"
    assert lines[1].startswith("bad.png: ")
    assert len(lines) == 2
    assert predict("two\nlines.jpg").err == "two\\nlines.jpg: no such file\n"
    done = predict("nope.jpg", good, "--format", "csv", "--topk", "1")
    assert (done.code, len(done.out.splitlines())) == (1, 2)


@pytest.mark.parametrize(
    ("source", "message"),
    [("empty", "empty: no pictures in this folder"), ("*.jpg", "*.jpg: matches no file")],
)
def test_sources_without_pictures(predict, tmp_path, source, message):
    (tmp_path / "empty").mkdir()
    assert predict(source) == (2, "", f"{message}\n")


def test_predict_agrees_with_eval_on_every_picture(predict, trained, pictures):
    rows = jsonl(predict(pictures / "val", "--format", "jsonl", "--topk", "1").out)
    confusion = [[0, 0], [0, 0]]
    for row in rows:
        true = "disc" if "/disc/" in row["path"] else "square"
        confusion[true == "square"][row["predictions"][0]["class"] == "square"] += 1
    assert confusion == evaluate(trained / "best.pth", device="cpu").confusion


def test_a_checkpoint_is_all_that_is_needed(predict, clscli, trained, pictures, tmp_path):
    shutil.copy(trained / "best.pth", tmp_path / "moved.pth")
    picture = pictures / "val/disc/001.png"
    moved = clscli("predict", picture, "--ckpt", "moved.pth", "--device", "cpu")
    assert moved.out == predict(picture).out


def test_the_api_takes_paths_bytes_and_images(trained, pictures):
    path = pictures / "val/square/002.png"
    predictor = load(trained / "best.pth", device="cpu")
    with Image.open(path) as image:
        results = [*predictor.predict([str(path), path.read_bytes(), image]), predictor.predict(path)]
    for result in results:  # other places in a batch are other kernels: equal but for the last digits
        assert [s.name for s in result.scores] == [s.name for s in results[0].scores]
        assert [s.score for s in result.scores] == pytest.approx([s.score for s in results[0].scores], abs=1e-5)
    with pytest.raises(DataError, match=r"^nope\.png: no such file$"):
        predictor.predict(["nope.png", path])


def test_pictures_of_any_size_are_predicted_when_the_pipeline_keeps_sizes(predict, tmp_path, pictures):
    path = pictures / "val/disc/000.png"
    with Image.open(path) as image:
        image.resize((31, 45)).save(tmp_path / "large.png")
    done = predict(path, "large.png", path, "--format", "jsonl")
    assert done.code == 0
    rows = jsonl(done.out)
    assert rows[0] == rows[2]  # each was alone in its batch


def test_a_reader_that_leaves_is_no_error(trained, pictures):
    command = [sys.executable, "-m", "clscli", "predict", str(pictures), "--ckpt", str(trained / "best.pth")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 1


def test_a_list_on_stdin_may_hold_folders_and_begin_with_a_mark(predict, pictures):
    folder = pictures / "val/disc"
    done = predict("-", "--format", "jsonl", stdin=f"\ufeff{folder}/003.png\n{folder}\n")
    assert [row["path"] for row in jsonl(done.out)] == [
        str(path) for path in (folder / "003.png", *sorted(folder.iterdir()))
    ]


def test_without_standard_input(predict, monkeypatch, clscli, trained):
    command = [sys.executable, "-m", "clscli", "predict", "-", "--ckpt", str(trained / "best.pth")]
    done = subprocess.run(f"{shlex.join(command)} <&-", shell=True, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "-: there is no standard input to read paths from\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", [["list", "backbones"], ["predict", "{picture}", "--ckpt", "{ckpt}"]])
def test_output_that_nobody_takes(command, trained, pictures):
    names = {"picture": pictures / "val/disc/000.png", "ckpt": trained / "best.pth"}
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "clscli", *(part.format(**names) for part in command)]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "cannot write the output: No space left on device\n")


def test_names_cannot_steer_the_terminal_or_stop_the_output(trained, pictures, tmp_path):
    shutil.copy(pictures / "val/disc/000.png", tmp_path / "\x1b[31mé.png")
    command = [sys.executable, "-m", "clscli", "predict", ".", "--ckpt", str(trained / "best.pth"), "--topk", "1"]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("\\x1b[31m\\xe9.png  ")
    command += ["--format", "jsonl"]
    line = subprocess.run(command, capture_output=True, check=True, env=environment).stdout
    assert json.loads(line)["path"] == "\x1b[31mé.png"


def test_topk_below_one(trained, pictures):
    with pytest.raises(UsageError, match=r"^topk must be at least 1, got 0$"):
        load(trained / "best.pth", device="cpu").predict(pictures / "val/disc/000.png", topk=0)
