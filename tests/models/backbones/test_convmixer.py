"""What is particular to ConvMixer: other libraries' numbers, sizes, errors."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model
from torch import nn

TINY = {"hidden_dim": 16, "num_layers": 3, "kernel_size": 5, "patch_size": 4}


@pytest.mark.parametrize(("name", "activation"), [("convmixer_1536_20", nn.GELU), ("convmixer_768_32", nn.ReLU)])
def test_agrees_with_timm(name, activation):
    convmixer = pytest.importorskip("timm.models.convmixer")
    reference = convmixer.ConvMixer(dim=16, depth=3, kernel_size=5, patch_size=4, act_layer=activation)
    agree(reference, build(name, **TINY), (32, 21), theirs=lambda model, images: model.forward_features(images))


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    arch = {"embed_dims": 16, "depth": 3, "patch_size": 4, "kernel_size": 5}
    reference = mmpretrain_backbone("ConvMixer", arch=arch, out_indices=(0, 1, 2))
    agree(reference, build("convmixer_1536_20", **TINY, out_indices=(0, 1, 2)), (32, 21))


@pytest.mark.parametrize("name", ["convmixer_768_32", "convmixer_1024_20_ks9_p14", "convmixer_1536_20"])
def test_layers_are_those_of_timm(name):
    def layers(model):
        convolutions = [(m.kernel_size, m.stride, m.groups) for m in model.modules() if isinstance(m, nn.Conv2d)]
        return convolutions, [type(m) for m in model.modules() if isinstance(m, nn.GELU | nn.ReLU)]

    with torch.device("meta"):
        reference = timm_model(name)
    assert layers(build(name, device="meta")) == layers(reference)


def test_pixels_beyond_the_last_patch_are_not_seen():
    backbone = build("convmixer_1536_20", **TINY).eval()
    images = torch.rand(1, 3, 15, 19)
    assert torch.equal(backbone(images), backbone(images[..., :12, :16]))


def test_an_image_smaller_than_a_patch():
    with pytest.raises(ValueError, match="at least 14x14 pixels, got 13x20"):
        build("convmixer_1024_20_ks9_p14", device="meta")(torch.empty(1, 3, 13, 20, device="meta"))


def test_an_even_kernel_would_move_the_map():
    with pytest.raises(ValueError, match="needs an odd kernel_size, which keeps a map's size, got 8"):
        build("convmixer_768_32", kernel_size=8)
