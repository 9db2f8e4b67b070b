"""The built-in transforms, against torchvision's own."""

import multiprocessing
import pickle
import random
import re

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from clscli.data.transforms import augment
from clscli.data.transforms.geometry import CenterCrop, Resize
from clscli.errors import SpecError
from clscli.seeds import seeded
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


# Each with the shape in which it leaves an image of 40 x 50.
AUGMENTATIONS = {
    "random_resized_crop": ({"size": 24}, (3, 24, 24)),
    "random_resized_crop bicubic": ({"size": 24, "interpolation": "bicubic"}, (3, 24, 24)),
    "random_resized_crop nearest": ({"size": 24, "interpolation": "nearest"}, (3, 24, 24)),
    "random_crop": ({"size": 32, "padding": 4}, (3, 32, 32)),
    "random_crop unpadded": ({"size": 20}, (3, 20, 20)),
    "random_crop small": ({"size": 64}, (3, 64, 64)),
    "random_crop reflect": ({"size": 40, "padding": 4, "padding_mode": "reflect"}, (3, 40, 40)),
    "random_crop edge": ({"size": 40, "padding": 4, "padding_mode": "edge"}, (3, 40, 40)),
    "random_crop symmetric": ({"size": 40, "padding": 4, "padding_mode": "symmetric"}, (3, 40, 40)),
    "random_horizontal_flip": ({}, (3, 40, 50)),
    "random_vertical_flip": ({}, (3, 40, 50)),
    "color_jitter": ({"hue": 0.2}, (3, 40, 50)),
    "trivial_augment_wide": ({}, (3, 40, 50)),
    "trivial_augment_wide bilinear": ({"interpolation": "bilinear"}, (3, 40, 50)),
    "rand_augment": ({}, (3, 40, 50)),
    "random_erasing": ({"p": 0.5, "value": 9}, (3, 40, 50)),
}


def build(name: str):
    parameters, _ = AUGMENTATIONS[name]
    return getattr(augment, name.split()[0])(**parameters)


def draws(transform, num_draws: int = 12) -> list[torch.Tensor]:
    results = []
    for draw in range(num_draws):
        with seeded(0, "augment", draw):
            results.append(transform(noise(40, 50, channels_last=True)))
    return results


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_keep_the_contract_and_are_random(name):
    results = draws(build(name))
    assert all(result.dtype == torch.uint8 for result in results)
    assert {tuple(result.shape) for result in results} == {AUGMENTATIONS[name][1]}
    assert any(not torch.equal(result, results[0]) for result in results)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_are_a_function_of_torchs_generator_alone(name):
    first = draws(build(name))
    transform = build(name)  # another object, used before, in another state of Python's and NumPy's generators
    transform(noise(40, 50))
    for draw, expected in enumerate(first):
        with seeded(0, "augment", draw):
            random.seed(draw + 1)
            np.random.seed(draw + 2)
            assert torch.equal(transform(noise(40, 50, channels_last=True)), expected)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_leave_their_input_alone(name):
    transform = build(name)
    image = noise(40, 50)
    for _ in range(12):
        transform(image)
    assert torch.equal(image, noise(40, 50))


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_augmentations_survive_pickling(name):
    copy = pickle.loads(pickle.dumps(build(name)))
    assert all(map(torch.equal, draws(copy), draws(build(name))))


def _draw_all(transforms) -> list[bytes]:
    return [bytes(d.contiguous().flatten().tolist()) for t in transforms.values() for d in draws(t, 3)]


def test_transforms_do_the_same_in_a_process_of_their_own():
    transforms = {name: build(name) for name in AUGMENTATIONS}
    transforms |= {"resize": Resize(size=32), "center_crop": CenterCrop(size=32)}
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(_draw_all, (transforms,)) == _draw_all(transforms)


@pytest.mark.parametrize(("name", "axis"), [("random_horizontal_flip", 2), ("random_vertical_flip", 1)])
def test_flips_mirror_along_their_axis_as_often_as_they_should(name, axis):
    image = noise(4, 5)
    flip = getattr(augment, name)
    assert torch.equal(flip(p=1.0)(image), image.flip(axis))
    assert torch.equal(flip(p=0.0)(image), image)
    with seeded(0):
        num_flipped = sum(torch.equal(flip(p=0.25)(image), image.flip(axis)) for _ in range(400))
    assert 70 <= num_flipped <= 130


def test_random_resized_crop_draws_parts_of_the_area_and_shape_asked_for():
    whole = augment.random_resized_crop(size=8, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    image = noise(30, 30)
    assert torch.equal(whole(image), Resize(size=8)(image))


def test_random_erasing_fills_a_rectangle_of_the_area_asked_for():
    erase = augment.random_erasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=9)
    with seeded(0):
        erased = erase(torch.full((3, 40, 40), 200, dtype=torch.uint8))
    assert (erased == 9).sum() == 3 * 20 * 20
    assert (erased == 200).sum() == 3 * (40 * 40 - 20 * 20)


def test_random_crop_pads_an_image_that_is_too_small_with_black():
    crop = augment.random_crop(size=10)
    pixels = crop(torch.full((3, 4, 10), 200, dtype=torch.uint8))
    assert pixels.shape == (3, 10, 10)
    assert 0 < (pixels == 200).sum() <= 3 * 40
    assert pixels.unique().tolist() == [0, 200]


@pytest.mark.parametrize("name", ["random_resized_crop", "random_erasing"])
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
def test_bad_parts_are_refused_in_words(name, parameter, value, wanted):
    with pytest.raises(ValueError, match=re.escape(f"{parameter} must be {wanted}")):
        getattr(augment, name)(**{parameter: tuple(value)})


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"type": "resize", "size": 0}, "size: "),
        ({"type": "resize", "size": [1]}, "size: "),
        ({"type": "resize", "size": [1, 2, 3]}, "size: "),
        ({"type": "resize", "interpolation": "cubic"}, "interpolation: "),
        ({"type": "center_crop", "size": -1}, "size: "),
        ({"type": "random_horizontal_flip", "p": 1.5}, "p: "),
        ({"type": "random_crop", "padding": -1}, "padding: "),
        ({"type": "random_crop", "padding_mode": "mirror"}, "padding_mode: "),
        ({"type": "color_jitter", "hue": 0.6}, "hue: "),
        ({"type": "color_jitter", "brightness": -0.1}, "brightness: "),
        ({"type": "rand_augment", "magnitude": 31}, "magnitude: "),
        ({"type": "random_erasing", "value": 256}, "value: "),
        ({"type": "random_resized_crop", "scale": [0.1]}, "scale"),
    ],
)
def test_parameters_out_of_range_are_problems_of_the_spec(table, problem):
    with pytest.raises(SpecError) as error:
        load_spec({"data": {"root": "x"}, "transforms": {"train": [table]}})
    assert len(error.value.problems) == 1
    assert error.value.problems[0].startswith(f"spec: transforms.train.0.{problem}")
