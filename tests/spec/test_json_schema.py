"""What the JSON Schema accepts is what clscli accepts, and its errors are where clscli's are."""

from __future__ import annotations

import copy
import json
import random
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

import clscli
from clscli import plugins
from clscli.errors import ClscliError
from clscli.plugins import KINDS, find_components, load
from clscli.presets import preset_names, preset_text
from clscli.signature import complete, read_parameters
from clscli.spec import load_spec
from clscli.spec.builder_keys import _KEYS
from clscli.spec.descriptions import DESCRIPTIONS
from clscli.spec.json_choices import _BUILDER_KEYS
from clscli.spec.json_schema import spec_schema
from clscli.spec.schema import SLOTS, Spec

README = Path(clscli.__file__).parent.parent / "README.md"


@pytest.fixture(scope="module")
def document():
    document, problems = spec_schema(find_components())
    assert problems == []
    return document


@pytest.fixture(scope="module")
def errors(document):
    """Check the text of a spec; return where it is wrong, in the order of the paths."""
    return checker(document)


def checker(document):
    validator = jsonschema.Draft7Validator(document)

    def check(spec):
        spec = tomllib.loads(spec) if isinstance(spec, str) else spec
        return sorted((".".join(map(str, e.absolute_path)), e.message) for e in validator.iter_errors(spec))

    return check


def paths(found):
    return [path for path, _ in found]


def written(kind, table):
    """Write a spec with a component of some kind."""
    path = next(path for path, of_kind in SLOTS.items() if of_kind == kind)
    is_list = path[0] in ("transforms", "hooks")
    value = [table] if is_list else table
    for key in reversed(path):
        value = {key: value}
    return value


# The document


def test_it_is_a_schema_of_draft_7_that_any_tool_can_read(document):
    jsonschema.Draft7Validator.check_schema(document)
    text = json.dumps(document, allow_nan=False)
    references = set(re.findall(r'"\$ref": "#/definitions/([^"]+)"', text))
    assert references <= document["definitions"].keys()
    # Part of a URL: what would be written as %20 there is not found by all.
    assert all(re.fullmatch(r"[A-Za-z0-9_.:-]+", name) for name in references)
    assert not re.search(r'"(prefixItems|\$defs)"', text)


def test_its_size_is_reasonable(document):
    assert len(json.dumps(document)) < 2000 * len(find_components())


def test_it_is_the_same_every_time():
    some = find_components("heads") + find_components("losses")
    assert json.dumps(spec_schema(some).document) == json.dumps(spec_schema(some).document)


def test_every_key_is_described():
    tables = {key: field.annotation for key, field in Spec.model_fields.items() if (key,) not in SLOTS}
    keys = {"extends", "unset"} | {".".join(path) for path in SLOTS} | {"seed"}
    keys |= {f"{name}.{key}" for name, table in tables.items() if name != "seed" for key in table.model_fields}
    assert DESCRIPTIONS.keys() - {"transforms.normalize.mean", "transforms.normalize.std"} == keys


def test_every_key_of_the_builder_is_described():
    assert _BUILDER_KEYS.keys() == {key for keys in _KEYS.values() for key in keys}


def test_keys_show_what_they_are_and_their_defaults(document):
    train = document["properties"]["train"]
    assert train["description"].startswith("The run.")
    assert train["properties"]["epochs"] == {
        "description": "How many times training goes through the pictures.",
        "type": "integer",
        "minimum": 1,
        "default": 50,
    }
    assert document["properties"]["data"]["properties"]["num_workers"]["anyOf"] == [
        {"const": "auto", "type": "string"},
        {"minimum": 0, "type": "integer"},
    ]
    assert document["properties"]["model"]["properties"]["head"]["default"] == {"type": "linear"}
    assert "default" not in train


def test_a_component_shows_its_docstring_and_its_parameters(document):
    head = document["definitions"]["heads.linear"]
    assert head["title"] == f"linear (clscli {clscli.__version__})"
    assert head["description"] == load(plugins.resolve("heads", "linear")).__doc__.partition("\n")[0]
    dropout = resolved(document, head["properties"]["dropout"])
    assert dropout == {
        "description": "float, >= 0, < 1",
        "type": "number",
        "minimum": 0,
        "exclusiveMaximum": 1,
        "default": 0.0,
    }
    assert head["properties"].keys() == {"type", "dropout", "init"}


