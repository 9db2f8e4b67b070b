"""What all tests share: an environment of their own, and folders of small pictures."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

# Tests compute little at a time: more threads only wait for each other.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def _session_cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _environment(monkeypatch, tmp_path, _session_cache):
    """Run every test in an empty folder, with a cache of the session's own and plain output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLSCLI_CACHE", str(_session_cache))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.delenv("CLSCLI_PLUGINS", raising=False)


def draw_picture(path: Path, shape: str, seed: int, size: int = 20) -> None:
    """Draw a disc or a square of a random colour and place on a noisy ground."""
    rng = random.Random(seed)
    image = Image.new("RGB", (size, size))
    image.putdata([tuple(rng.randrange(80) for _ in range(3)) for _ in range(size * size)])
    draw = ImageDraw.Draw(image)
    side = size // 2
    x, y = rng.randrange(size - side), rng.randrange(size - side)
    colour = tuple(rng.randrange(140, 256) for _ in range(3))
    (draw.ellipse if shape == "disc" else draw.rectangle)((x, y, x + side, y + side), fill=colour)
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def draw_folder(root: Path, counts: dict[str, int], size: int = 20) -> Path:
    """Draw `counts[split]` pictures of each of two classes into `root/split/class`."""
    for split, count in counts.items():
        for shape in ("disc", "square"):
            for number in range(count):
                name = f"{split}/{shape}/{number:03}.png"
                draw_picture(root / name, shape, seed=hash_of(name), size=size)
    return root


def hash_of(text: str) -> int:
    """Turn a name into a seed that is the same in every process."""
    return sum((i + 1) * ord(c) for i, c in enumerate(text))


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """A folder of 24 + 12 small pictures of two classes; not to be changed by tests."""
    return draw_folder(tmp_path_factory.mktemp("pictures"), {"train": 12, "val": 6})
