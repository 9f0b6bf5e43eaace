"""``confidence --controls``: the same stages on autoencoders that nobody trained.

Each control is a run of its own beside the SAE that it is compared with: same recommender, same k,
same sides of the users, same settings of concepts and confidence.
"""

from __future__ import annotations

from pathlib import Path

from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig, digest
from recsae.progress import Reporter
from recsae.recommenders.trainer import epoch_generator
from recsae.sae.controls import control
from recsae.stages.common import open_stage
from recsae.stages.concepts import concepts
from recsae.stages.confidence import confidence
from recsae.stages.encode import encode
from recsae.stages.sae_train import draw_user_sides, name_sae_run, publish_sae
from recsae.stages.stored import load_stored, train_hint
from recsae.warehouse import Run, Warehouse
from recsae.warehouse.runs import CONTROLS

SHARED = ("k", "seed", "construct_share", "heldout_share", "n_latents")
"""Settings that a control has from its SAE."""


def controls(root: Path, ref: str, *, force: bool, reporter: Reporter) -> list[str]:
    """Score the controls of a verified SAE run as it was scored itself; returns their run ids.

    Raises MissingStageError when the run's own concepts are not verified.
    """
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.find_run(ref, "sae")
        hint = f"recsae confidence {run.run_id}"
        verified = warehouse.require_stage(run.run_id, "confidence", hint)
        described = warehouse.require_stage(run.run_id, "concepts", hint)
    run_ids = []
    for name in CONTROLS:
        run_id = _make(root, run, name, force, reporter)
        encode(root, run_id, force=force, reporter=reporter)
        settings = ConceptsConfig.from_json(described.params)
        concepts(root, run_id, settings, force=force, reporter=reporter)
        trial = ConfidenceConfig.from_json(verified.params)
        confidence(root, run_id, trial, force=force, reporter=reporter)
        run_ids.append(run_id)
    return run_ids


def _make(root: Path, run: Run, name: str, force: bool, reporter: Reporter) -> str:
    """The run of a control up to the stage that training would be."""
    params = {key: run.params[key] for key in SHARED}
    with Warehouse.open(root) as warehouse:
        parent = warehouse.run(str(run.parent_run_id))
        state = warehouse.require_stage(parent.run_id, "train", train_hint(parent))
        identity = digest("control", name, params, parent.run_id, state.input_hash)
        run_id = name_sae_run(warehouse, parent, params["k"], identity, name)
    config = SAEConfig.from_json(params)
    stored = load_stored(root, parent)
    generator = epoch_generator(config.seed, 0)
    sae = control(name, stored.vectors, params["n_latents"], config.k, generator)

    def register(warehouse: Warehouse) -> None:
        warehouse.start_run(
            run_id,
            kind="sae",
            parent_run_id=parent.run_id,
            dataset=parent.dataset,
            model=name,
            params={**params, "of_latents": params["n_latents"], "d": sae.d, "n_latents": sae.h},
            data_fingerprint=parent.data_fingerprint,
            seed=config.seed,
            replace=True,
        )

    with open_stage(
        root, run_id, "train", params, identity, force=force, reporter=reporter, register=register
    ) as stage:
        if stage is not None:
            sides = draw_user_sides(root, run_id, config)
            publish_sae(stage, stored, sae, sides, [], reporter)
    return run_id
