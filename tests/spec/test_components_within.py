"""Components that take other components: `{ type = "concat", datasets = [{ type = "folder", ... }] }`."""

from __future__ import annotations

from pathlib import Path

import pytest

from clscli.engine.checkpoint import Checkpoint, component_versions
from clscli.errors import CheckpointError, PluginError, SpecError
from clscli.plugins import KINDS, find_components, load
from clscli.signature import read_parameters
from clscli.spec import check_structure, load_spec, read_draft, render_spec
from clscli.spec.schema import EVALUATING, PREDICTING

DATA = '[data]\nroot = "p"\n'

PLUGIN = """
from __future__ import annotations
from typing import Any
from clscli.data.samples import Dataset
from clscli.data.transforms.contract import Transform

class Pair:
    def __init__(self, split: str, *, labelled: Dataset, other: Dataset | None = None,
                 views: list[Transform] = [], raw: list[dict[str, Any]] = []) -> None:
        self.split, self.labelled, self.other, self.views, self.raw = split, labelled, other, views, raw

class Leaf:
    classes = ["a", "b"]
    def __init__(self, split: str, *, size: int = 1) -> None:
        self.split, self.size = split, size
        if size > 9:
            raise ValueError("size is too large")

class Always:
    passes_on = {"split": "train"}
    def __init__(self, split: str, *, dataset: Dataset) -> None:
        self.split, self.dataset = split, dataset

def in_a_table(*, parts: dict[str, Dataset]) -> None: ...
def in_a_list_of_tables(*, parts: list[dict[str, Transform]]) -> None: ...
def for_hooks(*, dataset: Dataset) -> None: ...
"""


@pytest.fixture
def packages(packages):
    names = {"pair": "Pair", "leaf": "Leaf", "always": "Always", "table": "in_a_table"}
    entries = {name: f"plugin_within:{value}" for name, value in names.items()}
    hooks = {"collect": "plugin_within:for_hooks"}
    transforms = {"listed": "plugin_within:in_a_list_of_tables"}
    packages.install(
        "other",
        {"datasets": entries, "hooks": hooks, "transforms": transforms},
        version="2.0",
        modules={"plugin_within": PLUGIN},
    )
    return packages


