"""The `init` of a backbone, neck or head: what is drawn, where, and when."""

import math

import pytest
import torch
from torch import nn

from clscli.errors import SpecError
from clscli.models.build import Blueprint, build_model
from clscli.models.initialization import INITIALIZATIONS, initialize
from clscli.models.weights import load_pretrained
from clscli.spec import load_spec, render_spec
from clscli.spec.builder_keys import builder_keys
from clscli.toml import read

BLUEPRINT = Blueprint(num_classes=2, image_shape=(3, 20, 20))


def drawn(module, **table):
    torch.manual_seed(0)
    initialize(module, table)
    return module


# What is drawn


@pytest.mark.parametrize(
    ("table", "std"),
    [
        # A convolution 50 -> 200, 5x5: 1250 inputs of every output, 5000 outputs of every input.
        ({"type": "kaiming"}, math.sqrt(2 / 5000)),
        ({"type": "kaiming", "mode": "fan_in"}, math.sqrt(2 / 1250)),
        ({"type": "kaiming", "mode": "fan_in", "nonlinearity": "linear"}, math.sqrt(1 / 1250)),
        ({"type": "kaiming", "nonlinearity": "leaky_relu"}, math.sqrt(2 / (1 + 0.01**2) / 5000)),
        ({"type": "kaiming", "distribution": "uniform"}, math.sqrt(2 / 5000)),
        ({"type": "xavier"}, math.sqrt(2 / 6250)),
        ({"type": "xavier", "distribution": "normal", "gain": 3.0}, 3 * math.sqrt(2 / 6250)),
        ({"type": "trunc_normal"}, 0.02),
        ({"type": "normal", "std": 0.5}, 0.5),
        ({"type": "uniform", "a": -3.0, "b": 3.0}, math.sqrt(3)),
        ({"type": "constant", "value": 0.3, "layers": ["conv2d"]}, 0),
    ],
)
def test_the_spread_of_the_weights(table, std):
    weight = drawn(nn.Conv2d(50, 200, 5), **table).weight
    assert weight.std().item() == pytest.approx(std, rel=0.01, abs=1e-6)


@pytest.mark.parametrize(
    ("table", "limit"),
    [
        ({"type": "kaiming", "distribution": "uniform"}, math.sqrt(6 / 40)),
        ({"type": "xavier"}, math.sqrt(6 / 540)),
        ({"type": "trunc_normal", "std": 1.0, "a": -0.5, "b": 0.5}, 0.5),
        ({"type": "uniform", "a": -0.1, "b": 0.1}, 0.1),
    ],
)
def test_what_is_bounded(table, limit):
    weight = drawn(nn.Linear(500, 40), **table).weight
    assert weight.abs().max().item() == pytest.approx(limit, rel=0.01)
    assert weight.abs().max() <= limit


def test_the_mean():
    assert drawn(nn.Linear(100, 100), type="normal", mean=5.0).weight.mean().item() == pytest.approx(5, abs=0.01)
    table = {"type": "trunc_normal", "mean": 1.0, "std": 0.1}
    assert drawn(nn.Linear(100, 100), **table).weight.mean().item() == pytest.approx(1, abs=0.01)


# Where


def every_layer():
    return nn.ModuleDict(
        {
            "conv1d": nn.Conv1d(2, 2, 1),
            "conv2d": nn.Conv2d(2, 2, 1),
            "conv3d": nn.Conv3d(2, 2, 1),
            "linear": nn.Linear(2, 2),
            "embedding": nn.Embedding(2, 2),
            "batch_norm": nn.ModuleList([nn.BatchNorm1d(2), nn.BatchNorm2d(2), nn.SyncBatchNorm(2)]),
            "group_norm": nn.GroupNorm(1, 2),
            "layer_norm": nn.LayerNorm(2),
        }
    )


