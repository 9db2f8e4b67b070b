"""What is particular to PoolFormer: other libraries' numbers, the final norm, sizes, errors."""

import pytest
import torch
from backbone_kit import agree, build, materialise, mmpretrain_backbone, transplant
from torch import nn

from clscli.models.layers.drop_path import DropPath
from clscli.models.matching import match_weights

TINY = {"depths": (2, 1, 1, 1), "widths": (8, 12, 16, 20)}


def tiny_timm():
    metaformer = pytest.importorskip("timm.models.metaformer")
    return metaformer.MetaFormer(
        depths=TINY["depths"],
        dims=TINY["widths"],
        downsample_norm=None,
        mlp_act=nn.GELU,
        mlp_bias=True,
        norm_layers=metaformer.GroupNorm1,
        layer_scale_init_values=1e-5,
        res_scale_init_values=None,
        use_mlp_head=False,
    )


def without_norm(backbone, images):
    backbone.norm = nn.Identity()
    return backbone(images)


# Agreement with other libraries


def test_agrees_with_timm_up_to_the_final_norm():
    """Timm's comes after the pooling."""
    agree(
        tiny_timm(),
        build("poolformer_s12", **TINY, out_indices=(0, 1, 2, 3)),
        (64, 45),
        theirs=lambda model, images: model.forward_intermediates(images, intermediates_only=True),
        ours=without_norm,
    )


def test_timms_final_norm_is_ours():
    reference = materialise(tiny_timm())
    backbone = transplant(reference, build("poolformer_s12", **TINY))
    assert torch.equal(backbone.norm.weight, reference.head.norm.weight)
    assert torch.equal(backbone.norm.bias, reference.head.norm.bias)


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    arch = {"layers": TINY["depths"], "embed_dims": TINY["widths"]}
    reference = mmpretrain_backbone("PoolFormer", arch=arch)
    agree(reference, build("poolformer_s12", **TINY), (64, 45))


@pytest.mark.mmpretrain
def test_the_authors_names():
    """Theirs are mmpretrain's, but for the final norm, which theirs has alone."""
    names = mmpretrain_backbone("PoolFormer").state_dict()
    theirs = {name.replace("norm6.", "norm."): tensor for name, tensor in names.items()}
    match = match_weights(theirs, build("poolformer_s12", device="meta"))
    assert (match.missing, match.misshapen, list(match.unused)) == ([], [], [])


# Blocks, options


def test_a_uniform_map_is_not_mixed():
    """The pooling leaves out what is beyond the border, so that it subtracts to nothing even there."""
    block = build("poolformer_s12", **TINY, layer_scale=1.0).stages[0].blocks[0].eval()
    nn.init.zeros_(block.mlp.fc2.weight)
    features = torch.rand(1, 8, 1, 1).expand(-1, -1, 5, 7)
    torch.testing.assert_close(block(features), features)


def test_the_final_norm_is_over_channels_and_pixels():
    backbone = build("poolformer_s12", **TINY).eval()
    output = backbone(torch.rand(2, 3, 64, 64))
    torch.testing.assert_close(output.mean((1, 2, 3)), torch.zeros(2), atol=1e-5, rtol=0)
    assert not hasattr(build("poolformer_s12", **TINY, out_indices=(2,)).norm, "weight")


@pytest.mark.parametrize(
    ("name", "layer_scale", "drop_path_rate"),
    [
        ("poolformer_s12", 1e-5, 0.1),
        ("poolformer_s24", 1e-5, 0.1),
        ("poolformer_s36", 1e-6, 0.2),
        ("poolformer_m36", 1e-6, 0.3),
        ("poolformer_m48", 1e-6, 0.4),
    ],
)
def test_published_recipe(name, layer_scale, drop_path_rate):
    backbone = build(name, device="meta")
    rates = [module.rate for module in backbone.modules() if isinstance(module, DropPath)]
    assert (rates[0], rates[-1]) == (0, drop_path_rate)
    first = build(name, widths=(8, 8, 8, 8), depths=(1, 1, 1, 1)).stages[0].blocks[0]
    assert (first.layer_scale1.scale == layer_scale).all()


def test_images_of_any_size_from_3x3():
    backbone = build("poolformer_s12", **TINY).eval()
    assert backbone(torch.rand(1, 3, 3, 5)).shape == (1, 20, 1, 1)
    with pytest.raises(ValueError, match="at least 3x3 pixels, got 2x5"):
        backbone(torch.rand(1, 3, 2, 5))


def test_depths_and_widths_of_different_lengths():
    with pytest.raises(ValueError, match="as many depths as widths, got 2 depths and 4 widths"):
        build("poolformer_s12", depths=(1, 1))
