"""From any picture to the same pixels."""

import io
import os
import struct
import threading
import warnings

import pytest
import torch
from PIL import Image, PngImagePlugin, features

from clscli.data.decode import UnreadableImageError, check_header, decode, extensions

RED, WHITE, BLACK = [255, 0, 0], [255, 255, 255], [0, 0, 0]


def encode(image: Image.Image, kind: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int = 20, height: int = 12) -> Image.Image:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return Image.frombytes("RGB", (width, height), bytes(pixels.flatten().tolist()))


def pixels_of(image: Image.Image) -> list:
    """Spell out the pixels of an RGB image, as rows of columns of channels."""
    return [[list(image.getpixel((x, y))) for x in range(image.width)] for y in range(image.height)]


def reason(source, read=decode) -> str:
    with pytest.raises(UnreadableImageError) as error:
        read(source)
    return str(error.value)


def test_the_result_is_uint8_channels_first_and_writable():
    image = decode(noise())
    assert image.dtype == torch.uint8
    assert image.shape == (3, 12, 20)
    assert image.permute(1, 2, 0).tolist() == pixels_of(noise())
    image += 1
    image[:] = 7
    assert image.unique().tolist() == [7]


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "TGA", "GIF"])
def test_lossless_formats_give_the_pixels_that_were_saved(kind):
    picture = noise() if kind != "GIF" else noise().quantize(16).convert("RGB")
    assert decode(encode(picture, kind)).permute(1, 2, 0).tolist() == pixels_of(picture)


@pytest.mark.parametrize(
    ("kind", "options"), [("JPEG", {"quality": 95}), ("WEBP", {"lossless": True}), ("AVIF", {}), ("JPEG2000", {})]
)
def test_formats_for_photos_give_nearly_the_colour_that_was_saved(kind, options):
    feature = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}.get(kind)
    if feature is not None and not features.check(feature):
        pytest.skip(f"this Pillow has no {kind}")
    pixels = decode(encode(Image.new("RGB", (16, 8), (200, 100, 50)), kind, **options))
    assert pixels.shape == (3, 8, 16)
    assert (pixels.int() - torch.tensor([200, 100, 50])[:, None, None]).abs().max() <= 4


# How a camera that was held so has stored the upright picture.
STORED = {
    1: (),
    2: (Image.Transpose.FLIP_LEFT_RIGHT,),
    3: (Image.Transpose.ROTATE_180,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.ROTATE_90, Image.Transpose.FLIP_TOP_BOTTOM),
    6: (Image.Transpose.ROTATE_90,),
    7: (Image.Transpose.ROTATE_270, Image.Transpose.FLIP_TOP_BOTTOM),
    8: (Image.Transpose.ROTATE_270,),
}


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", STORED)
def test_every_orientation_gives_the_same_upright_pixels(orientation, kind):
    stored = noise()
    for operation in STORED[orientation]:
        stored = stored.transpose(operation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    encoded = encode(stored, kind, exif=exif)
    assert torch.equal(decode(encoded), decode(noise()))
    assert torch.equal(decode(Image.open(io.BytesIO(encoded))), decode(noise()))


def test_the_orientation_of_a_jpeg_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    left_half = Image.new("L", (16, 8))
    left_half.paste(255, (0, 0, 8, 8))
    upright = decode(encode(left_half, "JPEG", exif=exif))
    assert upright.shape == (3, 16, 8)
    assert upright[:, :8].min() > 250
    assert upright[:, 8:].max() < 5


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_change_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(decode(encode(noise(), "PNG", exif=exif)), decode(noise()))


def test_an_orientation_of_another_type_changes_nothing():
    entry = struct.pack("<HHI4s", 0x0112, 2, 2, b"6\0\0\0")  # the text "6"
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + entry + b"\0\0\0\0"
    assert decode(encode(noise(), "JPEG", exif=exif)).shape == (3, 12, 20)


def test_damaged_metadata_do_not_cost_the_picture():
    """An orientation to apply beside an entry that Pillow reads, but cannot write again."""
    orientation = struct.pack("<HHIHH", 0x0112, 3, 1, 6, 0)
    maker = struct.pack("<HHI4s", 0x010F, 1, 4, b"abcd")  # bytes where a text should be
    entries = struct.pack("<H", 2) + maker + orientation
    exif = b"Exif\0\0II*\0\x08\0\0\0" + entries + b"\0\0\0\0"
    assert decode(encode(noise(), "JPEG", exif=exif)).shape == (3, 20, 12)


def test_metadata_that_are_none_at_all_do_not_cost_the_picture():
    encoded = encode(noise(), "PNG", exif=b"Exif\0\0no such thing")
    with pytest.raises(SyntaxError):  # Pillow itself gives up
        Image.open(io.BytesIO(encoded)).getexif()
    assert torch.equal(decode(encoded), decode(noise()))


def test_gray_becomes_three_equal_channels():
    image = Image.new("L", (2, 1))
    image.putpixel((1, 0), 77)
    assert decode(encode(image, "PNG")).tolist() == [[[0, 77]]] * 3


def test_one_bit_becomes_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert decode(encode(image, "PNG")).tolist() == [[[0, 255]]] * 3


def palette_picture() -> Image.Image:
    """Return two pixels: colour 0 red, colour 1 blue."""
    image = Image.new("P", (2, 1))
    image.putpalette([255, 0, 0, 0, 0, 255])
    image.putpixel((1, 0), 1)
    return image


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palettes_become_their_colours(kind):
    assert decode(encode(palette_picture(), kind)).permute(1, 2, 0).tolist() == [[RED, [0, 0, 255]]]


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_the_transparent_colour_of_a_palette_shows_white(kind):
    encoded = encode(palette_picture(), kind, transparency=1)
    assert decode(encoded).permute(1, 2, 0).tolist() == [[RED, WHITE]]


def test_a_palette_with_degrees_of_transparency_is_blended_with_white():
    encoded = encode(palette_picture(), "PNG", transparency=bytes([255, 51]))
    assert decode(encoded).permute(1, 2, 0).tolist() == [[RED, [204, 204, 255]]]


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("RGBA", (255, 0, 0, 255), RED),
        ("RGBA", (255, 0, 0, 0), WHITE),
        ("RGBA", (0, 0, 0, 51), [204, 204, 204]),
        ("LA", (0, 255), BLACK),
        ("LA", (0, 0), WHITE),
        ("LA", (0, 51), [204, 204, 204]),
    ],
)
def test_what_is_transparent_shows_white(mode, colour, expected):
    encoded = encode(Image.new(mode, (1, 1), colour), "PNG")
    assert decode(encoded).flatten().tolist() == expected


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_transparent_colour_without_a_palette_shows_white(mode):
    image = Image.new(mode, (1, 1))
    encoded = encode(image, "PNG", transparency=(0, 0, 0) if mode == "RGB" else 0)
    assert decode(encoded).flatten().tolist() == WHITE


