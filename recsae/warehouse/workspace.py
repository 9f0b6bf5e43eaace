"""A database in memory in which a stage computes, while the warehouse stays free for others.

It starts with what one run needs: the rows of its data set and of the relations that earlier stages
stored, and views over its Parquet files. The interactions, which may be many, are copied to Parquet
as well and are not held in memory. Only the finished result goes back, in one short transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Self

import polars as pl

from recsae.errors import DataError
from recsae.warehouse import statements
from recsae.warehouse.connection import connect
from recsae.warehouse.files import parquet_folder, temp_folder
from recsae.warehouse.publish import PUBLISHED_BY, has_parquet
from recsae.warehouse.runs import Run
from recsae.warehouse.session import Session, Trace
from recsae.warehouse.sql import load, stages
from recsae.warehouse.store import Warehouse

DATASET_RELATIONS = ("raw.items", "raw.item_tags")
INTERACTIONS = "raw.interactions"


class Workspace(Session):
    """Builds relations of one SAE run out of the .sql files."""

    @classmethod
    @contextmanager
    def open(
        cls, root: Path, run: Run, relations: Sequence[str] = (), trace: Trace | None = None
    ) -> Iterator[Self]:
        """Copy what ``run`` (an SAE run) needs, and its rows of the stored ``relations``.

        What does not fit into memory lies in a temporary folder of the warehouse, which goes at the
        end; that of a process that was killed goes when the warehouse is next opened.
        """
        root = root.resolve()
        with temp_folder(root, run.run_id) as temp:
            interactions = temp / "interactions.parquet"
            with Warehouse.open(root, read_only=True) as warehouse:
                # as of now: other content may have taken the name of its data set over
                dataset = {"d": warehouse.run(run.run_id).dataset}
                copies = {name: _rows(warehouse, name, run) for name in ("raw.runs", *relations)}
                for name in DATASET_RELATIONS:
                    copies[name] = warehouse.sql(statements.rows_of(name), dataset)
                rows = statements.rows_of(INTERACTIONS)
                warehouse.execute(statements.copy_parquet(rows, interactions), dataset)
            workspace = cls(connect(None, root, read_only=False, wait=0), root, read_only=False)
            workspace._trace = trace
            try:
                workspace.execute(statements.spill_to(temp / "spill"))
                workspace._start(run, copies, interactions)
                yield workspace
            finally:
                workspace.close()

    def _start(self, run: Run, copies: Mapping[str, pl.DataFrame], interactions: Path) -> None:
        for stage in stages():
            self.execute(f"create schema if not exists {statements.name(stage)}")
        for relation, frame in copies.items():
            self.execute(statements.create_table(load(relation)))
            self.insert(relation, frame)
        self.execute(statements.file_view(load(INTERACTIONS), interactions))
        for kind in PUBLISHED_BY:
            query, folder = load(f"raw.{kind}"), parquet_folder(self.root, kind, _owner(kind, run))
            self.execute(statements.parquet_view(query, [folder] if has_parquet(folder) else []))

    def sources(self, run: Run) -> dict[str, str]:
        """Queries for the Parquet relations of the run and its recommender, by relation."""
        found = {}
        for kind in PUBLISHED_BY:
            owner = _owner(kind, run)
            folder = parquet_folder(self.root, kind, owner)
            if has_parquet(folder):
                found[f"raw.{kind}"] = statements.of_run(load(f"raw.{kind}"), owner, folder)
        return found

    def build(self, relation: str, params: Mapping[str, object], *, append: bool = False) -> None:
        """Make (or append to) a relation from its file, with the parameters that it takes.

        ``params`` may hold more than those. What was built before under the name is replaced unless
        ``append``. The grain is not checked here but when the result is stored.
        """
        query = load(relation)
        if missing := [p.name for p in query.params if p.name not in params]:
            raise DataError(f"{relation} needs the parameter {missing[0]}")
        if not append:
            self.execute(f"drop table if exists {statements.name(relation)}")
        self.execute(statements.create_table(query))
        self.execute(statements.insert_query(query), {p.name: params[p.name] for p in query.params})

    def replace(self, relation: str, frame: pl.DataFrame) -> None:
        """Make ``frame`` the rows of a relation."""
        self.execute(f"delete from {statements.name(relation)}")
        self.insert(relation, frame)

    def frame(self, relation: str) -> pl.DataFrame:
        """All rows of a relation."""
        return self.sql(f"from {statements.name(relation)}")


def _owner(kind: str, run: Run) -> str:
    """Which of an SAE run and its recommender publishes a kind of Parquet folder."""
    return run.run_id if PUBLISHED_BY[kind][0] == "sae" else str(run.parent_run_id)


def _rows(warehouse: Warehouse, relation: str, run: Run) -> pl.DataFrame:
    """The rows of one run, ready to be inserted elsewhere."""
    warehouse.require_relation(relation)
    return warehouse.sql(
        f"select * from {statements.name(relation)} where run_id = $run_id",
        {"run_id": run.run_id},
    )
