"""A hook that ends a run that is good enough."""

from typing import Annotated

from pydantic import Field

from clscli.engine.hooks import HookState


class StopAt:
    """Stop the run once a validation is good enough.

    `top1` is the share of the pictures that are classified correctly, from 0 to 1; the epoch is finished. Where
    pictures have several labels there is no such share, and the run goes on to its end.
    """

    def __init__(self, *, top1: Annotated[float, Field(gt=0, le=1)] = 0.99) -> None:
        self.top1 = top1

    def on_validation_end(self, state: HookState) -> None:
        """Compare; the reason goes to the terminal and to train.log."""
        if state.metrics.get("top1", 0.0) >= self.top1:
            state.stop(f"top1 has reached {self.top1:g}")
