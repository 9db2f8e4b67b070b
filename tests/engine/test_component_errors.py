"""What a component raises in the middle of a run is told under its name."""

import subprocess
import sys
from pathlib import Path

import pytest

import clscli
from clscli.errors import PluginError, SpecError, TrainingError
from clscli.models.losses.cross_entropy import CrossEntropy
from clscli.spec import render_spec

# Each of these fails in the fourth step of a run of three an epoch.
BROKEN = """
import torch
from torch import nn

def late(step):
    if step == 3:
        raise KeyError("no fourth")

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.calls = 0
    def count(self):
        self.calls += self.training
        late(self.calls - 1)

class Backbone(Counting):
    out_channels = 4
    def __init__(self, in_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
    def forward(self, images):
        self.count()
        return self.conv(images)

class Neck(Counting):
    def __init__(self, in_channels: int):
        super().__init__()
        self.out_channels = in_channels
    def forward(self, outputs):
        self.count()
        return outputs.mean((2, 3)) if outputs.ndim == 4 else outputs

class Head(Counting):
    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)
    def forward(self, outputs):
        return self.fc(outputs)
    def loss(self, outputs, target, criterion):
        self.count()
        return criterion(outputs, target)

def loss():
    calls = iter(range(99))
    def compute(logits, target):
        if logits.requires_grad:
            late(next(calls))
        return nn.functional.cross_entropy(logits, target)
    return compute

class Backward(torch.autograd.Function):
    calls = 0
    @staticmethod
    def forward(ctx, logits):
        return logits * 1
    @staticmethod
    def backward(ctx, gradient):
        Backward.calls += 1
        late(Backward.calls - 1)
        return gradient

def backward_loss():
    Backward.calls = 0
    return lambda logits, target: nn.functional.cross_entropy(Backward.apply(logits), target)

class Optimizer(torch.optim.SGD):
    def __init__(self, params, *, lr: float):
        super().__init__(params, lr)
        self.calls = 0
    def step(self, closure=None):
        late(self.calls)
        self.calls += 1
        return super().step(closure)

def schedule():
    def factor(step):
        late(step)
        return 1.0
    return factor

class Mix:
    p = 1.0
    def __init__(self, num_classes: int):
        self.num_classes = num_classes
        self.calls = -1  # one is a trial
    def __call__(self, images, targets):
        late(self.calls)
        self.calls += 1
        return images, nn.functional.one_hot(targets, self.num_classes).float()
"""

PLACES = {
    "backbones": ("model.backbone", "Backbone"),
    "necks": ("model.neck", "Neck"),
    "heads": ("model.head", "Head"),
    "losses": ("model.loss", "loss"),
    "optimizers": ("optimizer", "Optimizer"),
    "schedulers": ("scheduler", "schedule"),
    "batch_transforms": ("transforms.batch", "Mix"),
}
SINGULAR = {"losses": "loss", "batch_transforms": "batch transform"}


def run(spec, **kwargs):
    return clscli.train(spec, out="run", device="cpu", **kwargs)


def with_broken(spec, kind):
    *tables, key = PLACES[kind][0].split(".")
    for table in tables:
        spec = spec[table]
    if kind == "batch_transforms":
        spec[key] = [{"type": "odd"}]
    else:
        spec[key] = {"type": "odd", **({"lr": 0.1} if kind == "optimizers" else {})}


@pytest.mark.parametrize("kind", PLACES)
def test_a_component_that_fails_in_a_run_is_named(tiny, plugin, kind):
    plugin(kind, odd=f"late_failures:{PLACES[kind][1]}", late_failures=BROKEN)
    with_broken(tiny, kind)
    with pytest.raises(PluginError) as info:
        run(tiny)
    assert str(info.value) == (
        f"extra 1.0 ({SINGULAR.get(kind, kind[:-1])} 'odd') failed in epoch 2, after 3 steps: "
        "KeyError: 'no fourth' -- the last checkpoint is run/last.pth"
    )
    assert isinstance(info.value.__cause__, KeyError)


