"""Numbered changes of the layout: each brings a warehouse from one version to the next.

``sql/migrations/002_name.sql`` makes version 2 out of version 1; a new warehouse starts at the last
version. A new relation, a view, a comment, or a new column of a relation that SQL builds needs none
of them: what is missing is created when a warehouse is opened for writing. Any other change of a
table does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import duckdb

from recsae.errors import DataError
from recsae.warehouse.connection import first_line
from recsae.warehouse.session import Session
from recsae.warehouse.sql import sql_folder

FIRST = 1
"""Version of a layout before any migration."""

_FILE = re.compile(r"(\d{3})_(\w+)\.sql")


class Migration(NamedTuple):
    """One file."""

    version: int
    """Layout that it makes, out of the one before."""
    name: str
    text: str
    """Statements, run as they are."""


def migrations(folder: Path | None = None) -> list[Migration]:
    """All migrations in order; DataError when a number is missing or used twice."""
    place = folder or sql_folder() / "migrations"
    found: list[Migration] = []
    for path in sorted(place.glob("*.sql")):
        match = _FILE.fullmatch(path.name)
        if match is None or int(match[1]) != FIRST + 1 + len(found):
            expected = f"{FIRST + 1 + len(found):03}_NAME.sql"
            raise DataError(f"migration {path.name} is out of order", f"expected {expected}")
        found.append(Migration(int(match[1]), match[2], path.read_text(encoding="utf-8")))
    return found


def latest(folder: Path | None = None) -> int:
    """Version of the layout that this program reads and writes."""
    return FIRST + len(migrations(folder))


def migrate(session: Session, version: int, folder: Path | None = None) -> int:
    """Apply what follows ``version``, all in the transaction of the caller; the new version.

    DataError naming the migration that fails; the caller's transaction then changes nothing.
    """
    for step in migrations(folder):
        if step.version <= version:
            continue
        try:
            session.execute(step.text)
        except duckdb.Error as error:
            raise DataError(
                f"the warehouse {session.root} stays at layout version {version}: "
                f"{step.version:03}_{step.name} failed: {first_line(error)}"
            ) from error
    return max(version, latest(folder))
