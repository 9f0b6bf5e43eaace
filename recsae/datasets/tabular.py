"""Any interactions in CSV or Parquet, with a second file that describes the items."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsae.config import StageConfig, require
from recsae.datasets.collect import Ids, Interactions
from recsae.datasets.given import SPLIT, check_pairs, check_users, without_gaps
from recsae.datasets.listings import elements, looks_listed
from recsae.datasets.parquet import parquet_batches
from recsae.datasets.quotes import RULES, Rule
from recsae.datasets.rows import SEPARATORS, Batch, Form, batches
from recsae.datasets.split import MIN_CORE, Raw, positives
from recsae.datasets.streams import Entry, Found, single
from recsae.datasets.tags import kind_tag, readable, tag_frame
from recsae.datasets.texts import Encoding, check_encoding
from recsae.errors import DataError, UsageError

SPLIT_NAMES = {
    **{name: name for name in SPLIT.categories},
    **dict.fromkeys(("valid", "validation", "val"), "dev"),
}
"""What a column of splits may say."""

NO_COLUMN = "none"
"""``--time none``: the order of the rows counts."""

_NAMES = {name: mark for mark, word in SEPARATORS.items() for name in (word[:-1], mark)}

Reader = Callable[[Entry, Sequence[str]], Iterator[Batch]]


@dataclass(frozen=True)
class ParquetOptions(StageConfig):
    """Names of columns, and which interactions are kept."""

    user: str = "user_id"
    """Column of the users."""
    item: str = "item_id"
    """Column of the items, in both files."""
    time: str = "time"
    """Column of the times; ``none``: the order of the rows counts."""
    rating: str | None = None
    """Column of the ratings; None: every row is a sign of interest."""
    min_rating: float | None = None
    """Ratings below this are left out; 4, the reference's value, where there is a rating."""
    title: str | None = None
    """Column of the titles in the file of items."""
    tags: str | None = None
    """Columns of tags in the file of items, between commas; each is a kind of its own."""
    tag_separator: str = "|"
    """What stands between several tags in one field, unless the field is a list in brackets."""
    split: str | None = None
    """Column that says train, dev or test; None: the last is test, the one before dev.

    It is checked as it is given. Then ratings are left out, and what is no split any more without
    them: the dev row of a user without train rows, the test row of one without a dev row.
    """
    core: int | None = None
    """Least interactions of every user and item that is kept; 5 unless the split is given.

    0 keeps everything; users with fewer than 3 interactions then have train rows only.
    """

    def __post_init__(self) -> None:
        if self.rating is not None and self.min_rating is None:
            object.__setattr__(self, "min_rating", 4.0)
        if self.core is None and self.split is None:
            object.__setattr__(self, "core", 5)
        least = self.min_rating
        require(least is None or math.isfinite(least), "--min-rating", least, "a number")
        if least is not None and self.rating is None:
            raise UsageError("--min-rating needs a column of ratings", "give --rating COLUMN")
        core = self.core
        fits = core is None or core == 0 or core >= MIN_CORE
        require(fits, "--core", core, f"0 or at least {MIN_CORE}")
        require(bool(self.tag_separator), "--tag-separator", "empty", "a text")

    @property
    def tag_columns(self) -> list[str]:
        """Names of the columns of tags."""
        return [name.strip() for name in (self.tags or "").split(",") if name.strip()]


