"""From the spec's transforms to callables that keep the contract."""

import dataclasses

import pytest
import torch
from PIL import Image

from clscli.data.datasets.folder import Folder
from clscli.data.pipeline import build_transforms, output_shape
from clscli.data.region import take
from clscli.data.split import View
from clscli.data.transforms.geometry import Resize
from clscli.errors import PluginError, SpecError
from clscli.spec import load_spec

RESIZE, CROP = {"type": "resize", "size": 32}, {"type": "center_crop", "size": 24}
FLIP = {"type": "random_horizontal_flip"}


def spec_of(**transforms):
    return load_spec({"data": {"root": "x"}, "transforms": transforms})


def with_transform(function, split: str = "train"):
    """Make a spec whose one transform is `function`, as if a package offered it under the name `resize`."""
    spec = spec_of(**{split: [RESIZE]})
    path = ("transforms", split, 0)
    bound = dataclasses.replace(spec.components[path], function=lambda **parameters: function)
    return dataclasses.replace(spec, components=spec.components | {path: bound})


def broken(function) -> str:
    with pytest.raises(PluginError) as error:
        build_transforms(with_transform(function), "train")
    return str(error.value)


def view_of(root, *sizes) -> View:
    """Save pictures of these sizes (width, height), None for one that cannot be read, and view them in order."""
    for number, size in enumerate(sizes):
        path = root / "cat" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        path.touch()
        if size is not None:
            Image.new("RGB", size).save(path)
    folder = Folder("train", root=root)
    return View(folder, range(len(folder)), folder.classes)


def test_train_and_eval_have_pipelines_of_their_own_in_order():
    spec = spec_of(train=[CROP, FLIP], eval=[RESIZE, CROP])
    names = [[type(t).__name__ for t in build_transforms(spec, s)] for s in ("train", "val", "test", "predict")]
    evaluation = ["Resize", "CenterCrop"]
    assert names == [["CenterCrop", "RandomHorizontalFlip"], evaluation, evaluation, evaluation]


def test_the_defaults_pass():
    spec = load_spec({"data": {"root": "x"}})
    assert len(build_transforms(spec, "train")) == 3
    assert len(build_transforms(spec, "val")) == 2


def test_no_transforms_are_an_empty_pipeline():
    spec = spec_of(train=[], eval=[])
    assert build_transforms(spec, "train") == build_transforms(spec, "val") == []


@pytest.mark.parametrize(
    "name", ["random_horizontal_flip", "random_crop", "trivial_augment_wide", "random_erasing"]
)
def test_a_random_transform_in_evaluation_is_refused_by_name(name):
    spec = spec_of(eval=[RESIZE, {"type": name}])
    with pytest.raises(SpecError) as error:
        build_transforms(spec, "val")
    assert str(error.value) == (
        f"spec: transforms.eval.1: transform '{name}' is random "
        "-- in evaluation every picture must look the same every time"
    )
    build_transforms(spec, "train")


def test_a_random_transform_is_found_even_if_it_writes_into_its_input():
    def darken_sometimes(image):
        if torch.rand(()) < 0.5:
            image.zero_()
        return image

    with pytest.raises(SpecError, match="transform 'resize' is random"):
        build_transforms(with_transform(darken_sometimes, "eval"), "val")


def test_a_transform_that_writes_into_its_input_is_not_taken_for_random():
    def invert(image):
        return image.bitwise_not_()

    assert build_transforms(with_transform(invert, "eval"), "val") == [invert]


def test_building_does_not_disturb_the_global_generator():
    state = torch.get_rng_state()
    build_transforms(spec_of(train=[FLIP, {"type": "trivial_augment_wide"}]), "train")
    assert torch.equal(torch.get_rng_state(), state)


CONTRACT = "breaks its contract: it must return uint8 (C, H, W), not"


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (lambda image: image / 255, "torch.float32 (3, 251, 317)"),
        (lambda image: image[None], "torch.uint8 (1, 3, 251, 317)"),
        (lambda image: image[0], "torch.uint8 (251, 317)"),
        (lambda image: image.long(), "torch.int64 (3, 251, 317)"),
        (lambda image: image.permute(1, 2, 0), "torch.uint8 (251, 317, 3)"),
        (lambda image: image.numpy(), "ndarray"),
        (lambda image: None, "NoneType"),
    ],
)
def test_a_transform_that_returns_something_else_breaks_its_contract(function, found):
    text = broken(function)
    assert text.endswith(f"{CONTRACT} {found}")
    assert "resize" in text


def test_a_transform_that_fails_is_named_with_its_reason():
    def fail(image):
        raise RuntimeError("out of\n  ideas")

    text = broken(fail)
    assert text.endswith(" failed on an image of (3, 251, 317): RuntimeError: out of ideas")
    assert "resize" in text


def test_a_transform_whose_region_is_not_what_it_does_breaks_its_contract():
    class Moved(Resize):
        def region(self, height, width):
            return super().region(height, width)._replace(left=1, width=width - 1)

        def __call__(self, image):
            return take(image, super().region(*image.shape[1:]))

    text = broken(Moved(size=20))
    assert text.endswith("breaks its contract: its region differs from what calling it returns")
    assert "resize" in text


def test_a_random_region_in_evaluation_is_refused_by_name():
    with pytest.raises(SpecError, match="transform 'random_resized_crop' is random"):
        build_transforms(spec_of(eval=[{"type": "random_resized_crop", "size": 32}]), "val")


def test_a_failure_names_the_shape_that_the_transform_before_left():
    spec = spec_of(train=[RESIZE, {"type": "random_crop", "size": 200, "padding_mode": "reflect"}])
    with pytest.raises(PluginError, match=r"random_crop.* failed on an image of \(3, 32, 40\): "):
        build_transforms(spec, "train")


@pytest.mark.parametrize(
    ("tables", "shape"),
    [
        ([], (3, 30, 50)),
        ([RESIZE], (3, 32, 53)),
        ([RESIZE, CROP], (3, 24, 24)),
        ([{"type": "resize", "size": [20, 10]}], (3, 20, 10)),
    ],
)
def test_the_output_shape_is_that_of_real_pictures(tmp_path, tables, shape):
    transforms = build_transforms(spec_of(eval=tables), "val")
    assert output_shape(transforms, view_of(tmp_path, (50, 30), (9, 9))) == shape


def test_unreadable_pictures_have_no_shape(tmp_path):
    assert output_shape([], view_of(tmp_path, None, None, (7, 5))) == (3, 5, 7)


def test_the_output_shape_without_any_readable_picture_is_still_one(tmp_path):
    transforms = build_transforms(spec_of(eval=[RESIZE, CROP]), "val")
    assert output_shape(transforms, view_of(tmp_path, None)) == (3, 24, 24)
