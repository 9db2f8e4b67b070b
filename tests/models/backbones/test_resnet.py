"""What is particular to residual networks: other libraries' numbers, stems, options, errors."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, num_parameters, shapes, timm_model
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

TINY = (1, 2, 1, 1)


def features(model, images):
    return model.forward_features(images)


# Agreement with other libraries


@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("resnet18", {"block": BasicBlock}),
        ("resnet50", {"block": Bottleneck}),
        ("resnext50_32x4d", {"block": Bottleneck, "groups": 32, "width_per_group": 4}),
        ("wide_resnet50_2", {"block": Bottleneck, "width_per_group": 128}),
    ],
)
def test_agrees_with_torchvision(name, reference):
    model = ResNet(layers=TINY, **reference)
    model.avgpool = model.fc = nn.Identity()
    agree(model, build(name, layers=TINY), (64, 45), ours=lambda backbone, images: backbone(images).flatten(1))


@pytest.mark.parametrize(
    "name", ["resnet18", "resnet50", "resnet50c", "resnet18d", "resnet50d", "seresnet18", "seresnext50_32x4d"]
)
def test_agrees_with_timm(name):
    agree(timm_model(name, layers=TINY), build(name, layers=TINY), (64, 45), theirs=features)


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("resnet18", {"type": "ResNet", "depth": 18}),
        ("resnet50c", {"type": "ResNetV1c", "depth": 50}),
        ("resnet50d", {"type": "ResNetV1d", "depth": 50}),
        ("resnext50_32x4d", {"type": "ResNeXt", "depth": 50, "groups": 32, "width_per_group": 4}),
        ("seresnet50", {"type": "SEResNet", "depth": 50}),
        ("seresnext50_32x4d", {"type": "SEResNeXt", "depth": 50, "groups": 32, "width_per_group": 4}),
    ],
)
def test_agrees_with_mmpretrain(name, reference):
    model = mmpretrain_backbone(**reference, out_indices=(0, 1))
    agree(model, build(name, out_indices=(0, 1)), (64, 45))


@pytest.mark.mmpretrain
def test_cifar_stem_agrees_with_mmpretrain():
    agree(mmpretrain_backbone("ResNet_CIFAR", depth=18), build("resnet18", stem="cifar"), (16, 13))


# Stems, blocks


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # mmpretrain's ResNet_CIFAR
        ("resnet18", 11_168_832),
        ("resnet34", 21_276_992),
        ("resnet50", 23_500_352),
        ("resnet101", 42_492_480),
        ("resnet152", 58_136_128),
    ],
)
def test_cifar_stem(name, parameters):
    backbone = build(name, stem="cifar", device="meta")
    assert num_parameters(backbone) == parameters
    assert backbone(torch.empty(1, 3, 32, 32, device="meta")).shape[-2:] == (4, 4)


def test_other_depth_and_width():
    backbone = build("resnet18", layers=(1, 1, 1), base_channels=8, out_indices=(0, 2))
    assert backbone.out_channels == (8, 32)
    assert shapes(backbone(torch.zeros(2, 3, 32, 32))) == [(2, 8, 8, 8), (2, 32, 2, 2)]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "seresnet50"])
def test_zero_init_residual_starts_with_identities(name):
    backbone = build(name, zero_init_residual=True, layers=(2,), base_channels=4).eval()
    maps = torch.rand(1, backbone.out_channels, 5, 5)
    assert torch.equal(backbone.layer1[1](maps), maps)


def test_squeeze_has_at_least_eight_channels():
    backbone = build("seresnet18", device="meta")
    assert [getattr(backbone, f"layer{index}")[0].se.fc1.out_channels for index in (1, 2, 3, 4)] == [8, 8, 16, 32]


def test_drop_path_grows_with_depth():
    backbone = build("resnet18", drop_path_rate=0.7, device="meta")
    rates = [block.drop_path.rate for index in (1, 2, 3, 4) for block in getattr(backbone, f"layer{index}")]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7])


def test_a_dropped_residual_leaves_the_shortcut():
    block = build("resnet18", drop_path_rate=0.999, layers=(1, 1), base_channels=4).layer2[0].train()
    maps = torch.rand(2, 4, 8, 8)
    torch.manual_seed(0)
    assert torch.equal(block(maps), block.downsample(maps).relu())


def test_norm_activation_and_convolution_by_name():
    backbone = build(
        "resnet50d",
        norm="group_norm",
        activation="silu",
        conv="weight_standardized",
        layers=(1, 1),
        base_channels=16,
    )
    kinds = {type(module).__name__ for module in backbone.modules()}
    assert {"GroupNorm", "SiLU", "WeightStandardizedConv2d"} <= kinds
    assert not {"BatchNorm2d", "ReLU", "Conv2d"} & kinds


def test_stages_after_the_deepest_output_are_not_built():
    assert not hasattr(build("resnet18", out_indices=(0, 1), device="meta"), "layer3")


def test_frozen_batch_norm_keeps_its_statistics():
    backbone = build("resnet18", layers=(1, 1), base_channels=4, frozen_stages=1)
    before = {name: tensor.clone() for name, tensor in backbone.state_dict().items()}
    backbone.train()(torch.rand(2, 3, 64, 64))
    after = backbone.state_dict()
    assert torch.equal(after["layer1.0.bn2.running_mean"], before["layer1.0.bn2.running_mean"])
    assert not torch.equal(after["layer2.0.bn1.running_mean"], before["layer2.0.bn1.running_mean"])


# Errors


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ((4,), "ResNet has 4 stages, so out_indices must be between -4 and 3, got [4]"),
        ((0, -5), "ResNet has 4 stages, so out_indices must be between -4 and 3, got [0, -5]"),
        ((2, 1), "ResNet returns its 4 stages from shallow to deep, so out_indices must increase, got [2, 1]"),
        ((3, -1), "ResNet returns its 4 stages from shallow to deep, so out_indices must increase, got [3, -1]"),
        ((), "ResNet needs at least one stage in out_indices, got none"),
    ],
)
def test_wrong_out_indices(indices, message):
    with pytest.raises(ValueError, match="ResNet") as caught:
        build("resnet18", out_indices=indices, device="meta")
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        (
            "resnet18",
            {"groups": 2},
            "ResNet needs bottleneck blocks for other groups and width_per_group than 1 and 64, "
            "got basic blocks with 2 and 64",
        ),
        (
            "resnext50_32x4d",
            {"base_channels": 8},
            "ResNeXt needs base_channels * width_per_group of at least 64, for one channel in a group, got 8 * 4",
        ),
    ],
)
def test_wrong_widths(name, parameters, message):
    with pytest.raises(ValueError, match="Res") as caught:
        build(name, device="meta", **parameters)
    assert str(caught.value) == message
