"""Built-in backbones: sizes, shapes, agreement with torchvision, and the options that all of them have."""

import copy
import inspect

import pytest
import torch
from importlib_metadata import entry_points
from torch import nn
from torchvision import models

from clscli.models.backbones.vision_transformer import interpolate_positions

ENTRIES = {
    entry.name: entry
    for entry in entry_points(group="clscli.backbones")
    if entry.dist is not None and entry.dist.name == "clscli"
}

# Parameters of the backbone, and with a linear head for 1000 classes: measured by building the models of
# mmpretrain, but vgg19_bn as torchvision documents it. MobileNet's own head is wider, see test_heads.py.
SIZES = {
    "resnet18": (11_176_512, 11_689_512),
    "resnet34": (21_284_672, 21_797_672),
    "resnet50": (23_508_032, 25_557_032),
    "resnet101": (42_500_160, 44_549_160),
    "resnet152": (58_143_808, 60_192_808),
    "vgg11": (128_766_336, 132_863_336),
    "vgg13": (128_950_848, 133_047_848),
    "vgg16": (134_260_544, 138_357_544),
    "vgg19": (139_570_240, 143_667_240),
    "vgg11_bn": (128_771_840, 132_868_840),
    "vgg13_bn": (128_956_736, 133_053_736),
    "vgg16_bn": (134_268_992, 138_365_992),
    "vgg19_bn": (139_581_248, 143_678_248),
    "mobilenet_v3_small": (927_008, 927_008 + 577_000),
    "mobilenet_v3_large": (2_971_952, 2_971_952 + 961_000),
    "convnext_tiny": (27_820_128, 28_589_128),
    "vit_b_16": (85_798_656, 86_567_656),
    "lenet5": (456 + 2_416 + 48_120, 50_992 + 121_000),
}
CIFAR_SIZES = {
    "resnet18": 11_168_832,
    "resnet34": 21_276_992,
    "resnet50": 23_500_352,
    "resnet101": 42_492_480,
    "resnet152": 58_136_128,
}
# Of every stage, for 64x64 images: (channels, height and width), or (channels,) for a vector.
VGG_STAGES = [(64, 32), (128, 16), (256, 8), (512, 4), (512, 2), (4096,)]
STAGES = {
    "resnet18": [(64, 16), (128, 8), (256, 4), (512, 2)],
    "resnet50": [(256, 16), (512, 8), (1024, 4), (2048, 2)],
    "vgg11": VGG_STAGES,
    "vgg16_bn": VGG_STAGES,
    "mobilenet_v3_small": [(16, 32), (16, 16), (24, 8), (48, 4), (576, 2)],
    "mobilenet_v3_large": [(16, 32), (24, 16), (40, 8), (112, 4), (960, 2)],
    "convnext_tiny": [(96, 16), (192, 8), (384, 4), (768, 2), (768,)],
    "vit_b_16": [(768,)] * 12,
    "lenet5": [(6, 30), (16, 13), (120, 9)],
}
# Cheap members of each family.
SMALL = {
    "resnet18": {"layers": (1, 1, 1, 1), "base_channels": 8},
    "resnet50": {"layers": (1, 1, 1, 1), "base_channels": 8, "stem": "deep"},
    "vgg16_bn": {"layers": (8, "M", 16, "M"), "fully_connected": False},
    "mobilenet_v3_small": {"width_mult": 0.5},
    "convnext_tiny": {"depths": (1, 1, 2, 1), "widths": (8, 16, 24, 32)},
    "vit_b_16": {"num_layers": 2, "hidden_dim": 48, "mlp_dim": 96, "image_size": 64},
    "lenet5": {},
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Compute on one core: on a busy machine, threads that wait for each other take five times as long."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


def build(name, in_channels=3, *, device="cpu", **parameters):
    torch.manual_seed(0)
    with torch.device(device):
        return ENTRIES[name].load()(in_channels, **parameters)


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def shapes(outputs):
    return [tuple(output.shape) for output in (outputs if isinstance(outputs, tuple) else (outputs,))]


def expected_shape(stage, batch_size=2):
    return (batch_size, stage[0], *stage[1:] * 2)


def test_every_builtin_backbone_is_in_the_tables():
    assert set(ENTRIES) == set(SIZES)


@pytest.mark.parametrize("name", SIZES)
def test_parameters_are_keywords_with_defaults_except_in_channels(name):
    first, *others = inspect.signature(ENTRIES[name].load()).parameters.values()
    assert (first.name, first.default) == ("in_channels", inspect.Parameter.empty)
    assert all(other.kind is inspect.Parameter.KEYWORD_ONLY for other in others)
    assert all(other.default is not inspect.Parameter.empty for other in others)
    assert {"out_indices", "frozen_stages"} <= {other.name for other in others}


@pytest.mark.parametrize("name", SIZES)
def test_number_of_parameters(name):
    backbone = build(name, device="meta")
    head = nn.Linear(backbone.out_channels, 1000, device="meta")
    assert (num_parameters(backbone), num_parameters(backbone) + num_parameters(head)) == SIZES[name]


@pytest.mark.parametrize("name", CIFAR_SIZES)
def test_cifar_stem(name):
    backbone = build(name, stem="cifar", device="meta")
    assert num_parameters(backbone) == CIFAR_SIZES[name]
    assert backbone(torch.empty(1, 3, 32, 32, device="meta")).shape[-2:] == (4, 4)


def test_deep_stem_has_the_parameters_of_resnetv1c50():
    backbone = build("resnet50", stem="deep", device="meta")
    assert num_parameters(backbone) == 23_527_264
    assert backbone(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 2048, 2, 2)


def test_resnet_of_other_depth_and_width():
    backbone = build("resnet18", layers=(1, 1, 1), base_channels=8, out_indices=(0, 2))
    assert backbone.out_channels == (8, 32)
    assert shapes(backbone(torch.zeros(2, 3, 32, 32))) == [(2, 8, 8, 8), (2, 32, 2, 2)]


def test_zero_init_residual_starts_with_identities():
    backbone = build("resnet50", zero_init_residual=True, layers=(2,), base_channels=4).eval()
    features = torch.rand(1, 16, 5, 5)
    assert torch.equal(backbone.layer1[1](features), features)


# Agreement with torchvision


def reference(name):
    """Build torchvision's model with weights and statistics that leave no layer without effect."""
    with torch.device("meta"):  # its own initialisation takes seconds
        model = getattr(models, name)()
    model.to_empty(device="cpu")
    torch.manual_seed(0)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if key.endswith("num_batches_tracked"):
                tensor.zero_()
            elif key.endswith(("running_var", "layer_scale")) or (key.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5)
            elif tensor.ndim == 1:
                tensor.normal_(std=0.1)
            else:
                tensor.normal_(std=(2 / tensor[0].numel()) ** 0.5)
    return model.eval()


# What torchvision has beyond the backbone; everything else must load strictly.
HEADS = {
    "resnet18": "fc.",
    "resnet50": "fc.",
    "vgg11_bn": "classifier.6.",
    "mobilenet_v3_small": "classifier.",
    "mobilenet_v3_large": "classifier.",
    "convnext_tiny": "classifier.2.",
    "vit_b_16": "heads.",
}


def with_weights_of(model, name, **parameters):
    """Build the backbone and load torchvision's weights, all but the head's, by the same names."""
    backbone = build(name, device="meta", **parameters)
    weights = {key: value for key, value in model.state_dict().items() if not key.startswith(HEADS[name])}
    backbone.load_state_dict(weights, strict=True, assign=True)
    return backbone.eval()


def head_of(model, name):
    if name.startswith("mobilenet"):
        return model.classifier
    return model.get_submodule(HEADS[name].removesuffix("."))


@pytest.mark.parametrize("name", HEADS)
def test_logits_equal_torchvision(name):
    model = reference(name)
    size = 224 if name == "vit_b_16" else 64  # torchvision's transformer takes one size only
    images = torch.rand(2, 3, size, size)
    with torch.inference_mode():
        features = with_weights_of(model, name)(images)
        vectors = features.mean((2, 3)) if features.ndim == 4 else features
        logits = head_of(model, name)(vectors)
        expected = model(images)
    assert expected.std() > 0.1
    torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "key", ["layer1.0.conv1.weight", "layer2.0.downsample.1.running_var", "layer4.1.bn2.bias"]
)
def test_resnet_keys_are_torchvisions(key):
    assert key in build("resnet18", device="meta").state_dict()


