"""Concepts of an SAE run: the relations of ``sql/1_staging`` and ``sql/2_concepts`` in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recsae.config import ConceptsConfig
from recsae.warehouse import runs
from recsae.warehouse.workspace import Workspace

DRAWN = ("staging.cases", "staging.item_sides", "staging.level_edges")
"""What is drawn, and where levels are cut; small, so they are kept for the confidence stage."""

CASES = ("staging.activation_levels", "staging.case_pool", "staging.case_items")
"""What is known of the drawn cases without tags, in order."""

NAMES = "staging.tag_names"
"""Which tags count as one; the same in every permutation round."""

TAGS = ("staging.tags", "concepts.tag_spread", "concepts.concept_tags")
"""Relations that depend on which tags the items have; made again in every permutation round."""

ITEMS = ("concepts.latent_items", "concepts.item_exposure")

STORED = runs.STORED["concepts"]
"""Relations that the stage leaves in the warehouse; the others are steps on the way."""


def parameters(run_id: str, seed: int, config: ConceptsConfig) -> dict[str, object]:
    """Values of the parameters of every query of both stages."""
    return {
        **config.to_json(),
        "run_id": run_id,
        "seed": seed,
        "case_items": float(config.top_items + config.history_items),
        "permutation": 0,
    }


SHOWN = ("concepts.labels", "concepts.example_items")

STEPS = (*DRAWN, *CASES, NAMES, *ITEMS, *TAGS, *SHOWN)
"""Everything that ``build_concepts`` builds."""


def build_concepts(workspace: Workspace, params: Mapping[str, object]) -> Iterator[str]:
    """Build the concepts and what is shown with them; yields names as they get built."""
    for relation in STEPS:
        workspace.build(relation, params)
        yield relation
