"""MobileNetV3: the same numbers as torchvision, timm and mmpretrain, and the head of each size."""

import pytest
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone, timm_model
from torch import nn
from torchvision import models


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "mobilenet_v3_large"])
def test_same_as_torchvision(name):
    reference = getattr(models, name)(width_mult=0.5)
    backbone = build(name, width_mult=0.5)
    agree(reference, backbone, (32, 65), theirs=lambda model, images: model.features(images))


@pytest.mark.parametrize(
    ("name", "timm_name"),
    [
        ("mobilenet_v3_small_050", "mobilenetv3_small_050"),
        ("mobilenet_v3_small", "mobilenetv3_small_100"),
        ("mobilenet_v3_large", "mobilenetv3_large_100"),
    ],
)
def test_same_as_timm(name, timm_name):
    backbone = build(name, norm_eps=1e-5)
    agree(timm_model(timm_name), backbone, (32, 65), theirs=lambda model, images: model.forward_features(images))


@pytest.mark.mmpretrain
@pytest.mark.parametrize("arch", ["small_050", "small", "large"])
def test_same_as_mmpretrain(arch):
    reference = mmpretrain_backbone("MobileNetV3", arch=arch)
    agree(reference, build(f"mobilenet_v3_{arch}", norm_eps=1e-3), (32, 65))


@pytest.mark.parametrize(("name", "eps"), [("mobilenet_v3_small", 1e-3), ("mobilenet_v3_small_050", 1e-5)])
def test_eps_and_momentum_of_the_norms(name, eps):
    norms = [module for module in build(name, device="meta").modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(eps, 0.01)}


@pytest.mark.parametrize(("name", "width"), [("small", 1024), ("small_050", 1024), ("large", 1280)])
def test_head_of_each_size(name, width):
    variant = ENTRIES[f"mobilenet_v3_{name}"].load()
    head = {"type": "stacked_linear", "mid_channels": [width], "activation": "hardswish", "dropout": 0.2}
    assert variant.func.companions(variant.keywords) == {"head": head}
