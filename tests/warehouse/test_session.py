"""Statements over one connection: transactions, typed inserts, grain checks, the trace."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recsae.errors import DataError
from recsae.warehouse import Warehouse

AWKWARD = st.text(
    st.one_of(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
        st.sampled_from("'\"\\;$%\n\r\t,|é🎬"),
    )
) | st.sampled_from(
    [
        "'; drop table raw.users; --",
        "$run_id",
        'Amélie\'s "best"\nof 2001 🎬',
        "NULL",
        "nan",
        "*/ or 1=1 --",
        "a\\b",
    ]
)


@pytest.fixture
def warehouse(root: Path) -> Iterator[Warehouse]:
    with Warehouse.open(root) as opened:
        yield opened


def users(**columns: object) -> pl.DataFrame:
    values = {"dataset": ["toy"], "user_id": [1], "source_user_id": ["a"], **columns}
    return pl.DataFrame(values, schema_overrides={"user_id": pl.Int32})


# -- transactions ---------------------------------------------------------------------------------


def test_commit(warehouse: Warehouse) -> None:
    with warehouse.transaction():
        warehouse.insert("raw.users", users())
    assert len(warehouse.sql("from raw.users")) == 1


def test_nested_transactions_end_together(warehouse: Warehouse) -> None:
    def failing() -> None:
        with warehouse.transaction():
            with warehouse.transaction():
                warehouse.insert("raw.users", users())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        failing()
    assert warehouse.sql("from raw.users").is_empty()


def test_after_a_rollback_the_next_transaction_works(warehouse: Warehouse) -> None:
    def failing() -> None:
        with warehouse.transaction():
            warehouse.insert("raw.users", users())
            warehouse.sql("select 'x'::integer")

    with pytest.raises(duckdb.ConversionException):
        failing()
    with warehouse.transaction():
        warehouse.insert("raw.users", users())
    assert len(warehouse.sql("from raw.users")) == 1


def test_an_interrupt_rolls_back(warehouse: Warehouse) -> None:
    def interrupted() -> None:
        with warehouse.transaction():
            warehouse.insert("raw.users", users())
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert warehouse.sql("from raw.users").is_empty()


def test_a_failed_commit_tells_its_own_error(
    warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = warehouse.execute

    def failing(text: str, params: dict[str, object] | None = None) -> None:
        if text == "commit":
            execute("rollback")
            raise duckdb.IOException("No space left on device")
        execute(text, params)

    monkeypatch.setattr(warehouse, "execute", failing)
    with pytest.raises(duckdb.IOException, match="No space left"), warehouse.transaction():
        pass


# -- insert ---------------------------------------------------------------------------------------


def test_insert_matches_columns_by_name(warehouse: Warehouse) -> None:
    assert warehouse.insert("raw.users", users().select("user_id", "source_user_id", "dataset"))
    assert warehouse.sql("from raw.users").rows() == [("toy", 1, "a")]


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (users().drop("source_user_id"), "raw.users: the data lacks source_user_id"),
        (users(age=[3]), "raw.users: the data has the unknown age"),
        (
            users(age=[3]).drop("dataset", "user_id"),
            "raw.users: the data lacks dataset, user_id and has the unknown age",
        ),
        (
            users().with_columns(pl.col("user_id").cast(pl.Int64)),
            "raw.users.user_id is INTEGER, but the data has BIGINT",
        ),
        (
            users().with_columns(pl.col("user_id").cast(pl.String)),
            "raw.users.user_id is INTEGER, but the data has VARCHAR",
        ),
        (
            users().with_columns(source_user_id=pl.lit(7)),
            "raw.users.source_user_id is VARCHAR, but the data has INTEGER",
        ),
    ],
)
def test_insert_refuses(warehouse: Warehouse, frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError) as caught:
        warehouse.insert("raw.users", frame)
    assert caught.value.message == message
    assert warehouse.sql("from raw.users").is_empty()


def test_insert_widens_where_values_keep_their_meaning(warehouse: Warehouse) -> None:
    interactions = pl.DataFrame(
        {"dataset": ["d"], "user_id": [1], "position": [1], "item_id": [1], "split": ["dev"]}
    ).with_columns(
        pl.col("user_id", "position", "item_id").cast(pl.Int32),
        time=pl.lit(5, pl.Int32),
    )
    warehouse.insert("raw.interactions", interactions)
    warehouse.insert("raw.interactions", interactions.with_columns(time=pl.lit(None)))
    assert warehouse.sql("from raw.interactions")["time"].to_list() == [5, None]


def test_insert_of_a_null_where_none_may_be(warehouse: Warehouse) -> None:
    with pytest.raises(duckdb.ConstraintException):
        warehouse.insert("raw.users", users(source_user_id=[None]))
    warehouse.insert("raw.users", users())


def test_insert_of_columns_without_any_value(warehouse: Warehouse) -> None:
    """Whatever the type of the table's column; DuckDB 1 takes those of the frame for INTEGER."""
    row = {"run_id": "s", "reply_id": "x", "task": "predict", "model": "m"}
    empty = dict.fromkeys(("text", "finish_reason", "tokens_in", "tokens_out", "seconds", "asked"))
    frame = pl.DataFrame([row | empty | {"error": None}])
    assert frame.schema["asked"] == pl.Null
    assert warehouse.insert("raw.replies", frame) == 1
    stored = warehouse.sql("from raw.replies").row(0, named=True)
    assert stored == row | empty | {"error": None}


