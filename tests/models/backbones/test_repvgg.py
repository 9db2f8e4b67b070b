"""What is particular to RepVGG: other libraries' numbers, and the form to deploy."""

import copy

import pytest
import torch
from backbone_kit import agree, build, materialise, mmpretrain_backbone, num_parameters, shapes, timm_model
from torch import nn

from clscli.models.matching import match_weights

TINY = {"depths": (2, 1, 3, 1), "widths": (32, 64, 64, 96)}


def features(model, images):
    return model.forward_features(images)


def tiny_timm(**parameters):
    byobnet = pytest.importorskip("timm.models.byobnet")
    blocks = tuple(
        byobnet.ByoBlockCfg(type="rep", d=depth, c=width, gs=parameters.pop("group_size", 0))
        for depth, width in zip(TINY["depths"], TINY["widths"], strict=True)
    )
    return byobnet.ByobNet(byobnet.ByoModelCfg(blocks=blocks, stem_type="rep", stem_chs=32, **parameters))


def tiny_mmpretrain(groups=1, squeeze_excite=False):
    arch = {
        "num_blocks": TINY["depths"],
        "width_factor": (0.5, 0.5, 0.25, 0.1875),
        "group_layer_map": {2: groups, 4: groups, 6: groups} if groups > 1 else None,
        "se_cfg": {"ratio": 16, "divisor": 1} if squeeze_excite else None,
    }
    return mmpretrain_backbone("RepVGG", arch=arch, out_indices=(0, 1, 2, 3))


# Agreement with other libraries


def test_agrees_with_timm():
    agree(timm_model("repvgg_a0"), build("repvgg_a0"), (64, 45), theirs=features)


def test_squeeze_excite_agrees_with_timm():
    reference = tiny_timm(attn_layer="se", attn_kwargs={"rd_ratio": 0.0625, "rd_divisor": 1})
    agree(reference, build("repvgg_d2se", **TINY), (64, 45), theirs=features)


@pytest.mark.parametrize(("name", "groups"), [("repvgg_b1g4", 4), ("repvgg_b2g4", 4), ("repvgg_b3g4", 4)])
def test_groups_are_those_of_timm(name, groups):
    with torch.device("meta"):
        reference = timm_model(name)
    expected = [m.groups for m in reference.modules() if isinstance(m, nn.Conv2d)]
    found = [m.groups for m in build(name, device="meta").modules() if isinstance(m, nn.Conv2d)]
    assert found == expected
    assert set(found) == {1, groups}


@pytest.mark.mmpretrain
@pytest.mark.parametrize("parameters", [{}, {"groups": 2}, {"squeeze_excite": True}])
def test_agrees_with_mmpretrain(parameters):
    backbone = build("repvgg_a0", **TINY, **parameters, out_indices=(0, 1, 2, 3))
    agree(tiny_mmpretrain(**parameters), backbone, (64, 45))


@pytest.mark.mmpretrain
def test_deployed_weights_of_mmpretrain():
    reference = materialise(tiny_mmpretrain(groups=2))
    reference.switch_to_deploy()
    backbone = build("repvgg_a0", **TINY, groups=2, deploy=True, out_indices=(0, 1, 2, 3))
    agree(reference, backbone, (64, 45))


def test_deployed_weights_of_timm():
    reference = materialise(timm_model("repvgg_a0"))
    for module in list(reference.modules()):
        if hasattr(module, "reparameterize"):
            module.reparameterize()
    agree(reference, build("repvgg_a0", deploy=True), (64, 45), theirs=features)


# Deployment


@pytest.mark.parametrize("parameters", [{}, {"groups": 2}, {"squeeze_excite": True}])
def test_fuse_keeps_the_outputs(parameters):
    backbone = materialise(build("repvgg_a0", **TINY, **parameters, out_indices=(0, 1, 2, 3)))
    images = torch.rand(2, 3, 45, 64, dtype=torch.float64)
    with torch.inference_mode():
        expected = backbone(images)
    backbone.fuse()
    with torch.inference_mode():
        outputs = backbone(images)
    for output, wanted in zip(outputs, expected, strict=True):
        assert wanted.std() > 1e-3
        torch.testing.assert_close(output, wanted, rtol=1e-9, atol=1e-9)


