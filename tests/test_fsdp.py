"""Processes that divide one model between them train as one does, and leave checkpoints that are whole."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import draw_folder
from test_distributed import ENVIRONMENT, SCRIPT, assert_alike, plain_spec, variant
from torch import nn
from torch.distributed.fsdp import FSDPModule

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.distributed import World, own_part, whole
from clscli.engine.groups import build_optimizer
from clscli.engine.hooks import Hooks
from clscli.engine.memory import settle_batch_size
from clscli.engine.prepare import prepare
from clscli.engine.sharding import Sharding, check_plan, units_of
from clscli.errors import ClscliError, Interrupted
from clscli.models.classifier import Classifier, Normalize
from clscli.observer import Observer
from clscli.spec import check_structure, read_training_draft, resolve

CPU = torch.device("cpu")
needs_cpu_fsdp = pytest.mark.skipif(
    not hasattr(FSDPModule, "set_force_sum_reduction_for_comms"), reason="of torch 2.8 and newer on the CPU"
)

# Begin some runs and stop them in their first epoch, then go on with others.
STOPPING = """
import json, os, signal, sys, clscli
from clscli.observer import Observer
from clscli.errors import EndedElsewhere, Interrupted

class Stop(Observer):
    def tick(self, amount):
        if amount:
            os.kill(os.getpid(), signal.SIGINT)

work = json.load(open(sys.argv[1]))
for name, spec in work["begin"].items():
    try:
        clscli.train(spec, out=name, device="cpu", observer=Stop())
    except (EndedElsewhere, Interrupted):
        signal.signal(signal.SIGINT, signal.default_int_handler)
for name in work["resume"]:
    clscli.resume(name, device="cpu")
"""

VARIANTS = {
    "hooks": {"hooks": [{"type": "ema", "decay": 0.5}, {"type": "checkpoint", "every_steps": 1}]},
    "groups": {
        "optimizer": {"type": "lamb", "lr": 0.01},
        "train": {"freeze_epochs": 1, "accumulation_steps": 2, "clip_grad_norm": 0.5, "clip_grad_value": 0.1},
    },
    "lars": {"optimizer": {"type": "lars", "lr": 0.1}},
    "transformer": {
        "model": {
            "backbone": {
                "type": "vit_b_16",
                "image_size": 32,
                "num_layers": 2,
                "num_heads": 2,
                "hidden_dim": 8,
                "mlp_dim": 16,
                "gradient_checkpointing": True,
            },
            "head": {"type": "linear"},
        },
        # Not adamw: of the bias of keys the gradient is zero but for rounding, which that would blow up.
        "optimizer": {"type": "sgd", "lr": 0.01},
    },
}


def fsdp_spec(folder, changes=None):
    return variant(variant(plain_spec(folder), {"train": {"strategy": "fsdp"}}), changes or {})


def launch(script, argument):
    """Run a script in two processes."""
    Path("script.py").write_text(script)
    Path("argument.json").write_text(json.dumps(argument))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = [*launcher, "script.py", "argument.json"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def with_batch(spec, batch_size):
    return variant(spec, {"data": {"batch_size": batch_size}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_folder(tmp_path_factory.mktemp("fsdp") / "pictures", {"train": 11, "val": 6})


@pytest.fixture(scope="module")
def both(folder, tmp_path_factory):
    """Runs of all variants in one process and in two; returns their directory."""
    home = tmp_path_factory.mktemp("both")
    specs = {name: fsdp_spec(folder, changes) for name, changes in VARIANTS.items()}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        for name, spec in specs.items():
            clscli.train(with_batch(spec, 10), out=f"one-{name}", device="cpu")
        launch(SCRIPT, {f"two-{name}": spec for name, spec in specs.items()})
    return home


@needs_cpu_fsdp
@pytest.mark.slow
@pytest.mark.parametrize("name", VARIANTS)
def test_two_processes_with_a_part_each_train_like_one_with_the_whole(both, name):
    assert_alike(both / f"one-{name}", both / f"two-{name}")


@needs_cpu_fsdp
@pytest.mark.slow
@pytest.mark.parametrize("name", ["last.pth", "best.pth"])
def test_a_checkpoint_is_as_that_of_one_process(both, name):
    ours = torch.load(both / "two-hooks" / name, weights_only=True)
    theirs = torch.load(both / "one-hooks" / name, weights_only=True)
    assert layout(ours["weights"]) == layout(theirs["weights"])
    if name == "last.pth":
        for key in ("optimizer", "hooks"):
            assert layout(ours["training"][key]) == layout(theirs["training"][key])


def layout(value):
    """Put types and shapes in the place of tensors."""
    if isinstance(value, dict):
        return {key: layout(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [layout(inner) for inner in value]
    return (
        (type(value), value.dtype, value.shape, value.device) if isinstance(value, torch.Tensor) else type(value)
    )


@needs_cpu_fsdp
@pytest.mark.slow
def test_one_process_evaluates_and_the_log_says_what_each_keeps(both, folder):
    evaluation = clscli.evaluate(both / "two-hooks" / "best.pth", device="cpu")
    best = load_checkpoint(both / "two-hooks" / "best.pth").metrics
    assert (evaluation.top1, evaluation.samples) == (best["top1"], 12)
    assert evaluation.loss == pytest.approx(best["loss"], rel=1e-6)
    assert "each process keeps 1/2 of the weights (FSDP)" in (both / "two-hooks" / "train.log").read_text()
    assert (both / "one-hooks" / "train.log").read_text().count(
        'note: train.strategy = "fsdp" divides a model between processes, and this is one'
    ) == 1


@needs_cpu_fsdp
@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_processes(folder):
    spec = with_batch(fsdp_spec(folder, {"hooks": [{"type": "ema", "decay": 0.5}]}), 10)
    clscli.train(spec, out="straight", device="cpu")

    class Stop(Observer):
        def tick(self, amount):
            if amount:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        clscli.train(spec, out="begun-by-one", device="cpu", observer=Stop())
    assert load_checkpoint("begun-by-one/last.pth").training["progress"]["batch"] == 1
    begun = dict.fromkeys(["begun-by-two", "two-all-along"], with_batch(spec, 5))
    launch(STOPPING, {"begin": begun, "resume": ["begun-by-one", "two-all-along"]})
    assert load_checkpoint("begun-by-two/last.pth").training["progress"]["batch"] == 1
    clscli.resume("begun-by-two", device="cpu")
    for name in ("begun-by-one", "begun-by-two", "two-all-along"):
        assert_alike("straight", name)


# Take a step; count the numbers in weights, gradients and the optimizer's state, and those that a process has.
MEASURING = """
import json, sys
from clscli.engine.distributed import join, own_part
from clscli.engine.prepare import prepare
from clscli.engine.session import new_session
from clscli.engine.step import train_step
from clscli.spec import check_structure, read_training_draft, resolve

