"""The hook `model_average`: the weights of the best epochs, averaged, evaluated and saved."""

import pytest
import torch
from hook_runs import rows, state_of_small_model, stop_after

from clscli import evaluate, resume, train
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.hooks.model_average import ModelAverage, average_weights


@pytest.fixture
def keep_epochs(plugin):
    """Install the hook `keep`, which keeps the weights of every epoch."""
    plugin(
        "hooks",
        keep="keeping:Keep",
        keeping="""
        EPOCHS = {}

        class Keep:
            def on_epoch_end(self, state):
                EPOCHS[state.epoch + 1] = {name: t.clone() for name, t in state.model.state_dict().items()}
        """,
    )


def best_epochs(run, k):
    ranked = sorted(rows(run), key=lambda row: (-row["top1"], row["loss"]))
    return sorted(row["epoch"] for row in ranked[:k])


def test_the_average_is_that_of_the_best_epochs(tiny, keep_epochs, tmp_path, caplog):
    tiny["train"]["epochs"] = 5
    tiny["hooks"] = [{"type": "model_average", "k": 3}, {"type": "keep"}]
    with caplog.at_level("INFO", logger="clscli"):
        train(tiny, out=tmp_path / "run", device="cpu")
    from keeping import EPOCHS

    chosen = best_epochs(tmp_path / "run", 3)
    average = load_checkpoint(tmp_path / "run/average.pth")
    for name, tensor in average.weights.items():
        kept = [EPOCHS[epoch][name] for epoch in chosen]
        if tensor.is_floating_point():
            assert torch.equal(tensor, (sum(k.double() for k in kept) / 3).to(tensor.dtype))
        else:
            assert torch.equal(tensor, kept[-1])
    evaluation = evaluate(tmp_path / "run/average.pth", device="cpu")
    assert average.metrics == evaluation.summary()
    assert caplog.messages[-1] == (
        f"average of the best epochs, {', '.join(map(str, chosen))}: val_loss {evaluation.loss:.4f}  "
        f"top1 {100 * evaluation.top1:.2f} %, saved as {tmp_path / 'run/average.pth'}"
    )
    assert not (tmp_path / "run/average").exists()


def test_fewer_epochs_than_k_are_all_averaged(tiny, keep_epochs, tmp_path):
    tiny["train"]["epochs"] = 2
    tiny["hooks"] = [{"type": "model_average", "k": 9}, {"type": "keep"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    from keeping import EPOCHS

    average = load_checkpoint(tmp_path / "run/average.pth").weights
    name = "head.fc.weight"
    assert torch.equal(average[name], ((EPOCHS[1][name].double() + EPOCHS[2][name]) / 2).float())


@pytest.mark.parametrize("monitor", ["top1", "loss"])
def test_the_average_of_one_epoch_is_the_best(tiny, tmp_path, monitor):
    tiny["train"] |= {"epochs": 4, "monitor": monitor}
    tiny["hooks"] = [{"type": "model_average", "k": 1}]
    train(tiny, out=tmp_path / "run", device="cpu")
    average, best = (load_checkpoint(tmp_path / "run" / name).weights for name in ("average.pth", "best.pth"))
    assert all(torch.equal(average[name], best[name]) for name in best)


def test_without_a_validated_epoch_there_is_nothing_to_average(tmp_path, caplog):
    with caplog.at_level("INFO", logger="clscli"):
        ModelAverage().on_run_end(state_of_small_model(tmp_path))
    assert caplog.messages == ["note: no average: no epoch was validated before the run ended"]
    assert not (tmp_path / "average.pth").exists()


def test_with_ema_the_averages_are_averaged(tiny, tmp_path):
    tiny["train"]["epochs"] = 1
    tiny["hooks"] = [{"type": "model_average"}, {"type": "ema", "decay": 0.9}]
    train(tiny, out=tmp_path / "run", device="cpu")
    average, best = (load_checkpoint(tmp_path / "run" / name).weights for name in ("average.pth", "best.pth"))
    assert all(torch.equal(average[name], best[name]) for name in best)


def test_a_resumed_run_comes_to_the_same_average(tiny, tmp_path):
    tiny["train"]["epochs"] = 4
    tiny["hooks"] = [{"type": "model_average", "k": 2}]
    train(tiny, out=tmp_path / "straight", device="cpu")
    stop_after(8, tiny, tmp_path / "stopped")
    kept = sorted(path.name for path in (tmp_path / "stopped/average").iterdir())
    assert kept == ["epoch-1.pth", "epoch-2.pth"]
    resume(tmp_path / "stopped", device="cpu")
    straight, stopped = (load_checkpoint(tmp_path / run / "average.pth") for run in ("straight", "stopped"))
    assert all(torch.equal(straight.weights[name], stopped.weights[name]) for name in straight.weights)
    assert straight.metrics == stopped.metrics


def test_a_complete_run_keeps_its_average(tiny, tmp_path):
    tiny["train"]["epochs"] = 2
    tiny["hooks"] = [{"type": "model_average"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    before = (tmp_path / "run/average.pth").read_bytes()
    resume(tmp_path / "run", device="cpu")
    assert (tmp_path / "run/average.pth").read_bytes() == before


def test_half_precision_weights_are_summed_without_loss(tmp_path):
    # 1000 times 0.1 in bfloat16 would be far from 100.
    file = tmp_path / "weights.pth"
    torch.save({"weight": torch.full((1,), 0.1, dtype=torch.bfloat16), "count": torch.tensor(7)}, file)
    average = average_weights([file] * 1000)
    assert torch.equal(average["weight"], torch.tensor([0.1], dtype=torch.bfloat16))
    assert average["count"] == 7
