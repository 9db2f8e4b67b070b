"""Built-in heads."""

import math

import pytest
import torch
from importlib_metadata import entry_points
from torch import nn
from torch.nn import functional as F

import clscli
from clscli.engine.step import head_loss
from clscli.errors import SpecError
from clscli.models.build import Blueprint, build_model
from clscli.models.classifier import Classifier
from clscli.spec import load_spec

HEADS = {
    entry.name: entry.load()
    for entry in entry_points(group="clscli.heads")
    if entry.dist is not None and entry.dist.name == "clscli"
}
Linear, StackedLinear, MultiLabelLinear = HEADS["linear"], HEADS["stacked_linear"], HEADS["multi_label_linear"]
Cls, VisionTransformer, ArcFace = HEADS["cls"], HEADS["vision_transformer"], HEADS["arcface"]
DeiT, Conformer = HEADS["deit"], HEADS["conformer"]

WITH_ONE_INPUT = ["linear", "stacked_linear", "multi_label_linear", "vision_transformer", "arcface"]


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def with_identity_backbone(head):
    """A classifier whose features are its inputs."""
    return Classifier(nn.Identity(), nn.Identity(), [], head)


@pytest.mark.parametrize("name", WITH_ONE_INPUT)
def test_logits_come_from_the_last_output(name):
    head = HEADS[name](4, 3)
    nn.init.normal_(head.fc.weight)
    vectors = torch.rand(2, 4)
    logits = head(vectors)
    assert logits.shape == (2, 3)
    assert logits.std() > 0
    assert torch.equal(head((torch.rand(2, 7, 5, 5), vectors)), logits)


@pytest.mark.parametrize("name", [*WITH_ONE_INPUT, "cls"])
def test_a_map_needs_a_neck(name):
    message = (
        f"head '{name}' expects vectors (B, C), got (2, 3, 7, 7): "
        'add neck = { type = "global_average_pooling" }'
    )
    with pytest.raises(ValueError, match="expects vectors") as caught:
        HEADS[name](3, 3)(torch.rand(2, 3, 7, 7))
    assert str(caught.value) == message


@pytest.mark.parametrize("name", ["linear", "stacked_linear", "multi_label_linear"])
def test_dropout_only_in_training(name):
    torch.manual_seed(0)
    head, vectors = HEADS[name](64, 3, dropout=0.5), torch.rand(2, 64)
    assert not torch.equal(head.train()(vectors), head(vectors))
    assert torch.equal(head.eval()(vectors), head(vectors))


# Linear


def test_linear_by_hand():
    head = Linear(2, 2)
    head.load_state_dict(
        {"fc.weight": torch.tensor([[1.0, 2.0], [0.0, -1.0]]), "fc.bias": torch.tensor([0.5, 0.0])}
    )
    assert head(torch.tensor([[3.0, 1.0]])).tolist() == [[5.5, -1.0]]


def test_stacked_linear_is_the_head_of_mobilenet_v3():
    with torch.device("meta"):
        small = StackedLinear(576, 1000, mid_channels=(1024,), activation="hardswish", dropout=0.2)
        large = StackedLinear(960, 1000, mid_channels=(1280,), activation="hardswish", dropout=0.2)
    assert (num_parameters(small), num_parameters(large)) == (1_615_848, 2_511_080)


@pytest.mark.parametrize(("norm", "norm_type"), [("batch_norm", nn.BatchNorm1d), ("layer_norm", nn.LayerNorm)])
def test_stacked_linear_norms_every_hidden_layer(norm, norm_type):
    head = StackedLinear(4, 3, mid_channels=(6, 5), norm=norm)
    assert [module.weight.numel() for module in head.modules() if isinstance(module, norm_type)] == [6, 5]
    head(torch.rand(8, 4)).sum().backward()
    assert all(parameter.grad is not None for parameter in head.parameters())


