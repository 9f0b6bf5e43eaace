"""Finding and parsing .sql files, and the statements that are built around them."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsae.errors import DataError, UsageError
from recsae.warehouse import load, queries, statements
from recsae.warehouse.sql import Column, Query, _ordered, parse

HEADER = """\
-- heads: what it is
-- over two lines.
-- grain:  run_id, user_id
-- reads:  raw.runs,
--         raw.cases
-- params:
--   $run_id VARCHAR the run
--   $share  DOUBLE  share of users,
--                   0-1
-- yields:
--   run_id  VARCHAR       the run
--   user_id INTEGER       1-based
--   edges   DOUBLE[]      ascending
--   price   DECIMAL(5, 2) in euros
-- source: somewhere,
--         page 3
select 1
"""


def written(folder: Path, text: str, name: str = "heads") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.sql"
    path.write_text(text, encoding="utf-8")
    return path


def test_header(tmp_path: Path) -> None:
    query = parse(written(tmp_path, HEADER), "staging")
    assert query.full_name == "staging.heads"
    assert query.purpose == "what it is over two lines."
    assert query.grain == ("run_id", "user_id")
    assert query.reads == ("raw.runs", "raw.cases")
    assert query.params == (
        Column("run_id", "VARCHAR", "the run"),
        Column("share", "DOUBLE", "share of users, 0-1"),
    )
    assert [column.type for column in query.yields] == [
        "VARCHAR",
        "INTEGER",
        "DOUBLE[]",
        "DECIMAL(5, 2)",
    ]
    assert query.source == "somewhere, page 3"
    assert query.text == HEADER


def test_words_for_nothing(tmp_path: Path) -> None:
    text = HEADER.replace("-- reads:  raw.runs,\n--         raw.cases\n", "-- reads:  none\n")
    query = parse(written(tmp_path, text.replace("run_id, user_id\n", "one row\n")), "report")
    assert query.reads == ()
    assert query.grain == ()


@pytest.mark.parametrize("key", ["heads", "grain", "yields"])
def test_missing_section(tmp_path: Path, key: str) -> None:
    with pytest.raises(DataError, match="its header has no") as caught:
        parse(written(tmp_path, HEADER.replace(f"-- {key}:", "-- ")), "staging")
    assert str(tmp_path) in str(caught.value.hint)


def test_a_line_that_is_no_column(tmp_path: Path) -> None:
    text = HEADER.replace("--   user_id INTEGER ", "--   user_id, an integer ")
    with pytest.raises(DataError, match=r"heads.sql: header line .* is not NAME TYPE text"):
        parse(written(tmp_path, text), "staging")


def test_unknown_names_get_the_nearest() -> None:
    with pytest.raises(UsageError, match=r"no query is called 'report.overwiew'") as caught:
        load("report.overwiew")
    assert "report.overview" in str(caught.value.hint)
    with pytest.raises(UsageError) as caught:
        load("nothing.like_it")
    assert str(caught.value.hint).startswith("there is ")


def test_each_query_comes_after_those_it_reads() -> None:
    seen: set[str] = set()
    for query in queries():
        assert set(query.reads) <= seen
        seen.add(query.full_name)
    assert {query.stage for query in queries("staging")} == {"staging"}


def test_queries_that_read_each_other(tmp_path: Path) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        text = HEADER.replace("heads:", f"{name}:").replace("raw.runs", f"staging.{other}")
        written(tmp_path / "1_staging", text, name)
    (tmp_path / "notes").mkdir()
    with pytest.raises(DataError, match="queries read each other: staging"):
        _ordered(tmp_path)


def a_query(**changes: object) -> Query:
    values = {
        "stage": "concepts",
        "name": "heads",
        "purpose": "It's one.",
        "grain": ("run_id",),
        "reads": (),
        "params": (),
        "yields": (Column("run_id", "VARCHAR", "the user's"), Column("value", "DOUBLE[]", "0-1")),
        "source": "",
        "text": "select 1;\n",
    }
    return Query(**{**values, **changes})  # type: ignore[arg-type]


def test_names_and_texts_are_quoted() -> None:
    assert statements.name('raw.we"ird') == '"raw"."we""ird"'
    assert statements.literal("it's") == "'it''s'"
    assert statements.glob_escape(Path("/a*b?[c]")) == "/a[*]b[?][[]c]"


def test_text_of_the_statements() -> None:
    query = a_query()
    assert statements.create_table(query) == (
        'create table if not exists "concepts"."heads" ("run_id" VARCHAR, "value" DOUBLE[])'
    )
    assert statements.insert_query(query) == 'insert into "concepts"."heads" by name (\nselect 1\n)'
    assert list(statements.comments(query, "table")) == [
        "comment on table \"concepts\".\"heads\" is 'It''s one. Grain: run_id.'",
        'comment on column "concepts"."heads"."run_id" is \'the user\'\'s\'',
        'comment on column "concepts"."heads"."value" is \'0-1\'',
    ]
    assert statements.parquet_view(query, []) == (
        'create or replace view "concepts"."heads" as select null::VARCHAR as "run_id", '
        'null::DOUBLE[] as "value" where false'
    )
    assert statements.parquet_view(query, [Path("/w/it's/run_id=a"), Path("/w/run_id=b")]) == (
        'create or replace view "concepts"."heads" as select "run_id", "value" from '
        "read_parquet(['/w/it''s/run_id=a/*.parquet', '/w/run_id=b/*.parquet'], "
        "hive_partitioning = true, hive_types_autocast = false)"
    )
    assert statements.duplicate_rows("raw.runs", ["a"], "true") == (
        'select "a", count(*) as n_rows from "raw"."runs" where true '
        'group by all having n_rows > 1 or "a" is null order by all limit 5'
    )


def test_a_view_stands_in_for_what_is_absent() -> None:
    text = "-- a: b.\nselect h.run_id\nfrom concepts.heads as h\ncross join concepts.heads_2\n"
    view = a_query(stage="main", name="tops", text=text)
    empty = 'select null::VARCHAR as "run_id", null::DOUBLE[] as "value" where false'
    start = 'create or replace view "main"."tops" as\nselect h.run_id\nfrom '
    assert statements.people_view(view, [a_query()]) == (
        f"{start}({empty}) as h\ncross join concepts.heads_2"
    )
    assert statements.people_view(view, []) == (
        f"{start}concepts.heads as h\ncross join concepts.heads_2"
    )


def test_new_columns() -> None:
    query, column = a_query(), Column("edges", "DOUBLE[]", "")
    assert statements.add_column(query, column) == (
        'alter table "concepts"."heads" add column "edges" DOUBLE[]'
    )
    assert statements.widened_view(query, [column]) == (
        'create or replace view "concepts"."heads" as '
        'select *, null::DOUBLE[] as "edges" from stored."concepts"."heads"'
    )


def test_views_need_no_schema() -> None:
    assert load("latents") == load("main.latents")
    assert (load("latents").short_name, load("raw.runs").short_name) == ("latents", "raw.runs")
