"""RegNet: agreement with other libraries, its options, and its errors in words."""

import pytest
from backbone_kit import agree, build, mmpretrain_backbone, timm_model
from torch import nn
from torchvision import models


def timm_map(model, images):
    return model.forward_features(images)


@pytest.mark.parametrize("name", ["regnet_x_400mf", "regnet_y_400mf"])
def test_agrees_with_torchvision(name):
    agree(
        getattr(models, name)(num_classes=10),
        build(name),
        (64, 50),
        theirs=lambda model, images: model.trunk_output(model.stem(images)),
    )


@pytest.mark.parametrize(("theirs", "ours"), [("regnety_004", "regnet_y_400mf"), ("regnetx_002", "regnetx_002")])
def test_agrees_with_timm(theirs, ours):
    agree(timm_model(theirs), build(ours), (64, 50), theirs=timm_map)


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    agree(mmpretrain_backbone("RegNet", arch="regnetx_400mf"), build("regnetx_004"), (64, 50))


def test_norm_and_activation_by_name():
    backbone = build("regnet_y_400mf", norm="group_norm", activation="silu", device="meta")
    kinds = {type(module) for module in backbone.modules()}
    assert {nn.GroupNorm, nn.SiLU} <= kinds
    assert not {nn.BatchNorm2d, nn.ReLU} & kinds


def test_groups_are_no_wider_than_a_narrow_stage():
    backbone = build("regnet_x_8gf", device="meta")
    widths = [stage[0].f.b[0].weight.shape[1] for stage in backbone.trunk_output]
    assert widths == [80, 120, 120, 120]


def test_widths_must_be_whole_groups():
    message = "^RegNet needs widths that are multiples of group_width, got 36 and 16$"
    with pytest.raises(ValueError, match=message):
        build("regnet_x_400mf", widths=(16, 36, 48, 64), device="meta")
