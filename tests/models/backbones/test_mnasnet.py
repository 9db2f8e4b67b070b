"""MnasNet: the same numbers as torchvision and timm."""

import pytest
from backbone_kit import ENTRIES, agree, build, timm_model
from torch import nn
from torchvision import models


def test_same_as_torchvision():
    reference = models.MNASNet(0.35, num_classes=1)
    backbone = build("mnasnet0_5", width_mult=0.35)
    agree(reference, backbone, (32, 65), theirs=lambda model, images: model.layers(images))


@pytest.mark.parametrize(("name", "timm_name"), [("mnasnet0_5", "mnasnet_050"), ("mnasnet1_0", "mnasnet_100")])
def test_same_as_timm(name, timm_name):
    agree(
        timm_model(timm_name), build(name), (32, 65), theirs=lambda model, images: model.forward_features(images)
    )


def test_batch_norm_keeps_its_slow_statistics():
    norms = [
        module for module in build("mnasnet1_0", device="meta").modules() if isinstance(module, nn.BatchNorm2d)
    ]
    assert [norm.momentum for norm in norms] == [pytest.approx(3e-4)] * 52


def test_companions():
    assert ENTRIES["mnasnet1_0"].load().func.companions({}) == {"head": {"type": "linear", "dropout": 0.2}}
