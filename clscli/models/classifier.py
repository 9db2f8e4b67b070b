"""The assembled model: pixels in, logits out."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clscli.models.layers.outputs import Outputs

# The channel statistics of ImageNet's training pictures, as every published model uses them.
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Normalize(nn.Module):
    """Turn `uint8` batches into floats: `(pixel / 255 - mean) / std`; on the device, as part of the model."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        # Not in the state dict: these numbers belong to the spec, which every checkpoint holds.
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1) * 255, persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        mean, std = self.mean, self.std
        if images.is_contiguous(memory_format=torch.channels_last):
            # Of a whole row: with three numbers at a time the same takes two and a half times as long.
            shape = (1, len(mean), 1, images.shape[-1])
            mean, std = (v.expand(shape).contiguous(memory_format=torch.channels_last) for v in (mean, std))
        # In place, as fresh memory for each operation takes longer than the arithmetic.
        return images.to(mean.dtype, copy=True).sub_(mean).div_(std)


class Classifier(nn.Module):
    """Run normalisation, backbone, necks and head in turn.

    `forward` takes `uint8 (B, C, H, W)` and returns what the head returns: logits `(B, K)`, or several in
    training. `predict` always returns one `(B, K)`.
    """

    def __init__(
        self, normalize: Normalize, backbone: nn.Module, necks: Sequence[nn.Module], head: nn.Module
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.backbone = backbone
        self.necks = nn.ModuleList(necks)
        self.head = head

    def features(self, images: Tensor) -> Outputs:
        """Return what the head gets."""
        outputs: Outputs = self.backbone(self.normalize(images))
        for neck in self.necks:
            outputs = neck(outputs)
        return outputs

    def forward(self, images: Tensor) -> Outputs:
        logits: Outputs = self.head(self.features(images))
        return logits

    def predict(self, images: Tensor) -> Tensor:
        """Return logits `(B, K)`: the head's `predict` if it has one, else the mean of what it returns."""
        predict = getattr(self.head, "predict", None)
        if callable(predict):
            logits: Tensor = predict(self.features(images))
            return logits
        outputs = self(images)
        return outputs if isinstance(outputs, Tensor) else torch.stack(list(outputs)).mean(0)
