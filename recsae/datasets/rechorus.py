"""ReChorus folders: train.csv, dev.csv and test.csv between tabs, item_meta.csv, item_info.csv.

Splits and ids are taken as they are, so that the rows of a checkpoint trained on the folder fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsae.config import StageConfig, require
from recsae.datasets.canonical import SPLITS
from recsae.datasets.collect import Ids, Interactions
from recsae.datasets.given import SPLIT, check_pairs, check_users
from recsae.datasets.lines import wrong
from recsae.datasets.listings import elements
from recsae.datasets.quotes import RULES, Rule
from recsae.datasets.rows import Batch, Form, batches, header
from recsae.datasets.split import MIN_CORE, Raw
from recsae.datasets.streams import Entry, Found, entries
from recsae.datasets.tags import kind_tag, readable, tag_frame
from recsae.datasets.texts import Encoding, check_encoding
from recsae.errors import DataError

META, INFO = "item_meta.csv", "item_info.csv"
USER, ITEM, TIME = "user_id", "item_id", "time"
TITLES = ("title", "i_title", "item_title", "movie_title", "name", "i_name", "item_name")
"""Columns of item_info.csv that may have the title, the first one that is there."""

SEED = 0
"""Of the search for communities."""
MAX_GAP = 10
"""Ids up to this many times their number are taken for dense."""


@dataclass(frozen=True)
class ReChorusOptions(StageConfig):
    """Everything is taken as it is, unless a k-core is asked for."""

    core: int | None = None
    """Least interactions of every user and item; the rest is split and numbered anew. None: all."""
    quote: Rule = "double"
    """As for csv."""
    encoding: str = "utf-8"
    """How the characters of the files are written."""

    def __post_init__(self) -> None:
        require(self.quote in RULES, "--quote", repr(self.quote), f"one of {', '.join(RULES)}")
        check_encoding(self.encoding)
        require(
            self.core is None or self.core >= MIN_CORE, "--core", self.core, f"{MIN_CORE} or more"
        )


def _form(options: ReChorusOptions) -> Form:
    return Form("\t", encoding=Encoding(options.encoding, option=True), quote=options.quote)


def files(source: Path, items: Path | None = None) -> Found:
    """The files of a folder or zip archive."""
    return entries(source, [f"{split}.csv" for split in SPLITS], (META, INFO))


def read(found: Found, options: ReChorusOptions) -> Raw:
    """Interactions, titles and tags.

    Errors: DataError naming file, line and column; or the rows that no split can have.
    """
    meta, form = _Meta(), _form(options)
    if META in found:
        meta.read(found[META], form)
    titles = _titles(found[INFO], form) if INFO in found else {}
    users, known = Ids(whole=True), meta.ids if META in found else None
    items = Ids(whole=True, known=known, known_in=META)
    parts = [_split(found[f"{split}.csv"], split, users, items, form) for split in SPLITS]
    interactions = pl.concat(parts, how="vertical_relaxed")  # times of one file may have fractions
    check_pairs(interactions, lambda split, line: f"{split}.csv line {line}")
    check_users(interactions)
    described = [int(one) for one in {*(meta.ids), *titles, *items.numbers}]
    _check_dense(interactions["source_user_id"], "user")
    _check_dense(pl.Series(described), "item")
    tags, unknown = meta.tags()
    frame = {"source_item_id": described, "title": [titles.get(str(one)) for one in described]}
    schema = {"source_item_id": pl.Int64, "title": pl.String}
    return Raw(
        interactions.drop("line"),
        pl.DataFrame(frame, schema=schema),
        tags,
        {"relation_unknown_item": unknown} if meta.related else {},
        dense=True,
        rows=interactions.height,
    )


def _split(entry: Entry, split: str, users: Ids, items: Ids, form: Form) -> pl.DataFrame:
    """Rows of one file: source_user_id, source_item_id, time, split, row and line."""
    gathered, lines = Interactions(users, items, time=TIME), []
    for batch in batches(entry, form, (USER, ITEM, TIME)):
        gathered.add(batch, USER, ITEM)
        for column in (USER, ITEM):
            texts = list(map(str.strip, batch.columns[column]))
            if "0" in texts:
                raise batch.wrong(texts.index("0"), column, "an id from 1 on")
        lines.append(pl.Series(batch.lines, dtype=pl.Int64))
    frame = gathered.frame(entry.name)
    ids = (pl.col(name).cast(pl.String).cast(pl.Int64) for name in frame.columns[:2])
    return frame.with_columns(
        *ids,
        split=pl.lit(split, SPLIT),
        row=pl.int_range(pl.len()),
        line=pl.concat(lines),
    )


def _check_dense(ids: pl.Series, what: str) -> None:
    """Ids from 1 on, with few gaps: every id up to the largest gets a row."""
    largest, count = int(ids.max() or 0), ids.n_unique()  # type: ignore[arg-type]
    if largest > MAX_GAP * (count + 100):
        raise DataError(
            f"{what} ids are not dense: {count:,} of them occur, but the largest is {largest:,}",
            "recsae data prepare csv takes any ids",
        )


class _Meta:
    """item_meta.csv: columns i_* are tags, columns r_* lists of related items."""

    def __init__(self) -> None:
        self.ids: dict[str, None] = {}
        self.found: list[tuple[int, str, str]] = []
        self.related: dict[str, list[tuple[int, int]]] = {}

    def read(self, entry: Entry, form: Form) -> None:
        columns = [one for one in header(entry, form) if one.startswith(("i_", "r_"))]
        self.related = {name: [] for name in columns if name.startswith("r_")}
        for batch in batches(entry, form, (ITEM, *columns)):
            for place, (_, (_, *values)) in enumerate(batch.rows(ITEM, *columns)):
                item = self._take_id(batch, place)
                for column, text in zip(columns, values, strict=True):
                    self._take(batch, place, item, column, text)

    def _take_id(self, batch: Batch, place: int) -> int:
        item = item_of(batch, place)
        if item in self.ids:
            raise DataError(f"{batch.at(place)}: item {item} occurs twice")
        self.ids[item] = None
        return int(item)

    def _take(self, batch: Batch, place: int, item: int, column: str, text: str) -> None:
        if column in self.related:
            self.related[column] += [
                (item, other) for other in _integers(batch, place, column, text)
            ]
            return
        for value in _values(text):
            self.found.append((item, *kind_tag(column.removeprefix("i_"), value)))

    def tags(self) -> tuple[pl.DataFrame, int]:
        """Tags of columns and of communities; and how many related items are unknown."""
        known = {int(one) for one in self.ids}
        tags, unknown = list(self.found), 0
        for column, pairs in self.related.items():
            kind = column.removeprefix("r_")
            inside = [(one, other) for one, other in pairs if other in known]
            unknown += len(pairs) - len(inside)
            for number, members in enumerate(communities(inside), start=1):
                tags += [(item, kind, f"{kind}:{kind}s {number}") for item in members]
        return tag_frame(tags, pl.Int64), unknown


def item_of(batch: Batch, place: int) -> str:
    """The item of a row; DataError unless it is a whole number from 1 on."""
    text = batch.columns[ITEM][place].strip()
    if not (text.isascii() and text.isdigit() and len(text) <= 18 and not text.startswith("0")):
        raise batch.wrong(place, ITEM, "a whole number from 1 on")
    return text


def communities(pairs: Sequence[tuple[int, int]]) -> Iterator[list[int]]:
    """Groups of items that are tied to each other (Louvain), the largest first.

    Related items are an undirected graph; an item without any is in no group.
    """
    import networkx as nx

    graph = nx.Graph()
    edges = sorted({(min(pair), max(pair)) for pair in pairs if pair[0] != pair[1]})
    graph.add_nodes_from(sorted({item for edge in edges for item in edge}))
    graph.add_edges_from(edges)
    if edges:
        groups = nx.community.louvain_communities(graph, seed=SEED)
        yield from sorted(map(sorted, groups), key=lambda group: (-len(group), group))


def _integers(batch: Batch, place: int, column: str, text: str) -> list[int]:
    """A list of whole numbers written as Python does; nothing for an empty field."""
    parts = text.strip().removeprefix("[").removesuffix("]").split(",")
    texts = [part.strip() for part in parts if part.strip()]
    if not all(one.isascii() and one.isdigit() and len(one) <= 18 for one in texts):
        raise wrong(batch.at(place), column, text, "a list of whole numbers")
    return [int(one) for one in texts]


def _values(text: str) -> list[str]:
    """Values of a field: one, or those of a list."""
    text = text.strip()
    found = elements(text)
    return found if found is not None else [text] if text else []


def _titles(entry: Entry, form: Form) -> dict[str, str]:
    """Titles by item id; nothing where no column has titles."""
    names = header(entry, form)
    column = next((one for one in TITLES if one in names), None)
    titles: dict[str, str] = {}
    if column is None:
        return titles
    for batch in batches(entry, form, (ITEM, column)):
        for place, title in enumerate(batch.columns[column]):
            item = item_of(batch, place)
            if title.strip():
                titles[item] = readable(title)
    return titles
