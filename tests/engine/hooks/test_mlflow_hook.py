"""The hook `mlflow`: what it sends. With the real package and a local store, if it is installed."""

import sys
from types import ModuleType, SimpleNamespace
from typing import NamedTuple

import pytest
from hook_runs import rows, stop_after

from clscli import resume, train
from clscli.engine.checkpoint import load_checkpoint


class _Param(NamedTuple):
    key: str
    value: str


class _Metric(NamedTuple):
    key: str
    value: float
    timestamp: int
    step: int


class _Store:
    """What a server would keep; also the client of it."""

    def __init__(self):
        self.uris, self.runs, self.experiments = [], [], {}
        self.params, self.metrics, self.ended = {}, [], []

    def __call__(self, uri):
        self.uris.append(uri)
        return self

    def get_experiment_by_name(self, name):
        return SimpleNamespace(experiment_id=self.experiments[name]) if name in self.experiments else None

    def create_experiment(self, name):
        self.experiments[name] = str(len(self.experiments))
        return self.experiments[name]

    def create_run(self, experiment, run_name):
        self.runs.append((experiment, run_name))
        return SimpleNamespace(info=SimpleNamespace(run_id=f"run-{len(self.runs)}"))

    def log_batch(self, run, metrics=(), params=()):
        assert len(params) <= 100, "MLflow refuses more in one request"
        self.params |= {(run, param.key): param.value for param in params}
        self.metrics += [(run, metric) for metric in metrics]

    def set_terminated(self, run):
        self.ended.append(run)


@pytest.fixture
def store(monkeypatch):
    """Put a stand-in in MLflow's place; return what it keeps."""
    module = ModuleType("mlflow")
    module.__file__ = "mlflow.py"
    module.MlflowClient = _Store()
    module.entities = SimpleNamespace(Param=_Param, Metric=_Metric)
    monkeypatch.setitem(sys.modules, "mlflow", module)
    return module.MlflowClient


def test_without_the_package_nothing_starts(clscli, tiny_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = clscli("train", tiny_file, "--set", "hooks=[{type='mlflow'}]")
    reason = "hook 'mlflow': needs the package mlflow -- pip install 'clscli[mlflow]'"
    assert (done.code, done.err) == (2, f"--set hooks=[{{type='mlflow'}}]: hooks.0: {reason}\n")


def test_the_spec_and_every_epoch_are_sent(store, tiny, tmp_path):
    tiny["hooks"] = [{"type": "mlflow", "experiment": "shapes", "tracking_uri": "here"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    assert store.uris == ["here"]
    assert (store.experiments, store.runs) == ({"shapes": "0"}, [("0", "run")])
    assert store.params["run-1", "model.backbone.type"] == "resnet18"
    assert store.params["run-1", "model.backbone.layers.3"] == "1"
    assert store.params["run-1", "hooks.0.experiment"] == "shapes"
    for name in ("epoch", "lr", "train_loss", "loss", "top1"):
        points = [(metric.step, metric.value) for _, metric in store.metrics if metric.key == name]
        assert points == [(row["step"], row[name]) for row in rows(tmp_path / "run")]
    assert store.ended == ["run-1"]


def test_a_second_run_joins_the_experiment(store, tiny, tmp_path):
    tiny["hooks"] = [{"type": "mlflow", "name": "mine"}]
    tiny["train"]["epochs"] = 1
    for number in (1, 2):
        train(tiny, out=tmp_path / f"run-{number}", device="cpu")
    assert (store.experiments, store.runs) == ({"clscli": "0"}, [("0", "mine"), ("0", "mine")])


def test_a_resumed_run_goes_on_under_its_id(store, tiny, tmp_path):
    tiny["hooks"] = [{"type": "mlflow"}]
    stop_after(4, tiny, tmp_path / "run")
    assert store.ended == []
    resume(tmp_path / "run", device="cpu")
    assert len(store.runs) == 1
    assert [(run, m.step) for run, m in store.metrics if m.key == "top1"] == [("run-1", s) for s in (3, 6, 9)]
    assert store.ended == ["run-1"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the package's own
def test_the_real_package_takes_it_locally(tiny, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow = pytest.importorskip("mlflow")
    uri = (tmp_path / "mlruns").as_uri()
    tiny["hooks"] = [{"type": "mlflow", "tracking_uri": uri}]
    train(tiny, out=tmp_path / "run", device="cpu")
    (kept,) = load_checkpoint(tmp_path / "run/last.pth").training["hooks"]
    client = mlflow.MlflowClient(uri)
    run = client.get_run(kept["id"])
    assert run.info.status == "FINISHED"
    assert run.data.params["train.epochs"] == "3"
    points = [(metric.step, metric.value) for metric in client.get_metric_history(kept["id"], "top1")]
    assert points == [(row["step"], row["top1"]) for row in rows(tmp_path / "run")]
