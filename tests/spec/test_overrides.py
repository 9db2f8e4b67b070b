from __future__ import annotations

import pytest

from clscli.errors import SpecError
from clscli.spec import read_draft
from clscli.spec.overrides import OverrideError, parse_key, parse_set
from clscli.spec.read import read_defaults

DATA = {"data": {"root": "photos"}}


def parse_error(text):
    with pytest.raises(OverrideError) as caught:
        parse_set(text)
    return str(caught.value)


def override_error(source=DATA, **options):
    with pytest.raises(SpecError) as caught:
        read_draft(source, **options)
    return caught.value.problems


# Values


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1e-3", 0.001),
        ("true", True),
        (" 0.5 ", 0.5),
        ("[1, 2]", [1, 2]),
        ('["avg", "max"]', ["avg", "max"]),
        ("{ x = 1, y = [2] }", {"x": 1, "y": [2]}),
        ('"1"', "1"),
        ("'1 # c'", "1 # c"),
        ('""', ""),
        ("resnet50", "resnet50"),
        ("fastnets:tinyvit", "fastnets:tinyvit"),
        ("../my photos/train", "../my photos/train"),
        ("C:\\photos", "C:\\photos"),
        ("a=b=c", "a=b=c"),
        ("Müller 猫", "Müller 猫"),
        ("none", "none"),
        ("inf", float("inf")),
        ("-5", -5),
        ("0", 0),
    ],
)
def test_a_value_is_toml_or_else_a_word(text, value):
    path, found = parse_set(f"a.b={text}")
    assert path == ("a", "b")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("True", "TOML writes true, not True"),
        ("False", "TOML writes false, not False"),
        ("None", "TOML has no None: use --unset to return to the default"),
        ("null", "TOML has no null: use --unset to return to the default"),
        ("", 'write "" for an empty string, or use --unset'),
        (".5", "TOML writes 0.5, not .5"),
        ("-.5e3", "TOML writes -0.5e3, not -.5e3"),
        ("5.", "TOML writes 5.0, not 5."),
        ("5.e-3", "TOML writes 5.0e-3, not 5.e-3"),
        ("007", "TOML writes 7, without leading zeros; quote it if it is a string"),
        ("00", "TOML writes 0, without leading zeros; quote it if it is a string"),
        ("-007", "TOML writes -7, without leading zeros; quote it if it is a string"),
        ("[avg,max]", 'quote the strings inside, as in ["avg", "max"], and quote the whole for the shell'),
        ("{x=avg}", 'quote the strings inside, as in ["avg", "max"], and quote the whole for the shell'),
        ("1 # c", "write a list as [1, 2]; put a string with such characters in quotes of its own"),
        ("1,2", "write a list as [1, 2]; put a string with such characters in quotes of its own"),
        ("1,", "write a list as [1, 2]; put a string with such characters in quotes of its own"),
        ("1\nb = 2", "write a list as [1, 2]; put a string with such characters in quotes of its own"),
        ('"open', "write a list as [1, 2]; put a string with such characters in quotes of its own"),
    ],
)
def test_a_slip_is_refused_with_what_to_write(text, hint):
    assert parse_error(f"a={text}") == f"cannot read the value {text!r} -- {hint}"


def test_values_that_tomllib_gives_up_on():
    assert parse_set("a=" + "9" * 5000) == (("a",), "9" * 5000)
    assert parse_error("a=" + "[" * 3000).startswith("cannot read the value '[[[[")


# Keys


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("seed", ("seed",)),
        ("transforms.train.0.size", ("transforms", "train", 0, "size")),
        (' a . "b.c" ', ("a", "b.c")),
        ("a-b_c", ("a-b_c",)),
    ],
)
def test_keys_are_dotted_with_indices(text, path):
    assert parse_key(text) == path


