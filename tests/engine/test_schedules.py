"""Schedules: agreement with torch's own at every step, exact values of warmups, and what a run makes of them."""

import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.schedules import Observing, apply_schedule
from clscli.engine.schedules.cycles import CosineRestarts, Cyclic, OneCycle
from clscli.engine.schedules.decay import Constant, Cosine, Exponential, Linear, MultiStep, Poly, Step
from clscli.engine.schedules.plateau import ReduceOnPlateau
from clscli.errors import Interrupted, SpecError
from clscli.observer import Observer


def values(schedule, num_steps):
    return [schedule(i) for i in range(num_steps)]


def torch_run(make, num_steps, **parameters):
    """Step a scheduler of torch's through a run; return the rates, and the momentum, of all steps."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], **{"lr": 1.0, "momentum": 0.5, **parameters})
    scheduler = make(optimizer)
    rates, momentum = [], []
    for _ in range(num_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        momentum.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    return rates, momentum


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (Constant, lambda o: lr_scheduler.ConstantLR(o, factor=1.0)),
        (Linear, lambda o: lr_scheduler.LinearLR(o, start_factor=1.0, end_factor=1e-9, total_iters=60)),
        (lambda *a, **k: Linear(*a, **k, min_factor=0.2), lambda o: lr_scheduler.LinearLR(o, 1.0, 0.2, 60)),
        (Poly, lambda o: lr_scheduler.PolynomialLR(o, 60, power=2.0)),
        (lambda *a, **k: Poly(*a, **k, power=0.9), lambda o: lr_scheduler.PolynomialLR(o, 60, power=0.9)),
        (Cosine, lambda o: lr_scheduler.CosineAnnealingLR(o, 60)),
        (lambda *a, **k: Cosine(*a, **k, min_factor=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, 60, 0.1)),
        (lambda *a, **k: Step(*a, **k, step_size=3, gamma=0.5), lambda o: lr_scheduler.StepLR(o, 15, 0.5)),
        (
            lambda *a, **k: MultiStep(*a, **k, milestones=(8, 3), gamma=0.5),
            lambda o: lr_scheduler.MultiStepLR(o, [15, 40], 0.5),
        ),
        (lambda *a, **k: Exponential(*a, **k, gamma=0.8), lambda o: lr_scheduler.ExponentialLR(o, 0.8 ** (1 / 5))),
        (
            lambda *a, **k: CosineRestarts(*a, **k, t_0=2, min_factor=0.1),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, eta_min=0.1),
        ),
        (
            lambda *a, **k: CosineRestarts(*a, **k, t_0=1.4, t_mult=2),
            lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 7, T_mult=2),
        ),
    ],
)
def test_without_warmup_it_is_torchs_at_every_step(ours, theirs):
    expected, _ = torch_run(theirs, 60)
    assert values(ours(60, 5, warmup_epochs=0), 60) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("num_steps", [1, 2, 7, 60])
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"pct_start": 0.45},
        {"div_factor": 4.0, "final_div_factor": 10.0},
        {"three_phase": True},
        {"anneal": "linear", "three_phase": True, "pct_start": 0.4, "base_momentum": 0.5},
    ],
)
def test_one_cycle_is_torchs_at_every_step(num_steps, parameters):
    ours = OneCycle(num_steps, **parameters)
    theirs = {key: value for key, value in parameters.items() if key != "anneal"}
    theirs["anneal_strategy"] = "linear" if "anneal" in parameters else "cos"
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0, momentum=0.5)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 1.0, total_steps=num_steps, **theirs)
    for step in range(num_steps):
        group = optimizer.param_groups[0]
        assert (ours(step), ours.momentum(step)) == pytest.approx((group["lr"], group["momentum"])), step
        optimizer.step()
        if step + 1 < num_steps:
            scheduler.step()


@pytest.mark.parametrize("mode", ["triangular", "triangular2", "exp_range"])
@pytest.mark.parametrize("down", [None, 1.4])
def test_cyclic_is_torchs_at_every_step(mode, down):
    ours = Cyclic(60, 5, up_epochs=1.8, down_epochs=down, mode=mode, gamma=0.9, min_factor=0.1)

    def theirs(optimizer):
        down_steps = None if down is None else 7
        gamma = 0.9 ** (1 / 5)
        return lr_scheduler.CyclicLR(optimizer, 0.1, 1.0, 9, down_steps, mode=mode, gamma=gamma)

    rates, momentum = torch_run(theirs, 60)
    assert values(ours, 60) == pytest.approx(rates)
    assert [ours.momentum(step) for step in range(60)] == pytest.approx(momentum)


def test_the_momentum_is_left_alone_if_so_asked():
    assert OneCycle(60, cycle_momentum=False).momentum(3) is None
    assert Cyclic(60, 5, cycle_momentum=False).momentum(3) is None


def test_three_phases_have_to_fit():
    assert OneCycle(60, three_phase=True, pct_start=0.5)(29) == 1
    with pytest.raises(ValueError, match=r"^rising and falling back take 2 x pct_start of the run, got 0.6$"):
        OneCycle(60, three_phase=True, pct_start=0.6)


def test_cycles_that_never_end_are_found_at_once():
    late = CosineRestarts(10**9, 1000, t_0=1, t_mult=1, warmup_epochs=0)
    assert late(10**9 - 1000) == 1
    assert late(10**9 - 500) == pytest.approx(0.5)


def test_linear_warmup_rises_to_what_follows():
    factors = values(Constant(20, 2, warmup_epochs=2), 20)
    assert factors == pytest.approx([0.2, 0.4, 0.6, 0.8] + [1.0] * 16)
    factors = values(Cosine(20, 2, warmup_epochs=2), 20)
    assert factors[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert factors[12] == pytest.approx((1 + math.cos(math.pi / 2)) / 2)


def test_warmup_is_a_twentieth_of_the_run_when_nothing_is_said():
    assert values(Constant(100, 10), 7) == [1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1, 1]
    assert values(Constant(10, 10), 2) == [1, 1]


def test_warmup_counts_epochs_or_steps():
    assert values(Constant(20, 2, warmup_steps=3), 5) == [0.25, 0.5, 0.75, 1, 1]
    assert values(Constant(20, 2, warmup_epochs=1.5), 5) == [0.25, 0.5, 0.75, 1, 1]
    assert values(Constant(20, 2, warmup_steps=0), 2) == [1, 1]


@pytest.mark.parametrize("start", [0.25, 0.9])
def test_warmups_are_torchs_at_every_step(start):
    linear, _ = torch_run(lambda o: lr_scheduler.LinearLR(o, start, total_iters=6), 10)
    assert values(Constant(10, 1, warmup_steps=6, warmup_start_factor=start), 10) == pytest.approx(linear)
    constant, _ = torch_run(lambda o: lr_scheduler.ConstantLR(o, start, total_iters=6), 10)
    given = {"warmup_steps": 6, "warmup": "constant"}
    assert values(Constant(10, 1, **given, warmup_start_factor=start), 10) == pytest.approx(constant)
    default, _ = torch_run(lambda o: lr_scheduler.ConstantLR(o, total_iters=6), 10)
    assert values(Constant(10, 1, **given), 10) == pytest.approx(default)


def test_an_exponential_warmup_grows_by_the_same_factor_at_each_step():
    schedule = Constant(10, 1, warmup="exponential", warmup_steps=4, warmup_start_factor=1 / 16)
    assert values(schedule, 6) == pytest.approx([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1])
    assert Constant(10, 1, warmup="exponential", warmup_steps=4)(0) == pytest.approx(1 / 5)


def test_a_warmup_multiplies_what_the_schedule_says():
    schedule = Step(20, 2, step_size=1, gamma=0.5, warmup_steps=4, warmup="constant")
    assert values(schedule, 6) == pytest.approx([1 / 3, 1 / 3, 1 / 6, 1 / 6, 1 / 4, 1 / 4])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"warmup_epochs": 1, "warmup_steps": 5}, "give warmup_epochs or warmup_steps, not both, got 1 and 5"),
        ({"warmup_epochs": 3}, "warmup_epochs is 3, but the whole run has 3 epochs"),
        ({"warmup_steps": 20}, "warmup_steps is 20, but the whole run has 18 steps"),
    ],
)
def test_a_warmup_has_to_fit_into_the_run(tiny, given, message):
    tiny["data"]["batch_size"] = 4
    tiny["scheduler"] = given
    with pytest.raises(SpecError) as caught:
        clscli.train(tiny, out="run", device="cpu")
    assert caught.value.problems == [f"spec: scheduler: scheduler 'cosine': {message}"]
    assert not Path("run").exists()


class StopIn(Observer):
    """Stop a run after the first batch of one of its epochs."""

    def __init__(self, epoch):
        self.name, self.current = f"epoch {epoch}/", ""

    def begin(self, what, total, unit="images"):
        self.current = what

    def tick(self, amount):
        if amount and self.current.startswith(self.name):
            raise Interrupted("test")


def two_groups(kind, **parameters):
    optimizer = kind([{"params": [nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (1.0, 0.5)], **parameters)
    for group in optimizer.param_groups:
        group["initial_lr"] = group["lr"]
    return optimizer


def test_a_schedule_moves_the_rates_of_all_groups():
    optimizer = two_groups(torch.optim.SGD, momentum=0.9)
    for step, factor in ((3, 0.25), (1, 0.75)):
        apply_schedule(lambda step: 1 - step / 4, optimizer, step)
        assert [group["lr"] for group in optimizer.param_groups] == [factor, factor / 2]
        assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.9]


def test_a_schedule_moves_the_momentum_or_the_first_beta():
    sgd, adam = two_groups(torch.optim.SGD), two_groups(torch.optim.Adam, betas=(0.5, 0.99))
    for optimizer in (sgd, adam):
        apply_schedule(OneCycle(10), optimizer, 0)
    assert [group["momentum"] for group in sgd.param_groups] == [0.95, 0.95]
    assert [group["betas"] for group in adam.param_groups] == [(0.95, 0.99), (0.95, 0.99)]


def test_a_run_follows_the_momentum(tiny):
    tiny["scheduler"] = {"type": "one_cycle"}
    clscli.train(tiny, out="run", device="cpu")
    groups = load_checkpoint("run/last.pth").training["optimizer"]["param_groups"]
    assert [group["betas"][0] for group in groups] == pytest.approx([0.95] * len(groups))  # of the last step
    assert [group["lr"] for group in groups] == pytest.approx([0.01 / 25 / 1e4] * len(groups))


def test_an_optimizer_without_momentum_is_refused_before_the_run(tiny, plugin):
    plugin("optimizers", plain="plainly:plain", plainly="""
        import torch

        def plain(params, *, lr: float = 0.1):
            return torch.optim.Adagrad(params, lr=lr)
        """)  # fmt: skip
    tiny |= {"optimizer": {"type": "extra:plain"}, "scheduler": {"type": "cyclic"}}
    with pytest.raises(SpecError) as caught:
        clscli.train(tiny, out="run", device="cpu")
    assert caught.value.problems == [
        "spec: scheduler: scheduler 'cyclic' moves the momentum, but optimizer 'extra:plain' has none "
        "-- set cycle_momentum = false"
    ]
    tiny["scheduler"]["cycle_momentum"] = False
    assert clscli.train(tiny, out="run", device="cpu").last["epoch"] == 3


def test_plateau_is_torchs_for_the_metric_that_it_monitors():
    losses = [3.0, 2.0, 2.1, 2.0, 2.5, 2.4, 2.3, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
    parameters = {"factor": 0.5, "patience": 1, "cooldown": 1, "threshold": 0.01, "threshold_mode": "abs"}
    schedule = ReduceOnPlateau(99, 9, monitor="loss", warmup_steps=0, min_factor=0.2, **parameters)
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    theirs = lr_scheduler.ReduceLROnPlateau(optimizer, **parameters, min_lr=0.2)
    found = []
    for loss in losses:
        schedule.observe({"loss": loss, "top1": 0.5})
        theirs.step(loss)
        found.append(schedule(0))
        assert found[-1] == optimizer.param_groups[0]["lr"]
    assert found == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.2, 0.2, 0.2, 0.2, 0.2]


def test_plateau_takes_a_rising_accuracy_for_better():
    schedule = ReduceOnPlateau(99, 9, warmup_steps=0, patience=0)
    factors = []
    for top1 in (0.1, 0.2, 0.3, 0.3, 0.4):
        schedule.observe({"top1": top1})
        factors.append(schedule(50))
    assert factors == pytest.approx([1, 1, 1, 0.1, 0.1])


def test_plateau_goes_on_where_it_was_saved():
    one = ReduceOnPlateau(99, 9, warmup_steps=0, patience=2, cooldown=1, factor=0.5)
    seen = [0.5, 0.4, 0.4, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.5, 0.5]
    for split in range(len(seen)):
        one = ReduceOnPlateau(99, 9, warmup_steps=0, patience=2, cooldown=1, factor=0.5)
        two = ReduceOnPlateau(99, 9, warmup_steps=0, patience=2, cooldown=1, factor=0.5)
        for value in seen[:split]:
            one.observe({"top1": value})
        two.load_state_dict(one.state_dict())
        for value in seen[split:]:
            one.observe({"top1": value})
            two.observe({"top1": value})
            assert two.state_dict() == one.state_dict()
    assert one(0) == 0.25


def test_only_a_plateau_observes():
    assert isinstance(ReduceOnPlateau(10, 1), Observing)
    assert not isinstance(Cosine(10, 1), Observing)


@pytest.mark.parametrize(("val_every_steps", "factor", "last"), [(None, 0.5, 0.25), (2, 0.25, 0.125)])
def test_a_stopped_run_with_a_plateau_ends_like_one_that_never_stopped(tiny, val_every_steps, factor, last):
    """No gain is enough, so that the rate falls after every second validation but the first."""
    plateau = {"type": "reduce_on_plateau", "patience": 1, "factor": 0.5, "warmup_steps": 0}
    tiny["scheduler"] = plateau | {"threshold": 0.99, "threshold_mode": "abs"}
    tiny["train"]["epochs"] = 6
    if val_every_steps is not None:
        tiny["train"]["val_every_steps"] = val_every_steps
    straight = clscli.train(tiny, out="straight", device="cpu")
    assert straight.last["lr"] == 0.01 * last
    with pytest.raises(Interrupted):
        clscli.train(tiny, out="stopped", device="cpu", observer=StopIn(epoch=5))
    saved = load_checkpoint("stopped/last.pth").training
    assert (saved["progress"]["epoch"], saved["progress"]["batch"]) == (4, 1)
    assert saved["schedule"]["factor"] == factor
    clscli.resume("stopped", device="cpu")
    one, two = (load_checkpoint(f"{name}/last.pth") for name in ("straight", "stopped"))
    assert one.training["schedule"] == two.training["schedule"]
    assert all(torch.equal(one.weights[name], two.weights[name]) for name in one.weights)
