"""The one form that every picture is brought to: upright, and RGB."""

from __future__ import annotations

from typing import cast

from PIL import ExifTags, Image

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
# Those whose upright left, or upright top, is a right or lower end of the picture as it is stored.
_FROM_THE_RIGHT, _FROM_BELOW = (2, 3, 6, 7), (3, 4, 7, 8)


def upright(image: Image.Image) -> Image.Image:
    """Turn a picture as its metadata say.

    Not by Pillow's `exif_transpose`, which also writes the metadata anew and fails where they are damaged.
    """
    method = _UPRIGHT.get(orientation_of(image))
    return image if method is None else image.transpose(method)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return height and width of a picture once it is upright."""
    lies_on_its_side = orientation_of(image) >= 5
    return image.size if lies_on_its_side else (image.height, image.width)


def mirrored(image: Image.Image) -> tuple[bool, bool]:
    """Tell whether a picture's upright top, and its upright left, are an end of what is stored."""
    orientation = orientation_of(image)
    return orientation in _FROM_BELOW, orientation in _FROM_THE_RIGHT


def orientation_of(image: Image.Image) -> int:
    """Return what the metadata say, from 1 to 8."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except Exception:  # metadata that cannot be read say nothing; the pixels may still be whole
        return 1
    return orientation if isinstance(orientation, int) and orientation in _UPRIGHT else 1


def to_rgb(image: Image.Image) -> Image.Image:
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
