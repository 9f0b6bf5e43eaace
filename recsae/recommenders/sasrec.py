"""SASRec: self-attentive sequential recommendation (Kang and McAuley, ICDM 2018).

The block is the one of the reference (ReChorus): item embedding plus position embedding without
scaling, post-norm, attention without an output projection, a feed-forward layer as wide as the
embedding. Training differs on purpose: every position of a window is trained in one pass with a
softmax over all items instead of one sampled negative (docs/results.md has the comparison); of a
large catalogue, items that are drawn for each step stand for all. The objective ``bpr`` is that of
the reference: every prefix is a sample with one drawn negative.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.config import TrainConfig
from recsae.recommenders.base import PADDING, Recommender, Sequences
from recsae.recommenders.bprmf import sample_negatives

N_DRAWN = 1024
"""Items of one softmax; all of them where there are not more."""


class WindowBatch(NamedTuple):
    """Windows of consecutive training items and, for each place, the item that came next."""

    inputs: Tensor
    """(b, length) item ids, 0 after the end."""
    targets: Tensor
    """(b, length) item ids, 0 where there is none."""


class DrawnBatch(NamedTuple):
    """Windows as in WindowBatch, and items that were drawn for all of their places."""

    inputs: Tensor
    """(b, length)"""
    targets: Tensor
    """(b, length)"""
    drawn: Tensor
    """(c,) different item ids."""


class PrefixBatch(NamedTuple):
    """Histories, the item that followed each, and one that its user has no training item of."""

    histories: Tensor
    """(b, length) item ids, 0 after the end."""
    positives: Tensor
    """(b,)"""
    negatives: Tensor
    """(b,)"""


SequenceBatch = WindowBatch | DrawnBatch | PrefixBatch


class Block(nn.Module):
    """Self-attention, then a position-wise layer, each followed by LayerNorm."""

    def __init__(self, dim: int, n_heads: int, dropout: float) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.query, self.key, self.value = (nn.Linear(dim, dim) for _ in range(3))
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.inner, self.outer = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, sees: Tensor | None = None) -> Tensor:
        """Map (b, length, d) to (b, length, d).

        Place t sees places 0..t, or those where ``sees`` (b, length) is true, whatever t.
        """
        b, length, dim = x.shape
        query, key, value = (
            layer(x).view(b, length, self.n_heads, -1).transpose(1, 2)
            for layer in (self.query, self.key, self.value)
        )
        mask = None if sees is None else sees[:, None, None]
        mixed = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, is_causal=mask is None
        )
        x = self.norm1(x + self.dropout(mixed.transpose(1, 2).reshape(b, length, dim)))
        return self.norm2(x + self.dropout(self.outer(F.relu(self.inner(x)))))

    def last(self, x: Tensor, valid: Tensor) -> Tensor:
        """What ``forward`` gives for the last valid place alone: (b, length, d) -> (b, d).

        A single query makes keys and values of the other places unnecessary: q . (K x + k) is
        (K^T q) . x plus what all places share, and a mean of V x + v is V (mean of x) + v.
        """
        b, _, dim = x.shape
        own = x[torch.arange(b), valid.sum(1) - 1]
        key, value = (layer.weight.view(self.n_heads, -1, dim) for layer in (self.key, self.value))
        query = self.query(own).view(b, self.n_heads, -1) / math.sqrt(dim / self.n_heads)
        logits = torch.einsum("bhw,hwd->bhd", query, key) @ x.transpose(1, 2)
        weights = logits.masked_fill(~valid[:, None], -torch.inf).softmax(2)
        mixed = torch.einsum("bhd,hwd->bhw", weights @ x, value).reshape(b, dim) + self.value.bias
        own = self.norm1(own + self.dropout(mixed))
        return self.norm2(own + self.dropout(self.outer(F.relu(self.inner(own)))))


class SASRec(Recommender):
    """The case vector is the last place of the block stack over the last ``history_max`` items."""

    name: ClassVar[str] = "SASRec"
    is_sequential: ClassVar[bool] = True

    def __init__(self, config: TrainConfig, n_users: int, n_items: int) -> None:
        super().__init__()
        dim = config.emb_size
        self.batch_size, self.history_max = config.batch_size, config.history_max
        self.position_from, self.by_windows = config.position_from, config.objective == "softmax"
        self.items = nn.Embedding(n_items + 1, dim, padding_idx=PADDING)
        self.positions = nn.Embedding(config.history_max + 1, dim)
        self.input_dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList(
            Block(dim, config.num_heads, config.dropout) for _ in range(config.num_layers)
        )
        for table in (self.items, self.positions):
            nn.init.normal_(table.weight, std=1 / math.sqrt(dim))
        if not self.by_windows:
            self.apply(start_small)
        with torch.no_grad():
            self.items.weight[PADDING].zero_()

    def item_vectors(self) -> Tensor:
        return self.items.weight[1:]

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        history = sequences.history(users, positions, self.history_max)
        return self.last_hidden(history, self.items(history))

    def hidden(self, items: Tensor) -> Tensor:
        """Hidden vectors of every place: items (b, length) -> (b, length, d)."""
        x = self._placed(items, self.items(items))
        for block in self.blocks:
            x = block(x)
        return x

    def last_hidden(self, items: Tensor, vectors: Tensor) -> Tensor:
        """Hidden vectors of the last place with an item, (b, d).

        ``items`` (b, length) and their ``vectors`` (b, length, d).
        """
        x = self._placed(items, vectors)
        *lower, top = self.blocks
        assert isinstance(top, Block)
        for block in lower:
            x = block(x)
        return top.last(x, items != PADDING)

    def _placed(self, items: Tensor, vectors: Tensor) -> Tensor:
        positions = self.positions(position_ids(items, self.position_from))
        return self.input_dropout(vectors + positions)

    def n_batches(self, sequences: Sequences) -> int:
        return n_sequence_batches(sequences, self.by_windows, self.history_max, self.batch_size)

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[SequenceBatch]:
        n_drawn = N_DRAWN if sequences.n_items > N_DRAWN else None
        shape = self.history_max, self.batch_size
        return sequence_batches(sequences, self.by_windows, *shape, n_drawn, generator)

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, SequenceBatch)
        if isinstance(batch, PrefixBatch):
            return self._prefix_loss(batch)
        asked = batch.targets != PADDING
        hidden, targets = self.hidden(batch.inputs)[asked], batch.targets[asked]
        if isinstance(batch, WindowBatch):
            return F.cross_entropy(hidden @ self.item_vectors().T, targets - 1)
        vectors = self.items(torch.cat([targets, batch.drawn]))
        own, drawn = vectors[: len(targets)], vectors[len(targets) :]
        n_items = self.items.num_embeddings - 1
        scores = (hidden * own).sum(1), hidden @ drawn.T
        return drawn_cross_entropy(*scores, targets, batch.drawn, n_items)

    def _prefix_loss(self, batch: PrefixBatch) -> Tensor:
        b, length = batch.histories.shape
        # one look-up: each would have a gradient as large as the table
        ids = torch.cat([batch.histories.flatten(), batch.positives, batch.negatives])
        histories, positives, negatives = self.items(ids).split([b * length, b, b])
        hidden = self.last_hidden(batch.histories, histories.view(b, length, -1))
        return -F.logsigmoid((hidden * (positives - negatives)).sum(1)).mean()


def start_small(module: nn.Module) -> None:
    """Initial weights of the reference, which one drawn negative needs to rank as well."""
    if isinstance(module, nn.Embedding | nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.bias, std=0.01)


def drawn_cross_entropy(
    own: Tensor, others: Tensor, targets: Tensor, drawn: Tensor, n_items: int
) -> Tensor:
    """Cross entropy of a softmax over the target and drawn items, which stand for all others.

    Scores of the targets (n,) and of the drawn items (n, c), and their ids, (n,) and (c,). With all
    items drawn it is that of the softmax over all items.
    """
    is_target = drawn == targets[:, None]
    stands_for = (n_items - 1) / (~is_target).sum(1)
    rest = torch.logsumexp(others.masked_fill(is_target, -torch.inf), 1) + stands_for.log()
    return (torch.logaddexp(own, rest) - own).mean()


def position_ids(items: Tensor, position_from: str) -> Tensor:
    """Position of every place, (b, length), 1-based, 0 where there is no item."""
    valid = items != PADDING
    if position_from == "start":
        return torch.cumsum(valid, 1) * valid
    return (valid.sum(1, keepdim=True) - torch.arange(items.shape[1])) * valid


def n_sequence_batches(sequences: Sequences, by_windows: bool, length: int, batch_size: int) -> int:
    """About how many batches an epoch has: of windows, else of prefixes, one per training item."""
    prefixes = int((sequences.n_train - 1).clamp(min=0).sum())
    return math.ceil((n_windows(sequences, length) if by_windows else prefixes) / batch_size)


def sequence_batches(
    sequences: Sequences,
    by_windows: bool,
    length: int,
    batch_size: int,
    n_drawn: int | None,
    generator: torch.Generator,
) -> Iterator[SequenceBatch]:
    """An epoch of windows, as softmax_batches makes them, or of prefixes."""
    if by_windows:
        return softmax_batches(sequences, length, batch_size, n_drawn, generator)
    return prefix_batches(sequences, length, batch_size, generator)


def softmax_batches(
    sequences: Sequences,
    length: int,
    batch_size: int,
    n_drawn: int | None,
    generator: torch.Generator,
) -> Iterator[WindowBatch | DrawnBatch]:
    """Windows of an epoch, each batch with ``n_drawn`` items for its softmax; None: all items."""
    for batch in window_batches(sequences, length, batch_size, generator):
        if n_drawn is None:
            yield batch
        else:
            drawn = torch.randperm(sequences.n_items, generator=generator)[:n_drawn] + 1
            yield DrawnBatch(*batch, drawn)


def window_batches(
    sequences: Sequences, length: int, batch_size: int, generator: torch.Generator
) -> Iterator[WindowBatch]:
    """Every training sequence in windows of ``length`` items, in random order."""
    starts, ends = cut_windows(sequences, length, generator)
    column = torch.arange(length)
    if not starts.numel():
        return
    for chunk in torch.randperm(starts.numel(), generator=generator).split(batch_size):
        index = starts[chunk, None] + column
        valid = index < ends[chunk, None]
        index = torch.where(valid, index, 0)
        inputs = sequences.items[index] * valid
        yield WindowBatch(inputs, sequences.items[index + 1] * valid)


def prefix_batches(
    sequences: Sequences, length: int, batch_size: int, generator: torch.Generator
) -> Iterator[PrefixBatch]:
    """Every training item that has one before it as a sample with its own history, in random order.

    A history has at most ``length`` items.
    """
    users, items = sequences.training_pairs()
    negatives = sample_negatives(users, items, sequences.n_items, generator)
    first = torch.cumsum(sequences.n_train, 0) - sequences.n_train
    positions = torch.arange(users.numel()) - first[users - 1]
    samples = positions.nonzero()[:, 0]
    order = samples[torch.randperm(samples.numel(), generator=generator)]
    for chunk in order.split(batch_size) if order.numel() else ():
        histories = sequences.history(users[chunk], positions[chunk], length)
        yield PrefixBatch(histories, items[chunk], negatives[chunk])


def n_windows(sequences: Sequences, length: int) -> float:
    """Windows of an epoch: n inputs cut at a random place make 1 + (n - 1) / length on average."""
    inputs = sequences.n_train - 1
    return float((1 + (inputs[inputs > 0] - 1) / length).sum())


def cut_windows(
    sequences: Sequences, length: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Cut every training sequence into windows at places that change from epoch to epoch.

    Returns flat start and end (exclusive) of the inputs of each window. The first window of a user
    is cut short by a random offset, so that an item meets every context length.
    """
    n_inputs = (sequences.n_train - 1).clamp(min=0)
    shift = torch.randint(0, length, n_inputs.shape, generator=generator)
    count = (n_inputs + shift + length - 1) // length
    user = torch.repeat_interleave(torch.arange(n_inputs.numel()), count)
    number = torch.arange(user.numel()) - (torch.cumsum(count, 0) - count)[user]
    base = sequences.offsets[user]
    start = base + (number * length - shift[user]).clamp(min=0)
    end = base + torch.minimum((number + 1) * length - shift[user], n_inputs[user])
    keep = end > start  # not so for users without inputs
    return start[keep], end[keep]
