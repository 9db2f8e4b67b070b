from __future__ import annotations

import importlib
import json
import sys
import types

import importlib_metadata
import pytest
import torch

from clscli import __version__, abilities, doctor
from clscli.__main__ import main

TINY = """
class Tiny:
    def __init__(self, in_channels: int, *, depth: int = 3): ...
"""


@pytest.fixture
def clscli(monkeypatch, capsys):
    """Run the command line; give back its exit code, stdout and stderr."""
    monkeypatch.setattr(doctor, "try_ability", lambda name, device: None)  # each takes seconds; tested below

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clscli", *arguments])
        with pytest.raises(SystemExit) as caught:
            main()
        out, err = capsys.readouterr()
        return caught.value.code or 0, out, err

    return run


def findings(out):
    return {f["topic"]: (f["status"], f["text"]) for f in json.loads(out)["findings"]}


def test_all_is_well_here(clscli):
    code, out, err = clscli("doctor", "--json")
    document = json.loads(out)
    assert (code, err, document["ok"]) == (0, "", True)
    found = findings(out)
    assert found["clscli"][1].startswith(f"{__version__}, Python {sys.version.split()[0]}, ")
    assert found["torch"][1].startswith(importlib_metadata.version("torch"))
    assert found["plugins"] == ("ok", "none are installed")
    assert found["bfloat16 on cpu"] == found["compile on cpu"] == ("ok", "works")


def test_as_text_each_finding_is_a_line(clscli):
    code, out, _ = clscli("doctor")
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith(f"ok       clscli              {__version__}, Python ")
    assert f"ok       pillow              {importlib_metadata.version('pillow')}" in lines


def test_a_torchvision_for_another_torch(clscli, monkeypatch):
    monkeypatch.setattr(importlib_metadata, "requires", lambda name: ["numpy", "torch==2.6.0"])
    version = importlib_metadata.version("torch")
    code, out, _ = clscli("doctor", "--json")
    assert code == 1
    assert findings(out)["torchvision"] == (
        "problem",
        f"{importlib_metadata.version('torchvision')} is meant for torch==2.6.0, but torch {version} is installed "
        "-- install the two together, from one index: pip install --force-reinstall torch torchvision",
    )


@pytest.mark.parametrize(
    ("error", "explained"),
    [
        (
            RuntimeError("operator torchvision::nms does not exist"),
            " -- it does not fit this torch: one is for CUDA and the other is not, or their versions differ",
        ),
        (OSError("libjpeg.so.8: cannot open shared object file"), ""),
    ],
)
def test_a_torchvision_that_cannot_be_imported(clscli, monkeypatch, error, explained):
    break_import(monkeypatch, "torchvision", error)
    code, out, _ = clscli("doctor", "--json")
    assert code == 1
    assert findings(out)["torchvision"] == (
        "problem",
        f"{importlib_metadata.version('torchvision')} cannot be imported: "
        f"{type(error).__name__}: {error}{explained} "
        "-- install the two together, from one index: pip install --force-reinstall torch torchvision",
    )


def test_without_a_torch_that_works_the_rest_is_still_told(clscli, monkeypatch):
    break_import(monkeypatch, "torch", OSError("libcudart.so.13: cannot open shared object file"))
    code, out, _ = clscli("doctor", "--json")
    found = findings(out)
    assert code == 1
    assert found["torch"] == (
        "problem",
        f"{importlib_metadata.version('torch')} cannot be imported: OSError: libcudart.so.13: cannot open shared "
        "object file -- reinstall it: pip install --force-reinstall torch torchvision",
    )
    assert "cache" in found
    assert "compile on cpu" not in found


def test_what_is_not_installed(clscli, monkeypatch):
    real = importlib_metadata.version

    def version(name):
        if name in ("pydantic", "simplejpeg"):
            raise importlib_metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(importlib_metadata, "version", version)
    code, out, _ = clscli("doctor", "--json")
    assert code == 1
    found = findings(out)
    assert found["pydantic"] == ("problem", "is not installed -- pip install pydantic")
    assert found["simplejpeg"] == (
        "note",
        "is not installed, Pillow decodes JPEGs, which takes longer -- pip install 'clscli[simplejpeg]'",
    )


def test_plugins_whole_broken_and_badly_named(clscli, packages):
    packages.install("whole", {"backbones": {"tiny": "doctor_tiny:Tiny"}}, modules={"doctor_tiny": TINY})
    packages.install("broken", {"backbones": {"one": "no_such_module:One", "two": "no_such_module:Two"}})
    packages.install("shouting", {"backbones": {"Loud": "doctor_tiny:Tiny"}})
    packages.install("old", {"losses": {"huber": "doctor_tiny:Tiny"}}, requires=["clscli<0.1"])
    code, out, _ = clscli("doctor", "--json")
    found = findings(out)
    assert code == 1
    assert found["whole"] == ("ok", "1.0, 1 component")
    assert found["broken"][0] == "problem"
    assert found["broken"][1].startswith("broken 1.0 (backbone 'one') cannot be imported: ModuleNotFoundError: ")
    assert found["broken"][1].endswith(" (and 1 more: clscli list --check)")
    assert found["shouting"] == (
        "problem",
        "'Loud' cannot be used: a name has only a-z, 0-9 and _, and begins with a letter",
    )
    assert found["old"] == ("problem", f"old 1.0 needs clscli<0.1, but {__version__} is installed")


