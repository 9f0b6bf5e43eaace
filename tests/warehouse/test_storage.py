"""The format of the database file: readable by old DuckDB, kept, and lowered where it is later."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from recsae.errors import DataError
from recsae.warehouse import Warehouse, statements, storage
from recsae.warehouse.check import check
from recsae.warehouse.connection import STORAGE, NewerDatabase, connect
from recsae.warehouse.storage import lower_storage, storage_of

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

HEADER = 64
"""Version number in a file that every DuckDB from 1.0 on reads; 1.4 reads up to 67, 1.5 to 68."""

LOCKING = """
import sys, duckdb
connection = duckdb.connect(sys.argv[1])
print("open", flush=True)
sys.stdin.read()
"""


def header(path: Path) -> int:
    """The version number that DuckDB looks at before anything else."""
    magic, number = struct.unpack("<4sQ", path.read_bytes()[8:20])
    assert magic == b"DUCK"
    return int(number)


def raised(root: Path) -> None:
    """Give a warehouse the format that the installed DuckDB likes best, and things of the user."""
    place, copy = root / "recsae.duckdb", root / "raised.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"attach {statements.literal(str(place))} as old")
        connection.execute(
            f"attach {statements.literal(str(copy))} as new (storage_version 'latest')"
        )
        connection.execute("copy from database old to new; use new; create schema mine")
        connection.execute("create table mine.notes (i integer primary key, j json)")
        connection.execute("insert into mine.notes values (7, '{}')")
        connection.execute("comment on table mine.notes is 'what I found'")
        connection.execute("create view mine.seen as select i + 1 as j from mine.notes")
        connection.execute("create macro mine.twice(x) as x * 2")
        connection.execute("use old; detach new")
    copy.replace(place)
    assert header(place) > HEADER


def content(root: Path) -> dict[str, Any]:
    """Every row of every table and view, and every comment."""
    with duckdb.connect(str(root / "recsae.duckdb"), read_only=True) as connection:
        names = connection.execute(
            "select schema_name, table_name from duckdb_tables() where not internal union all "
            "select schema_name, view_name from duckdb_views() where not internal order by all"
        ).fetchall()
        found = {
            f"{schema}.{table}": connection.execute(
                f'from "{schema}"."{table}" order by all'
            ).fetchall()
            for schema, table in names
        }
        found["comments"] = connection.execute(
            "select schema_name, table_name, column_name, comment from duckdb_columns() "
            "where not internal union all "
            "select schema_name, table_name, null, comment from duckdb_tables() union all "
            "select schema_name, view_name, null, comment from duckdb_views() "
            "where not internal order by all"
        ).fetchall()
    return found


def test_a_new_warehouse_has_the_oldest_format(tmp_path: Path) -> None:
    with Warehouse.open(tmp_path / "w", create=True) as warehouse:
        assert storage_of(warehouse) == STORAGE
    assert header(tmp_path / "w" / "recsae.duckdb") == HEADER


def test_so_has_one_in_which_every_stage_has_run(whole: Finished) -> None:
    assert header(whole.root / "recsae.duckdb") == HEADER
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        assert storage_of(warehouse) == STORAGE


@pytest.mark.parametrize("path", [None, "own.duckdb"])
def test_so_has_a_file_that_any_connection_attaches(path: str | None, tmp_path: Path) -> None:
    place = tmp_path / path if path else None
    with connect(place, tmp_path, read_only=False, wait=0) as connection:
        connection.execute(f"attach {statements.literal(str(tmp_path / 'new.duckdb'))} as new")
        connection.execute("create table new.t as select 1 as i; detach new")
    assert {header(file) for file in tmp_path.glob("*.duckdb")} == {HEADER}


def test_so_has_the_one_that_repair_makes(root: Path, cli: Callable[..., Result]) -> None:
    (root / "recsae.duckdb").write_bytes(b"not a database")
    result = cli("repair", "--warehouse", root)
    assert "a new database" in result.out + result.err
    assert header(root / "recsae.duckdb") == HEADER


def test_writing_with_another_client_keeps_the_format(root: Path) -> None:
    for _ in range(2):
        with duckdb.connect(str(root / "recsae.duckdb")) as connection:
            connection.execute("create or replace table extra as select range as i from range(9)")
            connection.execute("force checkpoint")
    with Warehouse.open(root) as warehouse:
        assert storage_of(warehouse) == STORAGE
    assert header(root / "recsae.duckdb") == HEADER


# -- of a later format ----------------------------------------------------------------------------


def test_a_later_format_is_used_as_it_is(filled: Path, make: Any) -> None:
    raised(filled)
    with Warehouse.open(filled) as warehouse:
        assert storage_of(warehouse) != STORAGE
        make.recommender(warehouse, "rec-3", 2)
    with Warehouse.open(filled, read_only=True) as warehouse:
        assert warehouse.runs().height == 4
    assert header(filled / "recsae.duckdb") > HEADER


def test_upgrade_writes_it_anew_with_all_that_is_in_it(
    filled: Path, cli: Callable[..., Result]
) -> None:
    raised(filled)
    place = filled / "recsae.duckdb"
    place.chmod(0o640)
    before = content(filled)
    assert before["mine.seen"] == [(8,)]
    result = cli("schema", "--upgrade", "--json", "--warehouse", filled)
    first, second = result.err.splitlines()
    assert (result.code, first) == (0, f"{filled} has the present layout")
    assert second.startswith("its database is written anew for DuckDB v1.0.0 and later; v")
    assert second.endswith("was needed")
    assert header(place) == HEADER
    assert content(filled) == before
    assert place.stat().st_mode & 0o777 == 0o640
    with duckdb.connect(str(place), read_only=True) as connection:
        assert connection.execute("select mine.twice(4)").fetchall() == [(8,)]
    assert not list((filled / "tmp").iterdir())
    assert not list(filled.glob("*.wal"))
    again = cli("schema", "--upgrade", "--json", "--warehouse", filled)
    assert again.err == f"{filled} has the present layout\n"


def test_a_failure_on_the_way_leaves_it_as_it_was(
    filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raised(filled)
    before = content(filled)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(storage.os, "replace", full)
    with pytest.raises(DataError, match="no space left"):
        lower_storage(filled, wait=0)
    monkeypatch.undo()
    assert content(filled) == before
    assert not list((filled / "tmp").iterdir())


@pytest.mark.skipif(duckdb.__version__ < "1.5", reason="DuckDB 1.4 has no type that it lacks")
def test_what_the_oldest_format_cannot_hold_is_named(filled: Path) -> None:
    raised(filled)
    with duckdb.connect(str(filled / "recsae.duckdb")) as connection:
        connection.execute("create table mine.any as select 1::variant as v")
    before = content(filled)
    with pytest.raises(DataError, match=r"cannot be written for DuckDB v1\.0\.0: .*VARIANT"):
        lower_storage(filled, wait=0)
    assert content(filled) == before


@pytest.fixture
def locked(filled: Path) -> Iterator[Path]:
    """A warehouse that another process has open."""
    raised(filled)
    words = [sys.executable, "-c", LOCKING, str(filled / "recsae.duckdb")]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"open\n"
        yield filled
        other.communicate()


def test_it_waits_for_another_process(locked: Path) -> None:
    with pytest.raises(DataError, match="is in use by"):
        lower_storage(locked, wait=0.2)
    assert header(locked / "recsae.duckdb") > HEADER


def test_a_log_that_a_killed_process_left_is_not_lost(filled: Path) -> None:
    raised(filled)
    script = (
        "import duckdb, os, sys, signal\n"
        "c = duckdb.connect(sys.argv[1])\n"
        "c.execute('insert into mine.notes values (8, null)')\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script, str(filled / "recsae.duckdb")], check=False)
    assert (filled / "recsae.duckdb.wal").exists()
    with pytest.raises(DataError, match="has just been written to"):
        lower_storage(filled, wait=0)
    with Warehouse.open(filled):  # which takes the log into the file
        pass
    assert lower_storage(filled, wait=0) is not None
    assert content(filled)["mine.notes"] == [(7, "{}"), (8, None)]


# -- of a later DuckDB ----------------------------------------------------------------------------


def test_a_file_of_a_later_duckdb_is_not_called_damaged(
    root: Path, cli: Callable[..., Result]
) -> None:
    place = root / "recsae.duckdb"
    data = bytearray(place.read_bytes())
    checksum, old = struct.unpack("<QQ", data[:16])
    (new,) = struct.unpack("<Q", struct.pack("<4sI", b"DUCK", 900))
    # DuckDB's checksum is the exclusive or of all words, each times this number
    checksum ^= (old * 0xBF58476D1CE4E5B9 ^ new * 0xBF58476D1CE4E5B9) % 2**64
    data[:16] = struct.pack("<QQ", checksum, new)
    place.write_bytes(data)
    for read_only in (True, False):
        with pytest.raises(NewerDatabase), Warehouse.open(root, read_only=read_only):
            pass
    with pytest.raises(NewerDatabase):
        check(root)
    for words in (("query", "select 1"), ("check",), ("repair",), ("schema", "--upgrade")):
        result = cli(*words, "--warehouse", root)
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith(
            f"recsae: error: DuckDB {duckdb.__version__} is too old for the warehouse database "
        )
        assert "pip install -U duckdb" in result.err
    assert place.read_bytes() == bytes(data)
