"""A hook that watches the weights."""

from typing import Annotated

from pydantic import Field
from torch.nn.utils import parameters_to_vector

from clscli.engine.hooks import HookState


class WeightNorm:
    """Log the length of all weights together after every `every`-th epoch; where it explodes, so does the run."""

    main_only = True  # one process of several is enough
    needs_whole_model = True  # so a run in which each process has a part of the weights refuses it

    def __init__(self, *, every: Annotated[int, Field(ge=1)] = 1) -> None:
        self.every = every

    def on_epoch_end(self, state: HookState) -> None:
        """Log a line, which goes to the terminal and to train.log."""
        if (state.epoch + 1) % self.every == 0:
            norm = parameters_to_vector(state.model.parameters()).norm().item()
            state.log(f"weight norm {norm:.4g}")
