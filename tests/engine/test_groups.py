"""Parameter groups: which parameters are trained at which rate, and with how much weight decay."""

import json

import pytest
import torch
from torch import nn

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.groups import GroupError, build_optimizer, factors_of, hidden_weights, kind_of, layers_of
from clscli.errors import CheckpointError, SpecError
from clscli.models.build import Blueprint, build_model
from clscli.models.classifier import Classifier, Normalize
from clscli.plugins import load, resolve
from clscli.spec import load_spec, render_spec
from clscli.spec.groups import Groups
from clscli.toml import read

BLUEPRINT = Blueprint(num_classes=2, image_shape=(3, 20, 20))


def backbone(name, **parameters):
    with torch.device("meta"):
        return load(resolve("backbones", name))(in_channels=3, **parameters)


def classifier(backbone, necks=()):
    return Classifier(Normalize((0.0,), (1.0,)), backbone, necks, nn.Linear(8, 2))


def built(spec, **optimizer):
    """Build the optimizer of a spec; return it, its model, and the names of the parameters of each group."""
    spec["optimizer"] = {"type": "sgd", "lr": 1.0, "weight_decay": 0.5, **optimizer}
    resolved = load_spec(spec)
    model = build_model(resolved, BLUEPRINT)
    optimizer = build_optimizer(resolved, model)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return optimizer, model, [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]


def settings(spec, **groups):
    """Return (lr, weight decay) of every parameter by name."""
    optimizer, _, names = built(spec, groups=groups)
    groups = zip(optimizer.param_groups, names, strict=True)
    return {name: (group["lr"], group["weight_decay"]) for group, members in groups for name in members}


def refused(spec, **groups):
    with pytest.raises(SpecError) as caught:
        built(spec, groups=groups)
    return str(caught.value)


# Kinds of parameters


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 8, 3)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.GroupNorm(2, 8), nn.LayerNorm([8]), nn.RMSNorm(8)])
        self.activation = nn.PReLU(8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.table = nn.Embedding(4, 8)
        self.to_one = nn.Linear(8, 1)
        self.pos_embed = nn.Parameter(torch.zeros(1, 4, 8))
        self.cls_token = nn.Parameter(torch.zeros(1, 1, 8))
        self.relative_position_bias_table = nn.Parameter(torch.zeros(9, 2))
        self.layer_scale = nn.Parameter(torch.ones(8, 1, 1))
        self.composition = nn.Parameter(torch.ones(8, 4))
        self.gamma = nn.Parameter(torch.ones(8))


def test_the_kind_of_a_parameter():
    layer = Layer()
    kinds = {}
    for name, _ in layer.named_parameters():
        kinds.setdefault(kind_of(layer, name), []).append(name)
    norms = [f"norms.{index}.{name}" for index in range(3) for name in ("weight", "bias")]
    assert kinds == {
        "token": ["pos_embed", "cls_token", "relative_position_bias_table", "table.weight"],
        "norm": ["layer_scale", "gamma", *norms, "norms.3.weight", "activation.weight"],
        "weight": [
            "composition",
            "conv.weight",
            "grouped.weight",
            "attention.in_proj_weight",
            "attention.out_proj.weight",
            "to_one.weight",
        ],
        "bias": [
            "conv.bias",
            "depthwise.bias",
            "grouped.bias",
            "attention.in_proj_bias",
            "attention.out_proj.bias",
            "to_one.bias",
        ],
        "dwconv": ["depthwise.weight"],
    }


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("resnet18", 0),
        ("vit_b_16", 2),
        ("deit_tiny_distilled_patch16", 3),
        ("swin_t", 12),
        ("maxvit_t", 22),
        ("tnt_s_patch16", 3),
        ("conformer_tiny_patch16", 1),
    ],
)
def test_the_tokens_and_positions_of_our_backbones(name, tokens):
    model = backbone(name)
    assert sum(kind_of(model, name) == "token" for name, _ in model.named_parameters()) == tokens


