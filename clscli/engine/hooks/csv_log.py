"""Write the metrics as a table."""

from __future__ import annotations

import csv
from typing import ClassVar

from clscli.engine.hooks import HookState
from clscli.engine.hooks.records import epoch_scalars
from clscli.files import atomic_write

_NAME = "metrics.csv"


class CSVLog:
    """Write `metrics.csv` into the run directory: one row an epoch, for spreadsheets and pandas.

    Columns are epoch, step, learning rate, training loss, speed, and the metrics of the validation, which are
    empty for epochs without one at their end. A validation in the middle of an epoch has a row of its own. A
    resumed run goes on with the table of the run before.
    """

    main_only: ClassVar[bool] = True

    def on_epoch_end(self, state: HookState) -> None:
        """Write the table anew: a kill leaves the old one, and a resumed epoch replaces its own rows."""
        now = (state.epoch + 1, state.step)
        path = state.run / _NAME
        rows: list[dict[str, object]] = []
        if path.is_file():
            with path.open(newline="", encoding="utf-8") as file:
                rows = [dict(row) for row in csv.DictReader(file) if (int(row["epoch"]), int(row["step"])) < now]
        metrics = state.metrics if state.validated else {}
        rows.append({"epoch": now[0], "step": now[1], **epoch_scalars(state), **metrics})
        columns = list(dict.fromkeys(name for row in rows for name in row))
        with atomic_write(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)

    on_validation_end = on_epoch_end  # of an epoch's end, both write the same row
