"""The honest test: what was planted is found, and noise is not."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from stages.finished import Finished, pipeline, scores

from recsae.datasets import read_truth
from recsae.warehouse import Warehouse


@pytest.fixture(scope="module")
def judged(whole: Finished) -> pl.DataFrame:
    """Latents with enough held-out cases."""
    return scores(whole.root, whole.sae).filter(
        pl.col("status").is_in(["interpretable", "not shown"])
    )


def test_planted_concepts_lead_interpretable_latents(whole: Finished, judged: pl.DataFrame) -> None:
    planted = set(read_truth("planted", whole.data)["concept"])
    good = judged.filter(pl.col("status") == "interpretable")["leading_tag"]
    assert len(planted & set(good)) >= 0.9 * len(planted)
    assert good.str.starts_with("noise:").mean() <= 0.05


def test_permuted_tags_are_near_chance(judged: pl.DataFrame) -> None:
    true, permuted = judged["confidence"].mean(), judged["null_mean"].mean()
    assert 0.45 < permuted < 0.65
    assert true > permuted + 0.15


def test_scores_hold_what_they_say(whole: Finished) -> None:
    """Every latent has a row, and the status follows from the numbers."""
    rows = scores(whole.root, whole.sae)
    assert rows["latent_id"].to_list() == list(range(64))
    for row in rows.filter(pl.col("status") == "interpretable").to_dicts():
        assert row["confidence"] >= 0.75
        assert row["q_value"] <= 0.05
        assert row["n_active"] >= 20
        assert row["leading_tag"] is not None
        assert row["confidence_low"] <= row["confidence"]
    too_rare = rows.filter(pl.col("status") == "too rare")
    assert too_rare.filter(pl.col("n_active") >= 20, pl.col("n_users") >= 10).is_empty()


def test_describing_users_do_not_verify(whole: Finished) -> None:
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        shared = warehouse.sql(
            "select user_id from staging.cases group by user_id having count(distinct side) > 1"
        )
        trained = warehouse.sql(
            "select count(*) from staging.user_sides where is_heldout and side <> 'verify'"
        )
    assert len(shared) == 0
    assert trained.item() == 0


def test_bprmf_goes_through_every_stage(whole: Finished, tmp_path: Path) -> None:
    """One case per user is too little to judge latents by, and the scores say so."""
    root = tmp_path / "warehouse"
    run_id = pipeline(root, whole.data, model="BPRMF")
    rows = scores(root, run_id)
    assert len(rows) == 64
    assert set(rows["status"]) <= {"interpretable", "not shown", "too rare", "dead"}
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.sql("select count(*) = count(distinct user_id) from raw.cases").item()
        card = warehouse.query("report.overview", {"run_id": run_id}).row(0, named=True)
    assert card["n_users"] == 300
    assert card["model"] == "BPRMF"


def test_the_stored_coverage_is_that_of_the_activations(own: Finished) -> None:
    """The report counts itself for a run that was verified before there was the metric."""
    run = {"run_id": own.sae}
    with Warehouse.open(own.root) as warehouse:
        stored = warehouse.query("report.overview", run)
        warehouse.execute("delete from raw.metrics where metric = 'users covered'")
        counted = warehouse.query("report.overview", run)
    assert stored["user_coverage"].item() > 0
    assert stored.equals(counted)
