"""Which samples an epoch consists of, and in which order."""

import json
from pathlib import Path

import pytest
import torch

from clscli import resume, train
from clscli.data.catalog import open_training_data
from clscli.data.order import BatchOrder, Draw, count_before
from clscli.data.samplers import ClassWeighted, RepeatedAugmentation, Shuffled, build_sampler
from clscli.engine.checkpoint import load_checkpoint
from clscli.errors import Interrupted, PluginError, SpecError
from clscli.observer import Observer
from clscli.seeds import seed_for
from clscli.spec import load_spec

# 900 of class 0, 90 of class 1, none of class 2, 10 of class 3; in no order.
TARGETS = torch.tensor([0] * 900 + [1] * 90 + [3] * 10)[
    torch.randperm(1000, generator=torch.Generator().manual_seed(0))
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shuffled_is_a_permutation_by_torch():
    sampler = Shuffled(TARGETS)
    assert len(sampler) == 1000
    assert torch.equal(sampler(generator(3)), torch.randperm(1000, generator=generator(3)))


@pytest.mark.parametrize(("power", "shares"), [(1.0, [1 / 3, 1 / 3, 0, 1 / 3]), (0.0, [0.9, 0.09, 0, 0.01])])
def test_classes_are_drawn_by_their_weights(power, shares):
    sampler = ClassWeighted(TARGETS, 4, power=power)
    drawn = torch.cat([sampler(generator(seed)) for seed in range(30)])
    found = torch.bincount(TARGETS[drawn], minlength=4) / len(drawn)
    assert found.tolist() == pytest.approx(shares, abs=0.01)


def test_the_square_root_lies_between():
    sampler = ClassWeighted(TARGETS, 4, power=0.5)
    drawn = torch.cat([sampler(generator(seed)) for seed in range(30)])
    roots = [900**0.5, 90**0.5, 0, 10**0.5]
    found = torch.bincount(TARGETS[drawn], minlength=4) / len(drawn)
    assert found.tolist() == pytest.approx([root / sum(roots) for root in roots], abs=0.01)


def test_within_a_class_all_samples_are_drawn_alike():
    sampler = ClassWeighted(TARGETS, 4)
    drawn = torch.cat([sampler(generator(seed)) for seed in range(30)])
    rare = (TARGETS == 3).nonzero().flatten()
    counts = torch.bincount(drawn, minlength=1000)[rare]  # about 1000 each
    assert counts.min() > 850
    assert counts.max() < 1150
    assert len(sampler) == len(sampler(generator())) == 1000


@pytest.mark.parametrize("num_samples", [1, 2, 3, 10, 11, 12])
def test_repeated_augmentation_repeats_a_part_of_the_pictures(num_samples):
    sampler = RepeatedAugmentation(torch.zeros(num_samples), repeats=3)
    order = sampler(generator())
    assert len(order) == len(sampler) == num_samples
    chosen = torch.randperm(num_samples, generator=generator()).tolist()
    assert order.tolist() == [chosen[place // 3] for place in range(num_samples)]


def test_a_repeat_is_another_draw_and_the_first_is_the_usual_one():
    order = BatchOrder(7, 4, 0, RepeatedAugmentation(torch.zeros(7), repeats=3))
    draws = [draw for batch in order for draw in batch]
    assert [draw.repeat for draw in draws] == [0, 1, 2, 0, 1, 2, 0]
    assert len(set(draws)) == 7
    shuffled = [draw for batch in BatchOrder(7, 4, 0, Shuffled(torch.zeros(7))) for draw in batch]
    assert all(draw == Draw(0, draw.index) for draw in shuffled)


def test_what_came_before_is_counted_wherever_it_was():
    assert count_before(torch.tensor([5, 2, 5, 5, 0, 2])).tolist() == [0, 0, 1, 2, 0, 1]
    assert count_before(torch.tensor([3, 1, 2])).tolist() == [0, 0, 0]
    assert count_before(torch.tensor([], dtype=torch.int64)).tolist() == []


def test_slices_and_resumed_epochs_are_parts_of_the_same_batches():
    sampler = RepeatedAugmentation(torch.zeros(23), repeats=3)
    whole = list(BatchOrder(23, 5, 1, sampler, epoch=2))
    ranks = [list(BatchOrder(23, 5, 1, sampler, epoch=2, rank=rank, processes=2)) for rank in (0, 1)]
    assert [first + second for first, second in zip(*ranks, strict=True)] == whole
    assert list(BatchOrder(23, 5, 1, sampler, epoch=2, start=3)) == whole[3:]
    assert [draw.index for batch in whole for draw in batch] == sampler(
        generator(seed_for(1, "order", 2))
    ).tolist()


def test_an_epoch_may_be_longer_or_shorter_than_the_data_set():
    class Twice(Shuffled):
        def __len__(self):
            return 2 * self.num_samples

        def __call__(self, generator):
            return super().__call__(generator).repeat(2)

    order = BatchOrder(10, 4, 0, Twice(torch.zeros(10)))
    assert (len(order), order.num_drawn) == (5, 20)
    assert [len(batch) for batch in order] == [4] * 5


REPEATED = {"type": "repeated_augmentation", "repeats": 3}
WEIGHTED = {"type": "class_weighted", "power": 0.5}


def metrics(run: Path) -> list[dict]:
    timed = ("seconds", "images_per_second", "data_wait")
    rows = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [{key: value for key, value in row.items() if key not in timed} for row in rows]


class _StopInEpoch2(Observer):
    ticks = 0

    def tick(self, amount):
        self.ticks += amount == 8
        if self.ticks == 5:  # three batches an epoch, and validations of 8 + 4
            raise Interrupted("the test")


@pytest.mark.parametrize("sampler", [REPEATED, WEIGHTED])
def test_a_run_with_a_sampler_resumes_to_the_same_numbers(tiny, sampler):
    tiny["data"]["sampler"] = sampler
    whole = train(tiny, out="whole", device="cpu")
    with pytest.raises(Interrupted):
        train(tiny, out="stopped", device="cpu", observer=_StopInEpoch2())
    assert load_checkpoint("stopped/last.pth").training["progress"]["batch"] > 0
    resume("stopped", device="cpu")
    assert metrics(Path("stopped")) == metrics(Path("whole"))
    kept, again = (load_checkpoint(f"{run}/last.pth").weights for run in ("whole", "stopped"))
    assert all(torch.equal(tensor, again[name]) for name, tensor in kept.items())
    assert whole.last["epoch"] == 3


def test_samplers_change_what_is_trained_on(tiny):
    losses = []
    for sampler in ({"type": "shuffled"}, REPEATED, WEIGHTED):
        tiny["data"]["sampler"] = sampler
        losses.append(train(tiny | {"train": {"epochs": 1}}, device="cpu").last["train_loss"])
    assert len(set(losses)) == 3


def test_the_default_is_shuffled_and_the_list_tells(clscli):
    assert load_spec({"data": {"root": "x"}}).values["data"]["sampler"] == {"type": "shuffled"}
    shown = clscli("list", "samplers")
    assert [line.split()[0] for line in shown.out.splitlines() if "clscli" in line] == [
        *("class_weighted", "repeated_augmentation", "shuffled"),
    ]
    shown = clscli("list", "samplers", "class_weighted")
    assert "Draw samples of rare classes more often." in shown.out
    assert "power" in shown.out


def test_a_wrong_parameter_is_a_problem_of_its_line(tmp_path):
    (tmp_path / "spec.toml").write_text('[data]\nroot = "x"\nsampler = { type = "class_weighted", power = -1 }\n')
    with pytest.raises(SpecError) as error:
        load_spec("spec.toml")
    assert str(error.value) == "spec.toml:3: data.sampler.power: must be at least 0.0, got -1"


BROKEN = """
import torch

class Base:
    def __init__(self, targets):
        self.num = len(targets)
    def __len__(self):
        return self.num

class Lists(Base):
    def __call__(self, generator):
        return list(range(self.num))

class Floats(Base):
    def __call__(self, generator):
        return torch.rand(self.num)

class Short(Base):
    def __call__(self, generator):
        return torch.arange(self.num - 1)

class Far(Base):
    def __call__(self, generator):
        return torch.arange(self.num) + 1

def endless(targets):
    return lambda generator: torch.arange(len(targets))
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("lists", "not a list"),
        ("floats", "not torch.float32 (24,)"),
        ("short", "not torch.int64 (23,)"),
        ("far", "not indices from 1 to 24"),
    ],
)
def test_a_sampler_that_breaks_its_contract_is_named(tiny, plugin, name, expected):
    plugin("samplers", **{name: f"broken:{name.title()}"}, broken=BROKEN)
    tiny["data"]["sampler"] = {"type": name}
    spec = load_spec(tiny)
    with pytest.raises(PluginError) as error:
        build_sampler(spec, open_training_data(spec).train)
    assert str(error.value) == (
        f"extra 1.0 (sampler '{name}') breaks its contract: it must return torch.int64 (24,), as long as its "
        f"length, of indices from 0 to 23, {expected}"
    )


def test_a_sampler_without_a_length_is_named(tiny, plugin):
    plugin("samplers", endless="broken:endless", broken=BROKEN)
    tiny["data"]["sampler"] = {"type": "endless"}
    spec = load_spec(tiny)
    with pytest.raises(PluginError) as error:
        build_sampler(spec, open_training_data(spec).train)
    assert str(error.value) == (
        "extra 1.0 (sampler 'endless') failed on 24 samples: TypeError: object of type 'function' has no len()"
    )
