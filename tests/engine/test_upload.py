"""Batches on their way to the device."""

import pytest
import torch

from clscli.data.loader import Batch
from clscli.engine.upload import uploaded

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA"))]


def batch_of(number: int) -> Batch:
    images = torch.full((2, 3, 8, 8), number, dtype=torch.uint8).contiguous(memory_format=torch.channels_last)
    return Batch(images, torch.tensor([number, 1]), torch.tensor([number, 7]), [(number, "torn")])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("count", [0, 1, 2, 5])
def test_every_batch_arrives_in_order_and_as_it_was(device, count):
    arrived = list(uploaded((batch_of(number) for number in range(count)), torch.device(device)))
    assert [batch.unreadable for batch in arrived] == [[(number, "torn")] for number in range(count)]
    for number, batch in enumerate(arrived):
        assert (batch.images.device.type, batch.targets.device.type) == (device, device)
        assert torch.equal(batch.images.cpu(), batch_of(number).images)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert (batch.targets.tolist(), batch.indices.tolist()) == ([number, 1], [number, 7])


def test_nothing_is_read_ahead_on_the_cpu():
    read = []

    def batches():
        for number in range(3):
            read.append(number)
            yield batch_of(number)

    arriving = uploaded(batches(), torch.device("cpu"))
    next(arriving)
    assert read == [0]