def test_by_default_there_are_two_groups(tiny):
    optimizer, model, _ = built(tiny)
    decayed, spared = optimizer.param_groups
    parameters = list(model.parameters())
    assert [id(p) for p in decayed["params"]] == [id(p) for p in parameters if p.ndim > 1]
    assert [id(p) for p in spared["params"]] == [id(p) for p in parameters if p.ndim <= 1]
    assert [(g["lr"], g["weight_decay"]) for g in (decayed, spared)] == [(1.0, 0.5), (1.0, 0.0)]


def test_frozen_parameters_are_in_no_group(tiny):
    tiny["model"]["backbone"]["frozen_stages"] = 4
    _, _, names = built(tiny)
    assert names == [["head.fc.weight"], ["head.fc.bias"]]


def test_nothing_to_train(tiny):
    resolved = load_spec(tiny)
    model = build_model(resolved, BLUEPRINT).requires_grad_(False)
    with pytest.raises(SpecError, match=r"model: there is nothing to train: every parameter is frozen$"):
        build_optimizer(resolved, model)


# Factors


def test_factors_of_kinds(tiny):
    tiny["model"]["backbone"] = {"type": "mobilenet_v2"}
    found = settings(tiny, norm_decay=0.5, bias_decay=2.0, dwconv_decay=0.0, bias_lr=2.0, head_lr=10.0)
    assert found["backbone.features.0.0.weight"] == (1.0, 0.5)
    assert found["backbone.features.0.1.weight"] == (1.0, 0.25)
    assert found["backbone.features.0.1.bias"] == (1.0, 0.25)
    assert found["backbone.features.1.conv.0.0.weight"] == (1.0, 0.0)  # depthwise
    assert found["head.fc.weight"] == (10.0, 0.5)
    assert found["head.fc.bias"] == (20.0, 1.0)


def test_head_lr_is_for_necks_too(tiny):
    tiny["model"]["neck"] = [{"type": "global_average_pooling"}, {"type": "linear_neck"}]
    found = settings(tiny, head_lr=3.0)
    assert {lr for name, (lr, _) in found.items() if not name.startswith("backbone.")} == {3.0}
    assert any(name.startswith("necks.1.") for name in found)
    assert {lr for name, (lr, _) in found.items() if name.startswith("backbone.")} == {1.0}


def test_token_decay():
    model = classifier(Layer())
    decays = {name: factors.decay for name, factors in factors_of(model, Groups(token_decay=0.25)).items()}
    assert [decays[f"backbone.{name}"] for name in ("pos_embed", "table.weight", "gamma")] == [0.25, 0.25, 0.0]


def test_groups_with_equal_factors_are_one_and_the_plain_rate_comes_first(tiny):
    optimizer, _, names = built(tiny, groups={"head_lr": 10.0, "patterns": {"backbone.layer[12].*": {"lr": 0.1}}})
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [
        (1.0, 0.5),
        (1.0, 0.0),
        (10.0, 0.5),
        (10.0, 0.0),
        (0.1, 0.5),
        (0.1, 0.0),
    ]
    assert names[0][0] == "backbone.conv1.weight"
    assert names[2:4] == [["head.fc.weight"], ["head.fc.bias"]]
    assert {name.split(".")[1] for name in names[4] + names[5]} == {"layer1", "layer2"}


# Depth


