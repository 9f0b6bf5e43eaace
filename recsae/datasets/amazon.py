"""Amazon reviews by category (McAuley): reviews_*.json.gz of the 5-core and meta_*.json.gz.

Every review is an interaction, whatever its rating, as in the reference. Lines of reviews are JSON.
Lines of meta are JSON or, in the release of 2014, Python literals; these are read by
``ast.literal_eval``, which evaluates nothing.
"""

from __future__ import annotations

import ast
import html
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import polars as pl

from recsae.config import StageConfig, require
from recsae.datasets.collect import Ids, Interactions
from recsae.datasets.lines import listed
from recsae.datasets.rows import BATCH, Batch, Form, text_blocks
from recsae.datasets.split import MIN_CORE, Raw, positives
from recsae.datasets.streams import Entry, Found, single
from recsae.datasets.tags import HALF, kind_tag, tag_frame, title_words, whole
from recsae.errors import DataError

USER, ITEM, TIME, RATING = "reviewerID", "asin", "unixReviewTime", "overall"
_ASIN = re.compile(r"""\{\s*['"]asin['"]\s*:\s*['"]([^'"\\]*)['"]""")
"""How a line of meta begins in the known releases; tells most lines that need no parsing."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class AmazonOptions(StageConfig):
    """Which interactions are kept; the defaults are the reference's."""

    min_rating: float | None = None
    """Reviews rated below this are left out (ratings run from 1 to 5). None: all are kept."""
    core: int = 5
    """Least interactions of every user and item that is kept."""

    def __post_init__(self) -> None:
        least = self.min_rating
        require(least is None or 1 <= least <= 5, "--min-rating", least, "from 1 to 5")
        require(self.core >= MIN_CORE, "--core", self.core, f"at least {MIN_CORE}")


def files(source: Path, items: Path | None = None) -> Found:
    """The reviews and the meta of one category in a folder."""
    if not source.is_dir():
        raise DataError(f"{source} is no folder", "give --source the folder of both files")
    return {kind: _one(source, kind) for kind in ("reviews", "meta")}


def _one(source: Path, kind: str) -> Entry:
    paths = sorted(path for end in ("json.gz", "json") for path in source.glob(f"{kind}_*.{end}"))
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise DataError(
            f"{source} has to have one {kind}_*.json.gz, but has {names}", "change --source"
        )
    return single(paths[0])


def read(found: Found, options: AmazonOptions) -> Raw:
    """Interactions, products and tags.

    Errors: DataError naming file, line and field.
    """
    users, items = Ids(), Ids()
    rating = RATING if options.min_rating is not None else None
    wanted = (USER, ITEM, TIME, *([rating] if rating else ()))
    gathered = Interactions(users, items, time=TIME, rating=rating)
    for batch in _reviews(found["reviews"], wanted):
        gathered.add(batch, USER, ITEM)
    meta = _Meta(set(items.numbers))
    meta.read(found["meta"])
    if len(meta.titles) < len(items.numbers):
        _refuse_unknown(found, wanted, meta.titles)
    kept, dropped = positives(gathered.frame(found["reviews"].name), options.min_rating)
    schema = {"source_item_id": pl.String, "title": pl.String}
    frame = pl.DataFrame(list(meta.titles.items()), schema=schema, orient="row")
    counts = {"item_repeated": meta.repeated, "tag_not_text": meta.odd}
    return Raw(kept, frame, tag_frame(meta.tags, pl.String), {**dropped, **counts})


def _lines(entry: Entry) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not empty."""
    for first, block in text_blocks(entry, Form("")):
        for number, line in enumerate(block.split("\n"), start=first):
            if text := line.strip():
                yield number, text


def _reviews(entry: Entry, wanted: Sequence[str]) -> Iterator[Batch]:
    """The wanted fields of all reviews."""
    lines = _lines(entry)
    while taken := list(islice(lines, BATCH)):
        rows = [_fields(entry.name, number, text, wanted) for number, text in taken]
        columns = {name: [row[at] for row in rows] for at, name in enumerate(wanted)}
        yield Batch(entry.name, [number for number, _ in taken], columns)


def _fields(name: str, number: int, text: str, wanted: Sequence[str]) -> list[str]:
    record = _record(name, number, text, literal=False)
    for one in wanted:
        if one not in record:
            raise DataError(f"{name} line {number}: no field {one}; found {listed([*record])}")
        if isinstance(record[one], bool | dict | list | None) or HALF.search(str(record[one])):
            raise DataError(
                f"{name} line {number}: field {one} is {str(record[one])[:40]!r}, "
                "not a text or number"
            )
    return [str(record[one]) for one in wanted]


def _record(name: str, number: int, text: str, *, literal: bool) -> Record:
    """The object of a line."""
    value: object = None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        if literal:
            value = _literal(text)
    if not isinstance(value, dict):
        kind = "JSON object or Python literal" if literal else "JSON object"
        raise DataError(f"{name} line {number} is no {kind}: {text[:40]!r}")
    return value


def _literal(text: str) -> object:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return None


def _refuse_unknown(found: Found, wanted: Sequence[str], titles: Mapping[str, object]) -> None:
    """Every reviewed product has to be in meta; DataError naming the first line that is wrong."""
    for batch in _reviews(found["reviews"], wanted):
        Ids(known=titles, known_in=found["meta"].name).encode(batch, ITEM)


@dataclass
class _Meta:
    """Titles and tags of the products that are reviewed."""

    wanted: set[str]
    titles: dict[str, str | None] = field(default_factory=dict)
    tags: list[tuple[object, str, str]] = field(default_factory=list)
    repeated: int = 0
    odd: int = 0
    """Categories, brands and titles that are no text."""

    def read(self, entry: Entry) -> None:
        for number, text in _lines(entry):
            start = _ASIN.match(text)
            if start and start[1] not in self.wanted:
                continue
            record = _record(entry.name, number, text, literal=True)
            item = record.get(ITEM)
            if not isinstance(item, str) or not item.strip():
                raise DataError(f"{entry.name} line {number}: field {ITEM} is {item!r}, not an id")
            if item.strip() in self.titles:
                self.repeated += 1
            elif item.strip() in self.wanted:
                self._take(item.strip(), record)

    def _take(self, item: str, record: Record) -> None:
        title = self._text(record.get("title"))
        self.titles[item] = title or None
        brand = self._text(record.get("brand"))
        tags = {kind_tag("brand", brand)} if brand else set()
        tags |= {("title_word", f"word:{word}") for word in title_words(title)}
        tags |= {kind_tag("category", path) for path in self._paths(record)}
        self.tags += [(item, *tag) for tag in sorted(tags)]

    def _paths(self, record: Record) -> Iterator[str]:
        """Every category of a product as a path from below the root of the tree to its leaf."""
        paths = record.get("categories", record.get("category")) or []
        if isinstance(paths, list) and not any(isinstance(path, list) for path in paths):
            paths = [paths]
        for path in paths if isinstance(paths, list) else [[paths]]:
            parts = [self._text(part) for part in (path if isinstance(path, list) else [path])]
            if below := " > ".join(part for part in parts[1:] if part):
                yield below

    def _text(self, value: object) -> str:
        """A text with its character references resolved and its blanks made single."""
        if value is not None and not isinstance(value, str):
            self.odd += 1
        return " ".join(html.unescape(whole(value)).split()) if isinstance(value, str) else ""
