"""The tutorial for authors of plugins, plugins_example/README.md: what it says is so."""

import importlib
import re
import tomllib
from pathlib import Path

import torch

from clscli.data.pipeline import build_transforms
from clscli.new_plugin import plugin_files
from clscli.plugins import KINDS
from clscli.spec import load_spec

ROOT = Path(__file__).parents[1]
TUTORIAL = (ROOT / "plugins_example/README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of a language of the page, without what they are indented by."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", TUTORIAL, re.DOTALL | re.MULTILINE)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


def test_the_change_can_be_made(tmp_path, monkeypatch):
    source = plugin_files("my-backbones", ["backbones"], "MIT")["my_backbones/separable_net.py"]
    changes = blocks("diff")
    assert len(changes) == 3
    for change in changes:
        lines = change.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if not line.startswith("+"))
        assert source.count(before) == 1
        source = source.replace(before, "".join(line[1:] for line in lines if not line.startswith("-")))
    (tmp_path / "changed_net.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    net = importlib.import_module("changed_net").SeparableNet(3, width=4, kernel_size=5)
    assert net(torch.zeros(2, 3, 32, 32)).shape == (2, 32, 4, 4)
    assert net.blocks[0][0].kernel_size == (5, 5)


def test_what_is_printed_first(clscli):
    begin = clscli("new", "plugin", "my-backbones", "--kind", "backbone").err
    assert f"$ clscli new plugin my-backbones --kind backbone\n{begin}" in TUTORIAL


def test_the_albumentations_transform_is_the_tested_one():
    tested = (ROOT / "tests/data/transforms/test_albumentations_plugin.py").read_text(encoding="utf-8")
    (block,) = [block for block in blocks("python") if "albumentations" in block]
    assert f"PLUGIN = '''\n{block}'''" in tested


def test_it_links_to_every_contract():
    linked = re.findall(r"\]\(contracts/(\w+)\.md\)", TUTORIAL)
    assert linked == list(KINDS)
    for target in re.findall(r"\]\(([\w/.]+)\)", TUTORIAL):
        assert (ROOT / "plugins_example" / target).exists(), target


def test_a_transform_within_a_transform(plugin):
    (source,) = [block for block in blocks("python") if "class Twice" in block]
    header = "from torch import Tensor\nfrom clscli.data.transforms.contract import Transform\n"
    plugin("transforms", twice="twice_module:Twice", twice_module=header + source)
    (text,) = [block for block in blocks("toml") if "twice" in block]
    spec = load_spec({"data": {"root": "x"}, **tomllib.loads(text)})
    (transform,) = build_transforms(spec, "train")
    assert transform.transform.p == 0.3