def problems(text, check=load_spec, **options):
    Path("spec.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SpecError) as caught:
        check("spec.toml", **options)
    return caught.value.problems


def structure(source, **options):
    check_structure(read_draft(source, **options))


def loaded(text, **options):
    Path("spec.toml").write_text(text, encoding="utf-8")
    return load_spec("spec.toml", **options)


def trained_on(table):
    return load_spec({"data": {"train": table}})


# Problems


def test_names_within_are_checked_before_any_import():
    text = (
        "[transforms]\n"
        "train = [\n"
        '    { type = "random_crop" },\n'
        '    { type = "random_apply", transforms = [\n'
        '        { type = "color_jiter" },\n'
        '        { type = "random_order", transforms = [{ type = "nosuch:x" }] },\n'
        "    ] },\n"
        "]\n"
        '[data.train]\ntype = "subset"\ndataset.type = "foldr"\n'
    )
    assert [problem.partition(" (see")[0] for problem in problems(text, check=structure)] == [
        "spec.toml:5: transforms.train.1.transforms.0.type: unknown transform 'color_jiter' "
        "-- did you mean 'color_jitter'?",
        "spec.toml:6: transforms.train.1.transforms.1.transforms.0.type: transform 'nosuch:x' needs the package "
        "'nosuch', which is not installed -- pip install nosuch",
        "spec.toml:11: data.train.dataset.type: unknown dataset 'foldr' -- did you mean 'folder'?",
    ]


def test_parameters_within_are_checked_where_they_are_written():
    text = (
        "[data.train]\n"
        'type = "concat"\n'
        "datasets = [\n"
        '    { type = "folder", root = "a" },\n'
        '    { type = "folder", rot = "b" },\n'
        '    { type = "subset", dataset = { type = "digits", size = "x" }, frist = 1 },\n'
        "    { root = 'c' },\n"
        '    "folder",\n'
        "]\n"
        "[transforms]\n"
        'eval = [{ type = "random_apply", p = 2, transforms = "resize" }]\n'
    )
    assert problems(text) == [
        "spec.toml:5: data.train.datasets.1.root: is required",
        "spec.toml:5: data.train.datasets.1.rot: dataset 'folder' has no parameter 'rot' -- did you mean 'root'?",
        'spec.toml:6: data.train.datasets.2.dataset.size: must be an integer, got "x"',
        "spec.toml:6: data.train.datasets.2.frist: dataset 'subset' has no parameter 'frist' "
        "-- did you mean 'first'?",
        "spec.toml:7: data.train.datasets.3.type: is required",
        'spec.toml:8: data.train.datasets.4: must be a table, got "folder" '
        '-- write data.train.datasets.4 = { type = "folder" }',
        "spec.toml:11: transforms.eval.0.p: must be at most 1.0, got 2",
        'spec.toml:11: transforms.eval.0.transforms: must be a list, got "resize" '
        '-- write transforms.eval.0.transforms = [{ type = "resize" }]',
    ]


def test_what_is_injected_is_not_written_within_either():
    table = {"type": "repeat", "dataset": {"type": "folder", "root": "p", "split": "train"}}
    with pytest.raises(SpecError) as caught:
        trained_on(table)
    assert caught.value.problems == ["spec: data.train.dataset.split: is set by clscli from the data -- remove it"]


def test_at_least_one_component_where_the_type_says_so():
    with pytest.raises(SpecError) as caught:
        trained_on({"type": "concat", "datasets": []})
    assert caught.value.problems == ["spec: data.train.datasets: must have at least 1 elements, got []"]


def test_a_component_within_that_its_values_do_not_suit(packages):
    spec = trained_on({"type": "repeat", "dataset": {"type": "leaf", "size": 10}})
    with pytest.raises(SpecError) as caught:
        spec.construct(spec.one("data", "train"), split="train")
    assert caught.value.problems == ["spec: data.train.dataset: dataset 'other:leaf': size is too large"]


def test_pictures_that_are_missing_are_told_at_the_table_that_names_them(tmp_path):
    tables = '{ type = "folder", root = "p" },\n{ type = "folder", root = "gone" }'
    spec = loaded(f'[data.train]\ntype = "concat"\ndatasets = [\n{tables}]\n')
    (tmp_path / "p" / "cat").mkdir(parents=True)
    (tmp_path / "p" / "cat" / "1.jpg").touch()
    with pytest.raises(SpecError) as caught:
        spec.construct(spec.one("data", "train"), split="train")
    gone = tmp_path / "gone"
    assert caught.value.problems == [f"spec.toml:5: data.train.datasets.1: {gone}: no such folder"]


# Resolving


def test_tables_within_are_completed_and_paths_made_absolute(tmp_path):
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "base.toml").write_text(
        '[data.train]\ntype = "concat"\ndatasets = [{ type = "folder", root = "a" }, { type = "digits" }]\n'
    )
    spec = loaded(
        'extends = "base/base.toml"\n'
        '[data.val]\ntype = "repeat"\ntimes = 2\ndataset = { type = "folder", root = "b" }\n',
        sets=["data.train.datasets.1.size=16"],
    )
    assert spec.values["data"]["train"] == {
        "type": "concat",
        "datasets": [
            {"type": "folder", "root": str(tmp_path / "base" / "a")},
            {"type": "digits", "num_train": 6000, "num_val": 1000, "size": 16, "seed": 0},
        ],
    }
    assert spec.values["data"]["val"] == {
        "type": "repeat",
        "dataset": {"type": "folder", "root": str(tmp_path / "b")},
        "times": 2,
    }


