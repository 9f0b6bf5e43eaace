"""Runs: their names, their life, and the references by which people find them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import recsae
from recsae.errors import DataError, MissingStageError, RecsaeError, UsageError
from recsae.warehouse import Run, Warehouse

DIGEST = "0123456789abcdef"


@pytest.fixture
def warehouse(root: Path) -> Iterator[Warehouse]:
    with Warehouse.open(root) as opened:
        yield opened


def start(warehouse: Warehouse, run_id: str, parent: str | None = None, **more: Any) -> Run:
    return warehouse.start_run(
        run_id,
        kind="sae" if parent else "recommender",
        dataset="toy",
        model="m",
        params={},
        data_fingerprint="f",
        seed=3,
        parent_run_id=parent,
        **more,
    )


def done(warehouse: Warehouse, run_id: str, parent: str | None = None) -> None:
    start(warehouse, run_id, parent)
    warehouse.finish_run(run_id, 1.0)


# -- names ----------------------------------------------------------------------------------------


def test_a_name_gets_four_digits(warehouse: Warehouse) -> None:
    assert warehouse.name_run("sasrec-toy", DIGEST) == "sasrec-toy-0123"


def test_the_same_input_finds_its_own_run(warehouse: Warehouse) -> None:
    start(warehouse, "m-0123")
    warehouse.start_stage("m-0123", "train", {}, DIGEST)
    assert warehouse.name_run("m", DIGEST) == "m-0123"


def test_another_run_with_the_same_digits_lengthens_the_name(warehouse: Warehouse) -> None:
    start(warehouse, "m-0123")
    warehouse.start_stage("m-0123", "train", {}, "0123ffff")
    assert warehouse.name_run("m", DIGEST) == "m-01234"
    start(warehouse, "m-01234")
    warehouse.start_stage("m-01234", "train", {}, "01234fff")
    assert warehouse.name_run("m", DIGEST) == "m-012345"


def test_no_name_is_left(warehouse: Warehouse) -> None:
    start(warehouse, "m-0123")
    warehouse.start_stage("m-0123", "train", {}, "other")
    with pytest.raises(DataError, match="no run id is left"):
        warehouse.name_run("m", "0123")


def test_a_base_that_cannot_be_a_folder(warehouse: Warehouse) -> None:
    with pytest.raises(UsageError, match="cannot be used as a folder name"):
        warehouse.name_run("a/b", DIGEST)


# -- life -----------------------------------------------------------------------------------------


def test_start_finish(warehouse: Warehouse) -> None:
    before = datetime.now(UTC).replace(tzinfo=None)
    run = start(warehouse, "r-1")
    assert (run.status, run.seconds, run.parent_run_id) == ("running", None, None)
    assert (run.code_version, run.seed, run.dataset) == (recsae.__version__, 3, "toy")
    assert timedelta(0) <= run.started - before < timedelta(minutes=1)
    warehouse.finish_run("r-1", 12.5)
    assert warehouse.run("r-1").status == "done"
    assert warehouse.run("r-1").seconds == 12.5


def test_fail_marks_the_running_stage_too(warehouse: Warehouse) -> None:
    start(warehouse, "r-1")
    warehouse.start_stage("r-1", "train", {}, "h")
    warehouse.fail_run("r-1", 2.0)
    assert warehouse.run("r-1").status == "failed"
    state = warehouse.stage_state("r-1", "train")
    assert state is not None
    assert state.status == "failed"


def test_fail_stage_fails_the_run_only_while_training(warehouse: Warehouse) -> None:
    start(warehouse, "s-1", "r-1")
    warehouse.start_stage("s-1", "train", {}, "h")
    warehouse.finish_stage("s-1", "train", seconds=1)
    warehouse.finish_run("s-1", 1)
    warehouse.start_stage("s-1", "encode", {}, "h")
    warehouse.fail_stage("s-1", "encode")
    assert warehouse.run("s-1").status == "done"
    assert warehouse.stage_state("s-1", "encode").status == "failed"
    warehouse.start_stage("s-1", "train", {}, "h")
    warehouse.fail_stage("s-1", "train")
    assert warehouse.run("s-1").status == "failed"


def test_a_finished_run_is_not_started_again_by_mistake(warehouse: Warehouse) -> None:
    done(warehouse, "r-1")
    with pytest.raises(UsageError, match="run 'r-1' is already done") as caught:
        start(warehouse, "r-1")
    assert caught.value.hint == "repeat it with --force"
    assert start(warehouse, "r-1", replace=True).status == "running"


@pytest.mark.parametrize("ending", ["killed", "failed"])
def test_a_broken_run_is_reset(warehouse: Warehouse, ending: str) -> None:
    start(warehouse, "r-1")
    warehouse.start_stage("r-1", "train", {}, "h")
    warehouse.add_metrics("r-1", metric_rows(("dev", 1, "loss", 0.5)))
    if ending == "failed":
        warehouse.fail_run("r-1")
    assert start(warehouse, "r-1").status == "running"
    assert warehouse.stage_state("r-1", "train") is None
    assert warehouse.metrics("r-1").is_empty()


def test_a_recommender_that_starts_again_takes_its_autoencoders_stages(
    warehouse: Warehouse,
) -> None:
    done(warehouse, "r-1")
    done(warehouse, "r-2")
    for sae, parent in (("s-1", "r-1"), ("s-2", "r-2")):
        start(warehouse, sae, parent)
        warehouse.start_stage(sae, "train", {}, "h")
        warehouse.finish_stage(sae, "train", seconds=1)
    start(warehouse, "r-1", replace=True)
    assert warehouse.stage_state("s-1", "train") is None
    assert warehouse.stage_done("s-2", "train")


def test_a_run_id_names_a_folder(warehouse: Warehouse) -> None:
    for run_id in ("../up", "a/b", "", "with space", "x" * 101):
        with pytest.raises(UsageError, match=r"run id .* cannot be used as a folder name"):
            start(warehouse, run_id)


def test_params_keep_their_types(warehouse: Warehouse) -> None:
    params = {"lr": 1e-3, "layers": [1, 2], "name": "é", "none": None, "on": True}
    run = warehouse.start_run(
        "r", kind="recommender", dataset="d", model="m", params=params, data_fingerprint="f", seed=0
    )
    assert run.params == params
    assert list(run.params) == sorted(params)


# -- finding --------------------------------------------------------------------------------------


@pytest.fixture
def several(warehouse: Warehouse) -> Warehouse:
    """Two recommenders; rec-a1 has two autoencoders, the later finished first."""
    done(warehouse, "rec-a1")
    done(warehouse, "rec-a2")
    done(warehouse, "sae-a1", "rec-a1")
    done(warehouse, "sae-b1", "rec-a1")
    start(warehouse, "sae-c1", "rec-a1")
    return warehouse


def test_by_id(several: Warehouse) -> None:
    assert several.find_run("rec-a1").run_id == "rec-a1"


def test_by_unique_prefix(several: Warehouse) -> None:
    assert several.find_run("sae-b").run_id == "sae-b1"


def test_an_id_that_starts_another_means_itself(several: Warehouse) -> None:
    done(several, "rec-a11")
    assert several.find_run("rec-a1").run_id == "rec-a1"


def test_ambiguous_prefix(several: Warehouse) -> None:
    with pytest.raises(UsageError) as caught:
        several.find_run("rec-")
    assert caught.value.message == "'rec-' is the start of several runs"
    assert caught.value.hint == "say which: rec-a1, rec-a2"


def test_a_kind_can_make_a_prefix_unique(several: Warehouse) -> None:
    done(several, "mixed-rec")
    done(several, "mixed-sae", "rec-a1")
    assert several.find_run("mixed", "sae").run_id == "mixed-sae"
    assert several.find_run("mixed", "recommender").run_id == "mixed-rec"


def test_latest_is_the_last_that_is_done(several: Warehouse) -> None:
    assert several.find_run("latest").run_id == "sae-b1"
    assert several.find_run("latest", "sae").run_id == "sae-b1"
    assert several.find_run("latest", "recommender").run_id == "rec-a2"


def test_a_recommender_stands_for_its_last_finished_autoencoder(several: Warehouse) -> None:
    assert several.find_run("rec-a1", "sae").run_id == "sae-b1"
    with pytest.raises(MissingStageError) as caught:
        several.find_run("rec-a2", "sae")
    assert caught.value.message == "run 'rec-a2' has no finished autoencoder"
    assert caught.value.hint == "recsae sae train rec-a2"


def test_an_autoencoder_stands_for_its_recommender(several: Warehouse) -> None:
    assert several.find_run("sae-c", "recommender").run_id == "rec-a1"
    done(several, "sae-orphan", "rec-gone")
    with pytest.raises(DataError, match="the recommender of run 'sae-orphan' is not"):
        several.find_run("sae-orphan", "recommender")


def test_unknown(several: Warehouse) -> None:
    for ref in ("nothing", "", "%", "rec_a", "'; drop table raw.runs"):
        with pytest.raises(UsageError, match="no run is called") as caught:
            several.find_run(ref)
        assert caught.value.hint == "there is rec-a1, rec-a2, sae-a1, sae-b1, sae-c1"


def test_an_exact_id_is_wanted_where_one_is_written(several: Warehouse) -> None:
    with pytest.raises(UsageError, match="no run is called 'sae-b'"):
        several.run("sae-b")
    with pytest.raises(UsageError):
        several.start_stage("sae-b", "encode", {}, "h")
    with pytest.raises(UsageError):
        several.finish_run("latest", 1)


@pytest.mark.parametrize("kind", [None, "sae"])
def test_no_runs(warehouse: Warehouse, kind: Any) -> None:
    with pytest.raises(MissingStageError, match="the warehouse has no runs yet"):
        warehouse.find_run("x", kind)
    with pytest.raises(MissingStageError, match="run is done yet"):
        warehouse.find_run("latest", kind)


def test_a_long_list_is_cut(warehouse: Warehouse) -> None:
    for n in range(12):
        start(warehouse, f"r-{n:02}")
    with pytest.raises(RecsaeError) as caught:
        warehouse.find_run("x")
    assert str(caught.value.hint).endswith("r-09 and 2 more")


# -- listing and metrics --------------------------------------------------------------------------


def test_listing_is_latest_first_with_finished_stages_in_order(several: Warehouse) -> None:
    for stage in ("train", "encode"):
        several.start_stage("sae-a1", stage, {}, "h")
    several.execute("update raw.stages set status = 'done' where run_id = 'sae-a1'")
    listed = several.runs()
    assert listed["run_id"].to_list() == ["sae-c1", "sae-b1", "sae-a1", "rec-a2", "rec-a1"]
    assert listed["stages"].to_list() == [[], [], ["train", "encode"], [], []]


def metric_rows(*rows: tuple[str, int, str, float | None]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=["split", "epoch", "metric", "value"], orient="row")


def test_metrics_replace_those_of_the_same_grain(warehouse: Warehouse) -> None:
    start(warehouse, "r-1")
    warehouse.add_metrics("r-1", metric_rows(("dev", 1, "loss", 0.5), ("dev", 2, "loss", 0.4)))
    warehouse.add_metrics("r-1", metric_rows(("dev", 2, "loss", 0.3), ("test", 0, "HR@10", 0.1)))
    assert warehouse.metrics("r-1").rows() == [
        ("r-1", "dev", 1, "loss", 0.5),
        ("r-1", "dev", 2, "loss", 0.3),
        ("r-1", "test", 0, "HR@10", 0.1),
    ]
    assert warehouse.key_metrics().rows() == [("r-1", "test", "HR@10", 0.1)]


def test_metrics_given_twice_are_refused(warehouse: Warehouse) -> None:
    twice = metric_rows(("dev", 1, "loss", 0.5), ("dev", 1, "loss", 0.6))
    with pytest.raises(DataError, match=r"raw.metrics: not one row per \(run_id, split"):
        warehouse.add_metrics("r-1", twice)
    assert warehouse.metrics("r-1").is_empty()


def test_a_metric_may_be_unknown(warehouse: Warehouse) -> None:
    warehouse.add_metrics("r-1", metric_rows(("dev", 1, "loss", None)))
    assert warehouse.metrics("r-1")["value"].to_list() == [None]
