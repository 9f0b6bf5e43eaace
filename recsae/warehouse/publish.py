"""Parquet folders of runs and the views over them in schema raw.

A view lists the folders of the runs whose stage is done, so nothing half-written is ever visible.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from recsae.errors import DataError
from recsae.warehouse import statements
from recsae.warehouse.connection import first_line
from recsae.warehouse.files import parquet_folder
from recsae.warehouse.session import Session, compare_columns
from recsae.warehouse.sql import load

PUBLISHED_BY = {
    "cases": ("recommender", "train"),
    "recommendations": ("recommender", "train"),
    "activations": ("sae", "encode"),
}
"""Kind of Parquet folder -> (kind of run, stage that has to be done for it to be visible)."""


def columns() -> set[str]:
    """Names of the columns of all kinds."""
    return {column.name for kind in PUBLISHED_BY for column in load(f"raw.{kind}").yields}


def kinds_of(stage: str, run_kind: str) -> list[str]:
    """Kinds of Parquet folder that a stage of such a run publishes."""
    return [kind for kind, made_by in PUBLISHED_BY.items() if made_by == (run_kind, stage)]


def refresh_views(session: Session) -> None:
    """Create the three views again over what is done now."""
    for kind in PUBLISHED_BY:
        _refresh(session, kind)


def _refresh(session: Session, kind: str) -> None:
    query = load(f"raw.{kind}")
    folders = published_folders(session, kind)
    if folders and _unreadable(session, statements.read_parquet(folders)):
        # A damaged folder must not keep the others from being read.
        folders = [folder for folder in folders if _problem(session, folder) is None]
    session.execute(statements.parquet_view(query, folders))
    for statement in statements.comments(query, "view"):
        session.execute(statement)


def published_folders(session: Session, kind: str) -> list[Path]:
    """Folders with Parquet files of the runs whose stage is done, in order of their run ids."""
    run_kind, stage = PUBLISHED_BY[kind]
    done = session.sql(
        "select run_id from raw.stages join raw.runs as r using (run_id) "
        "where r.kind = $kind and stage = $stage and stages.status = 'done' order by run_id",
        {"kind": run_kind, "stage": stage},
    )
    folders = (parquet_folder(session.root, kind, run_id) for run_id in done["run_id"])
    return [folder for folder in folders if has_parquet(folder)]


def has_parquet(folder: Path) -> bool:
    """Whether a folder holds at least one Parquet file."""
    return any(folder.glob("*.parquet"))


def check_folder(session: Session, kind: str, folder: Path) -> None:
    """DataError unless the folder's Parquet files have the columns and types of the header."""
    if not has_parquet(folder):
        raise DataError(f"{kind}: no Parquet file was written into {folder}")
    if problem := _problem(session, folder):
        raise DataError(f"{kind}: {problem}")
    stored = {c.name: c.type for c in load(f"raw.{kind}").yields if c.name != "run_id"}
    for path in sorted(folder.glob("*.parquet")):
        described = session.probe(f"describe select * from {_one_file(path)}")
        given = dict(zip(described["column_name"], described["column_type"], strict=True))
        compare_columns(f"raw.{kind}", given, stored)
        if wrong := [c for c in stored if given[c] != stored[c]]:
            raise DataError(f"raw.{kind}.{wrong[0]} is {stored[wrong[0]]}, not {given[wrong[0]]}")


def _problem(session: Session, folder: Path) -> str | None:
    """What keeps the files of a folder from being opened, if anything."""
    for path in sorted(folder.glob("*.parquet")):
        if problem := _unreadable(session, _one_file(path)):
            return problem
    return None


def _one_file(path: Path) -> str:
    # not by hive partition: a temporary folder is named otherwise
    file = statements.literal(statements.glob_escape(path))
    return f"read_parquet({file}, hive_partitioning = false)"


def _unreadable(session: Session, source: str) -> str | None:
    """What DuckDB says against a source; asked beside the transaction, which it would end."""
    try:
        session.probe(f"select 1 from {source} limit 0")
    except duckdb.Error as error:
        return first_line(error)
    return None


def lost_folders(session: Session, kinds: Iterable[str], run_id: str) -> dict[Path, str | None]:
    """Published folders of a run that are gone (None) or damaged (what DuckDB says)."""
    lost: dict[Path, str | None] = {}
    for folder in (parquet_folder(session.root, kind, run_id) for kind in kinds):
        if not has_parquet(folder):
            lost[folder] = None
        elif problem := _problem(session, folder):
            lost[folder] = problem
    return lost
