"""Synthetic data in which the concepts are known, for tests of everything that looks for concepts.

Every item is made from one concept, some from two. A user likes a few concepts and stays with one
for a while, so the recent history tells the concept of the next item. Noise tags sit on random
items and explain nothing; whatever finds concepts has to rank them below the planted ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsae.config import StageConfig, require
from recsae.datasets.split import MIN_CORE, RARE_BELOW, Raw

SECOND_CONCEPT = 0.1
"""Share of items that also carry the tag of a second concept."""
ZIPF = 0.7
"""Exponent of popularity by rank; small enough that the k-core keeps the tail."""
STAY = 0.85
"""Probability that the next item is of the same concept."""
FAVOURITES = 4
"""Concepts that a user likes."""
LENGTHS = (20, 40)
"""Least and most interactions of a user."""
START = 1_600_000_000
"""First time, in seconds since 1970."""

Generator = np.random.Generator
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class PlantedOptions(StageConfig):
    """Size of the data; the same options give the same data."""

    users: int = 800
    """Users before the k-core."""
    items: int = 400
    """Items before the k-core; at least 8 for every concept."""
    concepts: int = 16
    """Concepts that items are made from."""
    noise_tags: int = 40
    """Tags on random items."""
    core: int = 5
    """Least interactions of every user and item that is kept."""
    seed: int = 0
    """Seed of the generator."""

    def __post_init__(self) -> None:
        require(20 <= self.users <= 10**6, "--users", self.users, "from 20 to 1,000,000")
        require(80 <= self.items <= 10**5, "--items", self.items, "from 80 to 100,000")
        most = self.items // 8
        rule = f"from 2 to {most}, an eighth of --items {self.items}"
        require(2 <= self.concepts <= most, "--concepts", self.concepts, rule)
        require(0 <= self.noise_tags <= 1000, "--noise-tags", self.noise_tags, "from 0 to 1,000")
        require(self.core >= MIN_CORE, "--core", self.core, f"at least {MIN_CORE}")
        require(0 <= self.seed < 2**63, "--seed", self.seed, "zero or positive, below 2**63")


def generate(options: PlantedOptions) -> tuple[Raw, pl.DataFrame]:
    """Raw data, and the truth: source_item_id, concept (the tag of its main concept)."""
    rng = np.random.default_rng(options.seed)
    main, second = plant(rng, options)
    ids = np.arange(1, options.items + 1)
    names = np.array([f"concept:{label}" for label in labels(options.concepts)])
    both = second >= 0
    tags = pl.concat(
        [
            _tag_frame(ids, names[main], "concept"),
            _tag_frame(ids[both], names[second[both]], "concept"),
            *noise_tags(rng, options),
        ]
    )
    items = pl.DataFrame(
        {"source_item_id": ids, "title": [f"Item {one:0{_width(options.items)}d}" for one in ids]},
        schema={"source_item_id": pl.Int64, "title": pl.String},
    )
    truth = pl.DataFrame({"source_item_id": ids, "concept": names[main]})
    return Raw(simulate(rng, options, main, second), items, tags, {}), truth


def plant(rng: Generator, options: PlantedOptions) -> tuple[Integers, Integers]:
    """Main concept of every item (n_items,), 0-based, and its second concept or -1.

    Concepts are as equal in size as can be.
    """
    main = rng.permutation(np.arange(options.items) % options.concepts)
    other = (main + rng.integers(1, options.concepts, options.items)) % options.concepts
    return main, np.where(rng.random(options.items) < SECOND_CONCEPT, other, -1)


def noise_tags(rng: Generator, options: PlantedOptions) -> list[pl.DataFrame]:
    """Tags on random items, each about as frequent as a concept and on 5 items at least."""
    typical = options.items / options.concepts * (1 + SECOND_CONCEPT)
    frames = []
    for label in labels(options.noise_tags):
        size = max(RARE_BELOW, round(typical * rng.uniform(0.7, 1.3)))
        chosen = rng.permutation(options.items)[:size] + 1
        frames.append(_tag_frame(chosen, np.full(size, f"noise:{label}"), "noise"))
    return frames


def simulate(
    rng: Generator, options: PlantedOptions, main: Integers, second: Integers
) -> pl.DataFrame:
    """Interactions: source_user_id, source_item_id, time."""
    weight = np.power(1.0 + rng.permutation(options.items), -ZIPF).astype(np.float64)
    members = [np.flatnonzero((main == c) | (second == c)) for c in range(options.concepts)]
    users, chosen, times = [], [], []
    for user in range(1, options.users + 1):
        taken = one_user(rng, weight, members)
        users.append(np.full(len(taken), user))
        chosen.append(np.array(taken) + 1)
        gaps = rng.integers(60, 86_400, len(taken))
        times.append(START + rng.integers(0, 10**7) + np.cumsum(gaps))
    return pl.DataFrame(
        {
            "source_user_id": np.concatenate(users),
            "source_item_id": np.concatenate(chosen),
            "time": np.concatenate(times),
        }
    )


def one_user(rng: Generator, weight: NDArray[np.float64], members: list[Integers]) -> list[int]:
    """Items of a user in order, 0-based, none twice.

    A Markov chain over the user's favourite concepts; within a concept, items come as drawn by
    popularity without replacement, which sorting by log weight plus Gumbel noise does at once.
    """
    keys = np.log(weight) + rng.gumbel(size=len(weight))
    liked = rng.permutation(len(members))[:FAVOURITES]
    queues = {int(c): members[c][np.argsort(keys[members[c]])].tolist() for c in liked}
    taken: dict[int, None] = {}
    now = int(rng.choice(liked))
    for _ in range(int(rng.integers(LENGTHS[0], LENGTHS[1] + 1))):
        if rng.random() >= STAY:
            now = int(rng.choice(liked))
        for concept in (now, *queues):
            item = next_new(queues[concept], taken)
            if item is not None:
                taken[item] = None
                now = concept
                break
    return list(taken)


def next_new(queue: list[int], taken: dict[int, None]) -> int | None:
    """Take the first item of a queue (its end) that is not taken yet; None when there is none."""
    while queue:
        item = queue.pop()
        if item not in taken:
            return item
    return None


def labels(count: int) -> list[str]:
    """``00``, ``01``, ...: numbers of equal width."""
    return [f"{one:0{_width(count - 1)}d}" for one in range(count)]


def _width(largest: int) -> int:
    return max(2 if largest < 100 else 4, len(str(largest)))


def _tag_frame(ids: Integers, tags: NDArray[np.str_], kind: str) -> pl.DataFrame:
    """Columns source_item_id, kind, tag."""
    schema = {"source_item_id": pl.Int64, "kind": pl.String, "tag": pl.String}
    columns = {"source_item_id": ids, "kind": [kind] * len(ids), "tag": tags.tolist()}
    return pl.DataFrame(columns, schema=schema)
