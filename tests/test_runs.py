"""Runs that are stopped, killed and resumed, in real processes."""

import json
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import tiny_spec

from clscli import resume, train
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.run_directory import RunDirectory
from clscli.spec import render_spec

EPOCHS = 12
TIMED = ("seconds", "images_per_second", "data_wait")


def start(*arguments):
    command = [sys.executable, "-m", "clscli", "train", *map(str, arguments), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)


def finish(process):
    """Wait for a run that must end well; return its result on stdout."""
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    return out


def wait_for_epochs(run, count, process):
    """Wait until a run has finished some epochs; fail when it ends before."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        path = run / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.002)
    raise AssertionError("the run does not get on")


def rows(run):
    lines = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMED} for line in lines]


def weights(run, name="last.pth"):
    return load_checkpoint(run / name).weights


def assert_same_run(one, two):
    assert rows(one) == rows(two)
    for name in ("last.pth", "best.pth"):
        first, second = weights(one, name), weights(two, name)
        assert all(torch.equal(first[key], second[key]) for key in first)
    states = [load_checkpoint(run / "last.pth").training["optimizer"]["state"] for run in (one, two)]
    for index in states[0]:
        assert torch.equal(states[0][index]["exp_avg"], states[1][index]["exp_avg"])


@pytest.fixture(scope="module")
def spec(pictures, tmp_path_factory):
    """A run of twelve epochs of twelve steps, with dropout, random crops and flips."""
    spec = tiny_spec(pictures)
    spec["data"] |= {"batch_size": 2, "num_workers": 1}
    spec["train"]["epochs"] = EPOCHS
    path = tmp_path_factory.mktemp("spec") / "tiny.toml"
    path.write_text(render_spec(spec), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def straight(spec):
    """The run that nobody stops."""
    run = spec.parent / "straight"
    finish(start(spec, "--out", run))
    return run


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_ends_like_one_that_never_stopped(spec, straight, tmp_path, number):
    run = tmp_path / "stopped"
    process = start(spec, "--out", "stopped")
    wait_for_epochs(run, 3, process)
    time.sleep(0.03)  # into the middle of an epoch
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if number == signal.SIGKILL:
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 130
        last = err.splitlines()[-1]
        assert last.startswith(f"interrupted ({number.name}) in epoch ")
        assert last.endswith("saved stopped/last.pth -- go on with: clscli train --resume stopped")
        assert "Traceback" not in err
    assert len(rows(run)) < EPOCHS

    process = start("--resume", "stopped", "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "going on with stopped at epoch " in err
    result = json.loads(out)
    assert result["run"] == "stopped"
    assert result["last"]["epoch"] == EPOCHS
    assert_same_run(run, straight)


KILLS = 20


@pytest.fixture
def begin(monkeypatch):
    """Begin a call in a process of its own, which need not import torch first."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["clscli.engine.trainer", "torchvision.transforms.v2"])

    def begin(function, *arguments, **options):
        process = context.Process(target=function, args=arguments, kwargs={**options, "device": "cpu"})
        process.start()
        return process

    return begin


def wait_for_saves(file, count, process):
    """Wait until a checkpoint has been written anew some times, or its process has ended."""
    written = file.stat().st_mtime_ns if file.exists() else 0
    while count and process.is_alive():
        now = file.stat().st_mtime_ns if file.exists() else 0
        count, written = count - (now != written), now
        time.sleep(0.001)


@pytest.mark.slow
def test_a_run_killed_twenty_times_ends_like_one_that_never_was(pictures, begin, tmp_path):
    spec = tiny_spec(pictures)  # without workers, which would take longer to start than is left to live
    spec["data"]["batch_size"] = 2
    spec["train"]["epochs"] = 20
    spec["hooks"] = [{"type": "checkpoint", "every_steps": 3, "keep": 1}, {"type": "ema", "decay": 0.9}]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    process = begin(train, spec, out=straight)
    process.join()
    assert process.exitcode == 0

    moments = random.Random(0)
    starts = set()
    for number in range(KILLS):
        process = begin(resume, killed) if number else begin(train, spec, out=killed)
        # Some while they start, some after a save or in the middle of the next one; the first can be resumed.
        wait_for_saves(killed / "last.pth", moments.randrange(3) if number else 1, process)
        time.sleep(moments.uniform(0, 0.02))
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL, f"the run was over after {number} kills"
        progress = load_checkpoint(killed / "last.pth").training["progress"]
        starts.add((progress["epoch"], progress["batch"]))
    assert len(starts) > KILLS / 4  # it got on in between
    assert any(batch for _, batch in starts)  # also from the middle of an epoch

    process = begin(resume, killed)
    process.join()
    assert process.exitcode == 0
    assert_same_run(killed, straight)