@pytest.mark.parametrize(
    ("name", "num_layers", "expected"),
    [
        # The stem, 3 + 4 + 6 + 3 blocks, the head.
        ("resnet50", 17, {"conv1.weight": 0, "layer1.0.conv1.weight": 1, "layer2.0.bn1.bias": 4}),
        (
            "vit_b_16",
            13,
            {
                "class_token": 0,
                "encoder.pos_embedding": 0,
                "conv_proj.weight": 0,
                "encoder.layers.encoder_layer_0.ln_1.weight": 1,
                "encoder.layers.encoder_layer_11.mlp.0.weight": 12,
                "encoder.ln.weight": 13,
            },
        ),
        # 2 + 2 + 6 + 2 blocks, and three mergings between them.
        ("swin_t", 16, {"features.1.0.norm1.weight": 1, "features.2.norm.weight": 3, "norm.bias": 16}),
        ("twins_svt_small", 26, {"blocks.0.0.norm1.weight": 1, "blocks.0.1.norm1.weight": 2, "norm.weight": 26}),
    ],
)
def test_the_layers_of_a_backbone(name, num_layers, expected):
    model = backbone(name)
    layers, number = layers_of(model)
    assert number == num_layers
    assert {key: layers[id(model.get_parameter(key))] for key in expected} == expected


def test_layer_decay(tiny):
    found = settings(tiny, layer_decay=0.5, head_lr=3.0)
    # Of the narrow ResNet: the stem, a block in each of four stages, the head.
    rates = {
        "backbone.conv1.weight": 0.5**5,
        "backbone.layer1.0.conv1.weight": 0.5**4,
        "backbone.layer4.0.bn2.bias": 0.5,
        "head.fc.weight": 3.0,
    }
    assert {name: found[name][0] for name in rates} == rates


def test_layer_decay_needs_a_backbone_with_stages(tiny, plugin):
    plugin(
        "backbones",
        flat="flatnets:Flat",
        flatnets="""
            from torch import nn

            class Flat(nn.Conv2d):
                def __init__(self, in_channels: int):
                    super().__init__(in_channels, 8, 3)
                    self.out_channels = 8
        """,
    )
    tiny["model"]["backbone"] = {"type": "flat"}
    assert settings(tiny, layer_decay=1.0)["backbone.weight"] == (1.0, 0.5)
    assert refused(tiny, layer_decay=0.9).endswith(
        "optimizer.groups.layer_decay: needs a backbone whose stem_and_stages() lists its blocks, which Flat does "
        "not have -- set patterns instead"
    )


# Patterns


def test_a_pattern_holds_in_place_of_other_factors_and_the_last_one_wins(tiny):
    patterns = {"*.bias": {"decay": 0.25}, "backbone.*": {"lr": 0.1}, "*.conv1.*": {"lr": 0.5, "decay": 2.0}}
    found = settings(tiny, layer_decay=0.5, bias_lr=2.0, patterns=patterns)
    assert found["head.fc.bias"] == (2.0, 0.125)
    assert found["backbone.bn1.bias"] == (0.1, 0.125)
    assert found["backbone.layer1.0.conv1.weight"] == (0.5, 1.0)


@pytest.mark.parametrize(
    ("pattern", "hint"),
    [
        ("backbone.layr1.*", "did you mean 'backbone.layer1.*'?"),
        ("head.fc.wieght", "did you mean 'head.fc.weight'?"),
        ("zzz", 'there are: "backbone.*", "head.*"'),
    ],
)
def test_a_pattern_that_matches_nothing(tiny, pattern, hint):
    message = refused(tiny, patterns={"head.*": {"lr": 2.0}, pattern: {"lr": 0.1}})
    assert f"optimizer.groups.patterns.{pattern}: matches no parameter -- {hint}" in message


def test_a_pattern_may_name_what_is_frozen(tiny):
    tiny["model"]["backbone"]["frozen_stages"] = 1
    assert "backbone.conv1.weight" not in settings(tiny, patterns={"backbone.conv1.*": {"lr": 0.1}})


