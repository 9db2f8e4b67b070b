"""What is particular to visual attention networks: mmpretrain's numbers, the authors' names, options, errors."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone
from torch import nn

from clscli.models.layers.drop_path import DropPath
from clscli.models.matching import match_weights

TINY = {"depths": (2, 1, 1, 1), "widths": (8, 12, 16, 20), "mlp_ratios": (2, 3, 2, 2)}


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    arch = {"embed_dims": TINY["widths"], "depths": TINY["depths"], "ffn_ratios": TINY["mlp_ratios"]}
    reference = mmpretrain_backbone(
        "VAN", arch=arch, out_indices=(0, 1, 2, 3), norm_cfg={"type": "LN", "eps": 1e-6}
    )
    agree(reference, build("van_b0", **TINY, out_indices=(0, 1, 2, 3)), (64, 45))


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("name", "arch"), [("van_b0", "tiny"), ("van_b1", "small"), ("van_b2", "base"), ("van_b3", "large")]
)
def test_every_tensor_of_mmpretrain_has_a_place(name, arch):
    match = match_weights(mmpretrain_backbone("VAN", arch=arch).state_dict(), build(name, device="meta"))
    assert (match.missing, match.misshapen, list(match.unused)) == ([], [], [])


def test_the_authors_names():
    """Theirs are ours, but for the depthwise convolution of the perceptron, which is wrapped once more."""
    backbone = build("van_b0", **TINY)
    names = {name.replace(".dwconv.", ".dwconv.dwconv."): tensor for name, tensor in backbone.state_dict().items()}
    assert "block1.0.mlp.dwconv.dwconv.weight" in names
    match = match_weights(names | {"head.weight": torch.empty(1000, 20)}, backbone)
    assert match.missing == []
    assert list(match.unused) == ["head.weight"]


def test_attention_sees_a_neighbourhood_of_23_pixels():
    """5x5, then 7x7 with a dilation of 3: 5 + 6 * 3."""
    attention = build("van_b0", **TINY).block1[0].attn.spatial_gating_unit
    for parameter in attention.parameters():
        nn.init.ones_(parameter)
    features = torch.ones(1, 8, 41, 41, requires_grad=True)
    attention(features)[0, :, 20, 20].sum().backward()
    seen = features.grad[0, 0].nonzero()
    assert (seen.amin(0).tolist(), seen.amax(0).tolist()) == ([9, 9], [31, 31])


def test_residuals_start_at_layer_scale():
    backbone = build("van_b0", **TINY, layer_scale=0.25)
    scales = [p for name, p in backbone.named_parameters() if "layer_scale" in name]
    assert len(scales) == 10
    assert all((scale == 0.25).all() for scale in scales)


def test_weights_start_as_in_the_authors_code():
    block = build("van_b0").block4[0]
    assert block.attn.proj_1.weight.std().item() == pytest.approx((2 / 256) ** 0.5, rel=0.05)
    assert block.mlp.dwconv.weight.std().item() == pytest.approx((2 / 9) ** 0.5, rel=0.05)


def test_the_drop_path_rate_grows_to_the_last_block():
    backbone = build("van_b0", out_indices=(1,), device="meta")
    rates = [module.rate for module in backbone.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * index / 12 for index in range(6)])


def test_other_norm_and_activation():
    backbone = build("van_b0", **TINY, norm="group_norm", activation="relu", device="meta")
    types = {type(module) for module in backbone.modules()}
    assert {nn.GroupNorm, nn.ReLU} <= types
    assert not {nn.BatchNorm2d, nn.GELU} & types


def test_depths_widths_and_ratios_of_different_lengths():
    message = "as many depths as widths and mlp_ratios, got 2 depths, 4 widths and 4 mlp_ratios"
    with pytest.raises(ValueError, match=message):
        build("van_b0", depths=(1, 1))
