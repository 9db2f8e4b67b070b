"""Resizing to exactly a size: what fills it, what is left out, and what is filled up."""

import pytest
import torch
from PIL import Image

from clscli.data.pipeline import build_transforms
from clscli.data.read import read
from clscli.data.transforms.geometry import CenterCrop, resize
from clscli.errors import SpecError
from clscli.spec import load_spec


def steps(height: int, width: int) -> torch.Tensor:
    """Make an image whose first channel is the row and second the column, times two."""
    y, x = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    return torch.stack([2 * y, 2 * x, torch.full_like(x, 9)]).to(torch.uint8)


def test_crop_leaves_out_what_is_over_at_both_ends():
    image = steps(20, 40)
    assert torch.equal(resize(size=20, mode="crop")(image), image[:, :, 10:30])
    assert torch.equal(resize(size=[10, 40], mode="crop")(image), image[:, 5:15, :])
    assert resize(size=[30, 15], mode="crop")(image)[1].float().mean() == pytest.approx(39, abs=0.5)  # the middle


def test_crop_is_the_shorter_side_and_a_center_crop_in_one():
    image = steps(90, 60)
    in_two = CenterCrop(size=32)(resize(size=32)(image))
    in_one = resize(size=32, mode="crop")(image)
    assert (in_one.int() - in_two.int()).abs().max() <= 1


def test_pad_shows_the_whole_picture_in_the_middle():
    image = steps(20, 40)
    padded = resize(size=40, mode="pad", fill=[1, 2, 3])(image)
    assert padded.shape == (3, 40, 40)
    assert torch.equal(padded[:, 10:30], image)
    outside = torch.cat([padded[:, :10], padded[:, 30:]], dim=1)
    assert [channel.unique().tolist() for channel in outside] == [[1], [2], [3]]
    upright = resize(size=[10, 9], mode="pad", fill=7)(image.transpose(1, 2))
    assert upright.shape == (3, 10, 9)
    assert torch.equal(upright[:, :, 2:7], resize(size=[10, 5])(image.transpose(1, 2)))
    assert upright[:, :, [0, 1, 7, 8]].unique().tolist() == [7]


def test_squash_ignores_the_proportions():
    image = steps(20, 40)
    assert torch.equal(resize(size=16, mode="squash")(image), resize(size=[16, 16])(image))
    assert torch.equal(resize(size=[8, 5], mode="squash")(image), resize(size=[8, 5])(image))


@pytest.mark.parametrize("mode", ["crop", "pad", "squash"])
@pytest.mark.parametrize("shape", [(1, 9), (9, 1), (1, 500), (500, 1), (17, 23), (64, 64)])
def test_the_size_is_exact_for_every_shape(mode, shape):
    for size, wanted in ((16, (16, 16)), ([7, 19], (7, 19))):
        assert resize(size=size, mode=mode)(steps(*shape)).shape == (3, *wanted)


@pytest.mark.parametrize("mode", ["crop", "pad", "squash"])
def test_a_grey_image_stays_one(mode):
    assert resize(size=16, mode=mode)(steps(9, 20)[:1]).shape == (1, 16, 16)


@pytest.mark.parametrize("mode", ["crop", "pad", "squash"])
def test_in_a_pipeline_large_photos_come_out_alike(mode, tmp_path):
    """With the decoder doing a part of the work, or not."""
    image = Image.linear_gradient("L").resize((480, 320)).convert("RGB")
    image.save(tmp_path / "a.jpg")
    tables = [{"type": "resize", "size": 32, "mode": mode}]
    transforms = build_transforms(load_spec({"data": {"root": "x"}, "transforms": {"eval": tables}}), "val")
    scaled = read(tmp_path / "a.jpg", transforms, scaled_decode=True)
    full = read(tmp_path / "a.jpg", transforms, scaled_decode=False)
    assert scaled.shape == (3, 32, 32)
    assert (scaled.int() - full.int()).abs().max() <= 4


def test_a_filling_without_padding_is_refused():
    with pytest.raises(ValueError, match=r"^fill is for mode 'pad' alone, got 9$"):
        resize(size=16, mode="crop", fill=9)


def test_an_unknown_mode_is_a_problem_of_the_spec():
    with pytest.raises(SpecError) as error:
        load_spec({"data": {"root": "x"}, "transforms": {"eval": [{"type": "resize", "mode": "padd"}]}})
    assert str(error.value) == (
        "spec: transforms.eval.0.mode: must be 'crop', 'pad' or 'squash', got \"padd\" -- did you mean 'pad'?"
    )
