"""Relations stored from their queries: per run, all or none, checked against their grain."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl
import pytest

from recsae.errors import DataError, MissingStageError, UsageError
from recsae.warehouse import Warehouse, load, queries, statements

EDGES = "staging.level_edges"


@pytest.fixture
def warehouse(filled: Path) -> Iterator[Warehouse]:
    with Warehouse.open(filled) as opened:
        yield opened


def draw_cases(warehouse: Warehouse) -> None:
    """What the edges of sae-1 are made of."""
    for relation in ("staging.user_sides", "staging.cases"):
        warehouse.build(relation, {p.name: PARAMS[p.name] for p in load(relation).params})


def test_built_per_run(warehouse: Warehouse) -> None:
    draw_cases(warehouse)
    assert warehouse.build(EDGES, {"run_id": "sae-1"}) == 1
    assert warehouse.build(EDGES, {"run_id": "nothing"}) == 0
    assert warehouse.sql(f"from {EDGES}")["n_activations"].to_list() == [2]
    assert warehouse.build(EDGES, {"run_id": "sae-1"}) == 1
    assert warehouse.sql(f"from {EDGES}").height == 1


def test_stored_with_the_types_and_comments_of_the_header(warehouse: Warehouse) -> None:
    draw_cases(warehouse)
    warehouse.build(EDGES, {"run_id": "sae-1"})
    query = load(EDGES)
    assert warehouse.columns(EDGES) == {column.name: column.type for column in query.yields}
    about = warehouse.sql("select comment from duckdb_tables() where table_name = 'level_edges'")
    assert about.item() == f"{query.purpose} Grain: run_id."


@pytest.mark.parametrize(
    ("params", "message", "hint"),
    [
        ({}, "staging.level_edges needs the parameter run_id", "it takes run_id"),
        (
            {"run_id": "r", "seed": 1},
            "staging.level_edges has no parameter seed",
            "it takes run_id",
        ),
    ],
)
def test_params_are_exactly_those_of_the_header(
    warehouse: Warehouse, params: dict[str, object], message: str, hint: str
) -> None:
    for attempt in (warehouse.build, warehouse.query):
        with pytest.raises(UsageError) as caught:
            attempt(EDGES, params)
        assert (caught.value.message, caught.value.hint) == (message, hint)


def test_only_relations_of_a_run_are_stored(warehouse: Warehouse) -> None:
    with pytest.raises(DataError, match=r"raw.datasets cannot be stored"):
        warehouse.build("raw.datasets", {})


def test_a_stage_that_has_not_run_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(MissingStageError) as caught:
        warehouse.build("staging.case_pool", {"run_id": "r", "seed": 1, "pool_cases": 1})
    assert caught.value.message == "staging.cases has not been built yet"
    assert caught.value.hint == "recsae concepts"
    with pytest.raises(MissingStageError) as caught:
        warehouse.require_relation("confidence.scores")
    assert caught.value.hint == "recsae confidence"


def test_query_is_not_stored(warehouse: Warehouse) -> None:
    draw_cases(warehouse)
    assert warehouse.query(EDGES, {"run_id": "sae-1"})["n_activations"].to_list() == [2]
    assert not warehouse.exists(EDGES)


PARAMS = {
    "run_id": "sae-1",
    "seed": 0,
    "construct_share": 0.5,
    "heldout_share": 0.1,
    "popularity_bins": 2,
    "max_cases": 9,
    "pool_cases": 5,
    "permutation": 0,
    "top_items": 1,
    "history_items": 2,
}


def test_a_stage_is_built_in_order(warehouse: Warehouse) -> None:
    assert {param.name for query in queries("staging") for param in query.params} == set(PARAMS)
    built = warehouse.build_stage("staging", PARAMS)
    assert list(built) == [query.full_name for query in queries("staging")]
    assert (built["staging.cases"], built["staging.activation_levels"]) == (3, 2)


def test_a_stage_is_built_all_or_none(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError, match="needs the parameter permutation"):
        warehouse.build_stage("staging", {k: v for k, v in PARAMS.items() if k != "permutation"})
    assert not any(warehouse.exists(query.full_name) for query in queries("staging"))
    with pytest.raises(UsageError, match=r"no query of stage staging takes \$x, \$y"):
        warehouse.build_stage("staging", {**PARAMS, "y": 1, "x": 2})


def broken_grain(warehouse: Warehouse) -> None:
    warehouse.build("staging.user_sides", {k: PARAMS[k] for k in PARAMS if k in USER_SIDES})
    warehouse.execute("insert into staging.user_sides from staging.user_sides")


USER_SIDES = {"run_id", "seed", "construct_share", "heldout_share"}


def test_a_broken_grain_changes_nothing(warehouse: Warehouse) -> None:
    broken_grain(warehouse)
    with pytest.raises(DataError, match=r"staging.cases: not one row per \(run_id, case_id\)"):
        warehouse.build("staging.cases", {"run_id": "sae-1", "seed": 0, "max_cases": 9})
    assert not warehouse.exists("staging.cases")


def edges(run_id: str = "sae-1", n: int = 3) -> pl.DataFrame:
    return pl.DataFrame({"run_id": [run_id], "n_activations": [n], "edges": [[0.5, 1.0]]})


def test_replace_rows_of_one_run(warehouse: Warehouse) -> None:
    assert warehouse.replace_rows(EDGES, "sae-1", edges()) == 1
    warehouse.replace_rows(EDGES, "sae-2", edges("sae-2"))
    warehouse.replace_rows(EDGES, "sae-1", edges(n=9))
    rows = warehouse.sql(f"select run_id, n_activations from {EDGES} order by all").rows()
    assert rows == [("sae-1", 9), ("sae-2", 3)]


def test_replace_rows_refuses_and_keeps_the_old(warehouse: Warehouse) -> None:
    warehouse.replace_rows(EDGES, "sae-1", edges())
    with pytest.raises(DataError, match="not one row per"):
        warehouse.replace_rows(EDGES, "sae-1", pl.concat([edges(), edges()]))
    with pytest.raises(DataError, match="lacks edges"):
        warehouse.replace_rows(EDGES, "sae-1", edges().drop("edges"))
    assert warehouse.sql(f"from {EDGES}").height == 1


def test_replace_rows_in_raw(warehouse: Warehouse) -> None:
    row = {"run_id": "sae-1", "latent_id": 0, "rank": 1, "item_id": 2, "score": 0.5}
    schema = {"latent_id": pl.Int32, "rank": pl.Int32, "item_id": pl.Int32, "score": pl.Float32}
    frame = pl.DataFrame([row], schema_overrides=schema)
    assert warehouse.replace_rows("raw.decoder_items", "sae-1", frame) == 1
    with pytest.raises(duckdb.ConstraintException):
        warehouse.replace_rows(
            "raw.decoder_items", "sae-1", frame.with_columns(rank=pl.lit(0, pl.Int32))
        )
    assert warehouse.sql("from raw.decoder_items").height == 1


def test_a_table_of_another_version_goes_with_the_stages_that_made_it(
    warehouse: Warehouse,
) -> None:
    draw_cases(warehouse)
    warehouse.execute(f"create table {statements.name(EDGES)} (run_id varchar, old integer)")
    warehouse.start_stage("sae-1", "concepts", {}, "h")
    warehouse.finish_stage("sae-1", "concepts", seconds=1.0)
    warehouse.build(EDGES, {"run_id": "sae-1"})
    assert "old" not in warehouse.columns(EDGES)
    assert not warehouse.stage_done("sae-1", "concepts")
    assert warehouse.stage_done("sae-1", "encode")
