from __future__ import annotations

import copy
import random
from collections import Counter
from pathlib import Path

import pytest

from clscli.errors import ClscliError, PluginError, SpecError
from clscli.spec import check_structure, load_spec, read_draft, resolve
from clscli.spec.schema import PREDICTING, TrainTable

DATA = '[data]\nroot = "p"\n'
TABLES = "seed, data, transforms, model, optimizer, scheduler, train, hooks, extends, unset"


def problems(text, check=load_spec, **options):
    Path("spec.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        check("spec.toml", **options)
    return caught.value.problems


def structure(source, **options):
    check_structure(read_draft(source, **options))


# First phase: keys, types, names


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("sead = 1", "1: sead: unknown key 'sead' -- did you mean 'seed'?"),
        ("zzz = 1", f"1: zzz: unknown key 'zzz' -- there are: {TABLES}"),
        ("[zzz.a]\nx = 1", f"1: zzz: unknown key 'zzz' -- there are: {TABLES}"),
        ("[train]\nepoch = 1", "2: train.epoch: unknown key 'epoch' -- did you mean 'epochs'?"),
        ("[train]\nzzz = 1",
         f"2: train.zzz: unknown key 'zzz' -- there are: {', '.join(TrainTable.model_fields)}"),
        ("seed = '1'", '1: seed: must be an integer, got "1"'),
        ("seed = -1", "1: seed: must be at least 0, got -1"),
        ("seed = 2020-01-01", '1: seed: must be an integer, got "2020-01-01"'),
        ("data = 3", "1: data: must be a table, got 3"),
        ("data = []", "1: data: must be a table, got []"),
        ("model = 'resnet18'", '1: model: must be a table, got "resnet18"'),
        ("[[train]]\nepochs = 1", "1: train: must be a table, got [{ epochs = 1 }]"),
        ("[train]\nepochs = 0", "2: train.epochs: must be at least 1, got 0"),
        ("[train]\nprecision = 16", "2: train.precision: must be 'auto', 'float32', 'bfloat16' or 'float16', "
         "got 16"),
        ("[data]\nval_fraction = 1.0", "2: data.val_fraction: must be less than 1.0, got 1.0"),
        ("[data]\nnum_workers = {}", "2: data.num_workers: must be 'auto' or an integer, got {}"),
        ("[data]\nnum_workers = 'all'", "2: data.num_workers: must be 'auto' or an integer, got \"all\""),
        ("[model]\nneck = 3", "2: model.neck: must be a table or a list, got 3"),
        ("[model]\nneck = [3]", "2: model.neck.0: must be a table, got 3"),
        ("[model.head]\ntype = 3", "2: model.head.type: must be a string, got 3"),
        ("[model]\nneck = [{}]", "2: model.neck.0.type: is required"),
        ("[model]\nbackbone = 'resnet50'",
         "2: model.backbone: must be a table, got \"resnet50\" -- write model.backbone = { type = \"resnet50\" }"),
        ("[transforms]\ntrain = 'resize'",
         "2: transforms.train: must be a list, got \"resize\" -- "
         "write transforms.train = [{ type = \"resize\" }]"),
        ("[transforms]\ntrain = [\n  'resize']",
         "3: transforms.train.0: must be a table, got \"resize\" -- "
         "write transforms.train.0 = { type = \"resize\" }"),
        ("[transforms]\nnormalize = 'imagent'",
         "2: transforms.normalize: must be 'imagenet' or 'none' or a table, got \"imagent\""),
        ("[transforms]\nnormalize = { mean = [0.5] }", "2: transforms.normalize.std: is required"),
        ("[transforms]\nnormalize = { mean = [0.5], std = [0] }",
         "2: transforms.normalize.std.0: must be greater than 0.0, got 0"),
        ("[transforms]\nnormalize = { mean = [], std = [1] }",
         "2: transforms.normalize.mean: must have at least 1 elements, got []"),
        ("[model]\nloss = []", "2: model.loss: must be at least one loss, got []"),
        ("hooks = { type = 'early_stopping' }", '1: hooks: must be a list, got { type = "early_stopping" }'),
        ("[[hooks]]\ntype = 'early_stopping'\n[[hooks]]\ntype = 'nosuch:x'",
         "4: hooks.1.type: hook 'nosuch:x' needs the package 'nosuch', which is not installed -- "
         "pip install nosuch"),
    ],
)  # fmt: skip
def test_a_wrong_structure_is_told_where_it_is(text, problem):
    assert problems(text, check=structure) == [f"spec.toml:{problem}"]


