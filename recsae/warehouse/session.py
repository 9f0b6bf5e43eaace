"""An open warehouse as a connection: queries, transactions, typed inserts and grain checks."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from recsae.errors import DataError, RecsaeError
from recsae.warehouse import statements
from recsae.warehouse.connection import storage_error
from recsae.warehouse.sql import load

Trace = Callable[[str, Mapping[str, object]], None]
"""Called with the text and the bound values of every statement before it runs."""

REBUILD = {
    "cases": "{command} --force",
    "recommendations": "{command} --force",
    "activations": "recsae sae encode {run_id} --force",
}
"""Command that writes the Parquet files of a kind again; those of a summary: recsae repair."""

_PARQUET = re.compile(r"((?<![^/\"' ])[a-z_]+/run_id=[^/\"]+/[^\"'\n]*\.parquet)")
_NOT_IN_POLARS = re.compile(r"\b(INTERVAL|UNION|BIGNUM|VARIANT|UHUGEINT|BIT)\b")
_STEP = 0.05
"""Seconds between two looks at a query that runs beside."""

_WIDER = {
    ("INTEGER", "BIGINT"),
    ("FLOAT", "DOUBLE"),
    ("VARCHAR", "JSON"),
    ("JSON", "VARCHAR"),
}
"""(given, stored) types between which a value keeps its meaning."""


class Session:
    """One connection; everything that reaches the database passes here."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        root: Path,
        *,
        read_only: bool,
        trace: Trace | None = None,
    ) -> None:
        self.root = root
        """Absolute path of the warehouse folder."""
        self.read_only = read_only
        self._connection = connection
        self._trace = trace
        self._depth = 0

    def close(self) -> None:
        """Close the connection, which also frees the file for other processes."""
        self._connection.close()

    def sql(
        self, text: str, params: Mapping[str, object] | None = None, *, limit: int | None = None
    ) -> pl.DataFrame:
        """Run a query with ``$name`` parameters; at most ``limit`` rows of its result."""
        with self._explained(text, params):
            relation = self._connection.sql(text, params=dict(params or {}))
            if relation is None:
                return pl.DataFrame()
            if limit is not None:
                relation = relation.limit(limit)
            frame: pl.DataFrame = _readable(relation).pl()
            return frame

    def stoppable(
        self,
        text: str,
        params: Mapping[str, object] | None = None,
        *,
        limit: int | None = None,
        seconds: float | None = None,
    ) -> pl.DataFrame:
        """``sql`` that control-C ends at once, and a DataError after ``seconds``.

        The query runs beside this thread, because Python acts on a signal only between its own
        steps and a query is one of them.
        """
        work = _Beside(lambda: self.sql(text, params, limit=limit))
        try:
            work.start()
            if not work.waited(seconds):
                raise DataError(
                    f"the query was stopped after {seconds:g} seconds", "allow more with --timeout"
                )
        finally:
            work.stop(self._connection.interrupt)
        return work.result()

    def probe(self, text: str, params: Mapping[str, object] | None = None) -> pl.DataFrame:
        """Run a query beside the transaction, which goes on if it fails; sees what is committed."""
        if self._trace:
            self._trace(text, params or {})
        with self._connection.cursor() as beside:
            frame: pl.DataFrame = beside.sql(text, params=dict(params or {})).pl()
            return frame

    def execute(self, text: str, params: Mapping[str, object] | None = None) -> None:
        """Run a statement without a result."""
        with self._explained(text, params):
            self._connection.execute(text, dict(params) if params else None)

    @contextmanager
    def _explained(self, text: str, params: Mapping[str, object] | None) -> Iterator[None]:
        if self._trace:
            self._trace(text, params or {})
        try:
            yield
        except duckdb.Error as error:
            known = self._parquet_error(error) or storage_error(error, self.root)
            if known is None:
                raise
            raise known from error

    def _parquet_error(self, error: Exception) -> RecsaeError | None:
        """A Parquet file that is gone or cut short, with the command that writes it again."""
        if not (match := _PARQUET.search(str(error))):
            return None
        kind, folder, _ = match[1].split("/", 2)
        run_id = folder.removeprefix("run_id=")
        again = REBUILD.get(kind, "recsae repair {run_id}")
        hint = again.format(run_id=run_id, command=self._made_by(run_id))
        return DataError(f"{self.root / match[1]} is missing or damaged", hint)

    def _made_by(self, run_id: str) -> str:
        """The command that made a run; with MODEL and DATASET when nothing is known of it."""
        with suppress(duckdb.Error):
            found = self.probe(
                "select coalesce(params ->> '$.command', "
                "'recsae train ' || model || ' ' || dataset) as command "
                "from raw.runs where run_id = $run_id",
                {"run_id": run_id},
            )
            for row in found.to_dicts():
                return str(row["command"])
        return "recsae train MODEL DATASET"

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside take effect together or not at all; may be nested."""
        self._depth += 1
        try:
            if self._depth == 1:
                self.execute("begin transaction")
            yield
            if self._depth == 1:
                self.execute("commit")
        except BaseException:
            if self._depth == 1:
                self._rollback()
            raise
        finally:
            self._depth -= 1

    def _rollback(self) -> None:
        try:
            self.execute("rollback")
        except duckdb.TransactionException:  # the failed commit has ended it already
            return

    def exists(self, relation: str) -> bool:
        """Whether a table or view ``schema.name`` is there."""
        schema, table = relation.split(".")
        found = self.sql(
            "select 1 from information_schema.tables "
            "where table_schema = $schema and table_name = $table",
            {"schema": schema, "table": table},
        )
        return len(found) > 0

    def columns(self, relation: str) -> dict[str, str]:
        """Column names and DuckDB types of a relation, in order."""
        frame = self.sql(f"describe select * from {statements.name(relation)}")
        return dict(zip(frame["column_name"], frame["column_type"], strict=True))

    def insert(self, table: str, frame: pl.DataFrame) -> int:
        """Append a frame, its columns matched by name; DataError when one is missing or mistyped.

        Returns the number of rows.
        """
        # DuckDB 1 takes a column of nothing but NULL for numbers
        nulls = [column for column, kind in frame.schema.items() if kind == pl.Null]
        self._connection.register("inserted", frame)
        try:
            given = self.columns("inserted") | dict.fromkeys(nulls, "NULL")
            compare_columns(table, given, self.columns(table))
            self.execute(statements.insert_frame(table, nulls))
        finally:
            with suppress(duckdb.Error):  # refused after a failure, which is what must be told
                self._connection.unregister("inserted")
        return len(frame)

    def check(self, relation: str, key: str | None = None) -> None:
        """DataError showing the rows that repeat the grain of the header or have a NULL in it.

        ``key`` restricts the check to one value of the first grain column (run_id or dataset).
        """
        grain = load(relation).grain
        if not grain:
            return
        where = "true" if key is None else f"{statements.name(grain[0])} = $key"
        params = {} if key is None else {"key": key}
        rows = self.sql(statements.duplicate_rows(relation, grain, where), params)
        if len(rows):
            shown = "; ".join(str(row) for row in rows.to_dicts())
            raise DataError(f"{relation}: not one row per ({', '.join(grain)}): {shown}")


class _Beside(threading.Thread):
    """A query in a thread of its own."""

    def __init__(self, query: Callable[[], pl.DataFrame]) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self._query = query
        self._frame: pl.DataFrame | None = None
        self._error: BaseException | None = None

    def run(self) -> None:
        try:
            self._frame = self._query()
        except BaseException as error:
            self._error = error
        finally:
            self.ended.set()

    def waited(self, seconds: float | None) -> bool:
        """Wait for its end, at most ``seconds``; whether it has ended.

        In short steps, because a signal that another thread takes does not end a wait.
        """
        until = None if seconds is None else time.monotonic() + seconds
        while not self.ended.is_set():
            left = _STEP if until is None else min(_STEP, until - time.monotonic())
            if left <= 0:
                return False
            self.ended.wait(left)
        return True

    def stop(self, interrupt: Callable[[], None]) -> None:
        """Interrupt until it has ended: a query that only begins does not notice.

        Control-C may come in ``start`` itself, so a thread that never began is given a second.
        """
        tries = 0
        while not self.ended.is_set() and (self.is_alive() or tries < 20):
            tries += 1
            interrupt()
            self.ended.wait(_STEP)

    def result(self) -> pl.DataFrame:
        """What the query gave, or its error."""
        if self._error is not None:
            raise self._error
        assert self._frame is not None
        return self._frame


def compare_columns(table: str, given: Mapping[str, str], stored: Mapping[str, str]) -> None:
    """DataError naming the columns that differ between a frame and a table."""
    missing = [column for column in stored if column not in given]
    unknown = [column for column in given if column not in stored]
    if missing or unknown:
        parts = [f"lacks {', '.join(missing)}"] * bool(missing)
        parts += [f"has the unknown {', '.join(unknown)}"] * bool(unknown)
        raise DataError(f"{table}: the data {' and '.join(parts)}")
    for column, kind in stored.items():
        got = given[column]
        if got not in (kind, '"NULL"', "NULL") and (got, kind) not in _WIDER:
            raise DataError(f"{table}.{column} is {kind}, but the data has {got}")


def _readable(relation: Any) -> Any:
    """Cast columns of types that polars cannot hold, also inside others, to text."""
    as_text = [bool(_NOT_IN_POLARS.search(str(kind))) for kind in relation.types]
    if not any(as_text):
        return relation
    # by place, since a result may have two columns of one name
    marks = (
        f"cast(#{place} as varchar) as {statements.name(column)}" if text else f"#{place}"
        for place, (column, text) in enumerate(zip(relation.columns, as_text, strict=True), 1)
    )
    return relation.project(", ".join(marks))
