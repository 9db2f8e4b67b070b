"""Built-in necks."""

import warnings

import pytest
import torch
from importlib_metadata import entry_points
from torch import nn

from clscli.models.build import Blueprint, build_model, check_shapes
from clscli.models.matching import match_weights
from clscli.spec import load_spec

NECKS = {
    entry.name: entry.load()
    for entry in entry_points(group="clscli.necks")
    if entry.dist is not None and entry.dist.name == "clscli"
}
GlobalAveragePooling = NECKS["global_average_pooling"]
GeneralizedMeanPooling = NECKS["generalized_mean_pooling"]
HRFuseScales = NECKS["hr_fuse_scales"]
LinearNeck = NECKS["linear_neck"]

POOLING = [GlobalAveragePooling, GeneralizedMeanPooling]
HRNET_W18 = (18, 36, 72, 144)


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


# Pooling


def test_a_map_becomes_the_mean_of_its_pixels():
    neck = GlobalAveragePooling((2,))
    images = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert neck.out_channels == 2
    assert neck(images).tolist() == [[3.0, 1.0]]


@pytest.mark.parametrize(("dim", "positions"), [(1, (6,)), (2, (2, 3)), (3, (1, 2, 3))])
def test_average_over_positions_of_every_dimension(dim, positions):
    features = torch.arange(12.0).reshape(1, 2, *positions)
    assert GlobalAveragePooling((2,), dim=dim)(features).tolist() == [[2.5, 8.5]]


@pytest.mark.parametrize("neck_type", POOLING)
def test_a_vector_passes_unchanged(neck_type):
    vectors = torch.randn(2, 3)
    assert torch.equal(neck_type((3,))(vectors), vectors)


@pytest.mark.parametrize("neck_type", POOLING)
def test_several_outputs_stay_several(neck_type):
    neck = neck_type((4, 8, 8))
    outputs = neck((torch.ones(2, 4, 3, 5), torch.ones(2, 8, 1, 1), torch.ones(2, 8)))
    assert neck.out_channels == (4, 8, 8)
    assert [tuple(output.shape) for output in outputs] == [(2, 4), (2, 8), (2, 8)]
    for output in outputs:
        torch.testing.assert_close(output, torch.ones_like(output))


@pytest.mark.parametrize(
    ("neck", "shape", "message"),
    [
        (
            GlobalAveragePooling((8,)),
            (2, 197, 8),
            "neck 'global_average_pooling' with dim = 2 expects maps (B, C, H, W) or vectors (B, C), "
            "got (2, 197, 8)",
        ),
        (
            GlobalAveragePooling((8,), dim=3),
            (2, 8, 7, 7),
            "neck 'global_average_pooling' with dim = 3 expects maps (B, C, T, H, W) or vectors (B, C), "
            "got (2, 8, 7, 7)",
        ),
        (
            GeneralizedMeanPooling((8,)),
            (2, 8, 7),
            "neck 'generalized_mean_pooling' expects maps (B, C, H, W) or vectors (B, C), got (2, 8, 7)",
        ),
        (
            LinearNeck(8),
            (2, 8, 7, 7),
            "neck 'linear_neck' expects vectors (B, C), got (2, 8, 7, 7): "
            'put { type = "global_average_pooling" } before it',
        ),
    ],
)
def test_what_a_neck_cannot_take(neck, shape, message):
    with pytest.raises(ValueError, match="expects") as caught:
        neck(torch.zeros(shape))
    assert str(caught.value) == message


def test_generalized_mean_by_hand():
    features = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    for p, expected in [(1.0, 2.5), (2.0, 7.5**0.5), (3.0, 25 ** (1 / 3))]:
        torch.testing.assert_close(GeneralizedMeanPooling((1,), p=p)(features), torch.tensor([[expected]]))
    assert GeneralizedMeanPooling((1,), p=200.0)(features / 4).item() == pytest.approx(1, abs=0.01)


