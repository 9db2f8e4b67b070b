"""Twins: agreement with timm and mmpretrain, padding for any image size, errors in words."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model
from torch import nn

from clscli.models.backbones.twins import NormedPatchEmbed, WindowAttention

TINY = {"depths": (1, 1, 1, 2), "widths": (8, 8, 12, 16), "num_heads": (1, 2, 3, 4), "mlp_ratios": (2.0,) * 4}
TIMM_TINY = {
    "depths": (1, 1, 1, 2),
    "embed_dims": (8, 8, 12, 16),
    "num_heads": (1, 2, 3, 4),
    "mlp_ratios": (2,) * 4,
}
MMPRETRAIN_TINY = {
    **{name: list(values) for name, values in TIMM_TINY.items()},
    "patch_sizes": [4, 2, 2, 2],
    "strides": [4, 2, 2, 2],
    "sr_ratios": [8, 4, 2, 1],
}


def timm_features(model, images):
    side = images.shape[-1] // 32
    return model.forward_features(images).transpose(1, 2).unflatten(2, (side, side))


@pytest.mark.parametrize(("name", "window_size"), [("twins_pcpvt_small", None), ("twins_svt_small", 3)])
def test_same_numbers_as_timm(name, window_size):
    """The windows of 3 do not divide the maps, of 16, 8, 4 and 2 for the first size."""
    parameters = {} if window_size is None else {"wss": (window_size,) * 4}
    reference = timm_model(name, **TIMM_TINY, **parameters, num_classes=0)
    agree(reference, build(name, window_size=window_size, **TINY), (64, 96), theirs=timm_features)


@pytest.mark.mmpretrain
def test_same_numbers_as_mmpretrain_pcpvt():
    """Sizes that do not divide: both pad."""
    reference = mmpretrain_backbone(
        "PCPVT",
        arch=MMPRETRAIN_TINY,
        qkv_bias=True,
        norm_cfg={"type": "LN", "eps": 1e-6},
        norm_after_stage=[False, False, False, True],
    )
    agree(with_published_eps(reference), build("twins_pcpvt_small", **TINY), (64, 45))


@pytest.mark.mmpretrain
def test_same_numbers_as_mmpretrain_svt():
    """Sizes whose windows need no padding: there mmpretrain masks, and timm does not."""
    reference = mmpretrain_backbone(
        "SVT",
        arch={**MMPRETRAIN_TINY, "window_sizes": [2] * 4},
        qkv_bias=True,
        norm_cfg={"type": "LN", "eps": 1e-6},
        norm_after_stage=[False, False, False, True],
    )
    agree(with_published_eps(reference), build("twins_svt_small", **{**TINY, "window_size": 2}), (64, 128))


def with_published_eps(reference):
    """Give mmpretrain's norms of the reduced keys the epsilon that timm and the authors' code have."""
    for name, module in reference.named_modules():
        if name.endswith("attn.norm"):
            module.eps = 1e-5
    return reference


def test_attention_of_the_two_kinds():
    def kinds(name):
        backbone = build(name, device="meta")
        return [[type(block.attn).__name__ for block in stage] for stage in backbone.blocks]

    local, reduced = "WindowAttention", "ReducedAttention"
    assert kinds("twins_svt_small") == [[local, reduced] * (depth // 2) for depth in (2, 2, 10, 4)]
    assert kinds("twins_pcpvt_small") == [[reduced] * depth for depth in (3, 4, 6, 3)]


def test_windows_do_not_see_each_other():
    attention = WindowAttention(8, 2, 3, attention_dropout=0.0, dropout=0.0)
    features = torch.rand(1, 5, 7, 8)
    changed = features.clone()
    changed[0, 4, 6] += 1  # in the last window: rows 3 and 4, column 6
    differs = (attention(features) != attention(changed)).any(dim=-1)[0]
    assert differs.nonzero().tolist() == [[3, 6], [4, 6]]


def test_patches_at_the_border_are_padded_with_zeros():
    embed = NormedPatchEmbed(3, 8, 4)
    images = torch.rand(1, 3, 5, 8)
    padded = torch.cat([images, torch.zeros(1, 3, 3, 8)], dim=2)
    assert embed(images).shape == (1, 2, 2, 8)
    assert torch.equal(embed(images), embed(padded))


@pytest.mark.parametrize(
    ("parameters", "smallest"), [({}, 29), ({"sr_ratios": (1, 1, 2, 2)}, 33), ({"sr_ratios": (1,) * 4}, 1)]
)
def test_smallest_image(parameters, smallest):
    backbone = build("twins_pcpvt_small", **{**TINY, **parameters}).eval()
    assert backbone(torch.rand(1, 3, smallest, smallest + 20)).isfinite().all()
    if smallest > 1:
        message = f"^Twins needs images of at least {smallest}x{smallest} pixels, got {smallest - 1}x64$"
        with pytest.raises(ValueError, match=message):
            backbone(torch.rand(1, 3, smallest - 1, 64))


def test_norm_after_the_last_stage_only():
    full = build("twins_pcpvt_small", out_indices=(2, 3), **TINY).eval()
    third, last = full(torch.rand(1, 3, 64, 64))
    assert last.mean(dim=1).abs().max() < 1e-6  # a new layer norm's outputs have mean 0
    assert third.mean(dim=1).abs().max() > 1e-3
    assert isinstance(build("twins_pcpvt_small", out_indices=(2,), **TINY).norm, nn.Identity)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"depths": (1, 1, 1)},
            "Twins needs one value for each stage, got 3 depths, 4 widths, 4 num_heads, 4 mlp_ratios, 4 sr_ratios",
        ),
        (
            {"num_heads": (1, 2, 5, 4)},
            "Twins needs channels that are a multiple of the attention heads, got 12 channels and 5 heads",
        ),
    ],
)
def test_parameters_that_do_not_fit(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("twins_pcpvt_small", **{**TINY, **parameters})
