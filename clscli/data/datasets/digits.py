"""A data set that clscli draws itself: digits in many fonts and colours, on cluttered backgrounds."""

import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import numpy as np
from pydantic import Field

from clscli.cache import cache_directory
from clscli.data.datasets._digit_drawing import DRAWING, draw_digit, load_glyphs
from clscli.data.datasets.folder import Folder
from clscli.data.datasets.published import has_val

SPLITS = ("train", "val")

logger = logging.getLogger("clscli")


@has_val
def digits(
    split: str,
    *,
    num_train: Annotated[int, Field(ge=10)] = 6000,
    num_val: Annotated[int, Field(ge=10)] = 1000,
    size: Annotated[int, Field(ge=16, le=256)] = 32,
    seed: Annotated[int, Field(ge=0)] = 0,
) -> Folder:
    """Open the drawn digits, ten classes of square JPEG pictures, drawing them at first use.

    They lie in the cache directory as an ordinary folder of pictures, one for each combination of settings.
    `split` is injected; ValueError unless it is "train" or "val".
    """
    if split not in SPLITS:
        raise ValueError(f"the drawn digits have no split {split!r}, only 'train' and 'val'")
    folder = digits_folder(num_train=num_train, num_val=num_val, size=size, seed=seed)
    return Folder(split, root=folder / split)


def digits_folder(*, num_train: int, num_val: int, size: int, seed: int) -> Path:
    """Return the folder of the digits with these settings, drawn if it does not exist.

    It appears whole or not at all: a writer that fails leaves nothing, one that is killed only a hidden
    `.drawing-*` folder, and of several at once the first wins.
    """
    name = f"v{DRAWING}-{size}px-{num_train}-{num_val}-seed{seed}"
    folder = cache_directory() / "digits" / name
    if folder.is_dir():
        return folder
    logger.info("drawing %d + %d digits into %s", num_train, num_val, folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".drawing-", dir=folder.parent) as scratch:
        drawn = Path(scratch, name)
        draw_digits(drawn, num_train=num_train, num_val=num_val, size=size, seed=seed)
        try:
            drawn.rename(folder)
        except OSError:
            if not folder.is_dir():  # else another process was first: its pictures are the same
                raise
    return folder


def draw_digits(folder: Path, *, num_train: int, num_val: int, size: int, seed: int) -> None:
    """Draw both splits into a new folder: `<split>/<digit>/<index>.jpg`, the digits in equal numbers."""
    glyphs = load_glyphs(size)
    for split, num_pictures in enumerate((num_train, num_val)):
        classes = [folder / SPLITS[split] / str(digit) for digit in range(10)]
        for path in classes:
            path.mkdir(parents=True)
        for index in range(num_pictures):
            digit = index % 10
            rng = np.random.default_rng((seed, split, index))  # a picture depends on no other
            picture = draw_digit(digit, glyphs, size, rng)
            picture.save(classes[digit] / f"{index:05d}.jpg", quality=92, subsampling=0)