def test_a_table_suggests_the_parameters_of_all_components_of_its_kind(document):
    """As editors do not look at the type: where all agree they get the default, too."""
    known = document["definitions"]["optimizers.parameters"]["properties"]
    assert known["type"]["enum"] == [component.name for component in find_components("optimizers")]
    assert len(known["type"]["x-taplo"]["docs"]["enumValues"]) == len(known["type"]["enum"])
    assert known["amsgrad"] == {"description": "bool -- of adam, adamw", "type": "boolean", "default": False}
    assert known["lr"]["description"].startswith("float, >= 0 -- of adadelta, adafactor, adagrad, adam, adamax")
    assert "default" not in known["lr"]
    slot = document["properties"]["optimizer"]
    assert slot["anyOf"][0] is True
    assert slot["anyOf"][1]["allOf"] == [{"$ref": "#/definitions/optimizers.parameters"}]


def resolved(document, schema):
    name = schema.get("$ref", "").removeprefix("#/definitions/")
    return document["definitions"][name] if name else schema


# What is right


@pytest.mark.parametrize("name", preset_names())
def test_presets_are_accepted(errors, name):
    assert errors(preset_text(name)) == []
    assert errors(f'extends = "{name}"\nunset = ["model.neck"]\n[data]\nroot = "photos"\n') == []


