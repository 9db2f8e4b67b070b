"""Train and use image classifiers: one TOML spec, components by `pip install`.

    result = clscli.train("spec.toml", device="cuda")
    clscli.load(result.checkpoint).predict("img.jpg").top

The functions mean what the commands of the same names do. torch is imported when one of them is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from clscli.engine.evaluate import evaluate
    from clscli.engine.metrics import Evaluation
    from clscli.engine.multi_label_metrics import MultiLabelEvaluation
    from clscli.engine.predict import Prediction, Predictor, load, predict
    from clscli.engine.trainer import TrainResult, resume, train
    from clscli.errors import ClscliError

_HOMES = {
    "ClscliError": "clscli.errors",
    "Evaluation": "clscli.engine.metrics",
    "MultiLabelEvaluation": "clscli.engine.multi_label_metrics",
    "Prediction": "clscli.engine.predict",
    "Predictor": "clscli.engine.predict",
    "TrainResult": "clscli.engine.trainer",
    "evaluate": "clscli.engine.evaluate",
    "load": "clscli.engine.predict",
    "predict": "clscli.engine.predict",
    "resume": "clscli.engine.trainer",
    "train": "clscli.engine.trainer",
}

__all__ = [
    "ClscliError",
    "Evaluation",
    "MultiLabelEvaluation",
    "Prediction",
    "Predictor",
    "TrainResult",
    "evaluate",
    "load",
    "predict",
    "resume",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'clscli' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
