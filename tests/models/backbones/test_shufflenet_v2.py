"""ShuffleNetV2: the same numbers as torchvision and mmpretrain, and its widths."""

import pytest
from backbone_kit import agree, build, mmpretrain_backbone
from torch import nn
from torchvision import models


def test_same_as_torchvision():
    reference = models.ShuffleNetV2([2, 3, 2], [24, 16, 32, 48, 64], num_classes=1)
    reference.fc = nn.Identity()
    backbone = build("shufflenet_v2_x1_0", depths=(2, 3, 2), widths=(16, 32, 48), last_channels=64)
    agree(reference, backbone, (32, 75), ours=lambda model, images: model(images).mean((2, 3)))


@pytest.mark.mmpretrain
@pytest.mark.parametrize(("widen_factor", "name"), [(0.5, "shufflenet_v2_x0_5"), (1.5, "shufflenet_v2_x1_5")])
def test_same_as_mmpretrain(widen_factor, name):
    agree(mmpretrain_backbone("ShuffleNetV2", widen_factor=widen_factor), build(name), (32, 75))


def test_widths_must_be_even():
    message = r"ShuffleNetV2 halves its channels, so widths must be even, got \[16, 25, 32\]"
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("shufflenet_v2_x1_0", widths=(16, 25, 32), device="meta")