def test_a_cache_that_cannot_be_written(clscli, monkeypatch, tmp_path):
    taken = tmp_path / "file"
    taken.write_text("")
    monkeypatch.setenv("CLSCLI_CACHE", str(taken))
    code, out, _ = clscli("doctor", "--json")
    assert code == 1
    assert findings(out)["cache"] == (
        "problem",
        f"{taken}: File exists -- set CLSCLI_CACHE to a folder that clscli may write to",
    )


@pytest.mark.parametrize(
    ("found", "status", "text"),
    [
        (True, "ok", "H200, 150 GB, driver 470.1"),
        (False, "note", "NVIDIA driver 470.1, but torch finds no GPU -- it has to be built for CUDA, and the "
         "driver new enough for that: https://pytorch.org/get-started"),
    ],
)  # fmt: skip
def test_a_gpu_of_nvidias(clscli, monkeypatch, found, status, text):
    device = types.SimpleNamespace(name="H200", total_memory=150e9)
    monkeypatch.setattr(doctor, "_nvidia_driver", lambda: "470.1")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: device)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    code, out, _ = clscli("doctor", "--json")
    told = findings(out)
    assert code == 0
    assert told["cuda:0" if found else "cuda"] == (status, text)
    assert ("bfloat16 on cuda:0" in told) is found


def test_a_plugin_that_prints_does_not_spoil_the_json(clscli, packages):
    packages.install("chatty", {"heads": {"loud": "doctor_loud:dict"}}, modules={"doctor_loud": "print('hello')"})
    _, out, err = clscli("doctor", "--json")
    assert findings(out)["chatty"][0] == "problem"  # a dict has no signature
    assert err == "hello\n"


def test_plugins_that_are_hidden(clscli, packages, monkeypatch):
    packages.install("whole", {"backbones": {"tiny": "doctor_tiny:Tiny"}}, modules={"doctor_tiny": TINY})
    packages.install("secret", {"backbones": {"tiny": "m:X"}, "heads": {"tiny": "m:X"}})
    monkeypatch.setenv("CLSCLI_PLUGINS", "whole")
    code, out, _ = clscli("doctor", "--json")
    found = findings(out)
    assert code == 0
    assert found["plugins"] == ("note", "CLSCLI_PLUGINS hides secret -- unset it to use them")
    assert found["whole"] == ("ok", "1.0, 1 component")


def test_an_entry_point_of_no_kind(clscli, packages):
    packages.install("stray", {"backbone": {"tiny": "m:X"}})
    code, out, _ = clscli("doctor", "--json")
    assert code == 1
    assert findings(out)["stray"] == (
        "problem",
        "'tiny' cannot be used: there is no kind 'backbone' -- did you mean 'backbones'?",
    )


def test_little_shared_memory_is_a_note(clscli, monkeypatch):
    monkeypatch.setattr(doctor, "_LITTLE_SHARED_MEMORY", 1e18)
    code, out, _ = clscli("doctor", "--json")
    status, text = findings(out)["shared memory"]
    assert (code, status) == (0, "note")
    assert text.endswith(
        "too little for large batches; a container needs --shm-size=2g, or set data.num_workers = 0"
    )


def test_what_does_not_work_is_a_note(clscli, monkeypatch):
    why = {"bfloat16": "RuntimeError: no", "compile": "InvalidCxxCompiler: No working C++ compiler found"}
    monkeypatch.setattr(doctor, "try_ability", lambda name, device: why[name])
    code, out, _ = clscli("doctor", "--json")
    found = findings(out)
    assert code == 0
    assert found["bfloat16 on cpu"] == (
        "note",
        'does not work: RuntimeError: no -- train.precision = "auto" does without',
    )
    assert found["compile on cpu"] == (
        "note",
        "does not work: InvalidCxxCompiler: No working C++ compiler found "
        "-- it needs a C++ compiler, such as the package g++",
    )


def test_abilities_are_tried_in_a_process_of_their_own():
    assert abilities.try_ability("bfloat16", "cpu") is None
    assert abilities.try_ability("bfloat16", "nonsense").startswith("RuntimeError: ")
    assert abilities.try_ability("bfloat16", "cpu", seconds=0.01) == "no result after 0 seconds"


def break_import(monkeypatch, broken, error):
    real = importlib.import_module

    def import_module(name, package=None):
        if name == broken:
            raise error
        return real(name, package)

    monkeypatch.setattr(importlib, "import_module", import_module)
