"""What must work without torch, fast: help, listing, and finding mistakes in a spec."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "torchvision", "numpy", "PIL", "matplotlib")
SLOW = {*HEAVY, "pydantic", "rich"}
BLOCKED = """
import sys
sys.modules.update(dict.fromkeys({heavy!r}))  # from now on, importing one of them raises
sys.argv = ["clscli", *{arguments!r}]
from clscli.__main__ import main
main()
"""


def python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)


def run(*arguments):
    """Run a command line where nothing heavy can be imported."""
    return python(BLOCKED.format(heavy=HEAVY, arguments=arguments))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["--help"], "Usage: clscli"),
        (["--version"], "clscli 0"),
        (["init", "--help"], "--backbone"),
        (["train", "--help"], "--dry-run"),
        (["eval", "--help"], "--ckpt"),
        (["predict", "--help"], "--topk"),
        (["plot", "schedule", "--help"], "--steps-per-epoch"),
        (["data", "check", "--help"], "--json"),
        (["data", "show", "--help"], "--steps"),
        (["new", "plugin", "--help"], "--license"),
        (["schema", "--help"], "--out"),
        (["list"], "backbones"),
        (["list", "backbones"], "resnet18"),
        (["list", "--json"], '"qualified": "clscli:resnet18"'),
    ],
)
def test_works_without_torch(arguments, shown):
    result = run(*arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert shown in result.stdout


@pytest.mark.parametrize(
    "code",
    [
        "from clscli.cli import app; app(['--help'], standalone_mode=False)",
        # Not through Typer: in 0.29 its own reading of arguments imports pydantic.
        "from clscli.cli.list import list_command; list_command()",
        "from clscli.cli.list import list_command; list_command('backbones', 'resnet*', as_json=True)",
        "from clscli.cli.options import complete_kind; complete_kind('b')",
    ],
)
def test_help_listing_and_completion_import_nothing_slow(code):
    result = python(f"{code}; import sys; print('imported:', *{SLOW!r} & set(sys.modules))")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "imported:"


def test_mistakes_in_a_spec_are_found_without_torch(tmp_path):
    (tmp_path / "spec.toml").write_text('sead = 1\n[data]\nroot = "p"\n[model.head]\ntype = "linaer"\n')
    result = run("train", "spec.toml", "--set", "train.epochs=0")
    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert lines[0] == "spec.toml:1: sead: unknown key 'sead' -- did you mean 'seed'?"
    assert lines[1].startswith("spec.toml:5: model.head.type: unknown head 'linaer' -- did you mean 'linear'")
    assert lines[2] == "--set train.epochs=0: train.epochs: must be at least 1, got 0"
    assert len(lines) == 3


def test_a_spec_that_is_right_does_need_torch(tmp_path):
    """Show that the blocking above blocks."""
    (tmp_path / "spec.toml").write_text('[data]\nroot = "p"\n')
    result = run("train", "spec.toml")
    assert result.returncode == 1
    assert "import of torch halted" in result.stderr
