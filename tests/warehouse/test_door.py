"""The door for SQL of others: every kind of statement, what it may read, what stays as it is."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import recsae
from recsae.errors import DataError
from recsae.warehouse import Warehouse, door

if TYPE_CHECKING:
    from conftest import Result

STATEMENTS: dict[str, tuple[str, ...]] = {
    "SELECT": ("from raw.runs", "values (1)", "describe raw.runs", "show tables"),
    "EXPLAIN": ("explain from raw.runs", "explain analyze select 1"),
    "INSERT": ("insert into raw.meta values ('a', 'b')",),
    "UPDATE": ("update raw.runs set status = 'done'",),
    "CREATE": (
        "create table raw.t (i integer)",
        "create temp table t (i integer)",
        "create or replace view main.latents as select 1",
        "create macro f() as 1",
        "create persistent secret s (type http)",
    ),
    "DELETE": ("delete from raw.runs", "truncate raw.runs"),
    "PREPARE": ("prepare p as delete from raw.runs",),
    "EXECUTE": ("execute p",),
    "ALTER": ("alter table raw.runs drop column seed", "comment on table raw.runs is 'x'"),
    "TRANSACTION": ("begin transaction",),
    "COPY": ("copy (select 1) to '{new}'", "copy raw.runs from '{old}'"),
    "EXPORT": ("export database '{new}'",),
    "DROP": ("drop table raw.runs", "deallocate p"),
    "PRAGMA": (
        "pragma version",
        "pragma enable_profiling",
        "import database '{new}'",
        "copy from database stored to memory",
    ),
    "VACUUM": ("vacuum", "analyze"),
    "CALL": (
        "call enable_logging(storage = 'file', storage_path = '{new}')",
        "call pragma_version()",
        "checkpoint",
    ),
    "SET": ("set threads = 1", "reset threads", "set variable x = 1", "use memory"),
    "LOAD": ("load '{new}'", "install spatial"),
    "ATTACH": ("attach '{new}' as other", "attach ':memory:' as other"),
    "DETACH": ("detach stored",),
    "MULTI": ("pivot raw.runs on kind using count(*)",),
    "MERGE_INTO": ("merge into raw.meta using raw.runs on key = run_id when matched then delete",),
}
"""Kind of statement -> statements of it, {new} a file that is not there, {old} one that is."""

WITHOUT_TEXT = {
    *("INVALID", "RELATION", "EXTENSION", "LOGICAL_PLAN"),
    *("ANALYZE", "VARIABLE_SET", "CREATE_FUNC", "COPY_DATABASE"),
}
"""Kinds that no text is parsed to: plans of a program, and what is parsed to another kind above."""

HIDDEN = (
    "with x as (copy (select 1) to '{new}') from x",
    "with x as (copy (select 1 as a) to '{old}') from x",
    "with x as (insert into raw.meta values ('a', 'b') returning *) from x",
    "with x as (update raw.runs set status = 'x' returning *) from x",
    "with x as (delete from raw.runs returning *) from x",
    "with a as (select 1), x as materialized (copy (select 1) to '{new}') from a, x",
    "from (with x as (copy (select 1) to '{new}') from x)",
    "select (with x as (copy (select 1) to '{new}') select count(*) from x)",
    "select 1 union all (with x as (copy (select 1) to '{new}') from x)",
    "explain analyze copy (select 1) to '{new}'",
    "explain (/* ) select 1 -- */ analyze) copy (select 1) to '{new}'",
    "explain (analyze, /* ( */ format json) copy (select 1) to '{new}'",
    "explain analyze with x as (copy (select 1) to '{new}') from x",
    "explain -- select 1\n analyze copy (select 1) to '{new}'",
    "/* a */ explain /* b */ (analyze) /* select 1; */ delete from raw.runs",
    "explain analyze insert into raw.meta values ('a', 'b')",
    "explain analyze create table raw.t as select 1",
    "select 1; copy (select 1) to '{new}'",
    "select 1 /* ; */ ; ; copy (select 1) to '{new}' -- ;",
    "from enable_logging(storage = 'file', storage_path = '{new}')",
    "from system.main.enable_profiling(save_location = '{new}')",
    "select * from range(2), lateral (from enable_profiling(save_location = '{new}'))",
    "from query('select 1')",
    "from json_execute_serialized_sql(json_serialize_sql('select 1'))",
    "from pandas_scan(1)",
    "from arrow_scan(1, 1, 1)",
    "select 1 where exists (from force_checkpoint())",
    "update extensions",
)
"""What does more than read where it cannot be seen at first sight."""


def digest(*folders: Path) -> dict[str, str]:
    """Every file below the folders, with its content."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "locks" not in path.parts
    }


