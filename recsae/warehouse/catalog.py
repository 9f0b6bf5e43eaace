"""Which relations the database has, beside what the headers of the .sql files say."""

from __future__ import annotations

from recsae.warehouse.session import Session
from recsae.warehouse.sql import VIEWS, Column, Query, load

Built = dict[str, dict[str, str]]
"""Relation -> its columns with their types."""


def stored_columns(session: Session) -> Built:
    """Column names and types of every relation of the database."""
    frame = session.sql(
        "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and not internal order by all"
    )
    found: Built = {}
    for relation, column, kind in frame.rows():
        found.setdefault(relation, {})[column] = kind
    return found


def absent(query: Query, built: Built) -> list[Query]:
    """Relations read by a query that cannot be read as their headers say.

    Views for people are made in the order of reading, so those are there.
    """
    return [one for one in map(load, query.reads) if not (one.stage == VIEWS or _fits(one, built))]


def _fits(query: Query, built: Built) -> bool:
    return built.get(query.full_name) == {column.name: column.type for column in query.yields}


def added_columns(query: Query, built: Built) -> list[Column]:
    """Columns of the header that a stored relation lacks; none if more than that is different."""
    stored = built.get(query.full_name)
    if stored is None:
        return []
    missing = [column for column in query.yields if column.name not in stored]
    wanted = {column.name: column.type for column in query.yields if column.name in stored}
    return missing if stored == wanted else []
