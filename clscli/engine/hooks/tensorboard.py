"""Log to TensorBoard."""

from __future__ import annotations

import copy
import warnings
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from clscli.engine.hooks import HookState
from clscli.engine.hooks.extras import import_extra
from clscli.engine.hooks.records import epoch_scalars
from clscli.models.fields import Count


class TensorBoard:
    """Write what TensorBoard shows into `tensorboard/` in the run directory.

    Every epoch: learning rate, training loss and images per second, over optimizer steps, as are the metrics of
    every validation. Of the first step: the first `images` pictures as the model gets them, with all
    transforms; with `graph`, the operators of the model. A resumed run goes on with the curves, without what
    was logged after the checkpoint. Needs `pip install 'clscli[tensorboard]'`.
    """

    main_only: ClassVar[bool] = True

    def __init__(self, *, images: Count = 8, graph: bool = False) -> None:
        import_extra("tensorboard", "tensorboard")
        self.images = images
        self.graph = self.needs_whole_model = graph
        self.writer: Any = None

    def on_run_start(self, state: HookState) -> None:
        """Open a file of events, which ends what a stopped run wrote after its last checkpoint."""
        from torch.utils.tensorboard import SummaryWriter

        purge_step = state.step + 1 if state.step else None
        self.writer = SummaryWriter(str(state.run / "tensorboard"), purge_step=purge_step)

    def on_step_end(self, state: HookState) -> None:
        """Show the first pictures of the run, and the graph."""
        if state.step != 1 or state.images is None:
            return
        if self.images:
            self.writer.add_images("training pictures", _viewable(state.images[: self.images]), state.step)
        if self.graph:
            self._add_graph(state.model, state.images[:1])

    def on_validation_end(self, state: HookState) -> None:
        """Add a point to the curve of every metric."""
        self._add_points(state.metrics, state.step)

    def on_epoch_end(self, state: HookState) -> None:
        """Add a point to the curves of the training."""
        self._add_points(epoch_scalars(state), state.step)

    def _add_points(self, scalars: dict[str, float], step: int) -> None:
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)
        self.writer.flush()

    def _add_graph(self, model: nn.Module, images: Tensor) -> None:
        with warnings.catch_warnings():
            # Torch wants nobody to trace any more, but TensorBoard reads no other kind of graph; and a model
            # that looks at the shape of its input is drawn for the shape of this one.
            warnings.simplefilter("ignore")
            self.writer.add_graph(copy.deepcopy(model).eval(), images)

    def on_run_end(self, state: HookState) -> None:
        """Close the file."""
        self.writer.close()


def _viewable(images: Tensor) -> Tensor:
    """Turn a batch of any number of channels, of pixels from 0 to 255, into grey or RGB pictures."""
    channels = 3 if images.shape[1] >= 3 else 1
    return images[:, :channels].clamp(0, 255).to(device="cpu", dtype=torch.uint8)
