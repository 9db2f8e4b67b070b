"""Average the weights of the best epochs into one more model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from clscli.engine.checkpoint import save_checkpoint
from clscli.engine.evaluate import evaluate
from clscli.engine.hooks import HookState
from clscli.engine.monitor import goodness, main_metric
from clscli.models.fields import PositiveInt


class ModelAverage:
    """Average the weights of the best `k` epochs when the run ends, and save them as `average.pth`.

    The best are chosen by `train.monitor`, ties by the loss; a run of fewer validated epochs averages all. Epochs
    count that have a validation at their end, not those with one in their middle alone. The average is evaluated,
    and its metrics are logged and saved with it: eval and predict take `average.pth` as they take `best.pth`. With
    the hook `ema`, it is an average of its averages.

    Statistics of batch norm are averaged like the weights, not computed anew over the training pictures: epochs
    of one run lie close together, and a pass over all pictures would cost as much as an epoch. Until the end, the
    weights of the best epochs are kept in the run directory, under `average/`. Priority 100: after `ema`.

    Izmailov et al., "Averaging Weights Leads to Wider Optima and Better Generalization", 2018; Wortsman et al.,
    "Model soups", 2022.
    """

    priority: ClassVar[int] = 100
    main_only: ClassVar[bool] = True
    needs_whole_model: ClassVar[bool] = True

    def __init__(self, *, k: PositiveInt = 5) -> None:
        self.k = k
        self.best: list[tuple[float, float, int]] = []  # (goodness, -loss, epoch), the best first

    def on_epoch_end(self, state: HookState) -> None:
        """Keep the weights of this epoch if it is among the best."""
        if not state.validated:
            return
        epoch = state.epoch + 1
        entry = (*goodness(state.metrics, state.monitor), epoch)
        # sorted() is stable: of equal epochs the earlier one stays in front.
        ranked = sorted([*self.best, entry], key=lambda e: e[:2], reverse=True)
        self.best, dropped = ranked[: self.k], ranked[self.k :]
        if entry in self.best:
            model = state.model if state.eval_model is None else state.eval_model
            _weights_file(state, epoch).parent.mkdir(exist_ok=True)
            save_checkpoint(model.state_dict(), _weights_file(state, epoch))
        for *_, old in dropped:
            _weights_file(state, old).unlink(missing_ok=True)

    def on_run_end(self, state: HookState) -> None:
        """Average, evaluate and save; nothing of that for a run that was complete before."""
        if not self.best:  # stopped by another hook before the first validation
            state.log("note: no average: no epoch was validated before the run ended")
            return
        epochs = sorted(epoch for *_, epoch in self.best)
        files = [_weights_file(state, epoch) for epoch in epochs]
        path = state.run / "average.pth"
        if all(file.exists() for file in files):
            self._write_average(state, files, path)
            metrics = torch.load(path, weights_only=True)["metrics"]
            name = main_metric(metrics)
            state.log(
                f"average of the best epochs, {', '.join(map(str, epochs))}: "
                f"val_loss {metrics['loss']:.4f}  {name} {100 * metrics[name]:.2f} %, saved as {path}"
            )
        elif not path.exists():
            state.log(f"note: no average: the weights of the best epochs are gone from {files[0].parent}")
        shutil.rmtree(state.run / "average", ignore_errors=True)

    def _write_average(self, state: HookState, files: Sequence[Path], path: Path) -> None:
        # All but weights and metrics is as in the checkpoint of any epoch.
        data = torch.load(state.run / "best.pth", map_location="cpu", weights_only=True)
        data["weights"] = average_weights(files)
        save_checkpoint(data, path)
        data["metrics"] = evaluate(path, device=str(state.device)).summary()
        save_checkpoint(data, path)

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume; the weights are in files of their own."""
        return {"best": self.best}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a saved state."""
        self.best = [(value, loss, epoch) for value, loss, epoch in state["best"]]


def average_weights(files: Sequence[Path]) -> dict[str, Tensor]:
    """Return the mean of the state dicts in some files; what is no floating-point number is the last one's."""
    total: dict[str, Tensor] = {}
    for file in files:
        weights = torch.load(file, map_location="cpu", weights_only=True)
        for name, tensor in weights.items():
            # Summed up in double precision, so that the sum of many epochs loses nothing.
            is_summed = name in total and tensor.is_floating_point()
            total[name] = total[name] + tensor if is_summed else _widened(tensor)
    return {
        name: (total[name] / len(files)).to(tensor.dtype) if tensor.is_floating_point() else tensor
        for name, tensor in weights.items()
    }


def _widened(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def _weights_file(state: HookState, epoch: int) -> Path:
    return state.run / "average" / f"epoch-{epoch}.pth"
