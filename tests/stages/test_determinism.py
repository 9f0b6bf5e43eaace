"""The same seed gives the same warehouse, bit for bit; another seed gives another one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from stages.finished import CONFIG, Finished, copied, differences, pipeline, snapshot

from recsae import stages
from recsae.config import ConceptsConfig
from recsae.progress import Reporter
from recsae.warehouse import Warehouse, connection, parquet, workspace


def test_two_warehouses_of_one_seed_are_equal(whole: Finished, tmp_path: Path) -> None:
    root = tmp_path / "warehouse"
    assert pipeline(root, whole.data) == whole.sae
    assert differences(snapshot(whole.root), snapshot(root)) == []


def test_another_seed_is_another_run_with_another_result(whole: Finished, own: Finished) -> None:
    run_id = stages.train_sae(
        own.root, own.recommender, replace(CONFIG.sae, seed=1), force=False, reporter=Reporter()
    )
    stages.encode(own.root, run_id, force=False, reporter=Reporter())
    stages.concepts(own.root, run_id, ConceptsConfig(), force=False, reporter=Reporter())
    assert run_id != whole.sae
    with Warehouse.open(own.root, read_only=True) as warehouse:
        for relation in ("raw.activations", "staging.user_sides", "concepts.labels"):
            first, second = (
                warehouse.sql(
                    f"select * exclude (run_id) from {relation} where run_id = $r order by all",
                    {"r": one},
                )
                for one in (whole.sae, run_id)
            )
            assert not first.equals(second)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_the_number_of_threads_changes_nothing(
    whole: Finished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    """Activations, concepts and confidence made again with another number of threads."""

    def connect(*words: Any, **options: Any) -> duckdb.DuckDBPyConnection:
        made = connection.connect(*words, **options)
        made.execute(f"set threads = {threads}")
        made.execute("pragma verify_parallelism")  # else so few rows are left to one thread
        return made

    own = copied(whole, tmp_path / "warehouse")
    for module in (workspace, parquet):
        monkeypatch.setattr(module, "connect", connect)
    options: Any = {"force": True, "reporter": Reporter()}
    stages.encode(own.root, own.sae, **options)
    stages.concepts(own.root, own.sae, CONFIG.concepts, **options)
    stages.confidence(own.root, own.sae, CONFIG.confidence, **options)
    assert differences(snapshot(whole.root), snapshot(own.root)) == []
