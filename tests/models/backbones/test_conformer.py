"""Conformer: agreement with mmpretrain, its two branches, stages, and companions."""

import pytest
import torch
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone, shapes
from torch import nn

TINY = {"num_layers": 6, "num_heads": 3, "hidden_dim": 24, "base_channels": 16}


def pooled(model, images):
    features, token = model(images)
    return features.mean(dim=(2, 3)), token


@pytest.mark.mmpretrain
@pytest.mark.parametrize("patch_size", [16, 32])
def test_same_numbers_as_mmpretrain(patch_size):
    """The second size does not divide into patches: both pad."""
    reference = mmpretrain_backbone(
        "Conformer",
        arch={"embed_dims": 24, "depths": 6, "num_heads": 3, "channel_ratio": 1},
        base_channels=16,
        patch_size=patch_size,
    )
    backbone = build("conformer_tiny_patch16", patch_size=patch_size, **TINY)
    agree(reference, backbone, (64, 75), theirs=lambda model, images: model(images)[-1], ours=pooled)


def test_two_branches():
    backbone = build("conformer_small_patch16", device="meta")
    assert backbone.out_channels == (1024, 384)
    assert shapes(backbone(torch.empty(2, 3, 64, 64, device="meta"))) == [(2, 1024, 2, 2), (2, 384)]


def test_maps_of_every_stage_then_the_class_token():
    backbone = build("conformer_small_patch16", out_indices=(0, 1, 2, 3), device="meta")
    assert backbone.out_channels == (256, 512, 1024, 1024, 384)
    assert shapes(backbone(torch.empty(2, 3, 64, 64, device="meta"))) == [
        (2, 256, 16, 16),
        (2, 512, 8, 8),
        (2, 1024, 4, 4),
        (2, 1024, 2, 2),
        (2, 384),
    ]


def test_blocks_of_the_stages():
    backbone = build("conformer_tiny_patch16", device="meta")
    names = {module: name for name, module in backbone.named_children()}
    _, *stages = [[names[module] for module in modules] for modules in backbone.stem_and_stages()]
    assert stages == [
        ["conv_1", "trans_patch_conv", "trans_1", "conv_trans_2", "conv_trans_3", "conv_trans_4"],
        ["conv_trans_5", "conv_trans_6", "conv_trans_7", "conv_trans_8"],
        ["conv_trans_9", "conv_trans_10", "conv_trans_11"],
        ["conv_trans_12", "trans_norm"],
    ]


@pytest.mark.parametrize("out_indices", [(0,), (2,), (-1,), (0, 3)])
def test_every_parameter_of_the_two_branches_trains(out_indices):
    backbone = build("conformer_tiny_patch16", out_indices=out_indices, **TINY)
    sum(output.square().sum() for output in backbone(torch.rand(2, 3, 32, 32))).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


def test_final_norm_only_after_the_last_stage():
    assert isinstance(build("conformer_tiny_patch16", **TINY).trans_norm, nn.LayerNorm)
    assert isinstance(build("conformer_tiny_patch16", out_indices=(2,), **TINY).trans_norm, nn.Identity)
    assert isinstance(build("conformer_tiny_patch16", out_type="featmap", **TINY).trans_norm, nn.Identity)


def test_frozen_stem_has_the_class_token():
    backbone = build("conformer_tiny_patch16", frozen_stages=2, **TINY)
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"conv_trans_5", "conv_trans_6", "trans_norm"}


def test_bottlenecks_start_as_their_shortcuts():
    backbone = build("conformer_tiny_patch16", **TINY)
    assert not any(p.any() for name, p in backbone.named_parameters() if name.endswith("bn3.weight"))


def test_companions():
    companions = ENTRIES["conformer_tiny_patch16"].load().func.companions
    assert companions({"out_type": "two_branches"}) == {"neck": [], "head": {"type": "conformer"}}
    assert companions({"out_type": "featmap"}) == {}


def test_channels_that_do_not_divide_into_heads():
    message = "Conformer needs channels that are a multiple of the attention heads, got 24 channels and 5 heads"
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("conformer_tiny_patch16", **{**TINY, "num_heads": 5})
