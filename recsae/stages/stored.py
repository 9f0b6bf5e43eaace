"""What a finished recommender left behind, read back: vectors, cases and sequences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
import torch
from torch import Tensor

from recsae.errors import DataError, UsageError
from recsae.recommenders.base import Sequences
from recsae.recommenders.cases import ITEMS, VECTORS, load_array
from recsae.recommenders.ranking import held_out_cases, ranking_metrics, target_ranks
from recsae.warehouse import Run, Warehouse, run_folder

IN_MEMORY = 512 * 2**20
"""Bytes of vectors up to which they are read at once; larger ones stay on disk, mapped."""

Rebuild = Callable[[Tensor], Tensor]
"""Maps vectors (n, d) to vectors (n, d)."""

Gains = Callable[[Rebuild], Tensor]
"""NDCG@10 of each of some users (n,) with rebuilt vectors."""


@dataclass(frozen=True)
class Stored:
    """A recommender as the stages after it see it."""

    vectors: Tensor
    """(n_cases, d), or (n_cases, K, d) where a score is the largest of K."""
    items: Tensor
    """(n_items, d), row r = item r + 1."""
    users: Tensor
    """(n_cases,) user of every case, row = case id."""
    positions: Tensor
    """(n_cases,) items that the case has seen."""
    sequences: Sequences
    file: Path | None = None
    """Where the vectors are, if they are too large for memory; then ``vectors`` only maps it."""

    def evaluate(
        self, split: str, rebuild: Rebuild | None = None, users: Tensor | None = None
    ) -> dict[str, float]:
        """HR@k and NDCG@k of the ``dev`` or ``test`` items by full ranking.

        ``rebuild`` is applied to the vectors first; ``users`` restricts to some user ids. Empty
        when there is nobody to rank for.
        """
        ids, positions = held_out_cases(self.sequences, split)
        if users is not None:
            wanted = torch.isin(ids, users)
            ids, positions = ids[wanted], positions[wanted]
        if not len(ids):
            return {}
        vectors = self.vectors[self._case_of(ids, positions)]
        if rebuild is not None:
            vectors = rebuild(vectors)
        return ranking_metrics(target_ranks(vectors, self.items, self.sequences, ids, positions))

    def gains(self, split: str, most: int, generator: torch.Generator) -> Gains | None:
        """NDCG@10 per user of at most ``most`` users drawn at random, as a function of ``rebuild``.

        None when there is nobody to rank for.
        """
        ids, positions = held_out_cases(self.sequences, split)
        if not len(ids):
            return None
        drawn = torch.randperm(len(ids), generator=generator)[:most].sort().values
        ids, positions = ids[drawn], positions[drawn]
        vectors = self.vectors[self._case_of(ids, positions)]

        def per_user(rebuild: Rebuild) -> Tensor:
            ranks = target_ranks(rebuild(vectors), self.items, self.sequences, ids, positions)
            return torch.where(ranks <= 10, 1 / torch.log2(ranks + 1.0), 0.0)

        return per_user

    def _case_of(self, users: Tensor, positions: Tensor) -> Tensor:
        """Case of each (user, position); a user with a single case has that one at any position."""
        n_cases = torch.bincount(self.users, minlength=self.sequences.n_users + 1)
        first = torch.cumsum(n_cases, 0) - n_cases
        offset = (positions - self.positions[first[users]]).clamp(min=0)
        return first[users] + torch.minimum(offset, n_cases[users] - 1)


def train_hint(run: Run) -> str:
    """The command that makes a recommender run."""
    if command := run.params.get("command"):
        return str(command)
    if imported := run.params.get("imported"):
        return f"recsae import rechorus {imported} --model {run.model} --dataset {run.dataset_name}"
    stage = " --stage pretrain" if run.params.get("stage") == "pretrain" else ""
    return f"recsae train {run.model} {run.dataset_name}{stage}"


def require_cases(warehouse: Warehouse, run: Run) -> None:
    """Error unless the Parquet files that the SQL stages of an SAE run read are all there."""
    parent = warehouse.run(str(run.parent_run_id))
    warehouse.require_stage(parent.run_id, "train", train_hint(parent))
    warehouse.require_stage(run.run_id, "encode", f"recsae sae encode {run.run_id}")


def require_one_vector(stored: Stored, run: Run) -> None:
    """UsageError for a recommender that has several vectors per case."""
    if stored.vectors.ndim == 3:
        raise UsageError(
            f"run {run.run_id!r} is the pretraining stage of {run.model} and has "
            f"{stored.vectors.shape[1]} vectors per case",
            f"recsae train {run.model} {run.dataset_name}",
        )


def load_stored(root: Path, run: Run) -> Stored:
    """Read a recommender run; DataError naming a file that is missing or damaged."""
    hint = f"{train_hint(run)} --force"
    folder = run_folder(root, run.run_id)
    vectors = load_array(folder / VECTORS, hint, (2, 3))
    is_large = vectors.nbytes > IN_MEMORY
    # copy on write, because torch warns about what cannot be written to
    vectors = np.load(folder / VECTORS, mmap_mode="c") if is_large else np.array(vectors)
    items = np.array(load_array(folder / ITEMS, hint))
    with Warehouse.open(root, read_only=True) as warehouse:
        cases = warehouse.sql(
            "select user_id, position from raw.cases where run_id = $run_id order by case_id",
            {"run_id": run.run_id},
        )
        # as of now: other content may have taken the name of its data set over
        dataset = {"d": warehouse.run(run.run_id).dataset}
        sizes = warehouse.sql(
            "select n_users, n_items from raw.datasets where dataset = $d", dataset
        ).row(0)
        interactions = warehouse.sql(
            "select user_id, position, item_id, split from raw.interactions where dataset = $d",
            dataset,
        )
    if len(cases) != len(vectors):
        raise DataError(
            f"run {run.run_id!r} has {len(vectors)} vectors, but {len(cases)} cases", hint
        )
    users, positions = (
        torch.from_numpy(cases[name].cast(pl.Int64).to_numpy().copy())
        for name in ("user_id", "position")
    )
    return Stored(
        torch.from_numpy(vectors),
        torch.from_numpy(items),
        users,
        positions,
        Sequences.from_frame(interactions, *sizes),
        folder / VECTORS if is_large else None,
    )
