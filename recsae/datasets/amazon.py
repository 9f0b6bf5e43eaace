"""Amazon reviews of one category (McAuley), of the releases of 2014, 2018 and 2023.

Every review is an interaction, whatever its rating, as in the reference. Lines of reviews are JSON,
or those of a table of ratings. Lines of meta are JSON or, in 2014, Python literals; these are read
by ``ast.literal_eval``, which evaluates nothing. What the meta of 2018 holds of the web page that
it was taken from (script, markup) is taken out and counted.
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
from typing import Any, Literal

import polars as pl

from recsae.config import StageConfig, require
from recsae.datasets.collect import Ids, Interactions
from recsae.datasets.lines import listed
from recsae.datasets.rows import BATCH, Batch, Form, batches
from recsae.datasets.split import MIN_CORE, Raw, positives
from recsae.datasets.streams import Entry, Found, single
from recsae.datasets.tags import HALF, kind_tag, readable, tag_frame, title_words, whole
from recsae.datasets.texts import text_blocks
from recsae.datasets.times import EXACT
from recsae.errors import DataError

_ASIN = re.compile(r"""\{\s*['"]asin['"]\s*:\s*['"]([^'"\\]*)['"]""")
"""How a line of meta begins in the release of 2014; tells most lines that need no parsing."""

_BY = re.compile(r"\s*by\s*\n\s*(.*?)\s*", re.DOTALL)
"""How the page of 2018 shows a brand: *by*, then the name in a line of its own."""
_VISIT = re.compile(r"Visit Amazon's (.+?) Page")
_HIDDEN = re.compile(r"<!--.*?-->|<(script|style)\b.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE)
_MARKUP = re.compile(r"</?[a-z][a-z0-9]*(?:\s[^<>]*)?/?>|<[a-z]+\s+[a-z-]+=[^<>]*\Z", re.IGNORECASE)
_SCRIPT = re.compile(
    r"\bgetTime\b|\bue_t0\b|\baPageStart\b|\bfunction\s*\w*\s*\([^)]*\)\s*\{|\bvar\s+\w+\s*=|"
    r"\b(?:window|document)\.\w+|\bP\.(?:when|now)\(|[.#@]?[\w-]+\s*\{[^{}]*:[^{}]*;?[^{}]*\}"
)
"""Signs of script or style that no title has."""

Record = Mapping[str, Any]


@dataclass(frozen=True)
class Names:
    """Fields of a release."""

    user: str
    item: str
    time: str
    rating: str
    per_second: int = 1
    """Units of ``time`` in a second."""
    columns: tuple[str, ...] | None = None
    """Columns of a table of ratings whose first line does not name them."""
    untold: bool = False
    """Whether some products of the release lack meta, as its page says."""


JSON_2014 = Names("reviewerID", "asin", "unixReviewTime", "overall")
"""Also 2018."""
JSON_2023 = Names("user_id", "parent_asin", "timestamp", "rating", 1000, untold=True)
TABLE_2014 = Names(
    "user", "item", "timestamp", "rating", columns=("user", "item", "rating", "timestamp")
)
TABLE_2018 = Names(
    "user", "item", "timestamp", "rating", columns=("item", "user", "rating", "timestamp")
)

ENDS = ("json.gz", "json", "jsonl.gz", "jsonl")
TABLE_ENDS = ("csv", "csv.gz")


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
    """The reviews and the meta of one category in a folder.

    They are named ``reviews_X_5``, ``X_5`` or ``X`` and ``meta_X``; tables of ratings
    ``ratings_X.csv`` or ``X.csv``.
    """
    if not source.is_dir():
        raise DataError(f"{source} is no folder", "give --source the folder of both files")
    meta = _one(source, "meta_X.json.gz", [f"meta_*.{end}" for end in ENDS])
    category = meta.name.removeprefix("meta_").partition(".")[0]
    stems = [f"reviews_{category}_5", f"reviews_{category}", f"{category}_5", category, "reviews_*"]
    names = [f"{stem}.{end}" for stem in stems for end in ENDS]
    names += [f"{stem}.{end}" for stem in (f"ratings_{category}", category) for end in TABLE_ENDS]
    wanted = f"{category}_5.json.gz, reviews_{category}_5.json.gz or {category}.jsonl.gz"
    return {"reviews": _one(source, wanted, names), "meta": meta}


def _one(source: Path, wanted: str, patterns: Sequence[str]) -> Entry:
    """The only file with one of these names."""
    paths = sorted({path for pattern in patterns for path in source.glob(pattern)})
    if len(paths) != 1:
        names = ", ".join(path.name for path in paths) or "none"
        raise DataError(
            f"{source} has to have one {wanted}, but has {names}",
            "change --source" if not paths else "leave one of them in the folder",
        )
    return single(paths[0])


def read(found: Found, options: AmazonOptions) -> Raw:
    """Interactions, products and tags.

    Errors: DataError naming file, line and field.
    """
    reviews, meta = found["reviews"], _Meta()
    names = _release(reviews)
    users, items = Ids(), Ids()
    rating = names.rating if options.min_rating is not None else None
    wanted = (names.user, names.item, names.time, *([rating] if rating else ()))
    gathered = Interactions(users, items, time=names.time, rating=rating)
    for batch in _reviews(reviews, names, wanted):
        gathered.add(batch, names.user, names.item)
    meta.wanted = set(items.numbers)
    meta.read(found["meta"])
    lacking = len(items.numbers) - len(meta.titles)
    if lacking and (not names.untold or not meta.titles):
        _refuse_unknown(found, names, wanted, meta.titles)
    rows = gathered.frame(reviews.name)
    if names.per_second != 1:
        rows = rows.with_columns((pl.col("time").cast(EXACT) / names.per_second).cast(EXACT))
    kept, dropped = positives(rows, options.min_rating)
    schema = {"source_item_id": pl.String, "title": pl.String}
    frame = pl.DataFrame(list(meta.titles.items()), schema=schema, orient="row")
    counts = {
        "item_repeated": meta.repeated,
        "tag_not_text": meta.odd,
        "page_script": meta.scripts,
        "markup": meta.marked,
    }
    notes: tuple[str, ...] = ()
    if lacking:
        notes = (f"{lacking:,} of {len(items.numbers):,} products are not in {found['meta'].name}",)
    tags = tag_frame(meta.tags, pl.String)
    return Raw(kept, frame, tags, {**dropped, **counts}, notes, rows=rows.height)


def _release(entry: Entry) -> Names:
    """The fields of the release that a file of reviews is of, told by its name or first line."""
    _, text = next(_lines(entry), (0, ""))
    if ".csv" in entry.name:
        if "parent_asin" in text:
            return JSON_2023
        return TABLE_2014 if entry.name.startswith("ratings_") else TABLE_2018
    return JSON_2023 if '"parent_asin"' in text else JSON_2014


def _lines(entry: Entry) -> Iterator[tuple[int, str]]:
    """Number and text of every line that is not empty."""
    tally = entry.start_tally()
    for first, block in text_blocks(entry):
        for number, line in enumerate(block.removesuffix("\n").split("\n"), start=first):
            if text := line.strip():
                tally.rows += 1
                yield number, text
            else:
                tally.empty += 1
    tally.check(entry.name)


def _reviews(entry: Entry, names: Names, wanted: Sequence[str]) -> Iterator[Batch]:
    """The wanted fields of all reviews."""
    if ".csv" in entry.name:
        yield from batches(entry, Form(",", names.columns, quote="double"), wanted)
        return
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


def _refuse_unknown(
    found: Found, names: Names, wanted: Sequence[str], titles: Mapping[str, object]
) -> None:
    """Every reviewed product has to be in meta; DataError naming the first line that is wrong."""
    for batch in _reviews(found["reviews"], names, wanted):
        Ids(known=titles, known_in=found["meta"].name).encode(batch, names.item)


@dataclass
class _Meta:
    """Titles and tags of the products that are reviewed."""

    wanted: set[str] = field(default_factory=set)
    titles: dict[str, str | None] = field(default_factory=dict)
    tags: list[tuple[object, str, str]] = field(default_factory=list)
    repeated: int = 0
    odd: int = 0
    """Categories, brands and titles that are no text."""
    scripts: int = 0
    """Those that are script or style of a page, which leaves nothing."""
    marked: int = 0
    """Those that markup was taken out of."""

    def read(self, entry: Entry) -> None:
        for number, text in _lines(entry):
            start = _ASIN.match(text)
            if start and start[1] not in self.wanted:
                entry.tally.rows -= 1
                entry.tally.skipped += 1
                continue
            record = _record(entry.name, number, text, literal=True)
            key = "parent_asin" if "parent_asin" in record else "asin"
            item = record.get(key)
            if not isinstance(item, str) or not item.strip():
                raise DataError(f"{entry.name} line {number}: field {key} is {item!r}, not an id")
            if item.strip() in self.titles:
                self.repeated += 1
            elif item.strip() in self.wanted:
                self._take(item.strip(), record)

    def _take(self, item: str, record: Record) -> None:
        title = readable(self._text(record.get("title")))
        self.titles[item] = title or None
        brand = self._text(brand_of(record))
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
        """A text without what belongs to the page: references resolved, blanks made single."""
        if value is not None and not isinstance(value, str):
            self.odd += 1
        if not isinstance(value, str):
            return ""
        text, found = plain_text(whole(value))
        self.scripts += found == "script"
        self.marked += found == "markup"
        return text


def brand_of(record: Record) -> object:
    """The brand of a product; in 2023, which has none, the store."""
    brand = record.get("brand", record.get("store"))
    if isinstance(brand, str):
        by = _BY.fullmatch(brand) or _VISIT.fullmatch(brand.strip())
        return by[1] if by else brand
    return brand


def plain_text(text: str) -> tuple[str, Literal["script", "markup"] | None]:
    """A text of a web page as people read it, and what was taken out of it, if anything.

    Nothing is left of a text that holds script or style of a page outside of its elements.
    """
    for _ in range(3):  # references may stand for references
        resolved = html.unescape(text)
        if resolved == text:
            break
        text = resolved
    left = _MARKUP.sub(" ", _HIDDEN.sub(" ", text))
    if _SCRIPT.search(left):
        return "", "script"
    return " ".join(left.split()), "markup" if left != text else None