@pytest.mark.parametrize(
    ("text", "beginning"),
    [
        ("extend = 'x'", "spec.toml:1: extend: unknown key 'extend' -- did you mean 'extends'"),
        (
            "[model.head]\ntype = 'linaer'",
            "spec.toml:2: model.head.type: unknown head 'linaer' -- did you mean 'linear'",
        ),
    ],
)
def test_near_names_begin_with_the_nearest(text, beginning):
    (problem,) = problems(text, check=structure)
    assert problem.startswith(beginning)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "spec.toml: data.root: is required -- write [data] root = \"photos\", or give --data photos"),
        ("\n[data]\n",
         "spec.toml:2: data.root: is required -- write [data] root = \"photos\", or give --data photos"),
        (DATA + "train = { type = 'folder' }",
         "spec.toml:2: data.root: stands for train, val and test -- give either root or these"),
        (DATA + "test = { type = 'folder' }",
         "spec.toml:2: data.root: stands for train, val and test -- give either root or these"),
    ],
)  # fmt: skip
def test_pictures_are_named_once(text, problem):
    assert problems(text, check=structure) == [problem]


def test_pictures_that_the_program_does_not_name():
    with pytest.raises(SpecError, match=r"^spec: data\.root: is required"):
        load_spec({})


def test_a_spec_with_ten_mistakes_has_ten_lines_in_the_order_of_the_file():
    text = """\
sead = 1
[data]
root = 3
batch_size = 0
[transforms]
train = [
    { type = "resize" },
    { type = "resise" },
    "flip",
]
[model]
backbone = { type = "resent18" }
neck = 4
[optimizer]
lr = 1
[train]
epochs = "5"
precision = "low"
[[hooks]]
typ = "early_stopping"
"""
    found = problems(text, check=structure)
    assert [line.split(": ")[:2] for line in found] == [
        ["spec.toml:1", "sead"],
        ["spec.toml:3", "data.root"],
        ["spec.toml:4", "data.batch_size"],
        ["spec.toml:8", "transforms.train.1.type"],
        ["spec.toml:9", "transforms.train.2"],
        ["spec.toml:12", "model.backbone.type"],
        ["spec.toml:13", "model.neck"],
        ["spec.toml:17", "train.epochs"],
        ["spec.toml:18", "train.precision"],
        ["spec.toml:19", "hooks.0.type"],
    ]


def test_problems_of_a_base_come_first_and_those_of_options_last():
    Path("base.toml").write_text('\n[model.head]\ntype = "linaer"\n')
    found = problems(
        'extends = "base.toml"\nseed = -1\n',
        check=structure,
        sets=["train.epochs=0", "data.batch_size=0"],
    )
    assert [line.split(": ")[0] for line in found] == [
        "base.toml:3 (extended by spec.toml:1)",
        "spec.toml:2",
        "--set train.epochs=0",
        "--set data.batch_size=0",
    ]


def test_elements_of_a_list_are_in_order_by_number():
    text = f"[transforms]\ntrain = [{', '.join(['3'] * 12)}]\n"
    assert [line.split(": ")[1] for line in problems(text, check=structure)] == [
        f"transforms.train.{i}" for i in range(12)
    ]


def test_the_first_phase_imports_no_component(packages):
    packages.install("broken", {"heads": {"mine": "nosuchmodule:X"}})
    structure({"data": {"root": "p"}, "model": {"head": {"type": "mine", "any": 3}}})


def test_what_is_not_needed_need_not_be_installed():
    source = {"data": {"root": "p"}, "model": {"loss": {"type": "nosuch:loss"}}, "hooks": [{"type": "nosuch:h"}]}
    draft = read_draft(source)
    spec = resolve(draft, check_structure(draft, PREDICTING), PREDICTING)
    assert spec.one("model", "head").component.name == "linear"
    assert ("model", "loss") not in spec.components
    with pytest.raises(SpecError) as caught:
        check_structure(draft)
    assert len(caught.value.problems) == 2


# Second phase: parameters


def test_all_problems_of_parameters_at_once():
    text = DATA + (
        "[model]\n"
        'backbone = { type = "resnet18", base_chanels = 3, in_channels = 3, pretrained = 1 }\n'
        'head = { type = "linear", dropout = 2 }\n'
        "[optimizer]\n"
        'lr = "fast"\n'
        "[[hooks]]\n"
        'type = "early_stopping"\n'
        "zzz = 1\n"
    )
    found = problems(text, sets=["scheduler.warmup_epochs=x"])
    assert found[:5] == [
        "spec.toml:4: model.backbone.base_chanels: backbone 'resnet18' has no parameter 'base_chanels' "
        "-- did you mean 'base_channels'?",
        "spec.toml:4: model.backbone.in_channels: is set by clscli from the data -- remove it",
        "spec.toml:4: model.backbone.pretrained: must be true, false or a string, got 1",
        "spec.toml:5: model.head.dropout: must be less than 1.0, got 2",
        'spec.toml:7: optimizer.lr: must be a number, got "fast"',
    ]
    assert found[5].startswith(
        "spec.toml:10: hooks.0.zzz: hook 'early_stopping' has no parameter 'zzz' -- there are: "
    )
    assert found[6].startswith("--set scheduler.warmup_epochs=x: scheduler.warmup_epochs: must be ")
    assert len(found) == 7


