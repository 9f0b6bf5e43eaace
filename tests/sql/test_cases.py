"""Runs the worked examples in tests/cases; their format is in tests/cases/README.md."""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pytest

from recsae.warehouse import Query, load, queries, statements
from recsae.warehouse.sql import RAW, stages

FOLDER = Path(__file__).parents[1] / "cases"
KINDS = {"ordinary", "empty", "tie"}
KEYS = {"about", "kind", "params", "given", "expect", "ordered", "tolerance"}
NULL = "NULL"
TOLERANCE = 1e-9


@dataclass(frozen=True)
class Case:
    """One worked example of one query."""

    query: Query
    number: int
    about: str
    kind: str
    params: Mapping[str, Any]
    given: Mapping[str, list[dict[str, Any]]]
    expect: list[dict[str, Any]]
    ordered: bool = False
    tolerance: float = TOLERANCE


def read(path: Path) -> list[Case]:
    """The cases of a file, in its order."""
    query = load(f"{path.parent.name}.{path.stem}")
    content = tomllib.loads(path.read_text(encoding="utf-8"))
    assert set(content) == {"case"}, f"{path.name}: only [[case]] tables belong here"
    cases = []
    for number, entry in enumerate(content["case"], 1):
        where = f"{path.name}, case {number}"
        assert set(entry) <= KEYS, f"{where}: unknown {sorted(set(entry) - KEYS)}"
        assert entry["kind"] in KINDS, f"{where}: kind {entry['kind']!r}"
        defaults = {"params": {}, "given": {}, "expect": []}
        cases.append(Case(query=query, number=number, **{**defaults, **entry}))
    return cases


def case_files() -> list[Path]:
    return sorted(FOLDER.glob("*/*.toml"))


def all_cases() -> list[Case]:
    return [case for path in case_files() for case in read(path)]