@pytest.fixture
def place(filled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with a file of one's own, beside the warehouse ``filled``."""
    folder = tmp_path / "own"
    folder.mkdir()
    (folder / "own.csv").write_text("run_id,word\nsae-1,mine\n")
    monkeypatch.chdir(folder)
    return folder


def written(text: str, place: Path, filled: Path) -> str:
    stored = filled / "activations" / "run_id=sae-1" / "part-0.parquet"
    return text.replace("{new}", str(place / "new")).replace("{old}", str(stored))


def test_every_kind_of_statement_is_here() -> None:
    members = set(duckdb.StatementType.__members__)
    assert members == set(STATEMENTS) | WITHOUT_TEXT
    for kind, texts in STATEMENTS.items():
        for text in texts:
            assert [one.type.name for one in duckdb.extract_statements(text)] == [kind], text


REFUSED = [
    *(
        text
        for kind in STATEMENTS
        for text in STATEMENTS[kind]
        if kind not in ("SELECT", "EXPLAIN")
    ),
    *HIDDEN,
]


@pytest.mark.parametrize("text", REFUSED)
@pytest.mark.parametrize("moved", [False, True], ids=["in place", "moved"])
def test_nothing_but_reading(
    text: str, moved: bool, place: Path, filled: Path, cli: Callable[..., Result]
) -> None:
    text = written(text, place, filled)
    root = filled
    if moved:
        root = filled.with_name("moved")
        filled.rename(root)
    before = digest(root, place)
    with pytest.raises((DataError, duckdb.Error)):
        recsae.Warehouse(root).sql(text)
    result = cli("query", "-", "--warehouse", root, stdin=text)
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("recsae: error: ")
    assert "Traceback" not in result.err
    assert digest(root, place) == before
    assert sorted(path.name for path in place.iterdir()) == ["own.csv"]


@pytest.mark.parametrize("kind", ["SELECT", "EXPLAIN"])
def test_reading_is_let_through(kind: str, filled: Path) -> None:
    for text in STATEMENTS[kind]:
        assert recsae.Warehouse(filled).sql(text).height > 0, text


@pytest.mark.parametrize(
    "text", [text for text in HIDDEN if "(copy" in text and "{old}" not in text]
)
def test_the_settings_hold_by_themselves(
    text: str, place: Path, filled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the parser is not asked, DuckDB still writes no file that the query does not read."""
    monkeypatch.setattr(door, "_require_reading", lambda *_: None)
    asked = door.Statement(written(text, place, filled), "SELECT", (), "select 1")
    before = digest(place)
    with (
        Warehouse.open(filled, read_only=True) as store,
        pytest.raises((DataError, duckdb.Error)),
    ):
        store.read(asked)
    assert digest(place) == before


@pytest.mark.parametrize(
    "text", ["set threads = 1", "set enable_external_access = true", "load httpfs"]
)
def test_the_configuration_is_locked(text: str, filled: Path) -> None:
    asked = door.Statement(text, "SELECT", (), "select 1")
    with (
        Warehouse.open(filled, read_only=True) as store,
        pytest.raises((DataError, duckdb.Error), match=r"configuration|neither"),
    ):
        store.read(asked)


# -- what may be read -----------------------------------------------------------------------------

COUNT = "select count(*) as n from raw.activations"


def one(root: Path, text: str, **params: object) -> object:
    return recsae.Warehouse(root).sql(text, **params).item()


def test_files_that_a_query_names(place: Path, filled: Path, cli: Callable[..., Result]) -> None:
    """Reading one's own files is what a query is for: a table of labels to join, say."""
    (place / "sub").mkdir()
    shutil.copy(place / "own.csv", place / "sub" / "two.csv")
    (place / "link.csv").symlink_to(place / "sub" / "two.csv")
    for source in (
        "read_csv('own.csv')",
        "'own.csv'",
        f"'{place}/own.csv'",
        "read_csv(['own.csv'])",
        "read_csv('sub/*.csv')",
        "read_csv('s*/two.csv')",
        "read_csv('../own/own.csv')",
        "read_csv('link.csv')",
        "read_text('own.csv')",
    ):
        assert one(filled, f"select count(*) from {source}") == 1, source
    joined = "select word from read_csv('own.csv') join raw.runs using (run_id)"
    assert one(filled, joined) == "mine"
    assert one(filled, "select word from read_csv($file)", file="own.csv") == "mine"
    shown = cli("query", joined, "--format", "csv", "--warehouse", filled)
    assert shown.out == "word\nmine\n"


def test_other_files_are_not_touched(place: Path, filled: Path) -> None:
    with pytest.raises(DataError, match=r"own\.csv is neither") as caught:
        one(filled, "select count(*) from read_csv('ow' || 'n.csv')")
    assert "read_csv('FILE')" in str(caught.value.hint)


def test_views_of_a_warehouse_that_was_moved_or_linked(filled: Path, tmp_path: Path) -> None:
    """Parquet is read where the warehouse is, through a link to it too, but not through its own."""
    assert one(filled, COUNT) == 2
    (tmp_path / "link").symlink_to(filled)
    assert one(tmp_path / "link", COUNT) == 2
    moved = tmp_path / "moved"
    filled.rename(moved)
    assert one(moved, COUNT) == 2
    (moved / "activations").rename(tmp_path / "disk")
    (moved / "activations").symlink_to(tmp_path / "disk")
    assert one(moved, COUNT) == 0  # a link inside a warehouse is followed by nobody


def test_two_queries_at_once_do_not_bind_each_other(place: Path, filled: Path) -> None:
    """The settings belong to a query, and not to the process."""
    wh = recsae.Warehouse(filled)
    with Warehouse.open(filled, read_only=True) as store, ThreadPoolExecutor(4) as pool:
        counts = pool.map(lambda _: wh.sql("select count(*) from 'own.csv'").item(), range(12))
        assert set(counts) == {1}
        assert store.read(door.statement(COUNT)).item() == 2
        assert store.read(door.statement("select count(*) from 'own.csv'")).item() == 1
        assert store.sql("select 1").item() == 1
    with Warehouse.open(filled):
        pass


def test_python_objects_are_no_tables(filled: Path) -> None:
    given = [1]  # noqa: F841
    for name in ("given", "asked", "values", "params"):
        with pytest.raises(duckdb.CatalogException):
            one(filled, f"from {name}")


def test_a_large_result_may_spill(filled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSAE_MEMORY", "100MB")
    rows = "select range, md5(range::varchar) as m from range(3000000) order by m"
    assert one(filled, f"select count(*) from ({rows})") == 3_000_000


# -- the tree -------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "raw.runs", "main.latents", "'own.csv'", "range(3)"])


@settings(deadline=None, max_examples=30)
@given(st.lists(NAMES, min_size=1, max_size=4), st.integers(0, 400))
def test_what_is_read(names: list[str], depth: int) -> None:
    sources = ", ".join(f"{name} t{i}" for i, name in enumerate(names))
    text = f"select {'(' * depth}1{')' * depth} from {sources} -- ;\n ; -- x"
    found = door.reads(door.statement(text))
    named = {name for name in names if not name.startswith("range")}
    wanted = {n if "." in n and "'" not in n else f"main.{n.strip(chr(39))}" for n in named}
    assert set(found.relations) == wanted
    assert "own.csv" in found.names or "'own.csv'" not in names


def test_a_long_sum_is_no_problem() -> None:
    asked = door.statement("select " + "1 + " * 900 + "1")
    assert door.reads(asked) == door.Reads((), ())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("from latents", "sae"),
        ("from latents join raw.runs using (run_id)", "sae"),
        ("from raw.recommendations", "recommender"),
        ("from raw.activations join raw.cases using (case_id)", None),
        ("from raw.metrics", None),
        ("select 1", None),
    ],
)
def test_kind_of_run(text: str, kind: str | None) -> None:
    assert door.reads(door.statement(text)).run_kind() == kind


def test_a_warehouse_that_is_being_written_takes_no_queries(filled: Path) -> None:
    with Warehouse.open(filled) as store, pytest.raises(DataError, match="open for writing"):
        store.read(door.statement("select 1"))
