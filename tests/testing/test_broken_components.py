"""What the kit says of components that break a rule, and that it finds nothing wrong with sound ones."""

import re
import sys
import tempfile
from pathlib import Path

import pytest
from broken_texts import BROKEN

from clscli import plugins
from clscli.contracts import COMMON, CONTRACTS
from clscli.testing import ContractError, Inputs, check_component

WRITTEN = Path(tempfile.gettempdir(), "broken_writer.txt")  # by importing `broken_writer`
SOUND = {
    "backbones": ["sound", "says_that_it_branches"],
    "heads": ["sound_head"],
    "batch_transforms": ["sound_mix"],
    "datasets": ["sound_data"],
}
# Entries that are no class of `broken_models` or `broken_rest` in snake case; `nothing` is no entry at all.
ENTRIES = {
    "BadName": "broken_models:Sound",
    "absent": "broken_absent:Sound",
    "writer": "broken_writer:Invert",
    "nothing": None,
}


def entry_of(kind, name):
    module = "broken_models" if kind in ("backbones", "necks", "heads") else "broken_rest"
    return ENTRIES.get(name, f"{module}:{''.join(word.capitalize() for word in name.split('_'))}")


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """Install the package `broken 1.0`: one for all tests, since asking a fresh process about it takes seconds."""
    site = tmp_path_factory.mktemp("site")
    info = site / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    lines = []
    for kind in CONTRACTS:
        entries = {name: entry_of(kind, name) for name in [*BROKEN[kind], *SOUND.get(kind, [])]}
        lines += [f"[clscli.{kind}]", *(f"{name} = {entry}" for name, entry in entries.items() if entry)]
    (info / "entry_points.txt").write_text("\n".join(lines))
    sys.path.insert(0, str(site))
    plugins.clear_cache()
    yield
    sys.path.remove(str(site))
    plugins.clear_cache()
    WRITTEN.unlink(missing_ok=True)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in BROKEN.items() for name in names])
def test_a_broken_component_is_told_what_is_wrong_and_what_to_do(kind, name):
    with pytest.raises(ContractError) as caught:
        check_component(kind, name)
    expected = BROKEN[kind][name]
    assert list(caught.value.broken) == list(expected)
    for rule, text in expected.items():
        pattern = ".*".join(map(re.escape, text.replace("{file}", str(WRITTEN)).split("*")))
        assert re.fullmatch(pattern, caught.value.broken[rule], re.DOTALL), caught.value.broken[rule]


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in SOUND.items() for name in names])
def test_a_sound_component_passes(kind, name):
    check_component(kind, f"broken:{name}")


def test_every_rule_is_broken_by_a_component():
    def broken_in(kind):
        return {rule for texts in BROKEN[kind].values() for rule in texts}

    assert set().union(*map(broken_in, BROKEN)) >= set(COMMON)
    for kind, contract in CONTRACTS.items():
        shared = broken_in("backbones") if kind in ("necks", "heads") else set()
        assert set(contract.rules) - broken_in(kind) - shared == set(), kind


def test_the_message():
    with pytest.raises(ContractError) as caught:
        check_component("backbones", "stays_in_training")
    assert str(caught.value) == (
        "backbone 'stays_in_training' (broken 1.0) breaks its contract\n"
        "  modes: after eval() norm is in training mode -- call super().train(mode)\n"
        "    the rule: `train()` and `eval()` return it, and `eval()` reaches all its parts\n"
        "  samples: a picture gives something else alone than in a batch of two "
        "-- take no statistics of the batch unless self.training\n"
        "    the rule: in evaluation, what comes out for a picture depends on that picture alone, "
        "and is always the same"
    )


def test_what_a_component_is_tried_with_can_be_named():
    check_component("backbones", "large", Inputs(image_sizes=((200, 208),)))


def test_parameters_are_those_of_a_spec():
    check_component("backbones", "demanding", width=4)
    with pytest.raises(ContractError) as caught:
        check_component("backbones", "sound", width=2, depth=1)
    assert caught.value.broken == {
        "builds": "width: must be at least 4, got 2; depth: backbone 'broken:sound' has no parameter 'depth' "
        "-- did you mean 'width'? -- give check_component the parameters that it needs"
    }


def test_a_kind_that_does_not_exist():
    with pytest.raises(ValueError, match="no kind 'backbone'") as caught:
        check_component("backbone", "sound")
    assert str(caught.value) == f"no kind 'backbone' -- there are: {', '.join(CONTRACTS)}"
