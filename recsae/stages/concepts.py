"""``concepts``: sparse activations and tags -> the concept of every latent, in SQL."""

from __future__ import annotations

from pathlib import Path

from recsae.config import ConceptsConfig, digest
from recsae.interpret import concepts as build
from recsae.progress import Reporter
from recsae.stages.common import final_metrics, open_stage
from recsae.stages.stored import require_cases
from recsae.warehouse import Run, Warehouse, queries
from recsae.warehouse.runs import LABELLED
from recsae.warehouse.workspace import Workspace


def concepts(
    root: Path, ref: str, config: ConceptsConfig, *, force: bool, reporter: Reporter
) -> str:
    """Build the concepts of an SAE run (id, prefix, ``latest``, or its recommender's id)."""
    with Warehouse.open(root) as warehouse:
        run = warehouse.find_run(ref, "sae")
        require_cases(warehouse, run)
        state = warehouse.require_stage(run.run_id, "encode", f"recsae sae encode {run.run_id}")
    identity = digest("concepts", config.to_json(), state.input_hash, sql_digest())
    params = build.parameters(run.run_id, run.seed, config)
    with open_stage(
        root,
        run.run_id,
        "concepts",
        config.to_json(),
        identity,
        force=force,
        reporter=reporter,
    ) as stage:
        if stage is None:
            return run.run_id
        with (
            Workspace.open(root, run, ["staging.user_sides"]) as workspace,
            reporter.task("concepts", len(build.STEPS), "relations") as step,
        ):
            for relation in build.build_concepts(workspace, params):
                step(1, relation)
            results = {name: workspace.frame(name) for name in build.STORED}
        n_labelled = results["concepts.labels"].height
        if not n_labelled:
            reporter.note(f"no latent of {run.run_id} has a concept: {_why(root, run)}")
        stage.publish(relations=results, metrics=final_metrics({LABELLED: n_labelled}, "all"))
    return run.run_id


def _why(root: Path, run: Run) -> str:
    """Why there is no concept at all."""
    with Warehouse.open(root, read_only=True) as warehouse:
        dataset = warehouse.run(run.run_id).dataset
        tags = warehouse.sql("from raw.item_tags where dataset = $d limit 1", {"d": dataset})
    return f"data set {dataset} has no tags" if tags.is_empty() else "no tag stands out"


def sql_digest() -> str:
    """Changes when a query of these stages changes, so that results are made again."""
    return digest([query.text for stage in ("staging", "concepts") for query in queries(stage)])