# Outputs


@pytest.mark.parametrize("name", STAGES)
def test_every_stage(name):
    stages = STAGES[name]
    backbone = build(name, out_indices=tuple(range(len(stages))), device="meta")
    outputs = backbone(torch.empty(2, 3, 64, 64, device="meta"))
    assert backbone.out_channels == tuple(stage[0] for stage in stages)
    assert shapes(outputs) == [expected_shape(stage) for stage in stages]


@pytest.mark.parametrize("name", STAGES)
def test_one_stage_is_a_bare_tensor(name):
    for index, stage in enumerate(STAGES[name]):
        for asked in (index, index - len(STAGES[name])):
            backbone = build(name, out_indices=(asked,), device="meta")
            output = backbone(torch.empty(2, 3, 64, 64, device="meta"))
            assert backbone.out_channels == stage[0]
            assert output.shape == expected_shape(stage)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "convnext_tiny", "lenet5"])
def test_stages_are_the_same_whichever_are_asked_for(name):
    num_stages = len(STAGES[name])
    full = build(name, out_indices=tuple(range(num_stages)), **SMALL[name]).eval()
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        outputs = full(images)
        for index in range(num_stages):
            part = build(name, out_indices=(index,), **SMALL[name]).eval()
            part.load_state_dict(full.state_dict(), strict=False)
            assert torch.equal(part(images), outputs[index])


