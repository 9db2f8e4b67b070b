"""Matching: prefixes, other libraries' names, other channels, and what does not fit."""

import re
import time
from collections import OrderedDict
from typing import ClassVar

import pytest
import torch
from torch import nn

from clscli.models.matching import adapt_channels, match_weights


class Small(nn.Module):
    """A convolution and a norm, with other libraries' names for both."""

    key_maps: ClassVar = {
        "other": ((r"^stem\.", "conv."), (r"^layers\.(\d+)\.", lambda m: f"norm{int(m.group(1)) + 1}.")),
        "third": ((r"^c\.", "conv."), (r"^n\.", "norm1.")),
    }

    def __init__(self, in_channels=3):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 4, 3, bias=False)
        self.norm1 = nn.BatchNorm2d(4)


class Embedded(Small):
    """One with an embedding that is stored in two halves elsewhere."""

    def __init__(self):
        super().__init__()
        self.table = nn.Parameter(torch.zeros(2, 3))

    def adapt_weights(self, tensors):
        adapted = dict(tensors)
        if "table_a" in adapted:
            adapted["table"] = torch.stack([adapted.pop("table_a"), adapted.pop("table_b")])
        if "table" in adapted and adapted["table"].shape[1] > 3:
            adapted["table"] = adapted["table"][:, :3]
        return adapted


def numbered(model):
    """Return the model's tensors, every one different."""
    state = model.state_dict()
    return {name: torch.full_like(tensor, index + 1) for index, (name, tensor) in enumerate(state.items())}


def renamed(tensors, *rules):
    for pattern, replacement in rules:
        tensors = {re.sub(pattern, replacement, name): tensor for name, tensor in tensors.items()}
    return tensors


def fits(tensors, model):
    """Assert that the whole model is matched, each tensor with its own."""
    match = match_weights(tensors, model)
    wanted = numbered(model)
    assert match.fitting.keys() == wanted.keys()
    assert all(torch.equal(match.fitting[name], wanted[name]) for name in wanted)
    assert (match.missing, match.misshapen, match.adapted) == ([], [], {})
    return match


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "module.",
        "_orig_mod.",
        "model.",
        "backbone.",
        "encoder.",
        "module._orig_mod.",
        "module.model.backbone.",
    ],
)
def test_prefixes_of_wrappers_and_trainers(prefix):
    fits({prefix + name: tensor for name, tensor in numbered(Small()).items()}, Small())


def test_a_wrapper_within_the_model():
    """torch.compile of the backbone alone puts its prefix behind the classifier's."""
    fits({f"backbone._orig_mod.{name}": tensor for name, tensor in numbered(Small()).items()}, Small())


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize(
    "rules", [((r"^conv\.", "stem."), (r"^norm1\.", "layers.0.")), ((r"^conv\.", "c."), (r"^norm1\.", "n."))]
)
def test_names_of_other_libraries(prefix, rules):
    tensors = renamed(numbered(Small()), *rules)
    fits({prefix + name: tensor for name, tensor in tensors.items()}, Small())


def test_what_belongs_elsewhere_is_unused_under_the_name_that_was_tried():
    tensors = {f"backbone.{name}": tensor for name, tensor in numbered(Small()).items()}
    match = fits(tensors | {"head.fc.weight": torch.zeros(9, 4)}, Small())
    assert match.unused == {"head.fc.weight": (9, 4)}


def test_missing_and_misshapen():
    tensors = numbered(Small())
    del tensors["norm1.bias"], tensors["norm1.num_batches_tracked"]  # as before PyTorch 0.4.1
    tensors["conv.weight"] = torch.zeros(4, 3, 5, 5)
    match = match_weights(tensors, Small())
    assert (match.missing, match.misshapen) == (["norm1.bias"], ["conv.weight"])
    assert match.fitting.keys() == {"norm1.weight", "norm1.running_mean", "norm1.running_var"}


def test_adapt_weights_is_called_with_renamed_tensors():
    tensors = numbered(Embedded())
    halves = renamed(tensors, (r"^conv\.", "c."), (r"^norm1\.", "n."))
    table = halves.pop("table")
    fits(halves | {"table_a": table[0], "table_b": table[1]}, Embedded())


def test_what_was_resized_is_told():
    match = match_weights(numbered(Embedded()) | {"table": torch.arange(8.0).view(2, 4)}, Embedded())
    assert match.adapted == {"table": ((2, 4), (2, 3))}
    assert match.fitting["table"].tolist() == [[0, 1, 2], [4, 5, 6]]


def test_other_channels():
    match = match_weights(numbered(Small()), Small(in_channels=1))
    assert match.adapted == {"conv.weight": ((4, 3, 3, 3), (4, 1, 3, 3))}
    assert match.fitting["conv.weight"].eq(3).all()  # three ones


def test_gray_pictures_give_what_they_gave_as_rgb():
    rgb = torch.randn(4, 3, 3, 3)
    image = torch.rand(1, 1, 8, 8)
    expected = nn.functional.conv2d(image.expand(-1, 3, -1, -1), rgb)
    gray = adapt_channels(rgb, torch.Size([4, 1, 3, 3]))
    torch.testing.assert_close(nn.functional.conv2d(image, gray), expected)
    for channels in (2, 4, 6):
        weight = adapt_channels(rgb, torch.Size([4, channels, 3, 3]))
        assert weight.shape == (4, channels, 3, 3)
        torch.testing.assert_close(weight[:, 0], rgb[:, 0] * 3 / channels)
    six = adapt_channels(rgb, torch.Size([4, 6, 3, 3]))
    torch.testing.assert_close(nn.functional.conv2d(image.expand(-1, 6, -1, -1), six), expected)


@pytest.mark.parametrize("shape", [(4, 1, 5, 5), (8, 1, 3, 3), (4, 3, 3, 3), (4, 27)])
def test_only_the_channels_of_rgb_are_adapted(shape):
    rgb = torch.randn(4, 3, 3, 3)
    assert adapt_channels(rgb, torch.Size(shape)) is rgb
    deep = torch.randn(4, 16, 3, 3)
    assert adapt_channels(deep, torch.Size([4, 1, 3, 3])) is deep


class Many(nn.Module):
    """1,200 tensors and three libraries with fifteen rules each."""

    key_maps: ClassVar = {
        library: tuple((rf"^{library}_{rule}\.(\d+)\.", r"block\1.") for rule in range(15)) for library in "abc"
    }

    def __init__(self):
        super().__init__()
        for index in range(240):
            self.add_module(f"block{index}", nn.BatchNorm1d(1))


def test_many_tensors_take_less_than_half_a_second():
    model = Many()
    tensors = renamed(numbered(model), (r"^block(\d+)\.", r"module.backbone.c_7.\1."))
    assert len(tensors) == 1200
    seconds = []
    for _ in range(3):
        start = time.process_time()
        fits(tensors, model)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


@pytest.mark.parametrize("wrap", [dict, OrderedDict])
def test_mapping_types(wrap):
    fits(wrap(numbered(Small())), Small())