def test_weights_that_a_pattern_stops_do_not_move(tiny):
    tiny["optimizer"] = {"type": "adamw", "groups": {"patterns": {"backbone.*": {"lr": 0.0}}}}
    weights = []
    for epochs in (1, 2):
        tiny["train"]["epochs"] = epochs
        clscli.train(tiny, out=f"run{epochs}", device="cpu")
        weights.append(load_checkpoint(f"run{epochs}/last.pth").weights)
    same = {name for name in weights[0] if torch.equal(weights[0][name], weights[1][name])}
    trained = {name for name in weights[0] if name.endswith(("weight", "bias"))}
    assert trained - same == {"head.fc.weight", "head.fc.bias"}


# In a spec


def test_a_resolved_spec_holds_all_factors_and_loads_to_itself(tiny):
    tiny["optimizer"]["groups"] = {"head_lr": 10.0, "patterns": {"backbone.layer1.*": {"lr": 0.1}}}
    values = load_spec(tiny).values
    assert values["optimizer"]["groups"] == {
        "norm_decay": 0.0,
        "bias_decay": 0.0,
        "token_decay": 0.0,
        "dwconv_decay": 1.0,
        "bias_lr": 1.0,
        "head_lr": 10.0,
        "layer_decay": 1.0,
        "patterns": {"backbone.layer1.*": {"lr": 0.1}},
    }
    assert load_spec(read(render_spec(values))[0]).values == values


def test_patterns_may_be_written_as_tables(clscli, tiny_file):
    with tiny_file.open("a") as file:
        file.write('[optimizer.groups.patterns."head.*"]\nlr = 2\n')
    done = clscli("train", tiny_file, "--dry-run", "--set", "optimizer.groups.layer_decay=0.5")
    lines = done.out.splitlines()
    assert '[optimizer.groups.patterns."head.*"]' in lines
    assert "lr = 2.0  # tiny.toml:" in done.out
    assert "layer_decay = 0.5  # --set optimizer.groups.layer_decay=0.5" in lines


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (1.0, "groups: must be a table such as { head_lr = 10.0, layer_decay = 0.75 }, got 1.0"),
        ({"head_lrr": 1.0}, "groups.head_lrr: unknown key 'head_lrr' -- did you mean 'head_lr'"),
        ({"layer_decay": 0.0}, "groups.layer_decay: must be greater than 0.0, got 0.0"),
        ({"layer_decay": 1.5}, "groups.layer_decay: must be at most 1.0, got 1.5"),
        ({"bias_lr": -1.0}, "groups.bias_lr: must be at least 0.0, got -1.0"),
        ({"patterns": {"x": 1.0}}, "groups.patterns.x: must be a table, got 1.0"),
        ({"patterns": {"x": {"rate": 1.0}}}, "groups.patterns.x.rate: must be 'lr' or 'decay', got \"rate\""),
        ({"patterns": {"x": {"lr": "1"}}}, 'groups.patterns.x.lr: must be a number, got "1"'),
    ],
)
def test_groups_that_are_none(tiny, groups, message):
    tiny["optimizer"]["groups"] = groups
    with pytest.raises(SpecError) as caught:
        load_spec(tiny)
    assert f"optimizer.{message}" in str(caught.value)


def test_an_optimizer_without_weight_decay_has_none_to_multiply(tiny):
    tiny["optimizer"] = {"type": "rprop", "groups": {"norm_decay": 0.5}}
    resolved = load_spec(tiny)
    with pytest.raises(SpecError) as caught:
        build_optimizer(resolved, build_model(resolved, BLUEPRINT))
    assert str(caught.value).endswith(
        "optimizer.groups: multiplies weight_decay by 0.5, but the optimizer has no parameter weight_decay"
    )


def test_a_third_partys_optimizer_has_groups_too(tiny, plugin):
    plugin(
        "optimizers",
        plain="plainopt:plain",
        plainopt="""
            import torch

            def plain(params: list, *, lr: float = 0.5, weight_decay: float = 0.1):
                return torch.optim.SGD(params, lr=lr, weight_decay=weight_decay)
        """,
    )
    tiny["optimizer"] = {"type": "plain", "groups": {"head_lr": 4.0}}
    resolved = load_spec(tiny)
    optimizer = build_optimizer(resolved, build_model(resolved, BLUEPRINT))
    settings = [(group["lr"], group["weight_decay"]) for group in optimizer.param_groups]
    assert settings == [(0.5, 0.1), (0.5, 0.0), (2.0, 0.1), (2.0, 0.0)]