@pytest.mark.parametrize("layer", every_layer())
def test_layers_are_chosen_by_their_type(layer):
    layers = every_layer()
    before = {name: tensor.clone() for name, tensor in layers.state_dict().items()}
    initialize(layers, {"type": "constant", "value": 7.0, "bias": -1.0, "layers": [layer]})
    for name, tensor in layers.state_dict().items():
        if name.split(".")[0] == layer and name.endswith(("weight", "bias")):
            assert (tensor == (7 if name.endswith("weight") else -1)).all(), name
        else:
            assert torch.equal(tensor, before[name]), name


def test_random_ones_are_for_convolutions_and_linear_layers_unless_told():
    layers = every_layer()
    initialize(layers, {"type": "normal", "mean": 100.0})
    hit = {name.split(".")[0] for name, tensor in layers.named_parameters() if (tensor.abs() > 50).any()}
    assert hit == {"conv2d", "linear"}
    assert layers["linear"].bias.tolist() == [0.0, 0.0]


def test_the_projections_of_an_attention_are_linear_layers():
    attention = nn.MultiheadAttention(4, 2)
    initialize(attention, {"type": "constant", "value": 7.0, "bias": 1.0, "layers": ["linear"]})
    for name, tensor in attention.named_parameters():
        assert (tensor == (7 if name.endswith("weight") else 1)).all(), name


def test_layers_without_bias_or_weight_are_no_obstacle():
    layers = nn.Sequential(nn.Conv2d(2, 2, 1, bias=False), nn.BatchNorm2d(2, affine=False), nn.BatchNorm2d(2))
    initialize(layers, {"type": "constant", "value": 3.0, "layers": ["conv2d", "batch_norm"]})
    assert [(tensor == 3).all().item() for tensor in layers.parameters()] == [True, True, False]
    assert layers[2].bias.tolist() == [0.0, 0.0]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"type": "xavier"}, "it has no conv2d or linear layer to initialise"),
        ({"type": "constant", "value": 1.0, "layers": ["layer_norm"]}, "it has no layer_norm layer to initialise"),
        ({"type": "uniform", "a": 1.0, "b": 1.0}, "uniform needs an a less than b, got a = 1.0 and b = 1.0"),
        ({"type": "trunc_normal", "a": 3.0}, "trunc_normal needs an a less than b, got a = 3.0 and b = 2.0"),
    ],
)
def test_what_cannot_be(table, message):
    with pytest.raises(ValueError, match=r"it has no|needs an a") as caught:
        initialize(nn.BatchNorm2d(2), table)
    assert str(caught.value) == message


# In a spec


def test_the_listing_names_every_type():
    meaning = builder_keys("heads", [])["init"].meaning
    assert meaning.replace(",", "").split()[meaning.split().index("type") + 1 :] == [
        *sorted(INITIALIZATIONS)[:-1],
        "or",
        "xavier",
    ]


def test_any_part_of_a_model_can_have_one(tiny):
    table = {"type": "constant", "value": 0.25, "bias": 2}
    tiny["model"]["backbone"]["init"] = {**table, "layers": ["conv2d"]}
    tiny["model"]["neck"] = [
        {"type": "global_average_pooling"},
        {"type": "linear_neck", "init": {**table, "layers": ["batch_norm"]}},
    ]
    tiny["model"]["head"]["init"] = {**table, "layers": ["linear"]}
    model = build_model(load_spec(tiny), BLUEPRINT)
    convolutions = [m for m in model.backbone.modules() if isinstance(m, nn.Conv2d)]
    assert all((m.weight == 0.25).all() for m in [*convolutions, model.necks[1].layers[1], model.head.fc])
    assert model.head.fc.bias.tolist() == model.necks[1].layers[1].bias.tolist()[:2] == [2.0, 2.0]
    assert (model.backbone.bn1.weight == 1).all()


def test_several_are_applied_in_order(tiny):
    tiny["model"]["head"]["init"] = [
        {"type": "constant", "value": 1.0, "bias": 5.0, "layers": ["linear"]},
        {"type": "uniform", "a": 10.0, "b": 11.0},
    ]
    fc = build_model(load_spec(tiny), BLUEPRINT).head.fc
    assert 10 <= fc.weight.min() < fc.weight.max() <= 11
    assert fc.bias.tolist() == [0.0, 0.0]


