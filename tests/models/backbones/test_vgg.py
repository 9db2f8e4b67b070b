"""VGG: the same numbers as torchvision, timm and mmpretrain, its lists of layers and its fully connected ones."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, num_parameters
from torch import nn
from torchvision import models

LAYERS = (8, 8, "M", 16, "M")
SMALL = {"layers": LAYERS, "hidden_channels": 32}


@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn"])
def test_same_as_torchvision(name):
    with torch.device("meta"):  # its wide layers take a gigabyte, and are replaced
        reference = models.VGG(nn.Identity(), num_classes=1)
    reference.features = models.vgg.make_layers(LAYERS, batch_norm=name.endswith("bn"))
    narrow = (nn.Linear(16 * 7 * 7, 32), nn.ReLU(), nn.Dropout(), nn.Linear(32, 32), nn.ReLU(), nn.Dropout())
    reference.classifier = nn.Sequential(*narrow)
    agree(reference, build(name, **SMALL), (32, 45))


@pytest.mark.parametrize("name", ["vgg16", "vgg16_bn"])
def test_same_as_timm(name):
    vgg = pytest.importorskip("timm.models.vgg")
    norm = nn.BatchNorm2d if name.endswith("bn") else None
    reference = vgg.VGG([*LAYERS], num_classes=0, norm_layer=norm)
    # Smaller maps than 7x7 are pooled to that size, larger ones are not in timm.
    agree(reference, build(name, layers=LAYERS), (16, 28))


@pytest.mark.mmpretrain
@pytest.mark.parametrize("name", ["vgg11", "vgg11_bn"])
def test_same_as_mmpretrain(name):
    norm = {"type": "BN"} if name.endswith("bn") else None
    reference = mmpretrain_backbone("VGG", depth=11, norm_cfg=norm)
    agree(reference, build(name, fully_connected=False), (32, 45))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((8, "M", 8), "VGG needs layers that end with \"M\", a max pooling, got [8, 'M', 8]"),
        ((), 'VGG needs layers that end with "M", a max pooling, got []'),
        (("M",), "VGG needs a convolution before every \"M\" in layers, got ['M']"),
        ((8, "M", "M"), "VGG needs a convolution before every \"M\" in layers, got [8, 'M', 'M']"),
    ],
)
def test_wrong_layers(layers, message):
    with pytest.raises(ValueError, match="VGG") as caught:
        build("vgg16", layers=layers, device="meta")
    assert str(caught.value) == message


def test_without_fully_connected_layers_ends_with_a_map():
    backbone = build("vgg11", fully_connected=False, device="meta")
    assert num_parameters(backbone) == 9_220_480
    assert backbone(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 512, 2, 2)


def test_layers_after_the_deepest_output_are_not_built():
    backbone = build("vgg11", out_indices=(0,), device="meta")
    assert num_parameters(backbone) == 64 * 3 * 9 + 64
    assert len(backbone.features) == 3


def test_other_norms_and_activations():
    backbone = build("vgg16", norm="layer_norm", activation="gelu", **SMALL)
    kinds = [type(module).__name__ for module in [*backbone.features, *backbone.classifier]]
    block = ["Conv2d", "LayerNorm2d", "GELU"]
    assert kinds == [*block * 2, "MaxPool2d", *block, "MaxPool2d", *["Linear", "GELU", "Dropout"] * 2]
