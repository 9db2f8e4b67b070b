"""How steps are computed: what "auto" chooses, and what compiling may not change."""

from __future__ import annotations

import functools
import json

import pytest
import torch
from torch import nn

import clscli
from clscli.engine import compilation
from clscli.engine.checkpoint import load_checkpoint
from clscli.engine.compilation import is_worth_compiling
from clscli.engine.device import Execution
from clscli.engine.prepare import prepare
from clscli.errors import Interrupted, TrainingError
from clscli.observer import Observer
from clscli.spec import load_spec

CPU = torch.device("cpu")
FLOAT32 = Execution("float32", channels_last=False, threads=1)


@pytest.fixture(autouse=True)
def _own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CLSCLI_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def traced(monkeypatch):
    """Let torch trace models as if to compile them, which takes no time; return the batch sizes that it traced."""
    sizes = []

    def backend(graph, inputs):
        sizes.extend(x.shape[0] for x in inputs if not isinstance(x, nn.Parameter) and x.dtype == torch.uint8)
        return graph

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    yield sizes
    torch._dynamo.reset()


def run(spec, out="run"):
    return clscli.train(spec, out=out, device="cpu")


def execution(run="run"):
    return load_checkpoint(f"{run}/last.pth").training["execution"]


def test_what_auto_chose_is_kept_for_the_machine(tiny, tmp_path):
    tiny["train"] |= {"epochs": 1, "precision": "auto"}
    run(tiny)
    file = tmp_path / "cache/execution.json"
    ((key, kept),) = json.loads(file.read_text()).items()
    assert kept == execution()
    other = kept | {"precision": "float32", "channels_last": not kept["channels_last"], "threads": 1}
    file.write_text(json.dumps({key: other}))
    run(tiny, "again")
    assert execution("again") == other


def test_a_cache_that_cannot_be_read_is_measured_again(tiny, tmp_path):
    tiny["train"] |= {"epochs": 1, "precision": "auto"}
    run(tiny)
    file = tmp_path / "cache/execution.json"
    file.write_text(json.dumps(dict.fromkeys(json.loads(file.read_text()), "float32")))
    run(tiny, "again")
    (kept,) = json.loads(file.read_text()).values()
    assert kept == execution("again")


def test_compiling_changes_neither_the_names_of_weights_nor_evaluation(tiny, traced):
    plain = run(tiny, "plain")
    tiny["train"]["compile"] = True
    compiled = run(tiny)
    assert traced == [8]  # 24 pictures in batches of 8; validation is of 8 and 4, and not compiled
    assert execution()["compiled"] is True
    saved, expected = (load_checkpoint(f"{name}/last.pth").weights for name in ("run", "plain"))
    assert list(saved) == list(expected)
    for name, value in expected.items():
        torch.testing.assert_close(saved[name], value, rtol=1e-3, atol=1e-4)
    assert compiled.last["train_loss"] == pytest.approx(plain.last["train_loss"], rel=1e-4)


def test_every_size_of_batch_is_compiled_before_the_run(tiny, traced, caplog):
    tiny["data"]["batch_size"] = 7  # 24 pictures: 6, 6, 6, 6
    tiny["train"] |= {"compile": True, "epochs": 1}
    run(tiny)
    assert traced == [6]
    tiny["data"]["batch_size"] = 5  # 5, 5, 5, 5, 4
    with caplog.at_level("INFO", logger="clscli"):
        run(tiny, "two")
    assert traced == [6, 4, 5]
    assert "compiling the model for batches of 4 and 5 pictures" in caplog.messages


def test_a_resumed_run_is_compiled_again_and_ends_the_same(tiny, traced):
    tiny["train"]["compile"] = True
    tiny["data"]["batch_size"] = 5
    run(tiny, "straight")

    class StopsInTheSecondEpoch(Observer):
        ticks = 0

        def tick(self, amount):
            self.ticks += 1
            if self.ticks == 10:
                raise Interrupted("test")

    with pytest.raises(Interrupted):
        clscli.train(tiny, out="run", device="cpu", observer=StopsInTheSecondEpoch())
    assert load_checkpoint("run/last.pth").training["progress"]["epoch"] == 1
    torch._dynamo.reset()
    traced.clear()
    assert clscli.resume("run", device="cpu").last["epoch"] == 3
    assert traced == [4, 5]
    first, second = (load_checkpoint(f"{name}/last.pth").weights for name in ("straight", "run"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def fail_to_compile(monkeypatch):
    def backend(graph, inputs):
        raise RuntimeError("no working C++ compiler\nlook at page 7")

    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))


