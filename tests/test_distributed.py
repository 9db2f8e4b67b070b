"""Several processes train as one does: the same numbers, one that writes, and all of them stop together."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import draw_folder, tiny_spec
from torch import nn

import clscli
from clscli.data.loader import auto_workers
from clscli.data.order import BatchOrder
from clscli.data.samplers import Shuffled
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.distributed import ALONE, processes_started, synchronize_batch_norm
from clscli.errors import Interrupted, TrainingError
from clscli.spec import render_spec

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}
SHARED = ("epoch", "step", "lr", "train_top1", "top1", "top5", "macro_f1", "unreadable")
STEADY = {"type": "constant", "warmup_epochs": 0.0}
SUMMED = ("train_loss", "loss")  # in another order, and so with other last digits

# Train all of some specs, one after another.
SCRIPT = """
import json, sys, clscli
for name, spec in json.load(open(sys.argv[1])).items():
    clscli.train(spec, out=name, device="cpu")
"""

VARIANTS = {
    "plain": {},
    "accumulation": {"train": {"accumulation_steps": 2, "clip_grad_norm": 0.5}},
    "freezing": {"train": {"freeze_epochs": 1}},
    "plateau": {"train": {"val_every_steps": 1}, "scheduler": {"type": "reduce_on_plateau", "patience": 0}},
    "sum": {"model": {"loss": {"type": "cross_entropy", "reduction": "sum"}}, "optimizer": {"lr": 0.001}},
    "hooks": {
        "hooks": [
            {"type": "ema", "decay": 0.5},
            {"type": "early_stopping", "patience": 1},
            {"type": "checkpoint", "every_steps": 1},
            {"type": "csv_log"},
            {"type": "model_average", "k": 2},
        ]
    },
    # Not Adam, which takes a whole step for the last digits of a gradient: alone, some are 0 but for rounding.
    "unreadable": {
        "data": {"batch_size": 1, "on_bad_image": "skip"},
        "optimizer": {"type": "sgd", "lr": 0.03},
    },
    "memory": {"data": {"cache": "memory", "num_workers": 1}},
}


def plain_spec(root):
    """A network without batch norm and dropout: what it computes does not depend on the slices."""
    spec = tiny_spec(root)
    resize = {"type": "resize", "size": 32}
    spec["transforms"] = {"train": [{"type": "random_horizontal_flip"}, resize], "eval": [resize]}
    spec["model"] = {"backbone": {"type": "lenet5"}, "head": {"type": "linear"}}
    spec["data"]["batch_size"] = 5
    spec["data"]["root"] = str(root)
    return spec


def variant(spec, changes):
    spec = copy.deepcopy(spec)
    for table, keys in changes.items():
        spec[table] = keys if isinstance(keys, list) else {**spec.get(table, {}), **keys}
    return spec


def launched(*arguments):
    """Start `clscli train ... --devices 2`."""
    command = [sys.executable, "-m", "clscli", "train", *map(str, arguments), "--device", "cpu", "--devices", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(command, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, **pipes)


def wait_for_epochs(run, count, process):
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        path = run / "metrics.jsonl"
        if path.exists() and len(path.read_text().splitlines()) >= count:
            return
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    raise AssertionError("the run does not get on")


def rows(run):
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def weights(path):
    return load_checkpoint(path).weights


def assert_alike(one, two, tolerance=1e-4):
    """Compare two runs whose sums were taken in another order."""
    for first, second in zip(rows(one), rows(two), strict=True):
        assert [first[key] for key in SHARED if key in first] == [second[key] for key in SHARED if key in second]
        for key in SUMMED:
            assert first.get(key) == pytest.approx(second.get(key), rel=tolerance)
    for name in ("last.pth", "best.pth"):
        ours, theirs = weights(Path(one, name)), weights(Path(two, name))
        assert ours.keys() == theirs.keys()
        assert all(torch.allclose(ours[key], theirs[key], atol=tolerance) for key in ours)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures; in a copy of them, `broken`, one of the training and one of the validation is damaged."""
    root = draw_folder(tmp_path_factory.mktemp("distributed") / "pictures", {"train": 11, "val": 6})
    broken = root.parent / "broken"
    for path in root.rglob("*.png"):
        copied = broken / path.relative_to(root)
        copied.parent.mkdir(parents=True, exist_ok=True)
        copied.write_bytes(path.read_bytes())
    for name in ("train/disc/003.png", "val/square/001.png"):
        whole = (broken / name).read_bytes()
        # The end is there, so that only decoding finds the damage in the middle.
        (broken / name).write_bytes(whole[:200] + bytes(len(whole) - 400) + whole[-200:])
    return root


