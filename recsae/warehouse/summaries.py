"""Counts over all activations of a run, written as Parquet: the relations of ``sql/4_summaries``.

Questions about all users, items or latents ask these instead of the activations, which may be a
hundred million. A query runs over ranges of users or of latents, one after the other, so that its
groups fit into memory; the activations are ordered such that a range is a part of their file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from math import isqrt
from pathlib import Path
from typing import NamedTuple

from recsae.warehouse import statements
from recsae.warehouse.parquet import ROW_GROUP
from recsae.warehouse.publish import SUMMARISED_BY, relation_of
from recsae.warehouse.session import Session
from recsae.warehouse.sql import Query, load

ACTIVATIONS = "raw.activations"


class Plan(NamedTuple):
    """How a summary is cut into ranges."""

    by: str
    """Column of the activations whose ranges are counted one after the other."""
    n_summed: int = 0
    """Last columns that are added up over the ranges; 0 where each row belongs to one range."""


PLANS = {
    "item_latents": Plan("latent_id"),
    "latent_pairs": Plan("user_id", n_summed=1),
    "user_concepts": Plan("user_id"),
    "latent_positions": Plan("user_id", n_summed=2),
}


def summaries_of(stage: str) -> list[str]:
    """Kinds of summary that a stage keeps."""
    return [kind for kind, (_, made_by) in SUMMARISED_BY.items() if made_by == stage]


def summary_texts(stage: str) -> list[str]:
    """Their queries: what changes them has the stage run again."""
    return [load(relation_of(kind)).text for kind in summaries_of(stage)]


def write_summary(session: Session, kind: str, sources: Mapping[str, str], temp: Path) -> Path:
    """Write the Parquet files of a summary of one run into a folder in ``temp``; returns it.

    ``sources`` are queries for the Parquet relations that it reads, raw.activations among them,
    with the rows of that run alone; views over them stay in ``session``, which has all the others.
    """
    query, plan = load(relation_of(kind)), PLANS[kind]
    ranges = list(_ranges(session, sources[ACTIVATIONS], plan.by))
    target = temp / kind
    target.mkdir(parents=True, exist_ok=True)
    for number, where in enumerate(ranges):
        for relation, source in sources.items():
            has_column = plan.by in (column.name for column in load(relation).yields)
            part = where if has_column else None
            session.execute(statements.part_view(load(relation), source, part))
        text = statements.ordered(query, query.text)
        session.execute(statements.copy_parquet(text, target / f"part-{number}.parquet"))
    for relation, source in sources.items():
        session.execute(statements.part_view(load(relation), source, None))
    if plan.n_summed and len(ranges) > 1:
        _add_up(session, query, plan.n_summed, target)
    return target


def _ranges(session: Session, source: str, by: str) -> Iterator[str | None]:
    """Conditions that part all values of a column, the extreme ones open; None: all of them."""
    column = statements.name(by)
    query = f"select count(*), min({column}), max({column}) from ({source})"
    n, low, high = session.sql(query).row(0)
    count = min(isqrt(n // ROW_GROUP), (high or 0) - (low or 0) + 1)
    if count < 2:
        yield None
        return
    cuts = [low + (high - low + 1) * place // count for place in range(1, count)]
    yield f"{column} < {cuts[0]}"
    for start, end in pairwise(cuts):
        yield f"{column} >= {start} and {column} < {end}"
    yield f"{column} >= {cuts[-1]}"


def _add_up(session: Session, query: Query, n_summed: int, folder: Path) -> None:
    """Make one file of those of all ranges."""
    parts = sorted(folder.glob("part-*.parquet"))
    whole = folder / "whole.parquet"
    text = statements.added_up(query, n_summed, folder)
    session.execute(statements.copy_parquet(text, whole))
    for part in parts:
        part.unlink()
    whole.rename(folder / "part-0.parquet")
