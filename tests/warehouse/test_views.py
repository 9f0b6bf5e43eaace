"""The views for people: there from the first day, commented, and readable by any client."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

from recsae.warehouse import Warehouse, load, queries, statements
from recsae.warehouse.sql import VIEWS
from recsae.warehouse.workspace import Workspace

if TYPE_CHECKING:
    from stages.finished import Finished

NAMES = [query.name for query in queries(VIEWS)]
CLIENT = """
import json, sys, duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
names = json.loads(sys.argv[2])
counts = {name: connection.sql(f"select count(*) from {name}").fetchall()[0][0] for name in names}
about = connection.sql("select comment from duckdb_views() where view_name = 'latents'").fetchall()
assert "recsae" not in sys.modules
print(json.dumps([counts, about[0][0]]))
"""
"""A program that knows nothing but DuckDB."""


def counted(root: Path) -> dict[str, int]:
    with Warehouse.open(root, read_only=True) as warehouse:
        return {name: warehouse.sql(f"select count(*) from {name}").item() for name in NAMES}


def test_the_names_that_are_promised() -> None:
    promised = {"latents", "concepts", "concept_groups", "user_latents", "item_latents"}
    promised |= {"latent_neighbours", "user_concepts", "latent_positions"}
    assert promised <= set(NAMES)
    assert all(load(name).stage == VIEWS for name in NAMES)


def test_any_client_reads_them_from_anywhere(whole: Finished, tmp_path: Path) -> None:
    database = whole.root / "recsae.duckdb"
    words = [sys.executable, "-c", CLIENT, str(database), json.dumps(NAMES)]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=True)
    counts, about = json.loads(done.stdout)
    assert counts == counted(whole.root)
    assert all(count > 0 for count in counts.values())
    assert about == f"{load('latents').purpose} Grain: run_id, latent_id."


def test_nothing_in_the_warehouse_lacks_a_comment(whole: Finished) -> None:
    with duckdb.connect(str(whole.root / "recsae.duckdb"), read_only=True) as connection:
        relations = connection.sql(
            "select schema_name, table_name, comment from duckdb_tables() union all "
            "select schema_name, view_name, comment from duckdb_views() where not internal"
        ).fetchall()
        columns = connection.sql(
            "select schema_name, table_name, column_name, comment from duckdb_columns() "
            "where not internal"
        ).fetchall()
    assert len(relations) > len(NAMES)
    assert [row for row in (*relations, *columns) if not row[-1]] == []


def test_groups_are_of_the_true_tags(whole: Finished) -> None:
    """The permuted rounds, which come before them, leave other tags behind."""
    relations = ("staging.cases", "staging.level_edges", "concepts.concept_tags")
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        run = warehouse.run(whole.sae)
        stored = warehouse.sql("from confidence.concept_groups order by all")
    with Workspace.open(whole.root, run, (*relations, "confidence.scores")) as workspace:
        for relation in ("staging.activation_levels", "confidence.concept_groups"):
            workspace.build(relation, {"run_id": whole.sae})
        built = workspace.sql("from confidence.concept_groups order by all")
    assert len(built) > 1
    assert built["latent_ids"].list.len().max() > 1
    assert stored.equals(built)


def test_each_row_of_the_grain_is_one(whole: Finished) -> None:
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        for name in NAMES:
            warehouse.check(f"{VIEWS}.{name}")


def test_they_are_there_before_any_stage(root: Path) -> None:
    assert counted(root) == dict.fromkeys(NAMES, 0)


def test_a_latent_shows_before_it_has_a_name(filled: Path) -> None:
    text = "select latent_id, label, status from latents order by latent_id"
    with Warehouse.open(filled) as warehouse:
        assert warehouse.sql(text).rows() == [(n, None, None) for n in range(4)]
        query = load("concepts.labels")
        values = {"run_id": "sae-1", "latent_id": 2, "label": "War", "n_shared": 1}
        frame = warehouse.sql(statements.no_rows(query))
        row = pl.DataFrame([{**dict.fromkeys(frame.columns), **values}], schema=frame.schema)
        warehouse.replace_rows("concepts.labels", "sae-1", row)
        assert warehouse.sql(text).rows()[2] == (2, "War", None)


def test_a_table_of_another_layout_does_not_break_them(filled: Path) -> None:
    with duckdb.connect(str(filled / "recsae.duckdb")) as connection:
        connection.execute("create table confidence.scores (run_id integer)")
        connection.execute("update raw.meta set value = 'old' where key = 'headers'")
    for read_only in (True, False):
        with Warehouse.open(filled, read_only=read_only) as warehouse:
            assert warehouse.sql("select status from latents").height == 4


def test_read_only_shows_the_views_of_this_program(filled: Path) -> None:
    with duckdb.connect(str(filled / "recsae.duckdb")) as connection:
        connection.execute("drop view latents")
        connection.execute("update raw.meta set value = 'old' where key = 'headers'")
    before = (filled / "recsae.duckdb").read_bytes()
    assert counted(filled)["latents"] == 4
    assert (filled / "recsae.duckdb").read_bytes() == before


def test_in_a_moved_folder(own: Finished, tmp_path: Path) -> None:
    here = counted(own.root)
    elsewhere = tmp_path / "else where"
    shutil.move(own.root, elsewhere)
    assert counted(elsewhere) == here
    with Warehouse.open(elsewhere, read_only=True) as warehouse:
        about = warehouse.sql("select comment from duckdb_views() where view_name = 'scores'")
    assert about.item().startswith("everything known about how well")
    with Warehouse.open(elsewhere):
        pass
    with duckdb.connect(str(elsewhere / "recsae.duckdb"), read_only=True) as connection:
        rows = connection.sql("select count(*) from user_latents").fetchall()
    assert rows == [(here["user_latents"],)]


@pytest.mark.parametrize("query", queries(VIEWS), ids=lambda query: query.name)
def test_every_reference_can_be_stood_in_for(query: object) -> None:
    """In a database without any other schema."""
    with duckdb.connect() as connection:
        for view in queries(VIEWS):
            absent = [load(name) for name in view.reads if not name.startswith("main.")]
            connection.execute(statements.people_view(view, absent))
            assert connection.sql(f"from {view.name}").fetchall() == []
            if view == query:
                break