def test_insert_failing_inside_a_transaction_tells_why(warehouse: Warehouse) -> None:
    with pytest.raises(duckdb.ConstraintException), warehouse.transaction():
        warehouse.insert("raw.users", users(user_id=[-1]))


# -- check ----------------------------------------------------------------------------------------


def test_check_shows_the_rows_that_repeat_the_grain(warehouse: Warehouse) -> None:
    warehouse.insert("raw.users", pl.concat([users(), users(source_user_id=["b"])]))
    with pytest.raises(DataError) as caught:
        warehouse.check("raw.users")
    assert caught.value.message == (
        "raw.users: not one row per (dataset, user_id): "
        "{'dataset': 'toy', 'user_id': 1, 'n_rows': 2}"
    )


def test_check_of_one_key_ignores_the_others(warehouse: Warehouse) -> None:
    warehouse.insert("raw.users", pl.concat([users(), users(), users(dataset=["other"])]))
    warehouse.check("raw.users", "other")
    with pytest.raises(DataError):
        warehouse.check("raw.users", "toy")


def test_check_finds_a_null_in_the_grain(warehouse: Warehouse) -> None:
    warehouse.execute("create table concepts.labels (run_id varchar, latent_id integer)")
    warehouse.execute("insert into concepts.labels values ('r', null)")
    with pytest.raises(DataError, match="'latent_id': None"):
        warehouse.check("concepts.labels", "r")


def test_check_names_five_rows_at_most(warehouse: Warehouse) -> None:
    many = pl.concat([users(user_id=[n]) for n in range(1, 10)])
    warehouse.insert("raw.users", pl.concat([many, many]))
    with pytest.raises(DataError) as caught:
        warehouse.check("raw.users")
    assert caught.value.message.count("n_rows") == 5


# -- statements and values ------------------------------------------------------------------------


def test_trace_sees_every_statement_with_its_values(root: Path) -> None:
    seen: list[tuple[str, dict[str, object]]] = []
    with Warehouse.open(root, trace=lambda text, params: seen.append((text, dict(params)))) as one:
        seen.clear()
        with one.transaction():
            one.sql("select $a as a", {"a": "it's"})
            one.insert("raw.users", users())
        one.check("raw.users", "toy")
    assert seen[:2] == [("begin transaction", {}), ("select $a as a", {"a": "it's"})]
    assert seen[2:6] == [
        ('describe select * from "inserted"', {}),
        ('describe select * from "raw"."users"', {}),
        ('insert into "raw"."users" by name select * from inserted', {}),
        ("commit", {}),
    ]
    assert seen[6] == (
        'select "dataset", "user_id", count(*) as n_rows from "raw"."users" '
        'where "dataset" = $key group by all having n_rows > 1 or "dataset" is null '
        'or "user_id" is null order by all limit 5',
        {"key": "toy"},
    )
    assert len(seen) == 7


