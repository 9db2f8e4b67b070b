"""Schedules and optimizers: exact values, and agreement with torch's own."""

import math

import pytest
import torch
from torch import nn

from clscli.engine.optimizers import adamw, parameter_groups, sgd
from clscli.engine.schedules import constant, cosine, multi_step, step


def values(schedule, num_steps):
    return [schedule(i) for i in range(num_steps)]


def torch_factors(make, num_epochs):
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    factors = []
    for _ in range(num_epochs):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


def test_cosine_is_torchs():
    ours = values(cosine(40, 10, warmup_epochs=0, min_factor=0.1), 40)
    theirs = torch_factors(lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 40, eta_min=0.1), 40)
    assert ours == pytest.approx(theirs)


def test_step_and_multi_step_are_torchs_by_epoch():
    ours = values(step(60, 5, step_size=3, gamma=0.5, warmup_epochs=0), 60)[::5]
    assert ours == pytest.approx(torch_factors(lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5), 12))
    ours = values(multi_step(60, 5, milestones=(8, 3), gamma=0.5, warmup_epochs=0), 60)[::5]
    assert ours == pytest.approx(torch_factors(lambda o: torch.optim.lr_scheduler.MultiStepLR(o, [3, 8], 0.5), 12))


def test_warmup_rises_linearly_to_what_follows():
    factors = values(constant(20, 2, warmup_epochs=2), 20)
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 16)
    factors = values(cosine(20, 2, warmup_epochs=2), 20)
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[12] == pytest.approx((1 + math.cos(math.pi / 2)) / 2)


def test_warmup_is_a_twentieth_of_the_run_when_nothing_is_said():
    assert values(constant(100, 10), 7) == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1])
    assert values(constant(10, 10), 2) == [1, 1]


def test_parameter_groups_spare_biases_and_norms():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    model[3].weight.requires_grad_(False)
    decayed, spared = parameter_groups(model)
    assert [p is model[0].weight for p in decayed["params"]] == [True]
    assert [tuple(p.shape) for p in spared["params"]] == [(4,), (4,), (4,), (2,)]
    for optimizer in (sgd(parameter_groups(model)), adamw(parameter_groups(model), weight_decay=0.3)):
        assert [g["weight_decay"] for g in optimizer.param_groups] == [optimizer.defaults["weight_decay"], 0]


def test_sgd_without_momentum_needs_no_nesterov():
    assert sgd(parameter_groups(nn.Linear(1, 1)), momentum=0.0).defaults["nesterov"] is False
