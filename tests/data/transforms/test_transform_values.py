"""What transforms do to pixels: against torchvision's own, and by hand."""

import re

import pytest
import torch
from torchvision.transforms import AutoAugmentPolicy, InterpolationMode, v2

from clscli.data.transforms import color, crops, erasing, flips, geometric, policies, quality
from clscli.errors import SpecError
from clscli.seeds import seeded
from clscli.spec import load_spec

BILINEAR, BICUBIC = InterpolationMode.BILINEAR, InterpolationMode.BICUBIC


def noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1000 * height + width)
    return torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator).permute(2, 0, 1)


def plain(level: int, height: int = 40, width: int = 40, channels: int = 3) -> torch.Tensor:
    return torch.full((channels, height, width), level, dtype=torch.uint8)


# Ours, and what it must equal on the same seed; parameters are torchvision's, but for those that differ.
PAIRS = {
    "random_crop": (
        crops.RandomCrop(size=[24, 30], padding=3, fill=[1, 2, 3]),
        v2.RandomCrop((24, 30), padding=3, fill=[1, 2, 3]),
    ),
    "random_crop, reflecting": (
        crops.RandomCrop(size=40, padding=4, padding_mode="reflect"),
        v2.RandomCrop(40, padding=4, padding_mode="reflect"),
    ),
    "pad": (crops.pad(padding=[1, 2, 3, 4], fill=9), v2.Pad([1, 2, 3, 4], fill=9)),
    "pad, edges": (crops.pad(padding=3, padding_mode="edge"), v2.Pad(3, padding_mode="edge")),
    "random_zoom_out": (
        crops.random_zoom_out(side_range=(1.0, 2.0), fill=5),
        v2.RandomZoomOut(5, (1.0, 2.0)),
    ),
    "random_resize": (
        crops.random_resize(min_size=20, max_size=30, interpolation="bicubic"),
        v2.RandomResize(20, 31, interpolation=BICUBIC),
    ),
    "random_shortest_size": (
        crops.random_shortest_size(min_size=[20, 30], max_size=32),
        v2.RandomShortestSize([20, 30], 32),
    ),
    "scale_jitter": (
        crops.scale_jitter(target_size=[30, 20], scale_range=(0.5, 1.5)),
        v2.ScaleJitter((30, 20), (0.5, 1.5)),
    ),
    "random_horizontal_flip": (flips.RandomHorizontalFlip(), v2.RandomHorizontalFlip()),
    "random_vertical_flip": (flips.RandomVerticalFlip(p=0.3), v2.RandomVerticalFlip(0.3)),
    "random_rotation": (geometric.random_rotation(fill=7), v2.RandomRotation(15, fill=7)),
    "random_rotation, expanding": (
        geometric.random_rotation(degrees=(10.0, 80.0), interpolation="bilinear", expand=True),
        v2.RandomRotation((10, 80), interpolation=BILINEAR, expand=True),
    ),
    "random_affine": (
        geometric.random_affine(translate=(0.1, 0.2), scale=(0.8, 1.2), shear=(-5.0, 5.0, 0.0, 9.0)),
        v2.RandomAffine(15, (0.1, 0.2), (0.8, 1.2), (-5, 5, 0, 9)),
    ),
    "random_affine, one angle": (
        geometric.random_affine(degrees=0.0, shear=20.0, interpolation="bilinear", fill=[9, 8, 7]),
        v2.RandomAffine(0, (0, 0), (1, 1), 20, interpolation=BILINEAR, fill=[9, 8, 7]),
    ),
    "random_perspective": (geometric.random_perspective(p=0.9), v2.RandomPerspective(p=0.9)),
    "elastic_transform": (
        geometric.elastic_transform(alpha=90.0, sigma=3.0),
        v2.ElasticTransform(90.0, 3.0),
    ),
    "color_jitter": (color.color_jitter(hue=0.2), v2.ColorJitter(0.4, 0.4, 0.4, 0.2)),
    "random_photometric_distort": (color.random_photometric_distort(), v2.RandomPhotometricDistort()),
    "random_channel_permutation": (color.random_channel_permutation(), v2.RandomChannelPermutation()),
    "grayscale": (color.grayscale(num_output_channels=3), v2.Grayscale(3)),
    "random_grayscale": (color.random_grayscale(p=0.5), v2.RandomGrayscale(0.5)),
    "random_invert": (color.random_invert(), v2.RandomInvert()),
    "random_posterize": (color.random_posterize(bits=2), v2.RandomPosterize(2)),
    "random_solarize": (color.random_solarize(threshold=99), v2.RandomSolarize(99)),
    "random_autocontrast": (color.random_autocontrast(), v2.RandomAutocontrast()),
    "random_equalize": (color.random_equalize(), v2.RandomEqualize()),
    "gaussian_blur": (quality.gaussian_blur(kernel_size=5), v2.GaussianBlur(5, (0.1, 2.0))),
    "random_adjust_sharpness": (quality.random_adjust_sharpness(), v2.RandomAdjustSharpness(2.0)),
    "random_erasing": (erasing.RandomErasing(p=0.5, value=[1, 2, 3]), v2.RandomErasing(value=[1, 2, 3])),
    "random_erasing, often too large": (
        erasing.RandomErasing(p=1.0, scale=(0.9, 1.0), ratio=(0.3, 3.3)),
        v2.RandomErasing(1.0, (0.9, 1.0)),
    ),
    "auto_augment": (policies.auto_augment(), v2.AutoAugment()),
    "auto_augment, cifar10": (
        policies.auto_augment(policy="cifar10", interpolation="bilinear"),
        v2.AutoAugment(AutoAugmentPolicy.CIFAR10, BILINEAR),
    ),
    "auto_augment, svhn": (policies.auto_augment(policy="svhn"), v2.AutoAugment(AutoAugmentPolicy.SVHN)),
    "rand_augment": (policies.rand_augment(num_ops=3, magnitude=20), v2.RandAugment(3, 20)),
    "trivial_augment_wide": (policies.trivial_augment_wide(), v2.TrivialAugmentWide()),
    "aug_mix": (policies.aug_mix(), v2.AugMix()),
    "aug_mix, all else": (
        policies.aug_mix(severity=5, mixture_width=2, chain_depth=2, alpha=0.5, all_ops=False),
        v2.AugMix(5, 2, 2, 0.5, False),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_they_equal_torchvisions_own_on_the_same_seed(name):
    ours, theirs = PAIRS[name]
    image = noise(40, 50)
    for draw in range(8):
        with seeded(draw):
            result = ours(image)
        with seeded(draw):
            assert torch.equal(result, theirs(image))


@pytest.mark.parametrize("flip", [flips.RandomHorizontalFlip, flips.RandomVerticalFlip])
def test_probabilities_are_kept(flip):
    image, transform = noise(2, 2), flip(p=0.25)
    with seeded(0):
        num_changed = sum(not torch.equal(transform(image), image) for _ in range(400))
    assert 70 <= num_changed <= 130


def test_random_crop_pads_an_image_that_is_too_small():
    pixels = crops.RandomCrop(size=10, fill=7)(plain(200, 4, 10))
    assert pixels.shape == (3, 10, 10)
    assert pixels.unique().tolist() == [7, 200]


def test_random_resize_draws_both_bounds():
    resize = crops.random_resize(min_size=3, max_size=4)
    with seeded(0):
        assert {tuple(resize(noise(8, 12)).shape) for _ in range(20)} == {(3, 3, 4), (3, 4, 6)}


def test_random_erasing_fills_a_rectangle_of_the_area_asked_for():
    erase = erasing.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value=9)
    erased = erase(plain(200))
    assert (erased == 9).sum() == 3 * 20 * 20
    assert (erased == 200).sum() == 3 * (40 * 40 - 20 * 20)


def test_random_erasing_by_noise_gives_every_value_of_the_rectangle_a_level_of_its_own():
    erase = erasing.RandomErasing(p=1.0, scale=(0.25, 0.25), ratio=(1.0, 1.0), value="random")
    with seeded(0):
        erased = erase(plain(0))
    levels = erased[erased > 0].float()
    assert 1180 < levels.numel() <= 1200  # one in 256 is 0 by chance
    assert 118 < levels.mean() < 138
    assert 66 < levels.std() < 82  # of all levels alike: 73.9
    assert not torch.equal(erased[0], erased[1])


def test_cutout_hides_a_square_around_any_point_as_far_as_it_lies_within():
    cut = erasing.Cutout(size=4, value=[1, 2, 3])
    with seeded(0):
        results = [cut(plain(200, 8, 8)) for _ in range(300)]
    sizes = {tuple((result[0] == 1).any(dim).sum().item() for dim in (1, 0)) for result in results}
    assert sizes == {(height, width) for height in (2, 3, 4) for width in (2, 3, 4)}
    full = next(result for result in results if (result[0] == 1).sum() == 16)
    assert [channel.unique().tolist() for channel in full] == [[1, 200], [2, 200], [3, 200]]


def test_cutout_larger_than_the_image_hides_a_part_of_it():
    result = erasing.Cutout(size=100, value=0)(plain(200, 8, 8))
    assert result.unique().tolist() == [0]
    assert torch.equal(erasing.Cutout(p=0.0)(plain(200)), plain(200))


def test_lighting_shifts_all_pixels_along_the_principal_axes():
    with seeded(0):
        factors = torch.randn(3) * 0.5
    with seeded(0):
        shifted = color.Lighting(std=0.5)(plain(100))
    # ImageNet's axes, each times its deviation, in levels.
    axes = [
        [-0.5675 * 55.4625, 0.7192 * 4.794, 0.4009 * 1.1475],
        [-0.5808 * 55.4625, -0.0045 * 4.794, -0.8140 * 1.1475],
        [-0.5836 * 55.4625, -0.6948 * 4.794, 0.4203 * 1.1475],
    ]
    expected = [round(100 + sum(a * f for a, f in zip(axis, factors.tolist(), strict=True))) for axis in axes]
    assert [channel.unique().tolist() for channel in shifted] == [[level] for level in expected]
    assert expected != [100, 100, 100]


def test_lighting_stays_within_the_range_and_leaves_grey_alone():
    with seeded(1):
        shifted = torch.stack([color.Lighting(std=9.0)(plain(250)) for _ in range(20)])
    assert shifted.min() == 0
    assert shifted.max() == 255
    assert torch.equal(color.Lighting(std=9.0)(plain(250, channels=1)), plain(250, channels=1))


def test_gaussian_noise_has_the_deviation_asked_for_and_stays_within_the_range():
    with seeded(0):
        noisy = quality.GaussianNoise(mean=0.1, sigma=0.05)(plain(100, 80, 80)).float()
    assert abs(noisy.mean() - 125.5) < 0.5
    assert abs(noisy.std() - 12.75) < 0.3
    assert quality.GaussianNoise(sigma=9.0)(plain(100)).unique().tolist()[:1] == [0]


def test_jpeg_loses_the_more_the_lower_the_quality():
    smooth = torch.arange(0, 240, 6, dtype=torch.uint8).expand(3, 40, 40)

    def loss(lowest: int, highest: int) -> float:
        with seeded(0):
            return (quality.Jpeg(quality=(lowest, highest))(smooth).float() - smooth).abs().mean().item()

    assert loss(100, 100) < 1 < loss(5, 5)
    assert loss(5, 5) == pytest.approx((quality.Jpeg(quality=5)(smooth).float() - smooth).abs().mean().item())
    with seeded(0):
        results = {bytes(quality.Jpeg(quality=(10, 12))(smooth).flatten().tolist()) for _ in range(30)}
    assert len(results) == 3


def test_three_augment_draws_one_of_three():
    """Without the colours' change: grey, solarized or blurred, a third of the pictures each."""
    image = noise(20, 20)
    augment = policies.three_augment(color_jitter=0.0)
    gray, solarized = v2.Grayscale(3)(image), torch.where(image >= 128, 255 - image, image)
    with seeded(0):
        results = [augment(image) for _ in range(150)]
    num_gray = sum(torch.equal(result, gray) for result in results)
    num_solarized = sum(torch.equal(result, solarized) for result in results)
    others = [r for r in results if not torch.equal(r, gray) and not torch.equal(r, solarized)]
    assert min(num_gray, num_solarized, len(others)) > 35
    # The narrowest of blurs changes nothing.
    deviations = [result.float().std() for result in others]
    assert min(deviations) < 0.5 * image.float().std()
    assert max(deviations) <= image.float().std()


def problems_of(**table) -> list[str]:
    with pytest.raises(SpecError) as error:
        load_spec({"data": {"root": "x"}, "transforms": {"train": [table]}})
    return error.value.problems


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"type": "random_horizontal_flip", "p": 1.5}, "p: must be at most 1.0, got 1.5"),
        ({"type": "random_crop", "padding": -1}, "padding: must be at least 0, got -1"),
        (
            {"type": "random_crop", "size": [1, 2, 3]},
            "size: must be an integer or have at most 2 elements, got [1, 2, 3]",
        ),
        (
            {"type": "random_crop", "padding_mode": "mirror"},
            "padding_mode: must be 'constant', 'edge', 'reflect' or 'symmetric', got \"mirror\"",
        ),
        ({"type": "pad", "fill": [1, 2]}, "fill: must be an integer or have at least 3 elements, got [1, 2]"),
        (
            {"type": "pad", "padding": [1, 2, 3]},
            "padding: must be an integer or have at least 4 elements, got [1, 2, 3]",
        ),
        ({"type": "color_jitter", "hue": 0.6}, "hue: must be at most 0.5, got 0.6"),
        ({"type": "color_jitter", "brightness": -0.1}, "brightness: must be at least 0.0, got -0.1"),
        ({"type": "rand_augment", "magnitude": 31}, "magnitude: must be at most 30, got 31"),
        (
            {"type": "trivial_augment_wide", "interpolation": "bicubic"},
            "interpolation: must be 'nearest' or 'bilinear', got \"bicubic\"",
        ),
        ({"type": "random_erasing", "value": 256}, "value: must be at most 255 or a list or 'random', got 256"),
        ({"type": "jpeg", "quality": [0, 50]}, "quality.0: must be at least 1, got 0"),
    ],
)
def test_parameters_out_of_range_are_problems_of_the_spec(table, problem):
    assert problems_of(**table) == [f"spec: transforms.train.0.{problem}"]