@pytest.mark.parametrize(
    ("init", "found"),
    [
        ('{ type = "kaimming" }', ["init.type: unknown initialisation 'kaimming' -- did you mean 'kaiming'?"]),
        ('{ type = "zzz" }',
         ["init.type: unknown initialisation 'zzz' -- "
          "there are: constant, kaiming, normal, trunc_normal, uniform, xavier"]),
        ('{ type = "kaiming", mod = "fan_in", distribution = "cauchy", bias = "x" }',
         ["init.bias: must be a number, got \"x\"",
          "init.distribution: must be 'normal' or 'uniform', got \"cauchy\"",
          "init.mod: initialisation 'kaiming' has no parameter 'mod' -- did you mean 'mode'?"]),
        ('{ type = "kaiming", layers = ["batch_norm"] }',
         ["init.layers.0: must be 'conv1d', 'conv2d', 'conv3d' or 'linear', got \"batch_norm\""]),
        ('[{ type = "normal", std = 0 }, { type = "constant", layers = [] }, { type = 3 }, {}]',
         ["init.0.std: must be greater than 0.0, got 0",
          "init.1.layers: must have at least 1 elements, got []",
          "init.1.value: is required",
          "init.2.type: must be a string, got 3",
          "init.3.type: is required -- there are: constant, kaiming, normal, trunc_normal, uniform, xavier"]),
        ('"kaiming"',
         ['init: must be a table or a list of tables such as { type = "kaiming" }, got "kaiming"']),
        ("[3]", ['init: must be a table or a list of tables such as { type = "kaiming" }, got [3]']),
    ],
)  # fmt: skip
@pytest.mark.parametrize("part", ["backbone", "head"])
def test_initialisations_are_checked_as_components_are(part, init, found):
    kind = {"backbone": "resnet18", "head": "linear"}[part]
    text = f'{DATA}[model.{part}]\ntype = "{kind}"\ninit = {init}\n'
    assert problems(text) == [f"spec.toml:5: model.{part}.{problem}" for problem in found]


def test_a_loss_has_no_initialisation():
    (problem,) = problems(DATA + '[model.loss]\ninit = { type = "normal" }\n')
    assert problem.startswith("spec.toml:4: model.loss.init: loss 'cross_entropy' has no parameter 'init' -- ")


def test_a_missing_parameter_is_told_at_its_table():
    assert problems("[data]\n\n[data.train]\ntype = 'folder'\n") == ["spec.toml:3: data.train.root: is required"]
    assert problems("", sets=["data.train.type=folder"]) == [
        "--set data.train.type=folder: data.train.root: is required"
    ]


def test_values_are_checked_and_converted_for_the_component():
    spec = load_spec({"data": {"root": "p"}, "optimizer": {"betas": [0, 0.5]}})
    bound = spec.one("optimizer")
    assert bound.kwargs == {"lr": 1e-3, "weight_decay": 0.05, "betas": (0.0, 0.5)}
    assert bound.label == "optimizer 'adamw'"
    assert bound.takes("params")
    assert not bound.takes("lr")


def test_many_components_in_one_slot():
    spec = load_spec({"data": {"root": "p"}})
    assert [b.component.name for b in spec.many("transforms", "eval")] == ["resize", "center_crop"]
    assert [b.component.name for b in spec.many("model", "neck")] == ["global_average_pooling"]
    assert spec.many("hooks") == []


# Components of others


PLUGIN = """
from typing import Annotated
from pydantic import Field
def mine(num_classes: int, *, sizes: tuple[float, ...] = (1, 2)): return num_classes, sizes
def rude(num_classes: int): raise RuntimeError("no\\n  way")
def picky(num_classes: int, share: float = 0.5): raise ValueError("share is too small")
def bare(x): ...
def liar(depth: int = "x"): ...
def limited(name: Annotated[str, Field(pattern="(")] = "a"): ...
def leaving(num_classes: int): raise SystemExit(5)
"""


