"""Every component keeps the contract of its kind; what is broken is listed with what to do."""

import pytest

from clscli.testing import check_component


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("backbones", "fastnets:tinyconv"),
        ("losses", "fastnets:poly1"),
        ("transforms", "fastnets:invert"),
        ("hooks", "fastnets:weight_norm"),
    ],
)
def test_it_keeps_the_contract(kind: str, name: str) -> None:
    check_component(kind, name)
