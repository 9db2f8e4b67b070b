"""How much of an epoch goes by waiting for pictures, and what is said about it."""

import json
import logging
import re
from pathlib import Path

import pytest

from clscli import train
from clscli.engine import loop, recorder


class Clock:
    """A time of the test's own."""

    now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop, "time", clock)
    return clock


def slow(clock: Clock, waits: list[float]):
    for seconds in waits:
        clock.now += seconds
        yield seconds


def test_the_share_is_of_the_time_since_the_first_batch_without_validations(clock):
    watch = loop._Watch(0)
    clock.now += 4  # hooks
    for _ in watch.waits(slow(clock, [50.0, 1.0, 2.0, 0.0])):
        clock.now += 3  # a step
    clock.now += 20
    watch.validating = 20
    assert watch.seconds == 4 + 53 + 4 * 3 + 20
    assert watch.data_wait == 3 / (4 + 3 + 12)


@pytest.mark.parametrize("waits", [[], [5.0]])
def test_up_to_the_first_batch_nothing_was_waited_for(clock, waits):
    watch = loop._Watch(0)
    assert list(watch.waits(slow(clock, waits))) == waits
    assert watch.data_wait == 0


def rows(run: str) -> list[dict]:
    return [json.loads(line) for line in Path(run, "metrics.jsonl").read_text().splitlines()]


def hints(caplog) -> list[str]:
    return [message for message in caplog.messages if message.startswith("hint: ")]


def test_it_is_in_the_metrics_and_in_the_line_of_each_epoch(tiny, caplog):
    caplog.set_level(logging.INFO, "clscli")
    train(tiny, out="run", device="cpu")
    shares = [row["data_wait"] for row in rows("run")]
    assert len(shares) == 3
    assert all(0 < share < 1 for share in shares)
    told = [
        found[1] for line in caplog.messages if (found := re.search(r"images/s  (\d+) % waiting for data", line))
    ]
    # The metrics hold a rounded share.
    assert [int(percent) for percent in told] == pytest.approx([100 * share for share in shares], abs=0.51)
    assert hints(caplog) == []  # an epoch of less than a second


def test_much_of_it_gets_one_hint(tiny, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "clscli")
    monkeypatch.setattr(recorder, "_LONG_EPOCH", 0.0)
    monkeypatch.setattr(recorder, "_MUCH_WAITING", 0.0)
    train(tiny, out="run", device="cpu")
    share = f"{100 * rows('run')[0]['data_wait']:.0f}"
    assert hints(caplog) == [
        f"hint: {share} % of the time went by waiting for pictures to be read -- try another data.num_workers "
        '(now 0), data.cache = "memory", or transforms that cost less'
    ]


def test_little_of_it_gets_none(tiny, caplog, monkeypatch):
    caplog.set_level(logging.INFO, "clscli")
    monkeypatch.setattr(recorder, "_LONG_EPOCH", 0.0)
    monkeypatch.setattr(recorder, "_MUCH_WAITING", 1.0)
    train(tiny, device="cpu")
    assert hints(caplog) == []
