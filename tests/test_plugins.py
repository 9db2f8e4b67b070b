from __future__ import annotations

import json
import sys
import tomllib
from pathlib import Path

import importlib_metadata
import pytest

from clscli import plugins
from clscli.cli.list import list_command
from clscli.errors import PluginError, UnknownComponentError
from clscli.plugins import KINDS, find_components, find_strays, incompatibility, load, near_names, resolve


def names(kind="backbones", dist=None):
    return [c.name for c in find_components(kind) if dist in (None, c.dist)]


def resolve_error(kind, name):
    with pytest.raises(UnknownComponentError) as caught:
        resolve(kind, name)
    return str(caught.value)


def load_error(kind, name):
    with pytest.raises(PluginError) as caught:
        load(resolve(kind, name))
    return str(caught.value)


# Listing


def test_listing_takes_everything_from_metadata(packages):
    packages.install(
        "Fast.Nets", {"backbones": {"tinyvit": "fastnets.vit:TinyViT"}}, version="0.3.1", requires=["clscli>=0.1"]
    )
    component = resolve("backbones", "tinyvit")
    assert component == plugins.Component(
        "backbones", "tinyvit", "fast-nets", "0.3.1", "fastnets.vit:TinyViT", "clscli>=0.1"
    )
    assert component.qualified == component.spec_name == "fast-nets:tinyvit"
    assert str(component) == "fast-nets 0.3.1 (backbone 'tinyvit')"


def test_listing_and_near_names_import_nothing(packages):
    packages.install(
        "broken", {"heads": {"linearish": "broken_at_import:X"}}, modules={"broken_at_import": "raise SystemExit"}
    )
    assert "linearish" in names("heads")
    assert "did you mean 'linearish'" in resolve_error("heads", "linearih")
    assert "broken_at_import" not in sys.modules


def test_listing_three_hundred_imports_none_of_them(packages, capsys):
    for package in range(30):
        entries = {f"net_{package}_{number}": f"many_{package}:Net" for number in range(9)}
        packages.install(
            f"many-{package}",
            {"backbones": {**entries, "net": f"many_{package}:Net"}},
            modules={f"many_{package}": "raise SystemExit"},
        )
    list_command("backbones", as_json=True)
    rows = [row for row in json.loads(capsys.readouterr().out) if row["dist"].startswith("many-")]
    assert len(rows) == 300
    assert rows[0]["note"] == "write 'many-0:net': several packages have this name"
    assert {row["note"] for row in rows if row["name"] != "net"} == {"-"}
    assert "did you mean 'net_7_3'" in resolve_error("backbones", "net_7-3")
    assert resolve_error("backbones", "net").startswith("backbone 'net' is offered by 30 packages -- write ")
    assert not [name for name in sys.modules if name.startswith("many_")]


def test_listing_is_sorted_by_kind_and_name_with_the_built_in_first(packages):
    packages.install("aaa", {"heads": {"linear": "m:X", "alpha": "m:X"}, "backbones": {"zeta": "m:X"}})
    found = find_components()
    assert [(c.kind, c.name, c.dist != "clscli") for c in found] == sorted(
        (c.kind, c.name, c.dist != "clscli") for c in found
    )
    linear = [c.qualified for c in found if (c.kind, c.name) == ("heads", "linear")]
    assert linear == ["clscli:linear", "aaa:linear"]


def test_groups_of_no_kind_are_strays(packages):
    packages.install("other", {"backbone": {"mine": "m:X"}})
    assert "mine" not in [c.name for c in find_components()]
    assert [(c.kind, c.name, c.dist) for c in find_strays()] == [("backbone", "mine", "other")]


def test_groups_of_others_are_no_components(packages):
    site = packages.install("other", {"backbones": {"mine": "m:X"}})
    groups = ("backbones", "clscli.pizzas", "console_scripts", "clscli.heads")
    entries = [f"[{group}]\n{name} = m:X\n" for group, name in zip(groups, "abcd", strict=True)]
    (site / "other-1.0.dist-info" / "entry_points.txt").write_text("".join(entries))
    plugins.clear_cache()
    assert [c.name for c in find_components() if c.dist == "other"] == ["d"]


def test_duplicates_are_removed(packages):
    # As after an editable install: one package, found in two places.
    packages.install("twice", {"necks": {"pool": "twice:Pool"}})
    packages.install("twice", {"necks": {"pool": "twice:Pool"}})
    assert names("necks", "twice") == ["pool"]
    assert resolve("necks", "pool").qualified == "twice:pool"


