"""plugins_example/clscli-timm: installed by pip, its own tests passed, used from the command line, and removed."""

import json
import os
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import tiny_spec
from environments import Environment

from clscli.spec import render_spec

pytestmark = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm")
EXAMPLE = Path(__file__).parents[1] / "plugins_example/clscli-timm"
MODEL = "timm/test_resnet.r160_in1k"


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """An environment with the package."""
    root = tmp_path_factory.mktemp("timm")
    environment = Environment(root / "venv")
    package = shutil.copytree(EXAMPLE, root / "clscli-timm")
    environment.pip("install", "--no-deps", "--no-build-isolation", package)
    return environment


@pytest.mark.slow
def test_the_package_s_own_tests_pass(there):
    command = [there.python, "-m", "pytest", "-q", "-p", "no:cacheprovider", EXAMPLE / "tests"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_the_life_of_a_family(there, pictures):
    listed = json.loads(there.clscli("list", "--json").stdout)
    ours = [(row["kind"], row["name"]) for row in listed if row["dist"] == "clscli-timm"]
    assert ours == [
        ("backbones", "timm"),
        ("backbones", "timm/*"),
        ("losses", "poly_bce"),
        ("losses", "poly_cross_entropy"),
        ("losses", "zlpr"),
        ("optimizers", "timm/*"),
    ]
    checked = json.loads(there.clscli("list", "backbones", "timm*", "--check", "--json").stdout)
    assert [(row["name"], row["status"]) for row in checked] == [("timm", "ok"), ("timm/*", "ok")]
    members = json.loads(there.clscli("list", "backbones", "timm/test_resnet*", "--json").stdout)
    assert [row["name"] for row in members] == ["timm/test_resnet", MODEL]
    assert "test_resnet with the weights r160_in1k" in there.clscli("list", "backbones", MODEL).stdout

    spec = tiny_spec(pictures)
    spec["model"] = {"backbone": {"type": MODEL}}
    spec["optimizer"] = {"type": "timm/nadamw", "lr": 1e-3}
    spec["train"]["epochs"] = 1
    Path("timm.toml").write_text(render_spec(spec), encoding="utf-8")
    done = there.clscli("train", "timm.toml", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    predict = ("predict", pictures / "val", "--ckpt", "runs/timm/best.pth", "--format", "jsonl", "--device", "cpu")
    assert len(there.clscli(*predict).stdout.splitlines()) == 12

    there.pip("uninstall", "--yes", "clscli-timm")
    gone = there.clscli(*predict)
    assert (gone.returncode, gone.stderr) == (
        1,
        f"runs/timm/best.pth: backbone 'clscli-timm:{MODEL}' needs the package 'clscli-timm', which is not "
        "installed -- pip install clscli-timm==0.1.0 (the version that it was trained with)\n",
    )
    unknown = there.clscli("train", "timm.toml")
    assert unknown.returncode == 2
    message = (
        f"model.backbone.type: unknown backbone '{MODEL}': no installed package offers backbones of the name "
        "timm/* (see: clscli list backbones)"
    )
    assert unknown.stderr.splitlines()[0].endswith(message)
