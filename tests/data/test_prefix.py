"""Which part of a pipeline is done once, and how large the pictures are then."""

import pytest
import torch
from torchvision.transforms import v2

from clscli.data.prefix import Shrink, divide, sizes_after
from clscli.data.transforms import crops, flips
from clscli.data.transforms.geometry import CenterCrop, RandomResizedCrop, Resize


def sizes(*values):
    return torch.tensor(values, dtype=torch.int32)


def test_what_draws_nothing_is_done_once():
    pipeline = [Resize(size=256), CenterCrop(size=224)]
    assert divide(pipeline) == (pipeline, [])
    found = sizes_after(pipeline, sizes([375, 500], [20, 4000], [0, 0], [375, 500]))
    assert found.tolist() == [[224, 224], [224, 224], [0, 0], [224, 224]]
    assert sizes_after(pipeline[:1], sizes([375, 500], [500, 375])).tolist() == [[256, 341], [341, 256]]


def test_a_pipeline_is_divided_before_the_first_draw():
    resize, crop, flip = Resize(size=48), crops.RandomCrop(size=32), flips.RandomHorizontalFlip()
    assert divide([resize, crop, flip]) == ([resize], [crop, flip])
    assert divide([flip, resize]) == ([], [flip, resize])
    assert sizes_after([], sizes([7, 9], [0, 0])).tolist() == [[7, 9], [0, 0]]


@pytest.mark.parametrize(("size", "scale", "shorter"), [(224, (0.08, 1.0), 303), (224, (0.35, 1.0), 263)])
def test_before_random_crops_pictures_shrink_to_what_half_of_the_crops_need(size, scale, shorter):
    crop = RandomResizedCrop(size=size, scale=scale)
    once, rest = divide([crop])
    assert rest == [crop]
    assert [type(transform) for transform in once] == [Shrink]
    assert once[0].size == shorter
    torch.manual_seed(1)
    height, width = sizes_after(once, sizes([3000, 4000]))[0].tolist()
    regions = [crop.region(height, width) for _ in range(2000)]
    sharp = sum(region.height * region.width >= size * size for region in regions)
    assert 0.46 < sharp / len(regions) < 0.54


def test_shrinking_keeps_proportions_and_enlarges_nothing():
    shrink = Shrink(300)
    found = sizes_after([shrink], sizes([375, 500], [500, 375], [299, 900], [1, 5000]))
    assert found.tolist() == [[300, 400], [400, 300], [299, 900], [1, 5000]]
    assert shrink(torch.zeros(3, 600, 900, dtype=torch.uint8)).shape == (3, 300, 450)


def by_numpy(image):
    """A transform that needs pixels to know the size of what it gives."""
    return torch.from_numpy(image.numpy()[:, ::2].copy())


@pytest.mark.parametrize("unsuitable", [v2.Grayscale(), by_numpy])
def test_what_has_another_number_of_channels_or_no_size_known_beforehand_is_not_kept(unsuitable):
    resize = Resize(size=48)
    assert divide([resize, unsuitable, CenterCrop(size=32)]).once == [resize]
