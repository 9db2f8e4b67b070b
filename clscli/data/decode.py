"""One way from a picture to pixels, for train, eval and predict alike.

EXIF orientation is applied and every colour mode becomes RGB, so that a model meets in use what it met in
training. Pillow decodes: one set of formats, one rounding, everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple, overload

import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from clscli.data import remote
from clscli.data.canonical import to_rgb, upright, upright_size
from clscli.data.jpeg import in_memory, plain_jpeg
from clscli.data.silence import silence
from clscli.locations import is_url

# A path, a URL that fsspec knows, or a span of what it points to; an encoded picture, a Pillow image, or pixels
# `uint8 (3 or 1, H, W)`.
Source = str | Path | remote.Span | bytes | Image.Image | Tensor
# What has a file, and what is left of it once it is fetched.
Filed = str | Path | remote.Span | bytes
Fetched = str | Path | bytes


class UnreadableImageError(Exception):
    """A picture cannot be read; the message is the reason, without the path."""


@cache
def extensions() -> frozenset[str]:
    """List the file extensions of every format that this Pillow reads, lower case, with the dot."""
    Image.init()
    return frozenset(e for e, name in Image.EXTENSION.items() if name in Image.OPEN) - _NOT_PICTURES


# Formats that Pillow opens but that are documents, films or need a program from outside.
_NOT_PICTURES = {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".wmf", ".emf"}


@contextmanager
def reading() -> Iterator[None]:
    """Put whatever Pillow raises into words: as UnreadableImageError."""
    try:
        yield
    except UnreadableImageError:
        raise
    except FileNotFoundError:
        raise UnreadableImageError("no such file") from None
    except IsADirectoryError:
        raise UnreadableImageError("is a folder") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("not a picture, or of a format that cannot be read") from None
    except Image.DecompressionBombError as cause:
        raise UnreadableImageError(f"too large to be decoded safely: {cause}") from None
    except Exception as cause:  # decoders raise SyntaxError, struct.error, ValueError, ... on broken files
        text = getattr(cause, "strerror", None) or str(cause)
        raise UnreadableImageError(" ".join(text.split()) or type(cause).__name__) from None


def decode(source: Source) -> Tensor:
    """Read a picture as a `uint8` tensor `(3, H, W)`.

    Raises UnreadableImageError with the reason.
    """
    with reading():
        if isinstance(source, Tensor):
            return with_three_channels(source)
        file = in_memory(fetched(source))
        if (jpeg := plain_jpeg(file)) and (pixels := jpeg.decode()) is not None:
            return pixels
        with opened(file) as image:
            image.load()
            return pixels_of(to_rgb(upright(image)))


# How a whole file of these formats ends, but for what some cameras write behind it.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL_BYTES = 1024


def check_header(source: str | Path | bytes | Image.Image) -> tuple[int, int]:
    """Read just enough of a picture to know its format, and whether its end is missing; return (height, width).

    The size is that of the upright picture. Decodes only where the end looks wrong. Raises
    UnreadableImageError.
    """
    with reading():
        if isinstance(source, Image.Image):
            with silence:
                return upright_size(source)
        with opened(source) as image:
            end = _ENDS.get(image.format or "", b"")
            # In search of metadata behind the pixels, where hardly any are, Pillow would decode a whole PNG.
            may_be_turned = image.format != "PNG" or "exif" in image.info
            size = upright_size(image) if may_be_turned else (image.height, image.width)
        if end not in _tail(source):
            decode(source)
        return size


class Encoded(NamedTuple):
    """A picture as its file has it: all bytes, and of the header the format and Pillow's name of the mode."""

    content: bytes
    form: str
    mode: str


def read_encoded(source: Filed) -> Encoded:
    """Read a picture's file without decoding it. Raises UnreadableImageError with the reason."""
    with reading():
        file = fetched(source)
        content = file if isinstance(file, bytes) else Path(file).read_bytes()
        with opened(content) as image:
            return Encoded(content, image.format or "unknown", image.mode)


def _tail(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[-_TAIL_BYTES:]
    with Path(source).open("rb") as file:
        file.seek(max(0, Path(source).stat().st_size - _TAIL_BYTES))
        return file.read()


@overload
def fetched(source: Filed) -> Fetched: ...
@overload
def fetched(source: Filed | Image.Image) -> Fetched | Image.Image: ...
def fetched(source: Filed | Image.Image) -> Fetched | Image.Image:
    """Download what a URL or a span points to; anything else stays as it is."""
    if isinstance(source, remote.Span):
        return remote.read_bytes(*source)
    return remote.read_bytes(source) if isinstance(source, str) and is_url(source) else source


@contextmanager
def opened(source: Filed | Image.Image) -> Iterator[Image.Image]:
    """Open a picture without decoding it; Pillow is silent as long as it is open."""
    if isinstance(source, Image.Image):
        with silence:
            yield source.copy()
        return
    file = fetched(source)
    with silence, Image.open(io.BytesIO(file) if isinstance(file, bytes) else file) as image:
        yield image


def with_three_channels(pixels: Tensor) -> Tensor:
    """Check and copy pixels that a data set holds: a transform may write into what it gets."""
    if pixels.dtype != torch.uint8 or pixels.ndim != 3 or pixels.shape[0] not in (1, 3):
        found = f"{pixels.dtype} {tuple(pixels.shape)}"
        raise UnreadableImageError(f"pixels must be a tensor uint8 (3 or 1, H, W), not {found}")
    refuse_empty(pixels.shape[1], pixels.shape[2])
    return pixels.expand(3, -1, -1).clone()


def refuse_empty(height: int, width: int) -> None:
    """Raise UnreadableImageError for a picture without pixels."""
    if not width * height:
        raise UnreadableImageError(f"has no pixels: {width} x {height}")


def pixels_of(image: Image.Image) -> Tensor:
    """Copy the pixels out of a Pillow image; the tensor is a channels-last view `(3, H, W)`."""
    width, height = image.size
    refuse_empty(height, width)
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(height, width, 3).permute(2, 0, 1)