def test_specs_of_the_readme_are_accepted(errors):
    blocks = re.findall(r"```toml\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    specs = [block for block in blocks if "[project" not in block]
    assert len(specs) >= 3
    assert [errors(spec) for spec in specs] == [[]] * len(specs)


def test_every_component_is_accepted_with_all_its_defaults(errors):
    for component in find_components():
        defaults = complete(read_parameters(load(component), KINDS[component.kind].injected), given={})
        for name in (component.name, component.qualified):
            spec = written(component.kind, {"type": name, **defaults})
            assert errors(spec) == [], spec


@pytest.mark.parametrize(
    "spec",
    [
        "",
        "extends = ['a.toml', 'demo']\nunset = 'model.neck'",
        "[optimizer]\nlr = 1e-4\ngroups = { layer_decay = 0.7, patterns = { 'a.*' = { lr = 0.1 } } }",
        "[model]\nbackbone.layers = [1, 1]\nbackbone.pretrained = 'IMAGENET1K_V2'",
        "[model]\nneck = []\nloss = { label_smoothing = 0 }",
        "[model.head]\ntype = 'linear'\n"
        "init = [{ type = 'kaiming' }, { type = 'constant', value = 1, layers = ['batch_norm'] }]",
        "[model.head]\ninit = { std = 0.1 }",
        "[data.train]\ntype = 'concat'\n"
        "datasets = [{ type = 'folder', root = 's3://a/b' }, "
        "{ type = 'subset', dataset = { type = 'digits' }, first = 3 }]",
        "[data]\ntrain.dataset.root = 'photos'",
        "[transforms]\nnormalize = { mean = [0, 0.5, 1], std = [1, 1, 1.5] }\n"
        "train = [{ type = 'random_apply', transforms = [{ type = 'color_jitter' }] }]",
        "[transforms]\nnormalize.std = [1]\neval = [{ type = 'resize', size = [3, 4] }]",
        "[data]\nbatch_size = 'auto'\n[train]\ncompile = false\nclip_grad_norm = 1",
    ],
)  # fmt: skip
def test_parts_of_specs_are_accepted(errors, spec):
    assert errors(spec) == []


VALUES = [0, -1, 10**40, 0.5, float("nan"), True, "", "x", "resize", [], [1, "x"], {}, {"type": 3}, "auto"]
VALUES += [{"type": "resize"}, [{"type": "zzz"}], 1, 2, 100, 1.5, [0.1, 0.2], "bilinear"]


def test_whatever_clscli_accepts_the_schema_accepts(errors):
    rng = random.Random(0)
    hooks = [{"type": "early_stopping"}, {"type": "ema"}]
    valid = load_spec(
        {"data": {"root": "p"}, "model": {"head": {"init": {"type": "normal"}}}, "hooks": hooks}
    ).values
    places = [path for path in all_paths(valid) if path]
    outcomes = {True: 0, False: 0}
    for _ in range(80):
        spec = copy.deepcopy(valid)
        *around, key = rng.choice(places)
        table = spec
        for part in around:
            table = table[part]
        alike = [value for value in VALUES if type(value) is type(table[key])]
        table[key] = rng.choice(alike if alike and rng.random() < 0.7 else VALUES)
        try:
            load_spec(spec)
        except ClscliError:
            outcomes[False] += 1
        else:
            outcomes[True] += 1
            assert errors(spec) == [], (around, key, table[key])
    assert min(outcomes.values()) > 10


def all_paths(value, path=()):
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from all_paths(inner, (*path, key))


# What is wrong


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ("sead = 1", "", "Additional properties are not allowed ('sead' was unexpected)"),
        ("seed = '1'", "seed", "'1' is not of type 'integer'"),
        ("seed = -1", "seed", "-1 is less than the minimum of 0"),
        ("extends = [3]", "extends.0", "3 is not of type 'string'"),
        ("data = 3", "data", "3 is not of type 'object'"),
        ("[train]\nepoch = 1", "train", "Additional properties are not allowed ('epoch' was unexpected)"),
        ("[train]\nprecision = 'low'", "train.precision",
         "'low' is not one of ['auto', 'float32', 'bfloat16', 'float16']"),
        ("[data]\nval_fraction = 1.0", "data.val_fraction",
         "1.0 is greater than or equal to the maximum of 1"),
        ("[data]\nnum_workers = 'all'", "data.num_workers", "'all' is not valid under any of the given schemas"),
        ("[model]\nhead = 'linear'", "model.head", "'linear' is not of type 'object'"),
        ("[model]\nneck = 3", "model.neck", "3 is not of type 'object', 'array'"),
        ("[model]\nneck = [3]", "model.neck.0", "3 is not of type 'object'"),
        ("[model]\nneck = [{}]", "model.neck.0", "'type' is a required property"),
        ("[model]\nloss = []", "model.loss", "[] should be non-empty"),
        ("[model.head]\ndropouts = 1", "model.head",
         "Additional properties are not allowed ('dropouts' was unexpected)"),
        ("[model.head]\ntype = 'linear'\ndropout = 1", "model.head.dropout",
         "1 is greater than or equal to the maximum of 1"),
        ("[model.head]\ntype = 'linear'\nin_channels = 1", "model.head",
         "Additional properties are not allowed ('in_channels' was unexpected)"),
        ("[model.backbone]\ntype = 'resnet18'\npretrained = 1", "model.backbone.pretrained",
         "1 is not of type 'boolean', 'string'"),
        ("[model.loss]\ntype = 'cross_entropy'\ninit = {}", "model.loss",
         "Additional properties are not allowed ('init' was unexpected)"),
        ("[model.head]\ntype = 'linear'\ninit = { type = 'normal', std = 0 }", "model.head.init.std",
         "0 is less than or equal to the minimum of 0"),
        ("[optimizer]\ntype = 'adamw'\nmomentum = 0.9", "optimizer",
         "Additional properties are not allowed ('momentum' was unexpected)"),
        ("[optimizer]\ntype = 'adamw'\nbetas = [0.9]", "optimizer.betas", "[0.9] is too short"),
        ("[optimizer]\ntype = 'adamw'\nbetas = [0.9, 'x']", "optimizer.betas.1", "'x' is not of type 'number'"),
        ("[optimizer]\ntype = 'adamw'\ngroups = { layer_decay = 0 }", "optimizer.groups.layer_decay",
         "0 is less than or equal to the minimum of 0"),
        ("[transforms]\ntrain = [{ type = 'resize', interpolation = 'cubic' }]",
         "transforms.train.0.interpolation", None),
        ("[transforms]\ntrain = [{ type = 'random_apply', transforms = [{ type = 'pad', padding = 'x' }] }]",
         "transforms.train.0.transforms.0.padding", None),
        ("[data.train]\ntype = 'repeat'\ndataset = { type = 'digits', size = 'x' }", "data.train.dataset.size",
         "'x' is not of type 'integer'"),
    ],
)  # fmt: skip
def test_a_mistake_is_told_where_it_is(errors, spec, path, message):
    ((where, told),) = errors(spec)
    assert (where, told) == (path, message or told)


@pytest.mark.parametrize(
    ("spec", "path"),
    [
        ("[model.backbone]\ntype = 'resent18'", "model.backbone.type"),
        ("[model.backbone]\ntype = 'linear'", "model.backbone.type"),
        ("[[hooks]]\ntype = 'nosuch:x'", "hooks.0.type"),
        ("[model.head]\ninit = { type = 'kaimming' }\ntype = 'linear'", "model.head.init.type"),
        ("[data.train]\ntype = 'concat'\ndatasets = [{ type = 'foldr' }]", "data.train.datasets.0.type"),
    ],
)
def test_an_unknown_component_is_told_where_it_is(errors, spec, path):
    ((where, message),) = errors(spec)
    assert where == path
    assert " is not one of ['" in message


