"""Views and batches of pictures with several labels each, or none."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from clscli.data.batch_transforms import build_batch_transforms
from clscli.data.loader import BatchLoader
from clscli.data.samples import LabelSets, Sample
from clscli.data.split import PARTS, View, part, read_manifest, stratified_split, whole, write_manifest
from clscli.errors import DataError
from clscli.spec import load_spec


class Tagged:
    """Small pictures of one colour each, with label sets."""

    multi_label = True

    def __init__(self, classes, label_sets, *, hide_targets=False):
        self.classes, self.sets = classes, label_sets
        if not hide_targets:
            self.targets = LabelSets(label_sets)

    def __len__(self):
        return len(self.sets)

    def __getitem__(self, index):
        return Sample(torch.full((3, 4, 4), index, dtype=torch.uint8), self.sets[index])

    def name(self, index):
        return f"{index:04}.png"


SETS = [(0, 2), (), (1,), (2, 0, 2), (0,)]


@pytest.mark.parametrize("hide_targets", [False, True])
def test_a_view_translates_label_sets_by_name(hide_targets):
    view = View(Tagged(["a", "b", "c"], SETS, hide_targets=hide_targets), [3, 1, 2], ["c", "b", "a"])
    assert view.multi_label
    assert [view[i].target for i in range(3)] == [(0, 2), (), (1,)]
    assert [view.labels(i) for i in range(3)] == [["c", "a"], [], ["b"]]
    assert view.class_counts == (1, 1, 1)
    assert view.target(0).tolist() == [1.0, 0.0, 1.0]
    assert view.target(1).dtype == torch.float32
    assert view.without([0]).class_counts == (0, 1, 0)


def test_unknown_labels_are_named():
    tagged = Tagged(["a", "z"], [(0,), (1, 0)])
    message = "there: has classes that the model does not know: 'z' (it knows 'a', 'b')"
    with pytest.raises(DataError) as error:
        whole(tagged, ["a", "b"], "there")
    assert str(error.value) == message
    with pytest.raises(DataError, match="does not know: 'z'"):
        part(tagged, torch.zeros(2, dtype=torch.int8), "train", ["a", "b"])


def test_the_fingerprint_changes_with_the_labels_and_not_with_their_order():
    def fingerprint(sets):
        return View(Tagged(["a", "b", "c"], sets), range(len(sets)), ["a", "b", "c"]).fingerprint()

    assert fingerprint([(0, 2), ()]) == fingerprint([(2, 0), ()])
    assert fingerprint([(0, 2), ()]) != fingerprint([(0,), (2,)])


def test_the_split_divides_the_rarest_labels_by_the_fraction(tmp_path):
    sets = [(0,)] * 100 + [(0, 1)] * 20 + [(1, 2)] * 10 + [()] * 30
    tagged = Tagged(["often", "seldom", "rarely"], sets)
    parts = stratified_split(tagged, 0.2, seed=3)
    val = part(tagged, parts, "val", tagged.classes)
    assert len(val) == 32
    assert val.class_counts == (20 + 4, 4 + 2, 2)
    assert sum(not val[i].target for i in range(32)) == 6
    assert stratified_split(tagged, 0.2, seed=3).equal(parts)
    write_manifest(tmp_path / "split.csv", tagged, parts)
    assert read_manifest(tmp_path / "split.csv", tagged).equal(parts)
    lines = (tmp_path / "split.csv").read_text().splitlines()
    assert lines[125] == f'0124.png,"seldom,rarely",{PARTS[parts[124]]}'
    assert lines[160] == f"0159.png,,{PARTS[parts[159]]}"


def test_batches_have_a_number_for_each_label():
    view = View(Tagged(["a", "b", "c"], SETS), range(5), ["a", "b", "c"])
    loader = BatchLoader(view, [], batch_size=3, seed=0, num_workers=0)
    first, second = loader.epoch(0)
    assert first.targets.dtype == torch.float32
    assert first.targets.tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]
    assert second.targets.tolist() == [[1, 0, 1], [1, 0, 0]]


@pytest.mark.parametrize("name", ["mixup", "cutmix", "resizemix"])
def test_mixing_mixes_the_labels(name):
    table = {"type": name, "alpha": 1.0} if name != "resizemix" else {"type": name}
    spec = load_spec({"data": {"root": "x"}, "transforms": {"batch": [table]}})
    transforms = build_batch_transforms(spec, 3, multi_label=True)
    labels = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])

    def mixed(targets: Tensor) -> Tensor:
        torch.manual_seed(5)
        return transforms(torch.arange(3.0)[:, None, None, None].expand(3, 3, 32, 32) * 80, targets)[1]

    # Shares of pictures, from targets that are the pictures' own numbers.
    shares = mixed(F.one_hot(torch.arange(3), 3).float())
    assert 0 < shares[0, 2] < 1
    torch.testing.assert_close(mixed(labels), shares @ labels)
