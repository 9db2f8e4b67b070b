"""Find out where the time of a training step goes."""

from __future__ import annotations

from typing import ClassVar

from torch.profiler import ProfilerActivity, profile, schedule

from clscli.engine.hooks import HookState
from clscli.files import atomic_write
from clscli.models.fields import PositiveInt

_TRACE, _TABLE = "trace.json", "profile.txt"
_NUM_OPERATORS = 30


class Profiler:
    """Profile a few training steps, on the CPU and the GPU.

    Writes into the run directory `trace.json`, for chrome://tracing and https://ui.perfetto.dev, and
    `profile.txt`, the operators that take longest. After `skip` steps, in which caches fill and kernels are
    chosen, `steps` steps are recorded; a validation between them is recorded, too. Recorded steps are slower;
    the others are not. A resumed run is profiled only if it has not been. Priority -1000: what other hooks do
    after a step counts to the next one.
    """

    priority: ClassVar[int] = -1000
    main_only: ClassVar[bool] = True

    def __init__(self, *, skip: PositiveInt = 10, steps: PositiveInt = 5) -> None:
        self.skip = skip
        self.steps = steps
        self.profile: profile | None = None

    def on_run_start(self, state: HookState) -> None:
        """Wait for the first step."""
        if (state.run / _TRACE).exists():
            return
        activities = [ProfilerActivity.CPU]
        if state.device.type == "cuda":
            activities.append(ProfilerActivity.CUDA)
        # The last skipped step is the profiler's own warmup: its first one would be slower than the others.
        phases = schedule(wait=self.skip - 1, warmup=1, active=self.steps, repeat=1)
        self.profile = profile(activities=activities, schedule=phases, acc_events=True)
        self.profile.start()

    def on_step_end(self, state: HookState) -> None:
        """Count the step, and write everything after the last one."""
        if self.profile is None:
            return
        self.profile.step()
        if self.profile.step_num < self.skip + self.steps:
            return
        self.profile.stop()
        self._write(state, self.profile)
        self.profile = None

    def on_run_end(self, state: HookState) -> None:
        """Say so if there were too few steps."""
        if self.profile is None:
            return
        self.profile.stop()
        self.profile = None
        state.log(f"note: no profile: the run ended before step {self.skip + self.steps}")

    def _write(self, state: HookState, recorded: profile) -> None:
        order = f"self_{'cuda' if state.device.type == 'cuda' else 'cpu'}_time_total"
        averages = recorded.key_averages()
        table = averages.table(sort_by=order, row_limit=_NUM_OPERATORS)
        with atomic_write(state.run / _TABLE) as temporary:
            temporary.write_text(f"{self.steps} steps after the first {self.skip}\n{table}\n", encoding="utf-8")
        with atomic_write(state.run / _TRACE) as temporary:
            recorded.export_chrome_trace(str(temporary))
        state.log(f"profiled {self.steps} steps: {state.run / _TABLE}, {state.run / _TRACE}")
