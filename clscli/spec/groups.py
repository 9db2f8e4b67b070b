"""What a spec may say about parameter groups: the table `optimizer.groups`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from pydantic import Field

Factor = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Pattern = dict[Literal["lr", "decay"], Factor]


@dataclass(frozen=True, kw_only=True)
class Groups:
    """Factors of the optimizer's learning rate and weight decay for kinds of parameters.

    The defaults spare biases, norms, tokens and position embeddings from weight decay.
    """

    norm_decay: Factor = 0.0  # norms, and other vectors that scale: of layers, of powers
    bias_decay: Factor = 0.0
    token_decay: Factor = 0.0  # class and distillation tokens, position embeddings and tables
    dwconv_decay: Factor = 1.0  # kernels of depthwise convolutions
    bias_lr: Factor = 1.0  # biases, but not those of norms
    head_lr: Factor = 1.0  # necks and head: all that follows the backbone
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0  # of the rate, from each block to the one before it
    patterns: dict[str, Pattern] = field(default_factory=dict)
