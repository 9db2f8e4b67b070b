"""The hook `profiler`: a trace and a table of the steps that were asked for."""

import json

from hook_runs import state_of_small_model, stop_after

from clscli import resume, train
from clscli.engine.hooks.profiler import Profiler


def test_the_trace_holds_the_steps_after_the_skipped_ones(tiny, tmp_path):
    tiny["hooks"] = [{"type": "profiler", "skip": 2, "steps": 3}]
    train(tiny, out=tmp_path / "run", device="cpu")
    events = json.loads((tmp_path / "run/trace.json").read_text())["traceEvents"]
    names = [event["name"] for event in events]
    assert {name for name in names if name.startswith("ProfilerStep")} == {
        "ProfilerStep#2",
        "ProfilerStep#3",
        "ProfilerStep#4",
    }
    table = (tmp_path / "run/profile.txt").read_text().splitlines()
    assert table[0] == "3 steps after the first 2"
    assert any("aten::convolution_backward" in line for line in table)


def test_a_run_too_short_says_so(tiny, tmp_path):
    tiny["hooks"] = [{"type": "profiler", "skip": 8, "steps": 2}]
    train(tiny, out=tmp_path / "run", device="cpu")  # nine steps
    assert not (tmp_path / "run/trace.json").exists()
    assert "note: no profile: the run ended before step 10\n" in (tmp_path / "run/train.log").read_text()


def test_a_resumed_run_is_not_profiled_again(tiny, tmp_path):
    tiny["hooks"] = [{"type": "profiler", "skip": 1, "steps": 1}]
    stop_after(4, tiny, tmp_path / "run")
    before = (tmp_path / "run/trace.json").read_bytes()
    resume(tmp_path / "run", device="cpu")
    assert (tmp_path / "run/trace.json").read_bytes() == before


def test_the_last_step_needed_is_enough(tmp_path):
    state = state_of_small_model(tmp_path)
    hook = Profiler(skip=1, steps=1)
    hook.on_run_start(state)
    for _ in range(2):
        state.model(state.model[0].weight[:, :3])
        hook.on_step_end(state)
    assert (state.run / "trace.json").exists()
    assert hook.profile is None
