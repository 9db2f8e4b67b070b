"""JPEGs decoded by simplejpeg: to the pixels of Pillow, and only those that it can be trusted with."""

from __future__ import annotations

import io

import pytest
import torch
from PIL import ExifTags, Image

from clscli.data import jpeg
from clscli.data.decode import UnreadableImageError, decode
from clscli.data.region import Region
from clscli.data.scaled import decode_region

pytest.importorskip("simplejpeg")


def picture(size=(61, 43), mode="RGB") -> Image.Image:
    """Return noise in blocks, so that all frequencies are there."""
    torch.manual_seed(0)
    noise = torch.randint(0, 256, (9, 13, 3), dtype=torch.uint8)
    return Image.fromarray(noise.numpy()).resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return encoded(picture(), exif=exif)


@pytest.fixture
def decoded_by(monkeypatch):
    """Decode in both ways; give back the pixels of the two, and how often simplejpeg was asked for any."""
    library = jpeg._simplejpeg()

    def both(run):
        count = 0

        class Counted:
            decode_jpeg_header = library.decode_jpeg_header

            @staticmethod
            def decode_jpeg(*args):
                nonlocal count
                count += 1
                return library.decode_jpeg(*args)

        results = []
        for module in (Counted, None):
            monkeypatch.setattr(jpeg, "_simplejpeg", lambda module=module: module)
            try:
                results.append(run())
            except UnreadableImageError as error:
                results.append(str(error))
        return *results, count

    return both


PLAIN = {
    "colour": encoded(picture()),
    "grey": encoded(picture(mode="L")),
    "progressive": encoded(picture(), progressive=True),
    "full chroma": encoded(picture(), subsampling=0),
    "half chroma": encoded(picture(), subsampling=1),
    "coarse": encoded(picture(), quality=5),
    "kept as RGB": encoded(picture(), keep_rgb=True),
    "a pixel": encoded(picture((1, 1))),
    "a line": encoded(picture((1, 5000))),
    "upright by its metadata": turned(1),
    "with a comment": encoded(picture(), comment=b"\xff\xe1" * 10),
    "with a profile": encoded(picture(), icc_profile=b"\xff\xda" * 300),
}
# For Pillow: in other colours or formats, not upright, or damaged.
OTHERS = {
    "CMYK": encoded(picture(mode="CMYK")),
    "PNG": encoded(picture(), format="PNG"),
    "nothing": b"",
    "a beginning": PLAIN["colour"][:4],
    "a header": PLAIN["colour"][:200],
    **{f"orientation {number}": turned(number) for number in range(2, 9)},
}
DAMAGED = {
    "cut": PLAIN["colour"][:-300],
    "without an end": PLAIN["colour"][:-2],
    "hit in the middle": PLAIN["colour"][:900] + b"\xff\xd9\xff\x11" + PLAIN["colour"][904:],
}


def same(first, second) -> bool:
    return torch.equal(first, second) if isinstance(first, torch.Tensor) else first == second


@pytest.mark.parametrize(
    ("content", "num_decoded"),
    [
        *(pytest.param(content, 1, id=name) for name, content in (PLAIN | DAMAGED).items()),
        *(pytest.param(content, 0, id=name) for name, content in OTHERS.items()),
    ],
)
def test_the_pixels_or_the_reason_are_those_of_pillow(decoded_by, tmp_path, content, num_decoded):
    (tmp_path / "a.JPG").write_bytes(content)
    for source in (content, tmp_path / "a.JPG", str(tmp_path / "a.JPG")):
        ours, pillow_s, count = decoded_by(lambda source=source: decode(source))
        assert same(ours, pillow_s)
        assert count == num_decoded


@pytest.mark.parametrize("content", [*PLAIN.values(), *OTHERS.values(), *DAMAGED.values()])
@pytest.mark.parametrize("scaled", [True, False])
@pytest.mark.parametrize("side", [1, 8, 70])
def test_a_region_is_chosen_once_and_is_that_of_pillow(decoded_by, content, scaled, side):
    sizes = []

    def choose(height, width):
        sizes.append((height, width))
        return Region(0, 0, max(1, height // 2), width, side, side, "bilinear")

    ours, pillow_s, _ = decoded_by(lambda: decode_region(content, choose, scaled=scaled))
    assert same(ours, pillow_s)
    chosen = len(sizes) // 2
    assert sizes[:chosen] == sizes[chosen:] or isinstance(ours, str)
    assert chosen <= 1


def test_a_reduced_jpeg_is_pillow_s_work(decoded_by):
    content = encoded(picture((610, 430)))

    def small(height, width):
        return Region(0, 0, height, width, 43, 61, "bilinear")

    assert decoded_by(lambda: decode_region(content, small))[2] == 0
    assert decoded_by(lambda: decode_region(content, small, scaled=False))[2] == 1


def test_a_jpeg_of_another_name_is_pillow_s_work(decoded_by, tmp_path):
    (tmp_path / "a.png").write_bytes(PLAIN["colour"])
    ours, pillow_s, count = decoded_by(lambda: decode(tmp_path / "a.png"))
    assert torch.equal(ours, pillow_s)
    assert count == 0


def test_one_too_large_is_refused_before_it_is_decoded(decoded_by, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    ours, pillow_s, count = decoded_by(lambda: decode(PLAIN["colour"]))
    assert ours == pillow_s
    assert ours.startswith("too large to be decoded safely")
    assert count == 0


def test_a_file_that_is_not_there(decoded_by, tmp_path):
    assert decoded_by(lambda: decode(tmp_path / "no.jpg"))[:2] == ("no such file", "no such file")
    (tmp_path / "folder.jpg").mkdir()
    assert decoded_by(lambda: decode(tmp_path / "folder.jpg"))[:2] == ("is a folder", "is a folder")