def test_a_model_that_must_be_compiled_and_cannot_is_refused_before_the_run(tiny, tmp_path, monkeypatch):
    fail_to_compile(monkeypatch)
    tiny["train"]["compile"] = True
    with pytest.raises(TrainingError) as info:
        run(tiny)
    message = str(info.value)
    assert message.startswith("train.compile = true: the model cannot be compiled here: ")
    assert "no working C++ compiler" in message
    assert message.endswith('-- write false, or "auto", which compiles only what can be compiled')
    assert "\n" not in message
    assert not (tmp_path / "run").exists()


def test_under_auto_a_model_that_cannot_be_compiled_is_trained_as_it_is(tiny, monkeypatch, caplog):
    monkeypatch.setattr(compilation, "_FEWEST_IMAGES", 0)
    monkeypatch.setattr(compilation, "_LONG_RUN_SECONDS", 0.0)
    fail_to_compile(monkeypatch)
    with caplog.at_level("INFO", logger="clscli"):
        run(tiny)
    assert execution()["compiled"] is False
    (note,) = [line for line in caplog.messages if line.startswith("note: the model is not compiled: ")]
    assert "no working C++ compiler" in note


def test_a_run_that_was_compiled_goes_on_where_it_cannot_be(tiny, monkeypatch, caplog):
    tiny["train"]["epochs"] = 1
    run(tiny)
    data = torch.load("run/last.pth", weights_only=True)
    data["training"]["execution"]["compiled"] = True
    data["spec"]["train"]["epochs"] = 2
    torch.save(data, "run/last.pth")
    fail_to_compile(monkeypatch)
    with caplog.at_level("INFO", logger="clscli"):
        clscli.resume("run", device="cpu")
    assert any(line.startswith("note: the model is not compiled: ") for line in caplog.messages)
    assert execution()["compiled"] is False


@pytest.mark.parametrize(
    ("plain", "compiled", "compiling", "expected"),
    [
        (1.0, 0.5, 5.0, True),  # 36 s saved
        (1.0, 0.5, 50.0, False),  # less than twice what it costs
        (1.0, 0.95, 0.1, False),  # within the noise
        (1.0, 1.5, 0.1, False),
    ],
)
def test_a_long_run_is_compiled_if_that_saves_more_than_it_costs(
    tiny, monkeypatch, plain, compiled, compiling, expected
):
    monkeypatch.setattr(compilation, "_FEWEST_IMAGES", 72)
    monkeypatch.setattr(compilation, "_LONG_RUN_SECONDS", 72.0)
    monkeypatch.setattr(compilation, "_time_steps", lambda *_: {"plain": plain})
    tried = {"plain": plain, "compiled": compiled, "compiling": compiling}
    tries = []
    monkeypatch.setattr(compilation, "_try_compiling", lambda *_: tries.append(1) or tried)
    plan = prepare(load_spec(tiny))  # 3 epochs of 24 pictures
    assert is_worth_compiling(plan, FLOAT32, CPU) is expected
    assert is_worth_compiling(plan, FLOAT32, CPU) is expected
    assert len(tries) == 1  # the second time it is known
    shorter = prepare(load_spec(tiny, sets=["train.epochs=2"]))
    assert is_worth_compiling(shorter, FLOAT32, CPU) is False


def test_a_run_too_short_for_compiling_is_not_even_timed(tiny, monkeypatch):
    monkeypatch.setattr(compilation, "measured_once", lambda *_: pytest.fail("was timed"))
    assert is_worth_compiling(prepare(load_spec(tiny)), FLOAT32, CPU) is False


@pytest.mark.parametrize("wanted", [True, False])
def test_what_the_spec_says_is_not_questioned(tiny, monkeypatch, wanted):
    monkeypatch.setattr(compilation, "measured_once", lambda *_: pytest.fail("was timed"))
    tiny["train"]["compile"] = wanted
    assert is_worth_compiling(prepare(load_spec(tiny)), FLOAT32, CPU) is wanted


@pytest.mark.slow
def test_real_compiled_code_computes_the_same(tiny):
    tiny["train"]["epochs"] = 1
    tiny["model"]["head"]["dropout"] = 0.0  # compiled code draws other random numbers
    plain = run(tiny, "plain")
    tiny["train"]["compile"] = True
    torch._dynamo.reset()
    assert run(tiny).last["train_loss"] == pytest.approx(plain.last["train_loss"], rel=1e-3)
