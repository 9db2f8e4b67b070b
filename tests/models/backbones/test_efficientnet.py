"""EfficientNet and EfficientNetV2: agreement with other libraries, scaling, and heads."""

from functools import partial

import pytest
import torch
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone, timm_model
from torch import nn
from torchvision import models
from torchvision.models.efficientnet import EfficientNet as TorchvisionEfficientNet
from torchvision.models.efficientnet import FusedMBConvConfig, MBConvConfig

from clscli.models.backbones.efficientnet import EfficientNet, EfficientNetV2
from clscli.models.matching import match_weights


def timm_map(model, images):
    return model.forward_features(images)


def test_agrees_with_torchvision():
    agree(
        models.efficientnet_b0(num_classes=10),
        build("efficientnet_b0"),
        (64, 50),
        theirs=lambda model, images: model.features(images),
    )


def test_v2_agrees_with_torchvision():
    groups = [
        *(FusedMBConvConfig(*group) for group in [(1, 3, 1, 8, 8, 1), (4, 3, 2, 8, 16, 1), (4, 3, 2, 16, 16, 1)]),
        *(MBConvConfig(*group) for group in [(4, 3, 2, 16, 32, 1), (6, 3, 1, 32, 40, 1), (6, 3, 2, 40, 64, 2)]),
    ]
    agree(
        TorchvisionEfficientNet(groups, 0.2, last_channel=1280, norm_layer=partial(nn.BatchNorm2d, eps=1e-3)),
        build("efficientnet_v2_s", width_mult=0.25, depth_mult=0.1),
        (64, 50),
        theirs=lambda model, images: model.features(images),
    )


def test_agrees_with_timm():
    agree(timm_model("efficientnet_b1"), build("efficientnet_b1"), (64, 50), theirs=timm_map)


def test_v2_agrees_with_timm():
    agree(timm_model("efficientnetv2_s", bn_eps=1e-3), build("efficientnet_v2_s"), (64, 50), theirs=timm_map)


def test_agrees_with_timm_on_weights_from_tensorflow():
    backbone = build("efficientnet_b0", norm_eps=1e-3, same_padding=True)
    agree(timm_model("tf_efficientnet_b0"), backbone, (64, 50), theirs=timm_map)


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    backbone = build("efficientnet_b1", norm_eps=1e-3, same_padding=True)
    agree(mmpretrain_backbone("EfficientNet", arch="b1"), backbone, (64, 50))


@pytest.mark.mmpretrain
def test_v2_agrees_with_mmpretrain():
    backbone = build("efficientnet_v2_s", same_padding=True)
    agree(mmpretrain_backbone("EfficientNetV2", arch="s"), backbone, (64, 50))


@pytest.mark.parametrize(
    ("theirs", "ours"), [("efficientnetv2_m", "efficientnet_v2_m"), ("efficientnet_b8", "efficientnet_b8")]
)
def test_names_of_timm_fit_the_larger_variants(theirs, ours):
    with torch.device("meta"):
        match = match_weights(timm_model(theirs).state_dict(), build(ours, device="meta"))
    assert (match.missing, match.misshapen) == ([], [])
    assert list(match.unused) == ["classifier.weight", "classifier.bias"]


def norms(backbone):
    return [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]


@pytest.mark.parametrize(
    ("name", "eps"), [("efficientnet_b4", 1e-5), ("efficientnet_b5", 1e-3), ("efficientnet_v2_s", 1e-3)]
)
def test_norms_have_the_eps_of_torchvisions(name, eps):
    assert {norm.eps for norm in norms(build(name, device="meta"))} == {eps}
    reference = getattr(models, name)
    with torch.device("meta"):
        assert {norm.eps for norm in norms(reference())} == {eps}


@pytest.mark.parametrize("name", ["efficientnet_b0", "efficientnet_v2_s"])
def test_norm_by_name(name):
    backbone = build(name, norm="group_norm", device="meta")
    assert norms(backbone) == []
    groups = [module for module in backbone.modules() if isinstance(module, nn.GroupNorm)]
    assert len(groups) == len(norms(build(name, device="meta")))
    assert {group.eps for group in groups} == {backbone.features[0][1].eps}


@pytest.mark.parametrize(
    ("name", "blocks", "channels"),
    [
        ("efficientnet_b0", [1, 1, 1, 2, 2, 2, 1], [16, 8, 16, 24, 40, 56, 96, 160]),
        ("efficientnet_v2_s", [1, 2, 2, 3, 5, 8], [16, 16, 24, 32, 64, 80, 128]),
    ],
)
def test_depth_and_width_scale(name, blocks, channels):
    stem, *groups, _ = build(name, width_mult=0.5, depth_mult=0.5, device="meta").features
    assert [len(group) for group in groups] == blocks
    assert [stem.out_channels, *(group[-1].out_channels for group in groups)] == channels


@pytest.mark.parametrize("number", range(8))
def test_head_has_torchvisions_dropout(number):
    name = f"efficientnet_b{number}"
    with torch.device("meta"):
        dropout = getattr(models, name)().classifier[0].p
    assert EfficientNet.companions(ENTRIES[name].load().keywords) == {
        "head": {"type": "linear", "dropout": dropout}
    }


@pytest.mark.parametrize("size", ["s", "m", "l"])
def test_v2_head_has_torchvisions_dropout(size):
    with torch.device("meta"):
        dropout = getattr(models, f"efficientnet_v2_{size}")().classifier[0].p
    assert EfficientNetV2.companions({"size": size}) == {"head": {"type": "linear", "dropout": dropout}}