draft = read_training_draft(json.load(open(sys.argv[1])))
with join("cpu") as (world, device):
    s = new_session(prepare(resolve(draft, check_structure(draft))), device, world=world)
    s.start_training()
    train_step(s, [next(iter(s.train.epoch(0)))])
    weights = list(s.model.parameters())
    state = [value for values in s.optimizer.state.values() for value in values.values() if value.ndim]
    kinds = weights, [weight.grad for weight in weights], state
    own = [sum(own_part(tensor).numel() for tensor in tensors) for tensors in kinds]
    there_are = [sum(tensor.numel() for tensor in tensors) for tensors in kinds]
    found = {"own": world.gather(own), "there_are": there_are}
    if world.is_main:
        json.dump(found, open("found.json", "w"))
    s.train.close()
    s.val.close()
"""


@needs_cpu_fsdp
@pytest.mark.slow
def test_each_process_keeps_half_of_everything(folder):
    launch(MEASURING, fsdp_spec(folder))
    found = json.loads(Path("found.json").read_text())
    weights = sum(tensor.numel() for tensor in planned(plain_spec(folder)).model.parameters())
    assert found["there_are"] == [weights, weights, 2 * weights]  # adamw keeps two numbers for each
    assert found["own"] == [[weights // 2, weights // 2, weights]] * 2


def planned(spec):
    draft = read_training_draft(spec)
    return prepare(resolve(draft, check_structure(draft)))


def refusal(spec, model=None):
    """Return what is said before anything is divided, which takes no second process."""
    plan, world = planned(spec), World(rank=0, size=2)
    if model is not None:
        plan = dataclasses.replace(plan, model=model)
    hooks = Hooks.of([(bound, plan.spec.construct(bound)) for bound in plan.spec.many("hooks")])
    try:
        check_plan(plan, CPU)
        Sharding(plan, world, CPU, mesh=None).check(build_optimizer(plan.spec, plan.model), hooks)
    except ClscliError as error:
        return str(error)
    return "not refused"


@needs_cpu_fsdp
def test_what_cannot_be_divided_is_refused_in_words(folder):
    divides = 'which train.strategy = "fsdp" divides'
    for optimizer in ("muon", "adafactor"):
        assert refusal(fsdp_spec(folder, {"optimizer": {"type": optimizer}})) == (
            f"spec: optimizer.type: optimizer '{optimizer}' needs whole matrices, {divides} -- write \"ddp\""
        )
    assert refusal(fsdp_spec(folder, {"hooks": [{"type": "model_average"}]})) == (
        f"spec: hooks.0: hook 'model_average' needs a whole model, {divides} -- remove it"
    )
    assert refusal(fsdp_spec(folder, {"train": {"compile": True}})) == (
        'spec: train.compile: a model that train.strategy = "fsdp" divides is not compiled -- write false'
    )
    model = planned(plain_spec(folder)).model
    model.head.scale = nn.Parameter(torch.tensor(1.0))
    assert refusal(fsdp_spec(folder), model) == (
        'train.strategy: head.scale is a number without dimensions, which "fsdp" cannot divide -- write "ddp"'
    )


def test_an_old_torch_is_refused_in_words(folder, monkeypatch):
    monkeypatch.delattr(FSDPModule, "set_force_sum_reduction_for_comms", raising=False)
    assert refusal(fsdp_spec(folder)) == (
        f'spec: train.strategy: "fsdp" takes torch 2.8 or newer on the CPU, and this is {torch.__version__} '
        '-- write "ddp"'
    )


def test_auto_batch_size_is_refused_in_words(folder):
    plan = planned(fsdp_spec(folder, {"data": {"batch_size": "auto"}}))
    with pytest.raises(ClscliError) as raised:
        settle_batch_size(plan, CPU, Several())
    assert str(raised.value) == (
        'spec: data.batch_size: "auto" tries the whole model on one device, which train.strategy = "fsdp" avoids '
        "-- write a number"
    )


class Several(World):
    """Says that there are two processes, without a second one."""

    def __init__(self):
        super().__init__(size=2)

    def gather(self, value):
        return [value, False]


def names_of_units(model, image_shape):
    names = {module: name for name, module in model.named_modules()}
    return [[names[module] for module in unit] for unit in units_of(model, image_shape)]


def test_blocks_are_gathered_one_at_a_time(folder):
    def found(backbone):
        plan = planned(variant(plain_spec(folder), {"model": {"backbone": backbone, "head": {"type": "linear"}}}))
        return names_of_units(plan.model, plan.blueprint.image_shape)

    blocks = [[f"backbone.layer{stage}.{block}"] for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert found({"type": "resnet18", "base_channels": 4}) == [["backbone.conv1", "backbone.bn1"], *blocks]
    assert found(VARIANTS["transformer"]["model"]["backbone"]) == [
        ["backbone.conv_proj"],
        ["backbone.encoder.layers.encoder_layer_0"],
        ["backbone.encoder.layers.encoder_layer_1"],
        ["backbone.encoder.ln"],
    ]


class Plain(nn.Module):
    """A backbone that lists no blocks, and does not call all that it has just once."""

    out_channels = 4

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        self.act = nn.ReLU()
        self.blocks = nn.ModuleList(nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1)), nn.ReLU()) for _ in range(2))
        self.twice = nn.Sequential(nn.Sequential(nn.Conv2d(4, 4, 1)))
        self.used = nn.Sequential(nn.Sequential(nn.Linear(4, 4)))

    def forward(self, images):
        features = self.act(self.stem(images))
        for block in self.blocks:
            features = block(features)
        features = self.twice(self.twice(features)) * self.used[0][0].weight.sum()
        return features.mean((2, 3))


def test_only_what_is_called_once_is_gathered_by_its_call():
    model = Classifier(Normalize([0.0], [1.0]), Plain(), [], nn.Linear(4, 2))
    assert names_of_units(model, (3, 8, 8)) == [
        ["backbone.stem"],
        ["backbone.blocks.0.0"],
        ["backbone.blocks.1.0"],
    ]


def test_alone_a_tensor_is_whole():
    tensor = torch.ones(2)
    assert own_part(tensor) is tensor
    assert whole(tensor) is tensor
