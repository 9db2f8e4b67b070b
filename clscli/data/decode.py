"""One way from a picture to pixels, for train, eval and predict alike.

EXIF orientation is applied and every colour mode becomes RGB, so that a model meets in use what it met in
training. Pillow decodes: one set of formats, one rounding, everywhere.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import cast

import torch
from PIL import ExifTags, Image, UnidentifiedImageError
from torch import Tensor

Source = str | Path | bytes | Image.Image


class UnreadableImageError(Exception):
    """A picture cannot be read; the message is the reason, without the path."""


@cache
def extensions() -> frozenset[str]:
    """List the file extensions of every format that this Pillow reads, lower case, with the dot."""
    Image.init()
    return frozenset(e for e, name in Image.EXTENSION.items() if name in Image.OPEN) - _NOT_PICTURES


# Formats that Pillow opens but that are documents, films or need a program from outside.
_NOT_PICTURES = {".pdf", ".eps", ".ps", ".mpg", ".mpeg", ".h5", ".hdf", ".grib", ".bufr", ".wmf", ".emf"}


class _Silence:
    """Ignore warnings while any thread is inside.

    `warnings.catch_warnings` changes the whole process: where threads overlap, the first to leave would end
    the silence of the others, and the last one make it permanent.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._num_inside = 0
        self._filters = warnings.catch_warnings()

    def __enter__(self) -> None:
        with self._lock:
            if self._num_inside == 0:
                self._filters = warnings.catch_warnings()
                self._filters.__enter__()
                warnings.simplefilter("ignore")
            self._num_inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._num_inside -= 1
            if self._num_inside == 0:
                self._filters.__exit__(None, None, None)


# Pillow warns of odd metadata that does not change the pixels, and of large pictures.
_silence = _Silence()


@contextmanager
def _reading() -> Iterator[None]:
    """Put whatever Pillow raises into words: as UnreadableImageError."""
    try:
        with _silence:
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
    """Read a picture, from a path, encoded bytes or a Pillow image, as a `uint8` tensor `(3, H, W)`.

    Raises UnreadableImageError with the reason.
    """
    with _reading():
        return _pixels(_to_rgb(_upright(_open(source))))


# How a whole file of these formats ends, but for what some cameras write behind it.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL_BYTES = 1024


def check_header(source: Source) -> None:
    """Read just enough of a picture to know its format and size, and whether its end is missing.

    Decodes only where the end looks wrong. Raises UnreadableImageError.
    """
    if isinstance(source, Image.Image):
        return
    with _reading():
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            end = _ENDS.get(image.format or "", b"")
        if end not in _tail(source):
            decode(source)


def _tail(source: str | Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[-_TAIL_BYTES:]
    with Path(source).open("rb") as file:
        file.seek(max(0, Path(source).stat().st_size - _TAIL_BYTES))
        return file.read()


def _open(source: Source) -> Image.Image:
    if isinstance(source, Image.Image):
        return source.copy()
    with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
        image.load()
        return image


# What an orientation in the metadata asks for; 1 is upright.
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its metadata say.

    Not by Pillow's `exif_transpose`, which also writes the metadata anew and fails where they are damaged.
    """
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # metadata that cannot be read say nothing; the pixels may still be whole
        return image
    method = _UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return image if method is None else image.transpose(method)


def _to_rgb(image: Image.Image) -> Image.Image:
    """Convert any mode to RGB; what is transparent shows white, as it does on a page."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16") or image.mode == "I":
        # 16 bits a pixel; Pillow's own conversion would cut at 255 instead of scaling.
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    elif image.mode == "F":
        low, high = cast("tuple[float, float]", image.getextrema())
        if low >= 0 and high <= 1:  # floats in [0, 1] are scaled, others are cut
            image = image.point(lambda value: value * 255)
        image = image.convert("L")
    elif image.mode in ("LA", "PA", "La", "RGBA", "RGBa") or "transparency" in image.info:
        if image.mode == "La":  # which Pillow converts to nothing else
            image = image.convert("LA")
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _pixels(image: Image.Image) -> Tensor:
    """Copy the pixels out of a Pillow image; the tensor is a channels-last view `(3, H, W)`."""
    width, height = image.size
    if not width * height:
        raise UnreadableImageError(f"has no pixels: {width} x {height}")
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(height, width, 3).permute(2, 0, 1)