def test_stages_after_the_deepest_output_are_not_built():
    assert not hasattr(build("resnet18", out_indices=(0, 1), device="meta"), "layer3")
    assert num_parameters(build("vgg11", out_indices=(0,), device="meta")) == 64 * 3 * 9 + 64


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ((4,), "ResNet has 4 stages, so out_indices must be between -4 and 3, got [4]"),
        ((0, -5), "ResNet has 4 stages, so out_indices must be between -4 and 3, got [0, -5]"),
        (
            (2, 1),
            "ResNet returns its 4 stages from shallow to deep, so out_indices must increase, got [2, 1]",
        ),
        (
            (3, -1),
            "ResNet returns its 4 stages from shallow to deep, so out_indices must increase, got [3, -1]",
        ),
        ((), "ResNet needs at least one stage in out_indices, got none"),
    ],
)
def test_wrong_out_indices(indices, message):
    with pytest.raises(ValueError, match="ResNet") as caught:
        build("resnet18", out_indices=indices, device="meta")
    assert str(caught.value) == message


# Freezing


@pytest.mark.parametrize(
    "name", ["resnet18", "mobilenet_v3_small", "convnext_tiny", "vit_b_16", "vgg16_bn", "lenet5"]
)
def test_frozen_stages_never_train(name):
    small = {"vit_b_16": {"num_layers": 3, "hidden_dim": 48, "mlp_dim": 96}}
    num_stages = 3 if name in small else len(STAGES[name])
    for frozen_stages in range(num_stages + 1):
        backbone = build(name, frozen_stages=frozen_stages, device="meta", **small.get(name, {})).train()
        stem, *stages = backbone.stem_and_stages()
        for stage, modules in enumerate([stem, *stages]):
            frozen = frozen_stages > 0 and stage <= frozen_stages
            for module in modules:
                if any(True for _ in module.parameters()):  # activations may be shared between stages
                    assert module.training is not frozen
                assert all(parameter.requires_grad is not frozen for parameter in module.parameters())
        trainable = [key for key, parameter in backbone.named_parameters() if parameter.requires_grad]
        assert bool(trainable) == (frozen_stages < num_stages)


def test_frozen_batch_norm_keeps_its_statistics():
    backbone = build("resnet18", frozen_stages=1)
    before = copy.deepcopy(backbone.state_dict())
    backbone.train()(torch.rand(2, 3, 64, 64))
    after = backbone.state_dict()
    assert torch.equal(after["layer1.1.bn2.running_mean"], before["layer1.1.bn2.running_mean"])
    assert not torch.equal(after["layer2.0.bn1.running_mean"], before["layer2.0.bn1.running_mean"])