# Other people's components


PLUGIN = '''
from __future__ import annotations
import math
from typing import Annotated, Literal
from pydantic import Field

def mine(num_classes: int, *, size: Annotated[int, Field(ge=2)] | tuple[int, int] = 2, scale: float = math.inf,
         mode: Literal["a", "b"] | None = None, names: set[str] = frozenset(), init: str = "own") -> None:
    """Do it our way.

    And more.
    """
def linear(num_classes: int, *, width: int) -> None: ...
def bare(x): ...
def liar(depth: int = "x"): ...

class Family:
    """Heads of a zoo."""
    def names(self): return ["bear", "lynx.v2"]
    def __call__(self, name): return mine
family = Family()
'''


@pytest.fixture
def other(packages):
    entries = {name: f"plugin_schema:{name}" for name in ("mine", "linear", "bare", "liar")}
    entries |= {"gone": "nosuchmodule:X", "zoo/*": "plugin_schema:family"}
    packages.install("other-one", {"heads": entries}, modules={"plugin_schema": PLUGIN})
    packages.install("twin", {"heads": {"mine": "plugin_schema:mine"}})
    return spec_schema(find_components("heads"))


def head(text):
    return f"[model]\nhead = {{ {text} }}"


def test_their_components_are_there_with_their_parameters(other):
    errors = checker(other.document)
    mine = other.document["definitions"]["heads.other-one:mine"]
    assert (mine["title"], mine["description"]) == ("mine (other-one 1.0)", "Do it our way.")
    assert resolved(other.document, mine["properties"]["size"]) == {
        "description": "int, >= 2 | tuple[int, int]",
        "type": ["integer", "array"],
        "minimum": 2,
        "items": [{"type": "integer"}, {"type": "integer"}],
        "minItems": 2,
        "maxItems": 2,
        "default": 2,
    }
    assert resolved(other.document, mine["properties"]["scale"]) == {"description": "float", "type": "number"}
    assert resolved(other.document, mine["properties"]["init"])["type"] == "string"
    assert errors(head("type = 'other-one:mine', size = 3, names = ['a', 'a'], scale = inf, init = 'x'")) == []
    assert paths(errors(head("type = 'other-one:mine', size = [1, 2, 3], mode = 'c'"))) == [
        "model.head.mode",
        "model.head.size",
    ]


def test_a_bare_name_means_what_it_means_to_clscli(other):
    errors = checker(other.document)
    assert errors(head("type = 'linear', dropout = 0.5")) == []  # ours
    assert paths(errors(head("type = 'linear', width = 3"))) == ["model.head"]
    assert errors(head("type = 'other-one:linear', width = 3")) == []
    assert paths(errors(head("type = 'mine'"))) == ["model.head.type"]  # of two packages
    known = other.document["definitions"]["heads.parameters"]["properties"]["type"]["enum"]
    assert [name for name in known if ":" in name] == ["other-one:linear", "other-one:mine", "twin:mine"]
    assert "mine" not in known


def test_a_family_is_known_by_its_names_alone(other):
    errors = checker(other.document)
    for name in ("zoo/bear", "other-one:zoo/lynx.v2"):
        assert errors(head(f"type = '{name}', size = 3")) == []
    assert paths(errors(head("type = 'twin:zoo/bear'"))) == ["model.head.type"]
    known = other.document["definitions"]["heads.parameters"]["properties"]["type"]["enum"]
    assert known[-2:] == ["zoo/bear", "zoo/lynx.v2"]


def test_what_is_broken_is_left_out(other):
    assert [problem.partition(" -- ")[0] for problem in other.problems] == [
        "other-one 1.0 (head 'bare') cannot be used in a spec: parameter 'x' has no type annotation",
        "other-one 1.0 (head 'gone') cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule'",
        "other-one 1.0 (head 'liar') cannot be used in a spec: "
        "the default of parameter 'depth' does not fit: must be an integer, got \"x\"",
    ]
    assert paths(checker(other.document)(head("type = 'other-one:gone'"))) == ["model.head.type"]
