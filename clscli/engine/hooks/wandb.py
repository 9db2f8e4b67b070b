"""Log to Weights & Biases."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from clscli.engine.hooks import HookState
from clscli.engine.hooks.extras import import_extra
from clscli.engine.hooks.records import epoch_scalars, spec_values


class WandB:
    """Log the spec and the metrics of every epoch to Weights & Biases.

    The run is called `name`, or as its directory, where its local files go into `wandb/`; with
    `mode = "offline"` nothing leaves the machine until `wandb sync`. Metrics are logged over optimizer steps.
    A resumed run goes on under its id. Needs `pip install 'clscli[wandb]'`, and `wandb login` once.
    """

    main_only: ClassVar[bool] = True

    def __init__(
        self,
        *,
        project: str = "clscli",
        entity: str | None = None,
        name: str | None = None,
        tags: tuple[str, ...] = (),
        mode: Literal["online", "offline"] = "online",
    ) -> None:
        self.wandb = import_extra("wandb", "wandb")
        self.settings = {"project": project, "entity": entity, "tags": tags, "mode": mode}
        self.name = name
        self.id: str | None = None
        self.run: Any = None

    def on_run_start(self, state: HookState) -> None:
        """Begin a run there, or go on with it."""
        self.run = self.wandb.init(
            **self.settings,
            name=self.name or state.run.name,
            dir=str(state.run),
            config=spec_values(state),
            id=self.id,
            resume="allow",
        )
        self.id = self.run.id

    def on_validation_end(self, state: HookState) -> None:
        """Log the metrics."""
        self.run.log(state.metrics, step=state.step)

    def on_epoch_end(self, state: HookState) -> None:
        """Log the epoch."""
        self.run.log({"epoch": state.epoch + 1, **epoch_scalars(state)}, step=state.step)

    def on_run_end(self, state: HookState) -> None:
        """Send what has not been sent yet."""
        self.run.finish()

    def state_dict(self) -> dict[str, Any]:
        """Return what has to survive a resume."""
        return {"id": self.id}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the run of this id."""
        self.id = state["id"]
