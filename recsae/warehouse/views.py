"""The views for people in schema main: made from their files, with a comment on each column.

They are part of the database, so any DuckDB client shows them. A relation that no stage has built
yet stands in them as an empty one, so that a view can be asked from the first day on.
"""

from __future__ import annotations

from recsae.warehouse import publish, statements
from recsae.warehouse.catalog import absent, stored_columns
from recsae.warehouse.session import Session
from recsae.warehouse.sql import VIEWS, queries


def refresh_people_views(session: Session, reading: str | None = None) -> None:
    """Create the views again (only those that read a relation, when one is given).

    The summaries that read it come first, as some of these read them.
    """
    if reading is not None:
        publish.refresh_summaries(session, reading)
    built = stored_columns(session)
    for query in queries(VIEWS):
        if reading is None or reading in query.reads:
            text = statements.people_view(query, absent(query, built))
            publish.create_view(session, query, text)
