"""Heads with one classifier for each of a backbone's two outputs: both are trained, their mean predicts.

The loss is the mean of the two logits' losses, which is what training does with several logits.
"""

from torch import Tensor, nn

from clscli.models.layers.outputs import Outputs
from clscli.models.layers.vectors import require_vector


class DeiT(nn.Module):
    """A linear layer on the class token and another on the distillation token.

    Touvron et al., "Training data-efficient image transformers & distillation through attention", 2021.
    Takes the two vectors (B, C) of a distilled backbone. In training it returns both logits, in evaluation
    their mean. Parameters have timm's names.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        require_two(in_channels, "a class token and a distillation token")
        self.head = make_classifier(in_channels[0], num_classes)
        self.head_dist = make_classifier(in_channels[1], num_classes)

    def forward(self, outputs: tuple[Tensor, Tensor]) -> Outputs:
        class_token, distillation_token = (require_vector(output, "head 'deit'") for output in outputs)
        return both_or_mean(self, self.head(class_token), self.head_dist(distillation_token))


class Conformer(nn.Module):
    """A linear layer on the mean of the convolutional branch's map and another on the class token.

    Peng et al., "Conformer: local features coupling global representations for visual recognition", 2021.
    Takes a map (B, C1, H, W), or the vector that a pooling neck made of it, and a vector (B, C2). In
    training it returns both logits, in evaluation their mean: the class with the highest score is the one
    of the paper, which adds them. Parameters have the names of the paper's code.
    """

    def __init__(self, in_channels: tuple[int, ...], num_classes: int) -> None:
        super().__init__()
        require_two(in_channels, "the map of the convolutions and the class token")
        self.conv_cls_head = make_classifier(in_channels[0], num_classes)
        self.trans_cls_head = make_classifier(in_channels[1], num_classes)

    def forward(self, outputs: tuple[Tensor, Tensor]) -> Outputs:
        features, class_token = outputs
        if features.ndim == 4:
            features = features.mean((2, 3))
        vectors = [require_vector(output, "head 'conformer'") for output in (features, class_token)]
        return both_or_mean(self, self.conv_cls_head(vectors[0]), self.trans_cls_head(vectors[1]))


def require_two(in_channels: tuple[int, ...], expected: str) -> None:
    """Raise ValueError unless there are two outputs, which are what is `expected`."""
    if len(in_channels) != 2:
        raise ValueError(f"it needs two outputs, {expected}, got {len(in_channels)}")


def make_classifier(in_channels: int, num_classes: int) -> nn.Linear:
    """Make a linear layer with the initialisation of both papers' code."""
    linear = nn.Linear(in_channels, num_classes)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


def both_or_mean(head: nn.Module, first: Tensor, second: Tensor) -> Outputs:
    """Return both logits in training, and their mean in evaluation."""
    return (first, second) if head.training else (first + second) / 2
