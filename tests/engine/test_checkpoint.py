"""Checkpoints: nothing in them runs, and writing one never costs the one before."""

import os
import pickle
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from clscli.engine.checkpoint import load_checkpoint, save_checkpoint
from clscli.errors import CheckpointError, WriteError
from clscli.files import atomic_write


class Bomb:
    """Unpickling this leaves a file behind."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def refused(path):
    with pytest.raises(CheckpointError) as info:
        load_checkpoint(path)
    return str(info.value)


def test_a_pickle_bomb_does_not_go_off(clscli, trained, tmp_path):
    mark = tmp_path / "gone-off"
    data = torch.load(trained / "best.pth", weights_only=True)
    torch.save(data | {"metrics": Bomb(mark)}, tmp_path / "bomb.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(Bomb(mark)))
    for name in ("bomb.pth", "plain.pth"):
        expected = f"{name}: holds more than plain data, and is not loaded for safety"
        assert refused(name) == expected
        for command in (["predict", "x.jpg"], ["eval"]):
            assert clscli(*command, "--ckpt", name, "--device", "cpu") == (1, "", f"{expected}\n")
        assert clscli("train", "--resume", name, "--device", "cpu") == (1, "", f"{expected}\n")
    assert not mark.exists()
    torch.load(tmp_path / "bomb.pth", weights_only=False)  # the bomb is a real one
    assert mark.exists()


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(trained, tmp_path, share):
    data = (trained / "best.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(data[: int(share * len(data))])
    message = refused("cut.pth")
    assert message == "cut.pth: cannot be read: it is truncated, or no checkpoint"


def test_files_that_are_no_checkpoints(trained, tmp_path):
    torch.save({"conv.weight": torch.zeros(1)}, "weights.pth")
    assert refused("weights.pth") == (
        "weights.pth: is not a checkpoint of clscli's -- for weights alone: model.backbone.pretrained"
    )
    (tmp_path / "text.pth").write_text("hello")
    assert refused("text.pth") == "text.pth: cannot be read: it is truncated, or no checkpoint"
    (tmp_path / "spec.toml").write_text('[data]\nroot = "photos"\n')  # "[" begins no pickle that torch would read
    assert refused("spec.toml") == "spec.toml: cannot be read: it is truncated, or no checkpoint"
    assert refused("nope.pth") == "nope.pth: no such checkpoint"
    assert refused(tmp_path) == f"{tmp_path}: is a folder -- give the checkpoint in it: {tmp_path}/best.pth"
    data = torch.load(trained / "best.pth", weights_only=True)
    torch.save(data | {"format": 2}, "future.pth")
    assert refused("future.pth") == "future.pth: has format 2, this clscli reads format 1"
    torch.save(data | {"spec": "demo"}, "named.pth")
    assert refused("named.pth").startswith("named.pth: is not a checkpoint of clscli's")
    for key, wrong in (("weights", 3), ("versions", None), ("classes", "ab"), ("training", [])):
        torch.save(data | {key: wrong}, "part.pth")
        assert refused("part.pth") == f"part.pth: is incomplete: '{key}' is missing or of the wrong type"


def test_a_checkpoint_holds_what_its_documentation_says(trained):
    best = torch.load(trained / "best.pth", weights_only=True)
    assert set(best) == {
        *("format", "spec", "classes", "class_counts", "image_shape", "weights", "metrics", "versions")
    }
    assert best["classes"] == ["disc", "square"]
    assert best["class_counts"] == [12, 12]
    assert best["image_shape"] == [3, 20, 20]
    assert set(best["versions"]) == {"clscli", "torch"}
    last = torch.load(trained / "last.pth", weights_only=True)
    assert set(last) == {*best, "training"}


def test_weights_of_another_model(trained, clscli, pictures):
    data = torch.load(trained / "best.pth", weights_only=True)
    data["spec"]["model"]["backbone"]["base_channels"] = 8
    torch.save(data, "other.pth")
    done = clscli("predict", pictures, "--ckpt", "other.pth", "--device", "cpu")
    assert done.code == 1
    assert done.err.startswith("other.pth: the weights do not fit the model built here: ")


def test_a_spec_that_no_longer_fits(trained, clscli, pictures):
    data = torch.load(trained / "best.pth", weights_only=True)
    data["spec"]["model"]["backbone"]["gone"] = 8
    torch.save(data, "old.pth")
    done = clscli("predict", pictures, "--ckpt", "old.pth", "--device", "cpu")
    assert done.code == 1
    assert done.err.startswith(
        "old.pth: its spec does not fit what is installed here: spec: model.backbone.gone: "
        "backbone 'resnet18' has no parameter 'gone' -- "
    )
    assert done.err.endswith(f"(trained with clscli 0.1.0, torch {torch.__version__})\n")


@pytest.fixture
def small_disk():
    """Let this process write no file larger than 100 kB; the signal that would end it is ignored."""
    import signal

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, small_disk):
    path = tmp_path / "last.pth"
    save_checkpoint({"weights": torch.ones(10)}, path)
    before = path.read_bytes()
    with pytest.raises(WriteError) as info:
        save_checkpoint({"weights": torch.ones(1_000_000)}, path)
    assert str(info.value) == f"{path}: cannot be written: File too large -- the previous last.pth is untouched"
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_on_a_full_disk_ends_in_words(tiny_file):
    """The limit is for a process of its own, whose checkpoints of 1.1 MB do not fit."""
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000));"
        f"sys.argv = ['clscli', 'train', '{tiny_file}', '--device', 'cpu'];"
        "from clscli.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    last = done.stderr.splitlines()[-1]
    assert last == "runs/tiny/best.pth: cannot be written: File too large"


def test_an_error_while_writing_leaves_nothing_behind(tmp_path):
    def write(path):
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        write(tmp_path / "x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(WriteError, match=r"^nowhere/x: cannot be written: No such file or directory$"):
        write(Path("nowhere/x"))


def test_links_are_followed_and_devices_are_not_replaced(tmp_path):
    (tmp_path / "real.txt").write_text("old")
    (tmp_path / "link.txt").symlink_to("real.txt")
    with atomic_write(tmp_path / "link.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/stdout")):
        with atomic_write(path) as given:
            assert given == path
    with pytest.raises(WriteError, match=r": is a folder, not a file to write to$"), atomic_write(tmp_path):
        pass


def test_a_written_file_may_be_read_by_others(tmp_path):
    before = os.umask(0o022)
    try:
        save_checkpoint({}, tmp_path / "a.pth")
    finally:
        os.umask(before)
    assert (tmp_path / "a.pth").stat().st_mode & 0o777 == 0o644