def test_frozen_transformer_stem_has_no_trainable_token():
    backbone = build("vit_b_16", num_layers=2, frozen_stages=1, device="meta")
    trainable = {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}
    assert {name.rsplit(".", 2)[0] for name in trainable if "encoder_layer" not in name} == {"encoder"}
    assert not {"class_token", "encoder.pos_embedding"} & trainable
    assert {"encoder.ln.weight", "encoder.ln.bias"} <= trainable


def test_norm_eval_keeps_all_batch_norms_in_evaluation():
    backbone = build("resnet18", norm_eval=True, device="meta").train()
    norms = [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 20
    assert not any(norm.training for norm in norms)
    assert backbone.layer4.training
    assert all(parameter.requires_grad for parameter in backbone.parameters())


def test_too_many_frozen_stages():
    message = "LeNet5 has 3 stages, so frozen_stages must be at most 3, got 4"
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("lenet5", frozen_stages=4)


# Training, channels, copies


@pytest.mark.parametrize("frozen_stages", [0, 1])
@pytest.mark.parametrize("out_indices", [(0,), (-1,), (0, 1)])
@pytest.mark.parametrize("name", SMALL)
def test_gradients_reach_every_unfrozen_parameter(name, out_indices, frozen_stages):
    backbone = build(name, out_indices=out_indices, frozen_stages=frozen_stages, **SMALL[name])
    outputs = backbone(torch.rand(2, 3, 32, 32))
    total = sum(output.square().sum() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
    if total.requires_grad:
        total.backward()
    for key, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, key
        assert parameter.requires_grad or frozen_stages > 0, key


@pytest.mark.parametrize("in_channels", [1, 4])
@pytest.mark.parametrize("name", SMALL)
def test_other_numbers_of_channels(name, in_channels):
    backbone = build(name, in_channels, **SMALL[name]).eval()
    output = backbone(torch.rand(1, in_channels, 32, 32))
    assert output.shape[1] == backbone.out_channels
    assert output.isfinite().all()


@pytest.mark.parametrize("name", SMALL)
def test_state_dict_round_trip(name):
    source = build(name, **SMALL[name]).eval()
    torch.manual_seed(1)
    target = ENTRIES[name].load()(3, **SMALL[name]).eval()
    target.load_state_dict(source.state_dict(), strict=True)
    images = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(target(images), source(images))
        assert torch.equal(copy.deepcopy(source)(images), source(images))


# What is particular to a family


def test_lenet_on_its_own_images_gives_one_pixel():
    assert build("lenet5", 1)(torch.rand(2, 1, 32, 32)).shape == (2, 120, 1, 1)


@pytest.mark.parametrize(("index", "min_size"), [(0, 6), (1, 16), (2, 32)])
def test_lenet_smallest_image(index, min_size):
    backbone = build("lenet5", out_indices=(index,))
    assert backbone(torch.rand(1, 3, min_size, min_size)).shape[-2:] == (1, 1)
    message = (
        f"LeNet5 needs images of at least {min_size}x{min_size} pixels, got {min_size}x{min_size - 1}: "
        'add { type = "resize", size = 32 } to the transforms'
    )
    with pytest.raises(ValueError, match="LeNet5") as caught:
        backbone(torch.rand(1, 3, min_size, min_size - 1))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ((8, "M", 8), "VGG needs layers that end with \"M\", a max pooling, got [8, 'M', 8]"),
        ((), 'VGG needs layers that end with "M", a max pooling, got []'),
        (("M",), "VGG needs a convolution before every \"M\" in layers, got ['M']"),
        ((8, "M", "M"), "VGG needs a convolution before every \"M\" in layers, got [8, 'M', 'M']"),
    ],
)
def test_vgg_wrong_layers(layers, message):
    with pytest.raises(ValueError, match="VGG") as caught:
        build("vgg16", layers=layers, device="meta")
    assert str(caught.value) == message


