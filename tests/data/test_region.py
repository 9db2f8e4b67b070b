"""Scaled decoding: the same picture from a fraction of the work, whatever the JPEG."""

import io
import math

import pytest
import torch
from PIL import Image, JpegImagePlugin
from torchvision.transforms.v2 import functional as reference

from clscli.data.decode import UnreadableImageError, decode
from clscli.data.read import read
from clscli.data.region import Region, take
from clscli.data.scaled import decode_region
from clscli.data.transforms.geometry import CenterCrop, RandomResizedCrop, Resize
from clscli.seeds import seeded

HEIGHT, WIDTH = 299, 421  # no multiples of a block
# Mean difference in levels of 255. Bicubic in place of bilinear changes the photo below by 0.2 to 3, according to
# the output's size; to move it by one pixel of the output by 3 to 19.
CLOSE = 1.5


def photo() -> Image.Image:
    """Draw what differs in all corners, and has edges of all directions."""
    y, x = torch.meshgrid(torch.arange(HEIGHT) / HEIGHT, torch.arange(WIDTH) / WIDTH, indexing="ij")
    rings = torch.sin(30 * torch.hypot(y - 0.3, x - 0.6))
    planes = torch.stack([0.5 + 0.5 * rings, 0.3 * y + 0.7 * x, (y > 0.5) * 0.6 + (x > 0.8) * 0.4])
    pixels = (planes.permute(1, 2, 0) * 255).byte().contiguous()
    return Image.frombytes("RGB", (WIDTH, HEIGHT), bytes(pixels.flatten().tolist()))


def jpeg(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **{"quality": 95} | options)
    return file.getvalue()


@pytest.fixture
def drafts(monkeypatch) -> list[tuple[int, int]]:
    """The sizes at which JPEGs were decoded at a fraction."""
    sizes = []
    draft = JpegImagePlugin.JpegImageFile.draft

    def note(self, mode, size):
        result = draft(self, mode, size)
        sizes.append(self.size)
        return result

    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", note)
    return sizes