@pytest.mark.parametrize(
    ("activation", "function"),
    [
        ("relu", torch.relu),
        ("gelu", F.gelu),
        ("hardswish", F.hardswish),
        ("silu", F.silu),
        ("mish", F.mish),
        ("tanh", torch.tanh),
    ],
)
def test_stacked_linear_activation(activation, function):
    head = StackedLinear(3, 2, mid_channels=(5,), activation=activation)
    vectors = torch.randn(4, 3)
    torch.testing.assert_close(head(vectors), head.fc(function(head.hidden[0](vectors))))


def test_stacked_linear_without_hidden_layers_is_linear():
    assert set(StackedLinear(3, 2, mid_channels=()).state_dict()) == set(Linear(3, 2).state_dict())


# Several labels an image


@pytest.mark.parametrize(
    ("prior", "expected"),
    [
        (None, [0.25] * 4),  # 1 / number of classes
        (0.01, [0.01] * 4),
        ((0.5, 0.1, 0.2, 0.9), [0.5, 0.1, 0.2, 0.9]),
    ],
)
def test_multi_label_scores_begin_at_the_prior(prior, expected):
    head = MultiLabelLinear(3, 4, prior=prior)
    torch.testing.assert_close(head(torch.zeros(1, 3)).sigmoid(), torch.tensor([expected]))


def test_multi_label_of_a_single_class_begins_undecided():
    assert MultiLabelLinear(3, 1).fc.bias.tolist() == [0.0]


def test_multi_label_prior_is_one_number_or_one_for_each_class():
    with pytest.raises(ValueError, match="prior") as caught:
        MultiLabelLinear(3, 4, prior=(0.5, 0.1))
    assert str(caught.value) == "prior needs one number for each of the 4 classes, got 2"


def test_multi_label_learns_labels_that_do_not_exclude_each_other():
    torch.manual_seed(0)
    model = with_identity_backbone(MultiLabelLinear(2, 3))
    vectors = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [1.0, 1.0, 1.0]])
    optimizer = torch.optim.SGD(model.parameters(), lr=5.0)
    for _ in range(200):
        loss = head_loss(model, model(vectors), targets, F.binary_cross_entropy_with_logits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model.predict(vectors).sigmoid().round(), targets)
    assert loss < 0.05


# Without layers


def test_cls_returns_the_last_output():
    vectors = torch.rand(2, 3)
    assert Cls(3, 3)((torch.rand(2, 5), vectors)) is vectors
    assert list(Cls(3, 3).parameters()) == []


def test_cls_needs_a_channel_for_each_class(tiny):
    tiny["model"]["head"] = {"type": "cls"}
    with pytest.raises(SpecError) as caught:
        build_model(load_spec(tiny), Blueprint(num_classes=10, image_shape=(3, 32, 32)))
    assert caught.value.problems == [
        "spec: model.head: head 'cls': it takes features as logits, so it needs one channel for each of the 10 "
        "classes, got 32 channels"
    ]


# Vision transformers


def test_vision_transformer_starts_at_zero():
    for head in (VisionTransformer(8, 3), VisionTransformer(8, 3, hidden_dim=5)):
        assert torch.equal(head(torch.randn(2, 8)), torch.zeros(2, 3))


def test_vision_transformer_with_a_hidden_layer():
    torch.manual_seed(0)
    head = VisionTransformer(400, 3, hidden_dim=500)
    hidden = head.pre_logits[0]
    assert hidden.weight.std().item() == pytest.approx(1 / 20, rel=0.01)  # 1 / sqrt(400)
    nn.init.normal_(head.fc.weight)
    vectors = torch.randn(2, 400)
    torch.testing.assert_close(head(vectors), head.fc(torch.tanh(hidden(vectors))))


# Two branches


