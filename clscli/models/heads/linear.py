"""Heads made of linear layers."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from clscli.models.fields import PositiveInt, Rate
from clscli.models.layers.activations import Activation
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.vectors import VectorNorm, last_vector, make_linear_layers
from clscli.models.losses.contract import LabelMode

Probability = Annotated[float, Field(gt=0, lt=1)]


class Linear(nn.Module):
    """One linear layer from the last output to the classes, the usual head.

    Takes vectors (B, C); maps need a pooling neck before it. `dropout` is applied to the vector.
    """

    def __init__(self, in_channels: int, num_classes: int, *, dropout: Rate = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.fc(self.dropout(last_vector(outputs, "head 'linear'")))
        return logits


class StackedLinear(nn.Module):
    """Hidden linear layers, each with norm, activation and dropout, and then one to the classes.

    Takes vectors (B, C); maps need a pooling neck before it. `mid_channels` are the widths of the hidden
    layers.
    """

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        mid_channels: tuple[PositiveInt, ...] = (1024,),
        norm: VectorNorm = "none",
        activation: Activation = "relu",
        dropout: Rate = 0.0,
    ) -> None:
        super().__init__()
        hidden = nn.Sequential()
        for width in mid_channels:
            hidden.extend([*make_linear_layers(in_channels, width, norm, activation), nn.Dropout(dropout)])
            in_channels = width
        self.hidden = hidden
        self.fc = nn.Linear(in_channels, num_classes)

    def forward(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.fc(self.hidden(last_vector(outputs, "head 'stacked_linear'")))
        return logits


class MultiLabelLinear(nn.Module):
    """One linear layer whose logits are each a yes or no of their own: an image may have several labels.

    Takes vectors (B, C); maps need a pooling neck before it. The sigmoid of a logit is the probability of
    its label; train it with a loss of one sigmoid per class, such as `binary_cross_entropy` or `asymmetric`.

    `prior` is the share of the images that have a label, one number for all labels or one for each. The
    biases start at its log-odds, so that training does not begin by unlearning the many absent labels (Lin
    et al., "Focal loss for dense object detection", 2017, section 3.3). Without it, it is 1 / number of
    classes, as if every image had one label.
    """

    label_mode: LabelMode = "multi"

    def __init__(
        self,
        in_channels: int,
        num_classes: int,
        *,
        prior: Probability | tuple[Probability, ...] | None = None,
        dropout: Rate = 0.0,
    ) -> None:
        super().__init__()
        if prior is None:
            prior = 1 / max(2, num_classes)
        priors = prior if isinstance(prior, tuple) else (prior,) * num_classes
        if len(priors) != num_classes:
            raise ValueError(f"prior needs one number for each of the {num_classes} classes, got {len(priors)}")
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(in_channels, num_classes)
        with torch.no_grad():
            self.fc.bias.copy_(torch.tensor([math.log(p / (1 - p)) for p in priors]))

    def forward(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.fc(self.dropout(last_vector(outputs, "head 'multi_label_linear'")))
        return logits