def test_the_resolved_spec_loads_to_itself_and_shows_origins():
    spec = loaded(
        DATA + "[transforms]\n"
        'train = [\n{ type = "random_apply", transforms = [\n{ type = "color_jitter", hue = 0.1 },\n] }]\n'
    )
    text = render_spec(spec.values)
    assert loaded(text).values == spec.values
    assert render_spec(loaded(text).values) == text
    shown = render_spec(spec.values, spec.draft).splitlines()
    start = shown.index("[[transforms.train.transforms]]")
    assert shown[start + 1 : start + 6] == [
        'type = "color_jitter"  # spec.toml:6',
        "brightness = 0.4  # default",
        "contrast = 0.4  # default",
        "saturation = 0.4  # default",
        "hue = 0.1  # spec.toml:6",
    ]


def test_another_type_replaces_a_table_within():
    text = '[data.train]\ntype = "repeat"\ndataset = { type = "folder", root = "a" }\n'
    spec = loaded(text, sets=["data.train.dataset.type=digits", "data.train.dataset.size=16"])
    assert spec.values["data"]["train"]["dataset"]["type"] == "digits"
    assert "root" not in spec.values["data"]["train"]["dataset"]
    assert spec.draft.notes == [
        "--set data.train.dataset.type=digits: data.train.dataset is another component now, "
        "without root of spec.toml:3"
    ]
    text = '[data.train]\ntype = "concat"\ndatasets = [{ type = "folder", root = "a" }]\n'
    spec = loaded(text, sets=["data.train.datasets.0.type=digits"])
    assert spec.values["data"]["train"]["datasets"][0]["type"] == "digits"


def test_options_reach_tables_within(tmp_path):
    text = '[data.train]\ntype = "concat"\ndatasets = [{ type = "folder", root = "a" }]\n'
    spec = loaded(text, sets=["data.train.datasets.0.root=b"])
    assert spec.values["data"]["train"]["datasets"] == [{"type": "folder", "root": str(tmp_path / "b")}]
    assert problems(text, sets=["data.train.datasets.1.root=b"]) == [
        "--set data.train.datasets.1.root=b: data.train.datasets has 1 elements, no '1'"
    ]
    assert problems(text, sets=["data.train.datasets.0.rot=b"]) == [
        "--set data.train.datasets.0.rot=b: data.train.datasets.0.rot: dataset 'folder' has no parameter 'rot' "
        "-- did you mean 'root'?"
    ]


def test_components_within_are_not_among_those_of_the_pipeline():
    order = {"type": "random_order", "transforms": [{"type": "random_invert"}]}
    tables = [{"type": "random_apply", "transforms": [order]}, {"type": "random_crop"}]
    spec = load_spec({"data": {"train": {"type": "repeat", "dataset": {"type": "digits"}}},
                      "transforms": {"train": tables}})  # fmt: skip
    assert [b.component.name for b in spec.many("transforms", "train")] == ["random_apply", "random_crop"]
    assert [b.component.name for b in spec.many("data", "train")] == ["repeat"]
    within = ("transforms", "train", 0, "transforms", 0, "transforms", 0)
    assert spec.components[within].component.name == "random_invert"


# Components of others


def test_a_third_party_takes_components_by_annotation(packages):
    leaf = {"type": "leaf"}
    raw = [{"type": "GaussNoise", "p": 0.2}]  # of another library: a plain table
    spec = trained_on(
        {"type": "pair", "labelled": leaf, "views": [{"type": "random_horizontal_flip"}], "raw": raw}
    )
    assert spec.values["data"]["train"] == {
        "type": "other:pair",
        "labelled": {"type": "other:leaf", "size": 1},
        "views": [{"type": "random_horizontal_flip", "p": 0.5}],
        "raw": raw,
    }  # fmt: skip
    assert load_spec(spec.values).values == spec.values
    built = spec.construct(spec.one("data", "train"), split="val")
    assert (built.split, built.labelled.split, built.labelled.size, built.other) == ("val", "val", 1, None)
    assert [callable(view) for view in built.views] == [True]
    assert built.raw == raw


