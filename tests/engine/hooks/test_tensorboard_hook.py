"""The hook `tensorboard`: what TensorBoard then reads. With the real package, if it is installed."""

import sys

import pytest
from hook_runs import rows, stop_after

from clscli import resume, train

MISSING = "hook 'tensorboard': needs the package tensorboard -- pip install 'clscli[tensorboard]'"


def test_without_the_package_nothing_starts(clscli, tiny_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    done = clscli("train", tiny_file, "--set", "hooks=[{type='tensorboard'}]", "--out", "run")
    assert (done.code, done.err) == (2, f"--set hooks=[{{type='tensorboard'}}]: hooks.0: {MISSING}\n")
    assert not tiny_file.with_name("run").exists()


@pytest.fixture
def read():
    """Read the events of a run as TensorBoard does."""
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def read(run):
        events = EventAccumulator(str(run / "tensorboard"))
        events.Reload()
        return events

    return read


def curve(events, name):
    return [(event.step, pytest.approx(event.value)) for event in events.Scalars(name)]


def test_curves_and_pictures_are_shown(read, tiny, tmp_path):
    tiny["hooks"] = [{"type": "tensorboard", "images": 3}]
    train(tiny, out=tmp_path / "run", device="cpu")
    events = read(tmp_path / "run")
    for name in ("lr", "train_loss", "loss", "top1", "macro_f1"):
        assert curve(events, name) == [(row["step"], row[name]) for row in rows(tmp_path / "run")]
    (pictures,) = events.Images("training pictures")
    assert (pictures.step, pictures.width, pictures.height) == (1, 3 * 20, 20)


def test_pictures_and_graph_are_optional(read, tiny, tmp_path):
    tiny["hooks"] = [{"type": "tensorboard", "images": 0}]
    train(tiny, out=tmp_path / "run", device="cpu")
    assert read(tmp_path / "run").Tags()["images"] == []
    assert not read(tmp_path / "run").Tags()["graph"]


def test_the_graph_shows_the_operators(read, tiny, tmp_path):
    tiny["hooks"] = [{"type": "tensorboard", "images": 0, "graph": True}]
    train(tiny, out=tmp_path / "run", device="cpu")
    operators = {node.op for node in read(tmp_path / "run").Graph().node}
    assert "aten::_convolution" in operators


def test_a_resumed_run_has_no_point_twice(read, tiny, tmp_path):
    tiny["hooks"] = [{"type": "tensorboard", "images": 0}]
    train(tiny, out=tmp_path / "straight", device="cpu")
    run = tmp_path / "stopped"
    stop_after(4, tiny, run)
    before = (run / "last.pth").read_bytes()
    with pytest.MonkeyPatch.context() as patch:
        # As if it had been killed after the point of the second epoch, before its checkpoint.
        patch.setattr("clscli.engine.recorder.Recorder.record", lambda self, result: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            resume(run, device="cpu")
    assert (run / "last.pth").read_bytes() == before
    resume(run, device="cpu")
    straight, stopped = read(tmp_path / "straight"), read(run)
    for name in ("lr", "train_loss", "top1"):
        assert [(e.step, e.value) for e in stopped.Scalars(name)] == [
            (e.step, e.value) for e in straight.Scalars(name)
        ]