def both(source, transform, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Read with scaled decoding and without."""
    results = []
    for scaled in (True, False):
        with seeded(seed):
            results.append(read(source, [transform], scaled_decode=scaled))
    return results[0], results[1]


def mean_difference(one: torch.Tensor, other: torch.Tensor) -> float:
    assert (one.dtype, one.shape) == (other.dtype, other.shape)
    return (one.float() - other.float()).abs().mean().item()


@pytest.mark.parametrize(
    ("part", "output", "reduction"),
    [
        ((64, 64), (64, 64), 1),
        ((127, 500), (64, 64), 1),
        ((500, 127), (64, 64), 1),
        ((128, 128), (64, 64), 2),
        ((255, 999), (64, 64), 2),
        ((256, 256), (64, 64), 4),
        ((512, 511), (64, 64), 4),
        ((512, 512), (64, 64), 8),
        ((9999, 9999), (64, 64), 8),
        ((10, 10), (64, 64), 1),
    ],
)
def test_a_picture_is_reduced_as_far_as_the_output_keeps_its_resolution(part, output, reduction):
    assert Region(3, 5, *part, *output, "bilinear").reduction == reduction
    assert Region(3, 5, *part, *output, "bicubic").reduction == reduction
    assert Region(3, 5, *part, *output, "nearest").reduction == 1


@pytest.mark.parametrize("mode", ["bilinear", "bicubic", "nearest"])
def test_a_region_is_taken_as_torchvision_does(mode):
    image = decode(photo())
    expected = reference.resized_crop(
        image, 20, 30, 100, 90, [50, 40], interpolation=reference.InterpolationMode(mode), antialias=True
    )
    assert torch.equal(take(image, Region(20, 30, 100, 90, 50, 40, mode)), expected)
    assert torch.equal(take(image, Region(20, 30, 100, 90, 100, 90, mode)), image[:, 20:120, 30:120])


def test_what_is_resized_keeps_its_channels_where_they_were():
    image = torch.zeros(30, 40, 3, dtype=torch.uint8).permute(2, 0, 1)
    assert take(image, Region(3, 5, 20, 20, 8, 9, "bilinear")).stride() == (1, 3 * 9, 3)
    assert take(image.contiguous(), Region(3, 5, 20, 20, 8, 9, "bilinear")).stride() == (8 * 9, 9, 1)


@pytest.mark.parametrize(
    ("size", "decoded"), [(150, []), (149, [(211, 150)]), (74, [(106, 75)]), (37, [(53, 38)]), (5, [(53, 38)])]
)
def test_a_jpeg_is_decoded_at_a_fraction_and_looks_the_same(size, decoded, drafts):
    scaled, full = both(jpeg(photo()), Resize(size=size))
    assert drafts == decoded
    assert mean_difference(scaled, full) < CLOSE
    if not decoded:
        assert torch.equal(scaled, full)


@pytest.mark.parametrize("seed", range(6))
def test_a_random_part_is_the_same_one_with_and_without(seed, drafts):
    transform = RandomResizedCrop(size=32, interpolation="bicubic" if seed % 2 else "bilinear")
    scaled, full = both(jpeg(photo()), transform, seed)
    assert mean_difference(scaled, full) < CLOSE
    with seeded(seed):
        wanted = transform.region(HEIGHT, WIDTH)
    assert len(drafts) == (wanted.reduction > 1)
    assert torch.equal(full, take(decode(jpeg(photo())), wanted))


def test_nothing_is_taken_from_averages_without_antialiasing(drafts):
    scaled, full = both(jpeg(photo()), Resize(size=32, interpolation="nearest"))
    assert drafts == []
    assert torch.equal(scaled, full)


@pytest.mark.parametrize("transform", [Resize(size=36), RandomResizedCrop(size=24, scale=(0.1, 0.4))])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_jpeg_gives_the_same_region(orientation, transform, drafts):
    """The decoder fills up what is no whole block at the stored right and lower end, which may be upright left."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    scaled, full = both(jpeg(photo(), exif=exif), transform, seed=3)
    assert len(drafts) == 1
    assert mean_difference(scaled, full) < CLOSE


@pytest.mark.parametrize("mode", ["L", "CMYK"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"icc_profile": b"any"}, {"subsampling": 0}])
def test_every_kind_of_jpeg_looks_the_same(mode, options, drafts):
    scaled, full = both(jpeg(photo().convert(mode), **options), Resize(size=36))
    assert len(drafts) == 1
    assert mean_difference(scaled, full) < CLOSE


