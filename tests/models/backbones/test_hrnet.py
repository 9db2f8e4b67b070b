"""What is particular to HRNet: other libraries' numbers, resolutions as outputs, companions."""

import pytest
import torch
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone, shapes, timm_model

TINY = {
    "width": 4,
    "first_width": 4,
    "first_blocks": 1,
    "stem_channels": 8,
    "num_blocks": 1,
    "num_modules": (1, 2, 2),
}


def test_agrees_with_timm():
    def stages(model, images):
        first = model.act1(model.bn1(model.conv1(images)))
        return model.stages(model.act2(model.bn2(model.conv2(first))))

    agree(timm_model("hrnet_w18_small"), build("hrnet_w18_small"), (64, 96), theirs=stages)


@pytest.mark.mmpretrain
def test_agrees_with_mmpretrain():
    reference = mmpretrain_backbone("HRNet", arch="w18")
    agree(reference, build("hrnet_w18"), (32, 64))


@pytest.mark.parametrize(("height", "width"), [(45, 70), (1, 33)])
def test_any_image_size(height, width):
    outputs = build("hrnet_w18", **TINY)(torch.rand(2, 3, height, width))
    sizes = [tuple(-(-side // 2 ** (index + 2)) for side in (height, width)) for index in range(4)]
    assert shapes(outputs) == [(2, 4 * 2**index, *size) for index, size in enumerate(sizes)]


def test_only_the_resolutions_asked_for_are_fused():
    backbone = build("hrnet_w18", out_indices=(1, 3), **TINY)
    fused = {
        name.split(".")[3] for name, _ in backbone.named_parameters() if name.startswith("stage4.1.fuse_layers")
    }
    assert fused == {"1", "3"}
    assert backbone.out_channels == (8, 32)
    assert shapes(backbone(torch.rand(1, 3, 64, 64))) == [(1, 8, 8, 8), (1, 32, 2, 2)]


def test_frozen_stages_are_those_of_the_network():
    backbone = build("hrnet_w18", frozen_stages=2, **TINY)
    trained = {name.split(".")[0] for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert trained == {"transition2", "stage3", "transition3", "stage4"}


def test_companions_join_the_four_resolutions():
    companions = ENTRIES["hrnet_w18"].load().func.companions
    assert companions({"out_indices": (0, 1, 2, 3)}) == {
        "neck": [{"type": "hr_fuse_scales"}, {"type": "global_average_pooling"}]
    }
    assert companions({"out_indices": (-1,)}) == {}
