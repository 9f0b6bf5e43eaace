"""The header of every .sql file says what its text does: names, parameters, inputs, outputs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recsae.warehouse import Query, Warehouse, queries, statements
from recsae.warehouse.sql import RAW, REPORT, SUMMARIES, VIEWS, parse, sql_folder, stages

SAMPLES: dict[str, object] = {
    "VARCHAR": "x",
    "INTEGER": 1,
    "BIGINT": 1,
    "DOUBLE": 0.5,
    "BOOLEAN": True,
}
"""A value of every type that a parameter may have."""

GRAIN_NOT_FIRST = {"staging.tags", "confidence.trial_scores"}
"""Queries whose columns are still in another order; to be emptied."""

ALL = queries()
READING = [query for query in ALL if query.stage != RAW]
NUMBER = {stage: number for number, stage in enumerate(stages())}


def ids(query: Query) -> str:
    return query.full_name


def files() -> list[Path]:
    return sorted(sql_folder().glob("[0-9]_*/*"))


@pytest.fixture(scope="module")
def empty() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty table for every relation, made from its header alone."""
    with duckdb.connect() as connection:
        for stage in stages():
            connection.execute(f"create schema if not exists {stage}")
        for query in ALL:
            connection.execute(statements.create_table(query))
        yield connection


def test_every_file_is_a_query_of_its_own() -> None:
    assert len(ALL) == len(files())
    assert {path.suffix for path in files()} == {".sql"}
    order = ["raw", "staging", "concepts", "confidence", "summaries", "report", "main"]
    assert stages() == order


