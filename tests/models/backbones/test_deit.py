"""DeiT: agreement with timm, mmpretrain and torchvision, two tokens, positions for other sizes, errors."""

import pytest
import torch
from backbone_kit import ENTRIES, agree, as_tuple, build, materialise, mmpretrain_backbone, shapes, timm_model
from torch import nn
from torchvision import models

from clscli.models.matching import match_weights

TINY = {"image_size": 32, "num_layers": 3, "num_heads": 3, "hidden_dim": 24}


def timm_features(model, images):
    """What timm's classifier looks at, before its head."""
    tokens = model.forward_features(images)
    return tuple(tokens[:, : model.num_prefix_tokens].unbind(1))


@pytest.mark.parametrize("distilled", [False, True])
def test_same_numbers_as_timm(distilled):
    reference = timm_model(
        "deit_tiny_distilled_patch16_224" if distilled else "deit_tiny_patch16_224",
        img_size=32,
        depth=3,
        embed_dim=24,
        dynamic_img_size=True,  # positions are interpolated for the second size
    )
    backbone = build("deit_tiny_patch16", distilled=distilled, **TINY)
    agree(reference, backbone, (32, 64), theirs=timm_features)


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("type", "distilled"), [("VisionTransformer", False), ("DistilledVisionTransformer", True)]
)
def test_same_numbers_as_mmpretrain(type, distilled):
    arch = {"embed_dims": 24, "num_layers": 3, "num_heads": 3, "feedforward_channels": 96}
    for size in (32, 48):
        reference = mmpretrain_backbone(type, arch=arch, img_size=size)
        backbone = build("deit_tiny_patch16", distilled=distilled, **{**TINY, "image_size": size})
        agree(reference, backbone, (size, size), theirs=mmpretrain_features)


def mmpretrain_features(model, images):
    (tokens,) = model(images)
    return tokens


def test_same_numbers_as_torchvision():
    for size in (32, 48):
        reference = models.VisionTransformer(size, 16, num_layers=3, num_heads=3, hidden_dim=24, mlp_dim=96)
        reference.heads = nn.Identity()
        agree(reference, build("deit_tiny_patch16", **{**TINY, "image_size": size}), (size, size))


def test_two_tokens_of_every_stage_asked_for():
    backbone = build("deit_tiny_distilled_patch16", out_indices=(0, 2), **TINY)
    assert backbone.out_channels == (24, 24, 24, 24)
    assert shapes(backbone(torch.rand(2, 3, 32, 32))) == [(2, 24)] * 4


def test_both_tokens_train():
    backbone = build("deit_tiny_distilled_patch16", **TINY)
    for output in backbone(torch.rand(2, 3, 32, 32)):
        backbone.zero_grad()
        output.square().sum().backward(retain_graph=True)
        assert all(parameter.grad is not None for parameter in backbone.parameters())


def test_featmap_is_the_patches_in_rows_and_columns():
    backbone = build("deit_tiny_patch16", out_type="featmap", **TINY).eval()
    other = build("deit_tiny_patch16", out_indices=(2,), **TINY).eval()
    images = torch.rand(1, 3, 32, 48)
    tokens, grid = backbone.embed(images)
    for block in backbone.blocks:
        tokens = block(tokens)
    tokens = backbone.norm(tokens)
    features = backbone(images)
    assert grid == (2, 3)
    assert features.shape == (1, 24, 2, 3)
    torch.testing.assert_close(features[0, :, 1, 0], tokens[0, 1 + 3])
    torch.testing.assert_close(other(images), tokens[:, 0])


def test_weights_of_another_image_size_are_resized():
    large = materialise(build("deit_tiny_distilled_patch16", **{**TINY, "image_size": 64}))
    small = build("deit_tiny_distilled_patch16", **TINY)
    match = match_weights(large.state_dict(), small)
    assert (match.missing, match.misshapen, list(match.unused)) == ([], [], [])
    assert match.adapted == {"pos_embed": (torch.Size((1, 18, 24)), torch.Size((1, 6, 24)))}
    assert torch.equal(match.fitting["pos_embed"][:, :2], large.pos_embed[:, :2])


def test_frozen_stem_has_the_tokens_and_positions():
    backbone = build("deit_tiny_distilled_patch16", frozen_stages=1, **TINY)
    trained = {name.split(".")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"blocks", "norm"}
    assert not any(p.requires_grad for p in backbone.blocks[0].parameters())


def test_drop_path_is_the_whole_network_s_share():
    backbone = build("deit_tiny_patch16", drop_path_rate=0.2, out_indices=(1,), **TINY)
    assert [block.drop_path.rate for block in backbone.blocks] == [0.0, 0.1]
    assert isinstance(backbone.norm, nn.Identity)


def test_companions():
    companions = ENTRIES["deit_tiny_patch16"].load().func.companions
    assert companions({"distilled": False, "out_type": "cls_token"}) == {}
    assert companions({"distilled": True, "out_type": "cls_token"}) == {"head": {"type": "deit"}}
    assert companions({"distilled": True, "out_type": "featmap"}) == {}


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 40}, "DeiT needs image_size to be a multiple of patch_size, got 40 and 16"),
        (
            {"num_heads": 5},
            "DeiT needs channels that are a multiple of the attention heads, got 24 channels and 5 heads",
        ),
    ],
)
def test_parameters_that_do_not_divide(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("deit_tiny_patch16", **{**TINY, **parameters})


def test_images_that_do_not_divide_into_patches():
    message = "^DeiT needs images whose height and width are multiples of 16, got 32x40$"
    with pytest.raises(ValueError, match=message):
        build("deit_tiny_patch16", **TINY)(torch.rand(1, 3, 32, 40))


def test_new_weights():
    backbone = build("deit_tiny_patch16", num_layers=2)
    for name, parameter in backbone.named_parameters():
        if name.endswith(("qkv.weight", "proj.weight", "fc1.weight", "fc2.weight")) and "embed" not in name:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05)
        elif name.startswith("blocks") and name.endswith("bias"):
            assert not parameter.any()
    assert as_tuple(backbone.pos_embed)[0].std().item() == pytest.approx(0.02, rel=0.05)
