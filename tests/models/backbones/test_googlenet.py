"""GoogLeNet: the same numbers as torchvision, without its auxiliary classifiers."""

from backbone_kit import ENTRIES, agree, build
from torch import nn
from torchvision import models


def test_same_as_torchvision():
    reference = models.GoogLeNet(num_classes=1, init_weights=False)
    reference.fc = nn.Identity()
    agree(reference, build("googlenet"), (32, 65), ours=lambda model, images: model(images).mean((2, 3)))


def test_auxiliary_classifiers_are_not_built():
    assert not [name for name in build("googlenet", device="meta").state_dict() if name.startswith("aux")]


def test_weights_are_drawn_as_torchvision_draws_them():
    backbone = build("googlenet")
    for conv in (backbone.conv1.conv, backbone.inception5b.branch1.conv):
        assert 0.0095 < conv.weight.std() < 0.0105


def test_companions():
    assert ENTRIES["googlenet"].load().companions({}) == {"head": {"type": "linear", "dropout": 0.2}}
