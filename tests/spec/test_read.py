from __future__ import annotations

import re
from pathlib import Path

import pytest

from clscli.errors import SpecError, UsageError
from clscli.presets import preset_names
from clscli.spec import load_spec, read_draft, read_training_draft, spec_name
from clscli.spec.read import read_defaults
from clscli.toml import format_value

PRESETS = ", ".join(preset_names())


def write(name, text, **options):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", **options)
    return name


def problems(source, **options):
    with pytest.raises(SpecError) as caught:
        read_draft(source, **options)
    return caught.value.problems


def usage_error(source):
    with pytest.raises(UsageError) as caught:
        read_draft(source)
    return str(caught.value)


# Order


def test_order_of_the_layers():
    write("low.toml", "seed = 1\n[train]\nepochs = 1\n[data]\nbatch_size = 1\nnum_workers = 1\n")
    write("high.toml", "[train]\nepochs = 2\n[data]\nbatch_size = 2\nnum_workers = 2\n")
    write("spec.toml", 'extends = ["low.toml", "high.toml"]\n[data]\nbatch_size = 3\nnum_workers = 3\n')
    draft = read_draft("spec.toml", sets=["data.num_workers=4"])
    assert draft.values["seed"] == 1
    assert draft.values["train"] == {**read_defaults().values["train"], "epochs": 2}
    assert draft.values["data"]["batch_size"] == 3
    assert draft.values["data"]["num_workers"] == 4
    assert {
        key: draft.origin(path).where
        for key, path in {
            "seed": ("seed",),
            "epochs": ("train", "epochs"),
            "batch_size": ("data", "batch_size"),
            "num_workers": ("data", "num_workers"),
            "precision": ("train", "precision"),
        }.items()
    } == {
        "seed": "low.toml:1 (extended by spec.toml:1)",
        "epochs": "high.toml:2 (extended by spec.toml:1)",
        "batch_size": "spec.toml:3",
        "num_workers": "--set data.num_workers=4",
        "precision": "default",
    }


def test_a_spec_that_says_nothing_is_the_defaults():
    write("spec.toml", "")
    assert read_draft("spec.toml").values == read_draft({}).values


def test_a_byte_order_mark_and_windows_line_ends_are_fine():
    Path("spec.toml").write_bytes(b"\xef\xbb\xbfseed = 1\r\n[data]\r\nroot = 'x'\r\n")
    draft = read_draft("spec.toml")
    assert draft.values["seed"] == 1
    assert draft.origin(("data", "root")).where == "spec.toml:3"


# extends


def test_extends_follows_folders_of_the_file_that_says_it():
    write("shared/base/root.toml", "seed = 7\n")
    write("shared/middle.toml", 'extends = "base/root.toml"\n')
    write("specs/spec.toml", 'extends = "../shared/middle.toml"\n')
    draft = read_draft("specs/spec.toml")
    assert draft.values["seed"] == 7
    assert draft.origin(("seed",)).where == (
        "specs/../shared/base/root.toml:1 (extended by specs/../shared/middle.toml:1)"
    )


def test_extends_a_preset():
    write("spec.toml", 'extends = "demo"\n[train]\nepochs = 1\n')
    draft = read_draft("spec.toml")
    assert draft.values["data"]["train"] == {"type": "digits"}
    assert draft.values["train"]["epochs"] == 1
    where = draft.origin(("data", "train")).where
    assert re.fullmatch(r"preset demo:\d+ \(extended by spec\.toml:1\)", where)


def test_a_file_of_the_same_name_is_taken_before_a_preset():
    write("demo", "seed = 3\n")
    write("spec.toml", 'extends = "demo"\n')
    assert read_draft("spec.toml").values["seed"] == 3


def test_a_dict_may_extend_files_of_the_current_folder():
    write("base.toml", "seed = 3\n")
    draft = read_draft({"extends": "base.toml", "train": {"epochs": 2}})
    assert draft.values["seed"] == 3
    assert draft.origin(("seed",)).where == "base.toml:1 (extended by spec)"
    assert draft.origin(("train", "epochs")).where == "spec"


def test_one_base_may_be_reached_on_two_ways():
    write("base.toml", "seed = 3\n")
    write("a.toml", 'extends = "base.toml"\n')
    write("b.toml", 'extends = "base.toml"\n')
    write("spec.toml", 'extends = ["a.toml", "b.toml"]\n')
    assert read_draft("spec.toml").values["seed"] == 3


def test_a_long_chain():
    write("0.toml", "seed = 3\n")
    for number in range(1, 30):
        write(f"{number}.toml", f'extends = "{number - 1}.toml"\n')
    assert read_draft("29.toml").values["seed"] == 3


def test_a_circle_is_shown():
    write("a.toml", '\nextends = "sub/b.toml"\n')
    write("sub/b.toml", 'extends = "../a.toml"\n')
    assert problems("a.toml") == [
        "sub/b.toml:1 (extended by a.toml:2): extends: goes round in a circle: "
        "a.toml -> sub/b.toml -> sub/../a.toml"
    ]


