"""Contenders that take turns, each in a process of its own, as its users run it."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

Turn = Callable[[], object]


def take_turns(contenders: Mapping[str, Callable[[], Turn]], rounds: int) -> dict[str, float]:
    """Make each contender, and return the seconds of its fastest turn.

    They take turns, so that other work on the machine slows all alike; the first turn of each does not count.
    One waits without taking a core while another works, and what one changes in its process, such as how memory
    is kept, makes no other faster.
    """
    context = multiprocessing.get_context("spawn")
    pipes: dict[str, Connection] = {}
    for name, make in contenders.items():
        pipes[name], theirs = context.Pipe()
        context.Process(target=_serve, args=(make, theirs)).start()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name, pipe in pipes.items():
            pipe.send(True)
            times[name].append(pipe.recv())
    for pipe in pipes.values():
        pipe.send(False)
    return {name: min(seconds[1:]) for name, seconds in times.items()}


def report(seconds_of: Mapping[str, float], pictures: int) -> None:
    """Print how many pictures a second each has done, and how much faster the first is than the others."""
    first = next(iter(seconds_of))
    for name, seconds in seconds_of.items():
        ratio = seconds / seconds_of[first]
        print(f"{name:14} {pictures / seconds:7.0f} images/s   {first} is {ratio:.2f} x as fast")


def _serve(make: Callable[[], Turn], pipe: Connection) -> None:
    turn = make()
    while pipe.recv():
        started = time.perf_counter()
        turn()
        pipe.send(time.perf_counter() - started)