@pytest.fixture(scope="module")
def both(folder, tmp_path_factory):
    """Runs of all variants in one process and in two; returns their directory and what the two have printed."""
    home = tmp_path_factory.mktemp("both")
    one, two = {}, {}
    for name, changes in VARIANTS.items():
        spec = plain_spec(folder if name != "unreadable" else folder.parent / "broken")
        two[f"two-{name}"] = variant(spec, changes)
        one[f"one-{name}"] = copy.deepcopy(two[f"two-{name}"])
        one[f"one-{name}"]["data"]["batch_size"] *= 2
    (home / "train_all.py").write_text(SCRIPT)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for specs, start in ((one, []), (two, launcher)):
        (home / "specs.json").write_text(json.dumps(specs))
        command = [sys.executable, *start, "train_all.py", "specs.json"]
        done = subprocess.run(command, cwd=home, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr
    return home


@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_train_like_one_with_twice_the_batch(both, name):
    assert_alike(both / f"one-{name}", both / f"two-{name}")
    files = [sorted(path.name for path in Path(both / f"{n}-{name}").iterdir()) for n in ("one", "two")]
    assert files[0] == files[1]


@pytest.mark.slow
def test_what_cannot_be_read_is_counted_once(both):
    assert [row["unreadable"] for row in rows(both / "two-unreadable")] == [2, 2, 2]
    log = (both / "two-unreadable" / "train.log").read_text()
    assert log.count("skipped: 2 pictures cannot be read") == 3


@pytest.fixture
def long_file(folder):
    """A spec of more epochs than a test waits for."""
    spec = variant(plain_spec(folder), {"train": {"epochs": 5000}, "scheduler": STEADY})
    Path("long.toml").write_text(render_spec(spec))
    return Path("long.toml")


@pytest.mark.slow
def test_the_command_starts_them_and_one_speaks(folder, tmp_path):
    Path("plain.toml").write_text(render_spec(plain_spec(folder)))
    process = launched("plain.toml", "--out", "run", "--json")
    out, err = process.communicate(timeout=100)
    assert process.returncode == 0, err
    assert json.loads(out)["run"] == "run"
    lines = err.splitlines()
    assert lines[1] == "2 processes: 10 pictures a batch, 5 for each of them"
    assert [line.split()[1] for line in lines if line.startswith("epoch")] == ["1/3", "2/3", "3/3"]


@pytest.mark.slow
def test_a_process_that_is_killed_ends_the_run_in_words(long_file, tmp_path):
    process = launched(long_file, "--out", "run")
    wait_for_epochs(tmp_path / "run", 2, process)
    workers = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not workers.exists():
        process.terminate()
        pytest.skip("needs Linux to find the processes")
    ranks = {}
    for pid in workers.read_text().split():
        variables = dict(v.split("=", 1) for v in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in v)
        ranks[variables.get("RANK")] = int(pid)
    os.kill(ranks["1"], signal.SIGKILL)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "another process of the run has ended -- the last checkpoint is run/last.pth" in err
    assert err.splitlines()[-1] == (
        "process 1 of 2 was ended by SIGKILL, and the others with it "
        "-- go on from the last checkpoint: clscli train --resume RUN"
    )
    before = load_checkpoint("run/last.pth").training["progress"]
    process = launched("--resume", "run")
    wait_for_epochs(tmp_path / "run", before["epoch"] + 2, process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"going on with run at epoch {before['epoch'] + 1}" in err


@pytest.mark.slow
def test_one_process_goes_on_where_two_were_interrupted(long_file, folder, tmp_path):
    process = launched(long_file, "--out", "run", "--set", "hooks=[{type='checkpoint',every_steps=1}]")
    wait_for_epochs(tmp_path / "run", 1, process)
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.splitlines()[-1].startswith("interrupted (SIGTERM) in epoch ")
    assert "Traceback" not in err
    saved = load_checkpoint("run/last.pth")
    assert saved.training["batch_size"] == 10
    step = saved.training["progress"]["step"]

    class StopLater(clscli.observer.Observer):
        def tick(self, amount):
            if amount and load_checkpoint("run/last.pth").training["progress"]["step"] >= step + 3:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        clscli.resume("run", device="cpu", observer=StopLater())
    resumed = load_checkpoint("run/last.pth")
    reached = resumed.training["progress"]
    assert resumed.training["batch_size"] == 10

    # One process with the same batches all the way.
    spec = plain_spec(folder)
    spec = variant(spec, {"train": {"epochs": reached["epoch"] + 1}, "scheduler": STEADY})
    spec["data"]["batch_size"] = 10
    spec["hooks"] = [{"type": "checkpoint", "every_steps": 1, "keep": 1000}]
    clscli.train(spec, out="straight", device="cpu")
    straight = weights(f"straight/step_{reached['step']:08}.pth")
    assert all(torch.allclose(tensor, resumed.weights[name], atol=1e-3) for name, tensor in straight.items())


@pytest.mark.slow
def test_a_mistake_is_reported_once(folder, tmp_path):
    Path("plain.toml").write_text(render_spec(plain_spec(folder)))
    process = launched("plain.toml", "--data", "nowhere")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err == f"--data nowhere: data.root: {tmp_path}/nowhere: no such folder\n"


@pytest.mark.parametrize(("samples", "batch_size", "processes"), [(23, 10, 2), (24, 8, 4), (5, 4, 4), (1, 2, 2)])
@pytest.mark.parametrize("is_shuffled", [True, False])
def test_slices_make_up_the_batches(samples, batch_size, processes, is_shuffled):
    sampler = Shuffled(torch.zeros(samples)) if is_shuffled else None
    whole = list(BatchOrder(samples, batch_size, 0, sampler))
    ranks = range(processes)
    slices = [list(BatchOrder(samples, batch_size, 0, sampler, rank=r, processes=processes)) for r in ranks]
    assert [[draw for part in parts for draw in part] for parts in zip(*slices, strict=True)] == whole
    for parts in zip(*slices, strict=True):
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_cores_are_shared_by_the_processes_of_a_machine():
    assert auto_workers(processes=10_000) == 1
    assert auto_workers(processes=2) <= auto_workers()


def test_alone_nothing_is_exchanged():
    tensor, value = torch.ones(2), object()
    assert ALONE.total(tensor) is tensor
    assert ALONE.from_main(value) is value
    assert ALONE.gather(value) == [value]
    assert (ALONE.sum(3), ALONE.max(3)) == (3, 3)
    model = nn.Linear(2, 2)
    assert ALONE.replicate(model) is model


def test_a_launcher_is_known_by_what_torch_needs():
    launcher = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "localhost", "MASTER_PORT": "1"}
    assert processes_started(launcher) == 4
    assert processes_started({"WORLD_SIZE": "4"}) == 1


def test_batch_norm_is_synchronized_on_cuda_alone():
    with pytest.raises(TrainingError, match=r"^train\.sync_batch_norm: torch has it for CUDA alone"):
        synchronize_batch_norm(nn.BatchNorm2d(2), torch.device("cpu"))
    model = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())
    weight = model[0].weight
    synchronize_batch_norm(model, torch.device("cuda"))
    assert type(model[0]) is nn.SyncBatchNorm
    assert model[0].weight is weight

    class Own(nn.BatchNorm2d):
        pass

    with pytest.raises(TrainingError, match=r"^train\.sync_batch_norm: 0 is a Own, which torch cannot convert"):
        synchronize_batch_norm(nn.Sequential(Own(2)), torch.device("cuda"))


def test_devices_that_cannot_be_are_refused(clscli, tiny_file, monkeypatch):
    done = clscli("train", tiny_file, "--devices", 2, "--device", "cuda:1")
    assert done.code == 2
    assert done.err == "--devices 2: each process takes a GPU of its own -- remove --device cuda:1\n"
    monkeypatch.setenv("WORLD_SIZE", "4")
    done = clscli("train", tiny_file, "--devices", 2)
    assert done.code == 2
    assert done.err == "--devices 2: a launcher has started 4 processes -- remove --devices\n"
