"""Pictures per second and accuracy of clscli, mmpretrain and timm, taking turns on CIFAR-10; run by hand.

    pip install timm mmpretrain mmengine mmcv-lite      # the peers; clscli[test,mmpretrain] has them as well
    python tests/benchmarks/bench_cifar.py cifar10.tar.gz [--epochs 3] [--per-class 200]

The archive holds `cifar10/{train,val}/<class>/*.jpg`. All train a ResNet-18 with a 3x3 stem on the same pictures,
cropped with a padding of 4 and flipped, for the same epochs, each in a process of its own. The rest is as it
comes: clscli with its defaults; mmpretrain with its config `resnet18_8xb16_cifar10`, whose batch on one device is
16 ("mmpretrain"), and with the 128 of all its eight devices, which its learning rate is meant for
("mmpretrain-128"); timm as a plain loop over its model, optimizer and scheduler.

Epochs take turns, so that other work on the machine slows all alike, and the fastest epoch of each counts. An
epoch's time is that of its training: validation and checkpoints are left out.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from functools import partial
from pathlib import Path

CLASSES = 10
MEAN, STD = (125.307, 122.961, 113.8575), (51.5865, 50.847, 51.255)  # of the pixels, as mmpretrain has them
TIMM_BATCH = 128


class Turns:
    """A peer's side of taking turns: before each epoch it says on stdout how the last one went, and waits."""

    def __init__(self) -> None:
        self.report: dict[str, float] = {}

    def begin(self) -> None:
        """Wait for the next turn, then start the clock."""
        self._say()
        sys.stdin.readline()
        self.started = time.perf_counter()

    def trained(self) -> None:
        """Stop the clock: what follows is validation."""
        self.report = {"seconds": time.perf_counter() - self.started}

    def finish(self, top1: float) -> None:
        """End the last turn; `top1` is a fraction."""
        self.report["top1"] = top1
        self._say()

    def _say(self) -> None:
        print(json.dumps(self.report), file=sys.__stdout__, flush=True)


def train_clscli(root: Path, work: Path, epochs: int) -> None:
    from clscli import train
    from clscli.observer import Observer

    turns = Turns()

    class Watch(Observer):
        def begin(self, what: str, total: int, unit: str = "images") -> None:
            if what.startswith("epoch"):
                turns.begin()
            elif what == "validating":
                turns.trained()

    spec = {
        "data": {"root": str(root)},
        "transforms": {
            "normalize": {"mean": [value / 255 for value in MEAN], "std": [value / 255 for value in STD]},
            "train": [{"type": "random_crop", "size": 32, "padding": 4}, {"type": "random_horizontal_flip"}],
            "eval": [],
        },
        "model": {"backbone": {"type": "resnet18", "stem": "cifar"}},
        "train": {"epochs": epochs},
    }
    result = train(spec, out=work / "run", observer=Watch())
    turns.finish(result.last["top1"])


def train_mmpretrain(root: Path, work: Path, epochs: int, batch_size: int = 16) -> None:
    from mmengine.config import Config
    from mmengine.hooks import Hook
    from mmengine.runner import Runner
    from mmpretrain import get_model

    turns = Turns()
    top1 = 0.0

    class Watch(Hook):
        priority = "VERY_HIGH"  # the clock stops before checkpoints are written

        def before_train_epoch(self, runner: Runner) -> None:
            turns.begin()

        def after_train_epoch(self, runner: Runner) -> None:
            turns.trained()

        def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
            nonlocal top1
            top1 = (metrics or {})["accuracy/top1"] / 100

    config: Config = get_model("resnet18_8xb16_cifar10", pretrained=False)._config
    for split, loader in (("train", config.train_dataloader), ("val", config.val_dataloader)):
        pipeline = [{"type": "LoadImageFromFile"}, *loader.dataset.pipeline]
        loader.dataset = {"type": "CustomDataset", "data_prefix": str(root / split), "pipeline": pipeline}
        loader.batch_size = batch_size
    config.data_preprocessor.to_rgb = True  # OpenCV reads BGR
    config.train_cfg.max_epochs = epochs
    config.test_dataloader = config.test_cfg = config.test_evaluator = None
    config.work_dir = str(work)
    runner = Runner.from_cfg(config)
    runner.register_hook(Watch())
    runner.train()
    turns.finish(top1)


