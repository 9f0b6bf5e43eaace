"""The whole pipeline on MovieLens-100K with its default settings, and the least it has to reach.

The floors of the recommenders are the figures of the reference's own code on the same data.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from stages.finished import scores

from recsae import stages
from recsae.config import SAEConfig
from recsae.datasets import prepare
from recsae.progress import Reporter
from recsae.recommenders.presets import preset
from recsae.warehouse import Warehouse

# one training of SASRec, the autoencoder and 20 permutations: over a minute on two free cores
pytestmark = [pytest.mark.real, pytest.mark.timeout(1200)]

ROOT = Path(__file__).parents[2]
ML_100K = {"n_users": 938, "n_items": 1008, "n_interactions": 54413}


class Real(NamedTuple):
    """A warehouse of real data, and where the prepared data are."""

    root: Path
    data: Path


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Real:
    """MovieLens-100K from files at hand; the test is skipped where there are none."""
    source = Path(os.environ.get("RECSAE_TEST_DATA") or ROOT.parent / "shared" / "data") / "ml-100k"
    if not (source / "ml-100k.inter").is_file():
        pytest.skip("no ml-100k in RECSAE_TEST_DATA")
    base = tmp_path_factory.mktemp("real")
    prepare("ml-100k", base / "data", source=source)
    return Real(base / "warehouse", base / "data")


@pytest.fixture(scope="module")
def card(real: Real) -> dict[str, Any]:
    """The report of ``recsae run ml-100k``."""
    config = stages.PipelineConfig(train=preset("SASRec", "ml-100k"))
    run_id = stages.run(
        *(real.root, real.data, "ml-100k", "SASRec", config),
        source=None,
        force=False,
        reporter=Reporter(),
    )
    with Warehouse.open(real.root, read_only=True) as warehouse:
        return warehouse.query("report.overview", {"run_id": run_id}).row(0, named=True)


def final(root: Path, run_id: str, metric: str) -> float:
    """A metric of the finished model on the test items."""
    with Warehouse.open(root, read_only=True) as warehouse:
        found = warehouse.sql(
            "select value from raw.metrics "
            "where run_id = $r and split = 'test' and epoch = 0 and metric = $m",
            {"r": run_id, "m": metric},
        )
    return float(found.item())


def test_data(card: dict[str, Any]) -> None:
    assert {name: card[name] for name in ML_100K} == ML_100K


def test_sasrec(card: dict[str, Any]) -> None:
    assert card["ndcg_10"] >= 0.0689
    assert card["hr_10"] >= 0.139


def test_autoencoder(card: dict[str, Any]) -> None:
    assert (card["n_latents"], card["k"]) == (1024, 8)
    assert card["dead_share"] <= 0.01
    assert card["fvu_train"] < card["fvu_heldout"] <= 0.08
    assert 7 < card["l0"] <= 8


def test_ndcg_is_kept(card: dict[str, Any], real: Real) -> None:
    """Mean of four seeds: that of one rests on 938 users and lies between .91 and .99."""
    runs = [card["run_id"]]
    for seed in (1, 2, 3):
        config = SAEConfig(seed=seed)
        parent = card["recommender_run_id"]
        runs.append(stages.train_sae(real.root, parent, config, force=False, reporter=Reporter()))
    kept = [final(real.root, run_id, "NDCG@10 kept") for run_id in runs]
    assert sum(kept) / len(kept) >= 0.93
    assert min(kept) >= 0.88


def test_concepts_hold(card: dict[str, Any]) -> None:
    assert card["n_interpretable"] >= 150
    assert 0.70 <= card["mean_confidence"] <= 0.80
    assert card["user_coverage"] >= 0.95


def test_permuted_tags_do_not(card: dict[str, Any]) -> None:
    assert 0.50 <= card["mean_confidence_null"] <= 0.60
    assert card["n_permuted"] <= 0.06 * card["n_interpretable"]


def test_every_latent_is_accounted_for(card: dict[str, Any], real: Real) -> None:
    rows = scores(real.root, card["run_id"])
    names = {"interpretable": 0, "not shown": 0, "too rare": 0, "dead": 0}
    counts = names | dict(rows["status"].value_counts().iter_rows())
    shown = [card[f"n_{name.replace(' ', '_')}"] for name in names]
    assert [counts[name] for name in names] == shown
    assert sum(shown) == len(rows) == 1024


def test_bprmf(real: Real) -> None:
    run_id = stages.train(
        *(real.root, real.data, "BPRMF", "ml-100k", preset("BPRMF", "ml-100k")),
        force=False,
        reporter=Reporter(),
    )
    assert final(real.root, run_id, "NDCG@10") >= 0.041