def test_a_file_that_extends_itself():
    write("a.toml", 'extends = "a.toml"\n')
    assert problems("a.toml") == ["a.toml:1: extends: goes round in a circle: a.toml -> a.toml"]


@pytest.mark.parametrize(
    ("parent", "message"),
    [
        ("nosuch.toml", f"no file or preset 'nosuch.toml' -- presets are: {PRESETS}"),
        ("dmeo", "no file or preset 'dmeo' -- did you mean the preset 'demo'?"),
        ("", f"no file or preset '' -- presets are: {PRESETS}"),
        ("x" * 300, f"no file or preset '{'x' * 300}' -- presets are: {PRESETS}"),
        (".", f"no file or preset '.' -- presets are: {PRESETS}"),
    ],
)
def test_a_parent_that_is_not_there(parent, message):
    write("spec.toml", f'seed = 1\nextends = "{parent}"\n')
    assert problems("spec.toml") == [f"spec.toml:2: extends: {message}"]


def test_the_second_of_two_parents_is_not_there():
    write("spec.toml", 'extends = ["demo", "nosuch"]\n')
    assert problems("spec.toml") == [f"spec.toml:1: extends: no file or preset 'nosuch' -- presets are: {PRESETS}"]


@pytest.mark.parametrize("key", ["extends", "unset"])
@pytest.mark.parametrize("value", ["3", "[1]", "true", "{ a = 1 }", '["a", 2]'])
def test_extends_and_unset_are_strings(key, value):
    write("spec.toml", f"# first\n{key} = {value}\n")
    assert problems("spec.toml") == [f"spec.toml:2: {key}: must be a string or a list of strings, got {value}"]


# unset


def test_unset_forgets_what_was_inherited():
    write("base.toml", '[optimizer]\nlr = 9.0\n[data]\nroot = "p"\n[[hooks]]\ntype = "early_stopping"\n')
    write("spec.toml", 'extends = "base.toml"\nunset = ["optimizer.lr", "hooks"]\n[data]\nbatch_size = 2\n')
    draft = read_draft("spec.toml")
    assert draft.values["optimizer"]["lr"] == 1e-3
    assert "hooks" not in draft.values
    assert draft.values["data"]["root"] == "p"


def test_unset_comes_before_the_keys_of_its_own_file():
    write("base.toml", "[model]\nneck = { type = 'global_average_pooling', x = 1 }\n")
    write("spec.toml", 'extends = "base.toml"\nunset = "model.neck"\n[model]\nneck = { y = 2 }\n')
    assert read_draft("spec.toml").values["model"]["neck"] == {"type": "global_average_pooling", "y": 2}


def test_unset_of_what_was_never_set():
    write("spec.toml", '\nunset = ["model.neckk"]\n')
    assert problems("spec.toml") == ["spec.toml:2: unset: model.neckk is not set -- did you mean 'neck'?"]


# What cannot be read


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = \n", "is not valid TOML: invalid value (at line 1, column 8)"),
        ("a = 1\na = 2\n", "is not valid TOML: cannot overwrite a value (at line 2, column 6)"),
        ("[a\n", "is not valid TOML: expected ']' at the end of a table declaration (at line 1, column 3)"),
        (f"seed = {'9' * 5000}\n", "holds a number too long or brackets too deep to read"),
        (f"seed = {'[' * 3000}{']' * 3000}\n", "holds a number too long or brackets too deep to read"),
    ],
)
def test_wrong_toml(text, message):
    write("spec.toml", text)
    assert problems("spec.toml") == [f"spec.toml: {message}"]


def test_wrong_toml_in_a_base_names_the_base():
    write("sub/base.toml", "seed = ")
    write("spec.toml", 'extends = "sub/base.toml"\n')
    assert problems("spec.toml") == ["sub/base.toml: is not valid TOML: invalid value (at end of document)"]


def test_what_is_not_utf8():
    Path("spec.toml").write_bytes("a = 'ä'".encode("latin-1"))
    assert problems("spec.toml") == ["spec.toml: is not UTF-8 text (byte 5) -- TOML files are UTF-8"]
    Path("spec.toml").write_bytes("a = 1".encode("utf-16"))
    assert problems("spec.toml") == ["spec.toml: is not UTF-8 text (byte 0) -- TOML files are UTF-8"]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="a file that fails to read, also for root")
def test_what_cannot_be_read():
    assert problems("/proc/self/mem") == ["/proc/self/mem: cannot be read: Input/output error"]


def test_nesting_that_tomllib_reads_but_nobody_means():
    depth = 300
    write("spec.toml", f"seed = {'[' * depth}{']' * depth}\n")
    with pytest.raises(SpecError, match=r"^spec\.toml: (cannot be checked|holds a number too long)"):
        load_spec("spec.toml")


# Which spec


