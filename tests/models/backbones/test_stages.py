"""What all staged backbones share: the words of `out_indices`, sizes, and blocks that are computed twice."""

import pytest
import torch
from torch import nn

from clscli.models.backbones.stages import StagedBackbone, parts_of


class Block(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        self.dropout = nn.Dropout(0.5)
        self.calls = 0

    def forward(self, features):
        self.calls += 1
        return features + self.dropout(self.bn(self.conv(features)))


class Net(StagedBackbone):
    def __init__(self, out_indices=(-1,), frozen_stages=0, **options):
        super().__init__([3, 3, 3, 3], out_indices=out_indices, frozen_stages=frozen_stages, **options)
        self.stem = nn.BatchNorm2d(3)
        self.stages = nn.ModuleList(nn.Sequential(Block(3), Block(3)) for _ in range(self.depth))
        self.freeze()

    def stem_and_stages(self):
        return [[self.stem], *([stage] for stage in self.stages)]


@pytest.mark.parametrize(
    ("indices", "message"),
    [
        ((4,), "Net has 4 stages, so out_indices must be between -4 and 3, got [4]"),
        ((0, -5), "Net has 4 stages, so out_indices must be between -4 and 3, got [0, -5]"),
        ((2, 1), "Net returns its 4 stages from shallow to deep, so out_indices must increase, got [2, 1]"),
        ((3, -1), "Net returns its 4 stages from shallow to deep, so out_indices must increase, got [3, -1]"),
        ((), "Net needs at least one stage in out_indices, got none"),
    ],
)
def test_wrong_out_indices(indices, message):
    with pytest.raises(ValueError, match="Net") as caught:
        Net(out_indices=indices)
    assert str(caught.value) == message


def test_stages_after_the_deepest_output_are_not_built():
    assert len(Net(out_indices=(0, -3)).stages) == 2


def test_images_too_small_or_in_no_whole_patches():
    net = Net()
    net.min_size, net.size_multiple = 32, 8
    assert net(torch.rand(2, 3, 40, 32)).shape == (2, 3, 40, 32)
    with pytest.raises(ValueError, match=r"^Net needs images of at least 32x32 pixels, got 40x24$"):
        net(torch.rand(2, 3, 40, 24))
    message = r"^Net needs images whose height and width are multiples of 8, got 33x40$"
    with pytest.raises(ValueError, match=message):
        net(torch.rand(2, 3, 33, 40))


def test_blocks_are_the_parts_of_a_stage_and_layers_in_a_row_one_part():
    blocks = nn.Sequential(Block(3), Block(3))
    conv, norm = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
    first, second, third = parts_of([blocks, conv, norm])
    assert (first, second) == tuple(blocks)
    assert list(third) == [conv, norm]
    assert list(parts_of([conv])) == [conv]


@pytest.mark.parametrize("train", [True, False])
def test_checkpointed_blocks_run_again_in_the_backward_pass_only(train):
    net = Net(gradient_checkpointing=True).train(train)
    blocks = [block for stage in net.stages for block in stage]
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    assert [block.calls for block in blocks] == [2 if train else 1] * 8


def test_checkpointing_takes_in_each_batch_once_and_draws_the_same_dropout():
    results = []
    for recompute in (False, True):
        torch.manual_seed(0)
        net = Net(gradient_checkpointing=recompute).train()
        net(torch.rand(4, 3, 8, 8)).square().sum().backward()
        results.append({**{n: p.grad for n, p in net.named_parameters()}, **dict(net.named_buffers())})
    plain, recomputed = results
    assert recomputed["stages.0.0.bn.num_batches_tracked"] == 1
    for name, tensor in plain.items():
        torch.testing.assert_close(recomputed[name], tensor, msg=lambda m, name=name: f"{name}: {m}")


def test_statistics_are_the_same_tensors_after_checkpointing():
    net = Net(gradient_checkpointing=True).train()
    before = {name: id(buffer) for name, buffer in net.named_buffers()}
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    assert {name: id(buffer) for name, buffer in net.named_buffers()} == before


def test_parameters_outside_of_modules_freeze_with_the_stem():
    class WithToken(Net):
        def freeze(self):
            self.token = nn.Parameter(torch.zeros(3))
            super().freeze()

    assert WithToken().token.requires_grad
    assert not WithToken(frozen_stages=1).token.requires_grad