def case_id(case: Case) -> str:
    return f"{case.query.full_name}-{case.number}-{case.kind}"


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty table for every relation, made from its header."""
    with duckdb.connect() as connection:
        for stage in stages():
            connection.execute(f"create schema if not exists {stage}")
        for query in queries():
            connection.execute(statements.create_table(query))
        yield connection


@pytest.mark.parametrize("case", all_cases(), ids=case_id)
def test_case(case: Case, tables: duckdb.DuckDBPyConnection) -> None:
    tables.execute("begin transaction")
    try:
        for relation, rows in case.given.items():
            fill(tables, case.query, relation, rows)
        result = tables.execute(case.query.text, dict(case.params))
        columns = [column[0] for column in result.description or []]
        got = [dict(zip(columns, row, strict=True)) for row in result.fetchall()]
    finally:
        tables.execute("rollback")
    check_grain(case.query, got)
    compare(case, got)


def fill(
    tables: duckdb.DuckDBPyConnection, query: Query, relation: str, rows: list[dict[str, Any]]
) -> None:
    """Insert given rows; columns that a row does not name are NULL."""
    assert relation in query.reads, f"{query.full_name} does not read {relation}"
    types = {column.name: column.type for column in load(relation).yields}
    for row in rows:
        assert set(row) <= set(types), f"{relation} has no {sorted(set(row) - set(types))}"
        values = [json.dumps(v) if types[k] == "JSON" else v for k, v in row.items()]
        columns = ", ".join(statements.name(column) for column in row)
        marks = ", ".join("?" for _ in row)
        tables.execute(f"insert into {relation} ({columns}) values ({marks})", values)


def check_grain(query: Query, rows: list[dict[str, Any]]) -> None:
    keys = [tuple(row[column] for column in query.grain) for row in rows]
    assert len(set(keys)) == len(keys), "the grain of the header is not unique"
    assert not [key for key in keys if None in key], "NULL in the grain"


def compare(case: Case, got: list[dict[str, Any]]) -> None:
    """Rows equal those expected in the columns that are named there."""
    columns = list(case.expect[0]) if case.expect else []
    known = [column.name for column in case.query.yields]
    assert set(columns) <= set(known), f"no column {sorted(set(columns) - set(known))}"
    assert all(list(row) == columns for row in case.expect), "expected rows differ in columns"
    given = [[row[column] for column in columns] for row in got]
    wanted = [[None if row[c] == NULL else row[c] for c in columns] for row in case.expect]
    assert len(given) == len(wanted), f"{case.about}: {got}"
    if not case.ordered:
        given, wanted = sorted(given, key=sortable), sorted(wanted, key=sortable)
    for place, (row, expected) in enumerate(zip(given, wanted, strict=True)):
        assert same(row, expected, case.tolerance), (
            f"{case.about}\nrow {place}: {dict(zip(columns, row, strict=True))}"
            f"\nexpected: {dict(zip(columns, expected, strict=True))}"
        )


def sortable(row: list[Any]) -> str:
    """Rows in any order that does not depend on the last digits of floats."""
    return json.dumps([f"{v:.6g}" if isinstance(v, float) else v for v in row], default=str)


def same(value: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(value, list) and isinstance(expected, list):
        return len(value) == len(expected) and all(
            same(one, other, tolerance) for one, other in zip(value, expected, strict=True)
        )
    if isinstance(value, float) and isinstance(expected, int | float):
        if math.isnan(value) or math.isnan(expected):
            return math.isnan(value) and math.isnan(expected)
        return math.isclose(value, expected, rel_tol=tolerance, abs_tol=tolerance)
    return type(value) is type(expected) and bool(value == expected)


# -- every query has its cases --------------------------------------------------------------------


def test_every_query_has_a_case_file() -> None:
    covered = {f"{path.parent.name}.{path.stem}" for path in case_files()}
    wanted = {query.full_name for query in queries() if query.stage != RAW}
    assert covered == wanted


@pytest.mark.parametrize("path", case_files(), ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_every_file_has_an_ordinary_an_empty_and_a_tie_case(path: Path) -> None:
    cases = read(path)
    assert {case.kind for case in cases} == KINDS
    assert all(case.expect for case in cases if case.kind in ("ordinary", "tie"))
    assert len({case.about for case in cases}) == len(cases)


# -- the runner itself ----------------------------------------------------------------------------


def example(**changes: Any) -> Case:
    base = {
        "query": load("staging.level_edges"),
        "number": 1,
        "about": "one activation",
        "kind": "ordinary",
        "params": {"run_id": "s"},
        "given": {
            "raw.activations": [{"run_id": "s", "latent_id": 0, "case_id": 0, "value": 2.0}],
            "staging.cases": [{"run_id": "s", "case_id": 0}],
        },
        "expect": [{"run_id": "s", "n_activations": 1}],
    }
    return Case(**{**base, **changes})


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"expect": [{"run_id": "s", "n_activations": 2}]}, "expected"),
    ({"expect": []}, "one activation"),
    ({"expect": [{"run_id": NULL}]}, "expected"),
    ({"expect": [{"nothing": 1}]}, "no column"),
    ({"expect": [{"run_id": "s"}, {"n_activations": 1}]}, "differ in columns"),
    ({"given": {"raw.users": []}}, "does not read"),
    ({"given": {"raw.activations": [{"weight": 1}]}}, "has no"),
]


def test_the_runner_accepts_what_is_right(tables: duckdb.DuckDBPyConnection) -> None:
    test_case(example(), tables)


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_the_runner_refuses_what_is_wrong(
    tables: duckdb.DuckDBPyConnection, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        test_case(example(**changes), tables)


def test_values_are_compared_with_their_types() -> None:
    assert same(0.1 + 0.2, 0.3, TOLERANCE)
    assert same([1, None, [0.5]], [1, None, [0.5]], TOLERANCE)
    assert same(float("nan"), float("nan"), TOLERANCE)
    for value, expected in ((1, 2), (1, 1.0), (True, 1), ("1", 1), (0.1, 0.2), ([1], [1, 2])):
        assert not same(value, expected, TOLERANCE)
    assert not same(None, 0.0, TOLERANCE)
    assert not same(float("nan"), 1.0, TOLERANCE)