def train_timm(root: Path, work: Path, epochs: int) -> None:
    import timm
    import torch
    from timm.data import ImageDataset
    from timm.optim import create_optimizer_v2
    from timm.scheduler import CosineLRScheduler
    from torch import nn
    from torch.utils.data import DataLoader
    from torchvision.transforms import v2

    to_input = [v2.ToImage(), v2.ToDtype(torch.float32), v2.Normalize(MEAN, STD)]
    transforms = {
        "train": v2.Compose([v2.RandomCrop(32, padding=4), v2.RandomHorizontalFlip(), *to_input]),
        "val": v2.Compose(to_input),
    }
    loaders = {
        split: DataLoader(
            ImageDataset(str(root / split), transform=transform),
            batch_size=TIMM_BATCH,
            shuffle=split == "train",
            num_workers=2,
            persistent_workers=True,
        )
        for split, transform in transforms.items()
    }
    model = timm.create_model("resnet18", num_classes=CLASSES)
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1, momentum=0.9, weight_decay=1e-4)
    schedule = CosineLRScheduler(optimizer, t_initial=epochs)
    turns = Turns()
    for epoch in range(epochs):
        turns.begin()
        model.train()
        for images, targets in loaders["train"]:
            loss = nn.functional.cross_entropy(model(images), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        schedule.step(epoch + 1)
        turns.trained()
        model.eval()
        with torch.no_grad():
            hits = [model(images).argmax(1) == targets for images, targets in loaders["val"]]
    turns.finish(torch.cat(hits).float().mean().item())


PEERS = {
    "clscli": train_clscli,
    "mmpretrain": train_mmpretrain,
    "mmpretrain-128": partial(train_mmpretrain, batch_size=128),
    "timm": train_timm,
}


class Peer:
    """One that trains in a process of its own, an epoch each time it is told to."""

    def __init__(self, name: str, root: Path, work: Path, epochs: int) -> None:
        work.mkdir()
        self.name = name
        self.log = work / "log.txt"
        self.reports: list[dict[str, float]] = []
        self.process = subprocess.Popen(
            [sys.executable, __file__, str(root), "--epochs", str(epochs), "--as", name, "--work", str(work)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log.open("w"),
            text=True,
        )
        self._listen()  # it has imported and tried what it wants to before anybody's clock runs

    def train_epoch(self) -> None:
        assert self.process.stdin is not None
        print(file=self.process.stdin, flush=True)
        self.reports.append(self._listen())

    def _listen(self) -> dict[str, float]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"{self.name} failed:\n{self.log.read_text()}")
        report: dict[str, float] = json.loads(line)
        return report


def unpack(archive: Path, per_class: int, folder: Path) -> int:
    """Unpack the archive, and keep the first pictures of each class and split; return how many for training."""
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    for directory in (folder / "cifar10").glob("*/*"):
        for path in sorted(directory.iterdir())[per_class:]:
            path.unlink()
    return len(list((folder / "cifar10" / "train").glob("*/*")))


def compare(arguments: argparse.Namespace, folder: Path) -> None:
    images = unpack(arguments.path, arguments.per_class, folder)
    peers = [Peer(name, folder / "cifar10", folder / name, arguments.epochs) for name in arguments.peers]
    for epoch in range(arguments.epochs):
        for peer in peers:
            peer.train_epoch()
            seconds = peer.reports[-1]["seconds"]
            print(f"epoch {epoch + 1}  {peer.name:15} {images / seconds:6.0f} images/s", flush=True)
    fastest = {peer.name: min(report["seconds"] for report in peer.reports) for peer in peers}
    print(f"\n{'':15} images/s  clscli is  top-1 after {arguments.epochs} epochs of {images} pictures")
    for peer in peers:
        ratio = fastest[peer.name] / fastest[peers[0].name]
        speed = images / fastest[peer.name]
        print(f"{peer.name:15} {speed:8.0f} {ratio:8.2f} x  {100 * peer.reports[-1]['top1']:5.1f} %")
        peer.process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path, metavar="ARCHIVE")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=1000, help="pictures of each split")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="the first is compared")
    parser.add_argument("--as", dest="peer", choices=PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        sys.stdout = sys.stderr  # what libraries print is for the log
        PEERS[arguments.peer](arguments.path, arguments.work, arguments.epochs)
        return
    folder = Path(tempfile.mkdtemp(prefix="bench-cifar-"))
    try:
        compare(arguments, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
