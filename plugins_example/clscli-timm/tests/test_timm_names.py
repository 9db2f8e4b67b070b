"""The names of timm's models and optimizers, kept in a file so that timm is not imported for them."""

import json
import os
import subprocess
import sys

import pytest
import timm
from clscli_timm import families

LIST_WITHOUT_TIMM = (
    "import sys; sys.modules['timm'] = sys.modules['torch'] = None;"
    "sys.argv = ['clscli', 'list', 'backbones', 'timm/resnet1*', '--json'];"
    "from clscli.__main__ import main; main()"
)


@pytest.fixture
def names_file(tmp_path, monkeypatch):
    """The file of names in an empty cache."""
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path))
    families._names.cache_clear()
    yield tmp_path / "clscli-timm" / f"timm-{timm.__version__}.json"
    families._names.cache_clear()


def test_names_are_asked_of_timm_once_for_each_version_of_it(names_file, tmp_path):
    names = families.backbones.names()
    assert {"resnet18", "resnet18.a1_in1k", "convnext_nano.in12k_ft_in1k"} <= set(names)
    assert json.loads(names_file.read_text())["models"] == names
    environment = {**os.environ, "CLSCLI_CACHE": str(tmp_path)}
    command = [sys.executable, "-c", LIST_WITHOUT_TIMM]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    listed = {row["name"] for row in json.loads(done.stdout)}
    assert listed == {f"timm/{name}" for name in names if name.startswith("resnet1")}


def test_a_damaged_file_of_names_is_written_again(names_file):
    names_file.parent.mkdir()
    names_file.write_text("{")
    assert "adopt" in families.optimizers.names()
    assert "adopt" in json.loads(names_file.read_text())["optimizers"]


def test_a_cache_that_cannot_be_written_is_done_without(names_file):
    names_file.parent.write_text("a file where the folder should be")
    assert "resnet18" in families.backbones.names()


def test_optimizers_that_no_spec_could_use_are_left_out():
    names = families.optimizers.names()
    assert "adamw" in names
    assert not {"adahessian", "fusedadam", "bnbadam"} & set(names)