@pytest.mark.parametrize("key", ["", "a..b", ".a", "a b", "ä", "a#", "[a]", "a=1\nb", "a = 1\nb"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(OverrideError) as caught:
        parse_key(key)
    assert str(caught.value) == f"{key.strip()!r} is not a dotted key such as model.backbone.type"


def test_without_an_equals_sign():
    assert parse_error("seed") == "must have the form key=value, such as optimizer.lr=0.01"


# --set on a spec


def test_sets_apply_from_left_to_right_and_after_unsets():
    draft = read_draft(DATA, sets=["seed=1", "seed=2"], unsets=["seed"])
    assert draft.values["seed"] == 2
    assert draft.origin(("seed",)).where == "--set seed=2"


def test_set_reaches_into_lists():
    draft = read_draft(DATA, sets=["transforms.train.0.size=32", "transforms.eval.1={ type = 'resize' }"])
    assert draft.values["transforms"]["train"][0] == {
        "type": "random_resized_crop",
        "size": 32,
        "scale": [0.35, 1.0],
    }
    assert draft.values["transforms"]["eval"][1] == {"type": "resize"}
    assert draft.origin(("transforms", "train", 0, "size")).where == "--set transforms.train.0.size=32"
    assert draft.origin(("transforms", "train", 0, "scale")).where == "default"


def test_set_of_another_type_replaces_the_component():
    draft = read_draft(DATA, sets=["optimizer.type=sgd", "transforms.train.0.type=random_crop"])
    assert draft.values["optimizer"] == {"type": "sgd"}
    assert draft.values["transforms"]["train"][0] == {"type": "random_crop"}


def test_set_of_the_same_type_keeps_the_parameters():
    draft = read_draft(DATA, sets=["optimizer.type=adamw", "transforms.train.0.type=random_resized_crop"])
    assert draft.values["optimizer"]["lr"] == 1e-3
    assert draft.values["transforms"]["train"][0]["size"] == 224


def test_set_makes_the_tables_that_it_needs():
    draft = read_draft({}, sets=["data.train.type=folder", "transforms.train.0.a.b=1"])
    assert draft.values["data"]["train"] == {"type": "folder"}
    assert draft.origin(("data", "train", "root")).where == "--set data.train.type=folder"
    assert draft.values["transforms"]["train"][0]["a"] == {"b": 1}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("transforms.train.9.size=1", "transforms.train has 3 elements, no '9'"),
        ("transforms.train.3=1", "transforms.train has 3 elements, no '3'"),
        ("transforms.train.size=1", "transforms.train has 3 elements, no 'size'"),
        ("transforms.train.0.size.x=1", "transforms.train.0.size is not a table"),
        ("transforms.train.0.size.0=1", "transforms.train.0.size is not a list"),
        ("transforms.train.0.0=1", "transforms.train.0 is not a list"),
        ("model.backbone.0=1", "model.backbone.0: there is no list to take an element of"),
        ("extends=demo", "extends can only be written in a file"),
        ("unset=['seed']", "unset can only be written in a file"),
        ("seed", "must have the form key=value, such as optimizer.lr=0.01"),
    ],
)
def test_a_set_that_fits_nothing_is_refused(text, message):
    assert override_error(sets=[text]) == [f"--set {text}: {message}"]


# --unset on a spec


def test_unset_returns_to_the_default():
    source = {**DATA, "optimizer": {"lr": 1.0}, "train": {"epochs": 3}}
    draft = read_draft(source, unsets=["optimizer.lr", "train"])
    assert draft.values["optimizer"]["lr"] == 1e-3
    assert draft.values["train"] == read_defaults().values["train"]
    assert draft.origin(("optimizer", "lr")).where == "default"


def test_unset_of_a_parameter_that_only_another_component_has_by_default():
    source = {**DATA, "optimizer": {"type": "sgd", "lr": 1.0}}
    assert read_draft(source, unsets=["optimizer.lr"]).values["optimizer"] == {"type": "sgd"}


def test_unset_of_what_has_no_default_removes_it():
    assert "root" not in read_draft(DATA, unsets=["data.root"]).values["data"]


def test_unset_inside_an_element_of_a_list():
    draft = read_draft(DATA, sets=["transforms.train.0.size=32"], unsets=["transforms.train.0.scale"])
    assert draft.values["transforms"]["train"][0]["scale"] == [0.35, 1.0]  # the default again


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("optimizer.lrr", "optimizer.lrr is not set -- did you mean 'lr'?"),
        ("hooks", "hooks is not set"),
        ("nosuch.key", "nosuch.key is not set"),
        ("seed.x", "seed.x is not set"),
        ("transforms.train.0", "elements of a list stay -- set transforms.train as a whole"),
        ("a b", "'a b' is not a dotted key such as model.backbone.type"),
    ],
)
def test_an_unset_that_fits_nothing_is_refused(key, message):
    assert override_error(unsets=[key]) == [f"--unset {key}: {message}"]


def test_all_options_that_fail_are_reported_at_once():
    assert override_error(sets=["a", "seed=True"], unsets=["zzz"]) == [
        "--unset zzz: zzz is not set",
        "--set a: must have the form key=value, such as optimizer.lr=0.01",
        "--set seed=True: cannot read the value 'True' -- TOML writes true, not True",
    ]
