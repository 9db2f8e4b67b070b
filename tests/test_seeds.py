"""Seeds that depend on their purpose alone."""

import os
import random
import subprocess
import sys

import numpy as np
import pytest
import torch

from clscli.seeds import seed_for, seeded


@pytest.mark.parametrize(
    ("purpose", "seed"),
    [
        ((0, "order", 0), 3471081512423777433),
        ((0, "split", "a/1.jpg"), 2013154685260608726),
        ((7, "weights"), 7666930925011844685),
    ],
)
def test_seeds_are_the_same_on_every_machine_and_in_every_version(purpose, seed):
    assert seed_for(*purpose) == seed


@pytest.mark.parametrize("hash_seed", ["0", "1"])
def test_a_seed_does_not_depend_on_the_process(hash_seed):
    program = "from clscli.seeds import seed_for; print(seed_for(3, 'order', 5))"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    printed = subprocess.check_output([sys.executable, "-c", program], env=environment)
    assert int(printed) == seed_for(3, "order", 5)


def test_purposes_have_seeds_of_their_own_which_torch_accepts():
    seeds = {seed_for(seed, what, i) for seed in range(4) for what in ("order", "augment") for i in range(500)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_names_that_are_no_valid_text_have_seeds_too():
    odd = os.fsdecode(b"caf\xe9.jpg")
    assert seed_for(0, odd) == seed_for(0, odd) != seed_for(0, "café.jpg")


def draw() -> tuple:
    return torch.rand(2).tolist(), random.random(), np.random.rand()


def test_seeded_draws_are_a_function_of_the_purpose():
    with seeded(0, "augment", 1):
        first = draw()
    torch.rand(5), random.random(), np.random.rand(3)
    with seeded(0, "augment", 1):
        again = draw()
    with seeded(0, "augment", 2):
        other = draw()
    assert again == first
    assert not set(map(str, other)) & set(map(str, first))


def test_seeded_equals_seeding_by_hand():
    seed = seed_for(0, "augment", 1)
    expected = torch.rand(2, generator=torch.Generator().manual_seed(seed)).tolist()
    python, numpy = random.Random(seed).random(), np.random.RandomState(seed % 2**32).rand()
    with seeded(0, "augment", 1):
        assert draw() == (expected, python, numpy)


@pytest.mark.parametrize("fails", [False, True])
def test_seeded_leaves_every_generator_as_it_was(fails):
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()
    expected = draw()
    torch.set_rng_state(states[0])
    random.setstate(states[1])
    np.random.set_state(states[2])
    try:
        with seeded(0, "augment"):
            draw()
            if fails:
                raise RuntimeError
    except RuntimeError:
        pass
    assert draw() == expected


def test_the_first_draw_from_numpy_is_seeded_too():
    """`import numpy` does not load `numpy.random`: the first use inside the block must not escape it."""
    program = (
        "import numpy, clscli.seeds as s\nfor _ in range(2):\n    with s.seeded(0): print(numpy.random.rand())"
    )
    first, second = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    assert first == second
