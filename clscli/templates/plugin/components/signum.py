"""An optimizer that looks at signs only."""

from typing import Annotated, Any

import torch
from pydantic import Field
from torch.optim import Optimizer


class Signum(Optimizer):
    """Step by the sign of a momentum, equally far for every weight.

    Bernstein et al., "signSGD: compressed optimisation for non-convex problems", 2018. The weight decay is
    decoupled. Rates are as small as Adam's, or smaller.
    """

    def __init__(
        self,
        params: list[dict[str, Any]],
        *,
        lr: Annotated[float, Field(ge=0)] = 1e-4,
        momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        weight_decay: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # the gradients are there already
        """Move all weights; `group["lr"]` is what the schedule made of it for this step."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                state["average"].lerp_(parameter.grad, 1 - group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.add_(state["average"].sign(), alpha=-group["lr"])
