"""MaxViT: agreement with torchvision, and its errors in words."""

import pytest
import torch
from backbone_kit import agree, build
from torch import nn
from torchvision.models.maxvit import MaxVit

SMALL = {"stem_channels": 8, "block_channels": [8, 16], "block_layers": [1, 2], "head_dim": 4, "partition_size": 4}


@pytest.mark.parametrize("size", [32, 64])
def test_agrees_with_torchvision(size):
    reference = MaxVit(input_size=(size, size), stochastic_depth_prob=0.0, num_classes=10, **SMALL)
    reference.classifier[5] = nn.Identity()
    agree(reference, build("maxvit_t", input_size=size, **SMALL), (size,))


def test_weights_are_the_same_at_every_size():
    source, target = build("maxvit_t", input_size=32, **SMALL), build("maxvit_t", input_size=64, **SMALL)
    target.load_state_dict(source.state_dict(), strict=True)
    assert target.eval()(torch.rand(1, 3, 64, 64)).shape == (1, 16)


def test_images_of_another_size():
    message = "^MaxViT needs images of 32x32 pixels, its input_size, got 32x64$"
    with pytest.raises(ValueError, match=message):
        build("maxvit_t", input_size=32, **SMALL)(torch.rand(1, 3, 32, 64))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"input_size": 230}, "MaxViT needs an input_size that is a multiple of 224, got 230"),
        ({"block_layers": (1,)}, "MaxViT needs as many block_channels as block_layers, got 4 and 1"),
        ({"head_dim": 24}, "MaxViT needs block_channels that are multiples of head_dim, got 64 and 24"),
    ],
)
def test_wrong_structure(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("maxvit_t", device="meta", **parameters)
