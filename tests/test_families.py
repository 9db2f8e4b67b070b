"""Families of names: one entry point that offers many components."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from clscli import plugins
from clscli.cli.options import complete_name
from clscli.errors import PluginError, SpecError, UnknownComponentError
from clscli.families import members
from clscli.spec import load_spec

NETS = '''
from torch import nn

class Net(nn.Module):
    """Draw conclusions."""
    def __init__(self, in_channels: int, *, width: int):
        super().__init__()
        self.out_channels = width
        self.conv = nn.Conv2d(in_channels, width, 3)
    def forward(self, images):
        return self.conv(images)
'''
FAMILY = """
import functools

class Family:
    def names(self):
        return {"wide-2.5k": 32, "tiny": 4, "small": 8}
    def __call__(self, name):
        from nets_of_family import Net
        return functools.partial(Net, width=self.names()[name])

family = Family()
"""


@pytest.fixture
def install(packages):
    """Install a package `many-nets 1.0` with the family `many/*` of this source."""

    def install(source=FAMILY, dist="many-nets", module="family_of_nets"):
        modules = {module: source, "nets_of_family": NETS}
        return packages.install(dist, {"backbones": {"many/*": f"{module}:family"}}, modules=modules)

    return install


def test_a_member_is_found_by_its_name_and_qualified(install):
    install()
    found = plugins.resolve("backbones", "many/tiny")
    assert (found.name, found.qualified, found.value) == (
        "many/tiny",
        "many-nets:many/tiny",
        "family_of_nets:family",
    )
    assert found == plugins.resolve("backbones", "Many_Nets:many/tiny")
    assert plugins.load(found)(in_channels=3).out_channels == 4
    assert str(found) == "many-nets 1.0 (backbone 'many/tiny')"
    family = next(c for c in plugins.find_components("backbones") if c.is_family)
    assert [c.name for c in members(family)] == ["many/small", "many/tiny", "many/wide-2.5k"]


def test_a_member_in_a_spec_is_resolved_with_its_package(install, tiny):
    install()
    tiny["model"]["backbone"] = {"type": "many/wide-2.5k"}
    spec = load_spec(tiny)
    assert spec.values["model"]["backbone"] == {"type": "many-nets:many/wide-2.5k", "width": 32}
    assert load_spec(spec.values).values == spec.values


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "many/tniy",
            "package 'many-nets' has no backbone 'many/tniy' -- did you mean 'many/tiny'? "
            "(see: clscli list backbones 'many/*')",
        ),
        (
            "many-nets:many/zzz",
            "package 'many-nets' has no backbone 'many/zzz' (see: clscli list backbones 'many/*')",
        ),
        (
            "many/*",
            "backbone 'many/*' stands for many names -- write one of them (see: clscli list backbones 'many/*')",
        ),
        (
            "mani/tiny",
            "unknown backbone 'mani/tiny': no installed package offers backbones of the name mani/* "
            "-- did you mean 'many/*'? (see: clscli list backbones)",
        ),
        (
            "nosuch/tiny",
            "unknown backbone 'nosuch/tiny': no installed package offers backbones of the name nosuch/* "
            "(see: clscli list backbones)",
        ),
        (
            "many-nets:tiny",
            "package 'many-nets' has no backbone 'tiny' -- there are: many/* (see: clscli list backbones)",
        ),
    ],
)
def test_mistyped_names(install, name, message):
    install()
    with pytest.raises(UnknownComponentError) as caught:
        plugins.resolve("backbones", name)
    assert str(caught.value) == message


def test_a_mistyped_member_is_told_with_its_line(install, tmp_path, pictures):
    install()
    Path("spec.toml").write_text(
        f'[data]\nroot = {json.dumps(str(pictures))}\n[model]\nbackbone = {{ type = "many/smal" }}\n'
    )
    with pytest.raises(SpecError) as caught:
        load_spec(Path("spec.toml"))
    assert str(caught.value) == (
        "spec.toml:4: model.backbone.type: package 'many-nets' has no backbone 'many/smal' "
        "-- did you mean 'many/small'? (see: clscli list backbones 'many/*')"
    )


def test_two_packages_with_one_family_must_be_told_apart(install, clscli):
    install()
    install(dist="more-nets", module="other_family_of_nets")
    with pytest.raises(UnknownComponentError) as caught:
        plugins.resolve("backbones", "many/tiny")
    assert str(caught.value) == (
        "backbone 'many/tiny' is offered by 2 packages -- write 'many-nets:many/tiny' or 'more-nets:many/tiny'"
    )
    assert plugins.resolve("backbones", "more-nets:many/tiny").dist == "more-nets"
    rows = json.loads(clscli("list", "backbones", "many/t*", "--json").out)
    assert [row["note"] for row in rows] == [
        "write 'many-nets:many/tiny': several packages have this name",
        "write 'more-nets:many/tiny': several packages have this name",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import nosuchmodule\n",
            "cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule' "
            "-- reinstall many-nets, or see what works with: clscli list --check",
        ),
        ("family = 3\n", "is not callable: family_of_nets:family is of type int"),
        ("def family(name): ...\n", "breaks its contract: a family has a function names()"),
        (
            "def family(name): ...\nfamily.names = lambda: 1 / 0\n",
            "cannot tell its names: ZeroDivisionError: division by zero",
        ),
        (
            "def family(name): ...\nfamily.names = lambda: ['tiny', 'Bad']\n",
            "breaks its contract: it offers 'Bad', but its names have only a-z, 0-9, _, . and -, "
            "and begin with a letter or digit",
        ),
    ],
)
def test_a_broken_family_fails_who_names_it_and_nobody_else(install, clscli, source, message):
    install(source)
    expected = f"many-nets 1.0 (backbone 'many/*') {message}"
    with pytest.raises(PluginError) as caught:
        plugins.resolve("backbones", "many/tiny")
    assert str(caught.value) == expected
    done = clscli("list", "backbones", "many/*")
    assert (done.code, done.out, done.err) == (1, "", f"{expected}\n")
    assert clscli("list", "backbones").code == 0
    assert plugins.resolve("backbones", "resnet18").is_core


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ("1 / 0", "cannot be made by its family: ZeroDivisionError: division by zero"),
        ("3", "is not callable: its family made something of type int"),
    ],
)
def test_a_member_that_its_family_cannot_make(install, result, message):
    install(f"def family(name): return {result}\nfamily.names = lambda: ['tiny']\n")
    with pytest.raises(PluginError) as caught:
        plugins.load(plugins.resolve("backbones", "many/tiny"))
    assert str(caught.value) == f"many-nets 1.0 (backbone 'many/tiny') {message}"


# clscli list


def test_a_family_is_one_line_that_says_how_to_see_more(install, clscli):
    install("raise SystemExit('imported')\n")
    line = clscli("list", "backbones", "man[y]*").out.splitlines()[1]
    assert line == "many/*  many-nets 1.0  family_of_nets:family  many names: clscli list backbones 'many/*'"


@pytest.mark.parametrize("pattern", ["many/*[ly]", "many-nets:many/*[ly]"])
def test_a_pattern_that_begins_with_the_family_s_name_shows_its_members(install, clscli, pattern):
    install()
    rows = json.loads(clscli("list", "backbones", pattern, "--json").out)
    assert rows == [
        {
            "kind": "backbones",
            "name": name,
            "qualified": f"many-nets:{name}",
            "dist": "many-nets",
            "version": "1.0",
            "value": "family_of_nets:family",
            "status": "-",
            "note": "-",
        }
        for name in ("many/small", "many/tiny")
    ]


def test_one_member_is_shown_like_any_component(install, clscli):
    install()
    lines = clscli("list", "backbones", "many/tiny").out.splitlines()
    assert lines[:4] == [
        "many-nets:many/tiny  (backbone, many-nets 1.0)",
        "family_of_nets:family",
        "",
        "Draw conclusions.",
    ]
    assert lines[7].split() == ["width", "int", "4", "spec"]


def test_check_looks_at_the_family_and_makes_no_member(install, clscli):
    install("def family(name): raise ValueError\nfamily.names = lambda: 1 / 0\n")
    (row,) = json.loads(clscli("list", "backbones", "man[y]*", "--check", "--json").out)
    assert (row["name"], row["status"]) == ("many/*", "ok")
    done = clscli("list", "backbones", "many/*", "--check")
    assert done.code == 1
    assert (
        done.err
        == "many-nets 1.0 (backbone 'many/*') cannot tell its names: ZeroDivisionError: division by zero\n"
    )


def test_the_catalogue_has_members_and_no_family(install, clscli):
    install()
    rows = json.loads(clscli("list", "backbones", "many/t*", "--long", "--json").out)
    assert [(row["name"], row["parameters"]) for row in rows] == [("many/tiny", 3 * 9 * 4 + 4)]
    assert json.loads(clscli("list", "backbones", "man[y]*", "--long", "--json").out) == []


def test_completion(install):
    install()
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params["kind"] = "backbones"
    assert complete_name(context, "man") == ["many-nets:many/", "many/"]
    assert complete_name(context, "many/t") == ["many/tiny"]
    assert complete_name(context, "many-nets:many/s") == ["many-nets:many/small"]


def test_completion_is_silent_about_a_broken_family(install):
    install("raise RuntimeError\n")
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params["kind"] = "backbones"
    assert complete_name(context, "many/t") == []


def test_an_entry_point_with_a_slash_that_is_no_family_is_invalid(packages, clscli):
    packages.install("one", {"heads": {"a/b": "m:X", "A/*": "m:X"}})
    rows = json.loads(clscli("list", "heads", "[aA]/*", "--json").out)
    assert [row["note"] for row in rows] == [f"cannot be used: {plugins.NAME_RULE}"] * 2


def test_listing_members_does_not_import_torch(install):
    site = install()
    code = (
        f"import sys; sys.path.insert(0, {str(site)!r}); sys.modules['torch'] = None; "
        "sys.argv = ['clscli', 'list', 'backbones', 'many/*']; from clscli.__main__ import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [
        "many/small",
        "many/tiny",
        "many/wide-2.5k",
    ]
