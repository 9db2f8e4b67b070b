"""A trained model that teaches another one: see `models/losses/soft_target_kd.py`."""

from __future__ import annotations

import functools
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.engine.checkpoint import load_checkpoint
from clscli.models.classifier import Classifier
from clscli.models.losses.contract import LoadTeacher
from clscli.reports.text import list_some
from clscli.spec.schema import PREDICTING


class FrozenTeacher:
    """The logits of a trained model, its classes in the order of the student's.

    No `nn.Module`, so that a loss that holds one neither trains nor saves it. It goes to where the images are.
    """

    def __init__(self, model: Classifier, size: tuple[int, int], order: Tensor) -> None:
        self.model = model.eval().requires_grad_(False)
        self.size = size
        self.order = order

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        if images.device != self.order.device:
            self.model, self.order = self.model.to(images.device), self.order.to(images.device)
        if images.shape[-2:] != self.size:
            images = F.interpolate(images.float(), self.size, mode="bilinear", antialias=True)
        return self.model.predict(images)[:, self.order]


def teachers_for(classes: list[str], channels: int) -> LoadTeacher:
    """Return what opens checkpoints, each once, as teachers of a student with these classes and image channels."""

    @functools.cache
    def load_teacher(path: Path) -> FrozenTeacher:
        if path.is_dir():
            raise ValueError(f"the teacher {path} is a folder -- give the checkpoint in it: {path / 'best.pth'}")
        if not path.is_file():
            raise ValueError(f"the teacher {path} does not exist -- give the best.pth of a run")
        checkpoint = load_checkpoint(path)
        if unknown := [name for name in classes if name not in checkpoint.classes]:
            raise ValueError(f"the teacher {path} does not know the classes {list_some(unknown)}")
        if others := [name for name in checkpoint.classes if name not in classes]:
            raise ValueError(f"the teacher {path} has classes that the student has not: {list_some(others)}")
        taught = checkpoint.image_shape[0]
        if taught != channels:
            raise ValueError(f"the teacher {path} sees images of {taught} channels, the student of {channels}")
        model = checkpoint.build(checkpoint.resolve(PREDICTING))
        order = torch.tensor([checkpoint.classes.index(name) for name in classes])
        return FrozenTeacher(model, checkpoint.image_shape[1:], order)

    return load_teacher
