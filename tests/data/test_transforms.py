"""Resizing and cropping, against torchvision's own."""

import re

import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from clscli.data.transforms.geometry import CenterCrop, RandomResizedCrop, Resize
from clscli.errors import SpecError
from clscli.spec import load_spec


def noise(height: int, width: int, channels_last: bool = False) -> torch.Tensor:
    """Make an image; as the decoder leaves it, with `channels_last`."""
    generator = torch.Generator().manual_seed(1000 * height + width)
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator).permute(2, 0, 1)
    return image if channels_last else image.contiguous()


SHAPES = [(20, 20), (37, 53), (53, 37), (251, 317), (100, 30), (1, 9), (9, 1), (2, 301), (224, 224)]


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "nearest"])
@pytest.mark.parametrize("size", [2, 7, 20, 64, 224, [17, 80], [80, 17], [37, 53]])
def test_resize_equals_torchvisions_bit_for_bit(size, interpolation, channels_last):
    ours = Resize(size=size, interpolation=interpolation)
    theirs = v2.Resize(size, interpolation=InterpolationMode(interpolation), antialias=True)
    for shape in SHAPES:
        if max(shape) * max(size if isinstance(size, list) else [size]) / min(shape) > 4000:
            continue  # a strip of a picture, enlarged to gigabytes
        image = noise(*shape, channels_last)
        assert torch.equal(ours(image), theirs(image)), shape


def test_resize_by_hand():
    assert Resize(size=4)(noise(8, 16)).shape == (3, 4, 8)
    assert Resize(size=4)(noise(16, 8)).shape == (3, 8, 4)
    assert Resize(size=256)(noise(375, 500)).shape == (3, 256, 341)  # 341.33, cut
    assert Resize(size=[3, 5])(noise(8, 8)).shape == (3, 3, 5)
    quarters = torch.tensor([[0, 4], [8, 12]], dtype=torch.uint8).expand(3, 2, 2)
    assert Resize(size=1)(quarters).tolist() == [[[6]]] * 3


@pytest.mark.parametrize("size", [1, 8, 9, 20, 21, 224])
def test_center_crop_equals_torchvisions_even_of_smaller_images(size):
    for shape in [*SHAPES, (8, 9), (9, 8), (19, 22), (8, 300), (301, 8)]:
        image = noise(*shape)
        assert torch.equal(CenterCrop(size=size)(image), v2.CenterCrop(size)(image)), shape


def test_center_crop_by_hand():
    row = torch.arange(1, 6, dtype=torch.uint8).expand(3, 1, 5)
    assert CenterCrop(size=3)(row)[0].tolist() == [[0, 0, 0], [2, 3, 4], [0, 0, 0]]
    assert CenterCrop(size=2)(noise(2, 2)).tolist() == noise(2, 2).tolist()


def test_random_resized_crop_draws_parts_of_the_area_and_shape_asked_for():
    whole = RandomResizedCrop(size=8, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    image = noise(30, 30)
    assert torch.equal(whole(image), Resize(size=8)(image))


@pytest.mark.parametrize(
    ("parameter", "value", "wanted"),
    [
        ("scale", [0.0, 1.0], "two fractions above 0, the smaller first, got [0.0, 1.0]"),
        ("scale", [0.5, 0.2], "two fractions above 0, the smaller first, got [0.5, 0.2]"),
        ("scale", [0.5, 1.5], "two fractions above 0, the smaller first, got [0.5, 1.5]"),
        ("scale", [float("nan"), 1.0], "two fractions above 0, the smaller first, got [nan, 1.0]"),
        ("ratio", [0.0, 1.0], "two positive numbers, the smaller first, got [0.0, 1.0]"),
        ("ratio", [2.0, 1.0], "two positive numbers, the smaller first, got [2.0, 1.0]"),
        ("ratio", [1.0, float("inf")], "two positive numbers, the smaller first, got [1.0, inf]"),
    ],
)
def test_bad_parts_are_refused_in_words(parameter, value, wanted):
    with pytest.raises(ValueError, match=re.escape(f"{parameter} must be {wanted}")):
        RandomResizedCrop(**{parameter: tuple(value)})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"type": "resize", "size": 0}, "size: "),
        ({"type": "resize", "size": [1]}, "size: "),
        ({"type": "resize", "size": [1, 2, 3]}, "size: "),
        ({"type": "resize", "interpolation": "cubic"}, "interpolation: "),
        ({"type": "center_crop", "size": -1}, "size: "),
        ({"type": "random_resized_crop", "scale": [0.1]}, "scale"),
    ],
)
def test_parameters_out_of_range_are_problems_of_the_spec(table, problem):
    with pytest.raises(SpecError) as error:
        load_spec({"data": {"root": "x"}, "transforms": {"train": [table]}})
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(f"spec: transforms.train.0.{problem}")
