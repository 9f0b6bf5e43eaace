"""Rows of large text tables, in batches that remember their line numbers.

Every reader of a large source goes through here: a batch has one list of texts per column, and an
error names the file, the line, the column and the bad value.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from recsae.datasets.lines import listed, wrong
from recsae.datasets.quotes import Quotes, Reading, Rule
from recsae.datasets.streams import Entry, Tally
from recsae.datasets.texts import UTF8, Encoding, text_blocks
from recsae.datasets.times import EXACT, HINT, is_date, seconds, zoned
from recsae.errors import DataError

BATCH = 2**16
"""Rows of a batch."""
LARGEST = 9 * 10**18
"""Numbers are below this, so that a time fits into 64 bits."""

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}


@dataclass(frozen=True)
class Form:
    """How a text table is written."""

    separator: str
    columns: tuple[str, ...] | None = None
    """Names of the columns; None: the first line has them."""
    encoding: Encoding = UTF8
    quote: Rule = "none"
    """Whether fields may stand in double quotes, as in CSV; see ``quotes``."""

    @property
    def separators(self) -> str:
        """The separator in words."""
        return SEPARATORS.get(self.separator, repr(self.separator))


@dataclass(frozen=True)
class Batch:
    """Some rows of a table."""

    name: str
    """Of the file."""
    lines: Sequence[int]
    """Line (or row, see ``unit``) of every row, counted from 1."""
    columns: dict[str, list[str]] = field(repr=False)
    unit: str = "line"

    def __len__(self) -> int:
        return len(self.lines)

    def rows(self, *names: str) -> Iterator[tuple[int, tuple[str, ...]]]:
        """Line and fields of every row."""
        columns = [self.columns[name] for name in names]
        return zip(self.lines, zip(*columns, strict=True), strict=True)

    def numbers(self, name: str) -> pl.Series:
        """A column as Float64; DataError naming the first value that is no finite number."""
        return self._finite(name, self._stripped(name).cast(pl.Float64, strict=False))

    def times(self, name: str) -> pl.Series:
        """A column as Int64, or as EXACT where a value has a fraction; dates as seconds since 1970.

        Errors: DataError naming the first value that is no number below LARGEST or no date, or
        that is of another kind than the first one.
        """
        texts = self._stripped(name)
        values = texts.cast(pl.Int64, strict=False)
        if not values.null_count():
            return self._finite(name, values)
        if is_date(texts[0]):
            return self._dates(name, texts)
        floats = self._finite(name, texts.cast(pl.Float64, strict=False), HINT)
        # more digits than EXACT has are rounded
        values = texts.cast(EXACT, strict=False).fill_null(floats.cast(EXACT))
        return self._finite(name, values, HINT)

    def has_dates(self, name: str) -> bool:
        """Whether a column of times has dates, told by its first row."""
        return is_date(self.columns[name][0].strip())

    def _dates(self, name: str, texts: pl.Series) -> pl.Series:
        values, zones = seconds(texts), zoned(texts)
        if values.null_count():
            raise self.wrong(int(values.is_null().arg_max() or 0), name, "a date", HINT)
        if zones.any() and not zones.all():
            place = int((zones != zones[0]).arg_max() or 0)
            wanted = f"a date {'with' if zones[0] else 'without'} a zone as before"
            raise self.wrong(place, name, wanted, "give all of them a zone, or none")
        return values

    def _stripped(self, name: str) -> pl.Series:
        return pl.Series(name, self.columns[name], dtype=pl.String).str.strip_chars()

    def _finite(self, name: str, values: pl.Series, hint: str | None = None) -> pl.Series:
        good = values.is_between(-LARGEST, LARGEST, closed="none").fill_null(False)
        if not good.all():
            raise self.wrong(int(good.arg_min() or 0), name, "a number", hint)
        return values

    def wrong(self, place: int, column: str, wanted: str, hint: str | None = None) -> DataError:
        """The error of one field."""
        text = self.columns[column][place]
        return wrong(f"{self.at(place)}", column, text, wanted, hint)

    def at(self, place: int) -> str:
        """File and line of a row, for a message."""
        return f"{self.name} {self.unit} {self.lines[place]}"


def batches(entry: Entry, form: Form, wanted: Sequence[str]) -> Iterator[Batch]:
    """The wanted columns of a table; empty lines are left out.

    In the end every line of the file is a row, empty, or the continuation of a row, and ``tally``
    of the entry says how many of each.
    Errors: DataError for a missing column, naming those that are there, and for an uneven line.
    """
    names = form.columns
    tally = entry.start_tally()
    for lines, rows in _rows(entry, form):
        if names is None:
            names = _names(entry.name, rows[0], form, wanted)
            lines, rows = lines[1:], rows[1:]
            tally.names = 1
        if rows:
            fields = _aligned(entry.name, lines, rows, form, len(names))
            columns = {name: list(fields[names.index(name)]) for name in wanted}
            tally.rows += len(rows)
            yield Batch(entry.name, lines, columns)
    if names is None:
        _names(entry.name, [""], form, wanted)
    tally.check(entry.name)


def header(entry: Entry, form: Form) -> tuple[str, ...]:
    """Names of all columns of a table with a header; nothing for an empty file."""
    entry.start_tally()
    for _, rows in _rows(entry, form):
        return _names(entry.name, rows[0], form, ())
    return ()


Rows = tuple[Sequence[int], list[list[str]]]
"""Line numbers and fields of some rows, at least one."""


def _rows(entry: Entry, form: Form) -> Iterator[Rows]:
    ahead = _Ahead(text_blocks(entry, form.encoding))
    quotes = Quotes(entry.name, form.separator, form.quote)
    while texts := ahead.some():
        rows = _regular(texts, quotes)
        if rows is None:
            yield from _careful(ahead, len(texts), quotes, entry)
            continue
        lines: Sequence[int] = range(ahead.number, ahead.number + len(texts))
        ahead.skip(len(texts))
        if "" in texts:
            lines = [line for line, text in zip(lines, texts, strict=True) if text]
            rows = [row for row, text in zip(rows, texts, strict=True) if text]
            entry.tally.empty += len(texts) - len(rows)
        if rows:
            quotes.learn(rows)
            yield lines, rows


def _regular(texts: list[str], quotes: Quotes) -> list[list[str]] | None:
    """The rows of lines, unless one of them is not a row by the rules of CSV."""
    if quotes.rule == "none" or not any('"' in text for text in texts):
        return [text.split(quotes.separator) for text in texts]
    reader = csv.reader(texts, delimiter=quotes.separator, strict=True)
    try:
        rows = list(reader)
    except csv.Error:
        return None
    widths = set(map(len, rows)) - {0}  # an empty line has no field
    width = quotes.width or len(next(filter(None, rows), ()))
    return rows if len(rows) == len(texts) and widths <= {width} else None


def _careful(ahead: _Ahead, n: int, quotes: Quotes, entry: Entry) -> Iterator[Rows]:
    """The rows of the next n lines, one by one, and of the lines that the last one goes on in."""
    tally, end = entry.tally, ahead.number + n
    lines, rows = [], []
    while ahead.number < end:
        number, text = ahead.number, ahead.peek(0)
        if not text:
            tally.empty += 1
            ahead.skip(1)
            continue
        reading = quotes.read(text, number, ahead.peek)
        _note(tally, number, reading)
        ahead.skip(reading.lines)
        # a row of several lines has the number of the last one
        lines.append(number + reading.lines - 1)
        rows.append(reading.fields)
        quotes.learn([reading.fields])
    if rows:
        yield lines, rows


def _note(tally: Tally, number: int, reading: Reading) -> None:
    if reading.kind != "plain":
        tally.odd.setdefault(reading.kind, []).append(number)
    tally.continued += reading.lines - 1


class _Ahead:
    """Lines of a text, and those that follow."""

    def __init__(self, blocks: Iterator[tuple[int, str]]) -> None:
        self.blocks = blocks
        self.lines: list[str] = []
        self.at = 0
        self.number = 1
        """Number of the next line."""

    def peek(self, place: int) -> str | None:
        """The line that is ``place`` lines ahead; None after the last one."""
        while self.at + place >= len(self.lines):
            found = next(self.blocks, None)
            if found is None:
                return None
            del self.lines[: self.at]
            self.at = 0
            self.lines += found[1].replace("\r\n", "\n").removesuffix("\n").split("\n")
        return self.lines[self.at + place]

    def some(self) -> list[str]:
        """The next lines, at most BATCH and at least one unless the text has ended."""
        return self.lines[self.at : self.at + BATCH] if self.peek(0) is not None else []

    def skip(self, n: int) -> None:
        """Go on by n lines."""
        self.at += n
        self.number += n


def _names(name: str, first: Sequence[str], form: Form, wanted: Sequence[str]) -> tuple[str, ...]:
    """Names in the first row, where all the wanted ones have to be, once."""
    names = tuple(one.strip() for one in first)
    for column in wanted:
        if names.count(column) != 1:
            many = "no" if column not in names else "more than one"
            found = listed(names) if len(names) > 1 else repr(names[0][:200])
            raise DataError(
                f"{name} line 1: {many} column {column} between {form.separators}; found {found}",
                _other_separator(names, form),
            )
    return names


def _aligned(
    name: str, lines: Sequence[int], rows: list[list[str]], form: Form, width: int
) -> list[tuple[str, ...]]:
    """Columns of a batch; DataError naming the first row that has not one field per column."""
    try:
        fields = list(zip(*rows, strict=True))
    except ValueError:
        fields = []
    if len(fields) != width:
        at, row = next((at, row) for at, row in zip(lines, rows, strict=True) if len(row) != width)
        some = "field" if len(row) == 1 else "fields"
        hint = None
        if form.quote != "none" and len(row) > width:
            hint = "a field that holds the separator has to stand in double quotes"
        if any("\r" in one for one in row):
            hint = "some of its lines end in carriage returns: make all of them end alike"
        raise DataError(
            f"{name} line {at}: {len(row)} {some} between {form.separators}, expected {width}", hint
        )
    return fields


def _other_separator(names: Sequence[str], form: Form) -> str | None:
    """The advice to look at the separator, where the first line has another one."""
    if len(names) == 1 and form.columns is None:
        for mark, words in SEPARATORS.items():
            if mark in names[0].strip():
                return f"it has {words}: --separator {words[:-1]}"
    return None
