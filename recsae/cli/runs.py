"""``recsae runs``: what has been trained, and how far each run has come."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsae.cli.options import JsonOption, WarehouseOption
from recsae.cli.output import cell, json_text, note

if TYPE_CHECKING:
    import polars as pl


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
        sys.stdout.writelines(f"{line}\n" for line in lines(records))
    else:
        note("no runs yet; recsae run ml-100k makes some")


def with_metrics(row: dict[str, Any], metrics: pl.DataFrame) -> dict[str, Any]:
    """A run with its final metrics as ``{split: {metric: value}}``."""
    own: dict[str, dict[str, float]] = {}
    for run_id, split, metric, value in metrics.iter_rows():
        if run_id == row["run_id"]:
            own.setdefault(split, {})[metric] = value
    return {**row, "metrics": own}


def lines(records: list[dict[str, Any]]) -> Iterator[str]:
    """A line per run with id, status and times, and under it what it is and how far it has come."""
    width = max(len(cell(row["run_id"])) for row in records)
    yield f"{'run':{width}}  status   started (UTC)     seconds"
    for row in records:
        seconds = "" if row["seconds"] is None else f"{row['seconds']:.1f}"
        started = f"{row['started']:%Y-%m-%d %H:%M}"
        status = cell(row["status"])
        yield f"{cell(row['run_id']):{width}}  {status:7}  {started}  {seconds:>7}".rstrip()
        of = f" of {cell(row['parent_run_id'])}" if row["parent_run_id"] else ""
        yield f"  {cell(row['model'])} on {cell(row['dataset'])}{of}"
        done = "done: " + (" ".join(cell(stage) for stage in row["stages"]) or "nothing yet")
        yield "  " + "  ".join(filter(None, (results(row), done)))


def results(row: dict[str, Any]) -> str:
    """The key metrics of a run as words."""
    from recsae.warehouse.runs import KEY_METRICS

    shown = (
        f"{metric} {row['metrics'][split][metric]:.4f}"
        for split, metric in KEY_METRICS[row["kind"]]
        if row["metrics"].get(split, {}).get(metric) is not None
    )
    return ", ".join(shown)
