"""``import vectors``, ``implicit`` and ``recbole``: given vectors -> a finished recommender."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import torch
from torch import Tensor

from recsae.config import StageConfig, digest, require
from recsae.datasets import prepare, read_dataset
from recsae.datasets.canonical import read_info
from recsae.errors import DataError, UsageError
from recsae.progress import Reporter
from recsae.recommenders.base import Sequences
from recsae.recommenders.fixed import Fixed
from recsae.recommenders.ranking import held_out_cases, masked_scores
from recsae.recommenders.trainer import case_vectors
from recsae.stages.common import METRICS
from recsae.stages.train import NewRun, name_run, publish_recommender, sequences_of
from recsae.vectors import VectorTable, match
from recsae.vectors.moments import find_shift
from recsae.vectors.table import Floats
from recsae.warehouse.runs import CONTROLS

SCORES = ("dot", "cosine")
SUFFIXES = {".csv": "csv", ".tsv": "csv", ".txt": "csv", ".parquet": "parquet", ".pq": "parquet"}
"""Suffix of a file of interactions -> form of data set that it is prepared as."""


@dataclass(frozen=True)
class VectorsConfig(StageConfig):
    """How given vectors score, and what their run is called."""

    score: str = "dot"
    """dot or cosine."""
    model_name: str = "vectors"
    """Name of the model, shown with its runs."""
    command: str = "recsae import vectors --users FILE --items FILE"
    """What makes the run again, without the data set; for hints."""

    def __post_init__(self) -> None:
        require(self.score in SCORES, "--score", self.score, " or ".join(SCORES))
        plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]{0,39}", self.model_name)
        fits = plain is not None and self.model_name not in CONTROLS
        rule = f"letters, digits and dashes, at most 40, and not {' or '.join(CONTROLS)}"
        require(fits, "--model-name", repr(self.model_name), rule)


def import_vectors(
    root: Path,
    data: Path,
    dataset: str,
    users: VectorTable,
    items: VectorTable,
    config: VectorsConfig,
    *,
    force: bool,
    reporter: Reporter,
) -> str:
    """Make a finished recommender run of vectors on a prepared data set; returns its id.

    The same vectors, score and data are the same run, which is skipped when done unless ``force``.
    Errors: DataError for vectors that do not fit each other or the data set, or that are those of
    other positions, before anything is stored.
    """
    content = read_dataset(dataset, data)
    matched = match(content, users, items, "cosine" if config.score == "cosine" else "dot")
    sequences = sequences_of(content)
    if matched.is_sequential:
        _check_moments(users.name, matched.users, sequences)
    model = Fixed(
        torch.from_numpy(matched.users),
        torch.from_numpy(matched.items),
        is_sequential=matched.is_sequential,
    )
    files = [*users.files, *items.files]
    given = [users.files, items.files]
    agreed = matched.agreed
    made = [] if agreed is None else ["without directions in which all items agree"]
    identity = digest("vectors", config.model_name, config.score, given, content.fingerprint, *made)
    run_id, _ = name_run(root, content, config.model_name.lower(), identity)
    params: dict[str, Any] = {
        "imported": users.files[0][0],
        "files": dict(files),
        "score": config.score,
        "item_bias": matched.has_bias,
        "per_position": matched.is_sequential,
        **({} if agreed is None else {"removed": agreed.as_json()}),
        "command": f"{config.command} --dataset {content.name}",
    }
    run = NewRun(run_id, config.model_name, content.name, params, content, seed=0)
    with run.open(root, identity, force=force, reporter=reporter) as stage:
        if stage is not None:
            for note in (*matched.notes, *_warnings(model, sequences)):
                reporter.note(note)
            none = pl.DataFrame(schema=METRICS)
            publish_recommender(stage, model, sequences, none, "imported", reporter)
            reporter.note(
                "its test figures are fair only if the dev and test items took no part in training"
            )
    return run_id


def _check_moments(name: str, vectors: Floats, sequences: Sequences) -> None:
    """DataError for vectors (n_cases, d) that follow the items of other positions."""
    shift = find_shift(vectors, sequences.items.numpy(), sequences.offsets.numpy())
    if shift is None:
        return
    lag, n = shift.lag, abs(shift.lag)
    items = f"{n} item{'s' if n > 1 else ''}"
    fault = "know their own targets" if lag > 0 else f"do not know the last {items} met"
    raise DataError(
        f"{name}: the vectors {fault}: what changes from position p to p + 1 follows item "
        f"{_place(lag + 1)} ({shift.gain:.0%} of it, over users), not item p + 1 "
        f"({max(shift.own_gain, 0):.0%})",
        f"{'add' if lag > 0 else 'subtract'} {n} {'to' if lag > 0 else 'from'} the positions: "
        "position p is what is known after the user's first p items, in the order of the data set "
        "(by time; items of one time by their id)",
    )


def _place(lag: int) -> str:
    return f"p {'+' if lag > 0 else '-'} {abs(lag)}" if lag else "p"


def prepare_interactions(
    data: Path,
    interactions: Path,
    name: str | None,
    *,
    per_position: bool = False,
    item_metadata: Path | None = None,
    split: str | None = None,
    force: bool = False,
    reporter: Reporter,
    **options: Any,
) -> str:
    """Prepare a file of interactions as a data set that keeps all of them; returns its name.

    ``per_position`` refuses repeated meetings, for vectors whose positions would count them.
    ``options`` are those of csv or parquet, told by the suffix. Errors: as ``datasets.prepare``.
    """
    suffix = next((s for s in reversed(interactions.suffixes) if s.lower() in SUFFIXES), "")
    form = SUFFIXES.get(suffix.lower())
    if form is None:
        raise UsageError(
            f"--interactions {interactions} is not one of {', '.join(SUFFIXES)}",
            "or prepare the data first, and give --dataset NAME",
        )
    if suffix.lower() == ".tsv" and options.get("separator") is None:
        options["separator"] = "tab"

    def accept(dropped: Mapping[str, int]) -> None:
        if per_position and (n := dropped.get("duplicate", 0)):
            raise _repeated(interactions, n)

    place = prepare(
        form,
        data,
        source=interactions,
        items_file=item_metadata,
        force=force,
        report=reporter.note,
        stored_as=name,
        split=split,
        core=None if split else 0,
        accept=accept,
        **options,
    )
    accept(read_info(place.name, data)["dropped"])  # of one that was prepared already
    return place.name


def _repeated(interactions: Path, n: int) -> DataError:
    some = "1 interaction" if n == 1 else f"{n:,} interactions"
    return DataError(
        f"{interactions} has {some} with an item that the user meets again later; a data set keeps "
        "the last meeting alone, so the positions of the vectors would be other moments",
        "keep the first meeting of each user and item, and the vectors before those, numbered "
        "again: docs/own-model.md, Repeated meetings, has the lines that do so",
    )


def _warnings(model: Fixed, sequences: Sequences) -> list[str]:
    """What the ranking of the users' test items says about the vectors."""
    users, positions = held_out_cases(sequences, "test")
    if len(users) < 2:
        return []
    vectors, items = case_vectors(model, sequences, users, positions), model.item_vectors()
    own = beaten(vectors, items, sequences, users, positions)
    if not above(own, 0.5):
        return [
            f"warning: the scores rank the users' test items above {float(own.mean()):.1%} of the "
            "other items, no better than chance; are the ids those of the vectors' rows?"
        ]
    others = beaten(vectors.roll(1, 0), items, sequences, users, positions)
    if not above(own - others, 0.0):
        return [
            "warning: the vectors of other users rank the users' test items as well as their own "
            f"do ({float(own.mean()):.1%} of the other items); are the ids of the users right?"
        ]
    return []


@torch.no_grad()
def beaten(
    vectors: Tensor, items: Tensor, sequences: Sequences, users: Tensor, positions: Tensor
) -> Tensor:
    """Share of the other unseen items that the next item of each case scores above, (n,), 0-1.

    A tie counts as half; .5 is chance.
    """
    shares = torch.empty(len(users), dtype=torch.float64)
    targets = sequences.items[sequences.offsets[users - 1] + positions] - 1
    for rows, scores in masked_scores(vectors, items, sequences, users, positions):
        target = scores.gather(1, targets[rows, None])
        lower = ((scores < target) & (scores > -torch.inf)).sum(1).double()
        ties = (scores == target).sum(1).double() - 1
        others = (scores > -torch.inf).sum(1).double() - 1
        shares[rows] = torch.where(others > 0, (lower + ties / 2) / others.clamp(min=1), 0.5)
    return shares


def above(values: Tensor, chance: float) -> bool:
    """Whether the mean of values (n,) is above ``chance`` by more than two standard errors."""
    return float(values.mean() - 2 * values.std() / len(values) ** 0.5) > chance
