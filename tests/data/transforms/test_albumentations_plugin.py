"""A transform of Albumentations as a package of one's own: as short as it can be, and repeatable like ours."""

import random
import sys
from types import ModuleType

import pytest
import torch

from clscli.data.pipeline import build_transforms
from clscli.errors import SpecError
from clscli.seeds import augmenting
from clscli.spec import load_spec

PLUGIN = '''
import albumentations as A
import torch
from torch import Tensor


class Dropout:
    """Black out single pixels, with probability `p`: Albumentations' PixelDropout."""

    def __init__(self, *, dropout_prob: float = 0.01, p: float = 0.5) -> None:
        self.transform = A.PixelDropout(dropout_prob=dropout_prob, p=p)

    def __call__(self, image: Tensor) -> Tensor:
        self.transform.set_random_seed(int(torch.randint(2**31, ())))  # Albumentations has generators of its own
        pixels = self.transform(image=image.permute(1, 2, 0).contiguous().numpy())["image"]
        return torch.from_numpy(pixels.copy()).permute(2, 0, 1)
'''


class PixelDropout:
    """Stands for Albumentations' where that is not installed: random by a generator that nobody seeds."""

    def __init__(self, dropout_prob: float, p: float) -> None:
        self.dropout_prob, self.p, self.generator = dropout_prob, p, random.Random()

    def set_random_seed(self, seed: int) -> None:
        self.generator.seed(seed)

    def __call__(self, image):
        if self.generator.random() >= self.p:
            return {"image": image}
        image = image.copy()
        for row in image:
            for pixel in row:
                pixel *= self.generator.random() >= self.dropout_prob
        return {"image": image}


@pytest.fixture(params=["stand-in", "installed"])
def albumentations(request, monkeypatch, plugin):
    if request.param == "installed":
        pytest.importorskip("albumentations")
    else:
        module = ModuleType("albumentations")
        module.PixelDropout = PixelDropout
        monkeypatch.setitem(sys.modules, "albumentations", module)
    plugin("transforms", pixel_dropout="dropout:Dropout", dropout=PLUGIN)


def specs_transform(which: str = "train", **parameters):
    table = {"type": "pixel_dropout", **parameters}
    spec = load_spec({"data": {"root": "x"}, "transforms": {which: [table]}})
    return build_transforms(spec, which)[0]


@pytest.mark.usefixtures("albumentations")
def test_it_is_a_transform_and_a_function_of_the_draw():
    image, results = torch.full((3, 30, 40), 200, dtype=torch.uint8), []
    for _ in range(2):
        transform = specs_transform(dropout_prob=0.25, p=1.0)
        for epoch in range(3):
            with augmenting(0, epoch, 5):
                results.append(transform(image))
    assert all(map(torch.equal, results[:3], results[3:]))
    assert not torch.equal(results[0], results[1])
    assert results[0].unique().tolist() == [0, 200]
    assert 200 < (results[0][0] == 0).sum() < 400
    assert torch.equal(image, torch.full((3, 30, 40), 200, dtype=torch.uint8))


@pytest.mark.usefixtures("albumentations")
def test_in_evaluation_it_is_refused():
    with pytest.raises(SpecError, match="transform 'extra:pixel_dropout' is random"):
        specs_transform("eval", p=1.0)
