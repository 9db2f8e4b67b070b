"""Small pictures on the device: read once, augmented in batches, the same for every number of processes."""

from __future__ import annotations

import json

import pytest
import torch
from conftest import draw_folder
from PIL import Image

from clscli import evaluate, resume, train
from clscli.data.catalog import open_training_data
from clscli.data.decode import decode
from clscli.data.resident import ResidentLoader
from clscli.data.samplers import Shuffled
from clscli.data.transforms.crops import RandomCrop
from clscli.data.transforms.flips import RandomHorizontalFlip
from clscli.data.transforms.geometry import Resize
from clscli.engine.step import train_step
from clscli.errors import DataError, Interrupted, PluginError, SpecError
from clscli.spec import check_structure, read_training_draft, resolve

CPU = torch.device("cpu")
CROP = {"type": "random_crop", "size": 16, "padding": 2}


@pytest.fixture
def small(tiny):
    """A spec whose transforms can do batches."""
    del tiny["data"]["cache"]
    tiny["transforms"] = {"train": [CROP, {"type": "random_horizontal_flip"}], "eval": []}
    return tiny


def open_views(spec):
    return open_training_data(resolve(draft := read_training_draft(spec), check_structure(draft)))


def load(view, transforms=(), **options):
    options = {"batch_size": 5, "seed": 1, "sampler": Shuffled(view.targets), **options}
    return ResidentLoader(view, transforms, CPU, **options)


def test_batches_are_the_pictures_themselves(small):
    view = open_views(small).train
    loader = load(view)
    batches = list(loader.epoch(0))
    seen = torch.cat([batch.indices for batch in batches])
    assert sorted(seen.tolist()) == list(range(len(view)))
    assert len(batches) == len(loader) == 5
    for batch in batches:
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        for image, target, index in zip(batch.images, batch.targets, batch.indices.tolist(), strict=True):
            assert torch.equal(image, decode(view[index].source))
            assert target == view[index].target


def test_what_is_not_random_is_done_once(small):
    view = open_views(small).train
    batch = next(load(view, [Resize(size=8), RandomHorizontalFlip(p=1.0)], sampler=None).epoch(0))
    assert torch.equal(batch.images[0], Resize(size=8)(decode(view[0].source)).flip(-1))


def test_an_epoch_goes_on_in_its_middle_and_differs_from_the_next(small):
    loader = load(open_views(small).train, [RandomCrop(size=16, padding=2)])
    first = [batch.images for batch in loader.epoch(0)]
    rest = [batch.images for batch in loader.epoch(0, start=2)]
    assert all(torch.equal(a, b) for a, b in zip(first[2:], rest, strict=True))
    assert not torch.equal(first[0], next(loader.epoch(1)).images)


def test_slices_of_two_processes_are_the_batches_of_one(small):
    view, transforms = open_views(small).train, [RandomCrop(size=16, padding=2), RandomHorizontalFlip()]
    alone = list(load(view, transforms).epoch(3))
    halves = [list(load(view, transforms, rank=rank, processes=2).epoch(3)) for rank in (0, 1)]
    for batch, *parts in zip(alone, *halves, strict=True):
        assert torch.equal(batch.images, torch.cat([part.images for part in parts]))
        assert torch.equal(batch.targets, torch.cat([part.targets for part in parts]))


def test_small_pictures_are_kept_on_the_device_and_it_is_said_and_saved(small, caplog):
    result = train(small, out="run")
    assert "the pictures are small: they are kept on cpu and augmented in batches" in caplog.messages
    assert 'cache = "device"' in (result.run / "spec.toml").read_text()
    assert evaluate(result.run / "last.pth").loss == pytest.approx(result.last["loss"], abs=1e-6)


