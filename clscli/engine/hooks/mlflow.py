"""Log to MLflow."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, ClassVar

from clscli.engine.hooks import HookState
from clscli.engine.hooks.extras import import_extra
from clscli.engine.hooks.records import epoch_scalars, spec_values
from clscli.toml import Path, dotted

# What MLflow's servers take in one request.
_MAX_PARAMS = 100


class MLflow:
    """Log the spec and the metrics of every epoch to MLflow.

    `tracking_uri` is a server or a local store; without it MLflow decides, by MLFLOW_TRACKING_URI or its local
    default. The run is called `name`, or as its directory; every value of the spec is a parameter of it, under
    its dotted name. Metrics are logged over optimizer steps. A resumed run goes on under its id. Needs
    `pip install 'clscli[mlflow]'`.
    """

    main_only: ClassVar[bool] = True

    def __init__(
        self, *, experiment: str = "clscli", name: str | None = None, tracking_uri: str | None = None
    ) -> None:
        self.mlflow = import_extra("mlflow", "mlflow")
        self.experiment = experiment
        self.name = name
        self.tracking_uri = tracking_uri
        self.id: str | None = None
        self.client: Any = None

    def on_run_start(self, state: HookState) -> None:
        """Begin a run there, or go on with it.

        Through a client of our own: MLflow's functions would share one active run with everybody else.
        """
        self.client = self.mlflow.MlflowClient(self.tracking_uri)
        if self.id is not None:
            return
        found = self.client.get_experiment_by_name(self.experiment)
        experiment = self.client.create_experiment(self.experiment) if found is None else found.experiment_id
        self.id = self.client.create_run(experiment, run_name=self.name or state.run.name).info.run_id
        parameters = [self.mlflow.entities.Param(*pair) for pair in _leaves(spec_values(state))]
        for first in range(0, len(parameters), _MAX_PARAMS):
            self.client.log_batch(self.id, params=parameters[first : first + _MAX_PARAMS])

    def on_validation_end(self, state: HookState) -> None:
        """Log the metrics."""
        self._log(state.metrics, state.step)

    def on_epoch_end(self, state: HookState) -> None:
        """Log the epoch."""
        self._log({"epoch": state.epoch + 1, **epoch_scalars(state)}, state.step)

    def _log(self, numbers: dict[str, float], step: int) -> None:
        now, metric = int(1000 * time.time()), self.mlflow.entities.Metric
        metrics = [metric(name, value, now, step) for name, value in numbers.items()]
        self.client.log_batch(self.id, metrics=metrics)

    def on_run_end(self, state: HookState) -> None:
        """Mark the run as finished."""
        self.client.set_terminated(self.id)

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume."""
        return {"id": self.id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the run of this id."""
        self.id = state["id"]


def _leaves(value: Any, path: Path = ()) -> Iterator[tuple[str, str]]:
    """Walk over the values of a nested table: `("optimizer.lr", "0.001")`."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _leaves(inner, (*path, key))
    else:
        yield dotted(path), str(value)