def branches(name):
    """A head, its two inputs, and the logits of each by hand."""
    torch.manual_seed(0)
    head = HEADS[name]((4, 6), 3)
    first, second = torch.rand(2, 4), torch.rand(2, 6)
    layers = (head.head, head.head_dist) if name == "deit" else (head.conv_cls_head, head.trans_cls_head)
    return head, (first, second), (layers[0](first), layers[1](second))


@pytest.mark.parametrize("name", ["deit", "conformer"])
def test_both_branches_are_trained_and_their_mean_predicts(name):
    head, inputs, by_hand = branches(name)
    model, target = with_identity_backbone(head), torch.tensor([0, 2])
    outputs = model.train()(inputs)
    for logits, expected in zip(outputs, by_hand, strict=True):
        torch.testing.assert_close(logits, expected)
    loss = head_loss(model, outputs, target, F.cross_entropy)
    torch.testing.assert_close(loss, sum(F.cross_entropy(logits, target) for logits in by_hand) / 2)
    loss.backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
    mean = (by_hand[0] + by_hand[1]) / 2
    torch.testing.assert_close(model.predict(inputs), mean)
    torch.testing.assert_close(model.eval()(inputs), mean)
    torch.testing.assert_close(model.predict(inputs), mean)


def test_conformer_averages_a_map_that_no_neck_has_pooled():
    head, (_, token), _ = branches("conformer")
    features = torch.rand(2, 4, 5, 3)
    torch.testing.assert_close(head.eval()((features, token)), head((features.mean((2, 3)), token)))


@pytest.mark.parametrize(
    ("name", "shapes"),
    [("deit", [(2, 4, 5, 5), (2, 6)]), ("conformer", [(2, 4), (2, 6, 5, 5)]), ("conformer", [(2, 9, 4), (2, 6)])],
)
def test_a_branch_that_is_no_vector(name, shapes):
    with pytest.raises(ValueError, match=rf"^head '{name}' expects vectors \(B, C\), got \(2, "):
        branches(name)[0](tuple(torch.rand(shape) for shape in shapes))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("deit", "a class token and a distillation token"),
        ("conformer", "the map of the convolutions and the class token"),
    ],
)
def test_two_outputs_are_needed(tiny, name, expected):
    tiny["model"]["head"] = {"type": name}
    with pytest.raises(SpecError) as caught:
        build_model(load_spec(tiny), Blueprint(num_classes=2, image_shape=(3, 32, 32)))
    assert caught.value.problems == [f"spec: model.head: head '{name}': it needs two outputs, {expected}, got 1"]


# ArcFace


def arcface(cosines, **parameters):
    """An ArcFace head, and vectors that have these cosines with its one centre for each class.

    The centres are the first K axes, and the rest of a vector's length lies along one more axis.
    """
    rows = torch.tensor(cosines)
    num_classes = rows.shape[1] // parameters.get("num_subcenters", 1)
    head = ArcFace(rows.shape[1] + 1, num_classes, **parameters)
    with torch.no_grad():
        head.fc.weight.copy_(2 * torch.eye(rows.shape[1], rows.shape[1] + 1))  # their lengths do not matter
    rest = (1 - rows.square().sum(1, keepdim=True)).sqrt()
    return head, 3 * torch.cat([rows, rest], dim=1)


def logits_in_training(head, vectors, target):
    """What reaches the criterion."""
    seen = []
    head.loss(head(vectors), target, lambda logits, target: seen.append(logits) or logits.sum())
    return seen[0]


def test_arcface_predicts_scaled_cosines():
    head, vectors = arcface([[0.6, -0.5], [0.0, 1.0]], scale=10.0)
    torch.testing.assert_close(head(vectors), torch.tensor([[6.0, -5.0], [0.0, 10.0]]))


def test_arcface_adds_the_margin_to_the_angle_of_the_target():
    head, vectors = arcface([[0.6, 0.2], [0.6, 0.2]], scale=10.0, margin=0.5)
    wider = [10 * math.cos(math.acos(0.6) + 0.5), 10 * math.cos(math.acos(0.2) + 0.5)]
    torch.testing.assert_close(
        logits_in_training(head, vectors, torch.tensor([0, 1])), torch.tensor([[wider[0], 2.0], [6.0, wider[1]]])
    )


