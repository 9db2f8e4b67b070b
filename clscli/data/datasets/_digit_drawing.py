"""Draw one picture of a digit: paper, clutter, the digit in ink, then what a camera does to them.

Lengths are fractions of the picture's side, brightness is a luma from 0 (black) to 1 (white).
"""

import math
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from clscli.errors import DataError

DRAWING = 1  # Raise it with every change of the pixels, so that pictures drawn before are left alone.

Glyphs = list[list[Image.Image]]  # of each font, the masks of 0 to 9
Colour = tuple[int, int, int]

# What both matplotlib 3.9.0 and 3.11.2 ship. Not cmti10, which only the newer one has: the same settings
# should draw the same pictures with both.
FONTS = (
    *("DejaVuSans", "DejaVuSans-Bold", "DejaVuSans-Oblique", "DejaVuSans-BoldOblique"),
    *("DejaVuSerif", "DejaVuSerif-Bold", "DejaVuSerif-Italic", "DejaVuSerif-BoldItalic"),
    *("DejaVuSansMono", "DejaVuSansMono-Bold", "DejaVuSansMono-Oblique", "DejaVuSansMono-BoldOblique"),
    *("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta"),
    *("cmb10", "cmr10", "cmss10", "cmtt10"),
)
OVERSAMPLING = 2  # Pillow's shapes have hard edges: draw larger, then shrink
LUMA = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601


def load_glyphs(size: int) -> Glyphs:
    """Render the digits in each of matplotlib's fonts, for pictures of `size` pixels.

    DataError if none of the fonts is there.
    """
    import matplotlib  # here, because only a first use needs it

    folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
    files = [path for name in FONTS if (path := folder / f"{name}.ttf").is_file()]
    if not files:
        raise DataError(f"no font to draw digits with: {folder} has none of {', '.join(FONTS)}")
    fonts = [ImageFont.truetype(file, OVERSAMPLING * size, layout_engine=ImageFont.Layout.BASIC) for file in files]
    return [[render_glyph(str(digit), font) for digit in range(10)] for font in fonts]


def render_glyph(text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Render the text as a mask that fits it, but for an empty pixel on each side."""
    left, top, right, bottom = font.getbbox(text)
    mask = Image.new("L", (math.ceil(right - left) + 2, math.ceil(bottom - top) + 2))
    ImageDraw.Draw(mask).text((1 - left, 1 - top), text, fill=255, font=font)
    return mask


def draw_digit(digit: int, glyphs: Glyphs, size: int, rng: np.random.Generator) -> Image.Image:
    """Draw the digit as an RGB picture of `size` by `size` pixels."""
    paper = rng.uniform(0.05, 0.35)
    ink = paper + rng.uniform(0.4, 0.6)
    if rng.random() < 0.5:  # dark on light
        paper, ink = 1 - paper, 1 - ink
    picture = draw_paper(paper, OVERSAMPLING * size, rng)
    for _ in range(rng.integers(0, 4)):
        draw_stroke(picture, clutter_colour(paper, ink, rng), rng)
    for _ in range(rng.integers(0, 3)):
        draw_neighbour(picture, glyphs, clutter_colour(paper, ink, rng), rng)
    height = rng.uniform(0.45, 0.75)
    margin = 0.4 * (1 - height)
    centre = rng.uniform(0.5 - margin, 0.5 + margin), rng.uniform(0.5 - margin, 0.5 + margin)
    place_glyph(picture, pick_glyph(digit, glyphs, rng), height, centre, tint(ink, rng), rng)
    return photograph(picture, rng)


def tint(luma: float, rng: np.random.Generator) -> Colour:
    """Choose a colour of that luma."""
    chroma = rng.uniform(-0.35, 0.35, size=3)
    red, green, blue = np.clip(luma + chroma - LUMA @ chroma, 0, 1) * 255
    return int(red), int(green), int(blue)


def clutter_colour(paper: float, ink: float, rng: np.random.Generator) -> Colour:
    """Choose a colour that stands out from the paper less than the ink does."""
    return tint(paper + rng.uniform(-0.3, 0.5) * (ink - paper), rng)


def draw_paper(luma: float, side: int, rng: np.random.Generator) -> Image.Image:
    """Draw a background: a plain gradient (2 by 2 colours, enlarged) up to a blotchy texture (9 by 9)."""
    cells = int(rng.integers(2, 10))
    base = tint(luma, rng)
    spread = rng.uniform(-30, 30, size=(cells, cells, 3))
    colours = np.clip(base + spread, 0, 255).astype(np.uint8)
    return Image.fromarray(colours).resize((side, side), Image.Resampling.BICUBIC)


def draw_stroke(picture: Image.Image, colour: Colour, rng: np.random.Generator) -> None:
    """Draw a line, or the blob that fills the box around it."""
    x0, y0, x1, y1 = rng.uniform(-0.1, 1.1, size=4) * picture.width
    pen = ImageDraw.Draw(picture)
    if rng.random() < 0.6:
        pen.line((x0, y0, x1, y1), fill=colour, width=round(rng.uniform(0.03, 0.08) * picture.width))
    else:
        pen.ellipse((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)), fill=colour)


def draw_neighbour(picture: Image.Image, glyphs: Glyphs, colour: Colour, rng: np.random.Generator) -> None:
    """Draw a digit of which an edge of the picture leaves only a part."""
    glyph = pick_glyph(int(rng.integers(10)), glyphs, rng)
    angle = rng.uniform(0, 2 * math.pi)
    centre = 0.5 + 0.6 * math.cos(angle), 0.5 + 0.6 * math.sin(angle)
    place_glyph(picture, glyph, rng.uniform(0.4, 0.7), centre, colour, rng)


def pick_glyph(digit: int, glyphs: Glyphs, rng: np.random.Generator) -> Image.Image:
    """Choose the digit's mask from one of the fonts."""
    return glyphs[rng.integers(len(glyphs))][digit]


def place_glyph(
    picture: Image.Image,
    glyph: Image.Image,
    height: float,
    centre: tuple[float, float],
    colour: Colour,
    rng: np.random.Generator,
) -> None:
    """Paint the glyph in that height, centre and colour, turned, sheared and widened a little."""
    angle = math.radians(rng.uniform(-20, 20))  # 6 must not turn into 9
    step = glyph.height / (height * picture.height)  # glyph pixels per picture pixel
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    shear = np.array([[1, rng.uniform(-0.2, 0.2)], [0, 1]])
    shrink = np.diag([step * rng.uniform(0.8, 1.2), step])
    # Pillow wants the way back: where in the glyph each pixel of the picture comes from.
    way_back = shrink @ shear @ turn
    offset = np.array(glyph.size) / 2 - way_back @ centre * picture.width
    affine = (*way_back[0], offset[0], *way_back[1], offset[1])
    mask = glyph.transform(picture.size, Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR)
    picture.paste(colour, mask=mask)


def photograph(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Blur the picture, shrink it to its final size and add noise."""
    size = picture.width // OVERSAMPLING
    blurred = picture.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.02) * picture.width))
    pixels = np.asarray(blurred.reduce(OVERSAMPLING), dtype=np.float32)
    noise = rng.standard_normal((size, size, 3), dtype=np.float32) * rng.uniform(0, 14)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))
