"""Rows of large text tables, in batches that remember their line numbers.

Every reader of a large source goes through here: a batch has one list of texts per column, and an
error names the file, the line, the column and the bad value.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, chain, islice

import polars as pl

from recsae.datasets.lines import listed, wrong
from recsae.datasets.streams import Entry
from recsae.errors import DataError

BATCH = 2**16
"""Rows of a batch of CSV."""
BLOCK = 2**22
"""Bytes that are read at once."""
MAX_LINE = 2**24
"""Bytes of a line; a longer one is no line of a table."""

LARGEST = 9 * 10**18
"""Numbers are below this, so that a time fits into 64 bits."""
EXACT = pl.Decimal(38, 18)
"""Type of times with fractions: a float could not tell two nanoseconds of today apart."""

SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars", " ": "blanks"}


@dataclass(frozen=True)
class Form:
    """How a text table is written."""

    separator: str
    columns: tuple[str, ...] | None = None
    """Names of the columns; None: the first line has them."""
    encoding: str = "utf-8"
    fallback: str | None = None
    """Encoding of the lines that are not in the first one."""
    quoted: bool = False
    """Whether fields may stand in double quotes, as in CSV."""

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
        """A column as Int64, or as EXACT where a value has a fraction.

        Errors: DataError naming the first value that is no number below LARGEST.
        """
        texts = self._stripped(name)
        values = texts.cast(pl.Int64, strict=False)
        if values.null_count():
            floats = self._finite(name, texts.cast(pl.Float64, strict=False))
            # more digits than EXACT has are rounded
            values = texts.cast(EXACT, strict=False).fill_null(floats.cast(EXACT))
        return self._finite(name, values)

    def _stripped(self, name: str) -> pl.Series:
        return pl.Series(name, self.columns[name], dtype=pl.String).str.strip_chars()

    def _finite(self, name: str, values: pl.Series) -> pl.Series:
        good = values.is_between(-LARGEST, LARGEST, closed="none").fill_null(False)
        if not good.all():
            raise self.wrong(int(good.arg_min() or 0), name, "a number")
        return values

    def wrong(self, place: int, column: str, wanted: str) -> DataError:
        """The error of one field."""
        text = self.columns[column][place]
        return wrong(f"{self.at(place)}", column, text, wanted)

    def at(self, place: int) -> str:
        """File and line of a row, for a message."""
        return f"{self.name} {self.unit} {self.lines[place]}"


def batches(entry: Entry, form: Form, wanted: Sequence[str]) -> Iterator[Batch]:
    """The wanted columns of a table; empty lines are left out.

    Errors: DataError for a missing column, naming those that are there, and for an uneven line.
    """
    names = form.columns
    for lines, rows in _rows(entry, form):
        if names is None:
            names = _names(entry.name, rows[0], form, wanted)
            lines, rows = lines[1:], rows[1:]
        if rows:
            fields = _aligned(entry.name, lines, rows, form, len(names))
            columns = {name: list(fields[names.index(name)]) for name in wanted}
            yield Batch(entry.name, lines, columns)
    if names is None:
        _names(entry.name, [""], form, wanted)


def header(entry: Entry, form: Form) -> tuple[str, ...]:
    """Names of all columns of a table with a header; nothing for an empty file."""
    for _, rows in _rows(entry, form):
        return _names(entry.name, rows[0], form, ())
    return ()


def text_blocks(entry: Entry, form: Form) -> Iterator[tuple[int, str]]:
    """Number of the first line, and text, of blocks of whole lines.

    Errors: DataError for a line that is too long or not in the encoding.
    """
    number, rest = 1, b""
    with entry.stream() as stream:
        while block := stream.read(BLOCK):
            whole, end, rest = (rest + block).rpartition(b"\n")
            if len(rest) > MAX_LINE:
                raise DataError(f"{entry.name} has a line of more than {MAX_LINE:,} bytes")
            if end:
                yield number, _decoded(entry.name, number, whole + end, form)
                number += whole.count(b"\n") + 1
    if rest:
        yield number, _decoded(entry.name, number, rest, form)


def _decoded(name: str, number: int, block: bytes, form: Form) -> str:
    if number == 1:
        block = block.removeprefix(b"\xef\xbb\xbf")
    try:
        return block.decode(form.encoding)
    except UnicodeDecodeError as error:
        if form.fallback is None:
            line = number + block.count(b"\n", 0, error.start)
            raise DataError(f"{name} line {line}: not {form.encoding} text") from None
    return "\n".join(_either(line, form.encoding, form.fallback) for line in block.split(b"\n"))


def _either(line: bytes, encoding: str, fallback: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode(fallback)


Rows = tuple[Sequence[int], list[list[str]]]
"""Line numbers and fields of some rows, at least one."""


def _rows(entry: Entry, form: Form) -> Iterator[Rows]:
    return _quoted(entry, form) if form.quoted else _plain(entry, form)


def _plain(entry: Entry, form: Form) -> Iterator[Rows]:
    for number, text in text_blocks(entry, form):
        texts = text.replace("\r\n", "\n").removesuffix("\n").split("\n")
        lines: Sequence[int] = range(number, number + len(texts))
        if "" in texts:
            lines = [line for line, one in zip(lines, texts, strict=True) if one]
            texts = [one for one in texts if one]
        if texts:
            yield lines, [one.split(form.separator) for one in texts]


def _quoted(entry: Entry, form: Form) -> Iterator[Rows]:
    """Rows of CSV; one that spans several lines has the number of the last one."""
    blocks = (io.StringIO(text, newline="\n") for _, text in text_blocks(entry, form))
    reader = csv.reader(chain.from_iterable(blocks), delimiter=form.separator, strict=True)
    number = 0
    try:
        while rows := list(islice(reader, BATCH)):
            lines: Sequence[int] = range(number + 1, number + len(rows) + 1)
            if reader.line_num - number != len(rows):
                spans = (1 + sum(field.count("\n") for field in row) for row in rows)
                lines = [number + so_far for so_far in accumulate(spans)]
            number = reader.line_num
            if not all(rows):
                lines = [line for line, row in zip(lines, rows, strict=True) if row]
                rows = [row for row in rows if row]
            if rows:
                yield lines, rows
    except csv.Error as error:
        raise DataError(f"{entry.name} line {reader.line_num}: {error}") from None


def _names(name: str, first: Sequence[str], form: Form, wanted: Sequence[str]) -> tuple[str, ...]:
    """Names in the first row, where all the wanted ones have to be, once."""
    names = tuple(one.strip() for one in first)
    for column in wanted:
        if names.count(column) != 1:
            many = "no" if column not in names else "more than one"
            found = listed(names) if len(names) > 1 else repr(names[0][:200])
            raise DataError(
                f"{name} line 1: {many} column {column} between {form.separators}; found {found}"
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
        raise DataError(
            f"{name} line {at}: {len(row)} {some} between {form.separators}, expected {width}"
        )
    return fields
