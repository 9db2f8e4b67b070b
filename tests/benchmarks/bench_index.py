"""What ten million file names cost, from the scan to the first batches; run by hand.

    python tests/benchmarks/bench_index.py [--names 10000000] [--classes 1000]

The folders are made up, and so are the files' sizes and headers: what is measured is clscli's own share. The
memory is that of the whole process, less what it has once everything is imported.
"""

from __future__ import annotations

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch

from clscli.data import headers
from clscli.data.datasets import folder as folder_module
from clscli.data.datasets.folder import Folder
from clscli.data.headers import read_headers
from clscli.data.order import BatchOrder
from clscli.data.samplers import ClassWeighted, RepeatedAugmentation, Shuffled
from clscli.data.split import part, read_manifest, stratified_split, write_manifest

MB = 1 << 20


def make_up(names: int, classes: int) -> None:
    """Have folders listed that do not exist: names as long as ImageNet's, in the order of a hash."""

    def list_folder(folder: str) -> Iterator[tuple[str, bool]]:
        if not folder.endswith("JPEGs"):
            yield from ((f"n{number:08}_JPEGs", True) for number in range(classes))
            return
        for number in range(names // classes):
            yield f"n{int(folder[-14:-6]):08}_{number * 7919 % 10_000_019}.JPEG", False

    folder_module.list_folder = list_folder
    folder_module.identity_of = lambda folder: folder
    status = SimpleNamespace(st_size=110_000, st_mtime_ns=0)
    headers.os = SimpleNamespace(**{**vars(os), "stat": lambda path: status})
    headers.check_header = lambda source: (375, 500)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


class Stages:
    """Print for each stage how long it took, what it left in memory, and the most that the process has had."""

    def __init__(self) -> None:
        torch.rand(1000).argsort()
        self.base = resident()
        self.started = time.perf_counter()

    def done(self, what: str) -> None:
        seconds = time.perf_counter() - self.started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - self.base
        print(f"{what:32} {seconds:7.1f} s   {(resident() - self.base) / MB:6.0f} MB, at most {peak / MB:6.0f} MB")
        self.started = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--names", type=int, default=10_000_000)
    parser.add_argument("--classes", type=int, default=1000)
    arguments = parser.parse_args()
    make_up(arguments.names, arguments.classes)
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["CLSCLI_CACHE"] = scratch
        manifest = Path(scratch, "split.csv")
        stages = Stages()
        dataset = Folder("train", root=Path(scratch))
        stages.done(f"scan {len(dataset):,} names")
        parts = stratified_split(dataset, 0.1, 0)
        stages.done("divide into train and val")
        train = part(dataset, parts, "train", dataset.classes)
        stages.done("view of train")
        read_headers(train)
        stages.done("headers of train, first time")
        read_headers(train)
        stages.done("headers of train, remembered")
        train.fingerprint()
        stages.done("fingerprint of train")
        write_manifest(manifest, dataset, parts)
        stages.done("write split.csv")
        assert torch.equal(read_manifest(manifest, dataset), parts)
        stages.done("read split.csv")
        samplers = Shuffled(train.targets), RepeatedAugmentation(train.targets), ClassWeighted(train.targets, 1000)
        for sampler in samplers:
            next(iter(BatchOrder(len(train), 256, 0, sampler)))
            stages.done(f"an epoch's order, {type(sampler).__name__}")
        for index in range(100_000):
            train[index]
        stages.done("read 100,000 samples")


if __name__ == "__main__":
    main()
