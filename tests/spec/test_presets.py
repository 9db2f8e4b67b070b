from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

import clscli.presets
from clscli.presets import preset_names, preset_text
from clscli.spec import load_spec, render_spec

FILES = sorted(Path(clscli.presets.__file__).parent.rglob("*.toml"))


def load_preset(name):
    """Load a preset, with pictures if it names none itself."""
    data = tomllib.loads(preset_text(name)).get("data", {})
    return load_spec(name, sets=() if "root" in data or "train" in data else ["data.root=photos"])


def test_every_file_is_known_by_its_name():
    assert preset_names() == [file.stem for file in FILES]
    assert len(FILES) == 1


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_is_valid_and_its_resolved_spec_loads_to_itself(name):
    text = render_spec(load_preset(name).values)
    assert render_spec(load_spec(tomllib.loads(text)).values) == text


@pytest.mark.parametrize("name", preset_names())
def test_a_preset_opens_with_a_comment_that_says_what_it_is(name):
    assert preset_text(name).startswith("# ")


def test_the_text_of_an_unknown_preset():
    with pytest.raises(KeyError, match="nosuch"):
        preset_text("nosuch")
