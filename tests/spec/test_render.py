from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from clscli.spec import load_spec, read_draft, render_spec

VALUES = {
    "seed": 0,
    "hooks": [],
    "data": {"root": 'a "b"\\c', "train": {"type": "x:y"}},
    "model": {
        "head": {"type": "a"},
        "neck": [{"type": "b", "sizes": [1, 2.0], "deep": {"k e y": 1}}, {"type": "c"}],
    },
    "mixed": {"list": [{"a": 1}, 2], "empty": {}},
}
TEXT = """\
seed = 0
hooks = []

[data]
root = "a \\"b\\"\\\\c"

[data.train]
type = "x:y"

[model.head]
type = "a"

[[model.neck]]
type = "b"
sizes = [1, 2.0]

[model.neck.deep]
"k e y" = 1

[[model.neck]]
type = "c"

[mixed]
list = [{ a = 1 }, 2]

[mixed.empty]
"""


def test_how_a_spec_looks():
    assert render_spec(VALUES) == TEXT


def test_what_is_written_reads_as_it_was():
    assert tomllib.loads(render_spec(VALUES)) == VALUES


def test_origins_stand_behind_values():
    Path("spec.toml").write_text('[data]\nroot = "p"\n[model.head]\ntype = "linear"\n')
    spec = load_spec("spec.toml", sets=["train.epochs=3", "transforms.eval=[]"])
    lines = render_spec(spec.values, spec.draft).splitlines()
    root = next(line for line in lines if line.startswith("root = "))
    assert root.endswith("  # spec.toml:2")
    assert "epochs = 3  # --set train.epochs=3" in lines
    assert "eval = []  # --set transforms.eval=[]" in lines
    assert "batch_size = 64  # default" in lines
    head = lines.index("[model.head]")
    assert lines[head + 1 : head + 3] == ['type = "linear"  # spec.toml:4', "dropout = 0.0  # default"]
    assert tomllib.loads("\n".join(lines)) == spec.values


@pytest.mark.parametrize(
    "source",
    [
        {"data": {"root": "photos"}},
        {"data": {"root": 'ö 猫/"q"\'s\\ # x'}, "seed": 2**40},
        {"data": {"train": {"type": "folder", "root": "a"}, "val": {"type": "folder", "root": "b"}}},
        {
            "data": {"root": "p", "num_workers": 0, "val_fraction": 0.5},
            "transforms": {"normalize": {"std": [1, 2, 3], "mean": [0, 0.5, 1]}, "train": []},
            "model": {"neck": [{"type": "global_average_pooling"}], "backbone": {"type": "lenet5"}},
            "optimizer": {"type": "sgd", "lr": 1},
            "scheduler": {"type": "multi_step", "milestones": [1, 2]},
            "hooks": [{"type": "early_stopping"}, {"type": "early_stopping", "patience": 3}],
        },
    ],
)
def test_a_resolved_spec_loads_to_itself(source):
    text = render_spec(load_spec(source).values)
    Path("elsewhere").mkdir()
    Path("elsewhere/spec.toml").write_text(text, encoding="utf-8")
    assert render_spec(load_spec(tomllib.loads(text)).values) == text
    assert render_spec(load_spec("elsewhere/spec.toml").values) == text


def test_equal_specs_are_equal_texts():
    train, val = ({"type": "folder", "root": root} for root in "ab")
    one = {
        "model": {"head": {"dropout": 0.5, "type": "linear"}},
        "data": {"val": val, "train": train},
        "hooks": [],
    }
    other = {
        "hooks": [],
        "data": {"train": train, "val": val},
        "model": {"head": {"type": "linear", "dropout": 0.5}},
    }
    assert render_spec(load_spec(one).values) == render_spec(load_spec(other).values)
    assert list(load_spec(one).values) == [
        "seed",
        "data",
        "transforms",
        "model",
        "optimizer",
        "scheduler",
        "train",
        "hooks",
    ]


def test_a_draft_can_be_written_before_it_is_checked():
    assert tomllib.loads(render_spec(read_draft({}).values)) == read_draft({}).values
