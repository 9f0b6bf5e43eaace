"""``recsae schema``: what is in the warehouse, relation by relation and column by column."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsae.cli.options import JsonOption, WarehouseOption
from recsae.cli.output import cell, exact, json_text, note, write_text
from recsae.cli.table import table_text
from recsae.errors import DataError, UsageError

if TYPE_CHECKING:
    from recsae.warehouse import Warehouse

PATIENCE = 2.0
"""Seconds for counting the rows of a view, or finding its first; then they stay open."""

WIDTH = 40
"""Letters of an example value in a table."""


def schema(
    relation: Annotated[
        str | None,
        typer.Argument(metavar="RELATION", help="View, or SCHEMA.TABLE; default: list them all."),
    ] = None,
    as_json: JsonOption = False,
    upgrade: Annotated[
        bool,
        typer.Option(
            "--upgrade", help="First bring an older warehouse up to date, for every DuckDB."
        ),
    ] = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """List the views and tables of the warehouse, or the columns of one.

    The comments are in the database, so any DuckDB client shows them too.

    \b
    Example:
      recsae schema
      recsae schema latents
      recsae schema confidence.scores --json
    """
    from recsae.warehouse import Warehouse

    if upgrade:
        brought_up_to_date(warehouse)
    with Warehouse.open(warehouse, read_only=True) as store:
        known = relations(store)
        if relation is None:
            counted = [{**row, "rows": n_rows(store, row["relation"])} for row in known]
            write_records(counted, as_json)
            return
        about = chosen(known, relation)
        columns = described(store, about["relation"])
    if as_json:
        write_records([{**about, "columns": columns}], as_json)
        return
    sys.stdout.write(f"{about['relation']} ({about['kind']}): {about['comment']}\n\n")
    write_records([{**row, "example": short(row["example"])} for row in columns], as_json)


def brought_up_to_date(root: Path) -> None:
    """The present layout, in a file that every supported DuckDB reads."""
    from recsae.warehouse import Warehouse
    from recsae.warehouse.connection import STORAGE
    from recsae.warehouse.storage import lower_storage
    from recsae.warehouse.store import WAIT

    with Warehouse.open(root) as store:
        note(f"{store.root} has the present layout")
    if before := lower_storage(root, wait=WAIT):
        note(f"its database is written anew for DuckDB {STORAGE} and later; {before} was needed")


def relations(store: Warehouse) -> list[dict[str, Any]]:
    """Views of schema main first, then the tables in the order of the stages."""
    from recsae.warehouse.sql import VIEWS, stages

    frame = store.sql(
        "select schema_name as schema, table_name as name, comment from duckdb_tables() "
        "where not internal and database_name = current_database() union all "
        "select schema_name, view_name, comment from duckdb_views() "
        "where not internal and database_name = current_database() order by all"
    )
    order = {stage: number for number, stage in enumerate([VIEWS, *stages()[:-1]])}
    rows = sorted(frame.rows(), key=lambda row: (order.get(row[0], len(order)), row[1]))
    return [
        {
            "relation": name if schema == VIEWS else f"{schema}.{name}",
            "kind": "view" if schema == VIEWS else "table",
            "comment": comment,
        }
        for schema, name, comment in rows
    ]


def chosen(known: list[dict[str, Any]], name: str) -> dict[str, Any]:
    """The relation of a name; UsageError with the nearest ones when there is none."""
    by_name = {row["relation"]: row for row in known}
    found = by_name.get(name) or by_name.get(name.removeprefix("main."))
    if found is None:
        near = difflib.get_close_matches(name, by_name, n=3) or list(by_name)
        raise UsageError(f"no relation is called {name!r}", f"there is {', '.join(near)}")
    return found


def n_rows(store: Warehouse, relation: str) -> int | None:
    """Rows of a relation; None when they are not counted soon enough or cannot be read."""
    from recsae.warehouse.statements import name

    try:
        frame = store.stoppable(f"select count(*) from {name(relation)}", seconds=PATIENCE)
    except DataError:
        return None
    return int(frame.item())


def described(store: Warehouse, relation: str) -> list[dict[str, Any]]:
    """Columns with type, comment, and the value in one row."""
    from recsae.warehouse.statements import name

    schema, table = (relation if "." in relation else f"main.{relation}").split(".")
    columns = store.sql(
        "select column_name as column, data_type as type, comment from duckdb_columns() "
        "where schema_name = $schema and table_name = $table "
        "and database_name = current_database() order by column_index",
        {"schema": schema, "table": table},
    )
    try:
        rows = store.stoppable(f"select * from {name(relation)} limit 1", seconds=PATIENCE)
    except DataError:
        rows = None
    first = (
        {one.name: exact(one)[0] for one in rows.iter_columns()}
        if rows is not None and len(rows)
        else {}
    )
    return [{**row, "example": first.get(row["column"])} for row in columns.to_dicts()]


def short(value: object) -> str:
    """An example value as it fits into a table."""
    text = "" if value is None else cell(value)
    return text if len(text) <= WIDTH else text[: WIDTH - 3] + "..."


def write_records(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Rows as JSON or as a table; what is not known is empty there."""
    if as_json:
        sys.stdout.write(json_text(rows))
        return
    columns = list(rows[0]) if rows else []
    texts = [["" if row[c] is None else cell(row[c]) for c in columns] for row in rows]
    write_text(table_text(columns, texts, [column == "rows" for column in columns]), paged=True)
