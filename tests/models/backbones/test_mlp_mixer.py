"""What is particular to MLP-Mixer: other libraries' numbers, its one image size, stochastic depth."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone
from torch import nn

from clscli.models.layers.drop_path import DropPath

TINY = {"patch_size": 8, "num_layers": 3, "hidden_dim": 16, "tokens_mlp_dim": 8, "channels_mlp_dim": 64}


def tiny(image_size, **parameters):
    return build("mixer_b16", image_size=image_size, **TINY, **parameters)


@pytest.mark.parametrize("image_size", [32, 48])
def test_agrees_with_timm(image_size):
    mlp_mixer = pytest.importorskip("timm.models.mlp_mixer")
    reference = mlp_mixer.MlpMixer(img_size=image_size, patch_size=8, num_blocks=3, embed_dim=16)

    def features(model, images):
        return model.forward_intermediates(images, norm=False, intermediates_only=True)[:2]

    agree(reference, tiny(image_size, out_indices=(0, 1)), (image_size, image_size), theirs=features)
    agree(
        reference,
        tiny(image_size),
        (image_size, image_size),
        theirs=lambda model, images: model.forward_features(images).mean(1),
        ours=lambda backbone, images: backbone(images).mean((2, 3)),
    )


@pytest.mark.mmpretrain
@pytest.mark.parametrize("image_size", [32, 48])
def test_agrees_with_mmpretrain(image_size):
    arch = {"embed_dims": 16, "num_layers": 3, "tokens_mlp_dims": 8, "channels_mlp_dims": 64}
    reference = mmpretrain_backbone(
        "MlpMixer", arch=arch, img_size=image_size, patch_size=8, norm_cfg={"type": "LN", "eps": 1e-6}
    )
    agree(
        reference,
        tiny(image_size),
        (image_size, image_size),
        ours=lambda backbone, images: backbone(images).flatten(2),
    )


def test_tokens_keep_their_place_in_the_map():
    backbone = tiny(32, out_indices=(0,)).eval()
    for parameter in backbone.blocks.parameters():  # with no mixing, a stage is the patches' projection
        nn.init.zeros_(parameter)
    images = torch.rand(2, 3, 32, 32)
    torch.testing.assert_close(backbone(images), backbone.stem(images))


def test_images_of_another_size():
    message = "built for images of 224x224 pixels, its image_size, got 256x224"
    with pytest.raises(ValueError, match=message):
        build("mixer_s32", device="meta")(torch.empty(1, 3, 256, 224, device="meta"))


def test_an_image_size_that_does_not_divide_into_patches():
    with pytest.raises(ValueError, match="image_size to be a multiple of patch_size, got 225 and 16"):
        build("mixer_b16", image_size=225, device="meta")


def test_the_drop_path_rate_grows_to_the_last_layer():
    backbone = build("mixer_b16", out_indices=(6,), device="meta")
    rates = [module.rate for module in backbone.modules() if isinstance(module, DropPath)]
    assert rates == pytest.approx([0.1 * index / 11 for index in range(7)])