def test_arcface_beyond_half_a_turn_keeps_falling():
    margin, angles = 0.5, torch.linspace(0.01, math.pi - 0.01, 200)
    head = ArcFace(2, 2, margin=margin)
    found = head.add_margin(angles.cos())
    inside = angles < math.pi - margin
    torch.testing.assert_close(found[inside], (angles[inside] + margin).cos(), atol=1e-5, rtol=0)
    torch.testing.assert_close(found[~inside], angles[~inside].cos() - margin * math.sin(margin))
    assert (found.diff() < 0).all()


def test_arcface_with_the_easy_margin_spares_wide_angles():
    head, vectors = arcface([[0.6, 0.0], [-0.6, 0.0]], scale=1.0, easy_margin=True)
    expected = torch.tensor([[math.cos(math.acos(0.6) + 0.5), 0.0], [-0.6, 0.0]])
    torch.testing.assert_close(logits_in_training(head, vectors, torch.tensor([0, 0])), expected)


def test_arcface_takes_the_nearest_subcenter_of_a_class():
    head, vectors = arcface([[0.1, 0.5, -0.2, -0.7]], scale=1.0, num_subcenters=2)
    torch.testing.assert_close(head(vectors), torch.tensor([[0.5, -0.2]]))


def test_arcface_mixes_margins_as_the_target_is_mixed():
    head, vectors = arcface([[0.6, 0.2]], scale=10.0)
    first, second = (logits_in_training(head, vectors, torch.tensor([index])) for index in (0, 1))
    one_hot = logits_in_training(head, vectors, torch.tensor([[0.0, 1.0]]))
    torch.testing.assert_close(one_hot, second)
    mixed = logits_in_training(head, vectors, torch.tensor([[0.7, 0.3]]))
    torch.testing.assert_close(mixed, 0.7 * first + 0.3 * second)


def test_arcface_has_gradients_where_the_angle_is_zero():
    head, vectors = arcface([[1.0, 0.0], [-1.0, 0.0]])
    vectors.requires_grad_(True)
    head.loss(head(vectors), torch.tensor([0, 0]), F.cross_entropy).backward()
    for tensor in (vectors, head.fc.weight):
        assert tensor.grad.isfinite().all()


def test_arcface_computes_cosines_in_float32_under_autocast():
    head, vectors = arcface([[0.6, -0.5], [0.1, 0.987]])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(vectors)
    assert logits.dtype == torch.float32
    assert torch.equal(logits, head(vectors))


@pytest.mark.parametrize("parameters", [{}, {"num_subcenters": 3, "easy_margin": True}])
def test_arcface_learns_directions(parameters):
    torch.manual_seed(0)
    model = with_identity_backbone(ArcFace(4, 3, scale=16.0, **parameters))
    target = torch.arange(3).repeat(10)
    vectors = torch.eye(3, 4)[target] + 0.1 * torch.randn(30, 4)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(100):
        loss = head_loss(model, model(vectors), target, F.cross_entropy)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert torch.equal(model.predict(vectors).argmax(1), target)


def test_the_margin_reaches_the_training_loss_but_not_the_validation(tiny):
    tiny["train"]["epochs"] = 1
    tiny["optimizer"] = {"type": "sgd", "lr": 0.0}
    tiny["model"]["head"] = {"type": "arcface", "margin": 0.0}
    without = clscli.train(tiny, out="without", device="cpu").last
    tiny["model"]["head"]["margin"] = 0.5
    with_margin = clscli.train(tiny, out="with", device="cpu").last
    assert with_margin["train_loss"] > without["train_loss"] + 1
    assert with_margin["loss"] == without["loss"]