def test_values_are_never_part_of_the_text(root: Path) -> None:
    nasty = "'; drop table raw.users; --"
    texts: list[str] = []
    with Warehouse.open(root, trace=lambda text, _: texts.append(text)) as warehouse:
        warehouse.insert("raw.users", users(source_user_id=[nasty], dataset=[nasty]))
        warehouse.check("raw.users", nasty)
        warehouse.dataset_info(nasty)
        assert warehouse.stage_state(nasty, "train") is None
    assert not [text for text in texts if nasty in text]


@pytest.fixture(scope="module")
def shared(empty_warehouse: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Warehouse]:
    root = tmp_path_factory.mktemp("values") / "warehouse"
    with Warehouse.open(root, create=True) as opened:
        yield opened


class RollBack(Exception):
    """Ends a transaction without a trace, for the next example."""


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(dataset=AWKWARD, text=AWKWARD, number=st.integers(-(2**63), 2**63 - 1))
def test_any_value_comes_back(shared: Warehouse, dataset: str, text: str, number: int) -> None:
    with suppress(RollBack), shared.transaction():
        shared.insert("raw.users", users(dataset=[dataset], source_user_id=[text]))
        assert shared.sql(
            "select *, $n as n from raw.users where dataset = $d", {"d": dataset, "n": number}
        ).rows() == [(dataset, 1, text, number)]
        shared.check("raw.users", dataset)
        raise RollBack


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.dictionaries(AWKWARD, AWKWARD | st.integers(-(2**53), 2**53) | st.booleans() | st.none()))
def test_any_configuration_comes_back(shared: Warehouse, params: dict[str, Any]) -> None:
    run = shared.start_run(
        "any", kind="recommender", dataset="d", model="m", params=params,
        data_fingerprint="f", seed=0, replace=True,
    )  # fmt: skip
    assert run.params == params
    assert json.loads(shared.sql("select params from raw.runs").item()) == params


def test_a_result_may_hold_any_type(warehouse: Warehouse) -> None:
    frame = warehouse.sql(
        "select interval '1 day 2 hours' as span, [1, null] as list, {'a': 1} as struct, "
        "timestamp '2001-02-03 04:05:06' as moment, 1.50::decimal(5, 2) as price, "
        "170141183460469231731687303715884105727::hugeint as huge, 'x'::blob as bytes, "
        "map {'k': 1} as map, null as nothing, date '2001-02-03' as day, 'nan'::double as nan, "
        "[interval '1 day'] as spans, uuid '00000000-0000-0000-0000-000000000001' as id, "
        "time '01:02:03' as clock, 'a'::enum ('a', 'b') as choice, '101'::bit as bits, "
        "{'span': interval '1 day'} as nested, union_value(n := 2) as either, "
        "340282366920938463463374607431768211455::uhugeint as most, 1 as same, 2 as same"
    )
    row = frame.row(0, named=True)
    assert row["span"] == "1 day 02:00:00"
    assert row["list"] == [1, None]
    assert row["struct"] == {"a": 1}
    assert row["moment"] == datetime(2001, 2, 3, 4, 5, 6)
    assert row["bytes"] == b"x"
    assert row["choice"] == "a"
    assert row["spans"] == "[1 day]"
    assert row["bits"] == "101"
    assert row["most"] == "340282366920938463463374607431768211455"
    assert (row["same"], row["same_1"]) == (1, 2)


def test_limit_and_statements_without_result(warehouse: Warehouse) -> None:
    assert warehouse.sql("from range(10)", limit=3).height == 3
    assert warehouse.sql("from range(10)", limit=0).height == 0
    assert warehouse.sql("create table raw.t (i integer)").is_empty()


def test_exists_and_columns(warehouse: Warehouse) -> None:
    assert warehouse.exists("raw.users")
    assert warehouse.exists("raw.cases")
    assert not warehouse.exists("raw.user")
    assert not warehouse.exists("staging.users")
    assert warehouse.columns("raw.users") == {
        "dataset": "VARCHAR",
        "user_id": "INTEGER",
        "source_user_id": "VARCHAR",
    }