def test_a_spec_that_is_not_there():
    assert usage_error("nosuch.toml") == "nosuch.toml: no such spec file"
    assert usage_error("specs/nosuch") == "specs/nosuch: no such spec file"
    assert usage_error("x" * 300) == f"{'x' * 300}: neither a spec file nor a preset -- presets are: {PRESETS}"
    assert usage_error("dmeo") == "dmeo: neither a spec file nor a preset -- did you mean 'demo'?"
    assert usage_error("zzz") == f"zzz: neither a spec file nor a preset -- presets are: {PRESETS}"


@pytest.mark.parametrize("name", ["photos", "photos.toml", "."])
def test_a_folder_is_no_spec(name):
    Path(name).mkdir(exist_ok=True)
    assert usage_error(name) == (
        f"{name}: is a folder, not a spec -- for a folder of pictures: clscli train --data {name}"
    )


def test_a_preset_by_name_and_a_file_of_any_name():
    assert read_draft("demo").values["data"]["train"] == {"type": "digits"}
    write("cars", "seed = 3\n")
    assert read_draft("cars").values["seed"] == 3
    assert read_draft(Path("cars")).values["seed"] == 3


@pytest.mark.parametrize(
    ("source", "name"), [("specs/cars.toml", "cars"), ("demo", "demo"), (Path("a/b.c.toml"), "b.c")]
)
def test_a_run_is_named_after_its_spec(source, name):
    assert spec_name(source) == name


# From a program


def test_a_dict_may_hold_what_python_writes_in_place_of_toml():
    source = {
        "data": {"root": Path("a") / "b"},
        "transforms": {"normalize": {"mean": (0, 0, 0), "std": (1, 1, 1)}},
    }
    values = read_draft(source).values
    assert values["data"]["root"] == str(Path("a/b"))
    assert values["transforms"]["normalize"] == {"mean": [0, 0, 0], "std": [1, 1, 1]}


def test_a_dict_is_not_changed():
    source = {"extends": "demo", "data": {"batch_size": 2}}
    read_draft(source, sets=["data.batch_size=3"])
    assert source == {"extends": "demo", "data": {"batch_size": 2}}


def test_a_dict_with_what_toml_cannot_hold():
    assert problems({"seed": object()}) == [
        "spec: holds what no TOML file can: unable to serialize unknown type: <class 'object'>"
    ]
    endless = {}
    endless["data"] = endless
    assert problems(endless)[0].startswith("spec: holds what no TOML file can: circular reference")


# --data


def test_data_stands_for_all_pictures_of_the_spec():
    draft = read_training_draft("demo", data="photos")
    assert draft.values["data"]["root"] == "photos"
    assert not {"train", "val", "test"} & set(draft.values["data"])
    assert draft.origin(("data", "root")).where == "--data photos"


def test_data_of_a_spec_whose_data_is_no_table():
    assert read_training_draft({"data": 3}, data="photos").values["data"] == 3


# Relative paths


def test_a_relative_path_is_relative_to_the_file_that_says_it(tmp_path):
    write("shared/base.toml", '[data]\nroot = "photos"\n[model.backbone]\npretrained = "w/a.pth"\n')
    write("specs/spec.toml", 'extends = "../shared/base.toml"\n')
    values = load_spec("specs/spec.toml").values
    assert values["data"]["root"] == str(tmp_path / "shared" / "photos")
    assert values["model"]["backbone"]["pretrained"] == str(tmp_path / "shared" / "w" / "a.pth")
    values = load_spec("specs/spec.toml", sets=["data.root=other", "model.backbone.pretrained=b.pth"]).values
    assert values["data"]["root"] == str(tmp_path / "other")
    assert values["model"]["backbone"]["pretrained"] == str(tmp_path / "b.pth")


def test_a_relative_path_in_a_component(tmp_path):
    write("specs/spec.toml", '[data.train]\ntype = "folder"\nroot = "photos"\n')
    spec = load_spec("specs/spec.toml")
    assert spec.values["data"]["train"]["root"] == str(tmp_path / "specs" / "photos")
    assert spec.one("data", "train").kwargs["root"] == str(tmp_path / "specs" / "photos")


@pytest.mark.parametrize("wanted", [True, "IMAGENET1K_V1", "https://example.org/a.pth", "file:///a/b.pth"])
def test_weights_that_are_no_path_stay_as_written(wanted):
    write("specs/spec.toml", f'[data]\nroot = "p"\n[model.backbone]\npretrained = {format_value(wanted)}\n')
    assert load_spec("specs/spec.toml").values["model"]["backbone"]["pretrained"] == wanted


def test_home_in_a_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "home"))
    assert load_spec({"data": {"root": "~/p"}}).values["data"]["root"] == str(tmp_path / "home" / "p")
    unknown = "~nosuchuser1/p"
    assert load_spec({"data": {"root": unknown}}).values["data"]["root"] == str(tmp_path / unknown)
