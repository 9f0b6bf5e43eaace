"""An epoch of each recommender against the straightforward way to write it, in one run.

The straightforward way has a Dataset that makes one sample at a time, a DataLoader that stacks
them, one table look-up per input, a sparse matrix (LightGCN), all pairwise distances (DirectAU),
and a transformer over every place of which the last is taken (SASRec with a drawn negative).
Samples, formulas and optimiser settings are the same; before the clock starts, both forms must give
the same loss for the same batch and weights. Times are processor seconds of one thread, so that
they are of use on a busy machine too.

    python benchmarks/recommenders.py
    python benchmarks/recommenders.py --data data --dataset ml-100k --json
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.presets import create, preset
from recsae.recommenders.sasrec import SASRec

SETTINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "BPRMF": ("BPRMF", {}),
    "LightGCN": ("LightGCN", {}),
    "DirectAU": ("DirectAU", {}),
    "SASRec bpr": ("SASRec", {"objective": "bpr", "batch_size": 256, "dropout": 0.0}),
}
"""Row -> model, and settings on top of its preset."""

Loss = Callable[[Recommender, list[Tensor]], Tensor]
"""The straightforward loss of a batch: its tensors in the order of the fast batch."""


class Samples(Dataset[tuple[Any, ...]]):
    """One sample at a time: what each model learns from, made when it is asked for."""

    def __init__(self, sequences: Sequences, row: str, history_max: int) -> None:
        self.row, self.length, self.n_items = row, history_max, sequences.n_items
        bounds, items = sequences.offsets.tolist(), sequences.items.tolist()
        self.lists = [
            items[start : start + n]
            for start, n in zip(bounds[:-1], sequences.n_train.tolist(), strict=True)
        ]
        self.owned = [set(own) for own in self.lists]
        first = 1 if row.startswith("SASRec") else 0
        self.index = [(u, p) for u, own in enumerate(self.lists) for p in range(first, len(own))]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, number: int) -> tuple[Any, ...]:
        user, place = self.index[number]
        item = self.lists[user][place]
        if self.row == "DirectAU":
            return user + 1, item
        drawn = random.randint(1, self.n_items)
        while drawn in self.owned[user]:
            drawn = random.randint(1, self.n_items)
        if not self.row.startswith("SASRec"):
            return user + 1, item, drawn
        history = self.lists[user][max(0, place - self.length) : place]
        return torch.tensor(history + [0] * (self.length - len(history))), item, drawn


def bprmf_loss(model: Recommender, batch: list[Tensor]) -> Tensor:
    users, positives, negatives = batch
    own = model.users(users)
    margin = (own * model.items(positives)).sum(1) - (own * model.items(negatives)).sum(1)
    return -torch.log(torch.sigmoid(margin)).mean()


def lightgcn_loss(sequences: Sequences) -> Loss:
    """Propagation as torch.sparse.mm of the whole adjacency matrix, a layer at a time."""
    users, items = sequences.training_pairs()
    n_users, n = sequences.n_users, sequences.n_users + sequences.n_items
    ends = torch.stack([users - 1, n_users + items - 1])
    index = torch.cat([ends, ends.flip(0)], 1)
    degrees = torch.bincount(index[0], minlength=n).float()
    values = degrees[index[0]].rsqrt() * degrees[index[1]].rsqrt()
    adjacency = torch.sparse_coo_tensor(index, values, (n, n), check_invariants=False).coalesce()

    def loss(model: Recommender, batch: list[Tensor]) -> Tensor:
        layers = [torch.cat([model.users.weight, model.items.weight])]
        for _ in range(model.n_layers):
            layers.append(torch.sparse.mm(adjacency, layers[-1]))
        vectors = torch.stack(layers, 1).mean(1)
        users, items = vectors[:n_users], vectors[n_users:]
        own, positive, negative = users[batch[0] - 1], items[batch[1] - 1], items[batch[2] - 1]
        margin = (own * positive).sum(1) - (own * negative).sum(1)
        return -torch.log(torch.sigmoid(margin)).mean()

    return loss


def directau_loss(model: Recommender, batch: list[Tensor]) -> Tensor:
    users, items = model.users(batch[0]), model.items(batch[1])
    users, items = F.normalize(users, dim=-1), F.normalize(items, dim=-1)
    alignment = (users - items).norm(p=2, dim=1).pow(2).mean()
    spread = [torch.pdist(x, p=2).pow(2).mul(-2).exp().mean().log() for x in (users, items)]
    return alignment + model.gamma * sum(spread) / 2


def sasrec_loss(model: Recommender, batch: list[Tensor]) -> Tensor:
    assert isinstance(model, SASRec)
    histories, positives, negatives = batch
    last = (histories > 0).sum(1) - 1
    hidden = model.hidden(histories)[torch.arange(len(last)), last]
    margin = (hidden * model.items(positives)).sum(1) - (hidden * model.items(negatives)).sum(1)
    return -torch.log(torch.sigmoid(margin)).mean()


class Timed(NamedTuple):
    """Processor seconds of an epoch, straightforward and ours, and how many samples it has."""

    row: str
    samples: int
    plain: float
    ours: float

    @property
    def ratio(self) -> float:
        return self.plain / self.ours


def epoch(
    model: Recommender, batches: Iterator[Any], loss: Callable[[Any], Tensor], adam: Any
) -> float:
    """Processor seconds of an epoch: making batches, loss, gradient and step."""
    started = time.process_time()
    model.train()
    for batch in batches:
        adam.zero_grad(set_to_none=True)
        value = loss(batch)
        value.backward()
        adam.step()
    return time.process_time() - started


def compare(
    row: str, dataset: str, sequences: Sequences, repeat: int, batch_size: int | None
) -> Timed:
    """Time both forms of one row with the preset of a data set.

    Raises RuntimeError when their losses differ.
    """
    name, settings = SETTINGS[row]
    config = preset(name, dataset, **settings).with_options(batch_size=batch_size)
    plain_loss: Loss = {
        "BPRMF": lambda: bprmf_loss,
        "LightGCN": lambda: lightgcn_loss(sequences),
        "DirectAU": lambda: directau_loss,
        "SASRec bpr": lambda: sasrec_loss,
    }[row]()
    ours, plain = (create(name, config, sequences) for _ in range(2))
    batch = next(iter(ours.batches(sequences, torch.Generator().manual_seed(1))))
    losses = ours.loss(batch).item(), plain_loss(plain, list(batch)).item()  # type: ignore[call-overload]
    if abs(losses[0] - losses[1]) > 1e-4:
        raise RuntimeError(f"{row}: the loss is {losses[0]}, but {losses[1]} in the plain form")
    samples = Samples(sequences, row, config.history_max)
    fast = torch.optim.Adam(ours.parameters(), lr=config.lr, weight_decay=config.l2, fused=True)
    slow = torch.optim.Adam(plain.parameters(), lr=config.lr, weight_decay=config.l2)
    seconds = []
    for number in range(repeat):
        generator = torch.Generator().manual_seed(number)
        loader = DataLoader(samples, config.batch_size, shuffle=True, generator=generator)
        own = epoch(ours, ours.batches(sequences, generator), ours.loss, fast)
        other = epoch(plain, iter(loader), lambda batch: plain_loss(plain, batch), slow)
        seconds.append((other, own))
    return Timed(row, len(samples), *(min(column) for column in zip(*seconds, strict=True)))


def synthetic(n_users: int = 938, n_items: int = 1008, n_train: int = 56) -> Sequences:
    """Random lists of the size of MovieLens-100K: popular items first, no repetition."""
    generator = torch.Generator().manual_seed(0)
    popularity = 1 / torch.arange(10, n_items + 10).float()
    items = torch.multinomial(popularity.expand(n_users, -1), n_train + 2, generator=generator) + 1
    offsets = torch.arange(n_users + 1) * (n_train + 2)
    return Sequences(items.flatten(), offsets, torch.full((n_users,), n_train), n_items)


def prepared(data: Path, dataset: str) -> Sequences:
    from recsae.datasets import read_dataset

    content = read_dataset(dataset, data)
    return Sequences.from_frame(content.interactions, len(content.users), len(content.items))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path("data"), help="folder of data sets")
    parser.add_argument("--dataset", help="a prepared data set; random lists where not given")
    parser.add_argument("--only", choices=SETTINGS, help="one row")
    parser.add_argument("--batch-size", type=int, help="samples per step; else the preset's")
    parser.add_argument("--repeat", type=int, default=1, help="epochs of each, the best counts")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    torch.set_num_threads(1)
    sequences = prepared(options.data, options.dataset) if options.dataset else synthetic()
    rows = [options.only] if options.only else list(SETTINGS)
    dataset = options.dataset or "ml-100k"
    results = [compare(row, dataset, sequences, options.repeat, options.batch_size) for row in rows]
    if options.json:
        json.dump([{**r._asdict(), "ratio": r.ratio} for r in results], sys.stdout, indent=2)
        print()
        return
    table = Table(title="processor seconds of an epoch, one thread")
    table.add_column("model")
    for column in ("samples", "straightforward", "recsae", "times faster"):
        table.add_column(column, justify="right")
    for r in results:
        table.add_row(r.row, f"{r.samples:,}", f"{r.plain:.2f}", f"{r.ours:.2f}", f"{r.ratio:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
