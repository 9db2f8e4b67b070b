"""Checkpoints of plugins that are not what they were when the checkpoint was trained."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from clscli import plugins
from clscli.engine.checkpoint import load_checkpoint
from clscli.errors import CheckpointError, PluginError
from clscli.spec import load_spec
from clscli.spec.schema import EVERYTHING, PREDICTING

SOURCE = """
from clscli.models.heads.linear import Linear as Head
def loss(): return lambda logits, target: logits.sum()
"""
TRAINED = "(trained with clscli 0.0.1, fastlosses 1.0, fastnets 1.0, torch 1.0)"


@pytest.fixture
def checkpoint(packages, trained):
    """A checkpoint of version 1.0 of two packages, which are of other versions now."""
    modules = {"versions_plugin": SOURCE}
    packages.install("fastnets", {"heads": {"mine": "versions_plugin:Head"}}, version="2.0", modules=modules)
    packages.install("fastlosses", {"losses": {"mine": "versions_plugin:loss"}}, version="0.9")
    source = {"data": {"root": "p"}, "model": {"head": {"type": "mine"}, "loss": {"type": "mine"}}}
    versions = {"clscli": "0.0.1", "fastlosses": "1.0", "fastnets": "1.0", "torch": "1.0"}
    whole = load_checkpoint(trained / "best.pth")
    return dataclasses.replace(whole, path=Path("best.pth"), spec=load_spec(source).values, versions=versions)


@pytest.mark.parametrize(
    ("needed", "warnings"),
    [
        (EVERYTHING, [
            "best.pth: was trained with fastlosses 1.0, and 0.9 is installed: results may differ "
            "-- pip install fastlosses==1.0",
            "best.pth: was trained with fastnets 1.0, and 2.0 is installed: results may differ "
            "-- pip install fastnets==1.0",
        ]),
        (PREDICTING, [
            "best.pth: was trained with fastnets 1.0, and 2.0 is installed: results may differ "
            "-- pip install fastnets==1.0",
        ]),
    ],
    ids=["for everything", "for predicting"],
)  # fmt: skip
def test_other_versions_are_told(checkpoint, caplog, needed, warnings):
    checkpoint.resolve(needed)
    assert [(r.levelno, r.getMessage()) for r in caplog.records] == [(logging.WARNING, w) for w in warnings]


def test_the_same_versions_are_not(checkpoint, caplog):
    checkpoint.versions.update(fastnets="2.0", fastlosses="0.9")
    checkpoint.resolve()
    assert caplog.records == []


@pytest.mark.parametrize(
    ("entry", "requires", "error", "message"),
    [
        ({"other": "versions_plugin:Head"}, [], CheckpointError,
         "package 'fastnets' has no head 'mine' -- there are: other (see: clscli list heads)"),
        ({"mine": "versions_plugin:Gone"}, [], PluginError,
         "fastnets 3.0 (head 'mine') cannot be imported: AttributeError: module 'versions_plugin' has no "
         "attribute 'Gone' -- reinstall fastnets, or see what works with: clscli list --check"),
        ({"mine": "versions_plugin:Head"}, ["clscli>=99"], PluginError,
         f"fastnets 3.0 needs clscli>=99, but {plugins.find_components('heads')[0].version} is installed "
         "-- pip install --upgrade fastnets clscli"),
        ({"mine": "versions_plugin:loss"}, [], CheckpointError,
         "its spec does not fit what is installed here: spec: model.head.dropout: head 'fastnets:mine' has no "
         "parameter 'dropout' -- there are: init"),
    ],
    ids=["no longer there", "no longer importable", "for another clscli", "with other parameters"],
)  # fmt: skip
def test_what_no_longer_works_is_told_with_the_versions_of_then(
    checkpoint, packages, entry, requires, error, message
):
    modules = {"versions_plugin": SOURCE}
    packages.install("fastnets", {"heads": entry}, version="3.0", requires=requires, modules=modules)
    with pytest.raises(error) as caught:
        checkpoint.resolve()
    assert str(caught.value) == f"best.pth: {message} {TRAINED}"