def test_generalized_mean_clamps_what_has_no_root():
    features = torch.tensor([[[[-5.0, 2.0]]]])
    pooled = GeneralizedMeanPooling((1,), p=2.0, eps=1.0)(features)
    torch.testing.assert_close(pooled, torch.tensor([[2.5**0.5]]))


def test_generalized_mean_learns_one_power_for_each_output():
    neck = GeneralizedMeanPooling((2, 3))
    assert neck.powers.tolist() == [3.0, 3.0]
    outputs = neck((torch.rand(2, 2, 3, 3), torch.ones(2, 3, 3, 3)))
    sum(output.sum() for output in outputs).backward()
    # The larger the power, the larger the mean, except where all values are the same.
    assert neck.powers.grad[0] > 0.01
    assert abs(neck.powers.grad[1]) < 1e-5


def test_a_fixed_power_is_no_parameter_and_in_no_checkpoint():
    neck = GeneralizedMeanPooling((1,), p=2.0, learn_p=False)
    assert (list(neck.parameters()), neck.state_dict()) == ([], {})
    torch.testing.assert_close(neck(torch.tensor([[[[1.0, 7.0]]]])), torch.tensor([[5.0]]))


def test_generalized_mean_of_half_precision_is_computed_in_float32():
    features = torch.full((1, 1, 2, 2), 1e-3, dtype=torch.float16)  # whose third power float16 does not hold
    torch.testing.assert_close(GeneralizedMeanPooling((1,))(features), features.float().mean((2, 3)))


# Linear


def test_linear_neck_by_hand():
    neck = LinearNeck(2, out_channels=2, norm="none")
    neck.load_state_dict(
        {"layers.0.weight": torch.tensor([[1.0, 2.0], [0.0, -1.0]]), "layers.0.bias": torch.tensor([0.5, 0.0])}
    )
    assert neck.out_channels == 2
    assert neck(torch.tensor([[3.0, 1.0]])).tolist() == [[5.5, 0.0]]


def test_linear_neck_chains_hidden_layers():
    neck = LinearNeck(4, mid_channels=(6, 5), out_channels=3, norm="layer_norm", activation="none")
    assert [(m.in_features, m.out_features) for m in neck.modules() if isinstance(m, nn.Linear)] == [
        (4, 6),
        (6, 5),
        (5, 3),
    ]
    vectors = torch.rand(7, 4)
    output = neck((torch.rand(7, 9), vectors))
    assert torch.equal(output, neck(vectors))
    torch.testing.assert_close(output.mean(1), torch.zeros(7), atol=1e-5, rtol=0)  # the layer norm comes last


# HRNet's


def test_hr_fuse_scales_has_the_parameters_of_the_published_model():
    with torch.device("meta"):
        neck = HRFuseScales(HRNET_W18)
    # mmpretrain's hrnet-w18: 21,295,164 in all, 9,562,260 of them in the backbone, 2,049,000 in the head.
    assert num_parameters(neck) == 21_295_164 - 9_562_260 - 2_049_000
    assert neck.out_channels == 2048


def test_hr_fuse_scales_adds_each_map_to_the_halved_sum_of_those_before():
    neck = HRFuseScales((4, 8), mid_channels=(8, 12), out_channels=5).eval()
    large, small = torch.rand(2, 4, 7, 6), torch.rand(2, 8, 4, 3)
    widened = [block(output) for block, output in zip(neck.incre_modules, (large, small), strict=True)]
    expected = neck.final_layer(neck.downsamp_modules[0](widened[0]) + widened[1])
    output = neck((large, small))
    assert output.shape == (2, 5, 4, 3)
    torch.testing.assert_close(output, expected)
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in neck.parameters())


def test_hr_fuse_scales_needs_one_output_for_each_of_its_widths():
    with pytest.raises(ValueError, match="it needs one") as caught:
        HRFuseScales((512,))
    assert str(caught.value) == (
        "it needs one output for each of the 4 mid_channels, got 1: see out_indices of the backbone"
    )


