"""Built-in necks."""

import torch
from importlib_metadata import entry_points

(entry,) = (
    entry
    for entry in entry_points(group="clscli.necks", name="global_average_pooling")
    if entry.dist is not None and entry.dist.name == "clscli"
)
GlobalAveragePooling = entry.load()


def test_a_map_becomes_the_mean_of_its_pixels():
    neck = GlobalAveragePooling((2,))
    images = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[0.0, 0.0], [0.0, 4.0]]]])
    assert neck.out_channels == 2
    assert neck(images).tolist() == [[3.0, 1.0]]


def test_a_vector_passes_unchanged():
    vectors = torch.rand(2, 3)
    assert torch.equal(GlobalAveragePooling((3,))(vectors), vectors)


def test_several_outputs_stay_several():
    neck = GlobalAveragePooling((4, 8, 8))
    outputs = neck((torch.ones(2, 4, 3, 5), torch.ones(2, 8, 1, 1), torch.ones(2, 8)))
    assert neck.out_channels == (4, 8, 8)
    assert [tuple(output.shape) for output in outputs] == [(2, 4), (2, 8), (2, 8)]
    assert all((output == 1).all() for output in outputs)
