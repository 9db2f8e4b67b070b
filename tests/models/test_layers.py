"""Shared layers: equal to torch's and torchvision's own where those have them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import ops
from torchvision.models.convnext import LayerNorm2d as TorchvisionLayerNorm2d

from clscli.models.layers.activations import _ACTIVATIONS, make_activation
from clscli.models.layers.attention import Attention
from clscli.models.layers.convolutions import make_conv
from clscli.models.layers.drop_path import DropPath, drop_path_rates
from clscli.models.layers.norms import make_norm
from clscli.models.layers.patches import resize_positions, to_map, to_tokens
from clscli.models.layers.squeeze_excite import SqueezeExcite


@pytest.mark.parametrize("name", _ACTIVATIONS)
def test_activations_keep_their_input_unless_told(name):
    features = torch.linspace(-2, 2, 9)
    kept = features.clone()
    expected = make_activation(name, inplace=False)(features)
    assert torch.equal(features, kept)
    assert torch.equal(make_activation(name)(features), expected)
    assert not torch.equal(expected, kept)


def test_norms_by_name():
    assert type(make_norm("batch_norm", 8)) is nn.BatchNorm2d
    assert type(make_norm("sync_batch_norm", 8)) is nn.SyncBatchNorm
    assert (make_norm("group_norm", 64).num_groups, make_norm("group_norm", 48).num_groups) == (32, 16)
    assert [make_norm(n, 8).eps for n in ("batch_norm", "group_norm", "layer_norm")] == [1e-5, 1e-5, 1e-6]
    assert make_norm("layer_norm", 8, eps=0.5).eps == 0.5


def test_layer_norm_of_maps_is_torchvisions():
    norm, other = make_norm("layer_norm", 6), TorchvisionLayerNorm2d(6, eps=1e-6)
    nn.init.normal_(norm.weight)
    other.load_state_dict(norm.state_dict())
    features = torch.rand(2, 6, 3, 5)
    torch.testing.assert_close(norm(features), other(features))


@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 2), (5, 1), (7, 1)])
@pytest.mark.parametrize("name", ["conv2d", "weight_standardized"])
def test_convolutions_keep_the_size(name, kernel_size, dilation):
    conv = make_conv(name, 4, 6, kernel_size, dilation=dilation, groups=2)
    assert conv(torch.rand(1, 4, 9, 11)).shape == (1, 6, 9, 11)
    assert make_conv(name, 4, 6, kernel_size, stride=2)(torch.rand(1, 4, 8, 8)).shape == (1, 6, 4, 4)


def test_weight_standardized_convolution_does_not_see_scale_and_mean_of_its_weights():
    conv = make_conv("weight_standardized", 3, 4, 3)
    features = torch.rand(1, 3, 8, 8)
    before = conv(features)
    with torch.no_grad():
        standardized = (conv.weight - conv.weight.mean((1, 2, 3), keepdim=True)) / conv.weight.std(
            (1, 2, 3), keepdim=True, correction=0
        )
        torch.testing.assert_close(before, F.conv2d(features, standardized, padding=1), rtol=1e-3, atol=1e-3)
        conv.weight.mul_(7).add_(3)
    torch.testing.assert_close(conv(features), before, rtol=1e-3, atol=1e-3)


def test_drop_path_is_torchvisions_stochastic_depth():
    residual = torch.rand(64, 3, 2, 2)
    torch.manual_seed(0)
    dropped = DropPath(0.3).train()(residual)
    torch.manual_seed(0)
    torch.testing.assert_close(dropped, ops.stochastic_depth(residual, 0.3, "row"))
    assert DropPath(0.3).eval()(residual) is residual
    kept = dropped.flatten(1).abs().sum(1) > 0
    assert 0 < kept.sum() < 64
    torch.testing.assert_close(dropped[kept], residual[kept] / 0.7)


def test_drop_path_rates_grow_linearly():
    assert drop_path_rates(0.3, 4) == pytest.approx([0, 0.1, 0.2, 0.3])
    assert drop_path_rates(0.3, 1) == [0]


def test_squeeze_excite_is_torchvisions():
    ours, theirs = SqueezeExcite(8, 4), ops.SqueezeExcitation(8, 4)
    theirs.load_state_dict(ours.state_dict())
    features = torch.rand(2, 8, 5, 5)
    torch.testing.assert_close(ours(features), theirs(features))


def test_attention_is_torchs():
    ours, theirs = Attention(12, 3), nn.MultiheadAttention(12, 3, batch_first=True)
    theirs.load_state_dict(
        {
            "in_proj_weight": ours.qkv.weight,
            "in_proj_bias": ours.qkv.bias,
            "out_proj.weight": ours.proj.weight,
            "out_proj.bias": ours.proj.bias,
        }
    )
    tokens = torch.rand(2, 7, 12)
    torch.testing.assert_close(ours(tokens), theirs(tokens, tokens, tokens)[0])


def test_maps_and_tokens():
    features = torch.rand(2, 5, 3, 4)
    tokens = to_tokens(features)
    assert torch.equal(tokens[:, 4 + 2], features[:, :, 1, 2])
    assert torch.equal(to_map(tokens, (3, 4)), features)


def test_positions_resize_linearly_and_leave_the_class_alone():
    rows = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 6, 1).reshape(1, 36, 1)
    positions = torch.cat([torch.full((1, 2, 1), 100.0), rows], dim=1)
    resized = resize_positions(positions, (6, 6), (12, 12))
    assert resized.shape == (1, 146, 1)
    assert torch.equal(resized[0, :2, 0], torch.tensor([100.0, 100.0]))
    maps = resized[0, 2:, 0].reshape(12, 12)
    # Away from the border a ramp stays a ramp, nearly: pixel centres are at (i + 0.5) / 2 - 0.5.
    expected = (torch.arange(4, 8) + 0.5) / 2 - 0.5
    torch.testing.assert_close(maps[4:8], expected[:, None].expand(4, 12), atol=0.05, rtol=0)


def test_positions_of_the_same_grid_stay():
    positions = torch.rand(1, 17, 8)
    assert resize_positions(positions, (4, 4), (4, 4)) is positions
