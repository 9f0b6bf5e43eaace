"""The format of the database file, and how one of a later format becomes readable everywhere.

A file made by recsae has the oldest format that DuckDB writes. One made by DuckDB 2 before that was
so is read as it is, by DuckDB 2 alone, until ``recsae schema --upgrade`` writes it anew.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb

from recsae.errors import DataError
from recsae.warehouse import statements
from recsae.warehouse.connection import STORAGE, connect, first_line, storage_error
from recsae.warehouse.files import DATABASE, temp_folder
from recsae.warehouse.session import Session


def storage_of(session: Session) -> str:
    """The oldest DuckDB that reads the file, such as v1.0.0."""
    found = session.sql(
        "select tags['storage_version'] as version from duckdb_databases() "
        "where database_name = current_database()"
    )
    return str(found.item()).removesuffix("+")


def lower_storage(root: Path, *, wait: float) -> str | None:
    """Write the database in the format STORAGE; the format it had, None when it was that already.

    The new file takes the place of the old one when all is in it, while a lock keeps writers out,
    so a kill leaves the one or the other. DataError when another process is using the database.
    """
    root = root.resolve()
    place = root / DATABASE
    session = Session(connect(place, root, read_only=True, wait=wait), root, read_only=True)
    try:
        if (before := storage_of(session)) == STORAGE:
            return None
        if Path(f"{place}.wal").exists():  # what a killed process wrote belongs to the old file
            raise DataError(f"the warehouse {root} has just been written to", "repeat the command")
        with temp_folder(root, "storage") as temp:
            _copy(session, temp / DATABASE)
            shutil.copymode(place, temp / DATABASE)
            os.replace(temp / DATABASE, place.resolve())
        return before
    except (duckdb.Error, OSError) as error:
        reason = f"the database {place} cannot be written for DuckDB {STORAGE}: {first_line(error)}"
        raise storage_error(error, root) or DataError(f"{reason}; it is as it was") from None
    finally:
        session.close()


def _copy(session: Session, target: Path) -> None:
    """Everything in the open database, also what is not of recsae, as a new file."""
    (source,) = session.sql("select current_database()").row(0)
    session.execute(
        f"attach {statements.literal(str(target))} as lowered "
        f"(read_write, storage_version {statements.literal(STORAGE)})"
    )
    session.execute(f"copy from database {statements.name(source)} to lowered")
    session.execute("detach lowered")
