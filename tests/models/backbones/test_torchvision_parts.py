"""What the adapters of torchvision's models share: other channels, norms and activations, and timm's names."""

import re

import pytest
import torch
from backbone_kit import build
from torch import nn

from clscli.models.backbones.torchvision_parts import (
    number_through,
    replace_activations,
    replace_norms,
    with_in_channels,
)
from clscli.models.layers.norms import LayerNorm2d


def test_another_number_of_channels_changes_nothing_else():
    conv = nn.Conv2d(3, 16, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    fresh = with_in_channels(conv, 4)
    assert (fresh.in_channels, fresh.out_channels) == (4, 16)
    for name in ("kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"):
        assert getattr(fresh, name) == getattr(conv, name)
    assert not fresh.bias.any()
    fan_out = 16 * 3 * 5
    assert fresh.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)


def test_a_convolution_without_bias_gets_none():
    assert with_in_channels(nn.Conv2d(3, 8, 3, bias=False), 1).bias is None


def test_replaced_norms_keep_eps_and_momentum():
    norm = nn.BatchNorm2d(48, eps=0.001, momentum=0.01)
    for name, kind in {
        "sync_batch_norm": nn.SyncBatchNorm,
        "group_norm": nn.GroupNorm,
        "layer_norm": LayerNorm2d,
    }.items():
        model = nn.Sequential(nn.Sequential(norm), nn.ReLU())
        replace_norms(model, name)
        assert type(model[0][0]) is kind
        assert model[0][0].eps == 0.001
        assert model[0][0].weight.shape == (48,)
        assert getattr(model[0][0], "momentum", 0.01) == 0.01
    model = nn.Sequential(norm)
    replace_norms(model, "batch_norm")
    assert model[0] is norm


def test_replaced_activations_are_in_place_where_the_old_ones_were():
    model = nn.ModuleDict({"a": nn.ReLU(inplace=True), "b": nn.Sequential(nn.ReLU6()), "c": nn.Sigmoid()})
    replace_activations(model, "silu")
    assert [type(model["a"]), type(model["b"][0]), type(model["c"])] == [nn.SiLU, nn.SiLU, nn.Sigmoid]
    assert (model["a"].inplace, model["b"][0].inplace) == (True, False)


def test_blocks_are_counted_through():
    numbered = number_through("features.", (1, 2, 4))
    pattern = r"^blocks\.(\d+)\.(\d+)\."
    assert re.sub(pattern, numbered, "blocks.2.1.weight") == "features.5.weight"
    assert re.sub(pattern, numbered, "blocks.3.0.weight") == "blocks.3.0.weight"


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("mobilenet_v2", {"activation": "hardswish"}),
        ("mnasnet1_0", {"activation": "hardswish"}),
        ("shufflenet_v2_x1_0", {"activation": "hardswish"}),
        ("densenet121", {"activation": "hardswish"}),
        ("mobilenet_v3_small", {}),
        ("googlenet", {}),
        ("inception_v3", {}),
    ],
)
def test_every_norm_and_activation_of_an_adapter_is_replaced(name, parameters):
    backbone = build(name, norm="group_norm", device="meta", **parameters)
    kinds = [type(module) for module in backbone.modules()]
    assert nn.BatchNorm2d not in kinds
    assert nn.GroupNorm in kinds
    if parameters:
        assert nn.Hardswish in kinds
        assert not {nn.ReLU, nn.ReLU6} & set(kinds)
    assert backbone(torch.empty(1, 3, 96, 96, device="meta")).shape[:2] == (1, backbone.out_channels)