@pytest.mark.parametrize("path", files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_stem_is_the_first_word(path: Path) -> None:
    stage = path.parent.name.partition("_")[2]
    assert parse(path, stage).name == path.stem


@pytest.mark.parametrize("query", ALL, ids=ids)
def test_one_statement_in_lower_case(query: Query) -> None:
    found = duckdb.extract_statements(query.text)
    assert len(found) == 1
    kind = str(found[0].type).rsplit(".", 1)[-1]
    assert kind in (("CREATE",) if query.stage == RAW else ("SELECT",))
    code = re.sub(r"--.*|'[^']*'|\"[^\"]*\"", "", query.text)
    assert ";" not in code
    assert code == code.lower()
    assert query.text.endswith("\n")


@pytest.mark.parametrize("query", ALL, ids=ids)
def test_header_is_complete(query: Query) -> None:
    assert query.purpose.rstrip().endswith(".")
    columns = [column.name for column in query.yields]
    assert len(set(columns)) == len(columns)
    assert set(query.grain) <= set(columns)
    assert columns[0] == "run_id" or query.stage in (RAW, REPORT)
    assert all(column.text for column in (*query.yields, *query.params))
    assert all(param.type in SAMPLES for param in query.params)
    width = max(len(line) for line in query.text.splitlines())
    assert width <= 100


@pytest.mark.parametrize("query", ALL, ids=ids)
def test_no_type_that_another_file_would_not_keep(query: Query) -> None:
    """A sum is a HUGEINT, of which COPY makes a DOUBLE; a median of DECIMAL is cut to its scale."""
    kept = ("VARCHAR", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "BOOLEAN", "TIMESTAMP", "JSON")
    assert {column.type.removesuffix("[]") for column in query.yields} <= set(kept)


@pytest.mark.parametrize("query", [q for q in ALL if q.stage in (SUMMARIES, VIEWS)], ids=ids)
def test_views_are_stored_as_every_duckdb_reads_them(query: Query) -> None:
    """DuckDB 2 stores if() as a call of a function that DuckDB 1 does not have: write CASE."""
    assert not re.search(r"\bif\s*\(", re.sub(r"--.*", "", query.text))


def test_the_grain_comes_first() -> None:
    others = {
        q.full_name for q in ALL if q.grain != tuple(c.name for c in q.yields[: len(q.grain)])
    }
    assert others == GRAIN_NOT_FIRST


@pytest.mark.parametrize("query", READING, ids=ids)
def test_params(query: Query) -> None:
    used = duckdb.extract_statements(query.text)[0].named_parameters
    assert {param.name for param in query.params} == set(used)


@pytest.mark.parametrize("query", READING, ids=ids)
def test_reads(query: Query) -> None:
    assert len(set(query.reads)) == len(query.reads)
    assert set(query.reads) == base_tables(query.text)


def base_tables(text: str) -> set[str]:
    """Relations that a SELECT reads, without those that it names itself."""
    with duckdb.connect() as connection:
        tree = connection.execute("select json_serialize_sql($text)", {"text": text}).fetchall()
    parsed = json.loads(tree[0][0])
    assert not parsed["error"], parsed
    tables, own = set(), set()
    for node in nodes(parsed):
        if node.get("type") == "BASE_TABLE":
            tables.add(".".join(filter(None, (node["schema_name"], node["table_name"]))))
        own |= {entry["key"] for entry in node.get("cte_map", {}).get("map", [])}
    assert {table for table in tables if "." not in table} <= own
    return tables - own


def nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every object inside a JSON tree."""
    if isinstance(tree, dict):
        yield tree
        for value in tree.values():
            yield from nodes(value)
    elif isinstance(tree, list):
        for value in tree:
            yield from nodes(value)


@pytest.mark.parametrize("query", READING, ids=ids)
def test_reads_its_own_or_an_earlier_stage(query: Query) -> None:
    for relation in query.reads:
        stage = relation.partition(".")[0]
        assert NUMBER[stage] <= NUMBER[query.stage]
        assert stage != REPORT, "the result of a report is not stored"


@pytest.mark.parametrize("query", READING, ids=ids)
def test_yields(query: Query, empty: duckdb.DuckDBPyConnection) -> None:
    values = {param.name: SAMPLES[param.type] for param in query.params}
    described = empty.execute(f"describe {query.text}", values).fetchall()
    assert [(row[0], row[1]) for row in described] == [(c.name, c.type) for c in query.yields]


STORED = [q for q in READING if q.stage not in (SUMMARIES, REPORT, VIEWS)]


@pytest.mark.parametrize("query", STORED, ids=ids)
def test_stored_relations_belong_to_a_run(query: Query) -> None:
    assert query.grain[0] == "run_id"
    assert any(param.name == "run_id" for param in query.params)


@pytest.mark.parametrize("query", [q for q in READING if q.stage == REPORT], ids=ids)
def test_a_report_without_rows_does_not_fail(
    query: Query, empty: duckdb.DuckDBPyConnection
) -> None:
    values = {param.name: SAMPLES[param.type] for param in query.params}
    empty.execute(query.text, values).fetchall()


@pytest.mark.parametrize("query", [q for q in ALL if q.stage == RAW], ids=ids)
def test_raw_tables_are_as_their_headers(query: Query, empty_warehouse: Path) -> None:
    with Warehouse.open(empty_warehouse, read_only=True) as warehouse:
        assert warehouse.columns(query.full_name) == {c.name: c.type for c in query.yields}
    assert query.reads == ()


@pytest.fixture(scope="module")
def catalog(
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[tuple[str, str | None], str | None]:
    """Comments of a warehouse in which every relation has been stored once."""
    root = tmp_path_factory.mktemp("catalog") / "warehouse"
    with Warehouse.open(root, create=True) as warehouse:
        for query in STORED:
            warehouse.build(
                query.full_name, {param.name: SAMPLES[param.type] for param in query.params}
            )
        rows = warehouse.sql(
            "select schema_name || '.' || table_name, null, comment from duckdb_tables() "
            "union all select schema_name || '.' || view_name, null, comment from duckdb_views() "
            "union all select schema_name || '.' || table_name, column_name, comment "
            "from duckdb_columns()"
        )
        return {(relation, column): text for relation, column, text in rows.rows()}


@pytest.mark.parametrize("query", [q for q in ALL if q.stage != REPORT], ids=ids)
def test_comments_reach_the_catalog(
    query: Query, catalog: dict[tuple[str, str | None], str | None]
) -> None:
    about = catalog[query.full_name, None]
    assert about == f"{query.purpose} Grain: {', '.join(query.grain)}."
    for column in query.yields:
        assert catalog[query.full_name, column.name] == column.text