@pytest.mark.parametrize(("mode", "colour"), [("RGBa", (0, 0, 0, 0)), ("La", (0, 0)), ("PA", (0, 0))])
def test_rarer_modes_with_transparency_show_white(mode, colour):
    assert decode(Image.new(mode, (1, 1), colour)).flatten().tolist() == WHITE


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("CMYK", (0, 255, 255, 0), RED),
        ("CMYK", (0, 0, 0, 255), BLACK),
        ("HSV", (0, 255, 255), RED),
        ("YCbCr", (255, 128, 128), WHITE),
        ("RGBX", (255, 0, 0, 9), RED),
    ],
)
def test_other_colour_spaces_become_rgb(mode, colour, expected):
    assert decode(Image.new(mode, (1, 1), colour)).flatten().tolist() == expected


def test_a_cmyk_jpeg_has_the_colours_it_was_saved_with():
    pixels = decode(encode(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100))
    assert (pixels.int() - torch.tensor(RED)[:, None, None]).abs().max() <= 4


DEEP = [0, 255, 256, 32768, 65535]


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("I;16", "PNG"),
        ("I;16", "TIFF"),
        ("I;16B", "TIFF"),
        ("I", "PPM"),
        ("I;16", None),
        ("I;16B", None),
        ("I", None),
    ],
)
def test_sixteen_bits_are_scaled_not_cut(mode, kind):
    order = ">" if mode == "I;16B" else "<"
    data = struct.pack(f"{order}5{'i' if mode == 'I' else 'H'}", *DEEP)
    image = Image.frombytes(mode, (5, 1), data)
    source = image if kind is None else encode(image, kind)
    assert decode(source).tolist() == [[[0, 0, 1, 128, 255]]] * 3


@pytest.mark.parametrize(
    ("values", "expected"),
    [([0.0, 0.2, 1.0], [0, 51, 255]), ([0.0, 128.0, 300.0], [0, 128, 255]), ([-5.0, 0.5, 1.0], [0, 0, 1])],
)
def test_floats_from_0_to_1_are_scaled_and_others_cut(values, expected):
    image = Image.frombytes("F", (3, 1), struct.pack("<3f", *values))
    assert decode(encode(image, "TIFF")).tolist() == [[expected]] * 3


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_an_animation_gives_its_first_frame(kind):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    encoded = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(encoded)).n_frames == 3
    assert decode(encoded)[:, 4, 4].tolist() == RED


