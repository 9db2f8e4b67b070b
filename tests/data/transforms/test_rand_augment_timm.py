"""RandAugment in timm's variant: its operations against timm's, and how they are drawn."""

import pytest
import torch
from PIL import Image

from clscli.data.transforms import rand_augment_timm
from clscli.data.transforms.rand_augment_timm import OPERATIONS, RandAugmentTimm
from clscli.seeds import seeded

NAMES = {
    "autocontrast": "AutoContrast",
    "equalize": "Equalize",
    "invert": "Invert",
    "rotate": "Rotate",
    "posterize": "PosterizeIncreasing",
    "solarize": "SolarizeIncreasing",
    "solarize_add": "SolarizeAdd",
    "color": "ColorIncreasing",
    "contrast": "ContrastIncreasing",
    "brightness": "BrightnessIncreasing",
    "sharpness": "SharpnessIncreasing",
    "shear_x": "ShearX",
    "shear_y": "ShearY",
    "translate_x": "TranslateXRel",
    "translate_y": "TranslateYRel",
}
# Levels by which a pixel may differ on average, where the arithmetic is not the same.
ROUNDING = {"color": 1.0, "contrast": 1.0, "brightness": 1.0, "sharpness": 1.0}
WARPED = {"rotate", "shear_x", "shear_y", "translate_x", "translate_y"}


def picture() -> torch.Tensor:
    """Make a picture of smooth colours, on which a shift of a part of a pixel is a small difference."""
    y, x = torch.meshgrid(torch.arange(48.0), torch.arange(64.0), indexing="ij")
    waves = [torch.sin(x / 9), torch.cos(y / 7), torch.sin((x + y) / 11)]
    return torch.stack([128 + 90 * wave for wave in waves]).to(torch.uint8)


def test_the_operations_are_timms():
    timm = pytest.importorskip("timm.data.auto_augment")
    names = {NAMES[operation.__name__] for operation in OPERATIONS}
    assert names == set(timm._RAND_INCREASING_TRANSFORMS)
    assert len(OPERATIONS) == 15


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
@pytest.mark.parametrize("magnitude", [0, 2.5, 6, 9, 10])
@pytest.mark.parametrize("negative", [False, True])
def test_every_operation_does_what_timms_does(monkeypatch, operation, magnitude, negative):
    timm = pytest.importorskip("timm.data.auto_augment")
    if operation is rand_augment_timm.posterize:
        magnitude = min(magnitude, 9.9)  # beyond that, timm asks Pillow for 0 bits, which is an error
    # timm takes a shift to the left for positive, torch one to the right; a rotation is the other way round, too.
    opposite = operation.__name__ in ("rotate", "translate_x", "translate_y")
    monkeypatch.setattr(rand_augment_timm, "_either_way", lambda s: -s if negative != opposite else s)
    monkeypatch.setattr(timm, "_randomly_negate", lambda s: -s if negative else s)
    parameters = {"img_mean": (128, 128, 128), "interpolation": Image.Resampling.BILINEAR}
    theirs = timm.AugmentOp(NAMES[operation.__name__], 1.0, magnitude, parameters)
    pixels = theirs(Image.fromarray(picture().permute(1, 2, 0).contiguous().numpy()))
    expected = torch.frombuffer(bytearray(pixels.tobytes()), dtype=torch.uint8).view(48, 64, 3).permute(2, 0, 1)
    found = operation(picture(), magnitude / 10, RandAugmentTimm().warp)
    difference = (found.int() - expected.int()).abs().float()
    if operation.__name__ in WARPED:  # at the border torch blends with the filling, Pillow does not
        assert difference.median() <= 1
        assert difference.mean() < 2.5
    else:
        assert difference.mean() <= ROUNDING.get(operation.__name__, 0)


class Recorded:
    """Stands for all operations, and keeps the levels at which they were called."""

    def __init__(self, monkeypatch):
        self.levels = []
        monkeypatch.setattr(rand_augment_timm, "OPERATIONS", [self] * 15)

    def __call__(self, image, level, warp):
        self.levels.append(level)
        return image


def test_strengths_are_drawn_around_the_magnitude_for_a_part_of_the_operations(monkeypatch):
    recorded = Recorded(monkeypatch)
    augment = RandAugmentTimm(num_ops=2, magnitude=6.0, magnitude_std=0.5, p=0.25)
    with seeded(0):
        for _ in range(2000):
            augment(picture())
    levels = torch.tensor(recorded.levels)
    assert 930 < len(levels) < 1070  # a quarter of 4,000
    assert abs(levels.mean() - 0.6) < 0.005
    assert abs(levels.std() - 0.05) < 0.005


def test_strengths_end_at_ten(monkeypatch):
    recorded = Recorded(monkeypatch)
    augment = RandAugmentTimm(magnitude=10.0, magnitude_std=3.0, p=1.0)
    with seeded(0):
        for _ in range(100):
            augment(picture())
    assert len(recorded.levels) == 200
    assert max(recorded.levels) == 1.0
    assert 60 < recorded.levels.count(1.0) < 140
    assert min(recorded.levels) < 0.8


def test_without_deviation_all_strengths_are_the_magnitude(monkeypatch):
    recorded = Recorded(monkeypatch)
    RandAugmentTimm(num_ops=5, magnitude=7.0, magnitude_std=0.0, p=1.0)(picture())
    assert recorded.levels == [0.7] * 5


def test_posterize_keeps_one_bit_at_full_strength():
    posterized = rand_augment_timm.posterize(picture(), 1.0, RandAugmentTimm().warp)
    assert posterized.unique().tolist() == [0, 128]


def test_what_lies_outside_has_the_filling():
    augment = RandAugmentTimm(fill=[124, 116, 104])
    moved = rand_augment_timm.translate_x(picture(), 1.0, augment.warp)
    empty = [channel[:, edge].unique().tolist() for edge in (0, -1) for channel in moved]
    assert [[124], [116], [104]] in (empty[:3], empty[3:])
