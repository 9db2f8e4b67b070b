"""What all tests share: an environment of their own, and folders of small pictures."""

from __future__ import annotations

import io
import random
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple

import pytest
import torch
from fake_packages import FakePackages
from PIL import Image, ImageDraw

from clscli import train
from clscli.__main__ import main
from clscli.plugins import clear_cache
from clscli.spec import render_spec

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


@pytest.fixture
def tiny(pictures) -> dict:
    """A spec that trains in a second: a narrow network on the small pictures, one process, float32."""
    return tiny_spec(pictures)


def tiny_spec(root: Path) -> dict:
    """Return the spec of the `tiny` fixture for some folder of pictures."""
    return {
        # Without a cache: its pictures are so small that they would be kept on the device.
        "data": {"root": str(root), "batch_size": 8, "num_workers": 0, "cache": "none"},
        "transforms": {
            "train": [{"type": "random_crop", "size": 20, "padding": 2}, {"type": "random_horizontal_flip"}],
            "eval": [],
        },
        "model": {
            "backbone": {"type": "resnet18", "stem": "cifar", "base_channels": 4, "layers": [1, 1, 1, 1]},
            "head": {"type": "linear", "dropout": 0.1},
        },
        "optimizer": {"lr": 0.01},
        "train": {"epochs": 3, "precision": "float32"},
    }


@pytest.fixture
def tiny_file(tiny, tmp_path) -> Path:
    """The `tiny` spec as the file tiny.toml in the test's folder, which is the working directory."""
    (tmp_path / "tiny.toml").write_text(render_spec(tiny), encoding="utf-8")
    return Path("tiny.toml")


@pytest.fixture(scope="session")
def trained(pictures, tmp_path_factory) -> Path:
    """The run directory of a training on the small pictures; not to be changed by tests."""
    out = tmp_path_factory.mktemp("trained") / "run"
    train(tiny_spec(pictures) | {"train": {"epochs": 6, "precision": "float32"}}, out=out, device="cpu")
    return out


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Packages to install as far as metadata can tell; none are installed at first."""
    fake = FakePackages(tmp_path / "installed", monkeypatch)
    yield fake
    fake.forget()


class Command(NamedTuple):
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def clscli(capfd, monkeypatch):
    """Run the command line in this process, as the installed script would; returns a `Command`."""

    def run(*arguments: object, stdin: str = "") -> Command:
        monkeypatch.setattr(sys, "argv", ["clscli", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        capfd.readouterr()
        code: object = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        out, err = capfd.readouterr()
        return Command(int(code or 0), out, err)

    return run


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """Install a package `extra 1.0` for one test: `plugin(kind, entry="module:name", module="source")`."""
    site = tmp_path / "site"

    def install(kind: str, **parts: str) -> None:
        info = site / "extra-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: extra\nVersion: 1.0\n")
        entries = [f"{name} = {value}" for name, value in parts.items() if "\n" not in value]
        (info / "entry_points.txt").write_text("\n".join([f"[clscli.{kind}]", *entries]))
        for name, source in parts.items():
            if "\n" in source:
                (site / f"{name}.py").write_text(textwrap.dedent(source))
                monkeypatch.delitem(sys.modules, name, raising=False)
        monkeypatch.syspath_prepend(site)
        clear_cache()

    yield install
    monkeypatch.undo()
    clear_cache()
