from __future__ import annotations

import pytest

from clscli.spec.draft import DEFAULT, Draft, Origin
from clscli.toml import paths

LOW, HIGH = Origin("low:1"), Origin("high:2")


def layered(*layers):
    """Merge tables, each with an origin; of each, every path is known."""
    draft = Draft()
    for table, origin in layers:
        draft.merge(table, dict.fromkeys(paths(table), origin))
    return draft


def where(draft, *path):
    return draft.origin(path).where


def test_tables_merge_by_key():
    draft = layered(({"a": {"x": 1, "y": {"z": 2}}}, LOW), ({"a": {"x": 3, "y": {"w": 4}}}, HIGH))
    assert draft.values == {"a": {"x": 3, "y": {"z": 2, "w": 4}}}
    assert where(draft, "a", "x") == "high:2"
    assert where(draft, "a", "y", "z") == "low:1"
    assert where(draft, "a", "y", "w") == "high:2"


@pytest.mark.parametrize(
    ("low", "high"),
    [([1, 2, 3], [4]), ([{"x": 1}], [{"y": 2}]), (1, 2), ({"x": 1}, 2), (1, {"x": 2}), ({"x": 1}, []), ([1], {})],
)
def test_all_else_is_replaced(low, high):
    draft = layered(({"a": low}, LOW), ({"a": high}, HIGH))
    assert draft.values == {"a": high}
    assert {o.where for o in draft.origins.values()} == {"high:2"}


def test_a_component_of_another_type_replaces_the_whole_table():
    draft = layered(({"m": {"type": "a", "x": 1, "y": {"z": 2}}}, LOW), ({"m": {"type": "b", "w": 3}}, HIGH))
    assert draft.values == {"m": {"type": "b", "w": 3}}
    assert ("m", "y", "z") not in draft.origins


@pytest.mark.parametrize("high", [{"type": "a", "y": 2}, {"y": 2}])
def test_a_component_of_the_same_or_no_type_is_merged(high):
    assert layered(({"m": {"type": "a", "x": 1}}, LOW), ({"m": high}, HIGH)).values == {
        "m": {"type": "a", "x": 1, "y": 2}
    }


def test_a_type_given_to_a_table_without_one_keeps_its_keys():
    assert layered(({"m": {"x": 1}}, LOW), ({"m": {"type": "a"}}, HIGH)).values == {"m": {"type": "a", "x": 1}}


def test_merging_leaves_the_layers_as_they_were():
    table = {"a": {"x": [1]}}
    draft = layered((table, LOW))
    draft.values["a"]["x"].append(2)
    assert table == {"a": {"x": [1]}}


def test_the_origin_of_an_unknown_path_is_that_of_the_table_around_it():
    draft = layered(({"a": {"x": [{"y": 1}]}}, LOW))
    assert where(draft, "a", "x", 0, "nosuch") == "low:1"
    assert draft.origin(("b",)) is DEFAULT


def test_a_new_table_is_from_where_its_first_value_is():
    draft = Draft()
    draft.merge({"a": {"b": {"c": 1}}}, {("a", "b", "c"): HIGH})
    assert where(draft, "a", "b", "nosuch") == "high:2"


def test_get_walks_tables_and_lists():
    draft = Draft({"a": [{"x": 1}]})
    assert draft.get(("a", 0, "x")) == 1
    assert draft.get(()) == draft.values
    for missing in [("b",), ("a", 1), ("a", -1), ("a", "x"), ("a", 0, "x", "y")]:
        assert draft.get(missing) is None


def test_unset_brings_the_default_back_with_its_origin():
    defaults = layered(({"a": {"x": 1}}, DEFAULT))
    draft = layered(({"a": {"x": {"deep": 2}, "y": 3}}, HIGH))
    draft.unset(("a", "x"), defaults)
    assert draft.values == {"a": {"x": 1, "y": 3}}
    assert where(draft, "a", "x") == "default"
    assert ("a", "x", "deep") not in draft.origins
    draft.unset(("a", "y"), defaults)
    assert draft.values == {"a": {"x": 1}}


@pytest.mark.parametrize("path", [("b",), ("a", "b"), ("a", "x", "y")])
def test_unset_of_what_is_not_there(path):
    with pytest.raises(KeyError, match=r"'" + r"\.".join(path) + "'"):
        Draft({"a": {"x": 1}}).unset(path, Draft())


def test_what_gave_way_to_another_component_is_remembered():
    draft = Draft()
    for where, table in (
        ("a.toml", {"backbone": {"type": "resnet50", "pretrained": True, "frozen_stages": 1}}),
        ("--set", {"backbone": {"type": "vit_b_16"}}),
    ):
        origins = dict.fromkeys(paths(table), Origin(where))
        draft.merge(table, origins)
    assert draft.values == {"backbone": {"type": "vit_b_16"}}
    assert draft.notes == ["--set: backbone is another component now, without pretrained, frozen_stages of a.toml"]


def test_a_default_that_gives_way_is_not_worth_a_note():
    draft = Draft()
    draft.merge({"loss": {"type": "cross_entropy", "label_smoothing": 0.1}}, {})
    draft.merge({"loss": {"type": "focal"}}, {("loss", "type"): Origin("a.toml")})
    assert draft.notes == []
