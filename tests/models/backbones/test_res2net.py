"""What is particular to Res2Net: other libraries' numbers, the chain of scales, errors."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model
from torch import nn

TINY = (1, 2, 1, 1)


@pytest.mark.parametrize("name", ["res2net50_26w_4s", "res2net50_48w_2s", "res2net50d", "res2next50"])
def test_agrees_with_timm(name):
    agree(
        timm_model(name, layers=TINY),
        build(name, layers=TINY),
        (64, 45),
        theirs=lambda model, images: model.forward_features(images),
    )


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("res2net50_14w_8s", {"scales": 8, "base_width": 14, "deep_stem": False, "avg_down": False}),
        ("res2net50d", {"scales": 4, "base_width": 26}),
    ],
)
def test_agrees_with_mmpretrain(name, reference):
    model = mmpretrain_backbone("Res2Net", depth=50, out_indices=(0, 1), **reference)
    agree(model, build(name, out_indices=(0, 1)), (64, 45))


def test_each_scale_sees_those_before_it():
    """The parts after the first have a wider and wider view, the last one none."""
    block = build("res2net50_26w_4s", layers=(2,), base_channels=8).layer1[1].eval()
    block.conv3, block.bn3, block.downsample = nn.Identity(), nn.Identity(), nn.Conv2d(32, 12, 1, bias=False)
    nn.init.zeros_(block.downsample.weight)
    with torch.no_grad():
        for conv in (block.conv1, *block.convs):
            conv.weight.fill_(1)
        maps = torch.zeros(1, 32, 9, 9)
        maps[0, :, 4, 4] = 1
        views = (block(maps) > 0).sum(dim=(2, 3))[0]
    assert views.tolist() == [9] * 3 + [25] * 3 + [49] * 3 + [1] * 3


def test_too_few_channels():
    with pytest.raises(ValueError, match="Res2Net") as caught:
        build("res2net50_14w_8s", base_channels=4, device="meta")
    assert str(caught.value) == (
        "Res2Net needs base_channels * base_width of at least 64, for one channel in a scale, got 4 * 14"
    )
