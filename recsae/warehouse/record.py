"""``runs/<run_id>/run.json``: what the database knows of a run, kept beside its files.

Written when a stage is done. With it a database that cannot be opened any more loses no run: its
rows of raw.runs, raw.stages, raw.metrics and raw.files are put into a new one, and what other
tables had is made again from the files.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsae.errors import DataError
from recsae.saving import new_file
from recsae.warehouse.checksums import RECORD, misplaced, run_path
from recsae.warehouse.files import is_safe, run_folder, safe_name
from recsae.warehouse.marks import LINK, link_to
from recsae.warehouse.publish import KINDS
from recsae.warehouse.runs import STAGES, Runs, dataset_name
from recsae.warehouse.sql import load

FORMAT = 1
TABLES = ("raw.runs", "raw.stages", "raw.metrics", "raw.files")
_KEYS = {name: name.removeprefix("raw.") for name in TABLES}
_JSON = ("params",)
_TIMES = ("started",)
_UNREADABLE = (ValueError, LookupError, TypeError, AttributeError, RecursionError, OverflowError)

Record = dict[str, Any]


def record(warehouse: Runs, run_id: str) -> Record:
    """What is to be kept of a run: its settings, and the stages that are done."""
    found: Record = {"format": FORMAT}
    for table, key in _KEYS.items():
        where = " and status = 'done'" if table == "raw.stages" else ""
        order = ", ".join(load(table).grain)
        rows = warehouse.sql(
            f"select * from {table} where run_id = $run_id{where} order by {order}",
            {"run_id": run_id},
        ).to_dicts()
        found[key] = [_plain(row) for row in rows]
    # the fingerprint says which version; its name changes when other content takes it over
    found["runs"][0]["dataset"] = dataset_name(found["runs"][0]["dataset"])
    found["parent_vectors"] = _vectors(warehouse, found["runs"][0]["parent_run_id"])
    return found


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON has it."""
    made = {**row, **{key: json.loads(row[key]) for key in _JSON if key in row}}
    return {**made, **{key: row[key].isoformat() for key in _TIMES if key in row}}


def _vectors(warehouse: Runs, run_id: str | None) -> str | None:
    """Checksum of the vectors that a run was made from."""
    if run_id is None:
        return None
    found = warehouse.sql(
        "select sha256 from raw.files where run_id = $run_id and path = $path",
        {"run_id": run_id, "path": f"{run_path(run_id)}/vectors.npy"},
    )["sha256"]
    return str(found[0]) if len(found) else None


def keep_record(warehouse: Runs, run_id: str) -> None:
    """Write the record of a run, by rename; nothing to do when it is what it was."""
    path = record_path(warehouse.root, run_id)
    text = json.dumps(record(warehouse, run_id), ensure_ascii=False, indent=1) + "\n"
    if path.is_file() and path.read_bytes() == text.encode():
        return
    partial = run_folder(warehouse.root, run_id) / f"{RECORD}.partial"
    with new_file(partial) as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.replace(partial, path)


def record_path(root: Path, run_id: str) -> Path:
    return root / run_path(safe_name("run id", run_id)) / RECORD


def record_problem(warehouse: Runs, run_id: str) -> str | None:
    """What keeps the record of a run from making it again: absent, unreadable, or behind.

    It may be ahead: a stage that is being redone is no longer done in the database.
    """
    path = record_path(warehouse.root, run_id)
    if not path.is_file():
        return "is missing"
    try:
        kept = read_record(path)
    except DataError as error:
        return error.message.removeprefix(f"{path} ")
    known = {(row["stage"], row["input_hash"]) for row in kept["stages"]}
    own = record(warehouse, run_id)["stages"]
    lacking = [row["stage"] for row in own if (row["stage"], row["input_hash"]) not in known]
    return f"does not have stage {lacking[0]}" if lacking else None


def read_record(path: Path) -> Record:
    """The record in a file; DataError when it is not one of this program."""
    try:
        if link_to(path.parents[2], path.relative_to(path.parents[2]).as_posix()):
            raise DataError(f"{path} {LINK}")
        found = json.loads(path.read_text(encoding="utf-8"))
        _require(found["format"] == FORMAT and len(found["runs"]) == 1)
        for table, key in _KEYS.items():
            _require(set(_frame(table, found[key])["run_id"]) <= {path.parent.name})
        _require_plain(found, path.parent.name)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    except (*_UNREADABLE, pl.exceptions.PolarsError):
        raise DataError(f"{path} is not a record of a run that this program can read") from None
    return dict(found)


def _require_plain(found: Record, run_id: str) -> None:
    """ValueError for names that no stage gives: the record may come from a stranger."""
    run = found["runs"][0]
    _require(is_safe(run_id) and run["kind"] in ("recommender", "sae"))
    _require(run["parent_run_id"] is None or is_safe(run["parent_run_id"]))
    _require(run["parent_run_id"] != run_id and is_safe(run["dataset"]))
    _require(isinstance(run["model"], str))
    for row in found["stages"]:
        _require(row["stage"] in STAGES and isinstance(row["params"], dict))
    _require(isinstance(run["params"], dict))
    _require(found["parent_vectors"] is None or isinstance(found["parent_vectors"], str))
    for row in found["files"]:
        _require(row["stage"] in STAGES and misplaced(run_id, row["path"], KINDS) is None)


def _require(ok: bool) -> None:
    if not ok:
        raise ValueError


def restore(warehouse: Runs, kept: Record) -> None:
    """Put the rows of a record into a database that does not have the run."""
    with warehouse.transaction():
        for table, key in _KEYS.items():
            warehouse.insert(table, _frame(table, kept[key]))
            warehouse.check(table, kept["runs"][0]["run_id"])


_POLARS: dict[str, Any] = {
    "VARCHAR": pl.String,
    "JSON": pl.String,
    "BIGINT": pl.Int64,
    "INTEGER": pl.Int32,
    "DOUBLE": pl.Float64,
    "TIMESTAMP": pl.Datetime,
}


def _frame(table: str, rows: list[dict[str, Any]]) -> pl.DataFrame:
    """Rows of a record with the columns and types of their table."""
    schema = {column.name: _POLARS[column.type] for column in load(table).yields}
    made = []
    for row in rows:
        texts = {
            key: json.dumps(row[key], ensure_ascii=False, sort_keys=True)
            for key in _JSON
            if key in schema
        }
        times = {key: datetime.fromisoformat(row[key]) for key in _TIMES if key in schema}
        full = {**row, **texts, **times}
        made.append({name: full[name] for name in schema})
    return pl.DataFrame(made, schema=schema, orient="row")
