"""How long commands take to start, against `python -c pass` and `import torch`; run by hand.

python tests/benchmarks/bench_startup.py [--components 300] [--ckpt runs/demo/best.pth --image picture.jpg]
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = 7
PER_PACKAGE = 10


def seconds(*command: str) -> float:
    """Return the fastest of some runs."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def install(folder: Path, components: int) -> None:
    """Write packages of backbones, as far as metadata goes; whoever imports one of them fails."""
    for package in range(components // PER_PACKAGE):
        info = folder / f"bench_{package}-1.0.dist-info"
        info.mkdir()
        metadata = [
            "Metadata-Version: 2.1",
            f"Name: bench-{package}",
            "Version: 1.0",
            "Requires-Dist: clscli>=0.1",
        ]
        (info / "METADATA").write_text("\n".join(metadata) + "\n")
        entries = [f"net_{package}_{number} = bench_{package}:Net" for number in range(PER_PACKAGE)]
        (info / "entry_points.txt").write_text("\n".join(["[clscli.backbones]", *entries]) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--components", type=int, default=0, help="of third parties, besides what is installed")
    parser.add_argument("--ckpt")
    parser.add_argument("--image")
    arguments = parser.parse_args()
    commands = {
        "python -c pass": ("-c", "pass"),
        "clscli --help": ("-m", "clscli", "--help"),
        "clscli list backbones": ("-m", "clscli", "list", "backbones"),
        "import torch": ("-c", "import torch"),
    }
    if arguments.ckpt and arguments.image:
        commands["clscli predict IMAGE"] = ("-m", "clscli", "predict", arguments.image, "--ckpt", arguments.ckpt)
    with tempfile.TemporaryDirectory() as folder:
        install(Path(folder), arguments.components)
        os.environ["PYTHONPATH"] = folder
        found = {name: seconds(*command) for name, command in commands.items()}
    for name, value in found.items():
        ratios = [f"{value / found[peer]:6.2f} x {peer}" for peer in ("python -c pass", "import torch")]
        print(f"{name:24} {value:6.3f} s  {'  '.join(ratios)}")


if __name__ == "__main__":
    main()