@pytest.fixture
def heads(packages):
    """Install a package of heads; give back how to load a spec that uses one."""
    names = ("mine", "rude", "picky", "bare", "liar", "limited", "leaving")
    entries = {name: f"plugin_heads:{name}" for name in names} | {"gone": "nosuchmodule:X"}
    packages.install("other", {"heads": entries}, modules={"plugin_heads": PLUGIN})
    return lambda name: load_spec({"data": {"root": "p"}, "model": {"head": {"type": name}}})


def test_a_third_partys_component_is_stored_by_its_qualified_name(heads):
    spec = heads("mine")
    assert spec.values["model"]["head"] == {"type": "other:mine", "sizes": [1.0, 2.0]}
    assert heads("other:mine").values == spec.values
    assert spec.construct(spec.one("model", "head"), num_classes=3, in_channels=7) == (3, (1, 2))


def test_errors_of_a_component_are_told_as_whose_they_are(heads):
    spec = heads("picky")
    with pytest.raises(SpecError) as picky:
        spec.construct(spec.one("model", "head"), num_classes=3)
    assert str(picky.value) == "spec: model.head: head 'other:picky': share is too small"
    spec = heads("rude")
    with pytest.raises(PluginError) as rude:
        spec.construct(spec.one("model", "head"), num_classes=3)
    assert str(rude.value) == "other 1.0 (head 'rude') failed when it was built: RuntimeError: no way"
    spec = heads("leaving")
    with pytest.raises(PluginError) as leaving:
        spec.construct(spec.one("model", "head"), num_classes=3)
    assert str(leaving.value) == "other 1.0 (head 'leaving') failed when it was built: SystemExit: 5"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bare", "other 1.0 (head 'bare') cannot be used in a spec: parameter 'x' has no type annotation"),
        ("liar", "other 1.0 (head 'liar') cannot be used in a spec: "
         "the default of parameter 'depth' does not fit: must be an integer, got \"x\""),
        ("gone", "other 1.0 (head 'gone') cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule' "
         "-- reinstall other, or see what works with: clscli list --check"),
    ],
)  # fmt: skip
def test_a_component_that_cannot_be_used(heads, name, message):
    with pytest.raises(PluginError) as caught:
        heads(name)
    assert str(caught.value) == message


def test_a_limit_that_is_none_is_its_component_s_fault_and_nobody_else_s(heads, clscli):
    with pytest.raises(PluginError, match=r"^other 1\.0 \(head 'limited'\) cannot be used in a spec: nothing can"):
        heads("limited")
    shown = clscli("list", "heads", "limited")
    assert (shown.code, "cannot be used in a spec: nothing can be checked by" in shown.out) == (0, True)
    written = clscli("schema", "--out", "schema.json")
    assert (written.code, "left out: other 1.0 (head 'limited')" in written.err) == (0, True)


# Anything at all

VALUES = [0, -1, 10**40, 0.5, float("nan"), True, "", "x", "resize", "a.b", [], [[]], [1, "x"], {}, {"type": 3}]
VALUES += [{"type": "resize"}, [{"type": "zzz"}], {"": {"": []}}, [{}, 1], "~zzz/x", "\0", "x" * 300]


def all_paths(value, path=()):
    """Walk over the paths of everything inside tables."""
    for key, inner in value.items() if isinstance(value, dict) else ():
        yield (*path, key)
        yield from all_paths(inner, (*path, key))


def put(spec, path, value):
    """Put a value into a spec, if the tables on the way are still there."""
    for key in path[:-1]:
        spec = spec[key] if isinstance(spec, dict) and key in spec else None
    if isinstance(spec, dict):
        spec[path[-1]] = value


def test_whatever_a_spec_holds_only_our_own_errors_are_raised():
    rng = random.Random(0)
    valid = load_spec({"data": {"root": "p"}, "hooks": [{"type": "early_stopping"}]}).values
    paths = [*all_paths(valid), ("extends",), ("unset",), ("zzz",), ("data", "train"), ("model", "zzz")]
    paths += [("model", part, "init") for part in ("backbone", "neck", "head")]
    outcomes = Counter()
    for _ in range(200):
        spec = copy.deepcopy(valid)
        for path in rng.sample(paths, rng.choice([1, 3])):
            put(spec, path, rng.choice(VALUES))
        try:
            load_spec(spec)
            outcomes["valid"] += 1
        except ClscliError as error:
            outcomes[type(error)] += 1
    assert outcomes["valid"] > 0
    assert outcomes[SpecError] > 100


def test_keys_of_the_builder_are_among_the_suggestions():
    backbone = 'backbone = { type = "resnet18", pretraned = true }'
    assert problems(f"{DATA}[model]\n{backbone}") == [
        "spec.toml:4: model.backbone.pretraned: backbone 'resnet18' has no parameter 'pretraned' "
        "-- did you mean 'pretrained'?"
    ]
