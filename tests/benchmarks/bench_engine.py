"""What the engine costs over a bare PyTorch loop on the same model, loader and steps; run by hand.

    python tests/benchmarks/bench_engine.py [--rounds 5] [--set KEY=VALUE ...]

Engine and bare loop take turns in one process, and the ratio of their fastest epochs is printed: other work on
the machine slows single rounds, but hardly the fastest of each.
"""

from __future__ import annotations

import argparse
import time

import torch
from torch.nn import functional as F

from clscli.engine.loop import train_epoch
from clscli.engine.prepare import prepare
from clscli.engine.progress import Progress
from clscli.engine.session import Session, new_session
from clscli.observer import Observer
from clscli.spec import load_spec


def engine_epoch(session: Session, epoch: int) -> None:
    session.progress = Progress(epoch=epoch)
    for _ in train_epoch(session, Observer()):
        pass  # validations in the middle of an epoch, of which there are none


def bare_epoch(session: Session, epoch: int) -> None:
    session.model.train()
    for batch in session.train.epoch(epoch):
        images = batch.images.to(session.device, memory_format=session.execution.memory_format)
        with session.execution.autocast(session.device):
            loss = F.cross_entropy(session.forward(images).float(), batch.targets.to(session.device))
        session.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        session.optimizer.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    arguments = parser.parse_args()
    defaults = ["data.train.num_train=2000", "data.val.num_train=2000"]
    session = new_session(prepare(load_spec("demo", sets=[*defaults, *arguments.set])), torch.device("cpu"))
    engine_epoch(session, 0)  # starts the workers
    times: dict[str, list[float]] = {"engine": [], "bare": []}
    for epoch in range(1, arguments.rounds + 1):
        for name, run in (("engine", engine_epoch), ("bare", bare_epoch)):
            started = time.perf_counter()
            run(session, epoch)
            times[name].append(time.perf_counter() - started)
    engine, bare = (min(times[name]) for name in ("engine", "bare"))
    images = len(session.train.view)
    print(
        f"engine {images / engine:.0f} images/s, bare loop {images / bare:.0f} images/s: {engine / bare - 1:+.1%}"
    )
    session.train.close()
    session.val.close()


if __name__ == "__main__":
    main()
