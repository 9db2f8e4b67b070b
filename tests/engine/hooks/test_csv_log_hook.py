"""The hook `csv_log`: one row an epoch, whatever happens in between."""

import csv
import json

from hook_runs import state_of_small_model, stop_after

from clscli import resume, train
from clscli.engine.hooks.csv_log import CSVLog

TIMED = "images_per_second"


def table(run):
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_the_numbers_of_every_epoch(tiny, tmp_path):
    tiny["hooks"] = [{"type": "csv_log"}]
    train(tiny, out=tmp_path / "run", device="cpu")
    rows = table(tmp_path / "run")
    lines = (tmp_path / "run/metrics.jsonl").read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    assert list(rows[0]) == [
        *("epoch", "step", "lr", "train_loss", "images_per_second"),
        *("loss", "top1", "top5", "macro_f1", "balanced_accuracy"),
    ]
    for row, recorded in zip(rows, expected, strict=True):
        assert float(row.pop(TIMED)) > 0
        assert {name: float(cell) for name, cell in row.items()} == {name: recorded[name] for name in row}


def test_a_resumed_run_has_no_row_twice(tiny, tmp_path):
    tiny["hooks"] = [{"type": "csv_log"}]
    train(tiny, out=tmp_path / "straight", device="cpu")
    run = tmp_path / "stopped"
    stop_after(4, tiny, run)
    # As if it had been killed after the row of the second epoch, before its checkpoint.
    with (run / "metrics.csv").open("a", newline="") as file:
        csv.writer(file).writerow([2, 6, *[0] * (len(table(run)[0]) - 2)])
    resume(run, device="cpu")
    straight, stopped = (
        [{name: cell for name, cell in row.items() if name != TIMED} for row in table(tmp_path / run)]
        for run in ("straight", "stopped")
    )
    assert stopped == straight


def test_a_validation_within_an_epoch_has_a_row_of_its_own(tiny, tmp_path):
    tiny["hooks"] = [{"type": "csv_log"}]
    tiny["train"] |= {"epochs": 2, "val_every_steps": 2}  # of three an epoch
    train(tiny, out=tmp_path / "run", device="cpu")
    recorded = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [(row["epoch"], row["step"], row["top1"] != "") for row in table(tmp_path / "run")] == [
        ("1", "2", True),
        ("1", "3", False),
        ("2", "4", True),
        ("2", "6", True),
    ]
    for row, record in zip(table(tmp_path / "run"), recorded, strict=True):
        del row[TIMED]
        assert {name: float(cell) for name, cell in row.items() if cell} == {
            name: record[name] for name, cell in row.items() if cell
        }


def test_an_epoch_without_validation_leaves_its_cells_empty(tmp_path):
    state = state_of_small_model(tmp_path)
    hook = CSVLog()
    state.step, state.lr, state.train_loss, state.images_per_second = 3, 0.1, 2.0, 99.96
    hook.on_epoch_end(state)
    state.epoch, state.step = 1, 6
    state.metrics, state.validated = {"loss": 0.5}, True
    hook.on_epoch_end(state)
    assert (state.run / "metrics.csv").read_text().splitlines() == [
        "epoch,step,lr,train_loss,images_per_second,loss",
        "1,3,0.1,2.0,100.0,",
        "2,6,0.1,2.0,100.0,0.5",
    ]
