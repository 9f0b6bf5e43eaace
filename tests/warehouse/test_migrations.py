"""A warehouse of an earlier layout: refused by readers, brought up to date by writers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from recsae.errors import DataError
from recsae.warehouse import Warehouse, migrations, queries
from recsae.warehouse.catalog import stored_columns
from recsae.warehouse.migrations import FIRST, latest, migrate

if TYPE_CHECKING:
    from conftest import Result

LAYOUT = Path(__file__).parent / "layout_1.sql"
RUN = "'bprmf', '{\"n_latents\": 2, \"k\": 1}', 'f', '0', 1, 'done', now()::timestamp, 1.0"
STAGE = "'{}', 'h', 'done', now()::timestamp, 1.0, 1.0"
ROWS = f"""
insert into raw.meta values ('schema_version', '1'), ('headers', 'old'), ('root', '/somewhere');
insert into raw.runs values
    ('rec', 'recommender', null, 'toy', {RUN}), ('sae', 'sae', 'rec', 'toy', {RUN});
insert into raw.stages values ('sae', 'encode', {STAGE}), ('sae', 'confidence', {STAGE});
insert into raw.decoder_items values ('sae', 0, 1, 7, 0.5), ('reset', 0, 1, 7, 0.5);
insert into raw.metrics values
    ('sae', 'heldout', 0, 'FVU', 0.1), ('forgotten', 'heldout', 0, 'FVU', 0.2);
insert into concepts.labels values ('sae', 1, 'genre:War', 'War', ['genre:War'], 1);
insert into confidence.scores (run_id, latent_id, status, confidence)
    values ('sae', 1, 'interpretable', 0.8);
"""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A warehouse as version 1 made it, with a few rows."""
    root = tmp_path / "old"
    root.mkdir()
    with duckdb.connect(str(root / "recsae.duckdb")) as connection:
        connection.execute(LAYOUT.read_text(encoding="utf-8"))
        connection.execute(ROWS)
    return root


def open_and_close(root: Path, *, read_only: bool = False) -> None:
    with Warehouse.open(root, read_only=read_only):
        pass


def test_readers_are_told_the_command(old: Path, cli: Callable[..., Result]) -> None:
    before = (old / "recsae.duckdb").read_bytes()
    with pytest.raises(DataError, match=f"has layout version 1; this program reads {latest()}"):
        open_and_close(old, read_only=True)
    result = cli("query", "select 1", "--warehouse", old)
    assert (result.code, result.out) == (1, "")
    hint = f"recsae schema --upgrade --warehouse {old}"
    assert result.err.splitlines()[1:] == [f"hint: {hint}"]
    assert (old / "recsae.duckdb").read_bytes() == before
    assert cli(*hint.split()[1:]).code == 0
    assert cli("query", "select 1", "--warehouse", old).code == 0


def test_results_are_kept_and_forgotten_rows_go(old: Path) -> None:
    open_and_close(old)
    with Warehouse.open(old, read_only=True) as warehouse:
        assert warehouse.sql("select value from raw.meta where key = 'schema_version'").item() == (
            str(latest())
        )
        assert warehouse.sql("select run_id from raw.decoder_items").rows() == [("sae",)]
        assert warehouse.sql("select run_id from raw.metrics").rows() == [("sae",)]
        found = warehouse.sql("select latent_id, label, confidence from latents order by all")
        assert found.rows() == [(0, None, None), (1, "War", 0.8)]


def test_runs_on_replaced_content_name_it(old: Path) -> None:
    """Layout 2 had them join whatever content the name has now."""
    with duckdb.connect(str(old / "recsae.duckdb")) as connection:
        connection.execute(
            "insert into raw.datasets select * replace (fingerprint as fingerprint) from "
            "(values ('toy', 'g', '{}', 1, 1, 1, 1, now()::timestamp)) as t (dataset, fingerprint, "
            "info, n_users, n_items, n_interactions, n_item_tags, loaded)"
        )
        connection.execute("update raw.runs set data_fingerprint = 'g' where run_id = 'rec'")
    open_and_close(old)
    with Warehouse.open(old, read_only=True) as warehouse:
        found = warehouse.sql("select run_id, dataset from raw.runs order by all").rows()
    assert found == [("rec", "toy"), ("sae", "toy@f")]