SMALLER_FIRST = "the smaller first, got"


@pytest.mark.parametrize(
    ("component", "parameters", "message"),
    [
        (erasing.RandomErasing, {"scale": (0.0, 1.0)}, "scale must be two fractions above 0, the smaller first"),
        (erasing.RandomErasing, {"ratio": (2.0, 1.0)}, "ratio must be two positive numbers, the smaller first"),
        (
            crops.random_zoom_out,
            {"side_range": (0.5, 2.0)},
            f"side_range must be two numbers at least 1, {SMALLER_FIRST} [0.5, 2.0]",
        ),
        (
            crops.random_resize,
            {"min_size": 9, "max_size": 8},
            "max_size must be at least min_size, which is 9, got 8",
        ),
        (
            crops.scale_jitter,
            {"scale_range": (0.0, 2.0)},
            f"scale_range must be two numbers at least 0.01, {SMALLER_FIRST} [0.0, 2.0]",
        ),
        (
            geometric.random_rotation,
            {"degrees": (9.0, -9.0)},
            f"degrees must be two numbers, {SMALLER_FIRST} [9.0, -9.0]",
        ),
        (
            geometric.random_affine,
            {"shear": (0.0, 1.0, 2.0, 1.0)},
            f"shear must be two numbers, {SMALLER_FIRST} [2.0, 1.0]",
        ),
        (
            geometric.random_affine,
            {"translate": (0.0, 1.5)},
            "translate must be two fractions, along x and along y, got [0.0, 1.5]",
        ),
        (
            geometric.random_affine,
            {"scale": (1.0, float("nan"))},
            f"scale must be two numbers at least 0.01, {SMALLER_FIRST} [1.0, nan]",
        ),
        (
            color.random_photometric_distort,
            {"hue": (-0.6, 0.1)},
            f"hue must be two numbers at least -0.5 and at most 0.5, {SMALLER_FIRST} [-0.6, 0.1]",
        ),
        (quality.gaussian_blur, {"kernel_size": 4}, "kernel_size must be odd, got 4"),
        (
            quality.gaussian_blur,
            {"sigma": (2.0, 1.0)},
            f"sigma must be two numbers at least 0.01, {SMALLER_FIRST} [2.0, 1.0]",
        ),
        (quality.Jpeg, {"quality": (9, 8)}, f"quality must be two numbers, {SMALLER_FIRST} [9, 8]"),
    ],
)
def test_numbers_that_do_not_fit_each_other_are_refused_in_words(component, parameters, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        component(**parameters)
