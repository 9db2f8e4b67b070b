"""What a contact sheet shows is what training sees."""

import shutil

import pytest
import torch
from PIL import Image

from clscli.data.catalog import open_training_data
from clscli.data.loader import BatchLoader
from clscli.data.pipeline import build_transforms
from clscli.data.preview import preview
from clscli.data.samplers import build_sampler
from clscli.spec import load_spec


def test_the_pictures_are_the_first_of_the_first_epoch(tiny):
    spec = load_spec(tiny)
    view = open_training_data(spec).train
    loader = BatchLoader(
        view,
        build_transforms(spec, "train"),
        batch_size=8,
        seed=spec.spec.seed,
        sampler=build_sampler(spec, view),
        num_workers=0,
    )
    batch = next(loader.epoch(0))
    found = preview(spec, "train", 5, steps=False)
    assert found.titles == ["original", "transformed"]
    assert found.title == "training pictures, as drawn in the first epoch: random_crop, random_horizontal_flip"
    for place, strip in enumerate(found.strips):
        assert strip.name == view.key(int(batch.indices[place]))
        assert strip.label == view.classes[int(batch.targets[place])]
        assert torch.equal(strip.stages[1].image, batch.images[place])


def test_each_step_goes_on_from_the_one_before(tiny):
    tiny["transforms"]["train"] = [
        {"type": "center_crop", "size": 10},
        {"type": "random_horizontal_flip", "p": 1.0},
        {"type": "random_crop", "size": 8},
    ]
    spec = load_spec(tiny)
    found = preview(spec, "train", 3, steps=True)
    assert found.titles == ["original", "center_crop", "random_horizontal_flip", "random_crop"]
    whole = preview(spec, "train", 3, steps=False)
    for strip, ends in zip(found.strips, whole.strips, strict=True):
        original, cropped, flipped, last = (stage.image for stage in strip.stages)
        assert torch.equal(cropped, original[:, 5:15, 5:15])
        assert torch.equal(flipped, cropped.flip(-1))
        assert any(torch.equal(last, flipped[:, y : y + 8, x : x + 8]) for y in range(3) for x in range(3))
        assert torch.equal(last, ends.stages[1].image)
        assert torch.equal(original, ends.stages[0].image)


def test_large_pictures_are_shrunk_as_a_sheet_shows_them_small(tiny, tmp_path):
    for split in ("train", "val"):
        for name in ("a", "b"):
            (tmp_path / "large" / split / name).mkdir(parents=True)
            Image.new("RGB", (1024, 300), "#0a64c8").save(tmp_path / f"large/{split}/{name}/0.png")
    tiny["data"]["root"] = str(tmp_path / "large")
    original, cropped, _ = preview(load_spec(tiny), "train", 1, steps=True).strips[0].stages
    assert (original.height, original.width, tuple(original.image.shape)) == (300, 1024, (3, 150, 512))
    assert original.image.unique().tolist() == [0x0A, 0x64, 0xC8]
    assert (cropped.height, cropped.width, tuple(cropped.image.shape)) == (20, 20, (3, 20, 20))


def test_pictures_are_decoded_as_the_spec_says(tiny, tmp_path):
    noise = Image.effect_noise((640, 640), 60)
    for name in ("train/a", "train/b", "val/a"):
        (tmp_path / "noise" / name).mkdir(parents=True)
        noise.save(tmp_path / "noise" / name / "0.jpg")
    tiny["data"]["root"] = str(tmp_path / "noise")
    tiny["transforms"]["train"] = [{"type": "resize", "size": [20, 20]}]
    scaled = preview(load_spec(tiny), "train", 1, steps=False).strips[0].stages
    tiny["data"]["scaled_decode"] = False
    full = preview(load_spec(tiny), "train", 1, steps=False).strips[0].stages
    assert torch.equal(scaled[0].image, full[0].image)
    assert not torch.equal(scaled[1].image, full[1].image)


def test_validation_pictures_are_from_all_over(tiny):
    found = preview(load_spec(tiny), "val", 4, steps=True)
    assert found.title == "validation pictures: no transforms"
    assert [strip.name for strip in found.strips] == [
        "disc/000.png",
        "disc/003.png",
        "square/000.png",
        "square/003.png",
    ]
    assert len(preview(load_spec(tiny), "val", 100, steps=False).strips) == 12


def test_batch_transforms_are_shown_with_their_shares(tiny):
    tiny["transforms"]["batch"] = [{"type": "mixup", "alpha": 5.0, "p": 0.25}, {"type": "cutmix", "p": 0.5}]
    found = preview(load_spec(tiny), "train", 6, steps=True)
    assert [(row.title, row.p) for row in found.mixed] == [("mixup", 0.25), ("cutmix", 0.5)]
    images = [strip.stages[-1].image.float() for strip in found.strips]
    seen = set()
    for place, (mixed, shares) in enumerate(zip(found.mixed[0].images, found.mixed[0].targets, strict=True)):
        partner = images[place - 1]
        pixel = (images[place] - partner).abs().argmax()
        share = (mixed.image.float() - partner).flatten()[pixel] / (images[place] - partner).flatten()[pixel]
        labels = {found.strips[place].label, found.strips[place - 1].label}
        if len(labels) == 1:
            assert shares == [f"100 % {labels.pop()}"]
            continue
        named = dict(reversed(text.split(" % ")) for text in shares)
        assert int(named[found.strips[place].label]) == pytest.approx(100 * float(share), abs=2)
        seen.add(tuple(sorted(named.values())))
    assert len(seen) == 1
    assert preview(load_spec(tiny), "train", 6, steps=False).mixed == []
    assert preview(load_spec(tiny), "train", 1, steps=True).mixed == []
    assert preview(load_spec(tiny), "val", 6, steps=True).mixed == []


def test_a_picture_that_cannot_be_read_has_no_stages(tiny, pictures, tmp_path):
    root = shutil.copytree(pictures, tmp_path / "photos")
    tiny["data"] |= {"root": str(root)}
    tiny["transforms"]["batch"] = [{"type": "mixup"}]
    name = preview(load_spec(tiny), "train", 3, steps=False).strips[1].name
    (root / "train" / name).write_bytes(b"")
    found = preview(load_spec(tiny), "train", 3, steps=True)
    assert found.strips[1].stages == [None, None, None]
    assert found.strips[1].reason == "not a picture, or of a format that cannot be read"
    assert [image is None for image in found.mixed[0].images] == [False, True, False]
    tiny["data"]["on_bad_image"] = "skip"
    assert name not in [strip.name for strip in preview(load_spec(tiny), "train", 23, steps=False).strips]
