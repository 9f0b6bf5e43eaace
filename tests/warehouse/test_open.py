"""Opening: created, missing, somebody else's, of a newer layout, damaged."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest

from recsae.errors import DataError, MissingStageError, UsageError
from recsae.warehouse import Warehouse, queries
from recsae.warehouse.migrations import latest


def set_meta(root: Path, statement: str) -> None:
    with duckdb.connect(str(root / "recsae.duckdb")) as connection:
        connection.execute(statement)


def open_and_close(root: Path, **options: bool) -> None:
    with Warehouse.open(root, **options) as warehouse:
        warehouse.sql("from raw.runs")


def test_create_makes_every_raw_relation_empty_and_typed(tmp_path: Path) -> None:
    root = tmp_path / "not" / "there" / "yet"
    with Warehouse.open(root, create=True) as warehouse:
        for query in queries("raw"):
            stored = warehouse.columns(query.full_name)
            assert stored == {column.name: column.type for column in query.yields}
            if query.name != "meta":
                assert warehouse.sql(f"from {query.full_name}").is_empty()
    assert sorted(path.name for path in root.iterdir()) == ["recsae.duckdb", "tmp"]
    assert not list((root / "tmp").iterdir())


def test_an_empty_warehouse_opens_read_only(root: Path) -> None:
    before = (root / "recsae.duckdb").read_bytes()
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.sql("from raw.activations").columns[0] == "run_id"
        assert warehouse.runs().is_empty()
    assert (root / "recsae.duckdb").read_bytes() == before


def test_one_schema_per_folder(root: Path) -> None:
    with Warehouse.open(root, read_only=True) as warehouse:
        found = warehouse.sql("select schema_name from information_schema.schemata")
    assert {"raw", "staging", "concepts", "confidence"} <= set(found["schema_name"])


@pytest.mark.parametrize("read_only", [True, False])
def test_missing(tmp_path: Path, read_only: bool) -> None:
    with pytest.raises(MissingStageError) as caught:
        open_and_close(tmp_path / "nowhere", read_only=read_only)
    assert caught.value.message == f"there is no warehouse in {tmp_path / 'nowhere'}"
    assert caught.value.hint == "recsae run ml-100k"
    assert not (tmp_path / "nowhere").exists()


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("x")
    with pytest.raises(DataError) as caught:
        open_and_close(tmp_path / "taken", create=True)
    assert str(caught.value) == f"cannot open the warehouse {tmp_path / 'taken'}: File exists"


@pytest.mark.parametrize(
    ("folder", "reason"),
    [
        ("what?", "DuckDB cuts paths at a question mark"),
        ("run_id=7/here", "DuckDB takes a folder called COLUMN=VALUE for data"),
    ],
)
def test_paths_that_duckdb_would_misread(tmp_path: Path, folder: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        open_and_close(tmp_path / folder, create=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("read_only", [True, False])
def test_newer_layout_is_refused_and_left_alone(root: Path, read_only: bool) -> None:
    set_meta(root, "update raw.meta set value = '99' where key = 'schema_version'")
    with pytest.raises(
        DataError, match=f"has layout version 99; this program knows {latest()}"
    ) as caught:
        open_and_close(root, read_only=read_only)
    assert caught.value.hint == "install a newer recsae"


def test_layout_without_version_is_refused(root: Path) -> None:
    set_meta(root, "delete from raw.meta where key = 'schema_version'")
    with pytest.raises(DataError, match="layout version none"):
        open_and_close(root)


def test_tables_added_by_a_later_program_are_created(root: Path) -> None:
    set_meta(root, "drop table raw.metrics; update raw.meta set value = 'x' where key = 'headers'")
    with Warehouse.open(root) as warehouse:
        assert warehouse.sql("from raw.metrics").is_empty()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_database_of_another_program(tmp_path: Path, read_only: bool) -> None:
    with duckdb.connect(str(tmp_path / "recsae.duckdb")) as connection:
        connection.execute("create table mine (i integer)")
    with pytest.raises(DataError, match="is not a warehouse of recsae"):
        open_and_close(tmp_path, read_only=read_only, create=True)
    with duckdb.connect(str(tmp_path / "recsae.duckdb")) as connection:
        assert connection.sql("show all tables").fetchall()[0][2] == "mine"


@pytest.mark.parametrize("kept", [0, 5, 4096, 8192, 100_000, -1])
def test_truncated_database(root: Path, kept: int) -> None:
    path = root / "recsae.duckdb"
    path.write_bytes(path.read_bytes()[:kept])
    for read_only in (True, False):
        with pytest.raises(DataError, match="is damaged") as caught:
            open_and_close(root, read_only=read_only)
        assert str(path) in caught.value.message
        assert "\n" not in caught.value.message
        assert "recsae repair makes a new one" in str(caught.value.hint)


def test_overwritten_database(root: Path) -> None:
    path = root / "recsae.duckdb"
    data = bytearray(path.read_bytes())
    data[12288:-1] = b"x" * len(data[12288:-1])
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="is damaged"):
        open_and_close(root)


def test_open_twice_in_one_process(root: Path) -> None:
    with (
        Warehouse.open(root),
        pytest.raises(DataError, match="already open in this process"),
        Warehouse.open(root, read_only=True),
    ):
        pass


@pytest.mark.parametrize("value", ["lots", "17", "GB"])
def test_memory_setting_that_is_none(
    root: Path, monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("RECSAE_MEMORY", value)
    with pytest.raises(UsageError, match="RECSAE_MEMORY") as caught:
        open_and_close(root)
    assert caught.value.hint == "use a size such as 1GB"


def test_settings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSAE_MEMORY", "300MB")
    with Warehouse.open(root) as warehouse:
        settings = warehouse.sql(
            "select current_setting('memory_limit') as memory, current_setting('TimeZone') as zone"
        ).row(0)
    assert settings == ("286.1 MiB", "UTC")


def test_closed_after_an_error_inside(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), Warehouse.open(root):
        raise ZeroDivisionError
    open_and_close(root, read_only=True)
