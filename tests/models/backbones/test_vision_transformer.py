"""Vision transformers: agreement with other libraries, images of other sizes, and errors in words."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model, transplant
from torch import nn
from torchvision.models.vision_transformer import VisionTransformer

SMALL = {"num_layers": 2, "hidden_dim": 48, "mlp_dim": 96, "image_size": 64}
MMPRETRAIN_SMALL = {"embed_dims": 48, "num_layers": 2, "num_heads": 12, "feedforward_channels": 96}
TIMM_SMALL = {"depth": 2, "embed_dim": 48, "mlp_ratio": 2, "num_classes": 0}


@pytest.mark.parametrize("size", [64, 96])  # torchvision's takes one size only
def test_agrees_with_torchvision(size):
    reference = VisionTransformer(size, 16, 2, 12, 48, 96)
    reference.heads = nn.Identity()
    agree(reference, build("vit_b_16", **SMALL | {"image_size": size}), (size,))


@pytest.mark.parametrize("name", ["vit_base_patch16_224", "deit_base_patch16_224"])
def test_agrees_with_timm(name):
    reference = timm_model(name, img_size=64, dynamic_img_size=True, **TIMM_SMALL)
    agree(reference, build("vit_b_16", **SMALL), (64, 96))


@pytest.mark.mmpretrain
@pytest.mark.parametrize("out_type", ["cls_token", "featmap"])
def test_agrees_with_mmpretrain(out_type):
    parameters = {"arch": MMPRETRAIN_SMALL, "img_size": 64, "out_type": out_type}
    agree(
        mmpretrain_backbone("VisionTransformer", **parameters),
        build("vit_b_16", out_type=out_type, **SMALL),
        (64,),
    )


def test_weights_of_another_image_size_are_resized_as_timm_resizes_them():
    reference = (
        timm_model("vit_base_patch16_224", img_size=96, dynamic_img_size=True, **TIMM_SMALL).double().eval()
    )
    backbone = transplant(reference, build("vit_b_16", **SMALL))
    images = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(backbone(images), reference(images), atol=1e-6, rtol=1e-6)


def test_weights_of_torchvisions_old_names():
    source, target = build("vit_b_16", **SMALL), build("vit_b_16", **SMALL)
    nn.init.normal_(target.conv_proj.weight)
    old = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
        for name, tensor in source.state_dict().items()
    }
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in old
    target.load_state_dict(target.adapt_weights(old), strict=True)
    images = torch.rand(1, 3, 64, 64)
    with torch.inference_mode():
        assert torch.equal(target.eval()(images), source.eval()(images))


def test_images_of_another_size():
    backbone = build("vit_b_16", out_type="featmap", **SMALL).eval()
    assert backbone(torch.rand(2, 3, 96, 48)).shape == (2, 48, 6, 3)


def test_exports_for_batches_of_any_size():
    backbone = build("vit_b_16", **SMALL).eval()
    dynamic = {0: torch.export.Dim("batch", min=1, max=64)}
    program = torch.export.export(backbone, (torch.rand(2, 3, 64, 64),), dynamic_shapes=(dynamic,))
    images = torch.rand(3, 3, 64, 64)
    with torch.inference_mode():
        torch.testing.assert_close(program.module()(images), backbone(images))


def test_the_map_is_in_the_order_of_the_image():
    backbone = build("vit_b_16", out_type="featmap", **SMALL | {"num_layers": 1}).eval()
    images = torch.rand(1, 3, 64, 64)
    changed = images.clone()
    changed[:, :, 16:32, 48:64] += 1  # the patch in row 1, column 3
    with torch.inference_mode():
        difference = (backbone(changed) - backbone(images)).abs().sum(dim=1)[0]
    assert divmod(int(difference.argmax()), 4) == (1, 3)


def test_frozen_stem_has_no_trainable_token():
    backbone = build("vit_b_16", **SMALL, frozen_stages=1)
    frozen = {name for name, parameter in backbone.named_parameters() if not parameter.requires_grad}
    assert {name for name in frozen if "encoder_layer_0" not in name} == {
        "class_token",
        "encoder.pos_embedding",
        "conv_proj.weight",
        "conv_proj.bias",
    }


def test_images_must_be_whole_patches():
    message = "^VisionTransformer needs images whose height and width are multiples of 16, got 64x50$"
    with pytest.raises(ValueError, match=message):
        build("vit_b_16", **SMALL)(torch.rand(1, 3, 64, 50))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"image_size": 100}, "VisionTransformer needs image_size to be a multiple of patch_size, got 100 and 16"),
        ({"hidden_dim": 50}, "VisionTransformer needs hidden_dim to be a multiple of num_heads, got 50 and 12"),
    ],
)
def test_wrong_dimensions(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("vit_b_16", device="meta", **parameters)
