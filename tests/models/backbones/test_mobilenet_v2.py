"""MobileNetV2: the same numbers as torchvision, timm and mmpretrain."""

import pytest
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone, timm_model
from torchvision import models


@pytest.mark.parametrize("width_mult", [0.35, 1.4])
def test_same_as_torchvision(width_mult):
    reference = models.MobileNetV2(width_mult=width_mult, num_classes=10)
    backbone = build("mobilenet_v2", width_mult=width_mult)
    agree(reference, backbone, (32, 65), theirs=lambda model, images: model.features(images))


def test_same_as_timm():
    theirs = timm_model("mobilenetv2_100")
    agree(theirs, build("mobilenet_v2"), (32, 65), theirs=lambda model, images: model.forward_features(images))


@pytest.mark.mmpretrain
def test_same_as_mmpretrain():
    reference = mmpretrain_backbone("MobileNetV2", widen_factor=0.5)
    agree(reference, build("mobilenet_v2", width_mult=0.5), (32, 65))


def test_companions():
    assert ENTRIES["mobilenet_v2"].load().companions({}) == {"head": {"type": "linear", "dropout": 0.2}}
