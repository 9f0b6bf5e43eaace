"""Text of the statements that the store runs: built here, executed elsewhere, so tests can read it.

Values are bound; only names and the paths inside views, which cannot be bound, are quoted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from recsae.warehouse.sql import Column, Query


def name(text: str) -> str:
    """Quote an identifier; a dotted relation name is quoted part by part."""
    return ".".join('"' + part.replace('"', '""') + '"' for part in text.split("."))


def literal(text: str) -> str:
    """Quote a text value."""
    return "'" + text.replace("'", "''") + "'"


def create_table(query: Query) -> str:
    """Empty table with the columns of the header."""
    columns = ", ".join(f"{name(column.name)} {column.type}" for column in query.yields)
    return f"create table if not exists {name(query.full_name)} ({columns})"


def add_column(query: Query, column: Column) -> str:
    """Give the table of a query one column more."""
    return f"alter table {name(query.full_name)} add column {name(column.name)} {column.type}"


def widened_view(query: Query, new: Iterable[Column]) -> str:
    """View over the table of the attached database ``stored``, with columns that it lacks."""
    relation = name(query.full_name)
    columns = ", ".join(f"null::{column.type} as {name(column.name)}" for column in new)
    return f"create or replace view {relation} as select *, {columns} from stored.{relation}"


def insert_query(query: Query) -> str:
    """Append the result of a query to the table of the same name."""
    return f"insert into {name(query.full_name)} by name (\n{query.text.rstrip().rstrip(';')}\n)"


def insert_frame(table: str, nulls: Sequence[str]) -> str:
    """Append the frame ``inserted``, columns matched by name; ``nulls`` have no values."""
    replaced = ", ".join(f"null as {name(column)}" for column in nulls)
    columns = f"* replace ({replaced})" if nulls else "*"
    return f"insert into {name(table)} by name select {columns} from inserted"


def comments(query: Query, kind: str) -> Iterator[str]:
    """COMMENT ON the relation (kind: table or view) and each of its columns."""
    relation = name(query.full_name)
    about = f"{query.purpose} Grain: {', '.join(query.grain) or 'one row'}."
    yield f"comment on {kind} {relation} is {literal(about)}"
    for column in query.yields:
        yield f"comment on column {relation}.{name(column.name)} is {literal(column.text)}"


def people_view(query: Query, absent: Iterable[Query]) -> str:
    """View of a query; relations that have not been built yet are empty ones inside it."""
    return f"create or replace view {name(query.full_name)} as\n{_body(query, absent)}"


def _body(query: Query, absent: Iterable[Query]) -> str:
    """Text of a query without its header; relations that are absent are empty ones in it."""
    text = "\n".join(line for line in query.text.splitlines() if not line.startswith("--"))
    for missing in absent:
        reference = rf"\b{re.escape(missing.full_name)}\b"
        text = re.sub(reference, f"({no_rows(missing)})", text)
    return text


def summary_view(
    query: Query, folders: Sequence[Path], runs: Sequence[str], absent: Iterable[Query]
) -> str:
    """View over the Parquet folders of a summary, and over its query for the ``runs`` without one.

    A filter on run_id reads the folder or runs the query, not both.
    """
    parts = [stored_rows(query, folders)] if folders else []
    if runs:
        ids = ", ".join(map(literal, runs))
        parts.append(f"select * from (\n{_body(query, absent)}\n) where run_id in ({ids})")
    text = "\nunion all\n".join(parts or [no_rows(query)])
    return f"create or replace view {name(query.full_name)} as\n{text}"


def no_rows(query: Query) -> str:
    """Query with the columns of a header and no rows."""
    columns = ", ".join(f"null::{column.type} as {name(column.name)}" for column in query.yields)
    return f"select {columns} where false"


def parquet_view(query: Query, folders: Sequence[Path]) -> str:
    """View over the Parquet files of the named ``run_id=...`` folders, or over nothing.

    The folders are listed one by one rather than by a pattern, so that a folder whose stage is not
    registered stays invisible. A filter on run_id opens only that run's files.
    """
    rows = stored_rows(query, folders) if folders else no_rows(query)
    return f"create or replace view {name(query.full_name)} as {rows}"


def stored_rows(query: Query, folders: Sequence[Path]) -> str:
    """Query for the columns of the header in hive-partitioned folders."""
    columns = ", ".join(name(column.name) for column in query.yields)
    return f"select {columns} from {read_parquet(folders)}"


def read_parquet(folders: Iterable[Path]) -> str:
    """Table function over hive-partitioned folders; run_id stays text whatever it looks like."""
    files = ", ".join(literal(f"{glob_escape(folder)}/*.parquet") for folder in folders)
    return f"read_parquet([{files}], hive_partitioning = true, hive_types_autocast = false)"


def file_view(query: Query, path: Path) -> str:
    """View over one Parquet file that has the columns of the header."""
    columns = ", ".join(name(column.name) for column in query.yields)
    file = literal(glob_escape(path))
    return (
        f"create or replace view {name(query.full_name)} as select {columns} "
        f"from read_parquet({file}, hive_partitioning = false)"
    )


def of_run(query: Query, run_id: str, folder: Path) -> str:
    """Query for the Parquet files in a folder as rows of a run, wherever the folder is."""
    columns = ", ".join(name(column.name) for column in query.yields if column.name != "run_id")
    files = literal(f"{glob_escape(folder)}/*.parquet")
    return (
        f"select {literal(run_id)} as run_id, {columns} "
        f"from read_parquet({files}, hive_partitioning = false)"
    )


def part_view(query: Query, source: str, where: str | None) -> str:
    """View of a relation over a query for its rows, or over a part of them."""
    condition = f" where {where}" if where else ""
    return f"create or replace view {name(query.full_name)} as from ({source}){condition}"


def ordered(query: Query, text: str) -> str:
    """The rows of a query without their run, in the order of its grain."""
    columns = [name(column.name) for column in query.yields if column.name != "run_id"]
    order = [name(column) for column in query.grain if column != "run_id"]
    return f"select {', '.join(columns)} from (\n{text}\n) order by {', '.join(order)}"


def added_up(query: Query, n_summed: int, folder: Path) -> str:
    """Rows of the Parquet files in a folder, those of the same grain as one with their sums."""
    columns = [column for column in query.yields if column.name != "run_id"]
    kept = [name(column.name) for column in columns[:-n_summed]]
    sums = [f"sum({name(c.name)})::{c.type} as {name(c.name)}" for c in columns[-n_summed:]]
    files = literal(f"{glob_escape(folder)}/*.parquet")
    return (
        f"select {', '.join(kept + sums)} from read_parquet({files}, hive_partitioning = false) "
        f"group by {', '.join(kept)} order by {', '.join(kept)}"
    )


def rows_of(relation: str) -> str:
    """Query for the rows of the data set ``$d`` in a relation."""
    return f"select * from {name(relation)} where dataset = $d"


def copy_parquet(query: str, path: Path) -> str:
    """Write the result of a query to a Parquet file, a few row groups at a time."""
    return f"copy ({query}) to {literal(str(path))} (format parquet, compression zstd)"


def spill_to(folder: Path) -> str:
    """Have the database put what does not fit into memory into a folder."""
    return f"set temp_directory = {literal(str(folder))}"


def glob_escape(folder: Path) -> str:
    """A path as a pattern that matches only itself."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in str(folder))


def duplicate_rows(relation: str, grain: Sequence[str], where: str) -> str:
    """Rows that share their grain, or have a NULL in it; five at most."""
    columns = ", ".join(name(column) for column in grain)
    nulls = " or ".join(f"{name(column)} is null" for column in grain)
    return (
        f"select {columns}, count(*) as n_rows from {name(relation)} where {where} "
        f"group by all having n_rows > 1 or {nulls} order by all limit 5"
    )
