"""Parquet folders of runs: invisible until their stage is done, checked, replaced, moved."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

from recsae.errors import DataError
from recsae.warehouse import Warehouse, parquet, publish, temp_folder
from recsae.warehouse.parquet import cluster

if TYPE_CHECKING:
    from conftest import Maker

COUNT = "select run_id, count(*) as n from raw.cases group by all order by all"


def counts(root: Path) -> list[tuple[object, ...]]:
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.sql(COUNT).rows()


def test_nothing_is_visible_before_and_all_after(root: Path, make: Maker) -> None:
    with Warehouse.open(root) as warehouse:
        make.start(warehouse, "rec-1")
        warehouse.start_stage("rec-1", "train", {}, "h")
        with temp_folder(root, "rec-1") as temp:
            folders = make.folders(temp)
            assert warehouse.sql("from raw.cases").is_empty()
            metrics = pl.DataFrame(
                {"split": ["test"], "epoch": [0], "metric": ["HR@10"], "value": [0.5]}
            )
            warehouse.publish(
                "rec-1", "train", folders, seconds=3.0, peak_memory_mb=9.0, metrics=metrics
            )
        assert warehouse.sql(COUNT).rows() == [("rec-1", 3)]
        assert warehouse.sql("from raw.recommendations").rows()[0] == ("rec-1", 0, 1, 7, 0.5)
        assert warehouse.metrics("rec-1")["value"].to_list() == [0.5]
        assert warehouse.stage_state("rec-1", "train").peak_memory_mb == 9.0
    assert not list((root / "tmp").glob("*"))


def test_files_without_a_finished_stage_stay_invisible(filled: Path) -> None:
    shutil.copytree(filled / "cases" / "run_id=rec-1", filled / "cases" / "run_id=stranger")
    with Warehouse.open(filled) as warehouse:
        with warehouse.transaction():
            publish.refresh_views(warehouse)
        assert warehouse.sql(COUNT).rows() == [("rec-1", 3), ("rec-2", 4)]


def test_published_again_replaces(filled: Path, make: Maker) -> None:
    with Warehouse.open(filled) as warehouse:
        make.recommender(warehouse, "rec-1", 5)
        assert warehouse.sql(COUNT).rows() == [("rec-1", 5), ("rec-2", 4)]
    assert len(list((filled / "cases" / "run_id=rec-1").glob("*.parquet"))) == 1
    assert not list((filled / "tmp").glob("rec-1*"))


def test_a_failing_registration_leaves_nothing_visible(
    root: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse.open(root) as warehouse:
        make.start(warehouse, "rec-1")
        warehouse.start_stage("rec-1", "train", {}, "h")
        twice = pl.DataFrame(
            {"split": ["test"] * 2, "epoch": [0] * 2, "metric": ["x"] * 2, "value": [0.5, 1.0]}
        )
        with temp_folder(root, "rec-1") as temp:
            folders = make.folders(temp)
            with pytest.raises(DataError, match=r"raw.metrics: not one row"):
                warehouse.publish("rec-1", "train", folders, seconds=1.0, metrics=twice)
        assert warehouse.sql("from raw.cases").is_empty()
        make.publish(warehouse, "rec-1")
        assert warehouse.sql(COUNT).rows() == [("rec-1", 3)]


def wrong(temp: Path, kind: str) -> str:
    """Spoil the cases in a temporary folder in one way; returns the message to expect."""
    path = temp / "cases" / "part-0.parquet"
    frame = pl.read_parquet(path)
    if kind == "column":
        frame.drop("position").write_parquet(path)
        return "raw.cases: the data lacks position"
    if kind == "extra":
        frame.with_columns(pl.lit(1).alias("more")).write_parquet(path)
        return "raw.cases: the data has the unknown more"
    if kind == "type":
        frame.with_columns(pl.col("user_id").cast(pl.Int64)).write_parquet(path)
        return "raw.cases.user_id is INTEGER, but the data has BIGINT"
    if kind == "second file":
        frame.cast({"case_id": pl.Int32}).write_parquet(path.with_name("part-1.parquet"))
        return "raw.cases.case_id is BIGINT, not INTEGER"
    if kind == "none":
        path.unlink()
        return "cases: no Parquet file was written into"
    path.write_bytes(path.read_bytes()[:40])
    return "cases: "


@pytest.mark.parametrize("kind", ["column", "extra", "type", "second file", "none", "truncated"])
def test_wrong_files_are_refused(root: Path, make: Maker, kind: str) -> None:
    with Warehouse.open(root) as warehouse:
        make.start(warehouse, "rec-1")
        warehouse.start_stage("rec-1", "train", {}, "h")
        with temp_folder(root, "rec-1") as temp:
            folders = make.folders(temp)
            message = wrong(temp, kind)
            with pytest.raises(DataError) as caught:
                warehouse.publish("rec-1", "train", folders, seconds=1.0)
        assert caught.value.message.startswith(message)
        assert "\n" not in caught.value.message
        assert not warehouse.stage_done("rec-1", "train")
    assert not (root / "cases").exists()


def test_a_stage_publishes_exactly_its_kinds(root: Path, make: Maker, tmp_path: Path) -> None:
    with Warehouse.open(root) as warehouse:
        make.start(warehouse, "rec-1")
        warehouse.start_stage("rec-1", "train", {}, "h")
        folders = make.folders(tmp_path / "new")
        with pytest.raises(DataError, match=r"stage train publishes .*'recommendations'"):
            warehouse.publish("rec-1", "train", {"cases": folders["cases"]}, seconds=1.0)


def test_run_ids_that_look_like_numbers_stay_text(root: Path, make: Maker) -> None:
    with Warehouse.open(root) as warehouse:
        for run_id in ("007", "2020-01-01", "1e5", "true"):
            make.recommender(warehouse, run_id, 1)
        assert warehouse.columns("raw.cases")["run_id"] == "VARCHAR"
        found = warehouse.sql("select distinct run_id from raw.cases order by all")
    assert found["run_id"].to_list() == ["007", "1e5", "2020-01-01", "true"]


def test_a_filter_on_run_id_opens_only_the_files_of_that_run(filled: Path) -> None:
    with Warehouse.open(filled, read_only=True) as warehouse:
        plan = warehouse.sql(
            "explain analyze select count(score) from raw.recommendations where run_id = 'rec-2'"
        )
    assert re.search(r"Total Files Read: +1\b", str(plan["explain_value"][0]))


def test_views_carry_their_comments(filled: Path) -> None:
    with duckdb.connect(str(filled / "recsae.duckdb"), read_only=True) as connection:
        about = connection.execute(
            "select comment from duckdb_views() where view_name = 'activations'"
        ).fetchall()
    assert about[0][0].startswith("every latent that fired")


def test_a_path_of_awkward_letters(tmp_path: Path, empty_warehouse: Path, make: Maker) -> None:
    root = tmp_path / "it's [a] *wild* {path} é 🎬"
    shutil.copytree(empty_warehouse, root)
    with Warehouse.open(root) as warehouse:
        make.recommender(warehouse, "rec-1", 3)
    assert counts(root) == [("rec-1", 3)]
    shutil.move(root, tmp_path / "lr=0.1, else")
    assert counts(tmp_path / "lr=0.1, else") == [("rec-1", 3)]


def test_a_relative_path_means_the_same_from_elsewhere(
    filled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(filled.parent)
    assert counts(Path("warehouse")) == [("rec-1", 3), ("rec-2", 4)]
    (filled.parent / "link").symlink_to(filled)
    assert counts(Path("link")) == [("rec-1", 3), ("rec-2", 4)]


# -- moved and copied -----------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["moved", "copied"])
def test_elsewhere_it_reads_without_a_change(filled: Path, tmp_path: Path, how: str) -> None:
    elsewhere = tmp_path / "else where"
    if how == "moved":
        shutil.move(filled, elsewhere)
    else:
        shutil.copytree(filled, elsewhere)
        # the original must not be what is read
        (filled / "cases" / "run_id=rec-1" / "part-0.parquet").unlink()
    before = (elsewhere / "recsae.duckdb").read_bytes()
    with Warehouse.open(elsewhere, read_only=True) as warehouse:
        assert warehouse.sql(COUNT).rows() == [("rec-1", 3), ("rec-2", 4)]
        assert warehouse.sql("select count(*) from raw.activations").item() == 2
        assert warehouse.find_run("latest", "sae").run_id == "sae-1"
        assert warehouse.stage_done("sae-1", "encode")
        assert warehouse.runs().height == 3
        assert warehouse.exists("raw.users")
        with pytest.raises(duckdb.Error):
            warehouse.execute("delete from raw.runs")
    assert (elsewhere / "recsae.duckdb").read_bytes() == before


def test_elsewhere_plain_duckdb_reads_tables_and_after_one_write_the_views(
    filled: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(filled, elsewhere)
    with duckdb.connect(str(elsewhere / "recsae.duckdb"), read_only=True) as connection:
        assert connection.sql("select count(*) from raw.runs").fetchall() == [(3,)]
    with Warehouse.open(elsewhere):
        pass
    with duckdb.connect(str(elsewhere / "recsae.duckdb"), read_only=True) as connection:
        assert connection.sql(COUNT).fetchall() == [("rec-1", 3), ("rec-2", 4)]


# -- damaged and lost -----------------------------------------------------------------------------

FILE = "cases/run_id=rec-1/part-0.parquet"


@pytest.mark.parametrize("kept", [0, 3, 40, -1])
def test_truncated_file_is_named_with_the_command_that_makes_it(filled: Path, kept: int) -> None:
    path = filled / FILE
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(DataError) as caught:
        counts(filled)
    assert caught.value.message == f"{path.resolve()} is missing or damaged"
    assert caught.value.hint == "recsae train bprmf toy --force"


def test_overwritten_data_is_noticed(filled: Path) -> None:
    path = filled / FILE
    data = bytearray(path.read_bytes())
    data[4:60] = b"\xff" * 56
    path.write_bytes(bytes(data))
    with (
        Warehouse.open(filled, read_only=True) as warehouse,
        pytest.raises((DataError, duckdb.Error)),
    ):
        warehouse.sql("select * from raw.cases where run_id = 'rec-1'")


def test_missing_file_is_named(filled: Path) -> None:
    (filled / "activations" / "run_id=sae-1" / "part-0.parquet").unlink()
    with Warehouse.open(filled, read_only=True) as warehouse, pytest.raises(DataError) as caught:
        warehouse.sql("from raw.activations")
    assert "activations/run_id=sae-1/" in caught.value.message
    assert caught.value.hint == "recsae sae encode sae-1 --force"


def test_a_damaged_run_can_be_made_again(filled: Path, make: Maker) -> None:
    """The refresh of the views meets the broken file inside a transaction."""
    for name in ("rec-1", "rec-2"):
        (filled / "cases" / f"run_id={name}" / "part-0.parquet").write_bytes(b"PAR1")
    with Warehouse.open(filled) as warehouse:
        make.recommender(warehouse, "rec-3", 2)
        assert warehouse.sql(COUNT).rows() == [("rec-3", 2)]
        make.recommender(warehouse, "rec-1", 3)
        make.recommender(warehouse, "rec-2", 1)
        assert warehouse.sql(COUNT).rows() == [("rec-1", 3), ("rec-2", 1), ("rec-3", 2)]


def test_a_damaged_run_does_not_hide_the_others_elsewhere(filled: Path, tmp_path: Path) -> None:
    (filled / FILE).write_bytes(b"")
    shutil.move(filled, tmp_path / "elsewhere")
    assert counts(tmp_path / "elsewhere") == [("rec-2", 4)]


# -- sorting --------------------------------------------------------------------------------------


def test_cluster_sorts_and_keeps_types(tmp_path: Path) -> None:
    source, target = tmp_path / "it's.parquet", tmp_path / "sorted.parquet"
    frame = pl.DataFrame(
        {"latent_id": [2, 1, 1, 0], "case_id": [0, 9, 3, 5], "value": [0.1, 0.2, 0.3, 0.4]},
        schema={"latent_id": pl.Int32, "case_id": pl.Int64, "value": pl.Float32},
    )
    frame.write_parquet(source)
    cluster(source, target, ["latent_id", "case_id"], tmp_path)
    assert pl.read_parquet(target).equals(frame.sort("latent_id", "case_id"))


@pytest.mark.parametrize(("rows", "n_blocks"), [(300, 1), (390, 1), (400, 2), (5000, 7)])
def test_cluster_in_blocks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, n_blocks: int
) -> None:
    """Ranges of users, each in the order of latents; a small file is one range."""
    monkeypatch.setattr(parquet, "ROW_GROUP", 100)
    source, target = tmp_path / "source.parquet", tmp_path / "sorted.parquet"
    places = range(rows)
    frame = pl.DataFrame(
        {
            "latent_id": [place * 7 % 11 for place in places],
            "user_id": [place // 2 + 5 for place in places],
            "case_id": list(places),
        }
    )
    frame.write_parquet(source)
    order = ["latent_id", "case_id"]
    cluster(source, target, order, tmp_path, blocks="user_id")
    found = pl.read_parquet(target)
    n_users = -(-rows // 2)
    width = -(-n_users // n_blocks)
    block = (pl.col("user_id") - 5) // width
    assert found.equals(frame.sort(block, *order))
    assert found.select(block.n_unique()).item() == n_blocks


def test_cluster_of_no_rows(tmp_path: Path) -> None:
    source, target = tmp_path / "source.parquet", tmp_path / "sorted.parquet"
    pl.DataFrame(schema={"latent_id": pl.Int32, "user_id": pl.Int32}).write_parquet(source)
    cluster(source, target, ["latent_id"], tmp_path, blocks="user_id")
    assert pl.read_parquet(target).is_empty()