def test_a_backward_pass_that_fails_is_its_module_s(tiny, plugin):
    plugin("losses", odd="late_failures:backward_loss", late_failures=BROKEN)
    tiny["model"]["loss"] = [{"type": "cross_entropy"}, {"type": "odd"}]
    with pytest.raises(PluginError, match=r"^extra 1\.0 \(loss 'odd'\) failed in epoch 2, after 3 steps"):
        run(tiny)


VALIDATING = """
from torch import nn

class Head(nn.Module):
    def __init__(self, in_channels: int, num_classes: int):
        super().__init__()
        self.fc = nn.Linear(in_channels, num_classes)
    def forward(self, outputs):
        if not self.training and len(outputs) > 2:
            raise RuntimeError("not so many")
        return self.fc(outputs)
"""


@pytest.mark.parametrize("hooks", [[], [{"type": "ema"}]])
def test_one_that_fails_in_a_validation_is_named_also_in_a_copy(clscli, tiny, tmp_path, plugin, hooks):
    plugin("heads", odd="validating:Head", validating=VALIDATING)
    tiny["model"]["head"] = {"type": "odd"}
    (tmp_path / "odd.toml").write_text(render_spec({**tiny, "hooks": hooks}))
    done = clscli("train", "odd.toml", "--device", "cpu", "--out", "run")
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        "extra 1.0 (head 'odd') failed in epoch 1, after 3 steps: RuntimeError: not so many "
        "-- nothing was saved yet"
    )
    assert "Traceback" not in done.err


def test_one_that_fails_in_the_trial_of_precisions_is_named(tiny, plugin, monkeypatch):
    plugin("backbones", odd="late_failures:Backbone", late_failures=BROKEN.replace("step == 3", "step == 0"))
    tiny["model"]["backbone"] = {"type": "odd"}
    tiny["train"]["precision"] = "auto"
    with pytest.raises(PluginError) as info:
        run(tiny)
    assert str(info.value) == (
        "extra 1.0 (backbone 'odd') failed in a trial step, before the run: KeyError: 'no fourth'"
    )


def test_a_built_in_component_that_refuses_is_an_error_of_the_run(tiny, monkeypatch):
    def refuse(self, logits, target):
        if len(logits) > 2:  # a batch of the run, not the two samples that it is tried with before
            raise ValueError("no such targets")
        return logits.sum()

    monkeypatch.setattr(CrossEntropy, "forward", refuse)
    with pytest.raises(TrainingError) as info:
        run(tiny)
    assert str(info.value) == (
        "loss 'cross_entropy' failed in epoch 1, after 0 steps: ValueError: no such targets "
        "-- nothing was saved yet"
    )


def test_a_mistake_in_a_built_in_component_keeps_its_traceback(tiny, monkeypatch):
    def break_down(self, logits, target):
        return logits.sum() if len(logits) == 2 else logits.no_such_attribute

    monkeypatch.setattr(CrossEntropy, "forward", break_down)
    with pytest.raises(AttributeError, match="no_such_attribute"):
        run(tiny)