def test_of_two_versions_the_first_on_the_path_is_listed(packages):
    packages.install("twice", {"necks": {"pool": "twice:Pool"}}, version="1.0")
    packages.install("twice", {"necks": {"pool": "twice:Pool"}}, version="2.0")  # prepended to the path
    assert resolve("necks", "pool").version == "2.0"


@pytest.mark.parametrize(
    ("metadata", "entry_points"),
    [
        (None, ["[clscli.heads]", "ghost = m:X"]),
        (["Metadata-Version: 2.1"], ["[clscli.heads]", "ghost = m:X"]),
        (["Metadata-Version: 2.1", "Name: half"], ["[clscli.heads]", "ghost = m:X"]),
        (["Metadata-Version: 2.1", "Name: half", "Version: 1"], ["[clscli.heads]", "no equals sign"]),
    ],
    ids=["no METADATA", "no name", "no version", "garbage entry points"],
)
def test_a_half_installed_package_harms_nobody(packages, metadata, entry_points):
    site = packages.install("whole", {"heads": {"mine": "m:X"}})
    packages.write_info(site / "half-1.dist-info", metadata, entry_points)
    plugins.clear_cache()
    assert "ghost" not in names("heads")
    assert {"linear", "mine"} <= set(names("heads"))


@pytest.mark.parametrize("name", ["TinyViT", "9net", "lin ear", "tiny-vit", "_x"])
def test_invalid_names_are_listed_but_cannot_be_used(packages, name):
    packages.install("fastnets", {"backbones": {name: "m:X"}})
    assert names(dist="fastnets") == [name]
    assert resolve_error("backbones", name).startswith(f"unknown backbone '{name}'")
    assert resolve_error("backbones", f"fastnets:{name}") == (
        f"unknown backbone 'fastnets:{name}': the package 'fastnets' 1.0 offers no backbones"
    )


# Names


def test_a_built_in_name_stays_the_built_in(packages):
    packages.install("fastnets", {"backbones": {"resnet18": "fastnets:resnet18"}})
    assert resolve("backbones", "resnet18").is_core
    assert resolve("backbones", "resnet18").spec_name == "resnet18"
    assert resolve("backbones", "clscli:resnet18").is_core
    assert resolve("backbones", "fastnets:resnet18").dist == "fastnets"
    assert resolve("backbones", "FastNets:resnet18").dist == "fastnets"


def test_two_packages_with_one_name_must_be_told_apart(packages):
    packages.install("fastnets", {"backbones": {"tiny": "a:X"}})
    packages.install("slownets", {"backbones": {"tiny": "b:X"}})
    assert resolve_error("backbones", "tiny") == (
        "backbone 'tiny' is offered by 2 packages -- write 'fastnets:tiny' or 'slownets:tiny'"
    )
    assert resolve("backbones", "slownets:tiny").value == "b:X"


def test_unknown_name_with_near_names(packages):
    packages.install("fastnets", {"backbones": {"tinyvit": "m:X"}})
    assert resolve_error("backbones", "tinyvti") == (
        "unknown backbone 'tinyvti' -- did you mean 'tinyvit'? (see: clscli list backbones)"
    )


def test_unknown_name_of_a_kind_with_few_names_lists_them():
    assert resolve_error("necks", "zzz") == (
        f"unknown neck 'zzz' -- there are: {', '.join(names('necks'))} (see: clscli list necks)"
    )


def test_unknown_name_of_a_kind_with_many_names_only_says_where_to_look(packages):
    packages.install("many", {"hooks": {f"hook{i}": "m:X" for i in range(12)}})
    assert resolve_error("hooks", "zzz") == "unknown hook 'zzz' (see: clscli list hooks)"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("depht", "'depth'"),
        ("DEPTH", "'depth'"),
        ("vit", "'vit_small'"),  # contained in it, though not similar
        ("zzz", ""),
        ("", ""),
    ],
)
def test_near_names(name, expected):
    assert near_names(name, ["depth", "vit_small", "width"]) == expected


# Qualified names


def test_qualified_name_of_a_package_that_is_not_installed():
    assert resolve_error("backbones", "fastnets:tiny") == (
        "backbone 'fastnets:tiny' needs the package 'fastnets', which is not installed -- pip install fastnets"
    )


def test_qualified_name_of_a_package_without_such_components():
    version = importlib_metadata.version("pydantic")
    assert resolve_error("backbones", "pydantic:tiny") == (
        f"unknown backbone 'pydantic:tiny': the package 'pydantic' {version} offers no backbones"
    )


def test_qualified_name_of_an_unknown_component_suggests_from_that_package(packages):
    packages.install("fastnets", {"backbones": {"tinyvit": "m:X"}})
    assert resolve_error("backbones", "fastnets:tinyvti") == (
        "package 'fastnets' has no backbone 'tinyvti' -- did you mean 'tinyvit'? (see: clscli list backbones)"
    )


