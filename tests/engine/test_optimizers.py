"""Optimizers: agreement with torch's and timm's own at every step, and resuming from a saved state."""

import io

import pytest
import torch
from torch import nn

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.optimizers.lamb import Lamb
from clscli.engine.optimizers.lars import Lars
from clscli.engine.optimizers.lion import Lion
from clscli.engine.optimizers.muon import Muon, orthogonalized
from clscli.errors import Interrupted, SpecError
from clscli.observer import Observer
from clscli.plugins import find_components, load, resolve
from clscli.spec import load_spec

OPTIMIZERS = [component.name for component in find_components("optimizers") if component.is_core]


def network(memory_format=torch.contiguous_format):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.Flatten(), nn.Linear(24, 5), nn.Linear(5, 2))
    return model.to(memory_format=memory_format)


def groups(model, **decayed):
    """Divide parameters as training does by default."""
    params = list(model.parameters())
    return [
        {"params": [p for p in params if p.ndim > 1], **decayed},
        {"params": [p for p in params if p.ndim <= 1], "weight_decay": 0.0},
    ]


def build(name, model, **parameters):
    injected = {"hidden_weights": [model[3].weight]} if name == "muon" else {}
    return load(resolve("optimizers", name))(groups(model), **injected, **parameters)


def train(model, optimizer, steps):
    """Take some steps, each on a batch that depends on the step's number alone."""
    for step in steps:
        torch.manual_seed(step)
        loss = nn.functional.cross_entropy(model(torch.randn(8, 3, 4, 4)), torch.randint(2, (8,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return [p.detach().clone() for p in model.parameters()]


def assert_same_training(make, make_reference, num_steps=5, model=network):
    ours, theirs = model(), model()
    optimizer, reference = make(ours), make_reference(theirs)
    for step in range(num_steps):
        train(ours, optimizer, [step])
        train(theirs, reference, [step])
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-5, atol=1e-7)


# torch's


# What differs from torch's own defaults, by decision.
CHOSEN = {
    "sgd": {"lr": 0.1, "momentum": 0.9, "weight_decay": 1e-4, "nesterov": True},
    "adamw": {"weight_decay": 0.05},
}


@pytest.mark.parametrize(
    ("name", "kind", "parameters"),
    [
        ("sgd", "SGD", {"lr": 0.2, "momentum": 0.8, "weight_decay": 0.01, "nesterov": False}),
        ("asgd", "ASGD", {"lr": 0.2, "lambd": 0.1, "alpha": 0.5, "t0": 2.0, "weight_decay": 0.01}),
        ("rprop", "Rprop", {"lr": 0.02, "etas": (0.4, 1.1), "step_sizes": (1e-3, 0.1)}),
        ("adam", "Adam", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 0.1, "weight_decay": 0.1, "amsgrad": True}),
        ("adamw", "AdamW", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 0.1, "weight_decay": 0.1, "amsgrad": True}),
        (
            "nadam",
            "NAdam",
            {
                "lr": 0.1,
                "betas": (0.8, 0.9),
                "eps": 0.1,
                "weight_decay": 0.1,
                "momentum_decay": 0.1,
                "decoupled_weight_decay": True,
            },
        ),
        (
            "radam",
            "RAdam",
            {
                "lr": 0.1,
                "betas": (0.8, 0.9),
                "eps": 0.1,
                "weight_decay": 0.1,
                "decoupled_weight_decay": True,
            },
        ),
        ("adamax", "Adamax", {"lr": 0.1, "betas": (0.8, 0.9), "eps": 0.1, "weight_decay": 0.1}),
        (
            "adagrad",
            "Adagrad",
            {
                "lr": 0.1,
                "lr_decay": 0.1,
                "weight_decay": 0.1,
                "initial_accumulator_value": 0.1,
                "eps": 0.1,
            },
        ),
        ("adadelta", "Adadelta", {"lr": 0.5, "rho": 0.8, "eps": 0.1, "weight_decay": 0.1}),
        (
            "rmsprop",
            "RMSprop",
            {"lr": 0.1, "alpha": 0.8, "eps": 0.1, "weight_decay": 0.1, "momentum": 0.5, "centered": True},
        ),
        ("adafactor", "Adafactor", {"lr": 0.1, "beta2_decay": -0.5, "d": 2.0, "weight_decay": 0.1}),
    ],
)
def test_torchs_optimizers(name, kind, parameters):
    reference = getattr(torch.optim, kind)
    assert_same_training(
        lambda model: build(name, model, **parameters), lambda model: reference(groups(model), **parameters)
    )
    ours, theirs = build(name, network()).defaults, reference(groups(network())).defaults
    expected = theirs | CHOSEN.get(name, {})
    assert {key: ours[key] for key in ours if key != "fused"} == {
        k: v for k, v in expected.items() if k != "fused"
    }


