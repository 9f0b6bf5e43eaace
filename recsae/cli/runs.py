"""``recsae runs``: what has been trained, and how far each run has come."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsae.cli.options import JsonOption, WarehouseOption
from recsae.cli.output import cell, json_text, note, table_text

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("run", "kind", "data set", "model", "status", "result", "started", "seconds", "stages")


def runs(warehouse: WarehouseOption = Path("warehouse"), as_json: JsonOption = False) -> None:
    """List the runs of the warehouse, latest first; times are UTC.

    \b
    Example:
      recsae runs
    """
    from recsae.warehouse import Warehouse

    with Warehouse.open(warehouse, read_only=True) as store:
        frame, metrics = store.runs(), store.key_metrics()
    records = [with_metrics(row, metrics) for row in frame.to_dicts()]
    if as_json:
        sys.stdout.write(json_text(records))
    elif records:
        numeric = [column == "seconds" for column in COLUMNS]
        sys.stdout.write(table_text(COLUMNS, [table_row(row) for row in records], numeric))
    else:
        note("no runs yet; recsae run ml-100k makes some")


def with_metrics(row: dict[str, Any], metrics: pl.DataFrame) -> dict[str, Any]:
    """A run with its final metrics as ``{split: {metric: value}}``."""
    own: dict[str, dict[str, float]] = {}
    for run_id, split, metric, value in metrics.iter_rows():
        if run_id == row["run_id"]:
            own.setdefault(split, {})[metric] = value
    return {**row, "metrics": own}


def table_row(row: dict[str, Any]) -> list[str]:
    """Cells of a run in the order of COLUMNS."""
    from recsae.warehouse.runs import KEY_METRICS

    shown = [
        f"{metric} {row['metrics'][split][metric]:.4f}"
        for split, metric in KEY_METRICS[row["kind"]]
        if row["metrics"].get(split, {}).get(metric) is not None
    ]
    return [
        row["run_id"],
        row["kind"],
        row["dataset"],
        row["model"],
        row["status"],
        "\n".join(shown),
        f"{row['started']:%Y-%m-%d %H:%M}",
        "" if row["seconds"] is None else f"{row['seconds']:.1f}",
        " ".join(cell(stage) for stage in row["stages"]),
    ]
