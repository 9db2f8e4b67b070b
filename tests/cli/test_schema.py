from __future__ import annotations

import json
from pathlib import Path

import pytest

from clscli.cli import schema
from clscli.plugins import find_components


@pytest.fixture(autouse=True)
def _heads_alone(monkeypatch):
    monkeypatch.setattr(schema, "find_components", lambda: find_components("heads"))


def number_of_heads():
    return len(find_components("heads"))


def test_the_schema_is_printed(clscli):
    code, out, err = clscli("schema")
    assert (code, err) == (0, f"importing {number_of_heads()} components ...\n")
    assert json.loads(out)["title"] == "clscli spec"
    assert out.isascii()


def test_the_schema_is_written_and_its_use_is_told(clscli, tmp_path):
    code, out, err = clscli("schema", "--out", "clscli.schema.json")
    assert (code, out) == (0, "")
    assert err.splitlines()[1] == (
        "wrote clscli.schema.json -- for a spec beside it, whose first line is: #:schema ./clscli.schema.json"
    )
    assert "heads.linear" in json.loads(Path("clscli.schema.json").read_text(encoding="utf-8"))["definitions"]


def test_a_folder_that_is_not_there_is_told_before_anything_is_imported(clscli):
    assert clscli("schema", "--out", "no/a.json") == (2, "", "--out no/a.json: there is no folder no\n")


def test_a_broken_plugin_is_left_out_with_a_note(clscli, packages):
    packages.install("one", {"heads": {"gone": "nosuchmodule:X", "Bad Name": "nosuchmodule:X"}})
    code, out, err = clscli("schema")
    assert code == 0
    assert "heads.linear" in json.loads(out)["definitions"]
    assert err.splitlines() == [
        f"importing {number_of_heads() - 1} components ...",
        "left out: one 1.0 (head 'gone') cannot be imported: ModuleNotFoundError: No module named 'nosuchmodule' "
        "-- reinstall one, or see what works with: clscli list --check",
    ]