@dataclass(frozen=True)
class CsvOptions(ParquetOptions):
    """The same, and how the fields are separated."""

    separator: str = "comma"
    """comma, tab, semicolon, bar, blank, or the character itself."""
    quote: Rule = "double"
    """Double quotes: ``double`` looks at the lines where one is not closed, ``lines`` takes every
    quoted field whole, ``none`` takes quotes as text.
    """
    encoding: str = "utf-8"
    """How the characters of the files are written."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.quote in RULES, "--quote", repr(self.quote), f"one of {', '.join(RULES)}")
        check_encoding(self.encoding)
        words = ", ".join(word[:-1] for word in SEPARATORS.values())
        known = self.separator in _NAMES
        require(known, "--separator", repr(self.separator), f"one of {words}")


def files(source: Path, items: Path | None) -> Found:
    """The file of interactions and, where there is one, that of items."""
    return {"interactions": single(source), **({"items": single(items)} if items else {})}


def read_csv(found: Found, options: CsvOptions) -> Raw:
    """Interactions, items and tags of CSV files.

    Errors: DataError naming file, line and column; UsageError for options without their file.
    """
    encoding = Encoding(options.encoding, option=True)
    form = Form(_NAMES[options.separator], encoding=encoding, quote=options.quote)
    return _read(found, options, lambda entry, wanted: batches(entry, form, wanted))


def read_parquet(found: Found, options: ParquetOptions) -> Raw:
    """Interactions, items and tags of Parquet files; errors as for CSV."""
    rating = () if options.rating is None else (options.rating,)
    ids = (options.user, options.item)
    return _read(
        found, options, lambda entry, wanted: parquet_batches(entry, wanted, ids=ids, rough=rating)
    )


def _read(found: Found, options: ParquetOptions, reader: Reader) -> Raw:
    described = _Described()
    if "items" in found:
        described.read(found["items"], options, reader)
    elif options.title or options.tag_columns:
        raise UsageError("--title and --tags are columns of the items", "give --items FILE")
    known = described.titles if "items" in found else None
    items = Ids(known=known, known_in=found["items"].name if "items" in found else "")
    ratings = _interactions(found["interactions"], options, items, reader)
    if options.split is not None:
        check_users(ratings)
    kept, dropped = positives(ratings, options.min_rating)
    if options.split is not None:
        if options.core is None:
            usable = without_gaps(kept)
            dropped["split_incomplete"] = kept.height - usable.height
            kept = usable
        kept = kept.sort("line").rename({"line": "row"})
    schema = {"source_item_id": pl.String, "title": pl.String}
    frame = pl.DataFrame(list(described.titles.items()), schema=schema, orient="row")
    tags = tag_frame(described.tags, pl.String)
    notes = tuple(described.notes(options))
    return Raw(kept, frame, tags, dropped, notes, rows=ratings.height)


def _interactions(
    entry: Entry, options: ParquetOptions, items: Ids, reader: Reader
) -> pl.DataFrame:
    """All rows; with split and line where the split is given."""
    time = None if options.time == NO_COLUMN else options.time
    named = (options.user, options.item, time, options.rating, options.split)
    wanted = tuple(dict.fromkeys(one for one in named if one is not None))
    gathered = Interactions(Ids(), items, time=time, rating=options.rating)
    splits, lines, unit = [], [], "line"
    for batch in reader(entry, wanted):
        gathered.add(batch, options.user, options.item)
        if options.split is not None:
            splits.append(_splits(batch, options.split))
            lines.append(pl.Series(batch.lines, dtype=pl.Int64))
            unit = batch.unit
    frame = gathered.frame(entry.name)
    if options.split is not None:
        frame = frame.with_columns(split=pl.concat(splits), line=pl.concat(lines))
        check_pairs(frame, lambda _, line: f"{entry.name} {unit} {line}")
    return frame


def _splits(batch: Batch, column: str) -> pl.Series:
    """A column of splits; DataError naming the first value that is none."""
    texts = [text.strip().lower() for text in batch.columns[column]]
    for place, text in enumerate(texts):
        if text not in SPLIT_NAMES:
            raise batch.wrong(place, column, "train, dev or test")
    return pl.Series([SPLIT_NAMES[text] for text in texts], dtype=SPLIT)


@dataclass
class _Described:
    """Titles and tags of the file of items."""

    titles: dict[str, str | None] = field(default_factory=dict)
    tags: list[tuple[object, str, str]] = field(default_factory=list)
    odd: dict[str, list[str]] = field(default_factory=dict)
    """Where a column of tags has brackets around what is no list, at most."""

    def read(self, entry: Entry, options: ParquetOptions, reader: Reader) -> None:
        columns = [*([options.title] if options.title else ()), *options.tag_columns]
        wanted = tuple(dict.fromkeys((options.item, *columns)))
        ids = Ids()
        for batch in reader(entry, wanted):
            ids.encode(batch, options.item)
            for place, text in enumerate(batch.columns[options.item]):
                if text.strip() in self.titles:
                    raise DataError(f"{batch.at(place)}: item {text.strip()} occurs twice")
                self._take(batch, place, text.strip(), options)

    def _take(self, batch: Batch, place: int, item: str, options: ParquetOptions) -> None:
        title = batch.columns[options.title][place] if options.title else ""
        self.titles[item] = readable(title) or None
        for kind in options.tag_columns:
            text = batch.columns[kind][place].strip()
            parts = elements(text) if looks_listed(text) or text.endswith("()") else None
            if parts is None:
                parts = text.split(options.tag_separator)
                if looks_listed(text) and text[0] in "[{":
                    self.odd.setdefault(kind, []).append(batch.at(place))
            values = sorted({" ".join(part.split()) for part in parts} - {""})
            self.tags += [(item, *kind_tag(kind, value)) for value in values]

    def notes(self, options: ParquetOptions) -> Iterator[str]:
        """What is to be said about the tags."""
        for kind, places in self.odd.items():
            yield (
                f"warning: {len(places):,} fields of column {kind} stand in brackets but are no "
                f"list of texts (the first is {places[0]}); they were split at "
                f"{options.tag_separator!r} as they are"
            )
