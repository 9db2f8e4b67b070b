"""How long commands take to start, against `python -c pass` and `import torch`; run by hand.

python tests/benchmarks/bench_startup.py [--ckpt runs/demo/best.pth --image picture.jpg]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time

ROUNDS = 7


def seconds(*command: str) -> float:
    """Return the fastest of some runs."""
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        times.append(time.perf_counter() - started)
    return min(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
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
    found = {name: seconds(*command) for name, command in commands.items()}
    for name, value in found.items():
        print(f"{name:24} {value:6.3f} s  {value / found['import torch']:5.2f} x import torch")


if __name__ == "__main__":
    main()