def test_a_run_that_is_resumed_ends_as_one_that_was_not(small, monkeypatch):
    whole = train(small, out="whole")
    steps = []

    def stop_after_seven(session, group):
        steps.append(train_step(session, group))
        if len(steps) == 7:
            raise Interrupted("the test")
        return steps[-1]

    with monkeypatch.context() as patch:
        patch.setattr("clscli.engine.loop.train_step", stop_after_seven)
        with pytest.raises(Interrupted):
            train(small, out="halved")
    halved = resume("halved")
    assert halved.last["loss"] == whole.last["loss"]
    saved = [torch.load(run / "last.pth", weights_only=True)["weights"] for run in (whole.run, halved.run)]
    assert all(torch.equal(saved[0][name], saved[1][name]) for name in saved[0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"train": [CROP, {"type": "color_jitter"}]}, "transform 'color_jitter' works on one picture at a time"),
        ({"train": [{"type": "color_jitter"}, CROP]}, "transform 'color_jitter' works on one picture at a time"),
    ],
)
def test_transforms_that_cannot_do_batches(small, change, reason):
    small["transforms"] |= change
    small["data"]["cache"] = "device"
    with pytest.raises(SpecError) as caught:
        train(small)
    assert str(caught.value) == (
        f'spec: data.cache: "device" keeps small pictures where they are computed, but {reason} '
        '-- write "auto" or "none"'
    )


def test_pictures_too_large_and_of_different_sizes(small, tmp_path):
    small["data"] |= {"cache": "device", "root": str(draw_folder(tmp_path / "large", {"train": 2, "val": 1}, 65))}
    with pytest.raises(SpecError, match="but pictures are up to 65x65, and at most 64x64 is small -- write"):
        train(small)
    mixed = draw_folder(tmp_path / "mixed", {"train": 2, "val": 1}, 20)
    Image.new("RGB", (30, 20)).save(mixed / "train" / "disc" / "wide.png")
    small["data"]["root"] = str(mixed)
    with pytest.raises(SpecError, match="but pictures are of different sizes, up to 20x30 -- write"):
        train(small)
    small["data"]["check_headers"] = False
    with pytest.raises(SpecError, match="but the sizes of the pictures are not known before"):
        train(small)


def test_what_is_counted_is_the_size_in_which_they_are_kept(small, monkeypatch):
    monkeypatch.setattr("clscli.data.resident.MAX_BYTES", 36 * 3 * 20 * 20)  # all 24 and 12 as they are
    small["data"]["cache"] = "device"
    train(small)
    small["transforms"] = {"train": [{"type": "resize", "size": 21}, CROP], "eval": []}
    with pytest.raises(SpecError, match=r"but they take 0.0 GB, and at most 0 are taken -- write"):
        train(small)


def test_otherwise_auto_reads_them_as_ever(small):
    small["transforms"]["train"].append({"type": "color_jitter"})
    assert 'cache = "none"' in (train(small).run / "spec.toml").read_text()


def test_a_picture_damaged_inside_is_left_out_or_stops_the_run(small, tmp_path):
    root = draw_folder(tmp_path / "damaged", {"train": 6, "val": 2}, 20)
    victim = root / "train" / "disc" / "003.png"
    content = bytearray(victim.read_bytes())
    content[60:90] = bytes(30)  # the header and the end stay whole
    victim.write_bytes(content)
    small["data"]["root"] = str(root)
    with pytest.raises(DataError, match=r"003\.png: "):
        train(small, out="strict")
    result = train(small, sets=["data.on_bad_image=skip"], out="lenient")
    rows = [json.loads(line) for line in (result.run / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["unreadable"] == 1


BROKEN = """
class Broken:
    def __call__(self, image):
        return image

    def batched(self, images, draws):
        {0}
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "return images.float()",
            "breaks its contract: batched must return uint8 (B, C, H, W), not torch.float32",
        ),
        ("return images[:0]", "breaks its contract: batched must return uint8 (B, C, H, W), not torch.uint8 (0, "),
        ("raise KeyError('no')", "Broken failed on a batch of images (3, 20, 20): KeyError: 'no'"),
    ],
)
def test_a_transform_whose_batches_are_none(small, packages, body, message):
    packages.install(
        "odd", {"transforms": {"broken": "odd_batched:Broken"}}, modules={"odd_batched": BROKEN.format(body)}
    )
    small["transforms"]["train"] = [{"type": "broken"}]
    with pytest.raises(PluginError) as caught:
        train(small)
    assert message in str(caught.value)