@pytest.mark.slow
def test_one_seed_gives_one_result_for_any_number_of_workers(spec, straight, tmp_path):
    for workers in (0, 2):
        finish(start(spec, "--out", f"workers-{workers}", "--set", f"data.num_workers={workers}"))
        assert rows(tmp_path / f"workers-{workers}") == rows(straight)
    finish(start(spec, "--out", "other", "--set", "seed=1"))
    assert rows(tmp_path / "other") != rows(straight)


@pytest.mark.slow
def test_a_second_interrupt_ends_at_once(spec, tmp_path):
    process = start(spec, "--out", "run")
    wait_for_epochs(tmp_path / "run", 1, process)
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


def test_a_complete_run_has_nothing_to_go_on_with(clscli, trained, tmp_path):
    before = {path: path.read_bytes() for path in trained.iterdir() if path.suffix == ".pth"}
    result = resume(trained, device="cpu")
    assert result.last["epoch"] == 6
    assert {path: path.read_bytes() for path in before} == before


def test_only_last_can_be_resumed(clscli, trained):
    done = clscli("train", "--resume", trained / "best.pth", "--device", "cpu")
    assert done.code == 1
    assert done.err == f"{trained}/best.pth: has only what eval and predict need -- resume from last.pth\n"


def test_two_processes_cannot_train_one_run(clscli, trained):
    run = RunDirectory(trained)
    with run.lock():
        done = clscli("train", "--resume", trained, "--device", "cpu")
    assert done == (2, "", f"{trained}: another process is training in this run directory\n")
    assert clscli("train", "--resume", trained, "--device", "cpu").code == 0


def test_changed_pictures_are_noticed_though_their_number_is_the_same(clscli, tiny, pictures, tmp_path):
    shutil.copytree(pictures, "photos")
    Path("tiny.toml").write_text(render_spec(tiny | {"data": tiny["data"] | {"root": "photos"}}))
    clscli("train", "tiny.toml", "--device", "cpu", "--set", "train.epochs=1")
    data = torch.load("runs/tiny/last.pth", weights_only=True)
    data["spec"]["train"]["epochs"] = 2
    torch.save(data, "runs/tiny/last.pth")
    note = "note: the pictures have changed, so this is not the run that was stopped"
    Path("photos/train/disc/000.png").rename("photos/train/disc/zzz.png")
    assert note in clscli("train", "--resume", "runs/tiny", "--device", "cpu").err
    Path("photos/train/disc/zzz.png").rename("photos/train/disc/000.png")
    torch.save(data, "runs/tiny/last.pth")
    assert note not in clscli("train", "--resume", "runs/tiny", "--device", "cpu").err


def test_a_best_checkpoint_that_is_gone(clscli, trained, tmp_path):
    run = shutil.copytree(trained, tmp_path / "run")
    (run / "best.pth").unlink()
    done = clscli("train", "--resume", run, "--device", "cpu")
    assert done.code == 1
    assert done.err.endswith(
        f"{run}/best.pth: is gone, and the run is complete -- {run}/last.pth is its last epoch\n"
    )
    data = torch.load(run / "last.pth", weights_only=True)
    data["spec"]["train"]["epochs"] = 7
    torch.save(data, run / "last.pth")
    done = clscli("train", "--resume", run, "--device", "cpu", "--json")
    assert f"note: {run}/best.pth is gone: the best of the epochs to come will be" in done.err
    assert json.loads(done.out)["best"]["epoch"] == 7
    assert load_checkpoint(run / "best.pth").metrics["epoch"] == 7


def test_metrics_that_were_cut_short_are_left_out(trained, tmp_path):
    run = RunDirectory(shutil.copytree(trained, tmp_path / "run"))
    with run.metrics.open("a") as file:
        file.write('{"epoch": 7, "a": {}')
    assert [row["epoch"] for row in run.read_metrics()] == [1, 2, 3, 4, 5, 6]
    run.keep_metrics(2)
    assert [json.loads(line)["epoch"] for line in run.metrics.read_text().splitlines()] == [1, 2]
