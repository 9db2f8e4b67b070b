"""Every backbone as the model that was published: the neck and head of a spec that names neither."""

import inspect

import pytest
import torch
from backbone_kit import ENTRIES, all_families, num_parameters

from clscli.models.build import Blueprint, build_model, check_shapes
from clscli.spec import load_spec

TOTALS = {name: total for family in all_families().values() for name, (_, total) in family.sizes.items()}


def published_model(name, size):
    spec = load_spec({"data": {"root": "photos"}, "model": {"backbone": {"type": name}}})
    blueprint = Blueprint(1000, (3, size, size))
    with torch.device("meta"):
        return spec, build_model(spec, blueprint), blueprint


@pytest.mark.parametrize("name", TOTALS)
def test_parameters_and_shapes_with_1000_classes(name):
    parameters = inspect.signature(ENTRIES[name].load()).parameters
    size = parameters["image_size"].default if "image_size" in parameters else 224
    spec, model, blueprint = published_model(name, size)
    assert num_parameters(model) == TOTALS[name]
    *_, logits = check_shapes(spec, model, blueprint)
    assert set(logits.shapes) == {(2, 1000)}
