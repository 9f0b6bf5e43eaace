"""``confidence``: concepts and held-out cases -> how well each concept holds, in SQL."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from recsae.config import ConceptsConfig, ConfidenceConfig, digest
from recsae.interpret import confidence as build
from recsae.interpret.concepts import parameters
from recsae.progress import Reporter
from recsae.stages.common import final_metrics, open_stage
from recsae.stages.encode import load_sae
from recsae.stages.stored import load_stored, require_cases
from recsae.warehouse import Run, Warehouse, queries
from recsae.warehouse.runs import COVERED, KEPT_ALONE
from recsae.warehouse.summaries import summaries_of, summary_texts, write_summary
from recsae.warehouse.workspace import Workspace


def confidence(
    root: Path, ref: str, config: ConfidenceConfig, *, force: bool, reporter: Reporter
) -> str:
    """Verify the concepts of an SAE run (id, prefix, ``latest``, or its recommender's id)."""
    with Warehouse.open(root) as warehouse:
        run = warehouse.find_run(ref, "sae")
        require_cases(warehouse, run)
        state = warehouse.require_stage(run.run_id, "concepts", f"recsae concepts {run.run_id}")
    described = ConceptsConfig.from_json(state.params)
    sql = [query.text for query in queries("confidence") if not query.name.startswith("judge_")]
    sql += summary_texts("confidence")
    identity = digest("confidence", config.to_json(), state.input_hash, sql)
    params = {**parameters(run.run_id, run.seed, described), **config.to_json()}
    with open_stage(
        root,
        run.run_id,
        "confidence",
        config.to_json(),
        identity,
        force=force,
        reporter=reporter,
    ) as stage:
        if stage is None:
            return run.run_id
        kinds, folders = summaries_of("confidence"), {}
        with (
            Workspace.open(root, run, build.READ) as workspace,
            reporter.task("confidence", build.n_steps(config) + len(kinds), "steps") as step,
        ):
            for done in build.build_confidence(workspace, params, config):
                step(1, done)
            sources = workspace.sources(run)
            for kind in kinds:
                folders[kind] = write_summary(workspace, kind, sources, stage.temp)
                step(1, kind)
            results = {name: workspace.frame(name) for name in build.STORED}
            coverage = workspace.frame("confidence.coverage")
        kept = _interpretable_alone(root, run, results["confidence.scores"])
        metrics = [final_metrics(kept, "test"), final_metrics(_covered(coverage), "all")]
        stage.publish(folders, relations=results, metrics=pl.concat(metrics))
    return run.run_id


def _covered(coverage: pl.DataFrame) -> dict[str, float]:
    """Share of the verifying users with an active interpretable latent."""
    row = coverage.row(0, named=True)
    return {COVERED: row["n_covered"] / row["n_users"]} if row["n_users"] else {}


def _interpretable_alone(root: Path, run: Run, scores: pl.DataFrame) -> dict[str, float]:
    """Share of the test NDCG@10 that is kept when no other latent takes part in the rebuilding."""
    with Warehouse.open(root, read_only=True) as warehouse:
        parent = warehouse.run(str(run.parent_run_id))
    stored, sae = load_stored(root, parent), load_sae(root, run)
    allowed = torch.zeros(sae.h, dtype=torch.bool)
    allowed[scores.filter(status="interpretable")["latent_id"].to_list()] = True

    def rebuild(vectors: Tensor) -> Tensor:
        values, indices = sae.encode(vectors)
        return sae.decode(values * allowed[indices], indices)

    plain, rebuilt = stored.evaluate("test"), stored.evaluate("test", rebuild)
    if not plain.get("NDCG@10"):
        return {}
    return {KEPT_ALONE: rebuilt["NDCG@10"] / plain["NDCG@10"]}
