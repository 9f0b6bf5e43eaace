"""The views for people in schema main: made from their files, with a comment on each column.

They are part of the database, so any DuckDB client shows them. A relation that no stage has built
yet stands in them as an empty one, so that a view can be asked from the first day on.
"""

from __future__ import annotations

from recsae.warehouse import statements
from recsae.warehouse.session import Session
from recsae.warehouse.sql import VIEWS, Column, Query, load, queries


def refresh_people_views(session: Session, reading: str | None = None) -> None:
    """Create the views again (only those that read a relation, when one is given)."""
    built = stored_columns(session)
    for query in queries(VIEWS):
        if reading is None or reading in query.reads:
            absent = [one for one in map(load, query.reads) if not _is_there(one, built)]
            session.execute(statements.people_view(query, absent))
            for statement in statements.comments(query, "view"):
                session.execute(statement)


def _is_there(query: Query, built: dict[str, dict[str, str]]) -> bool:
    """Whether a relation can be read as its header says; views come in the order of reading."""
    wanted = {column.name: column.type for column in query.yields}
    return query.stage == VIEWS or built.get(query.full_name) == wanted


def added_columns(query: Query, built: dict[str, dict[str, str]]) -> list[Column]:
    """Columns of the header that a stored relation lacks; none if more than that is different."""
    stored = built.get(query.full_name)
    if stored is None:
        return []
    missing = [column for column in query.yields if column.name not in stored]
    wanted = {column.name: column.type for column in query.yields if column.name in stored}
    return missing if stored == wanted else []


def stored_columns(session: Session) -> dict[str, dict[str, str]]:
    """Column names and types of every relation of the database."""
    frame = session.sql(
        "select schema_name || '.' || table_name, column_name, data_type from duckdb_columns() "
        "where database_name = current_database() and not internal order by all"
    )
    found: dict[str, dict[str, str]] = {}
    for relation, column, kind in frame.rows():
        found.setdefault(relation, {})[column] = kind
    return found
