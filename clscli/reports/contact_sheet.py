"""Pictures side by side on one sheet, with and without their transforms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from clscli.data.preview import Preview, Stage, Strip
from clscli.files import atomic_write
from clscli.reports.text import printable

_CELL = 160  # pixels that a picture may take, each way
_GAP, _WIDE_GAP, _MARGIN = 6, 24, 32
_LINE, _SMALL_LINE = 20, 15  # of text
_PAIRS, _STRIPS = 4, 8  # columns of a sheet
_TITLES = 120  # pixels at least, for the titles of rows and the notes below them
_PAPER, _EMPTY, _INK, _GRAY = "#ffffff", "#eeeeee", "#222222", "#777777"


@cache
def _font(size: int, weight: str = "") -> ImageFont.FreeTypeFont:
    """Load the font of the plots: Pillow's own has few letters beyond English ones."""
    return ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/DejaVuSans{weight}.ttf", size)


@dataclass
class _Sheet:
    """A page that grows with what is put on it; nothing is drawn before its size is known."""

    pictures: list[tuple[int, int, Stage | None]] = field(default_factory=list)
    texts: list[tuple[int, int, str, str, ImageFont.FreeTypeFont]] = field(default_factory=list)
    width: int = 0
    height: int = 0

    def put(self, x: int, y: int, image: Stage | None) -> None:
        """Put a picture into a cell."""
        self.pictures.append((x, y, image))
        self._grow(x + _CELL, y + _CELL)

    def write(
        self, x: int, y: int, text: str, width: int, colour: str = _INK, weight: str = "", size: int = 13
    ) -> None:
        """Write one line, shortened to a width in pixels."""
        font = _font(size, weight)
        shown = _shorten(printable(text), font, width)
        self.texts.append((x, y, shown, colour, font))
        self._grow(x + round(font.getlength(shown)), y + _LINE)

    def _grow(self, right: int, bottom: int) -> None:
        self.width, self.height = max(self.width, right), max(self.height, bottom)

    def save(self, path: Path) -> None:
        """Draw all of it."""
        page = Image.new("RGB", (self.width + _MARGIN, self.height + _MARGIN), _PAPER)
        draw = ImageDraw.Draw(page)
        for x, y, image in self.pictures:
            draw.rectangle((x, y, x + _CELL - 1, y + _CELL - 1), fill=_EMPTY)
            if image is None:
                draw.text((x + _CELL // 2, y + _CELL // 2), "cannot be read", _GRAY, _font(12), anchor="mm")
                continue
            shown = _fitted(image.image)
            page.paste(shown, (x + (_CELL - shown.width) // 2, y + (_CELL - shown.height) // 2))
        for x, y, text, colour, font in self.texts:
            draw.text((x, y), text, colour, font)
        with atomic_write(path) as temporary:
            page.save(temporary, format="png")


def draw_pairs(preview: Preview, path: Path) -> None:
    """Draw every picture as it was, and next to it what the transforms made of it."""
    sheet = _Sheet()
    top = _head(sheet, preview)
    pair = 2 * _CELL + _GAP
    for number, strip in enumerate(preview.strips):
        row, column = divmod(number, _PAIRS)
        x, y = _MARGIN + column * (pair + _WIDE_GAP), top + row * (_CELL + 2 * _LINE + _WIDE_GAP)
        for place, image in enumerate(strip.stages):
            sheet.put(x + place * (_CELL + _GAP), y, image)
        _caption(sheet, x, y + _CELL + _GAP, strip, pair)
    sheet.save(path)


def draw_steps(preview: Preview, path: Path) -> None:
    """Draw every picture as a column, a row for each transform."""
    sheet = _Sheet()
    top = _head(sheet, preview)
    titles = [*preview.titles, *(row.title for row in preview.mixed)]
    longest = max(_font(13, "-Bold").getlength(printable(title)) for title in titles)
    left = _MARGIN + max(_TITLES, round(longest)) + _WIDE_GAP
    for start in range(0, len(preview.strips), _STRIPS):
        shown = slice(start, start + _STRIPS)
        columns = [left + place * (_CELL + _GAP) for place in range(len(preview.strips[shown]))]
        for x, strip in zip(columns, preview.strips[shown], strict=True):
            _caption(sheet, x, top, strip, _CELL)
        top += 2 * _LINE + _GAP
        for stage, title in enumerate(preview.titles):
            images = [strip.stages[stage] for strip in preview.strips[shown]]
            sizes = {f"{image.width} x {image.height}" for image in images if image is not None}
            _row(sheet, title, sizes.pop() if len(sizes) == 1 else "", images, top, columns)
            top += _CELL + _GAP
        for row in preview.mixed:
            _row(sheet, row.title, f"of a batch, p = {row.p:g}", row.images[shown], top, columns)
            for x, target in zip(columns, row.targets[shown], strict=True):
                for line, share in enumerate(target):
                    sheet.write(x, top + _CELL + _GAP // 2 + line * _SMALL_LINE, share, _CELL, _GRAY, size=11)
            top += _CELL + 2 * _SMALL_LINE + _WIDE_GAP // 2
        top += _WIDE_GAP
    sheet.save(path)


def _head(sheet: _Sheet, preview: Preview) -> int:
    """Write what the sheet is; return where the pictures begin."""
    what, _, how = preview.title.partition(": ")
    width = 2 * (2 * _CELL + _GAP)
    sheet.write(_MARGIN, _MARGIN, what, width, weight="-Bold", size=16)
    sheet.write(_MARGIN, _MARGIN + _LINE + _GAP, how, width, _GRAY)
    return _MARGIN + 2 * _LINE + _WIDE_GAP


def _caption(sheet: _Sheet, x: int, y: int, strip: Strip, width: int) -> None:
    sheet.write(x, y, strip.label, width, weight="-Bold")
    # In class folders a name begins with the class, which stands above it.
    sheet.write(x, y + _LINE, strip.name.removeprefix(f"{strip.label}/"), width, _GRAY, size=11)


def _row(
    sheet: _Sheet, title: str, note: str, images: Sequence[Stage | None], y: int, columns: Sequence[int]
) -> None:
    """Put a row of pictures, to the left its title, and a note below it."""
    width = columns[0] - _MARGIN - _GAP
    sheet.write(_MARGIN, y + _CELL // 2 - _LINE, title, width, weight="-Bold")
    sheet.write(_MARGIN, y + _CELL // 2, note, width, _GRAY, size=11)
    for x, image in zip(columns, images, strict=True):
        sheet.put(x, y, image)


def _fitted(image: Tensor) -> Image.Image:
    """Bring a picture to the size of a cell; the pixels of small ones stay visible."""
    channels, height, width = image.shape
    mode = "RGB" if channels == 3 else "L"
    pixels = image.permute(1, 2, 0).contiguous().numpy().tobytes()
    picture = Image.frombytes(mode, (width, height), pixels)
    scale = _CELL / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.LANCZOS)


def _shorten(text: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """Leave out the middle of a text that is too wide: of a path, both ends tell most."""
    if font.getlength(text) <= width:
        return text
    for kept in range(len(text) - 1, 0, -1):
        shown = f"{text[: kept // 2]}…{text[len(text) - kept + kept // 2 :]}"
        if font.getlength(shown) <= width:
            return shown
    return ""
