"""Transforms of transforms."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from clscli.data.pipeline import build_transforms
from clscli.data.transforms.nested import RandomApply, RandomChoice, RandomOrder
from clscli.errors import SpecError
from clscli.seeds import seeded
from clscli.spec import load_spec

ZERO = torch.zeros(1, 1, 1, dtype=torch.uint8)


def add(image):
    return image + 1


def double(image):
    return image * 2


def outcomes(transform, image=ZERO, draws=1000):
    """Count the values that one pixel gets."""
    with seeded(0):
        return Counter(int(transform(image)) for _ in range(draws))


def test_all_or_none_with_a_probability():
    found = outcomes(RandomApply(transforms=[add, double, add], p=0.3))
    assert set(found) == {0, 3}
    assert 250 < found[3] < 350
    assert outcomes(RandomApply(transforms=[add], p=0.0)) == {0: 1000}
    assert outcomes(RandomApply(transforms=[add], p=1.0)) == {1: 1000}


def test_one_of_several():
    choices = [add, lambda image: image + 2, lambda image: image + 3]
    even = outcomes(RandomChoice(transforms=choices))
    assert set(even) == {1, 2, 3}
    assert all(280 < count < 390 for count in even.values())
    weighted = outcomes(RandomChoice(transforms=choices, weights=[1, 0, 3]))
    assert set(weighted) == {1, 3}
    assert 200 < weighted[1] < 300


def test_all_in_any_order():
    assert outcomes(RandomOrder(transforms=[add, double]), draws=100).keys() == {1, 2}


def test_the_same_seed_draws_the_same():
    transform = RandomChoice(transforms=[add, double, RandomApply(transforms=[add])])
    one = ZERO + 3
    assert outcomes(transform, one) == outcomes(transform, one)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 2, 3], "weights must have 2 numbers, one for each transform, got [1.0, 2.0, 3.0]"),
        ([0, 0], "weights must not all be 0, got [0.0, 0.0]"),
    ],
)
def test_weights_must_fit(weights, message):
    choice = {"type": "random_choice", "transforms": [{"type": "random_invert"}] * 2, "weights": weights}
    spec = load_spec({"data": {"root": "p"}, "transforms": {"train": [choice]}})
    with pytest.raises(SpecError) as caught:
        build_transforms(spec, "train")
    assert caught.value.problems == [f"spec: transforms.train.0: transform 'random_choice': {message}"]


def test_chance_within_is_found_in_the_pipeline_for_evaluation():
    flip = {"type": "random_apply", "p": 1.0, "transforms": [{"type": "random_horizontal_flip", "p": 1.0}]}
    order = {"type": "random_order", "transforms": [{"type": "random_horizontal_flip"}]}
    assert len(build_transforms(load_spec({"data": {"root": "p"}, "transforms": {"eval": [flip]}}), "val")) == 1
    with pytest.raises(SpecError) as caught:
        build_transforms(load_spec({"data": {"root": "p"}, "transforms": {"eval": [flip, order]}}), "val")
    assert caught.value.problems == [
        "spec: transforms.eval.1: transform 'random_order' is random "
        "-- in evaluation every picture must look the same every time"
    ]