@pytest.mark.parametrize("name", [":tiny", "fastnets:", "fast nets:tiny", "../fastnets:tiny"])
def test_a_colon_without_a_package_or_a_name(name):
    assert resolve_error("backbones", name) == (
        f"unknown backbone '{name}': with a colon, a name is package:name (see: clscli list backbones)"
    )


# Where else a name is known


@pytest.mark.parametrize(
    "name", ["fastnets.tiny_vit", "fastnets/tiny_vit", "fastnets-tiny-vit", "FastNets_tiny_vit"]
)
def test_a_qualified_name_without_its_colon(packages, name):
    packages.install("fastnets", {"backbones": {"tiny_vit": "m:X"}})
    assert resolve_error("backbones", name) == (
        f"unknown backbone '{name}' -- did you mean 'fastnets:tiny_vit'? (see: clscli list backbones)"
    )


def test_a_package_in_the_place_of_a_name(packages):
    packages.install("Fast_Nets", {"backbones": {"tinyvit": "m:X"}})
    assert resolve_error("backbones", "fast_nets") == (
        "unknown backbone 'fast_nets' -- this is a package (see: clscli list backbones 'fast-nets:*')"
    )


def test_a_mistyped_package_is_not_to_be_installed(packages):
    packages.install("fastnets", {"backbones": {"tinyvit": "m:X", "small": "m:X"}})
    assert resolve_error("backbones", "fastnet:tinyvit") == (
        "backbone 'fastnet:tinyvit' needs the package 'fastnet', which is not installed "
        "-- did you mean 'fastnets:tinyvit'? Else: pip install fastnet"
    )


def test_a_name_of_another_package(packages):
    packages.install("fastnets", {"backbones": {"tinyvit": "m:X"}})
    packages.install("slownets", {"backbones": {"tinyvit": "m:X", "huge": "m:X"}})
    for name, choices in [
        ("clscli:tinyvit", "'fastnets:tinyvit' or 'slownets:tinyvit'"),
        ("fastnets:huge", "'slownets:huge'"),
    ]:
        dist, _, short = name.partition(":")
        assert resolve_error("backbones", name) == (
            f"package '{dist}' has no backbone '{short}' -- did you mean {choices}? (see: clscli list backbones)"
        )


def test_a_name_of_another_kind():
    assert resolve_error("transforms", "cutmix") == (
        "unknown transform 'cutmix' -- it is among the batch_transforms (see: clscli list batch_transforms)"
    )


def test_a_name_of_a_package_that_is_hidden(packages, monkeypatch):
    packages.install("fastnets", {"backbones": {"tinyvit": "m:X"}})
    monkeypatch.setenv("CLSCLI_PLUGINS", "othernets")
    assert resolve_error("backbones", "tinyvit") == (
        "unknown backbone 'tinyvit' -- the package 'fastnets' offers it, but is not among CLSCLI_PLUGINS"
    )


# CLSCLI_PLUGINS


@pytest.mark.parametrize(
    ("allowed", "seen"),
    [
        (None, ["big-nets", "fastnets"]),
        ("", []),
        ("fastnets", ["fastnets"]),
        (" Big_Nets , other", ["big-nets"]),
        ("big.nets,FASTNETS", ["big-nets", "fastnets"]),
    ],
)
def test_environment_limits_third_parties(packages, monkeypatch, allowed, seen):
    packages.install("Big_Nets", {"backbones": {"big": "m:X"}})
    packages.install("fastnets", {"backbones": {"tiny": "m:X"}})
    if allowed is not None:
        monkeypatch.setenv("CLSCLI_PLUGINS", allowed)
    assert sorted({c.dist for c in find_components()} - {"clscli"}) == seen
    assert "resnet18" in names()


def test_a_hidden_package_is_named_as_hidden(packages, monkeypatch):
    packages.install("fastnets", {"backbones": {"tiny": "m:X"}})
    monkeypatch.setenv("CLSCLI_PLUGINS", "")
    assert resolve_error("backbones", "fastnets:tiny") == (
        "unknown backbone 'fastnets:tiny': the package 'fastnets' 1.0 is not among CLSCLI_PLUGINS"
    )


# Loading