def test_fuse_makes_the_form_that_deploy_builds():
    fused, deployed = build("repvgg_d2se", **TINY, groups=4), build("repvgg_d2se", **TINY, groups=4, deploy=True)
    fused.fuse()
    deployed.load_state_dict(fused.state_dict(), strict=True)
    modules = dict(fused.named_modules())
    assert modules.keys() == dict(deployed.named_modules()).keys()
    for name, module in deployed.named_modules():
        if isinstance(module, nn.Conv2d):
            found = modules[name]
            assert (found.stride, found.padding, found.groups) == (module.stride, module.padding, module.groups)


def test_fuse_twice_is_fuse_once():
    backbone = build("repvgg_a0", **TINY)
    backbone.fuse()
    before = copy.deepcopy(backbone.state_dict())
    backbone.fuse()
    assert before.keys() == backbone.state_dict().keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in backbone.state_dict().items())


def test_fuse_keeps_frozen_stages_frozen_and_the_mode():
    backbone = build("repvgg_a0", **TINY, frozen_stages=2).eval()
    backbone.fuse()
    trained = {name.split(".reparam")[0] for name, p in backbone.named_parameters() if p.requires_grad}
    assert trained == {"stages.2.0", "stages.2.1", "stages.2.2", "stages.3.0"}
    assert not any(module.training for module in backbone.modules())


def test_the_deployed_form_trains_and_compiles():
    backbone = build("repvgg_a0", **TINY, deploy=True)
    images = torch.rand(2, 3, 32, 32)
    output = torch.compile(backbone, backend="eager", fullgraph=True)(images)
    torch.testing.assert_close(output, backbone(images))
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in backbone.parameters())


@pytest.mark.parametrize("in_channels", [3, 1])
def test_training_weights_fit_the_deployed_form(in_channels):
    """And the stem's kernels are adapted to other channels after they were fused."""
    trained = materialise(build("repvgg_d2se", **TINY, groups=2))
    deployed = build("repvgg_d2se", in_channels, **TINY, groups=2, deploy=True).double().eval()
    match = match_weights(trained.state_dict(), deployed)
    assert (match.missing, match.misshapen, list(match.unused)) == ([], [], [])
    deployed.load_state_dict(match.fitting)
    images = torch.rand(2, in_channels, 32, 32, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(deployed(images), trained(images.expand(-1, 3, -1, -1)), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [  # mmpretrain's table of models, which have a linear head for 1000 classes
        ("repvgg_a0", 8_309_384),
        ("repvgg_a2", 25_499_944),
        ("repvgg_b1g2", 41_360_104),
        ("repvgg_b3g4", 75_626_728),
    ],
)
def test_parameters_of_the_deployed_form(name, parameters):
    backbone = build(name, deploy=True, device="meta")
    assert num_parameters(backbone) + 1000 * (backbone.out_channels + 1) == parameters


# Options, errors


def test_the_stem_is_no_wider_than_64_and_the_first_stage():
    images = torch.empty(1, 3, 32, 32, device="meta")
    assert [
        shapes(build(name, device="meta").stem(images))[0] for name in ("repvgg_a0", "repvgg_a1", "repvgg_b1")
    ] == [(1, 48, 16, 16), (1, 64, 16, 16), (1, 64, 16, 16)]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"depths": (1, 1)}, "as many depths as widths, got 2 depths and 4 widths"),
        ({"groups": 5}, r"multiples of its 5 groups, got \[48, 96, 192, 1280\]"),
    ],
)
def test_errors(parameters, message):
    with pytest.raises(ValueError, match=message):
        build("repvgg_a0", **parameters)
