"""``evaluate``: ranking metrics of a run's dev and test items, computed anew from its vectors."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from recsae.recommenders.ranking import CUTOFFS
from recsae.stages.encode import load_sae
from recsae.stages.stored import load_stored, train_hint
from recsae.warehouse import Warehouse

METRICS = [f"{name}@{k}" for k in CUTOFFS for name in ("HR", "NDCG")]


def evaluate(root: Path, ref: str) -> tuple[str, pl.DataFrame]:
    """Evaluate a recommender, or an SAE run with its SAE in place; returns the run's id and rows.

    Columns: split, vectors (``own`` or ``sae``) and the metrics.
    """
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.find_run(ref)
        parent = warehouse.recommender_of(run)
        warehouse.require_stage(parent.run_id, "train", train_hint(parent))
        if run.kind == "sae":
            warehouse.require_stage(run.run_id, "train", f"recsae sae train {parent.run_id}")
    stored = load_stored(root, parent)
    sae = load_sae(root, run) if run.kind == "sae" else None
    rows = []
    for split in ("dev", "test"):
        rows.append({"split": split, "vectors": "own", **stored.evaluate(split)})
        if sae is not None:
            rows.append({"split": split, "vectors": "sae", **stored.evaluate(split, sae)})
    return run.run_id, pl.DataFrame(rows).select("split", "vectors", *METRICS)
