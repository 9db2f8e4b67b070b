"""TNT: agreement with timm and mmpretrain in both forms, any number of patches, errors in words."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model

from clscli.models.backbones.tnt import cut

TINY = {"num_layers": 2, "num_heads": 3, "hidden_dim": 24, "inner_dim": 8}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("size", [32, 48])
def test_same_numbers_as_timm(legacy, size):
    reference = timm_model(
        "tnt_s_legacy_patch16_224" if legacy else "tnt_s_patch16_224",
        img_size=size,
        depth=2,
        embed_dim=24,
        inner_dim=8,
        num_heads_outer=3,
        num_classes=0,
    )
    backbone = build("tnt_s_patch16", image_size=size, legacy=legacy, **TINY)
    agree(reference, backbone, (size, size), theirs=lambda model, images: model.forward_features(images)[:, 0])


@pytest.mark.mmpretrain
@pytest.mark.parametrize("size", [32, 48])
def test_same_numbers_as_mmpretrain(size):
    arch = {
        "embed_dims_outer": 24,
        "embed_dims_inner": 8,
        "num_layers": 2,
        "num_heads_outer": 3,
        "num_heads_inner": 4,
    }
    reference = mmpretrain_backbone("TNT", arch=arch, img_size=size)
    agree(reference, build("tnt_s_legacy_patch16", image_size=size, **TINY), (size, size))


def test_cut():
    features = torch.arange(24.0).reshape(1, 1, 4, 6)
    squares, grid = cut(features, 2)
    assert grid == (2, 3)
    assert squares.shape == (6, 1, 2, 2)
    assert squares[4, 0].tolist() == [[14, 15], [20, 21]]


def test_a_patch_sees_its_neighbours_in_the_legacy_form_only():
    images = torch.rand(1, 3, 32, 32)
    changed = images.clone()
    changed[..., :16] += 1  # the left half: patches 0 and 2; convolutions reach 3 pixels to the left
    for legacy in (False, True):
        embed = build("tnt_s_patch16", image_size=32, legacy=legacy, **TINY).pixel_embed
        changes = (embed(images)[0] != embed(changed)[0]).flatten(1).any(dim=1)
        assert changes.tolist() == [True, legacy, True, legacy]


def test_images_of_another_size():
    backbone = build("tnt_s_patch16", image_size=32, out_type="featmap", **TINY).eval()
    assert backbone(torch.rand(1, 3, 48, 64)).shape == (1, 24, 3, 4)


def test_frozen_stem_has_the_token_and_positions():
    backbone = build("tnt_s_patch16", image_size=32, frozen_stages=1, **TINY)
    assert {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad} == {"blocks", "norm"}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 40}, "TNT needs image_size to be a multiple of patch_size, got 40 and 16"),
        ({"pixel_size": 3}, "TNT needs patch_size to be a multiple of pixel_size, got 16 and 3"),
        (
            {"inner_dim": 9},
            "TNT's inner transformer needs channels that are a multiple of the attention heads, "
            "got 9 channels and 4 heads",
        ),
    ],
)
def test_parameters_that_do_not_divide(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("tnt_s_patch16", **{**TINY, **parameters})
