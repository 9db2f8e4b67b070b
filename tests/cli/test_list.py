from __future__ import annotations

import json
import sys

import pytest
import typer

from clscli import plugins
from clscli.__main__ import main
from clscli.cli.options import complete_kind, complete_name
from clscli.presets import preset_names, preset_text, preset_title

KEYS = ["kind", "name", "qualified", "dist", "version", "value", "status", "note"]
TINY = '''
class Tiny:
    """Draw conclusions quickly.

    From a paper.
    """

    def __init__(self, in_channels: int, *, depth: int = 3, name: str = "x", rate: float | None = None):
        ...

def required(width: int): ...
'''

# What a spec may set of any backbone, neck or head.
INIT = "spec (how weights are drawn: type constant, kaiming, normal, trunc_normal, uniform or xavier)"


@pytest.fixture
def clscli(monkeypatch, capsys):
    """Run the command line; give back its exit code, stdout and stderr."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clscli", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


@pytest.fixture
def fastnets(packages):
    return packages.install(
        "fastnets",
        {"backbones": {"tinyvit": "fastnets_list:Tiny", "resnet18": "fastnets_list:Tiny"}},
        version="0.3.1",
        requires=["clscli>=0.1"],
        modules={"fastnets_list": TINY},
    )


def test_summary_counts_every_kind(clscli, fastnets):
    code, out, err = clscli("list")
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0].split() == ["KIND", "COUNT", "FROM"]
    assert [line.split()[0] for line in lines[1 : 1 + len(plugins.KINDS)]] == list(plugins.KINDS)
    num_core = sum(c.is_core for c in plugins.find_components("backbones"))
    version = plugins.resolve("backbones", "resnet18").version
    assert lines[1].split(maxsplit=2) == [
        "backbones",
        str(num_core + 2),
        f"clscli {version} ({num_core}), fastnets 0.3.1 (2)",
    ]
    assert lines[-1].startswith("next: clscli list backbones")


def test_table_of_a_kind_says_how_a_hidden_name_is_written(clscli, fastnets):
    code, out, _ = clscli("list", "backbones", "[r]esnet18")
    assert code == 0
    header, built_in, other = out.splitlines()
    assert header.split() == ["NAME", "FROM", "VALUE", "NOTE"]
    assert built_in.split()[:2] == ["resnet18", "clscli"]
    assert built_in.endswith("  -")
    assert other.startswith("resnet18  fastnets 0.3.1  fastnets_list:Tiny")
    assert other.endswith("write 'fastnets:resnet18': the name belongs to clscli")


def test_note_of_a_name_that_two_packages_have(clscli, packages):
    packages.install("one", {"heads": {"same": "m:X"}})
    packages.install("two", {"heads": {"same": "m:X"}})
    _, out, _ = clscli("list", "heads", "same*")
    assert [line.split("  ")[-1] for line in out.splitlines()[1:]] == [
        "write 'one:same': several packages have this name",
        "write 'two:same': several packages have this name",
    ]


def test_note_of_an_invalid_name(clscli, packages):
    packages.install("one", {"heads": {"Bad Name": "m:X"}})
    _, out, _ = clscli("list", "heads", "Bad*")
    assert out.splitlines()[1].endswith("cannot be used: a name has only a-z, 0-9 and _, and begins with a letter")


def test_pattern_matches_names_and_qualified_names(clscli, fastnets):
    _, out, _ = clscli("list", "backbones", "fastnets:*", "--json")
    assert [row["qualified"] for row in json.loads(out)] == ["fastnets:resnet18", "fastnets:tinyvit"]
    _, out, _ = clscli("list", "backbones", "tiny[uv]*", "--json")
    assert [row["name"] for row in json.loads(out)] == ["tinyvit"]


def test_one_component_with_docstring_and_parameters(clscli, fastnets):
    code, out, err = clscli("list", "backbones", "tinyvit")
    assert (code, err) == (0, "")
    assert out == (
        "fastnets:tinyvit  (backbone, fastnets 0.3.1)\n"
        "fastnets_list:Tiny\n"
        "\n"
        "Draw conclusions quickly.\n"
        "\n"
        "From a paper.\n"
        "\n"
        "PARAMETER    TYPE          DEFAULT  SET BY\n"
        "in_channels  int           -        clscli\n"
        "depth        int           3        spec\n"
        'name         str           "x"      spec\n'
        "rate         float         none     spec\n"
        "pretrained   bool | str    false    spec (true, a name of weights, a path or a URL)\n"
        f"init         table | list  none     {INIT}\n"
    )


def test_one_component_by_its_qualified_name(clscli, fastnets):
    assert clscli("list", "backbones", "fastnets:tinyvit") == clscli("list", "backbones", "tinyvit")


def test_a_component_without_docstring_or_parameters_does_not_show_those_of_its_base(clscli, packages):
    source = "class Base:\n  'Not mine.'\nclass Mine(Base): ...\n"
    packages.install("one", {"hooks": {"mine": "doc_list:Mine"}}, modules={"doc_list": source})
    _, out, _ = clscli("list", "hooks", "mine")
    assert out == "one:mine  (hook, one 1.0)\ndoc_list:Mine\n\n(no description)\n\nno parameters\n"


def test_a_partial_shows_the_docstring_of_its_function_and_its_own_defaults(clscli, packages):
    source = (
        "import functools\nfrom pathlib import Path\n"
        "def family(depth: int, root: Path = Path('a')):\n  'A family.'\n"
        "small = functools.partial(family, depth=3)\n"
    )
    packages.install("one", {"necks": {"small": "partial_list:small"}}, modules={"partial_list": source})
    _, out, _ = clscli("list", "necks", "small")
    assert out.splitlines()[3:] == [
        "A family.",
        "",
        "PARAMETER  TYPE          DEFAULT  SET BY",
        "depth      int           3        spec",
        'root       path          "a"      spec',
        f"init       table | list  none     {INIT}",
    ]


def test_a_component_that_no_spec_can_use_is_still_shown(clscli, packages):
    packages.install("one", {"necks": {"bad": "bad_list:bad"}}, modules={"bad_list": "def bad(*args): 'Doc.'"})
    code, out, _ = clscli("list", "necks", "bad")
    assert code == 0
    assert out.splitlines()[-1] == (
        "cannot be used in a spec: it takes '*args', but each parameter must have a name of its own"
    )


def test_json_has_the_keys_that_scripts_rely_on(clscli, fastnets):
    code, out, err = clscli("list", "backbones", "tinyvit", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == [
        dict(
            zip(
                KEYS,
                ["backbones", "tinyvit", "fastnets:tinyvit", "fastnets", "0.3.1", "fastnets_list:Tiny", "-", "-"],
                strict=True,
            )
        )
    ]
    rows = json.loads(clscli("list", "--json")[1])
    assert len(rows) == len(plugins.find_components())
    assert all(list(row) == KEYS for row in rows)


# --check


def test_check_names_what_is_broken_and_lists_the_rest(clscli, packages, fastnets):
    packages.install(
        "oldnets",
        {
            "necks": {
                "bare": "old_list:bare",
                "default": "old_list:default",
                "gone": "nosuchmodule:X",
                "star": "old_list:star",
            }
        },
        modules={"old_list": "def bare(): ...\ndef star(**kw): ...\ndef default(a: int = 'x'): ...\n"},
    )
    packages.install("future", {"necks": {"late": "m:X", "Bad": "m:X"}}, requires=["clscli>=999"])
    code, out, err = clscli("list", "necks", "--check", "--json")
    assert (code, err) == (1, "")
    rows = {row["name"]: row for row in json.loads(out)}
    assert {name: row["status"] for name, row in rows.items()} == {
        "bare": "ok",
        "default": "broken",
        "gone": "broken",
        "star": "broken",
        "late": "incompatible",
        "Bad": "invalid",
        **{c.name: "ok" for c in plugins.find_components("necks") if c.is_core},
    }
    core = plugins.resolve("backbones", "resnet18").version
    assert {name: row["note"] for name, row in rows.items() if row["status"] != "ok"} == {
        "default": (
            "oldnets 1.0 (neck 'default') cannot be used in a spec: "
            "the default of parameter 'a' does not fit: must be an integer, got \"x\""
        ),
        "gone": (
            "oldnets 1.0 (neck 'gone') cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule' "
            "-- reinstall oldnets, or see what works with: clscli list --check"
        ),
        "star": (
            "oldnets 1.0 (neck 'star') cannot be used in a spec: "
            "it takes '**kw', but each parameter must have a name of its own"
        ),
        "late": f"future 1.0 needs clscli>=999, but {core} is installed",
        "Bad": "cannot be used: a name has only a-z, 0-9 and _, and begins with a letter",
    }
    assert rows["bare"]["note"] == "states no version of clscli that it needs"


def test_check_of_everything_counts_by_package_and_shows_what_to_know(clscli, packages, fastnets):
    packages.install("broken", {"necks": {"gone": "nosuchmodule:X"}})
    packages.install("shouting", {"neck": {"quiet": "m:X"}, "pizzas": {"plain": "m:X"}})
    code, out, err = clscli("list", "--check")
    assert (code, err) == (1, "")
    packages_table, components = (part.splitlines() for part in out.split("\n\n"))
    core = plugins.resolve("backbones", "resnet18")
    num_core = sum(c.is_core for c in plugins.find_components())
    assert [[cell for cell in line.split("  ") if cell] for line in packages_table] == [
        ["PACKAGE", " COMPONENTS"],
        [f"clscli {core.version}", f"{num_core} ok"],
        ["broken 1.0", "1 broken"],
        ["fastnets 0.3.1", "2 ok"],
        ["shouting 1.0", "2 invalid"],
    ]
    header, *rows = components
    assert header.split() == ["KIND", "NAME", "FROM", "VALUE", "STATUS", "NOTE"]
    assert [(*line.split()[:2], line[header.index("STATUS") :]) for line in rows] == [
        ("backbones", "resnet18", "ok       write 'fastnets:resnet18': the name belongs to clscli"),
        ("necks", "gone", "broken   broken 1.0 (neck 'gone') cannot be imported: ModuleNotFoundError: "
         "No module named 'nosuchmodule' -- reinstall broken, or see what works with: clscli list --check"),
        ("neck", "quiet", "invalid  cannot be used: there is no kind 'neck' -- did you mean 'necks'?"),
        ("pizzas", "plain", "invalid  cannot be used: there is no kind 'pizzas' "
         f"-- there are: {', '.join(plugins.KINDS)}"),
    ]  # fmt: skip


def test_check_of_one_component(clscli, fastnets):
    code, out, _ = clscli("list", "backbones", "tinyvit", "--check")
    assert code == 0
    assert [line.split() for line in out.splitlines()] == [
        ["NAME", "FROM", "VALUE", "STATUS", "NOTE"],
        ["tinyvit", "fastnets", "0.3.1", "fastnets_list:Tiny", "ok", "-"],
    ]


def test_all_components_of_ours_pass_the_check(clscli, monkeypatch):
    monkeypatch.setenv("CLSCLI_PLUGINS", "")
    code, out, _ = clscli("list", "--check", "--json")
    assert [row for row in json.loads(out) if row["status"] != "ok"] == []
    assert code == 0
    assert clscli("list", "hooks", "--check")[1].splitlines()[0].split() == [
        "NAME",
        "FROM",
        "VALUE",
        "STATUS",
        "NOTE",
    ]


# Presets


def test_presets_are_listed_with_what_they_are(clscli):
    code, out, _ = clscli("list", "presets")
    lines = out.splitlines()
    assert (code, lines[0].split()) == (0, ["NAME", "WHAT", "IT", "IS"])
    assert [line.split()[0] for line in lines[1:]] == preset_names()
    assert f"demo               {preset_title('demo')}" in lines


def test_one_preset_is_shown_as_it_is(clscli):
    assert clscli("list", "presets", "rsb-a3") == (0, preset_text("rsb-a3"), "")


def test_presets_by_pattern_as_json(clscli):
    _, out, _ = clscli("list", "presets", "cifar10-*", "--json")
    names = ["cifar10-fast", "cifar10-resnet18"]
    assert json.loads(out) == [{"name": name, "title": preset_title(name)} for name in names]


# Wrong usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["backbone"], "no kind 'backbone' -- did you mean 'backbones'?"),
        (["zzz"], f"no kind 'zzz' -- there are: {', '.join(plugins.KINDS)}, presets"),
        (["presets", "rsb-a33"], "no preset 'rsb-a33' -- did you mean 'rsb-a3'?"),
        (["presets", "zzz*"], f"no preset 'zzz*' -- there are: {', '.join(preset_names())}"),
        (["presets", "--check"], "--check and --long are for components -- try: clscli list presets"),
        (["backbones", "zzz*"], "no backbones match 'zzz*'"),
        (["backbones", "nosuch:x"], "backbone 'nosuch:x' needs the package 'nosuch', which is not installed -- "
         "pip install nosuch"),
        (["heads", "linaer"], "unknown head 'linaer' -- did you mean 'linear'"),
    ],
)  # fmt: skip
def test_wrong_usage_is_one_line_on_stderr(clscli, arguments, message):
    code, out, err = clscli("list", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(message)
    assert err.count("\n") == 1


def test_a_broken_component_exits_with_1(clscli, packages):
    packages.install("one", {"necks": {"gone": "nosuchmodule:X"}})
    code, out, err = clscli("list", "necks", "gone")
    assert (code, out) == (1, "")
    assert err.startswith("one 1.0 (neck 'gone') cannot be imported: ModuleNotFoundError")


# Completion


def test_completion_of_kinds():
    assert complete_kind("h") == ["heads", "hooks"]
    assert complete_kind("p") == ["presets"]


def test_completion_of_names_has_qualified_ones_of_third_parties(fastnets):
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params["kind"] = "backbones"
    assert complete_name(context, "tiny") == ["tinyvit"]
    assert complete_name(context, "fast") == ["fastnets:resnet18", "fastnets:tinyvit"]
    context.params["kind"] = "presets"
    assert complete_name(context, "de") == ["deit-small", "demo"]
    context.params["kind"] = "nosuchkind"
    assert complete_name(context, "") == []


# The catalogue


def test_long_computes_what_a_backbone_is_and_costs(clscli):
    code, out, _ = clscli("list", "backbones", "resnet50", "--long", "--json")
    assert code == 0
    (row,) = json.loads(out)
    assert row["name"] == "resnet50"
    assert row["family"] == "ResNet"
    assert row["parameters"] == 23_508_032
    # torchvision's page says 4.09 GFLOPS with the classifier, which has 2048 * 1000.
    assert row["flops"] + 2_048_000 == pytest.approx(4.089e9, rel=1e-3)
    assert row["weights"] == ["IMAGENET1K_V2", "IMAGENET1K_V1"]
    assert row["paper"] == "https://arxiv.org/abs/1512.03385"


def test_long_as_a_table_is_of_what_matches(clscli):
    code, out, _ = clscli("list", "backbones", "shufflenet_v1_x*", "--long")
    assert code == 0
    header, *rows = out.splitlines()[:5]
    assert header.split() == [
        "NAME",
        "FAMILY",
        "FROM",
        "PARAMS",
        "M",
        "GFLOPS",
        "SIZE",
        "WEIGHTS",
        "LICENCE",
        "PAPER",
        "NOTE",
    ]
    assert [row.split()[0] for row in rows] == [f"shufflenet_v1_x{w}" for w in ("0_5", "1_0", "1_5", "2_0")]


def test_long_names_what_is_wrong_with_a_plugin_and_goes_on(clscli, packages):
    packages.install("one", {"backbones": {"tinybad": "not_there:X"}})
    packages.install(
        "two",
        {"backbones": {"tinyshy": "shy_list:Shy"}},
        modules={
            "shy_list": "from torch import nn\n"
            "class Shy(nn.Linear):\n"
            "  'Fail when it runs.'\n"
            "  def __init__(self, in_channels: int):\n"
            "    super().__init__(in_channels, 2)\n"
            "  def forward(self, images):\n"
            "    raise RuntimeError('not today')\n"
        },
    )
    code, out, _ = clscli("list", "backbones", "tiny*", "--long", "--json")
    assert code == 0
    bad, shy = json.loads(out)
    assert bad["parameters"] is None
    assert "cannot be imported: ModuleNotFoundError: No module named 'not_there'" in bad["note"]
    assert (shy["parameters"], shy["flops"]) == (8, None)
    assert shy["note"] == "not counted at 224x224: RuntimeError: not today"


@pytest.mark.parametrize("arguments", [("heads", "--long"), ("--long",), ("backbones", "--long", "--check")])
def test_long_is_for_backbones(clscli, arguments):
    code, _, err = clscli("list", *arguments)
    assert code == 2
    assert err == ("--long is for backbones, without --check -- try: clscli list backbones 'resnet*' --long\n")
