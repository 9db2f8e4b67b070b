"""The Python API: the commands' functions, imported only when they are used."""

import subprocess
import sys

import clscli
from clscli.engine.run_directory import RunDirectory


def test_importing_clscli_imports_no_torch():
    code = "import sys, clscli; assert 'torch' not in sys.modules; clscli.train; assert 'torch' in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_everything_public_is_there():
    assert sorted(clscli.__all__) == clscli.__all__
    for name in clscli.__all__:
        assert getattr(clscli, name).__doc__
        assert name in dir(clscli)


def test_train_evaluate_predict_and_load_agree(tiny, pictures):
    result = clscli.train(tiny, out="run", device="cpu")
    assert str(result.checkpoint) == "run/best.pth"
    assert result.last == RunDirectory(result.run).read_metrics()[-1]
    assert clscli.evaluate(result.checkpoint, device="cpu").top1 == result.best["top1"]
    picture = pictures / "val/disc/000.png"
    one = clscli.predict(picture, ckpt=result.checkpoint, device="cpu")
    assert one == clscli.load("run/best.pth", device="cpu").predict(str(picture))
    assert {score.name for score in one.scores} == {"disc", "square"}


def test_commands_and_functions_mean_the_same(clscli, tiny_file, pictures):
    import clscli as api

    clscli("train", tiny_file, "--device", "cpu", "--set", "train.epochs=2", "--set", "optimizer.lr=0.02")
    result = api.train(tiny_file, device="cpu", sets=["train.epochs=2", "optimizer.lr=0.02"])
    assert str(result.run) == "runs/tiny-2"
    rows = [RunDirectory(result.run.parent / name).read_metrics() for name in ("tiny", "tiny-2")]
    for one, two in zip(*rows, strict=True):
        timed = {"seconds": 0, "images_per_second": 0, "data_wait": 0}
        assert one | timed == two | timed