def test_an_exception_from_nowhere_near_a_component_keeps_its_traceback(tiny, monkeypatch):
    monkeypatch.setattr("clscli.engine.loop.train_step", lambda *_: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        run(tiny)


@pytest.mark.slow
@pytest.mark.parametrize("ranks", [(1,), (0, 1)])
def test_of_several_processes_one_says_what_failed(tiny, tmp_path, plugin, monkeypatch, ranks):
    source = BROKEN.replace("step == 3", f"step == 3 and int(__import__('os').environ.get('RANK', 0)) in {ranks}")
    plugin("losses", odd="late_failures:loss", late_failures=source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"), prepend=":")
    tiny["model"] |= {"loss": {"type": "odd"}}
    (tmp_path / "odd.toml").write_text(render_spec(tiny))
    command = [sys.executable, "-m", "clscli", "train", "odd.toml", "--device", "cpu", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if "fail" in line or "ended" in line]
    assert said == [
        "extra 1.0 (loss 'odd') failed in epoch 2, after 3 steps: KeyError: 'no fourth' "
        "-- the last checkpoint is runs/odd/last.pth"
    ]


UNUSABLE = """
def frozen():
    return lambda logits, target: logits.detach().sum()

class NoOptimizer:
    def __init__(self, params, *, lr: float): pass

class Misnamed:
    def on_epoch_ends(self, state): pass

class Idle: ...
"""


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        ("losses", "frozen",
         "loss 'odd') breaks its contract: the logits must get a gradient from it, and get none"),
        ("optimizers", "NoOptimizer",
         "optimizer 'odd') breaks its contract: it must be a torch.optim.Optimizer, not NoOptimizer"),
        ("hooks", "Misnamed",
         "hook 'odd') breaks its contract: nothing ever calls on_epoch_ends -- did you mean 'on_epoch_end'?"),
        ("hooks", "Idle",
         "hook 'odd') breaks its contract: it has no event -- give it one of on_run_start, on_epoch_start, "
         "on_step_end, on_validation_end, on_epoch_end, on_run_end"),
    ],
)  # fmt: skip
def test_what_could_never_work_is_refused_before_there_is_a_run(tiny, plugin, kind, value, message):
    plugin(kind, odd=f"unusable:{value}", unusable=UNUSABLE)
    if kind == "hooks":
        tiny["hooks"] = [{"type": "odd"}]
    else:
        with_broken(tiny, kind)
    with pytest.raises(PluginError) as info:
        run(tiny)
    assert str(info.value) == f"extra 1.0 ({message}"
    assert not Path("run").exists()


TIRED = """
from pathlib import Path
from torch import nn

class Backbone(nn.Module):
    out_channels = 4
    def __init__(self, in_channels: int):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3)
    def forward(self, images):
        if Path("tired").exists():
            raise KeyError("no more")
        return self.conv(images)
"""


@pytest.mark.parametrize(
    ("use", "when"),
    [
        (lambda ckpt, pictures: clscli.evaluate(ckpt, device="cpu"), "in an evaluation"),
        (lambda ckpt, pictures: clscli.predict(next(pictures.rglob("*.png")), ckpt=ckpt), "in a prediction"),
    ],
)
def test_a_component_that_fails_when_a_model_is_used_is_named(tiny, plugin, pictures, use, when):
    plugin("backbones", odd="tired_nets:Backbone", tired_nets=TIRED)
    tiny["model"]["backbone"] = {"type": "odd"}
    checkpoint = run(tiny).checkpoint
    Path("tired").touch()
    with pytest.raises(PluginError) as info:
        use(checkpoint, pictures)
    assert str(info.value) == f"extra 1.0 (backbone 'odd') failed {when}: KeyError: 'no more'"


@pytest.mark.parametrize(
    ("factor", "told"), [("1 - 0.3 * step", "-0.2 at step 4"), ("float('nan')", "nan at step 0")]
)
def test_a_factor_that_is_no_number_from_0_on_is_refused_before_the_run(tiny, plugin, factor, told):
    plugin("schedulers", odd="odd_factors:make", odd_factors=f"def make():\n    return lambda step: {factor}")
    tiny["scheduler"] = {"type": "odd"}
    with pytest.raises(SpecError) as info:
        run(tiny)
    assert str(info.value) == (
        f"spec: scheduler: multiplies the learning rate by {told} -- a factor must be a number from 0 on"
    )
    assert not Path("run").exists()


def test_a_priority_that_is_no_number_is_refused_before_the_run(tiny, plugin):
    source = "class Hook:\n    priority = 'high'\n    def on_run_end(self, state): ..."
    plugin("hooks", odd="odd_hooks:Hook", odd_hooks=source)
    tiny["hooks"] = [{"type": "odd"}]
    with pytest.raises(PluginError) as info:
        run(tiny)
    assert str(info.value) == "extra 1.0 (hook 'odd') breaks its contract: priority must be an int, not 'high'"