def test_hr_fuse_scales_needs_maps_that_halve():
    neck = HRFuseScales((4, 8), mid_channels=(8, 12))
    with pytest.raises(ValueError, match="half as high") as caught:
        neck((torch.rand(2, 4, 8, 8), torch.rand(2, 8, 8, 8)))
    assert str(caught.value) == (
        "neck 'hr_fuse_scales' needs maps of which each is half as high and wide as the one before, got 8x8, 8x8"
    )


def hr_outputs():
    return tuple(torch.rand(2, c, 16 // 2**i, 24 // 2**i, dtype=torch.float64) for i, c in enumerate(HRNET_W18))


def assert_agrees(reference_weights, expected, outputs):
    """Load another library's weights into the neck, and compare what it gives in evaluation mode."""
    neck = HRFuseScales(HRNET_W18)
    match = match_weights(reference_weights, neck)
    assert (match.missing, match.misshapen) == ([], [])
    neck.double().load_state_dict(match.fitting, strict=False)
    with torch.no_grad():
        torch.testing.assert_close(neck.eval()(outputs), expected, rtol=1e-6, atol=1e-6)


def randomize(module):
    """Give every norm statistics and weights of its own, and every bias a value."""
    torch.manual_seed(0)
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_var", "weight")) and tensor.ndim == 1:
            tensor.uniform_(0.5, 1.5)
        elif name.endswith(("bias", "running_mean")):
            tensor.normal_(std=0.3)
    return module.double().eval()


def test_hr_fuse_scales_is_that_of_timm_whose_convolutions_have_biases():
    timm = pytest.importorskip("timm")
    reference = randomize(timm.create_model("hrnet_w18", pretrained=False))
    outputs = hr_outputs()
    with torch.no_grad():
        fused = reference.incre_modules[0](outputs[0])
        for index, halve in enumerate(reference.downsamp_modules, start=1):
            fused = reference.incre_modules[index](outputs[index]) + halve(fused)
        expected = reference.final_layer(fused)
    assert_agrees(reference.state_dict(), expected, outputs)


@pytest.mark.mmpretrain
@pytest.mark.parametrize("prefix", ["", "neck."])
def test_hr_fuse_scales_is_that_of_mmpretrain(prefix):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        models = pytest.importorskip("mmpretrain.models", exc_type=ImportError)
        reference = randomize(models.build_neck({"type": "HRFuseScales", "in_channels": HRNET_W18}))
    outputs = hr_outputs()
    with torch.no_grad():
        (expected,) = reference(outputs)
    weights = {f"{prefix}{name}": tensor for name, tensor in reference.state_dict().items()}
    assert_agrees(weights, expected, outputs)


def test_a_list_of_necks_is_applied_in_order(tiny):
    tiny["model"]["backbone"]["out_indices"] = [0, 1, 2, 3]
    tiny["model"]["neck"] = [
        {"type": "hr_fuse_scales", "mid_channels": [8, 8, 16, 16], "out_channels": 24},
        {"type": "generalized_mean_pooling"},
        {"type": "linear_neck", "out_channels": 7},
    ]
    spec, blueprint = load_spec(tiny), Blueprint(num_classes=2, image_shape=(3, 32, 32))
    model = build_model(spec, blueprint)
    assert [(stage.name, stage.shapes) for stage in check_shapes(spec, model, blueprint)][1:] == [
        ("backbone 'resnet18'", ((2, 4, 32, 32), (2, 8, 16, 16), (2, 16, 8, 8), (2, 32, 4, 4))),
        ("neck 'hr_fuse_scales'", ((2, 24, 4, 4),)),
        ("neck 'generalized_mean_pooling'", ((2, 24),)),
        ("neck 'linear_neck'", ((2, 7),)),
        ("head 'linear'", ((2, 2),)),
    ]
