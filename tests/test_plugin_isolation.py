"""Packages of every bad sort in one environment: none of them breaks or slows a command that does not name it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from conftest import tiny_spec
from environments import Environment, build_wheel, write_package

from clscli.spec import render_spec

# Every import of a package leaves a file behind.
MARK = "import os, pathlib, time\npathlib.Path(os.environ['MARKS'], __name__).touch()\n"
NET = "def net(in_channels: int, *, width: int = 8):\n    'Do nothing.'\n"
PACKAGES = {
    "broken": ({"backbones": {"crack": "broken:net"}}, "raise OSError('libcudart.so.9: cannot open')\n"),
    "slow": ({"backbones": {"sloth": "slow:net"}, "hooks": {"snail": "slow:net"}}, f"time.sleep(5)\n{NET}"),
    "shouting": ({"backbones": {"Loud-Net": "shouting:net"}, "backbone": {"quiet": "shouting:net"}}, NET),
    "twinone": ({"backbones": {"twin": "twinone:net", "resnet18": "twinone:net"}}, NET),
    "twintwo": ({"backbones": {"twin": "twintwo:net"}, "transforms": {"resize": "twintwo:net"}}, NET),
    "future": ({"backbones": {"late": "future:net"}, "losses": {"cross_entropy": "future:net"}}, NET),
    "noisy": ({"heads": {"loud": "noisy:head"}}, "print('hello')\ndef head(in_channels, num_classes: int): ...\n"),
}
REQUIRES = {"future": ["clscli>=7"]}

# Several commands in one process, as torch takes long to import.
COMMANDS = """
import json, sys
from clscli.__main__ import main
codes = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["clscli", *arguments]
    try:
        main()
    except SystemExit as end:
        codes.append(end.code or 0)