def test_load_returns_the_callable(packages):
    packages.install(
        "fastnets", {"backbones": {"tiny": "fast_a:Nets.tiny"}}, modules={"fast_a": "class Nets:\n  tiny = dict"}
    )
    assert load(resolve("backbones", "tiny")) is dict


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nosuchmodule", "ModuleNotFoundError: No module named 'nosuchmodule'"),
        ("raise SystemExit('bye')", "SystemExit: bye"),
        ("raise SystemExit", "SystemExit"),
        # As pytest.importorskip raises, and a panic in an extension that is written in Rust.
        ("class Panic(BaseException): pass\nraise Panic('index out of range')", "Panic: index out of range"),
        ("class Mute(Exception):\n  def __str__(self): return 1\nraise Mute", "Mute"),
        ("raise ValueError('two\\n  lines')", "ValueError: two lines"),
        ("Tiny = = 3", "SyntaxError: invalid syntax (fast_b.py, line 1)"),
        ("Other = 3", "AttributeError: module 'fast_b' has no attribute 'Tiny'"),
    ],
)
def test_a_broken_import_is_one_message(packages, source, cause):
    packages.install("fastnets", {"backbones": {"tiny": "fast_b:Tiny"}}, modules={"fast_b": source})
    assert load_error("backbones", "tiny") == (
        f"fastnets 1.0 (backbone 'tiny') cannot be imported: {cause} "
        "-- reinstall fastnets, or see what works with: clscli list --check"
    )


def test_what_a_plugin_prints_is_no_result(packages, capsys):
    packages.install(
        "fastnets", {"backbones": {"tiny": "fast_p:dict"}}, modules={"fast_p": "print('hello')\ndict = dict"}
    )
    assert load(resolve("backbones", "tiny")) is dict
    assert capsys.readouterr() == ("", "hello\n")


def test_a_value_that_is_no_object_reference(packages):
    packages.install("fastnets", {"backbones": {"tiny": "not a reference"}})
    # What importlib_metadata raises, and says, differs between its versions.
    assert load_error("backbones", "tiny").startswith("fastnets 1.0 (backbone 'tiny') cannot be imported: ")


def test_ctrl_c_during_an_import_is_not_swallowed(packages):
    packages.install(
        "fastnets", {"backbones": {"tiny": "fast_c:X"}}, modules={"fast_c": "raise KeyboardInterrupt"}
    )
    with pytest.raises(KeyboardInterrupt):
        load(resolve("backbones", "tiny"))


def test_what_is_not_callable_is_refused(packages):
    packages.install("fastnets", {"backbones": {"tiny": "fast_d:X"}}, modules={"fast_d": "X = 3"})
    assert load_error("backbones", "tiny") == (
        "fastnets 1.0 (backbone 'tiny') is not callable: fast_d:X is of type int"
    )


# Compatibility

CORE_VERSION = importlib_metadata.version("clscli")


@pytest.mark.parametrize(
    ("requires", "reason"),
    [
        ([], None),
        (["torch"], None),
        (["clscli"], None),
        (["clscli>=0.0.1,<999"], None),
        (["torch>99", "clscli<0.0.1"], f"needs clscli<0.0.1, but {CORE_VERSION} is installed"),
        (["CLSCLI>=999"], f"needs clscli>=999, but {CORE_VERSION} is installed"),
        (["clscli-extras>=999"], None),
        (["clscli>=999; extra == 'test'"], None),
        (["clscli>=999; python_version < '3'"], None),
        (["clscli>=0.0.1; python_version < '3'", "clscli>=999; python_version >= '3'"], "needs clscli>=999, "),
        (["clscli>>1"], "has an unreadable requirement 'clscli>>1'"),
    ],
)
def test_requirement_on_clscli_is_read_from_metadata(packages, requires, reason):
    packages.install(
        "fastnets", {"losses": {"mine": "fast_e:X"}}, requires=requires, modules={"fast_e": "def X(): ..."}
    )
    component = resolve("losses", "mine")
    found = incompatibility(component)
    if reason is None:
        assert found is None
        assert callable(load(component))
    else:
        assert found is not None
        assert found.startswith(f"fastnets 1.0 {reason}")
        assert load_error("losses", "mine") == f"{found} -- pip install --upgrade fastnets clscli"


# Our own package


def test_installed_metadata_is_that_of_pyproject():
    text = (Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8")
    written = {
        (group.removeprefix("clscli."), name, value)
        for group, entries in tomllib.loads(text)["project"]["entry-points"].items()
        for name, value in entries.items()
    }
    installed = {(c.kind, c.name, c.value) for c in find_components() if c.is_core}
    assert installed == written, "pyproject.toml and the installed metadata differ: run pip install -e . again"


def test_every_entry_point_of_ours_is_of_a_known_kind_and_has_a_valid_name():
    for component in find_components():
        assert component.kind in KINDS
        assert plugins.NAME.fullmatch(component.name), component
