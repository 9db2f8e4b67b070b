"""What the tests of losses share: building one as a spec does, logits with simple probabilities, mmpretrain."""

import inspect
import math
import warnings
from typing import Any

import pytest
import torch
from importlib_metadata import entry_points
from torch import Tensor, nn

ENTRIES = {
    entry.name: entry
    for entry in entry_points(group="clscli.losses")
    if entry.dist is not None and entry.dist.name == "clscli"
}

# Softmax of these rows: (1/2, 1/4, 1/4) and (1/8, 1/8, 3/4).
LOGITS = torch.tensor([[2.0, 1.0, 1.0], [1.0, 1.0, 6.0]]).log()
# Sigmoid of these rows: (3/4, 1/2, 1/4) and (1/2, 4/5, 1/5).
ODDS = torch.tensor([[3.0, 1.0, 1 / 3], [1.0, 4.0, 1 / 4]]).log()
TARGET = torch.tensor([0, 1])
COUNTS = (6, 3, 1)

log = math.log


def build(
    name: str, class_counts: tuple[int, ...] = COUNTS, load_teacher: Any = None, **parameters: Any
) -> nn.Module:
    """Build a loss with those injected values that its signature asks for."""
    component = ENTRIES[name].load()
    offered = {
        "num_classes": len(class_counts),
        "class_counts": class_counts,
        "num_samples": sum(class_counts),
        "load_teacher": load_teacher,
    }
    wanted = inspect.signature(component).parameters
    return component(**{key: value for key, value in offered.items() if key in wanted}, **parameters)


def random_batch(samples: int = 16, classes: int = 5, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    """Draw logits in float64, and class indices."""
    generator = torch.Generator().manual_seed(0)
    logits = scale * torch.randn(samples, classes, generator=generator, dtype=torch.float64)
    return logits, torch.randint(classes, (samples,), generator=generator)


def random_labels(samples: int = 16, classes: int = 5) -> Tensor:
    """Draw several labels for each sample, in float64."""
    generator = torch.Generator().manual_seed(1)
    return (torch.rand(samples, classes, generator=generator) < 0.4).double()


def mmpretrain_loss(name: str, **parameters: Any) -> nn.Module:
    """Build mmpretrain's loss; the test is skipped where mmpretrain is not installed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        losses = pytest.importorskip("mmpretrain.models.losses", exc_type=ImportError)
        return getattr(losses, name)(**parameters)


def timm_loss(name: str, **parameters: Any) -> nn.Module:
    """Build timm's loss; the test is skipped where timm is not installed."""
    return getattr(pytest.importorskip("timm.loss"), name)(**parameters)
