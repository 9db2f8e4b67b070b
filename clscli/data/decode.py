"""One way from a picture to pixels, for train, eval and predict alike.

EXIF orientation is applied and every colour mode becomes RGB, so that a model meets in use what it met in
training. Pillow decodes: one set of formats, one rounding, everywhere.
"""

from __future__ import annotations

import io
import warnings
from functools import cache
from pathlib import Path
from typing import cast

import torch
from PIL import Image, ImageOps, UnidentifiedImageError
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


def decode(source: Source) -> Tensor:
    """Read a picture, from a path, encoded bytes or a Pillow image, as a `uint8` tensor `(3, H, W)`.

    Raises UnreadableImageError with the reason.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of odd metadata that does not change the pixels, and of large pictures.
            warnings.simplefilter("ignore")
            image = _open(source)
            ImageOps.exif_transpose(image, in_place=True)
            return _pixels(_to_rgb(image))
    except FileNotFoundError:
        raise UnreadableImageError("no such file") from None
    except IsADirectoryError:
        raise UnreadableImageError("is a folder") from None
    except UnidentifiedImageError:
        raise UnreadableImageError("not a picture, or of a format that cannot be read") from None
    except Image.DecompressionBombError as cause:
        raise UnreadableImageError(f"too large to be decoded safely: {cause}") from None
    except Exception as cause:  # decoders raise SyntaxError, struct.error, ValueError, ... on broken files
        raise UnreadableImageError(" ".join(str(cause).split()) or type(cause).__name__) from None


# How a whole file of these formats ends, but for what some cameras write behind it.
_ENDS = {"JPEG": b"\xff\xd9", "MPO": b"\xff\xd9", "PNG": b"IEND"}
_TAIL_BYTES = 1024


def check_header(source: Source) -> None:
    """Read just enough of a picture to know its format and size, and whether its end is missing.

    Decodes only where the end looks wrong. Raises UnreadableImageError.
    """
    if isinstance(source, Image.Image):
        return
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
                end = _ENDS.get(image.format or "", b"")
    except UnidentifiedImageError:
        raise UnreadableImageError("not a picture, or of a format that cannot be read") from None
    except Exception as cause:
        raise UnreadableImageError(getattr(cause, "strerror", None) or str(cause)) from None
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
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _pixels(image: Image.Image) -> Tensor:
    """Copy the pixels out of a Pillow image; the tensor is a channels-last view `(3, H, W)`."""
    width, height = image.size
    flat = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
    return flat.view(height, width, 3).permute(2, 0, 1)
