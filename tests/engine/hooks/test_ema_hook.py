"""The hook `ema`: the average is the right one, is what counts, and survives a resume."""

import copy

import pytest
import torch
from hook_runs import rows, state_of_small_model, stop_after

from clscli import evaluate, resume, train
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.hooks.ema import EMA


@pytest.fixture
def three_steps(tiny):
    """A spec of one epoch of three steps."""
    return tiny | {"train": {"epochs": 1, "precision": "float32"}}


@pytest.fixture
def record_weights(plugin):
    """Install the hook `record`, which keeps the weights before the first step and after every one."""
    plugin(
        "hooks",
        record="recording:Record",
        recording="""
        SEEN = []

        class Record:
            def keep(self, state):
                SEEN.append({name: tensor.clone() for name, tensor in state.model.state_dict().items()})

            on_run_start = on_step_end = keep
        """,
    )


def averaged(run):
    """Return the average, as the hook keeps it in the last checkpoint."""
    return load_checkpoint(run / "last.pth").training["hooks"][0]


@pytest.mark.parametrize(
    ("options", "decays"),
    [
        ({"decay": 0.9, "warmup": False}, [0.9, 0.9, 0.9]),
        ({"decay": 0.9999}, [1 / 10, 2 / 11, 3 / 12]),
        ({"decay": 0.15}, [1 / 10, 0.15, 0.15]),
        ({"decay": 0.5, "warmup": False, "every": 2}, [None, 0.5, None]),
    ],
)
def test_the_average_after_three_steps_is_that_of_the_formula(
    three_steps, record_weights, tmp_path, options, decays
):
    three_steps["hooks"] = [{"type": "ema", **options}, {"type": "record"}]
    train(three_steps, out=tmp_path / "run", device="cpu")
    import recording

    first, *steps = recording.SEEN
    expected = {name: tensor.double() for name, tensor in first.items()}
    for weights, decay in zip(steps, decays, strict=True):
        if decay is not None:
            for name, tensor in weights.items():
                expected[name] = decay * expected[name] + (1 - decay) * tensor.double()
    kept = averaged(tmp_path / "run")
    assert kept["updates"] == sum(decay is not None for decay in decays)
    for name, tensor in kept["weights"].items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-5, atol=1e-7)
    counters = [tensor for name, tensor in kept["weights"].items() if name.endswith("num_batches_tracked")]
    assert {int(counter) for counter in counters} == {2 if options.get("every") == 2 else 3}


def test_the_average_is_what_is_validated_and_saved_as_best(three_steps, tmp_path):
    three_steps["hooks"] = [{"type": "ema", "decay": 0.5}]
    result = train(three_steps, out=tmp_path / "run", device="cpu")
    best, last = load_checkpoint(tmp_path / "run/best.pth"), load_checkpoint(tmp_path / "run/last.pth")
    kept = averaged(tmp_path / "run")["weights"]
    assert all(torch.equal(best.weights[name], kept[name]) for name in kept)
    assert any(not torch.equal(best.weights[name], last.weights[name]) for name in kept)
    assert evaluate(tmp_path / "run/best.pth", device="cpu").loss == pytest.approx(result.best["loss"])
    assert evaluate(tmp_path / "run/last.pth", device="cpu").loss != pytest.approx(result.best["loss"])


def test_training_is_the_same_with_and_without(three_steps, tmp_path):
    train(three_steps, out=tmp_path / "without", device="cpu")
    train(three_steps | {"hooks": [{"type": "ema"}]}, out=tmp_path / "with", device="cpu")
    without, with_ = (load_checkpoint(tmp_path / run / "last.pth").weights for run in ("without", "with"))
    assert all(torch.equal(without[name], with_[name]) for name in without)


def test_a_resumed_average_is_that_of_a_run_never_stopped(tiny, tmp_path):
    tiny["hooks"] = [{"type": "ema", "decay": 0.9, "every": 2}]
    train(tiny, out=tmp_path / "straight", device="cpu")
    stop_after(4, tiny, tmp_path / "stopped")  # steps, of three an epoch: in the middle of the second
    resume(tmp_path / "stopped", device="cpu")
    straight, stopped = averaged(tmp_path / "straight"), averaged(tmp_path / "stopped")
    assert stopped["updates"] == straight["updates"] == 4
    assert all(torch.equal(stopped["weights"][name], straight["weights"][name]) for name in straight["weights"])
    assert rows(tmp_path / "stopped") == rows(tmp_path / "straight")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_an_update_does_not_wait_for_the_gpu(tmp_path):
    state = state_of_small_model(tmp_path)
    state.model.to("cuda")
    hook = EMA()
    hook.on_run_start(state)
    state.step = 1
    torch.cuda.set_sync_debug_mode("error")
    try:
        hook.on_step_end(state)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert hook.updates == 1


def test_the_average_takes_no_part_in_training(tmp_path):
    state = state_of_small_model(tmp_path)
    hook = EMA()
    hook.on_run_start(state)
    before = copy.deepcopy(state.eval_model.state_dict())
    with torch.no_grad():
        for parameter in state.model.parameters():
            parameter.add_(1)
    assert all(torch.equal(before[name], tensor) for name, tensor in state.eval_model.state_dict().items())
    assert not any(parameter.requires_grad for parameter in state.eval_model.parameters())
    assert not state.eval_model.training


@pytest.mark.parametrize("decay", [1, -0.1])
def test_a_decay_that_is_none_is_refused(clscli, tiny_file, decay):
    done = clscli("train", tiny_file, "--set", f"hooks=[{{type='ema',decay={float(decay)}}}]", "--dry-run")
    assert done.code == 2
    assert "hooks.0.decay: must be" in done.err
