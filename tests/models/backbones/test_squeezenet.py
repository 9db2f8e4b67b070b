"""SqueezeNet: the same numbers as torchvision, for both versions."""

import pytest
from backbone_kit import ENTRIES, agree, build
from torchvision import models


@pytest.mark.parametrize("name", ["squeezenet1_0", "squeezenet1_1"])
def test_same_as_torchvision(name):
    reference = getattr(models, name)(num_classes=1)
    agree(reference, build(name), (32, 75), theirs=lambda model, images: model.features(images))


def test_companions():
    assert ENTRIES["squeezenet1_0"].load().func.companions({}) == {"head": {"type": "linear", "dropout": 0.5}}