print("codes:", *codes)
"""

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def there(tmp_path_factory):
    """An environment with all of the packages, installed from their wheels."""
    root = tmp_path_factory.mktemp("isolation")
    environment = Environment(root / "venv")
    wheels = []
    for name, (entry_points, source) in PACKAGES.items():
        requires = REQUIRES.get(name, ["clscli>=0.1"])
        package = write_package(root / "source", name, entry_points, MARK + source, requires)
        wheels.append(build_wheel(package, root / "wheels"))
    environment.pip("install", "--no-deps", "--no-index", *wheels)
    return environment


@pytest.fixture
def marks(tmp_path, monkeypatch):
    """Give back the names of the packages that were imported."""
    folder = tmp_path / "marks"
    folder.mkdir()
    monkeypatch.setenv("MARKS", str(folder))
    return lambda: sorted(path.name for path in folder.iterdir())


def test_listing_imports_none_of_them(there, marks):
    everything = json.loads(there.clscli("list", "--json").stdout)
    ours = {row["qualified"]: row["note"] for row in everything if row["dist"] != "clscli"}
    assert ours == {
        "broken:crack": "-",
        "slow:sloth": "-",
        "slow:snail": "-",
        "shouting:Loud-Net": "cannot be used: a name has only a-z, 0-9 and _, and begins with a letter",
        "twinone:twin": "write 'twinone:twin': several packages have this name",
        "twintwo:twin": "write 'twintwo:twin': several packages have this name",
        "twinone:resnet18": "write 'twinone:resnet18': the name belongs to clscli",
        "twintwo:resize": "write 'twintwo:resize': the name belongs to clscli",
        "future:late": "-",
        "future:cross_entropy": "write 'future:cross_entropy': the name belongs to clscli",
        "noisy:loud": "-",
    }
    for arguments in (["list"], ["list", "backbones"], ["list", "backbones", "resnet18"], ["train", "--help"]):
        done = there.clscli(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
    assert marks() == []


def test_a_whole_run_imports_none_of_them(there, marks, pictures):
    spec = tiny_spec(pictures) | {"train": {"epochs": 1, "precision": "float32"}}
    Path("spec.toml").write_text(render_spec(spec), encoding="utf-8")
    on_cpu = ["--ckpt", "runs/spec/best.pth", "--device", "cpu"]
    commands = [
        ["train", "spec.toml", "--device", "cpu", "--dry-run"],
        ["train", "spec.toml", "--device", "cpu"],
        ["eval", *on_cpu],
        ["predict", str(pictures / "val"), *on_cpu],
        ["data", "check", str(pictures)],
        ["list", "backbones", "resnet1*", "--long"],
    ]
    done = subprocess.run(
        [there.python, "-c", COMMANDS, json.dumps(commands)], capture_output=True, text=True, check=False
    )
    assert done.stdout.splitlines()[-1] == "codes: 0 0 0 0 0 0", done.stderr
    # One of the six names one of them: the pattern matches twinone:resnet18 as well.
    assert marks() == ["twinone"]


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("crack", 1, "broken 1.0 (backbone 'crack') cannot be imported: OSError: libcudart.so.9: cannot open "
         "-- reinstall broken, or see what works with: clscli list --check"),
        ("late", 1, "future 1.0 needs clscli>=7, but 0.1.0 is installed -- pip install --upgrade future clscli"),
        ("twin", 2, "spec.toml:1: model.backbone.type: backbone 'twin' is offered by 2 packages "
         "-- write 'twinone:twin' or 'twintwo:twin'"),
        ("Loud-Net", 2, "spec.toml:1: model.backbone.type: unknown backbone 'Loud-Net' "
         "(see: clscli list backbones)"),
        ("quiet", 2, "spec.toml:1: model.backbone.type: unknown backbone 'quiet' (see: clscli list backbones)"),
        ("broken.crack", 2, "spec.toml:1: model.backbone.type: unknown backbone 'broken.crack' "
         "-- did you mean 'broken:crack'? (see: clscli list backbones)"),
    ],
)  # fmt: skip
def test_who_names_one_of_them_is_told(there, marks, name, code, message):
    text = f'model.backbone.type = "{name}"\ndata.root = "p"\n'
    Path("spec.toml").write_text(text, encoding="utf-8")
    done = there.clscli("train", "spec.toml", "--dry-run")
    assert (done.returncode, done.stdout, done.stderr) == (code, "", f"{message}\n")
    assert marks() == (["broken"] if name == "crack" else [])


def test_check_tells_the_state_of_each(there, marks):
    # All but the slow one, for which the check would have to wait.
    seen = {"CLSCLI_PLUGINS": ",".join(sorted(PACKAGES.keys() - {"slow"}))}
    done = there.clscli("list", "--check", env=seen)
    assert (done.returncode, done.stderr) == (1, "hello\n")
    packages, components = (part.splitlines() for part in done.stdout.split("\n\n"))
    counts = {line.split()[0]: line.partition("1.0  ")[2].strip() for line in packages[2:]}
    assert counts == {
        "broken": "1 broken",
        "future": "2 incompatible",
        "noisy": "1 ok",
        "shouting": "2 invalid",
        "twinone": "2 ok",
        "twintwo": "2 ok",
    }
    told = {line.split()[1]: line.split("  ")[-1].strip() for line in components[1:] if " ok " not in line}
    assert told == {
        "crack": "broken 1.0 (backbone 'crack') cannot be imported: OSError: libcudart.so.9: cannot open "
        "-- reinstall broken, or see what works with: clscli list --check",
        "late": "future 1.0 needs clscli>=7, but 0.1.0 is installed",
        "cross_entropy": "future 1.0 needs clscli>=7, but 0.1.0 is installed",
        "Loud-Net": "cannot be used: a name has only a-z, 0-9 and _, and begins with a letter",
        "quiet": "cannot be used: there is no kind 'backbone' -- did you mean 'backbones'?",
    }
    assert marks() == ["broken", "noisy", "twinone", "twintwo"]


def test_the_schema_for_editors_leaves_out_what_is_broken(there, marks):
    hidden = {"CLSCLI_PLUGINS": "broken,future,shouting"}
    done = there.clscli("schema", env=hidden)
    assert done.returncode == 0
    assert '"resnet18"' in done.stdout