def test_of_several_pictures_in_a_file_the_first_is_read(drafts):
    file = io.BytesIO()
    photo().save(file, "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (WIDTH, HEIGHT))])
    scaled, full = both(file.getvalue(), Resize(size=36))
    assert drafts == [(53, 38)]
    assert mean_difference(scaled, full) < CLOSE


@pytest.mark.parametrize("source", ["PNG", "image", "tensor", "grey tensor"])
def test_what_is_no_jpeg_is_taken_whole(source, drafts):
    if source == "PNG":
        file = io.BytesIO()
        photo().save(file, "PNG")
    pixels = decode(photo())
    given = {
        "PNG": lambda: file.getvalue(),
        "image": photo,
        "tensor": lambda: pixels,
        "grey tensor": lambda: pixels[1:2],
    }[source]()
    expected = pixels[1:2].expand(3, -1, -1) if source == "grey tensor" else pixels
    scaled, full = both(given, Resize(size=36))
    assert torch.equal(scaled, full)
    assert torch.equal(full, Resize(size=36)(expected))
    assert drafts == []


def test_a_pipeline_that_begins_otherwise_gets_the_whole_picture(drafts):
    shapes = []

    def look(image):
        shapes.append(tuple(image.shape))
        return image

    read(jpeg(photo()), [look, Resize(size=8)], scaled_decode=True)
    read(jpeg(photo()), [CenterCrop(size=8)], scaled_decode=True)
    assert read(jpeg(photo()), [], scaled_decode=True).shape == (3, HEIGHT, WIDTH)
    assert shapes == [(3, HEIGHT, WIDTH)]
    assert drafts == []


def test_the_transforms_after_the_first_are_run():
    image = read(jpeg(photo()), [Resize(size=50), CenterCrop(size=40)], scaled_decode=False)
    assert torch.equal(image, CenterCrop(size=40)(Resize(size=50)(decode(jpeg(photo())))))


def test_a_region_that_fails_is_blamed_on_its_transform():
    class Fussy(Resize):
        def region(self, height, width):
            raise ValueError(f"{height} x {width} is odd")

    for scaled in (True, False):
        with pytest.raises(UnreadableImageError) as error:
            read(jpeg(photo()), [Fussy()], scaled_decode=scaled)
        assert str(error.value) == "Fussy failed on it: ValueError: 299 x 421 is odd"


@pytest.mark.parametrize("scaled", [True, False])
def test_half_a_jpeg_is_refused_at_any_scale(scaled):
    whole = jpeg(photo())
    with pytest.raises(UnreadableImageError, match=r"^image file is truncated"):
        decode_region(whole[: len(whole) // 2], Resize(size=30).region, scaled=scaled)


@pytest.mark.parametrize(
    ("pixels", "reason"),
    [
        (torch.zeros(3, 4, 4), "pixels must be a tensor uint8 (3 or 1, H, W), not torch.float32 (3, 4, 4)"),
        (
            torch.zeros(2, 4, 4, dtype=torch.uint8),
            "pixels must be a tensor uint8 (3 or 1, H, W), not torch.uint8 (2, 4, 4)",
        ),
        (torch.zeros(3, 0, 4, dtype=torch.uint8), "has no pixels: 4 x 0"),
    ],
)
def test_tensors_that_are_no_picture_are_refused(pixels, reason):
    for take_it in (decode, lambda source: decode_region(source, Resize().region)):
        with pytest.raises(UnreadableImageError) as error:
            take_it(pixels)
        assert str(error.value) == reason


def test_a_picture_without_pixels_is_refused():
    with pytest.raises(UnreadableImageError) as error:
        read(Image.new("RGB", (0, 4)), [Resize()], scaled_decode=True)
    assert str(error.value) == "has no pixels: 0 x 4"


def test_pixels_of_a_data_set_are_safe_from_transforms_that_write_into_theirs():
    for transforms in ([], [Resize(size=[HEIGHT, WIDTH])]):
        pixels = decode(photo())
        read(pixels, [*transforms, torch.Tensor.zero_], scaled_decode=True)
        assert torch.equal(pixels, decode(photo()))


def draw_regions(transform, height: int, width: int, count: int = 2000) -> list[Region]:
    with seeded(0):
        return [transform.region(height, width) for _ in range(count)]


def test_random_parts_have_the_area_shape_and_place_asked_for():
    regions = draw_regions(RandomResizedCrop(size=224, scale=(0.1, 0.5), ratio=(0.5, 2.0)), 600, 800)
    areas = torch.tensor([r.height * r.width / (600 * 800) for r in regions])
    shapes = torch.tensor([math.log2(r.width / r.height) for r in regions])
    assert 0.099 < areas.min() < 0.11
    assert 0.49 < areas.max() < 0.501
    assert areas.mean() == pytest.approx(0.3, abs=0.01)
    assert -1.01 < shapes.min() < -0.98
    assert 0.98 < shapes.max() < 1.01
    assert shapes.mean() == pytest.approx(0.0, abs=0.05)
    tops = torch.tensor([r.top / (600 - r.height) for r in regions if r.height < 600])
    assert (tops.min(), tops.max()) == (0.0, 1.0)
    assert tops.mean() == pytest.approx(0.5, abs=0.03)
    assert all(r.top + r.height <= 600 and r.left + r.width <= 800 for r in regions)
    assert {r[4:] for r in regions} == {(224, 224, "bilinear")}


@pytest.mark.parametrize(
    ("height", "width", "middle"),
    [(10, 100, (0, 43, 10, 13)), (100, 10, (43, 0, 13, 10)), (1, 1, (0, 0, 1, 1)), (1, 5000, (0, 2499, 1, 1))],
)
def test_pictures_too_narrow_for_a_random_part_give_their_middle(height, width, middle):
    crop = RandomResizedCrop(size=8, scale=(1.0, 1.0))
    assert {r[:4] for r in draw_regions(crop, height, width, 20)} == {middle}
