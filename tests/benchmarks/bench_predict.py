"""Pictures per second of clscli's predictions and of timm's inference loop, taking turns; run by hand.

    pip install timm      # the peer; clscli[test] has it as well
    python tests/benchmarks/bench_predict.py PHOTOS [--pictures 1000] [--size 500x375] [--rounds 3]

Both read the same JPEGs, the photos below a folder brought to one size and repeated, resize and crop them to
224 x 224, and name the five most probable of 1,000 classes by a MobileNetV3-small with random weights, on the CPU.
timm's loop is that of its `inference.py`: a loader with two workers, batches of 64. Each has a process of its own
and they take turns; the fastest one counts, but never the first, which starts the workers.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from bench_loader import BATCH, WORKERS, bring_to_size
from turns import report, take_turns

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
        contenders = {run.__name__: partial(run, root, Path(folder)) for run in (clscli, timm)}
        report(take_turns(contenders, arguments.rounds), arguments.pictures)


if __name__ == "__main__":
    main()
