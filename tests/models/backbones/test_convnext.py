"""ConvNeXt: agreement with other libraries, stochastic depth, and errors in words."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model
from torch import nn
from torchvision.models.convnext import CNBlockConfig, ConvNeXt

SMALL = {"depths": (1, 1, 2, 1), "widths": (8, 16, 24, 32)}


def test_agrees_with_torchvision():
    stages = [
        CNBlockConfig(8, 16, 1),
        CNBlockConfig(16, 24, 1),
        CNBlockConfig(24, 32, 2),
        CNBlockConfig(32, None, 1),
    ]
    reference = ConvNeXt(stages, num_classes=10)
    reference.classifier[2] = nn.Identity()
    agree(reference, build("convnext_tiny", **SMALL), (64, 70))


def test_agrees_with_timm():
    reference = timm_model("convnext_tiny", depths=SMALL["depths"], dims=SMALL["widths"], num_classes=0)
    agree(reference, build("convnext_tiny", **SMALL), (64, 70))


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    arch = {"depths": list(SMALL["depths"]), "channels": list(SMALL["widths"])}
    agree(mmpretrain_backbone("ConvNeXt", arch=arch), build("convnext_tiny", **SMALL), (64, 70))


def test_paths_are_dropped_in_training_only():
    backbone = build("convnext_tiny", drop_path_rate=0.9, layer_scale=1.0, **SMALL)
    images = torch.rand(1, 3, 64, 64).expand(16, -1, -1, -1)
    dropped = backbone.train()(images)
    whole = backbone.eval()(images)
    assert dropped.std(dim=0).max() > 0.1
    torch.testing.assert_close(whole, whole[:1].expand_as(whole))


def test_depths_and_widths_go_together():
    with pytest.raises(ValueError, match=r"^ConvNeXt needs as many depths as widths, got 2 depths and 4 widths$"):
        build("convnext_tiny", depths=(1, 1), device="meta")


def test_smallest_image_depends_on_the_stages_asked_for():
    assert build("convnext_tiny", **SMALL)(torch.rand(2, 3, 32, 40)).shape == (2, 32)
    assert build("convnext_tiny", out_indices=(1,), **SMALL)(torch.rand(2, 3, 8, 8)).shape == (2, 16, 1, 1)
    with pytest.raises(ValueError, match=r"^ConvNeXt needs images of at least 32x32 pixels, got 32x28$"):
        build("convnext_tiny", **SMALL)(torch.rand(2, 3, 32, 28))
