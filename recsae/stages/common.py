"""What every stage does around its work: skip when done, lock, register, publish or mark failed."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsae.errors import RecsaeError
from recsae.progress import Reporter
from recsae.warehouse import Warehouse, run_lock, temp_folder
from recsae.warehouse.checksums import describe_files, register_files
from recsae.warehouse.connection import storage_error
from recsae.warehouse.record import keep_record
from recsae.warehouse.runs import Stage

Register = Callable[[Warehouse], None]
"""Registers a run before its first stage starts."""


@dataclass(frozen=True)
class StageRun:
    """A stage that is running: where to put files, and how to end it."""

    root: Path
    run_id: str
    stage: Stage
    temp: Path
    """Empty folder on the warehouse's disk; what is left in it at the end is removed."""
    started: float

    def folder(self, name: str) -> Path:
        """A new folder inside the temporary one."""
        path = self.temp / name
        path.mkdir()
        return path

    def publish(
        self,
        folders: Mapping[str, Path] | None = None,
        relations: Mapping[str, pl.DataFrame] | None = None,
        metrics: pl.DataFrame | None = None,
        *,
        ends_run: bool = False,
    ) -> None:
        """Make Parquet folders, relations and metrics visible together and mark the stage done.

        ``ends_run`` marks the run done as well, which the training stage does.
        """
        # before the database is opened, which keeps all others out
        files = describe_files(self.root, self.run_id, self.stage, folders or {})
        with Warehouse.open(self.root) as warehouse:
            with warehouse.transaction():
                register_files(warehouse, self.run_id, self.stage, files)
                for relation, frame in (relations or {}).items():
                    warehouse.replace_rows(relation, self.run_id, frame)
                seconds, peak = time.monotonic() - self.started, peak_memory_mb()
                warehouse.publish(
                    self.run_id,
                    self.stage,
                    folders or {},
                    seconds=seconds,
                    peak_memory_mb=peak,
                    metrics=metrics,
                )
                if ends_run:
                    warehouse.finish_run(self.run_id, seconds)
            with suppress(OSError):  # the stage is done without it, and recsae check misses it
                keep_record(warehouse, self.run_id)


@contextmanager
def open_stage(
    root: Path,
    run_id: str,
    stage: Stage,
    params: Mapping[str, Any],
    identity: str,
    *,
    force: bool,
    reporter: Reporter,
    register: Register | None = None,
) -> Iterator[StageRun | None]:
    """Run a stage in a with block; yields None when it is already done with this ``identity``.

    The run is locked for other processes meanwhile. An error marks the stage failed (and the run,
    if the stage makes it); a kill leaves it running, and the next call starts it again. A full disk
    or one that may not be written to is a DataError that says so.
    """
    with _plain_storage_errors(root), run_lock(root, run_id):
        with Warehouse.open(root) as warehouse:
            if not force and warehouse.stage_done(run_id, stage, identity):
                reporter.note(f"{stage} {run_id}: already done")
                with suppress(OSError):
                    keep_record(warehouse, run_id)  # a kill may have come before it
                yield None
                return
            reset_peak_memory()
            if register:
                register(warehouse)
            warehouse.require_places(run_id, stage)
            warehouse.start_stage(run_id, stage, params, identity)
        started = time.monotonic()
        try:
            with temp_folder(root, run_id) as temp:
                yield StageRun(root, run_id, stage, temp, started)
        except BaseException:
            _mark_failed(root, run_id, stage)
            raise


@contextmanager
def _plain_storage_errors(root: Path) -> Iterator[None]:
    try:
        yield
    except RecsaeError:
        raise
    except Exception as error:  # each of the libraries that write has its own
        if known := storage_error(error, root):
            raise known from error
        raise


def _mark_failed(root: Path, run_id: str, stage: Stage) -> None:
    # the error itself matters more than this note about it
    with suppress(RecsaeError, OSError), Warehouse.open(root) as warehouse:
        warehouse.fail_stage(run_id, stage)


def final_metrics(metrics: Mapping[str, float], split: str) -> pl.DataFrame:
    """Metrics of the finished model as rows for the warehouse (epoch 0)."""
    return metric_rows([{"epoch": 0, **metrics}], split)


def metric_rows(rows: list[dict[str, float]], split: str) -> pl.DataFrame:
    """One row per epoch and metric, out of one mapping per epoch with the key ``epoch``."""
    long = [
        (split, int(row["epoch"]), name, float(value))
        for row in rows
        for name, value in row.items()
        if name != "epoch"
    ]
    return pl.DataFrame(long, schema=METRICS, orient="row")


METRICS: dict[str, Any] = {
    "split": pl.String,
    "epoch": pl.Int32,
    "metric": pl.String,
    "value": pl.Float64,
}


def reset_peak_memory() -> None:
    """Start a new count of peak memory where the system allows it (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory_mb() -> float:
    """Most memory (MB, resident) of this process since the last reset, or since its start."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
