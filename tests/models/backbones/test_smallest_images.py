"""The smallest images that convolutions and poolings without padding take, whichever stage is the last."""

import pytest
import torch
from backbone_kit import build

SMALLEST = {
    "alexnet": [15, 31, 63, 63],
    "vgg11": [2, 4, 8, 16, 32, 32],
    "densenet121": [1, 5, 13, 29],
    "googlenet": [3, 7, 15, 15],
    "inception_v3": [19, 27, 43, 75],
    "squeezenet1_0": [9, 13, 21],
    "squeezenet1_1": [5, 9, 17],
    "lenet5": [6, 16, 32],
}


@pytest.mark.parametrize(
    ("name", "index"), [(name, index) for name in SMALLEST for index in range(len(SMALLEST[name]))]
)
def test_smallest_image(name, index):
    backbone = build(name, out_indices=(index,), device="meta").eval()
    size = SMALLEST[name][index]
    output = backbone(torch.empty(1, 3, size, size, device="meta"))
    assert output.numel() > 0
    if size == 1:
        return
    images = torch.empty(1, 3, size, size - 1, device="meta")
    message = f"needs images of at least {size}x{size} pixels, got {size}x{size - 1}"
    with pytest.raises(ValueError, match=message):
        backbone(images)
    backbone.min_size = 1  # and a lower limit would let through what does not fit
    try:
        nothing = backbone(images)
    except RuntimeError:
        return
    assert nothing.numel() == 0  # of which some versions of torch say nothing
