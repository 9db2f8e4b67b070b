"""LeNet-5: the same numbers as mmpretrain, the sizes of its images, and its head."""

import pytest
import torch
from backbone_kit import ENTRIES, agree, build, mmpretrain_backbone


@pytest.mark.mmpretrain
def test_same_as_mmpretrain():
    agree(mmpretrain_backbone("LeNet5"), build("lenet5", 1), (32, 45), theirs=gray, ours=gray)


def gray(model, images):
    """Call a model on one channel, the number that mmpretrain's has."""
    return model(images[:, :1])


def test_its_own_images_give_one_pixel():
    assert build("lenet5", 1)(torch.rand(2, 1, 32, 32)).shape == (2, 120, 1, 1)


@pytest.mark.parametrize(("index", "min_size"), [(0, 6), (1, 16), (2, 32)])
def test_too_small_an_image_says_what_to_do(index, min_size):
    backbone = build("lenet5", out_indices=(index,))
    assert backbone(torch.rand(1, 3, min_size, min_size)).shape[-2:] == (1, 1)
    message = (
        f"LeNet5 needs images of at least {min_size}x{min_size} pixels, got {min_size}x{min_size - 1}: "
        'add { type = "resize", size = 32 } to the transforms'
    )
    with pytest.raises(ValueError, match="LeNet5") as caught:
        backbone(torch.rand(1, 3, min_size, min_size - 1))
    assert str(caught.value) == message


def test_companions_are_the_layer_f6_and_the_classes():
    head = {"type": "stacked_linear", "mid_channels": [84], "activation": "tanh"}
    assert ENTRIES["lenet5"].load().companions({}) == {"head": head}
