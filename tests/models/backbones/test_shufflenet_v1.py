"""What is particular to ShuffleNet, version 1: mmpretrain's numbers, groups, widths, errors."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone
from torch import nn


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("name", "groups", "width"),
    [
        ("shufflenet_v1_g1_x1_0", 1, 1.0),
        ("shufflenet_v1_g2_x1_0", 2, 1.0),
        ("shufflenet_v1_x1_0", 3, 1.0),
        ("shufflenet_v1_x0_5", 3, 0.5),
        ("shufflenet_v1_x1_5", 3, 1.5),
        ("shufflenet_v1_g8_x1_0", 8, 1.0),
    ],
)
def test_agrees_with_mmpretrain(name, groups, width):
    reference = mmpretrain_backbone("ShuffleNetV1", groups=groups, widen_factor=width, out_indices=(0, 1, 2))
    agree(reference, build(name, out_indices=(0, 1, 2)), (64, 45))


def test_only_the_very_first_1x1_convolution_is_not_grouped():
    backbone = build("shufflenet_v1_g8_x1_0", device="meta")
    grouped = [unit.g_conv_1x1_compress.conv.groups for stage in backbone.layers for unit in stage]
    assert grouped == [1] + [8] * 15


def test_a_unit_of_stride_2_puts_the_pooled_input_first():
    backbone = build("shufflenet_v1_x0_5").eval()
    features = torch.rand(1, 12, 8, 8)
    output = backbone.layers[0][0](features)
    assert torch.equal(output[:, :12], nn.functional.avg_pool2d(features, 3, stride=2, padding=1))


def test_weights_start_as_in_the_authors_code():
    backbone = build("shufflenet_v1_x1_0")
    last = backbone.layers[2][3].g_conv_1x1_expand.conv.weight  # 240 / 3 channels in
    assert backbone.conv1.conv.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert last.std().item() == pytest.approx(1 / 80, rel=0.02)


def test_other_norm_and_activation():
    backbone = build("shufflenet_v1_x0_5", norm="group_norm", activation="silu", device="meta")
    types = {type(module) for module in backbone.modules()}
    assert {nn.GroupNorm, nn.SiLU} <= types
    assert not {nn.BatchNorm2d, nn.ReLU} & types


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depths": (4, 8)}, "as many depths as widths, got 2 depths and 3 widths"),
        ({"widths": (240, 480, 966)}, r"3 groups needs widths that are multiples of 12, got \[240, 480, 966\]"),
        ({"stem_channels": 16}, "3 groups needs stem_channels that are a multiple of 3, got 16"),
        ({"widths": (240, 240, 480)}, r"that increase from stem_channels, 24, got \[240, 240, 480\]"),
        ({"widths": (24, 48, 96)}, r"that increase from stem_channels, 24, got \[24, 48, 96\]"),
    ],
)
def test_channels_that_do_not_group(parameters, message):
    with pytest.raises(ValueError, match=message):
        build("shufflenet_v1_x1_0", **parameters)
