"""``confidence``: concepts and held-out cases -> how well each concept holds, in SQL."""

from __future__ import annotations

from pathlib import Path

from recsae.config import ConceptsConfig, ConfidenceConfig, digest
from recsae.interpret import confidence as build
from recsae.interpret.concepts import parameters
from recsae.progress import Reporter
from recsae.stages.common import open_stage
from recsae.stages.stored import require_cases
from recsae.warehouse import Warehouse, queries
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
    sql = [query.text for query in queries("confidence")]
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
        with (
            Workspace.open(root, run, build.READ) as workspace,
            reporter.task("confidence", build.n_steps(config), "steps") as step,
        ):
            for done in build.build_confidence(workspace, params, config):
                step(1, done)
            results = {name: workspace.frame(name) for name in build.STORED}
        stage.publish(relations=results)
    return run.run_id
