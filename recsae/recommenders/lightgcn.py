"""LightGCN: vectors averaged over the graph of users and items (He et al., SIGIR 2020).

A is the adjacency of the training interactions, each edge divided by the square root of the degrees
of both ends. With E the table of free vectors, users and items in one, and L layers

    vectors = (E + A E + ... + A^L E) / (L + 1)

and the score is their product, trained with -log sigmoid(positive - negative).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from recsae.config import TrainConfig
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.bprmf import PairBatch, pair_batches


class Graph(NamedTuple):
    """A, symmetric, in CSR form: node u - 1 is user u, node n_users + i - 1 is item i."""

    offsets: Tensor
    """(n_nodes + 1,) where the neighbours of each node start, and their number at the end."""
    neighbours: Tensor
    """(2 n_edges,) nodes."""
    weights: Tensor
    """(2 n_edges,) 1 / sqrt(degree of the node * degree of the neighbour)."""


class LightGCN(Recommender):
    """The case vector is the user's vector after propagation over the training interactions."""

    name: ClassVar[str] = "LightGCN"
    is_sequential: ClassVar[bool] = False

    def __init__(self, config: TrainConfig, n_users: int, n_items: int) -> None:
        super().__init__()
        self.batch_size, self.n_layers, self.n_users = config.batch_size, config.n_layers, n_users
        self.users = nn.Embedding(n_users, config.emb_size)
        self.items = nn.Embedding(n_items, config.emb_size)
        for table in (self.users, self.items):
            nn.init.xavier_uniform_(table.weight)
        self._graph: Graph | None = None

    def prepare(self, sequences: Sequences) -> None:
        """Keep the graph of the training interactions; it is data, not one of the weights."""
        self._graph = training_graph(sequences)

    def vectors(self) -> Tensor:
        """Vectors of all users, then of all items, after propagation: (n_users + n_items, d).

        Computed anew at each call: milliseconds, which nothing that is kept and stale is worth.
        """
        assert self._graph is not None, "prepare comes first"
        table = torch.cat([self.users.weight, self.items.weight])
        vectors: Tensor = Propagation.apply(table, self._graph, self.n_layers)  # type: ignore[no-untyped-call]
        return vectors

    def item_vectors(self) -> Tensor:
        return self.vectors()[self.n_users :]

    def case_vectors(self, sequences: Sequences, users: Tensor, positions: Tensor) -> Tensor:
        return self.vectors()[users - 1]

    def n_batches(self, sequences: Sequences) -> int:
        return -(-int(sequences.n_train.sum()) // self.batch_size)

    def batches(self, sequences: Sequences, generator: torch.Generator) -> Iterator[PairBatch]:
        yield from pair_batches(sequences, self.batch_size, generator)

    def loss(self, batch: object) -> Tensor:
        assert isinstance(batch, PairBatch)
        items = batch.positives + self.n_users, batch.negatives + self.n_users
        # one look-up: each would have a gradient as large as the table. Not by index: threads add
        # up its gradient in the order in which they come
        rows = torch.stack([batch.users, *items]) - 1
        own, positives, negatives = F.embedding(rows, self.vectors())
        margin = (own * (positives - negatives)).sum(1)
        return -F.logsigmoid(margin).mean()


class Propagation(torch.autograd.Function):
    """(E + A E + ... + A^L E) / (L + 1) of E, (n_nodes, d).

    A is symmetric, and so is this polynomial of it: the gradient is propagated by the same sum.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, graph: Graph, n_layers: int) -> Tensor:
        ctx.graph, ctx.n_layers = graph, n_layers
        return propagate(table, graph, n_layers)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        return propagate(gradients[0], ctx.graph, ctx.n_layers), None, None


def propagate(table: Tensor, graph: Graph, n_layers: int) -> Tensor:
    """Mean of ``table`` (n_nodes, d) and its ``n_layers`` products with A; gives no gradient.

    A product is a sum of weighted rows per node: an embedding bag, several times faster on a
    processor than torch's sparse matrices.
    """
    total = table
    for _ in range(n_layers):
        # Horner: E + A (E + A (E + A E))
        total = table + F.embedding_bag(
            graph.neighbours,
            total,
            graph.offsets,
            mode="sum",
            per_sample_weights=graph.weights,
            include_last_offset=True,
        )
    return total / (n_layers + 1)


def training_graph(sequences: Sequences) -> Graph:
    """The graph of the training interactions; a repeated one is one edge."""
    users, items = sequences.training_pairs()
    n_nodes = sequences.n_users + sequences.n_items
    ends = torch.stack([users - 1, items - 1 + sequences.n_users])
    both = torch.cat([ends, ends.flip(0)], dim=1)
    edges = torch.unique(both[0] * n_nodes + both[1])
    nodes, neighbours = edges // n_nodes, edges % n_nodes
    degrees = torch.bincount(nodes, minlength=n_nodes)
    offsets = torch.cat([degrees.new_zeros(1), torch.cumsum(degrees, 0)])
    weights = (degrees[nodes] * degrees[neighbours]).float().rsqrt()
    return Graph(offsets, neighbours, weights)
