"""What the engine expects of a loss, and what it offers one.

A loss is called with logits `(B, K)` and a target, `int64 (B,)` or `float (B, K)`, and returns a scalar. If it has
them, the engine also uses

- `reduction`: "sum" when the scalar is a sum over the batch; without it, or with "mean", it is a mean. The
  losses that are reported are per sample either way.
- `given(images)`: the same loss for one batch of training images, `uint8 (B, C, H, W)` as the model gets them, or
  `float` from 0 to 255 when batches are mixed, and again a callable of logits and target. Called in training
  alone; evaluation calls the loss itself.
- `label_mode`: "single" when it is for pictures of one class each, as with a softmax, "multi" when for several
  labels; without it, it is for either. Of a head it means the same.
- `state_dict`, `to`, `train` and `eval`, when it is an `nn.Module`: its state goes into `last.pth`, and it is in
  evaluation mode while the model is. Each of several processes has its own state, of its slices of the batches;
  that of the first one is saved.

A loss that learns from another model takes `load_teacher`, which is injected.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Protocol, runtime_checkable

from pydantic import Field
from torch import Tensor

Loss = Callable[[Tensor, Tensor], Tensor]
Reduction = Literal["mean", "sum"]
LabelMode = Literal["single", "multi"]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]

Teacher = Callable[[Tensor], Tensor]
"""Images, `uint8 (B, C, H, W)`, to logits `(B, K)` without gradient, classes in the order of the student's."""


class LoadTeacher(Protocol):
    """Opens a checkpoint of clscli's as a teacher."""

    def __call__(self, path: Path, /) -> Teacher:
        """Raise ValueError when the checkpoint does not fit the student, CheckpointError when it is none."""
        ...


@runtime_checkable
class NeedsImages(Protocol):
    """A loss that looks at the images of a batch."""

    def given(self, images: Tensor) -> Loss:
        """Return the loss of this batch."""
        ...


def given_images(loss: Loss, images: Tensor) -> Loss:
    """Return the loss of one batch: what the loss makes of the images, or itself if it has no use for them."""
    return loss.given(images) if isinstance(loss, NeedsImages) else loss


def reduction_of(loss: Loss) -> Reduction:
    """Tell whether a loss is a mean or a sum over the batch."""
    return "sum" if getattr(loss, "reduction", "mean") == "sum" else "mean"