def test_vgg_without_fully_connected_layers_ends_with_a_map():
    backbone = build("vgg11", fully_connected=False, device="meta")
    assert num_parameters(backbone) == 9_220_480
    assert backbone(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 512, 2, 2)


def test_convnext_drops_paths_in_training_only():
    backbone = build("convnext_tiny", drop_path_rate=0.9, layer_scale=1.0, **SMALL["convnext_tiny"])
    images = torch.rand(1, 3, 64, 64).expand(16, -1, -1, -1)
    dropped = backbone.train()(images)
    whole = backbone.eval()(images)
    assert dropped.std(dim=0).max() > 0.1
    torch.testing.assert_close(whole, whole[:1].expand_as(whole))


def test_convnext_depths_and_widths_go_together():
    with pytest.raises(ValueError, match="ConvNeXt needs as many depths as widths, got 2 depths and 4 widths"):
        build("convnext_tiny", depths=(1, 1), device="meta")


def test_transformer_takes_images_of_another_size():
    backbone = build("vit_b_16", out_type="featmap", **SMALL["vit_b_16"]).eval()
    assert backbone(torch.rand(2, 3, 96, 48)).shape == (2, 48, 6, 3)


def test_transformer_map_is_in_the_order_of_the_image():
    backbone = build("vit_b_16", out_type="featmap", num_layers=1, hidden_dim=48, image_size=64).eval()
    images = torch.rand(1, 3, 64, 64)
    changed = images.clone()
    changed[:, :, 16:32, 48:64] += 1  # the patch in row 1, column 3
    with torch.inference_mode():
        difference = (backbone(changed) - backbone(images)).abs().sum(dim=1)[0]
    assert divmod(int(difference.argmax()), 4) == (1, 3)


def test_transformer_image_must_be_whole_patches():
    backbone = build("vit_b_16", **SMALL["vit_b_16"])
    message = "VisionTransformer needs images whose height and width are multiples of 16, got 64x50"
    with pytest.raises(ValueError, match=f"^{message}$"):
        backbone(torch.rand(1, 3, 64, 50))


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"image_size": 100},
            "VisionTransformer needs image_size to be a multiple of patch_size, got 100 and 16",
        ),
        (
            {"hidden_dim": 50},
            "VisionTransformer needs hidden_dim to be a multiple of num_heads, got 50 and 12",
        ),
    ],
)
def test_transformer_wrong_dimensions(parameters, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        build("vit_b_16", device="meta", **parameters)


def test_positions_interpolate_linearly_and_leave_the_class_alone():
    rows = torch.arange(6.0).reshape(1, 6, 1, 1).expand(1, 6, 6, 1).reshape(1, 36, 1)
    positions = torch.cat([torch.full((1, 1, 1), 100.0), rows], dim=1)
    resized = interpolate_positions(positions, (6, 6), (12, 12))
    assert resized.shape == (1, 145, 1)
    assert resized[0, 0] == 100
    maps = resized[0, 1:, 0].reshape(12, 12)
    # Away from the border a ramp stays a ramp, nearly: pixel centres are at (i + 0.5) / 2 - 0.5.
    expected = (torch.arange(4, 8) + 0.5) / 2 - 0.5
    torch.testing.assert_close(maps[4:8], expected[:, None].expand(4, 12), atol=0.05, rtol=0)


def test_transformer_weights_of_another_image_size_and_of_old_names():
    small = SMALL["vit_b_16"]
    source, target = build("vit_b_16", **small), build("vit_b_16", **small | {"image_size": 96})
    old = {
        name.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): tensor
        for name, tensor in source.state_dict().items()
    }
    assert "encoder.layers.encoder_layer_1.mlp.linear_2.bias" in old
    target.load_state_dict(target.adapt_weights(old), strict=True)
    images = torch.rand(1, 3, 96, 96)
    with torch.inference_mode():
        assert torch.equal(target.eval()(images), source.eval()(images))


def test_positions_of_the_same_grid_stay():
    positions = torch.rand(1, 17, 8)
    torch.testing.assert_close(interpolate_positions(positions, (4, 4), (4, 4)), positions)
