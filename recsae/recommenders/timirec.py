"""TiMiRec: distilling target interests for several interests per user (Wang et al., CIKM 2022).

Stage ``pretrain`` trains an extractor of K interests (self-attention as in ComiRec-SA): the one
nearest to the target is trained, and an item's score is its largest over the interests. Stage
``finetune`` adds a predictor of how much each interest matters next (GRU and projection). The
user's vector is the interests weighted by its softmax; the loss is that of the recommendation plus
temp^2 KL(softmax(cosine(interest, target) / temp), softmax(prediction / temp)).

The objective decides how samples are made. ``bpr`` is the reference (ReChorus): every prefix of a
sequence is a sample with one drawn negative, and the transformer looks both ways. The default,
``softmax``, differs from it on purpose: all positions of a window in one pass, with a softmax over
the items; the transformer is causal, so that no place sees its target. In pretraining every item
counts with the interest nearest to it, as in prediction (only the target's nearest leaves the other
interests free to score anything), and the items are the target and N_DRAWN drawn ones. It is
several times faster and ranks better (docs/results.md). In both the attention over places has no
bias, which its softmax would not feel.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.config import TrainConfig
from recsae.recommenders.base import PADDING, Recommender, Sequences
from recsae.recommenders.ranking import best_scores
from recsae.recommenders.sasrec import (
    Block,
    DrawnBatch,
    PrefixBatch,
    SequenceBatch,
    drawn_cross_entropy,
    n_sequence_batches,
    position_ids,
    sequence_batches,
)

N_DRAWN = 256
"""Items of one softmax in pretraining, where each costs K scores; all if there are not more."""


class Extractor(nn.Module):
    """K interests of a history: averages of its places, each with attention weights of its own."""

    def __init__(self, config: TrainConfig, n_items: int) -> None:
        super().__init__()
        dim = config.emb_size
        self.position_from, self.is_causal = config.position_from, config.objective == "softmax"
        self.items = item_table(n_items, dim)
        self.positions: nn.Embedding | None = None
        self.block: Block | None = None
        if config.add_pos:
            self.positions = nn.Embedding(config.history_max + 1, dim)
            nn.init.normal_(self.positions.weight, std=1 / math.sqrt(dim))
        if config.add_trm:
            self.block = Block(dim, config.num_heads, config.dropout)
        self.input_dropout = nn.Dropout(config.dropout)
        self.inner = nn.Linear(dim, config.attn_size)
        self.outer = nn.Linear(config.attn_size, config.K, bias=False)

    def hidden(self, items: Tensor) -> Tensor:
        """Vectors of the places of histories: items (b, length) -> (b, length, d)."""
        x = self.items(items)
        if self.positions is not None:
            x = x + self.positions(position_ids(items, self.position_from))
        x = self.input_dropout(x)
        if self.block is None:
            return x
        hidden: Tensor = self.block(x, None if self.is_causal else items != PADDING)
        return hidden

    def forward(self, items: Tensor, *, every_place: bool) -> Tensor:
        """Interests of histories (b, length): (b, 1, K, d).

        With ``every_place`` (b, length, K, d): place t has those of a history that ends there; a
        place without an item has some that mean nothing.
        """
        hidden = self.hidden(items)
        length = items.shape[1]
        seen = (items != PADDING)[:, None]
        if every_place:
            seen = torch.ones(length, length, dtype=torch.bool).tril()[None]
        logits = self.outer(torch.tanh(self.inner(hidden))).transpose(1, 2)
        weights = logits[:, :, None].masked_fill(~seen[:, None], -torch.inf).softmax(-1)
        # (b, K, places, length) times (b, length, d), as one product per history
        pooled = weights.flatten(1, 2) @ hidden
        return pooled.reshape(len(items), *weights.shape[1:3], -1).transpose(1, 2)


class Predictor(nn.Module):
    """How much each interest matters for the next item, from item vectors of its own."""

    def __init__(self, config: TrainConfig, n_items: int) -> None:
        super().__init__()
        dim = config.emb_size
        self.items = item_table(n_items, dim)
        self.gru = nn.GRU(dim, dim, batch_first=True)
        layers: list[nn.Module] = []
        for _ in range(config.n_layers - 1):
            layers += [nn.Linear(dim, dim), nn.Dropout(config.dropout), nn.ReLU()]
        self.projection = nn.Sequential(*layers, nn.Linear(dim, config.K))

    def forward(self, items: Tensor, *, every_place: bool) -> Tensor:
        """Logits of histories (b, length): (b, 1, K), or (b, length, K) for ``every_place``."""
        states, _ = self.gru(self.items(items))
        if not every_place:
            last = (items != PADDING).sum(1) - 1
            states = states[torch.arange(len(items)), last][:, None]
        logits: Tensor = self.projection(states)
        return logits


class TiMiRec(Recommender):
    """Interests of the last ``history_max`` items; weighted to one vector after finetuning."""

    name: ClassVar[str] = "TiMiRec"
    is_sequential: ClassVar[bool] = True

    def __init__(self, config: TrainConfig, n_users: int, n_items: int) -> None:
        super().__init__()
        self.batch_size, self.history_max = config.batch_size, config.history_max
        self.temp, self.by_windows = config.temp, config.objective == "softmax"
        self.extractor = Extractor(config, n_items)
        self.predictor = Predictor(config, n_items) if config.stage == "finetune" else None

    def item_vectors(self) -> Tensor:
        return self.extractor.items.weight[1:]

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        """Weighted interests (b, d); after pretraining all of them, (b, K, d), (b, d) if K = 1."""
        history = sequences.history(users, positions, self.history_max)
        interests = self.extractor(history, every_place=False)[:, 0]
        if self.predictor is None:
            return interests.squeeze(1)
        return weighted(interests, self.predictor(history, every_place=False)[:, 0])

    def n_batches(self, sequences: Sequences) -> int:
        return n_sequence_batches(sequences, self.by_windows, self.history_max, self.batch_size)

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[SequenceBatch]:
        n_drawn = N_DRAWN if self.predictor is None else None
        shape = self.history_max, self.batch_size
        return sequence_batches(sequences, self.by_windows, *shape, n_drawn, generator)

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, SequenceBatch)
        if isinstance(batch, PrefixBatch):
            return self._prefix_loss(batch)
        asked = batch.targets != PADDING
        interests = self.extractor(batch.inputs, every_place=True)[asked]
        targets = batch.targets[asked]
        if isinstance(batch, DrawnBatch):
            return self._drawn_loss(interests, targets, batch.drawn)
        assert self.predictor is not None
        logits = self.predictor(batch.inputs, every_place=True)[asked]
        scores = weighted(interests, logits) @ self.item_vectors().T
        distillation = distilled(interests, self.extractor.items(targets), logits, self.temp)
        return F.cross_entropy(scores, targets - 1) + distillation

    def _drawn_loss(self, interests: Tensor, targets: Tensor, drawn: Tensor) -> Tensor:
        """Softmax over the target and the drawn items, which stand for all others."""
        items = self.extractor.items
        own = (interests @ items(targets)[:, :, None])[:, :, 0].amax(1)
        others = best_scores(interests, items(drawn))
        return drawn_cross_entropy(own, others, targets, drawn, items.num_embeddings - 1)

    def _prefix_loss(self, batch: PrefixBatch) -> Tensor:
        items = self.extractor.items
        interests = self.extractor(batch.histories, every_place=False)[:, 0]
        targets, drawn = items(batch.positives), items(batch.negatives)
        if self.predictor is None:
            vectors, distillation = nearest(interests, targets), torch.zeros(())
        else:
            logits = self.predictor(batch.histories, every_place=False)[:, 0]
            vectors = weighted(interests, logits)
            distillation = distilled(interests, targets, logits, self.temp)
        margin = (vectors * (targets - drawn)).sum(1)
        return distillation - F.logsigmoid(margin).mean()


def nearest(interests: Tensor, target_vectors: Tensor) -> Tensor:
    """Of each sample's interests (n, K, d) the one with the largest product with its target."""
    chosen = (interests @ target_vectors[:, :, None])[:, :, 0].argmax(1)
    return interests[torch.arange(len(interests)), chosen]


def weighted(interests: Tensor, logits: Tensor) -> Tensor:
    """Sum of the interests (n, K, d) with weights softmax(logits (n, K)), (n, d)."""
    return (logits.softmax(1)[:, None] @ interests)[:, 0]


def distilled(interests: Tensor, target_vectors: Tensor, logits: Tensor, temp: float) -> Tensor:
    """temp^2 KL of the target's softened interests from the predicted ones, mean over n samples.

    The target's are its cosines with the interests (n, K, d), without gradient.
    """
    cosine = F.cosine_similarity(interests, target_vectors[:, None], dim=2).detach()
    expected = F.log_softmax(cosine / temp, 1)
    predicted = F.log_softmax(logits / temp, 1)
    return temp**2 * F.kl_div(predicted, expected, reduction="batchmean", log_target=True)


def item_table(n_items: int, dim: int) -> nn.Embedding:
    """Item vectors of about unit length, (n_items + 1, dim); row 0 is padding and stays zero."""
    table = nn.Embedding(n_items + 1, dim, padding_idx=PADDING)
    nn.init.normal_(table.weight, std=1 / math.sqrt(dim))
    with torch.no_grad():
        table.weight[PADDING].zero_()
    return table
