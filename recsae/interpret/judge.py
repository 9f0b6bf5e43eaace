"""The paper's protocol for a judge: which relations are built, and cases as a judge sees them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from hashlib import md5

import polars as pl

from recsae.judge.prompts import Item, Moment
from recsae.warehouse.workspace import Workspace

CASES: tuple[str, ...] = (
    "staging.cases",
    "staging.item_sides",
    "staging.level_edges",
    "staging.activation_levels",
    "staging.case_pool",
    "confidence.reference_cases",
)
"""Up to the describing and verifying cases, in order."""

ITEMS = "confidence.judge_items"
"""What a judge is shown of them."""

BUILTIN: tuple[str, ...] = (
    "staging.case_items",
    "staging.tag_names",
    "staging.tags",
    "confidence.reference_predictions",
)
"""What the built-in judge needs beside the cases."""

RESULTS = ("confidence.judge_predictions", "confidence.judge_scores")
"""Left in the warehouse, rows of several judges in each."""


def build(
    workspace: Workspace, relations: tuple[str, ...], params: Mapping[str, object]
) -> Iterator[str]:
    """Build relations in order; yields the name of each when it is there."""
    for relation in relations:
        workspace.build(relation, params)
        yield relation


def moments(items: pl.DataFrame) -> dict[int, Moment]:
    """Case id -> what it shows, out of the rows of ``ITEMS``; levels are not in it."""
    shown: dict[int, Moment] = {}
    for (case_id,), rows in items.sort("case_id", "place").group_by("case_id", maintain_order=True):
        history, recommended = [], None
        for row in rows.iter_rows(named=True):
            item = Item(row["title"], tuple(row["tags"]))
            if row["is_recommended"]:
                recommended = item
            else:
                history.append(item)
        shown[int(str(case_id))] = Moment(tuple(history), recommended)
    return shown


def drawn(latents: list[int], seed: int, n: int | None) -> list[int]:
    """The first ``n`` latents of a draw by hash, sorted; a larger ``n`` only adds to them.

    A draw and not the surest, so that a mean over them is one over all.
    """
    if n is None:
        return sorted(latents)
    order = sorted(latents, key=lambda one: (md5(f"{seed}|judge|{one}".encode()).hexdigest(), one))
    return sorted(order[:n])
