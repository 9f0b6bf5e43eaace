"""``recsae schema``: the list of relations, one relation, and names that do not exist."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsae.cli import schema as command
from recsae.warehouse import Warehouse, load, queries
from recsae.warehouse.sql import VIEWS

if TYPE_CHECKING:
    from conftest import Result


@pytest.fixture
def schema(cli: Callable[..., Result], filled_warehouse: Path) -> Callable[..., Result]:
    def run(*words: object) -> Result:
        return cli("schema", *words, "--warehouse", filled_warehouse)

    return run


def test_list(schema: Callable[..., Result]) -> None:
    result = schema("--json")
    assert (result.code, result.err) == (0, "")
    rows = json.loads(result.out)
    views = sorted(query.name for query in queries(VIEWS))
    assert [row["relation"] for row in rows[: len(views)]] == views
    assert all(row["comment"] for row in rows)
    found = {row["relation"]: row for row in rows}
    assert (found["latents"]["kind"], found["latents"]["rows"]) == ("view", 4)
    assert (found["raw.runs"]["kind"], found["raw.runs"]["rows"]) == ("table", 3)
    assert found["raw.cases"]["rows"] == 7


def test_list_for_people(schema: Callable[..., Result]) -> None:
    lines = schema().out.splitlines()
    assert lines[0].split() == ["relation", "kind", "comment", "rows"]
    assert max(map(len, lines)) <= 80


def test_one_relation(schema: Callable[..., Result]) -> None:
    (about,) = json.loads(schema("raw.runs", "--json").out)
    query = load("raw.runs")
    assert about["comment"].startswith(query.purpose)
    columns = [(c["column"], c["type"], c["comment"]) for c in about["columns"]]
    assert columns == [(c.name, c.type, c.text) for c in query.yields]
    assert about["columns"][0]["example"] in ("rec-1", "rec-2", "sae-1")
    assert schema("latents", "--json").out == schema("main.latents", "--json").out


def test_one_relation_for_people(schema: Callable[..., Result]) -> None:
    out = schema("latents").out
    assert out.startswith(f"latents (view): {load('latents').purpose} Grain: run_id, latent_id.\n")
    assert "sae-1" in out


def test_a_relation_without_rows(schema: Callable[..., Result]) -> None:
    (about,) = json.loads(schema("concepts", "--json").out)
    assert {column["example"] for column in about["columns"]} == {None}
    assert "concept" in schema("concepts").out


@pytest.mark.parametrize(
    ("name", "near"), [("latent", "latents"), ("raw.run", "raw.runs"), ("report.overview", "")]
)
def test_unknown(schema: Callable[..., Result], name: str, near: str) -> None:
    result = schema(name)
    assert (result.code, result.out) == (2, "")
    first, second = result.err.splitlines()
    assert first == f"recsae: error: no relation is called {name!r}"
    assert second.startswith("hint: there is ")
    assert near in second


def test_rows_that_take_too_long_stay_open(
    schema: Callable[..., Result], filled_warehouse: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse.open(filled_warehouse, read_only=True) as store:
        assert command.n_rows(store, "raw.runs") == 3
        monkeypatch.setattr(command, "PATIENCE", 0.0)
        assert command.n_rows(store, "latent_neighbours") is None
    assert schema().code == 0


def test_long_examples_are_cut() -> None:
    assert command.short("x" * 41) == "x" * 37 + "..."
    assert command.short("x" * 40) == "x" * 40
    assert command.short(None) == ""


def test_upgrade(root: Path, cli: Callable[..., Result]) -> None:
    result = cli("schema", "--upgrade", "--json", "--warehouse", root)
    assert (result.code, result.err) == (0, f"{root} has the present layout\n")
    assert json.loads(result.out)