def test_adafactors_two_eps_are_torchs_pair():
    assert build("adafactor", network(), eps1=0.1, eps2=0.2).defaults["eps"] == (0.1, 0.2)


def test_sgd_without_momentum_needs_no_nesterov():
    assert build("sgd", network(), momentum=0.0).defaults["nesterov"] is False


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "adagrad"])
def test_fused_kernels_see_gradients_of_any_layout(name):
    results = []
    for memory_format in (torch.channels_last, torch.contiguous_format):
        model = network(torch.channels_last)
        optimizer = build(name, model)
        assert optimizer.defaults["fused"] is True
        for step in range(3):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape)
            model[0].weight.grad = model[0].weight.grad.contiguous(memory_format=memory_format)
            optimizer.step()
        results.append(model[0].weight.detach())
    assert torch.equal(*results)


# Ours


@pytest.mark.parametrize(
    ("kind", "theirs", "parameters", "fixed"),
    [
        (Lion, "Lion", {"lr": 0.01, "betas": (0.8, 0.95), "weight_decay": 0.3}, {}),
        (
            Lamb,
            "Lamb",
            {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3},
            {"max_grad_norm": None},
        ),
        (Lamb, "Lamb", {"lr": 0.02, "eps": 1e-3, "weight_decay": 0.0}, {"max_grad_norm": None}),
        (Lars, "Lars", {"lr": 2.0, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}, {}),
        (Lars, "Lars", {"lr": 2.0, "momentum": 0.8, "weight_decay": 0.1}, {}),
        (Lars, "Lars", {"lr": 0.1, "momentum": 0.0, "weight_decay": 0.0}, {}),
    ],
)
def test_layerwise_optimizers_are_timms(kind, theirs, parameters, fixed):
    reference = getattr(pytest.importorskip("timm.optim"), theirs)
    assert_same_training(
        lambda model: kind(groups(model), **parameters),
        lambda model: reference(groups(model), **parameters, **fixed),
    )


def test_the_trust_coefficient_scales_the_steps_of_lars():
    for trust in (0.001, 0.01):
        weight = nn.Parameter(torch.full((2, 2), 3.0))
        optimizer = Lars([{"params": [weight]}], lr=0.5, weight_decay=0.25, trust_coefficient=trust)
        weight.grad = torch.full((2, 2), 4.0)
        optimizer.step()
        # Norms 6 and 8: a rate of 0.5 * trust * 6 / (8 + 0.25 * 6) for the gradient 4 + 0.25 * 3.
        torch.testing.assert_close(weight.detach(), torch.full((2, 2), 3 - 0.5 * trust * 6 / 9.5 * 4.75))


def test_a_weight_that_is_zero_still_moves():
    for kind in (Lamb, Lars):
        weight = nn.Parameter(torch.zeros(2, 2))
        optimizer = kind([{"params": [weight]}], lr=0.5)
        weight.grad = torch.ones(2, 2)
        optimizer.step()
        torch.testing.assert_close(weight.detach(), torch.full((2, 2), -0.5))


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("adjust_lr", ["original", "match_rms_adamw"])
def test_muon_is_torchs_for_hidden_weights_and_adamw_for_the_rest(adjust_lr, nesterov):
    ours, theirs = network(), network()
    muon = Muon(groups(ours), [ours[3].weight], lr=0.1, weight_decay=0.1, adjust_lr=adjust_lr, nesterov=nesterov)
    assert [(g["algorithm"], len(g["params"])) for g in muon.param_groups] == [
        ("muon", 1),
        ("adamw", 2),
        ("adamw", 5),
    ]
    hidden = torch.optim.Muon(
        [theirs[3].weight], lr=0.1, weight_decay=0.1, adjust_lr_fn=adjust_lr, nesterov=nesterov
    )
    others = groups(theirs)
    others[0]["params"] = [theirs[0].weight, theirs[4].weight]
    rest = torch.optim.AdamW(others, lr=0.1, weight_decay=0.1)
    for step in range(4):
        for model in (ours, theirs):
            torch.manual_seed(step)
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape)
        muon.step()
        hidden.step()
        rest.step()
        for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one, two)


