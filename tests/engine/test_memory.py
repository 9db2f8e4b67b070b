"""How many pictures fit, and what is said when they do not."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest
import torch

import clscli
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.device import Execution
from clscli.engine.memory import is_out_of_memory, largest_that_fits, settle_batch_size
from clscli.engine.prepare import prepare
from clscli.engine.trial import Trial
from clscli.errors import PluginError, TrainingError
from clscli.spec import load_spec

CPU = torch.device("cpu")


def run(spec, out="run"):
    return clscli.train(spec, out=out, device="cpu")


LIMITED = '''
    import torch
    from torch import nn

    class Limited(nn.Module):
        """Run out of memory above a number of pictures."""
        def __init__(self, in_channels: int, *, fits: int = 3, words: str = ""):
            super().__init__()
            self.out_channels = 4
            self.conv = nn.Conv2d(in_channels, 4, 3)
            self.fits, self.words = fits, words

        def forward(self, images):
            if images.device.type != "meta" and self.training and len(images) > self.fits:
                raise RuntimeError(self.words) if self.words else torch.OutOfMemoryError("CUDA out of memory.")
            return self.conv(images)
'''


@pytest.fixture
def limited(plugin, tiny):
    """The `tiny` spec, with memory for 3 pictures at once."""
    plugin("backbones", limited="limited_:Limited", limited_=LIMITED)
    tiny["model"]["backbone"] = {"type": "limited"}
    return tiny


def test_the_largest_that_fits_is_a_power_of_two():
    asked = []
    assert largest_that_fits(lambda size: asked.append(size) or size <= 100, 1024) == 64
    assert asked == [2, 4, 8, 16, 32, 64, 128]
    assert largest_that_fits(lambda size: True, 100) == 64
    assert largest_that_fits(lambda size: False, 100) == 1


@pytest.mark.parametrize(
    ("count", "memory", "expected", "reason"),
    [
        (24, 1 << 40, 8, "enough for 24 training pictures"),
        (1000, 1 << 40, 64, "enough for 1000 training pictures"),
        (100_000, 1 << 40, 256, "enough for 100000 training pictures"),
        (100_000, 2 * 48 * 1000, 32, "more may not fit into memory"),
    ],
)
def test_auto_is_what_memory_and_pictures_allow(tiny, monkeypatch, caplog, count, memory, expected, reason):
    monkeypatch.setattr("clscli.engine.memory.available_memory", lambda: memory)
    monkeypatch.setattr(Trial, "bytes_per_image", lambda self: 1000.0)
    tiny["data"]["batch_size"] = "auto"
    plan = prepare(load_spec(tiny))
    monkeypatch.setattr(type(plan.data.train), "__len__", lambda self: count)
    with caplog.at_level("INFO", logger="clscli"):
        settled = settle_batch_size(plan, CPU)
    assert settled.spec.spec.data.batch_size == settled.spec.values["data"]["batch_size"] == expected
    assert caplog.messages[-1] == f'batch size: {expected}, chosen by "auto": {reason}'
    assert plan.spec.values["data"]["batch_size"] == "auto"
    assert settle_batch_size(settled, CPU) is settled


def test_the_number_is_what_a_run_keeps(tiny, clscli):
    tiny["data"]["batch_size"] = "auto"
    tiny["train"]["epochs"] = 1
    run(tiny)
    assert tomllib.loads(Path("run/spec.toml").read_text())["data"]["batch_size"] == 8
    for name in ("best", "last"):
        assert load_checkpoint(f"run/{name}.pth").spec["data"]["batch_size"] == 8
    (row,) = map(json.loads, Path("run/metrics.jsonl").read_text().splitlines())
    assert row["step"] == 3
    assert clscli("eval", "--ckpt", "run/best.pth", "--device", "cpu").code == 0


def test_a_dry_run_shows_the_number(tiny_file, clscli):
    done = clscli("train", tiny_file, "--dry-run", "--device", "cpu", "--set", "data.batch_size=auto")
    assert "batch_size = 8  # --set" in done.out
    assert 'batch size: 8, chosen by "auto": enough for 24 training pictures' in done.err


def test_a_batch_size_is_a_number_or_auto(tiny_file, clscli):
    done = clscli("train", tiny_file, "--device", "cpu", "--set", "data.batch_size=all")
    assert done.code == 2
    assert done.err.startswith("--set data.batch_size=all: data.batch_size: must be ")


def test_bytes_per_image_counts_what_is_kept_for_the_backward_pass(tiny):
    plan = prepare(load_spec(tiny))
    plain = Trial.of(plan, Execution("float32", channels_last=False), CPU).bytes_per_image()
    # At least the maps of the stem: the picture in floats, and 4 channels after convolution, norm and ReLU.
    assert plain > 4 * 20 * 20 * (3 + 3 * 4)
    tiny["model"]["backbone"]["base_channels"] = 8
    wider = Trial.of(prepare(load_spec(tiny)), Execution("float32", channels_last=False), CPU).bytes_per_image()
    assert 1.7 * plain < wider < 2.1 * plain  # all maps but the picture are twice as large


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 9 GB)"), True),
        (RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_which_errors_say_that_memory_is_full(error, expected):
    assert is_out_of_memory(error) is expected


def test_a_real_allocator_is_understood():
    with pytest.raises(RuntimeError) as info:
        torch.empty(1 << 50)
    assert is_out_of_memory(info.value)


@pytest.mark.parametrize("words", ["", "DefaultCPUAllocator: can't allocate memory"])
def test_a_full_memory_is_an_error_that_says_what_would_fit(limited, words):
    limited["model"]["backbone"]["words"] = words
    with pytest.raises(TrainingError) as info:
        run(limited)
    assert str(info.value) == (
        "epoch 1: no memory left on cpu for batches of 8 pictures, but for 2: write data.batch_size = 2, with "
        'train.accumulation_steps = 4 to take the same steps; or train.precision = "bfloat16" or smaller pictures '
        "(nothing was saved yet)"
    )


def test_when_not_even_two_fit(limited):
    limited["model"]["backbone"]["fits"] = 1
    with pytest.raises(TrainingError) as info:
        run(limited)
    assert str(info.value) == (
        "epoch 1: no memory left on cpu for batches of 8 pictures, nor for any smaller batch -- take a smaller "
        'model, or train.precision = "bfloat16" or smaller pictures (nothing was saved yet)'
    )


def test_what_is_advised_does_help(limited):
    limited["data"]["batch_size"] = 2
    limited["train"] |= {"accumulation_steps": 4, "epochs": 1}
    assert run(limited).last["step"] == 3


def test_checkpointing_is_advised_to_those_who_can(tiny, monkeypatch):
    forward = torch.nn.functional.cross_entropy

    def full(*arguments, **keywords):
        if len(arguments[0]) > 2 and torch.is_grad_enabled():
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*arguments, **keywords)

    monkeypatch.setattr(torch.nn.functional, "cross_entropy", full)
    with pytest.raises(TrainingError, match=r"or model\.backbone\.gradient_checkpointing = true or "):
        run(tiny)


def test_another_error_of_the_same_class_is_not_taken_for_it(limited):
    limited["model"]["backbone"]["words"] = "expected scalar type Half"
    with pytest.raises(PluginError, match=r"after 0 steps: RuntimeError: expected scalar type Half"):
        run(limited)