def tables(root: Path) -> dict[str, str]:
    """Text of every table of raw, with its types and checks."""
    with duckdb.connect(str(root / "recsae.duckdb"), read_only=True) as connection:
        rows = connection.execute(
            "select table_name, sql from duckdb_tables() where schema_name = 'raw'"
        ).fetchall()
    return dict(rows)


def test_the_layout_is_that_of_a_new_warehouse(old: Path, root: Path) -> None:
    """Fails when a table changes without a migration."""
    open_and_close(old)
    assert tables(old) == tables(root)
    with Warehouse.open(old, read_only=True) as warehouse:
        built = stored_columns(warehouse)
    kept = [query for query in queries() if query.full_name in built]
    assert {"staging.cases", "confidence.scores", "main.latents"} <= {q.full_name for q in kept}
    for query in kept:
        wanted = {column.name: column.type for column in query.yields}
        assert built[query.full_name] == wanted, f"{query.full_name} needs a migration"


def test_a_new_column_of_a_result_reads_as_null_before_it_is_stored(filled: Path) -> None:
    with duckdb.connect(str(filled / "recsae.duckdb")) as connection:
        connection.execute("create table staging.level_edges (run_id varchar, edges double[])")
        connection.execute("insert into staging.level_edges values ('sae-1', [1.0])")
        connection.execute("update raw.meta set value = 'old' where key = 'headers'")
    text = "select run_id, n_activations, edges from staging.level_edges"
    for read_only in (True, False):
        with Warehouse.open(filled, read_only=read_only) as warehouse:
            assert warehouse.sql(text).rows() == [("sae-1", None, [1.0])]


# -- the machinery --------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of migrations, used instead of the real one."""
    place = tmp_path / "sql" / "migrations"
    place.mkdir(parents=True)
    monkeypatch.setattr(migrations, "sql_folder", lambda: tmp_path / "sql")
    return place


def test_without_files_the_first_layout_is_the_last(folder: Path) -> None:
    assert (latest(), migrations.migrations()) == (FIRST, [])


def test_the_real_ones_are_in_order() -> None:
    found = migrations.migrations()
    assert [step.version for step in found] == list(range(2, latest() + 1))
    for step in found:
        assert step.text.startswith(f"-- {step.version:03}_{step.name}: ")


@pytest.mark.parametrize("names", [["003_b.sql"], ["002_a.sql", "004_b.sql"], ["2_a.sql"]])
def test_numbers_have_no_gaps(folder: Path, names: list[str]) -> None:
    for name in names:
        (folder / name).write_text("select 1")
    with pytest.raises(DataError, match=f"migration {names[-1]} is out of order"):
        latest()


def test_only_what_follows_the_version_runs(folder: Path, old: Path) -> None:
    (folder / "002_a.sql").write_text("create table raw.two (i integer)")
    (folder / "003_b.sql").write_text("create table raw.three (i integer); drop table raw.three")
    open_and_close(old)
    assert "two" in tables(old)
    (folder / "004_c.sql").write_text("create table raw.four as from raw.two")
    open_and_close(old)
    assert {"two", "four"} <= set(tables(old))
    with Warehouse.open(old) as warehouse:
        assert migrate(warehouse, 4) == 4


def test_a_new_warehouse_starts_at_the_last_version(folder: Path, tmp_path: Path) -> None:
    (folder / "002_a.sql").write_text("select error('not for a new one')")
    with Warehouse.open(tmp_path / "new", create=True) as warehouse:
        assert warehouse.sql("select value from raw.meta where key = 'schema_version'").item() == (
            "2"
        )


def test_a_failing_migration_changes_nothing(folder: Path, old: Path) -> None:
    (folder / "002_a.sql").write_text("delete from raw.runs")
    (folder / "003_b.sql").write_text("alter table raw.nothing add column i integer")
    before = tables(old)
    with pytest.raises(DataError, match="stays at layout version 1: 003_b failed: ") as caught:
        open_and_close(old)
    assert "\n" not in caught.value.message
    assert tables(old) == before
    with duckdb.connect(str(old / "recsae.duckdb")) as connection:
        assert connection.sql("select count(*) from raw.runs").fetchall() == [(2,)]
        assert connection.sql("select value from raw.meta order by key").fetchall()[2] == ("1",)