def test_a_component_may_choose_what_those_within_get(packages):
    spec = trained_on({"type": "always", "dataset": {"type": "repeat", "dataset": {"type": "leaf"}}})
    built = spec.construct(spec.one("data", "train"), split="val")
    assert (built.split, built.dataset.dataset.split) == ("val", "train")


def test_names_within_a_third_partys_component_are_checked_with_its_parameters(packages):
    text = '[data.train]\ntype = "pair"\nlabelled = { type = "foldr" }\n'
    (problem,) = problems(text)
    assert problem.startswith(
        "spec.toml:3: data.train.labelled.type: unknown dataset 'foldr' -- did you mean 'folder'"
    )


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ({"train": {"type": "table"}}, {},
         "other 2.0 (dataset 'table') cannot be used in a spec: "
         "parameter 'parts' asks for datasets as dict[str, dataset] -- take one of them, or a list"),
        ({"root": "p"}, {"transforms": {"eval": [{"type": "listed"}]}},
         "other 2.0 (transform 'listed') cannot be used in a spec: "
         "parameter 'parts' asks for transforms as list[dict[str, transform]] -- take one of them, or a list"),
        ({"root": "p"}, {"hooks": [{"type": "collect"}]},
         "other 2.0 (hook 'collect') cannot be used in a spec: "
         "parameter 'dataset' asks for datasets, which need 'split', and that is not known here"),
    ],
)  # fmt: skip
def test_components_that_cannot_be_given(packages, data, more, message):
    with pytest.raises(PluginError) as caught:
        load_spec({"data": data, **more})
    assert str(caught.value) == message


def test_packages_of_components_within_are_recorded(packages):
    spec = trained_on({"type": "repeat", "dataset": {"type": "leaf"}})
    assert component_versions(spec)["other"] == "2.0"
    assert spec.values["data"]["train"]["dataset"]["type"] == "other:leaf"


def checkpoint_of(**tables):
    spec = load_spec({"data": {"root": "p"}}).values
    for table, values in tables.items():
        spec[table] = spec[table] | values
    return Checkpoint(
        path=Path("best.pth"),
        spec=spec,
        classes=["a", "b"],
        class_counts=(1, 1),
        image_shape=(3, 8, 8),
        weights={},
        metrics={},
        versions={"gone": "1.5"},
        training=None,
        multi_label=False,
        num_samples=2,
    )


def test_a_checkpoint_needs_what_is_within_the_slots_that_it_is_used_for():
    within = [{"type": "random_apply", "transforms": [{"type": "gone:sharpen"}]}]
    training = checkpoint_of(transforms={"train": within})
    assert ("transforms", "train", 0) not in training.resolve(PREDICTING).components
    predicting = checkpoint_of(transforms={"eval": within})
    for needed in (PREDICTING, EVALUATING):
        with pytest.raises(CheckpointError) as caught:
            predicting.resolve(needed)
        assert str(caught.value) == (
            "best.pth: transform 'gone:sharpen' needs the package 'gone', which is not installed "
            "-- pip install gone==1.5 (the version that it was trained with)"
        )


# Of our own


def test_tables_within_our_own_components_are_of_the_same_kind():
    """The first phase takes this for granted: it reads no signature."""
    taking = []
    for component in find_components():
        injected = KINDS[component.kind].injected
        if component.is_core and KINDS[component.kind].contract is not None:
            kinds = {parameter.kind for parameter in read_parameters(load(component), injected)} - {None}
            assert kinds <= {component.kind}, component.name
            taking += [component.name] * bool(kinds)
    assert taking == [
        "class_balanced", "concat", "kfold", "repeat", "subset", "random_apply", "random_choice", "random_order"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "name", "row"),
    [
        ("datasets", "concat", ["datasets", "list of datasets", "required", "spec"]),
        ("datasets", "repeat", ["dataset", "dataset", "required", "spec"]),
        ("transforms", "random_apply", ["transforms", "list of transforms", "required", "spec"]),
    ],
)
def test_the_listing_says_in_words_what_a_component_takes(clscli, kind, name, row):
    result = clscli("list", kind, name)
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in result.out.splitlines()]
    assert row in rows
