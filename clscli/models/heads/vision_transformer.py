"""The head of vision transformers."""

import math

from torch import Tensor, nn

from clscli.models.fields import PositiveInt
from clscli.models.layers.outputs import Outputs
from clscli.models.layers.vectors import last_vector


class VisionTransformer(nn.Module):
    """A linear layer that starts at zero, after a hidden layer with tanh if `hidden_dim` is its width.

    Dosovitskiy et al., "An image is worth 16x16 words", 2020, sections 3.1 and 3.2: the hidden layer is
    for training from scratch, without it for fine-tuning. Takes the class token (B, C); maps need a
    pooling neck before it.
    """

    def __init__(self, in_channels: int, num_classes: int, *, hidden_dim: PositiveInt | None = None) -> None:
        super().__init__()
        self.pre_logits: nn.Module = nn.Identity()
        if hidden_dim is not None:
            hidden = nn.Linear(in_channels, hidden_dim)
            # LeCun's normal, which keeps the variance through the linear part of tanh.
            nn.init.trunc_normal_(hidden.weight, std=math.sqrt(1 / in_channels))
            nn.init.zeros_(hidden.bias)
            self.pre_logits = nn.Sequential(hidden, nn.Tanh())
            in_channels = hidden_dim
        self.fc = nn.Linear(in_channels, num_classes)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, outputs: Outputs) -> Tensor:
        logits: Tensor = self.fc(self.pre_logits(last_vector(outputs, "head 'vision_transformer'")))
        return logits
