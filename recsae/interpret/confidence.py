"""Confidence of concepts: the relations of ``sql/3_confidence``, once and under permuted tags."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from recsae.config import ConfidenceConfig
from recsae.interpret.concepts import CASES, DRAWN, ITEMS, NAMES, TAGS
from recsae.warehouse import runs
from recsae.warehouse.workspace import Workspace

PREPARED = (*CASES, NAMES, *ITEMS)
"""Known from the concepts, but too large to be kept."""

TRIALS = (
    "confidence.trials",
    "confidence.pool_actives",
    "confidence.trial_counts",
    "confidence.trends",
)
"""Which cases are scored, and what tells them apart without tags; the same in every round."""

ROUND = ("concepts.item_scores", "confidence.trial_scores", "confidence.thresholds")
"""Scores of one set of tags, before they are verified."""

REFERENCE = (
    "confidence.reference_cases",
    "confidence.reference_predictions",
    "confidence.reference_scores",
)
"""The paper's own protocol."""

READ = ("staging.user_sides", *DRAWN, "concepts.concept_tags", "concepts.labels")
"""Relations taken from the warehouse."""

STORED = runs.STORED["confidence"]
"""Relations left in the warehouse."""


def build_confidence(
    workspace: Workspace, params: Mapping[str, object], config: ConfidenceConfig
) -> Iterator[str]:
    """Build every relation; yields what has just been done, ``n_steps`` times in all."""
    for relation in (*PREPARED, *TRIALS):
        workspace.build(relation, params)
        yield relation
    # before the permuted rounds, which put other tags into concepts.concept_tags
    tags = workspace.frame("concepts.concept_tags")
    yield from _true_tags(workspace, params)
    yield from _permuted_tags(workspace, params, config.permutations)
    workspace.build("confidence.q_values", params)
    workspace.build("confidence.scores", params)
    workspace.build("confidence.coverage", params)
    workspace.replace("concepts.concept_tags", tags)
    workspace.build("confidence.concept_groups", params)
    yield "confidence.scores"


def n_steps(config: ConfidenceConfig) -> int:
    """How often ``build_confidence`` yields."""
    return len(PREPARED) + len(TRIALS) + 3 + config.permutations + 1


def _true_tags(workspace: Workspace, params: Mapping[str, object]) -> Iterator[str]:
    """Round 0. The profile comes first, so that the label's scores are there for the intervals."""
    workspace.build("staging.tags", {**params, "permutation": 0})
    _verify(workspace, {**params, "permutation": 0, "tags_used": params["profile_tags"]})
    yield "profile"
    if params["label_tags"] != params["profile_tags"]:
        own = {**params, "permutation": 0, "tags_used": params["label_tags"]}
        _verify(workspace, own, append=True)
    workspace.build("confidence.aucs", params)
    workspace.build("confidence.intervals", params)
    yield "label"
    for relation in REFERENCE:
        workspace.build(relation, params)
    yield "reference protocol"


def _permuted_tags(
    workspace: Workspace, params: Mapping[str, object], rounds: int
) -> Iterator[str]:
    """Everything that depends on tags, fitted and verified again with tags that mean nothing."""
    for permutation in range(1, rounds + 1):
        own = {**params, "permutation": permutation, "tags_used": params["label_tags"]}
        for relation in TAGS:
            workspace.build(relation, own)
        _verify(workspace, own, append=True)
        yield f"permutation {permutation}"


def _verify(workspace: Workspace, params: Mapping[str, object], *, append: bool = False) -> None:
    for relation in ROUND:
        workspace.build(relation, params)
    workspace.build("confidence.verification", params, append=append)
