"""Pictures per second of clscli's, mmpretrain's, timm's and torchvision's loaders, taking turns; run by hand.

    pip install timm mmpretrain mmengine mmcv-lite      # the peers; clscli[test,mmpretrain] has them as well
    python tests/benchmarks/bench_loader.py PHOTOS [--pictures 1000] [--size 500x375] [--rounds 5] [--threads 1]
    python tests/benchmarks/bench_loader.py PHOTOS --loaders clscli-memory clscli-disk clscli mmpretrain
    python tests/benchmarks/bench_loader.py PHOTOS --pictures 128 --size 4032x3024

All read the same JPEGs, the photos below a folder brought to one size and repeated, crop and flip them at random,
and give normalised float batches of 224 x 224 on the CPU. The resize is antialiased but for mmpretrain, whose
OpenCV one cannot be. Each has a process of its own and they take turns, epoch by epoch; the fastest one counts,
but never the first, which starts the workers and fills the caches.

The main process normalises with one thread for clscli, as its training decides with a network that is fast enough
to wait for pictures, and with as many as PyTorch takes for the peers, or with `--threads N`: one is best.
"""

from __future__ import annotations

import argparse
import atexit
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from turns import report, take_turns

from clscli.engine.device import choose_device
from clscli.engine.distributed import ALONE
from clscli.engine.loaders import open_loaders
from clscli.engine.prepare import prepare
from clscli.models.classifier import IMAGENET_MEAN, IMAGENET_STD, Normalize
from clscli.spec import load_spec

BATCH, WORKERS = 64, 2
Epochs = Callable[[], Iterator[Tensor]]


def clscli(root: Path, *, scaled: bool = True, cache: str = "none") -> Epochs:
    crop = {"type": "random_resized_crop", "size": 224, "scale": [0.08, 1.0]}
    spec = load_spec(
        {
            "data": {
                "root": str(root),
                "val_fraction": 0.001,
                "batch_size": BATCH,
                "num_workers": WORKERS,
                "scaled_decode": scaled,
                "cache": cache,
            },
            "transforms": {"train": [crop, {"type": "random_horizontal_flip"}]},
        }
    )
    loader, other = open_loaders(prepare(spec), choose_device("cpu"), ALONE, None)
    atexit.register(loader.close)
    atexit.register(other.close)
    normalize = Normalize(IMAGENET_MEAN, IMAGENET_STD)
    return lambda: (normalize(batch.images) for batch in loader.epoch(0))


def mmpretrain(root: Path) -> Epochs:
    import cv2
    from mmengine.dataset import pseudo_collate
    from mmpretrain.datasets import CustomDataset
    from mmpretrain.models.utils import ClsDataPreprocessor
    from torch.utils.data import DataLoader

    cv2.setNumThreads(0)  # as all of mmpretrain's configs do
    dataset = CustomDataset(
        data_prefix=str(root),
        pipeline=[
            {"type": "LoadImageFromFile"},
            {"type": "RandomResizedCrop", "scale": 224},
            {"type": "RandomFlip", "prob": 0.5, "direction": "horizontal"},
            {"type": "PackInputs"},
        ],
    )
    pixels = [[255 * value for value in values] for values in (IMAGENET_MEAN, IMAGENET_STD)]
    preprocess = ClsDataPreprocessor(*pixels, to_rgb=True)
    loader = DataLoader(
        dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True, collate_fn=pseudo_collate
    )
    return lambda: (preprocess(batch, training=True)["inputs"] for batch in loader)


def timm(root: Path) -> Epochs:
    from timm.data import ImageDataset, create_loader

    loader = create_loader(
        ImageDataset(str(root)),
        (3, 224, 224),
        BATCH,
        is_training=True,
        color_jitter=None,
        interpolation="bilinear",
        num_workers=WORKERS,
        device=torch.device("cpu"),
    )
    return lambda: (images for images, _ in loader)


def torchvision(root: Path) -> Epochs:
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import v2

    transform = v2.Compose(
        [
            v2.PILToTensor(),
            v2.RandomResizedCrop(224, antialias=True),
            v2.RandomHorizontalFlip(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    dataset = ImageFolder(str(root), transform)
    loader = DataLoader(dataset, BATCH, shuffle=True, num_workers=WORKERS, persistent_workers=True)
    return lambda: (images for images, _ in loader)


LOADERS = {
    "clscli": clscli,
    "clscli-full": partial(clscli, scaled=False),
    "clscli-memory": partial(clscli, cache="memory"),
    "clscli-disk": partial(clscli, cache="disk"),
    "mmpretrain": mmpretrain,
    "timm": timm,
    "torchvision": torchvision,
}


def bring_to_size(photos: Path, root: Path, size: tuple[int, int], pictures: int) -> None:
    """Save the photos below a folder anew, as JPEGs of one size, and repeat them by links."""
    paths = sorted(path for path in photos.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    originals: list[Path] = []
    for path in paths[:pictures]:
        folder = root / f"class{len(originals) % 2}"
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with Image.open(path) as image:
                photo = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        except OSError:  # a truncated one, perhaps: not what is measured here
            continue
        originals.append(folder / f"{len(originals):05}.jpg")
        photo.save(originals[-1], quality=90)
    for number in range(len(originals), pictures):
        original = originals[number % len(originals)]
        original.with_name(f"{number:05}.jpg").hardlink_to(original)


def turn_of(name: str, root: Path, threads: int | None) -> Callable[[], None]:
    """Make a loader; return what reads an epoch of it."""
    if threads is not None or name.startswith("clscli"):
        torch.set_num_threads(threads or 1)
    epochs = LOADERS[name](root)

    def read() -> None:
        for images in epochs():
            assert (images.dtype, images.shape[1:]) == (torch.float32, (3, 224, 224))

    return read


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", default="500x375", metavar="WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--loaders", nargs="+", choices=LOADERS, default=list(LOADERS))
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="bench-loader-") as folder:
        bring_to_size(arguments.photos, Path(folder), (width, height), arguments.pictures)
        contenders = {name: partial(turn_of, name, Path(folder), arguments.threads) for name in arguments.loaders}
        report(take_turns(contenders, arguments.rounds), arguments.pictures)


if __name__ == "__main__":
    main()