@pytest.mark.parametrize(
    "name", ["a b.png", "naïve-猫.png", "line\nbreak.png", "it's [1] {2} %3.png", "no extension"]
)
def test_any_file_name_will_do(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(encode(noise(), "PNG"))
    assert torch.equal(decode(path), decode(noise()))
    assert torch.equal(decode(str(path)), decode(noise()))
    check_header(path)


def test_a_file_name_of_undecodable_bytes_will_do(tmp_path):
    path = tmp_path / os.fsdecode(b"caf\xe9.png")
    try:
        path.write_bytes(encode(noise(), "PNG"))
    except (OSError, UnicodeError):
        pytest.skip("this file system allows no such name")
    assert torch.equal(decode(path), decode(noise()))


@pytest.mark.parametrize("mode", ["RGB", "P", "RGBA", "I;16", "F"])
def test_a_pillow_image_is_not_changed(mode):
    image = Image.new(mode, (3, 2))
    image.info["transparency"] = 0
    image.getexif()[0x0112] = 6
    before = image.tobytes(), image.size, image.mode, dict(image.info)
    pixels = decode(image)
    pixels[:] = 99
    assert (image.tobytes(), image.size, image.mode, dict(image.info)) == before


def test_files_are_closed(tmp_path):
    """An open file would be reported as a ResourceWarning, which is an error here."""
    path = tmp_path / "a.tiff"
    noise().save(path)
    decode(path)
    check_header(path)
    path.write_bytes(path.read_bytes()[:100])
    reason(path)


NOT_A_PICTURE = "not a picture, or of a format that cannot be read"


@pytest.mark.parametrize("read", [decode, check_header])
@pytest.mark.parametrize("content", [b"", b"just text", b"\0" * 5000, b"\xff\xd8\xff", b"GIF89a"])
def test_files_that_are_no_pictures_are_named_so(tmp_path, content, read):
    (tmp_path / "a.jpg").write_bytes(content)
    assert reason(tmp_path / "a.jpg", read) == NOT_A_PICTURE
    assert reason(content, read) == NOT_A_PICTURE


@pytest.mark.parametrize("read", [decode, check_header])
def test_paths_that_cannot_be_read_are_explained_without_the_path(tmp_path, read):
    (tmp_path / "file").write_bytes(b"")
    assert reason(tmp_path / "none.jpg", read) == "no such file"
    assert reason(tmp_path, read) == "is a folder"
    assert reason(tmp_path / "file" / "a.jpg", read) == os.strerror(20)
    assert reason("x" * 5000, read) == os.strerror(36)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything")
def test_missing_permission_is_explained_without_the_path(tmp_path):
    (tmp_path / "a.png").write_bytes(encode(noise(), "PNG"))
    (tmp_path / "a.png").chmod(0)
    assert reason(tmp_path / "a.png") == "Permission denied"


@pytest.mark.parametrize("read", [decode, check_header])
@pytest.mark.parametrize(
    ("kind", "expected"), [("JPEG", "image file is truncated"), ("PNG", "image file is truncated")]
)
def test_truncated_pictures_are_unreadable(tmp_path, kind, expected, read):
    whole = encode(noise(200, 200), kind)
    assert expected in reason(whole[: len(whole) // 2], read)
    (tmp_path / "a").write_bytes(whole[: len(whole) // 2])
    assert expected in reason(tmp_path / "a", read)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_half_a_picture_never_passes_for_a_whole_one(kind):
    whole = encode(noise(200, 200), kind)
    text = reason(whole[: len(whole) // 2])
    assert text
    assert "\n" not in text


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"])
def test_the_check_before_a_run_passes_whole_pictures(kind):
    whole = encode(noise(), kind)
    assert check_header(whole) == (12, 20)
    assert check_header(whole + b"\0" * 5000) == (12, 20)  # as some cameras leave it
    assert check_header(Image.open(io.BytesIO(whole))) == (12, 20)


def test_a_picture_that_is_too_large_is_refused(monkeypatch):
    encoded = encode(noise(200, 200), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10_000)
    for read in (decode, check_header):
        text = reason(encoded, read)
        assert text.startswith("too large to be decoded safely: Image size (40000 pixels) exceeds limit of 20000")


def test_a_large_picture_is_read_without_a_warning(monkeypatch):
    encoded = encode(noise(200, 200), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(encoded))
    assert decode(encoded).shape == (3, 200, 200)
    check_header(encoded)


def test_a_picture_without_pixels_is_refused():
    assert reason(Image.new("RGB", (0, 4))) == "has no pixels: 0 x 4"


def test_a_decoder_that_says_nothing_is_named_by_its_exception(monkeypatch):
    def refuse(self):
        raise MemoryError

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    assert reason(encode(noise(), "PNG")) == "MemoryError"


def test_threads_leave_the_filters_for_warnings_as_they_were(monkeypatch):
    """`warnings.catch_warnings` in several threads at once would end each other's silence, or make it last."""
    encoded = encode(noise(200, 200), "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30_000)  # so that every picture warns, which is an error here
    before, failures = list(warnings.filters), []

    def read_many():
        for _ in range(60):
            try:
                decode(encoded)
            except UnreadableImageError as error:
                failures.append(error)

    threads = [threading.Thread(target=read_many) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert warnings.filters == before


def test_extensions_are_those_of_pictures_that_pillow_reads():
    known = extensions()
    assert {".jpg", ".jpeg", ".jfif", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".ico"} <= known
    assert not known & {".pdf", ".eps", ".ps", ".mpg", ".h5", ".wmf", ".txt", ".mp4", ""}
    assert all(e == e.lower() and e.startswith(".") for e in known)