def test_muon_takes_kernels_as_matrices_in_any_layout():
    results = []
    for shape, memory_format in (
        ((6, 12), torch.contiguous_format),
        ((6, 3, 2, 2), torch.contiguous_format),
        ((6, 3, 2, 2), torch.channels_last),
    ):
        torch.manual_seed(0)
        weight = nn.Parameter(torch.randn(6, 12).view(shape).contiguous(memory_format=memory_format))
        optimizer = Muon([{"params": [weight]}], [weight])
        weight.grad = torch.randn(6, 12).view(shape)
        optimizer.step()
        results.append(weight.detach().reshape(6, 12))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


@pytest.mark.parametrize("shape", [(8, 20), (20, 8)])
def test_muons_steps_are_nearly_orthogonal(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalized(torch.randn(shape), 5).float())
    assert 0.6 < values.min() < values.max() < 1.3


# All of them


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_saved_state_goes_on_as_if_nothing_had_happened(name):
    model = network()
    straight = train(model, build(name, model), range(6))

    model = network()
    optimizer = build(name, model)
    train(model, optimizer, range(3))
    file = io.BytesIO()
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    model = network()
    model.load_state_dict(saved["model"])
    optimizer = build(name, model)
    optimizer.load_state_dict(saved["optimizer"])
    resumed = train(model, optimizer, range(3, 6))
    assert all(torch.equal(one, two) for one, two in zip(straight, resumed, strict=True))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_layers_that_join_in_later_begin_as_new_ones(name):
    model = network()
    optimizer = build(name, model)
    model[3].requires_grad_(False)
    before = model[3].weight.clone()
    train(model, optimizer, range(3))
    assert torch.equal(model[3].weight, before)
    assert model[3].weight not in optimizer.state or not optimizer.state[model[3].weight].get("step", 0)
    model[3].requires_grad_(True)
    train(model, optimizer, range(3, 5))
    assert not torch.equal(model[3].weight, before)
    state = optimizer.state[model[3].weight]
    assert state.get("step", 2) == 2


class StopInEpoch(Observer):
    """Stop a run in the middle of its second epoch."""

    def begin(self, what, total, unit="images"):
        self.is_second = what.startswith("epoch 2/")

    def tick(self, amount):
        if amount and self.is_second:
            raise Interrupted("test")


@pytest.mark.parametrize("name", ["sgd", "lamb", "muon"])
def test_a_run_resumes_to_the_same_weights(tiny, name):
    tiny["optimizer"] = {"type": name, "lr": 0.01}
    tiny["train"]["freeze_epochs"] = 1  # so that most of the state comes later
    clscli.train(tiny, out="straight", device="cpu")
    with pytest.raises(Interrupted):
        clscli.train(tiny, out="stopped", device="cpu", observer=StopInEpoch())
    assert load_checkpoint("stopped/last.pth").training["progress"]["batch"] > 0
    clscli.resume("stopped", device="cpu")
    one, two = (load_checkpoint(f"{run}/last.pth").weights for run in ("straight", "stopped"))
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "lbfgs",
            "there is no optimizer 'lbfgs': it computes the loss several times a step, and always of all pictures "
            "-- take adamw or sgd",
        ),
        (
            "sparse_adam",
            "there is no optimizer 'sparse_adam': it is for sparse gradients, which no image classifier has "
            "-- take adam",
        ),
    ],
)
def test_optimizers_of_torch_that_are_not_offered(tiny, name, message):
    tiny["optimizer"] = {"type": name}
    with pytest.raises(SpecError) as caught:
        load_spec(tiny)
    assert str(caught.value).endswith(f"optimizer.type: {message}")


def test_a_parameter_out_of_its_limits(tiny):
    tiny["optimizer"] = {"type": "muon", "adjust_lr": "originl", "momentum": 1.0, "hidden_weights": []}
    with pytest.raises(SpecError) as caught:
        load_spec(tiny)
    for message in (
        "optimizer.adjust_lr: must be 'match_rms_adamw' or 'original', got \"originl\"",
        "optimizer.momentum: must be less than 1.0, got 1.0",
        "optimizer.hidden_weights: is set by clscli from the data -- remove it",
    ):
        assert message in str(caught.value)
