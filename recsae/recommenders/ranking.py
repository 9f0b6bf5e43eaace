"""Full-ranking evaluation and top-n recommendations, as matrix products in chunks.

Protocol of the reference: the target is ranked among all items except those that the user met
before it; a tie counts against the target. The items after the target stay candidates (the
reference removes the test item when it ranks the dev item, which looks at the answer).
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from recsae.recommenders.base import Sequences

CUTOFFS = (5, 10, 20, 50)
CHUNK = 256
"""Cases scored at once. Small, so that scores are still in the cache when they are counted."""


def masked_scores(
    vectors: Tensor, item_vectors: Tensor, sequences: Sequences, users: Tensor, positions: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Yield (rows, scores (chunk, n_items)) with every item seen before ``positions`` at -inf.

    ``vectors`` are (n, d), or (n, K, d): then a score is the largest over the K.
    """
    for start in range(0, users.numel(), CHUNK):
        rows = slice(start, min(start + CHUNK, users.numel()))
        scores = best_scores(vectors[rows], item_vectors)
        row, item = sequences.seen(users[rows], positions[rows])
        scores[row, item - 1] = -torch.inf
        yield rows, scores


def best_scores(vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """Scores (b, n_items) of vectors (b, d), or the largest of K vectors (b, K, d)."""
    if vectors.ndim == 2:
        return vectors @ item_vectors.T
    scores, *others = (part @ item_vectors.T for part in vectors.unbind(1))
    for other in others:
        scores = torch.maximum(scores, other)
    return scores


def target_ranks(
    vectors: Tensor, item_vectors: Tensor, sequences: Sequences, users: Tensor, positions: Tensor
) -> Tensor:
    """Rank (1 = best) of the item that follows each case, (n,) int64.

    ``vectors`` (n, d) or (n, K, d) are the cases' vectors, ``positions`` (n,) the number of items
    seen by each. A score that is not a number counts against the target, as a tie does.
    """
    ranks = torch.empty(users.numel(), dtype=torch.int64)
    targets = sequences.items[sequences.offsets[users - 1] + positions] - 1
    for rows, scores in masked_scores(vectors, item_vectors, sequences, users, positions):
        own = scores.gather(1, targets[rows, None])
        ranks[rows] = scores.shape[1] - (scores < own).sum(1)
    return ranks


def ranking_metrics(ranks: Tensor) -> dict[str, float]:
    """HR@k and NDCG@k with one relevant item per case: hits and 1/log2(rank + 1), averaged."""
    gain = 1 / torch.log2(ranks.double() + 1)
    metrics: dict[str, float] = {}
    for k in CUTOFFS:
        hit = (ranks <= k).double()
        metrics[f"HR@{k}"] = float(hit.mean())
        metrics[f"NDCG@{k}"] = float((hit * gain).mean())
    return metrics


def top_items(
    vectors: Tensor,
    item_vectors: Tensor,
    sequences: Sequences,
    users: Tensor,
    positions: Tensor,
    n: int,
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Yield (rows, item ids (chunk, n), scores (chunk, n)), best first, without the items seen."""
    for rows, scores in masked_scores(vectors, item_vectors, sequences, users, positions):
        values, index = scores.topk(min(n, scores.shape[1]), dim=1)
        yield rows, index + 1, values


def held_out_cases(sequences: Sequences, split: str) -> tuple[Tensor, Tensor]:
    """Users and positions of the cases whose next item is the ``dev`` or ``test`` item."""
    lengths = sequences.offsets[1:] - sequences.offsets[:-1]
    positions = sequences.n_train + (1 if split == "test" else 0)
    users = torch.arange(1, sequences.n_users + 1)
    keep = positions < lengths
    return users[keep], positions[keep]
