"""Order the rows of a Parquet file on disk, within the memory limit of the database."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recsae.warehouse import statements
from recsae.warehouse.connection import connect
from recsae.warehouse.session import Session

ROW_GROUP = 122_880


def cluster(source: Path, target: Path, order: Sequence[str], root: Path) -> None:
    """Write ``source`` sorted by ``order`` to ``target`` (zstd), spilling to disk when needed.

    Rows of one latent then lie together, which makes every query about latents read a small part.
    """
    session = Session(connect(None, root, read_only=False, wait=0), root, read_only=False)
    columns = ", ".join(statements.name(column) for column in order)
    try:
        session.execute(
            f"copy (select * from read_parquet({statements.literal(str(source))}) "
            f"order by {columns}) to {statements.literal(str(target))} "
            f"(format parquet, compression zstd, row_group_size {ROW_GROUP})"
        )
    finally:
        session.close()
