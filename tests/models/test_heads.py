"""Built-in heads."""

import pytest
import torch
from importlib_metadata import entry_points
from torch import nn

HEADS = {
    entry.name: entry.load()
    for entry in entry_points(group="clscli.heads")
    if entry.dist is not None and entry.dist.name == "clscli"
}
Linear, StackedLinear = HEADS["linear"], HEADS["stacked_linear"]


def num_parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("head_type", HEADS.values(), ids=HEADS)
def test_logits_come_from_the_last_output(head_type):
    head = head_type(4, 3)
    vectors = torch.rand(2, 4)
    logits = head(vectors)
    assert logits.shape == (2, 3)
    assert torch.equal(head((torch.rand(2, 7, 5, 5), vectors)), logits)


@pytest.mark.parametrize("name", ["linear", "stacked_linear"])
def test_a_map_needs_a_neck(name):
    message = (
        f"head '{name}' expects vectors (B, C), got (2, 512, 7, 7): "
        'add neck = { type = "global_average_pooling" }'
    )
    with pytest.raises(ValueError, match="expects vectors") as caught:
        HEADS[name](512, 3)(torch.rand(2, 512, 7, 7))
    assert str(caught.value) == message


def test_linear_by_hand():
    head = Linear(2, 2)
    head.load_state_dict(
        {"fc.weight": torch.tensor([[1.0, 2.0], [0.0, -1.0]]), "fc.bias": torch.tensor([0.5, 0.0])}
    )
    assert head(torch.tensor([[3.0, 1.0]])).tolist() == [[5.5, -1.0]]


@pytest.mark.parametrize("head_type", HEADS.values(), ids=HEADS)
def test_dropout_only_in_training(head_type):
    torch.manual_seed(0)
    head, vectors = head_type(64, 3, dropout=0.5), torch.rand(2, 64)
    assert not torch.equal(head.train()(vectors), head(vectors))
    assert torch.equal(head.eval()(vectors), head(vectors))


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
        ("gelu", nn.functional.gelu),
        ("hardswish", nn.functional.hardswish),
        ("silu", nn.functional.silu),
        ("tanh", torch.tanh),
    ],
)
def test_stacked_linear_activation(activation, function):
    head = StackedLinear(3, 2, mid_channels=(5,), activation=activation)
    vectors = torch.randn(4, 3)
    torch.testing.assert_close(head(vectors), head.fc(function(head.hidden[0](vectors))))


def test_stacked_linear_without_hidden_layers_is_linear():
    assert set(StackedLinear(3, 2, mid_channels=()).state_dict()) == set(Linear(3, 2).state_dict())
