"""Plain JPEGs decoded by simplejpeg, where it is installed, to the very pixels that Pillow gives.

Both call libjpeg-turbo; what differs is the way there and back. Pillow reads a file in pieces, in Python, and has
four bytes a pixel, of which three are then copied: a photo of 500 x 375 took it a third longer.
"""

from __future__ import annotations

import importlib
import io
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import NamedTuple, TypeVar

import torch
from PIL import Image
from torch import Tensor

from clscli.data.canonical import orientation_of
from clscli.data.silence import silence

Source = TypeVar("Source")

_EXTENSIONS = (".jpg", ".jpeg", ".jpe", ".jfif")
_MAGIC = b"\xff\xd8\xff"
_COLORSPACES = ("YCbCr", "Gray", "RGB")
_APP1, _START_OF_SCAN = 0xE1, 0xDA  # markers: of Exif and XMP metadata, and of what comes after all of them


class PlainJpeg(NamedTuple):
    """An upright JPEG, grey or in colour, that is not larger than Pillow would open without a warning."""

    content: bytes
    height: int
    width: int

    def decode(self) -> Tensor | None:
        """Decode it, as a channels-last view `uint8 (3, H, W)`; None if it is damaged: Pillow says how."""
        library = _simplejpeg()
        assert library is not None
        try:
            return torch.from_numpy(library.decode_jpeg(self.content, "RGB")).permute(2, 0, 1)
        except ValueError:
            return None


def in_memory(source: Source) -> Source | bytes:
    """Read the file of a path that is named as JPEGs are, if simplejpeg is there; anything else stays as it is.

    Other files may be huge, and Pillow reads of them what it needs. Raises OSError for one that cannot be read.
    """
    is_path = isinstance(source, str | Path)
    if _simplejpeg() is None or not is_path or not str(source).lower().endswith(_EXTENSIONS):
        return source
    with open(str(source), "rb", buffering=0) as file:  # noqa: PTH123  # a Path of each text would take as long again
        return file.read()


def plain_jpeg(content: object) -> PlainJpeg | None:
    """Read the header of an encoded picture; None unless it is a plain JPEG's and simplejpeg is there."""
    library = _simplejpeg()
    if library is None or not isinstance(content, bytes) or not content.startswith(_MAGIC):
        return None
    try:
        height, width, colorspace, _ = library.decode_jpeg_header(content)
    except ValueError:
        return None
    too_large = Image.MAX_IMAGE_PIXELS is not None and height * width > Image.MAX_IMAGE_PIXELS
    if too_large or colorspace not in _COLORSPACES or _lies(content):
        return None
    return PlainJpeg(content, height, width)


def _lies(content: bytes) -> bool:
    """Tell whether a JPEG's metadata say that it must be turned."""
    if not _may_have_metadata(content):  # then Pillow, to which the rest is left, would take longer to see it
        return False
    with silence, Image.open(io.BytesIO(content)) as image:
        return orientation_of(image) != 1


def _may_have_metadata(content: bytes) -> bool:
    """Walk from segment to segment: each has a marker, 0xFF and another byte, and its length in two bytes."""
    start = 2
    while content[start : start + 1] == b"\xff":
        marker = content[start + 1]
        if marker in (_APP1, _START_OF_SCAN):
            return marker == _APP1
        start += 2 + int.from_bytes(content[start + 2 : start + 4])
    return True


@cache
def _simplejpeg() -> ModuleType | None:
    try:
        return importlib.import_module("simplejpeg")
    except ImportError:
        return None
