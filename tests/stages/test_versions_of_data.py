"""Content of a data set that has been replaced: kept for its runs, checked, and repaired alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from stages.finished import Finished

from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]

TABLES = ("datasets", "users", "items", "item_tags", "interactions")


@pytest.fixture
def at(own: Finished, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Finished:
    """A finished warehouse whose data set has been replaced by other content."""
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(own.root))
    monkeypatch.setenv("RECSAE_DATA", str(tmp_path / "next"))
    sizes = ("--concepts", 4, "--users", 60, "--items", 80)
    assert cli("data", "prepare", "planted", *sizes).code == 0
    assert cli("train", "BPRMF", "planted", "--epochs", 1).code == 0
    return own


def counts(at: Finished) -> dict[tuple[str, str], int]:
    """Rows of every version in every table."""
    with Warehouse.open(at.root, read_only=True) as warehouse:
        return {
            (table, dataset): n
            for table in TABLES
            for dataset, n in warehouse.sql(
                f"select dataset, count(*) from raw.{table} group by all"
            ).rows()
        }


def damage(at: Finished, statement: str) -> None:
    with duckdb.connect(str(at.root / "recsae.duckdb")) as connection:
        connection.execute(statement)


def version(at: Finished) -> str:
    with Warehouse.open(at.root, read_only=True) as warehouse:
        return warehouse.run(at.sae).dataset


def test_rows_of_the_present_content_are_loaded_again_alone(at: Finished, cli: Cli) -> None:
    before = counts(at)
    assert {dataset for _, dataset in before} == {"planted", version(at)}
    damage(at, "delete from raw.items where dataset = 'planted' and item_id < 9")
    assert "raw.items has 72 rows of data set planted, not 80" in cli("check").out
    repaired = cli("repair")
    assert "data set planted is loaded again" in repaired.err + repaired.out
    assert counts(at) == before
    assert cli("check").code == 0
    assert not list(at.root.glob("recsae.duckdb.damaged-*"))


def test_what_is_left_of_lost_content_stays(at: Finished, cli: Cli) -> None:
    """data/ has other content by now, so its rows cannot be loaded again; nothing else suffers."""
    old = version(at)
    damage(at, f"delete from raw.item_tags where dataset = '{old}' and item_id < 9")
    before = counts(at)
    repaired = cli("repair")
    assert repaired.code == 1
    assert f"data set {old}: planted is prepared with other content" in (
        repaired.err + repaired.out
    )
    assert counts(at) == before


def test_lost_content_comes_back_when_it_is_prepared_again(
    at: Finished, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, before = version(at), counts(at)
    damage(at, f"delete from raw.item_tags where dataset = '{old}' and item_id < 9")
    monkeypatch.setenv("RECSAE_DATA", str(at.data))
    assert cli("repair").code == 0
    assert version(at) == "planted"
    sizes = {(table, dataset == old): n for (table, dataset), n in before.items()}
    after = counts(at)
    assert {(table, dataset == "planted"): n for (table, dataset), n in after.items()} == sizes
    assert cli("check").code == 0


def test_a_new_database_finds_which_content_a_run_was_made_from(at: Finished, cli: Cli) -> None:
    """Records beside the runs hold the fingerprint, whatever the content is called by then."""
    (at.root / "recsae.duckdb").write_bytes(b"x" * 5000)
    repaired = cli("repair")
    assert "data set planted is loaded again" in repaired.err + repaired.out
    with Warehouse.open(at.root, read_only=True) as warehouse:
        found = warehouse.sql("select dataset, data_fingerprint from raw.runs order by all")
        present = warehouse.dataset_info("planted")
        assert present is not None
        for dataset, fingerprint in found.rows():
            is_present = fingerprint == present["fingerprint"]
            assert dataset == ("planted" if is_present else f"planted@{fingerprint[:8]}")


def test_a_recommender_is_not_trained_again_on_other_content(at: Finished, cli: Cli) -> None:
    (at.root / "runs" / at.recommender / "items.npy").unlink()
    repaired = cli("repair", at.recommender)
    assert repaired.code == 1
    assert "prepared with other content than the run was made from" in repaired.err + repaired.out