def test_an_empty_list_leaves_the_component_its_own(tiny):
    torch.manual_seed(0)
    own = build_model(load_spec(tiny), BLUEPRINT).head.fc.weight
    tiny["model"]["head"]["init"] = []
    torch.manual_seed(0)
    assert torch.equal(build_model(load_spec(tiny), BLUEPRINT).head.fc.weight, own)


def test_pretrained_weights_are_loaded_over_it(tiny, tmp_path):
    backbone = build_model(load_spec(tiny), BLUEPRINT).backbone
    torch.save(backbone.state_dict(), tmp_path / "weights.pth")
    init = {"type": "constant", "value": 0.25, "layers": ["conv2d", "batch_norm"]}
    tiny["model"]["backbone"] |= {"init": init, "pretrained": str(tmp_path / "weights.pth")}
    spec = load_spec(tiny)
    model = build_model(spec, BLUEPRINT)
    assert (model.backbone.conv1.weight == 0.25).all()
    load_pretrained(spec, model, num_classes=2)
    assert torch.equal(model.backbone.conv1.weight, backbone.conv1.weight)


def test_a_part_without_such_a_layer_is_named_with_its_place(tiny, tmp_path):
    (tmp_path / "spec.toml").write_text(
        "[data]\nroot = 'p'\n[model.head]\ninit = [\n  { type = 'xavier' },\n"
        "  { type = 'kaiming', layers = ['conv2d', 'conv1d'] },\n]\n"
    )
    with pytest.raises(SpecError) as caught:
        build_model(load_spec("spec.toml"), BLUEPRINT)
    assert caught.value.problems == [
        "spec.toml:6: model.head.init.1: head 'linear': it has no conv2d or conv1d layer to initialise"
    ]


def test_it_is_completed_keeps_its_origin_and_loads_to_itself(tiny, tmp_path):
    (tmp_path / "spec.toml").write_text(
        "[data]\nroot = 'p'\n[model]\nneck = [{ type = 'linear_neck', init = [{ type = 'xavier' }] }]\n"
        "[model.head.init]\ntype = 'trunc_normal'\nstd = 1\n"
    )
    spec = load_spec("spec.toml", sets=["model.head.init.bias=3"])
    assert spec.values["model"]["head"]["init"] == {
        "type": "trunc_normal",
        "mean": 0.0,
        "std": 1.0,
        "a": -2.0,
        "b": 2.0,
        "layers": ["conv2d", "linear"],
        "bias": 3.0,
    }
    text = render_spec(spec.values, spec.draft)
    assert '[model.head.init]\ntype = "trunc_normal"  # spec.toml:6\nmean = 0.0  # default\n' in text
    assert "bias = 3.0  # --set model.head.init.bias=3\n" in text
    assert '[[model.neck.init]]\ntype = "xavier"  # spec.toml:4\ngain = 1.0  # default\n' in text
    again = load_spec(read(render_spec(spec.values))[0])
    assert again.values == spec.values


def test_another_type_replaces_an_inherited_one_whole(tmp_path):
    (tmp_path / "base.toml").write_text("[data]\nroot = 'p'\n[model.head.init]\ntype = 'normal'\nstd = 3.0\n")
    (tmp_path / "spec.toml").write_text("extends = 'base.toml'\n[model.head.init]\ntype = 'xavier'\n")
    assert "std" not in load_spec("spec.toml").values["model"]["head"]["init"]


def test_a_component_that_has_a_parameter_of_that_name_gets_it(tiny, plugin):
    plugin(
        "heads",
        own_init="parts:OwnInit",
        parts="""
            from torch import nn
            class OwnInit(nn.Module):
                '''Have an init of one's own.'''
                def __init__(self, in_channels: int, num_classes: int, *, init: str = "zeros") -> None:
                    super().__init__()
                    self.init = init
        """,
    )
    tiny["model"]["head"] = {"type": "own_init", "init": "ones"}
    spec = load_spec(tiny)
    assert build_model(spec, BLUEPRINT).head.init == "ones"
    assert spec.values["model"]["head"] == {"type": "extra:own_init", "init": "ones"}