def test_the_listing_names_every_key(clscli):
    done = clscli("list", "optimizers", "lion")
    row = next(line for line in done.out.splitlines() if line.startswith("groups "))
    keys = "norm_decay, bias_decay, token_decay, dwconv_decay, bias_lr, head_lr, layer_decay, patterns"
    assert row.endswith(f"spec (factors of rate and weight decay: {keys})")


def test_a_run_whose_groups_were_others_cannot_go_on(tiny):
    tiny["train"]["epochs"] = 1
    clscli.train(tiny, out="run", device="cpu")
    saved = torch.load("run/last.pth", weights_only=True)
    decayed, spared = saved["training"]["optimizer"]["param_groups"]
    decayed["params"].append(spared["params"].pop())
    torch.save(saved, "run/last.pth")
    with pytest.raises(CheckpointError, match=r"^the run cannot go on: its parameters were divided into other"):
        clscli.resume("run", device="cpu")


# Dry run


def test_a_dry_run_shows_the_groups(clscli, tiny_file):
    arguments = ("train", tiny_file, "--dry-run", "--set", "optimizer.groups.head_lr=10.0")
    lines = clscli(*arguments).out.splitlines()
    start = lines.index("tensors  parameters    lr  weight decay  group that begins with")
    assert lines[start + 1 : start + 6] == [
        "     12      19,212  0.01          0.05  backbone.conv1.weight",
        "     24         360  0.01             0  backbone.bn1.weight",
        "      1          64   0.1          0.05  head.fc.weight",
        "      1           2   0.1             0  head.fc.bias",
        "",
    ]
    shown = json.loads(clscli(*arguments, "--json").out)["groups"]
    assert shown[2] == {
        "num_tensors": 1,
        "num_parameters": 64,
        "lr": 0.1,
        "weight_decay": 0.05,
        "first": "head.fc.weight",
    }
    assert sum(group["num_parameters"] for group in shown) == 19_638


def test_a_dry_run_shows_the_rates_for_the_size_of_the_batch(clscli, tiny_file):
    scaled = ("--set", "train.scale_lr=linear", "--set", "train.base_batch_size=16")
    done = clscli("train", tiny_file, "--dry-run", "--json", *scaled)
    assert {group["lr"] for group in json.loads(done.out)["groups"]} == {0.01 * 8 / 16}


def test_a_dry_run_shows_no_weight_decay_where_there_is_none(clscli, tiny_file):
    done = clscli("train", tiny_file, "--dry-run", "--json", "--set", "optimizer.type=rprop")
    assert {group["weight_decay"] for group in json.loads(done.out)["groups"]} == {None}


# Muon's weights


def test_hidden_weights_lie_between_the_first_layer_and_the_head(tiny):
    tiny["model"]["backbone"] = {"type": "mobilenet_v2"}
    resolved = load_spec(tiny)
    model = build_model(resolved, BLUEPRINT)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = [names[id(weight)] for weight in hidden_weights(model)]
    # Without the stem, and without the depthwise kernel of each of 17 blocks: 2 in each, but 1 in the first.
    assert len(found) == 2 * 17 - 1 + 1
    assert "backbone.features.0.0.weight" not in found
    assert "head.fc.weight" not in found
    assert "backbone.features.1.conv.0.0.weight" not in found
    assert "backbone.features.1.conv.1.weight" in found


def test_group_errors_lead_to_their_key():
    with pytest.raises(GroupError) as caught:
        factors_of(classifier(Layer()), Groups(layer_decay=0.5))
    assert caught.value.path == ("layer_decay",)
