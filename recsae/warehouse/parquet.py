"""Order the rows of a Parquet file on disk, within the memory limit of the database."""

from __future__ import annotations

from collections.abc import Sequence
from math import isqrt
from pathlib import Path

from recsae.warehouse import statements
from recsae.warehouse.connection import connect
from recsae.warehouse.session import Session

ROW_GROUP = 122_880


def cluster(
    source: Path, target: Path, order: Sequence[str], root: Path, *, blocks: str | None = None
) -> None:
    """Write ``source`` sorted by ``order`` to ``target`` (zstd), spilling to disk when needed.

    With ``blocks``, an integer column, the file is first cut into equal ranges of it, and each is
    sorted by ``order``. Of G row groups a query about one value of ``blocks``, and one about one
    value of the first column of ``order``, then both read about the square root of G: whoever reads
    the file knows the least and greatest values of each row group and leaves out the others.
    """
    session = Session(connect(None, root, read_only=False, wait=0), root, read_only=False)
    file = f"read_parquet({statements.literal(str(source))})"
    columns = [statements.name(column) for column in order]
    params: dict[str, object] = {}
    try:
        if blocks is not None and (params := _blocks(session, file, blocks)):
            columns.insert(0, f"({statements.name(blocks)} - $low) // $width")
        session.execute(
            f"copy (select * from {file} order by {', '.join(columns)}) "
            f"to {statements.literal(str(target))} "
            f"(format parquet, compression zstd, row_group_size {ROW_GROUP})",
            params,
        )
    finally:
        session.close()


def _blocks(session: Session, file: str, column: str) -> dict[str, object]:
    """Least value and width of the ranges of a column; empty when one holds all."""
    name = statements.name(column)
    query = f"select count(*), min({name}), max({name}) from {file}"
    n, low, high = session.sql(query).row(0)
    n_blocks = isqrt(n // ROW_GROUP)
    return {"low": low, "width": -(-(high - low + 1) // n_blocks)} if n_blocks > 1 else {}
