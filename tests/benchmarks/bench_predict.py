"""Pictures per second of clscli's predictions and of timm's inference loop, taking turns; run by hand.

    pip install timm      # the peer; clscli[test] has it as well
    python tests/benchmarks/bench_predict.py PHOTOS [--pictures 1000] [--size 500x375] [--rounds 3]

Both read the same JPEGs, the photos below a folder brought to one size and repeated, resize and crop them to
224 x 224, and name the five most probable of 1,000 classes by a MobileNetV3-small with random weights, on the CPU.
timm's loop is that of its `inference.py`: a loader with two workers, batches of 64. They take turns, so that other
work on the machine slows both alike, and the fastest turn of each counts.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from bench_loader import BATCH, WORKERS, bring_to_size

from clscli import load
from clscli.engine.checkpoint import checkpoint_data, save_checkpoint
from clscli.models.build import Blueprint, build_model
from clscli.spec import load_spec

SHAPE = (3, 224, 224)
CLASSES = [f"class {number:03}" for number in range(1000)]


def clscli(root: Path, work: Path) -> Callable[[], int]:
    spec = load_spec(
        {"data": {"root": str(root), "batch_size": BATCH}, "model": {"backbone": {"type": "mobilenet_v3_small"}}}
    )
    weights = build_model(spec, Blueprint(len(CLASSES), SHAPE)).state_dict()
    save_checkpoint(checkpoint_data(spec, CLASSES, (1,) * len(CLASSES), SHAPE, weights, {}), work / "best.pth")
    predictor = load(work / "best.pth", device="cpu")
    paths = sorted(root.glob("*/*.jpg"))
    return lambda: sum(len(prediction.scores) == 5 for prediction in predictor.stream(paths))


def timm(root: Path, work: Path) -> Callable[[], int]:
    from timm import create_model
    from timm.data import ImageDataset, create_loader

    model = create_model("mobilenetv3_small_100").eval()
    loader = create_loader(
        ImageDataset(str(root)),
        SHAPE,
        BATCH,
        interpolation="bilinear",
        crop_pct=224 / 256,
        num_workers=WORKERS,
        device=torch.device("cpu"),
    )

    def run() -> int:
        with torch.inference_mode():
            tops = [model(images).softmax(-1).topk(5) for images, _ in loader]
        names = [[CLASSES[index] for index in row] for top in tops for row in top.indices.tolist()]
        return len(names)

    return run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--size", default="500x375", metavar="WIDTHxHEIGHT")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    with tempfile.TemporaryDirectory(prefix="bench-predict-") as folder:
        root = Path(folder) / "photos"
        bring_to_size(arguments.photos, root, (width, height), arguments.pictures)
        runs = {"clscli": clscli(root, Path(folder)), "timm": timm(root, Path(folder))}
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.rounds + 1):
            for name, run in runs.items():
                started = time.perf_counter()
                assert run() == arguments.pictures
                times[name].append(time.perf_counter() - started)
    fastest = {name: min(seconds[1:]) for name, seconds in times.items()}  # the first turn starts the workers
    for name, seconds in fastest.items():
        ratio = seconds / fastest["clscli"]
        print(f"{name:8} {arguments.pictures / seconds:6.0f} images/s   clscli is {ratio:.2f} x as fast")


if __name__ == "__main__":
    main()
