"""AlexNet: the same numbers as torchvision and mmpretrain, and its fully connected layers."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone
from torch import nn
from torchvision import models


def hidden_layers(model, images):
    """Return what the references compute before the classes."""
    return model.classifier(model.features(images).flatten(1))


@pytest.mark.parametrize("source", ["torchvision", pytest.param("mmpretrain", marks=pytest.mark.mmpretrain)])
def test_same_as(source):
    reference = models.alexnet() if source == "torchvision" else mmpretrain_backbone("AlexNet", num_classes=10)
    assert [type(layer) for layer in reference.classifier[:6]] == [nn.Dropout, nn.Linear, nn.ReLU] * 2
    # Narrow, since the comparison would spend its time on 54 million weights.
    reference.classifier = reference.classifier[:6]
    reference.classifier[1] = nn.Linear(256 * 6 * 6, 32)
    reference.classifier[4] = nn.Linear(32, 32)
    # Two sizes whose last map has 6x6 pixels, the only one that mmpretrain takes.
    agree(reference, build("alexnet", hidden_channels=32), (224, 227), theirs=hidden_layers)


def test_pools_the_map_of_other_sizes_as_torchvision_does():
    backbone = build("alexnet", hidden_channels=8).eval()
    images = torch.rand(1, 3, 96, 160)
    with torch.inference_mode():
        pooled = nn.functional.adaptive_avg_pool2d(backbone.features(images), 6)
        torch.testing.assert_close(backbone(images), backbone.classifier(pooled.flatten(1)))


def test_width_of_the_fully_connected_layers():
    backbone = build("alexnet", hidden_channels=10, device="meta")
    assert backbone.out_channels == 10
    assert [layer.weight.shape for layer in (backbone.classifier[1], backbone.classifier[4])] == [
        (10, 9216),
        (10, 10),
    ]
