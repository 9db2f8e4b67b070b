"""A real package: built and installed by pip, listed, trained with, predicted with, and removed again."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import tiny_spec
from environments import Environment

from clscli.spec import render_spec

EXAMPLE = Path(__file__).parents[1] / "plugins_example/fastnets"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    return Environment(tmp_path_factory.mktemp("venv"))


@pytest.fixture
def installed(there):
    return there.python


@pytest.fixture
def pip(there):
    return there.pip


@pytest.fixture
def clscli_there(there):
    return there.clscli


@pytest.mark.slow
def test_the_life_of_a_plugin(pip, clscli_there, pictures, tmp_path):
    package = shutil.copytree(EXAMPLE, tmp_path / "fastnets")
    assert "tinyconv" not in clscli_there("list", "backbones").stdout
    pip("install", "--no-deps", "--no-build-isolation", package)

    listed = json.loads(clscli_there("list", "--json").stdout)
    ours = [row for row in listed if row["dist"] == "fastnets"]
    assert [(row["kind"], row["name"], row["version"]) for row in ours] == [
        ("backbones", "tinyconv", "0.3.1"),
        ("hooks", "weight_norm", "0.3.1"),
        ("losses", "poly1", "0.3.1"),
        ("transforms", "invert", "0.3.1"),
    ]
    assert clscli_there("list", "--check").returncode == 0
    shown = clscli_there("list", "backbones", "tinyconv").stdout
    assert "Three convolutions for small pictures." in shown
    assert "width" in shown

    spec = tiny_spec(pictures)
    spec["model"] = {"backbone": {"type": "tinyconv", "width": 8}, "loss": {"type": "poly1"}}
    spec["transforms"]["train"] = [{"type": "invert", "p": 0.2}]
    spec["hooks"] = [{"type": "weight_norm", "every": 2}]
    Path("plugin.toml").write_text(render_spec(spec), encoding="utf-8")
    done = clscli_there("train", "plugin.toml", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    resolved = Path("runs/plugin/spec.toml").read_text()
    for name in ("fastnets:tinyconv", "fastnets:poly1", "fastnets:invert", "fastnets:weight_norm"):
        assert f'type = "{name}"' in resolved
    assert Path("runs/plugin/train.log").read_text().count("weight norm ") == 1  # of three epochs

    predict = (
        "predict",
        pictures / "val",
        "--ckpt",
        "runs/plugin/best.pth",
        "--format",
        "jsonl",
        "--device",
        "cpu",
    )
    first = clscli_there(*predict)
    assert (first.returncode, first.stderr) == (0, "")
    assert len(first.stdout.splitlines()) == 12

    hidden = clscli_there(*predict, env={"CLSCLI_PLUGINS": ""})
    assert hidden.returncode == 1
    versions = f"(trained with clscli 0.1.0, fastnets 0.3.1, torch {torch.__version__})"
    assert hidden.stderr.endswith(f"the package 'fastnets' 0.3.1 is not among CLSCLI_PLUGINS {versions}\n")

    project = package / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.3.1"', 'version = "0.4.0"'))
    pip("install", "--no-deps", "--no-build-isolation", package)
    newer = clscli_there(*predict)
    assert (newer.returncode, newer.stdout) == (0, first.stdout)
    assert newer.stderr == (
        "runs/plugin/best.pth: was trained with fastnets 0.3.1, and 0.4.0 is installed: "
        "results may differ -- pip install fastnets==0.3.1\n"
    )

    pip("uninstall", "--yes", "fastnets")
    assert "tinyconv" not in clscli_there("list", "backbones").stdout
    for command in (predict, ("eval", "--ckpt", "runs/plugin/best.pth", "--device", "cpu")):
        gone = clscli_there(*command)
        assert (gone.returncode, gone.stdout) == (1, "")
        assert gone.stderr == (
            "runs/plugin/best.pth: backbone 'fastnets:tinyconv' needs the package 'fastnets', "
            "which is not installed -- pip install fastnets==0.3.1 (the version that it was trained with)\n"
        )
    unknown = clscli_there("train", "plugin.toml")
    assert unknown.returncode == 2
    assert "model.backbone.type: unknown backbone 'tinyconv'" in unknown.stderr


@pytest.mark.slow
def test_a_plugin_for_another_clscli_is_refused_in_words(pip, clscli_there, pictures, tmp_path):
    package = shutil.copytree(EXAMPLE, tmp_path / "fastnets")
    project = package / "pyproject.toml"
    project.write_text(project.read_text().replace("clscli>=0.1,<0.2", "clscli>=7"))
    pip("install", "--no-deps", "--no-build-isolation", package)
    try:
        done = clscli_there(
            "train", "demo", "--data", pictures, "--set", "model.backbone.type=tinyconv", "--dry-run"
        )
        assert done.returncode == 1
        assert done.stderr == (
            "fastnets 0.3.1 needs clscli>=7, but 0.1.0 is installed -- pip install --upgrade fastnets clscli\n"
        )
        check = clscli_there("list", "--check")
        assert check.returncode == 1
        assert "fastnets 0.3.1  4 incompatible\n" in check.stdout
        assert clscli_there("train", "demo", "--data", pictures, "--dry-run").returncode == 0
    finally:
        pip("uninstall", "--yes", "fastnets")
