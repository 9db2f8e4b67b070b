"""timm's optimizers and losses as components."""

import pytest
import timm.loss
import torch
from clscli_timm.optimizers import usable_optimizers
from timm.optim import create_optimizer_v2

import clscli
from clscli.plugins import load, resolve
from clscli.signature import complete, read_parameters
from clscli.testing import check_component


@pytest.mark.parametrize("name", usable_optimizers())
def test_every_optimizer_steps_as_timm_s_own(name):
    function = load(resolve("optimizers", f"timm/{name}"))
    parameters = read_parameters(function, ("params",))
    given = complete(parameters, {"lr": 0.01})
    pairs = [torch.nn.Linear(4, 3), torch.nn.Linear(4, 3)]
    pairs[1].load_state_dict(pairs[0].state_dict())
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    ours = function([{"params": list(pairs[0].parameters())}], **plain)
    theirs = create_optimizer_v2(pairs[1].parameters(), name, lr=0.01)
    for layer, optimizer in zip(pairs, (ours, theirs), strict=True):
        torch.manual_seed(0)
        for _ in range(3):
            optimizer.zero_grad()
            layer(torch.ones(2, 4)).square().sum().backward()
            optimizer.step()
    torch.testing.assert_close(pairs[0].weight, pairs[1].weight, rtol=0, atol=0)
    assert not torch.equal(pairs[0].weight, torch.zeros(3, 4))


@pytest.mark.parametrize("name", ["poly_cross_entropy", "poly_bce", "zlpr"])
def test_the_contract_of_clscli(name):
    check_component("losses", name)


@pytest.mark.parametrize(
    ("name", "theirs", "parameters"),
    [
        ("poly_cross_entropy", timm.loss.PolyCrossEntropy(1.5, 0.1), {"epsilon": 1.5, "smoothing": 0.1}),
        (
            "poly_bce",
            timm.loss.PolyBinaryCrossEntropy(1.0, 2.0, 0.3),
            {"epsilon": 1.0, "gamma": 2.0, "alpha": 0.3},
        ),
        ("zlpr", timm.loss.ZlprLoss(), {}),
    ],
)
def test_losses_are_timm_s(name, theirs, parameters):
    logits, target = torch.randn(5, 4), torch.randint(4, (5,))
    loss = load(resolve("losses", name))(**parameters)
    dense = torch.nn.functional.one_hot(target, 4).float()
    assert loss(logits, dense) == theirs(logits, dense)
    if name != "poly_cross_entropy":  # its smoothing is for class indices
        assert loss(logits, target) == theirs(logits, dense)


def test_a_spec_trains_with_them(spec, tmp_path):
    spec |= {
        "model": {"backbone": {"type": "timm/test_resnet"}, "loss": {"type": "poly_cross_entropy"}},
        "optimizer": {"type": "timm/adopt", "lr": 1e-3},
    }
    result = clscli.train(spec, out=tmp_path / "run", device="cpu")
    text = (tmp_path / "run/spec.toml").read_text()
    for name in ("timm/test_resnet", "timm/adopt", "poly_cross_entropy"):
        assert f'type = "clscli-timm:{name}"' in text
    assert 0 <= result.last["top1"] <= 1
