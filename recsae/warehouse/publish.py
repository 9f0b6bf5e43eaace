"""Parquet folders of runs and the views over them in the schemas raw and summaries.

A view lists the folders of the runs whose stage is done, so nothing half-written is ever visible. A
summary is what a query would find in the activations, counted once: a run for which no stage has
registered one is counted when it is asked for, and so is one whose folder is found damaged or gone
when the views are made.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb

from recsae.errors import DataError
from recsae.warehouse import statements
from recsae.warehouse.catalog import absent, stored_columns
from recsae.warehouse.checksums import parquet_path
from recsae.warehouse.connection import first_line, is_shortage
from recsae.warehouse.files import is_safe, parquet_folder
from recsae.warehouse.session import Session, compare_columns
from recsae.warehouse.sql import RAW, SUMMARIES, Query, load

PUBLISHED_BY = {
    "cases": ("recommender", "train"),
    "recommendations": ("recommender", "train"),
    "activations": ("sae", "encode"),
}
"""Kind of Parquet folder -> (kind of run, stage that has to be done for it to be visible)."""

SUMMARISED_BY = {
    "item_latents": ("sae", "encode"),
    "latent_pairs": ("sae", "encode"),
    "user_concepts": ("sae", "confidence"),
    "latent_positions": ("sae", "confidence"),
}
"""The same for summaries, which a run can do without: they are what their queries find."""

KINDS = PUBLISHED_BY | SUMMARISED_BY


def relation_of(kind: str) -> str:
    """The relation that shows the Parquet folders of a kind."""
    return f"{SUMMARIES if kind in SUMMARISED_BY else RAW}.{kind}"


def columns() -> set[str]:
    """Names of the columns of all kinds."""
    return {column.name for kind in KINDS for column in load(relation_of(kind)).yields}


def kinds_of(stage: str, run_kind: str) -> list[str]:
    """Kinds of Parquet folder that a stage of such a run publishes, summaries among them."""
    return [kind for kind, made_by in KINDS.items() if made_by == (run_kind, stage)]


def needed_kinds(stage: str, run_kind: str) -> list[str]:
    """Those of them without which the stage is not done."""
    return [kind for kind in kinds_of(stage, run_kind) if kind in PUBLISHED_BY]


def refresh_views(session: Session) -> None:
    """Create the views over Parquet folders again over what is done now."""
    for kind in PUBLISHED_BY:
        query = load(relation_of(kind))
        folders = _readable(session, query, published_folders(session, kind))
        create_view(session, query, statements.parquet_view(query, folders))
    refresh_summaries(session)


def refresh_summaries(session: Session, reading: str | None = None) -> None:
    """Create the views over summaries again (only those that read a relation, when one is given).

    One reads the folders, and its query for the runs that have none.
    """
    built = stored_columns(session)
    encoded = set(_done_runs(session, "activations"))
    for query in map(load, map(relation_of, SUMMARISED_BY)):
        if reading is None or reading in query.reads:
            folders = _readable(session, query, published_folders(session, query.name))
            others = encoded - {folder.name.removeprefix("run_id=") for folder in folders}
            lacking = absent(query, built)
            text = statements.summary_view(query, folders, sorted(others), lacking)
            create_view(session, query, text)


def create_view(session: Session, query: Query, text: str) -> None:
    """Run the statement that creates the view of a query, and comment on it and its columns."""
    session.execute(text)
    for statement in statements.comments(query, "view"):
        session.execute(statement)


def _readable(session: Session, query: Query, folders: list[Path]) -> list[Path]:
    """The folders without those that are damaged or have not the columns of the header.

    These must not keep the others from being read.
    """

    def fits(some: list[Path]) -> bool:
        return _unreadable(session, f"({statements.stored_rows(query, some)})") is None

    if not folders or fits(folders):
        return folders
    return [folder for folder in folders if fits([folder]) and _problem(session, folder) is None]


def published_folders(session: Session, kind: str) -> list[Path]:
    """Folders with Parquet files of the runs whose stage is done, in order of their run ids.

    Of the summaries only those that were registered with the stage: an earlier version of the
    program makes none, and leaves those that are there.
    """
    done = [run_id for run_id in _done_runs(session, kind) if is_safe(run_id)]
    if kind in SUMMARISED_BY:
        paths = set(session.sql("select distinct parse_dirpath(path) as p from raw.files")["p"])
        done = [run_id for run_id in done if parquet_path(kind, run_id) in paths]
    folders = (parquet_folder(session.root, kind, run_id) for run_id in done)
    return [folder for folder in folders if has_parquet(folder)]


def _done_runs(session: Session, kind: str) -> list[str]:
    """Runs whose stage that makes a kind is done, in order of their ids."""
    run_kind, stage = KINDS[kind]
    return session.sql(
        "select run_id from raw.stages join raw.runs as r using (run_id) "
        "where r.kind = $kind and stage = $stage and stages.status = 'done' order by run_id",
        {"kind": run_kind, "stage": stage},
    )["run_id"].to_list()


def has_parquet(folder: Path) -> bool:
    """Whether a folder holds at least one Parquet file; one with links is not read at all."""
    files = list(folder.glob("*.parquet"))
    return bool(files) and not any(path.is_symlink() for path in (folder.parent, folder, *files))


def check_folder(session: Session, kind: str, folder: Path) -> None:
    """DataError unless the folder's Parquet files have the columns and types of the header."""
    if not has_parquet(folder):
        raise DataError(f"{kind}: no Parquet file was written into {folder}")
    if problem := _problem(session, folder):
        raise DataError(f"{kind}: {problem}")
    relation = relation_of(kind)
    stored = {c.name: c.type for c in load(relation).yields if c.name != "run_id"}
    for path in sorted(folder.glob("*.parquet")):
        described = session.probe(f"describe select * from {_one_file(path)}")
        given = dict(zip(described["column_name"], described["column_type"], strict=True))
        compare_columns(relation, given, stored)
        if wrong := [c for c in stored if given[c] != stored[c]]:
            raise DataError(f"{relation}.{wrong[0]} is {stored[wrong[0]]}, not {given[wrong[0]]}")


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
        if is_shortage(error):
            raise
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
