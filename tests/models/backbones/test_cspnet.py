"""What is particular to CSPNet: other libraries' numbers, the half that passes, errors."""

import pytest
import torch
from backbone_kit import agree, build, mmpretrain_backbone, timm_model

NAMES = ("cspdarknet53", "cspresnet50", "cspresnext50")


@pytest.mark.parametrize("name", NAMES)
def test_agrees_with_timm(name):
    def stages(model, images):
        features, outputs = model.stem(images), []
        for stage in model.stages[:3]:
            features = stage(features)
            outputs.append(features)
        return outputs

    agree(timm_model(name), build(name, out_indices=(0, 1, 2)), (64, 45), theirs=stages)


@pytest.mark.mmpretrain
@pytest.mark.parametrize(
    ("name", "reference"),
    [
        ("cspdarknet53", {"type": "CSPDarkNet", "depth": 53}),
        ("cspresnet50", {"type": "CSPResNet", "depth": 50}),
        ("cspresnext50", {"type": "CSPResNeXt", "depth": 50}),
    ],
)
def test_agrees_with_mmpretrain(name, reference):
    agree(mmpretrain_backbone(**reference, out_indices=(0, 1, 2)), build(name, out_indices=(0, 1, 2)), (64, 45))


@pytest.mark.parametrize("name", NAMES)
def test_half_of_the_channels_pass_the_blocks(name):
    stage = build(name, out_indices=(1,), device="meta").stages[1]
    expanded = stage.conv_exp.conv.out_channels
    assert stage.blocks[0].conv1.conv.in_channels == expanded // 2
    assert stage.conv_transition.conv.in_channels == expanded


@pytest.mark.parametrize(("block", "last"), [("darknet", "conv2.bn"), ("bottleneck", "conv3.bn")])
def test_zero_init_residual_starts_with_identities(block, last):
    parameters = {"layers": (2,), "channels": (8,), "expand_ratios": (2.0,), "bottle_ratios": (0.5,)}
    block = build("cspresnet50", block=block, zero_init_residual=True, **parameters).stages[0].blocks[1].eval()
    maps = torch.rand(1, 8, 5, 5)
    assert not block.get_parameter(f"{last}.weight").any()
    assert torch.equal(block(maps), maps)


def test_drop_path_grows_with_depth():
    backbone = build("cspresnet50", drop_path_rate=0.6, layers=(1, 3, 2, 1), device="meta")
    rates = [block.drop_path.rate for stage in backbone.stages for block in stage.blocks]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6])


def test_stages_must_all_be_described():
    with pytest.raises(ValueError, match="CSPNet") as caught:
        build("cspresnet50", layers=(1, 2), device="meta")
    assert str(caught.value) == (
        "CSPNet needs one of each for every stage, got 2 layers, 4 channels, 4 expand_ratios, 4 bottle_ratios"
    )
