"""Text tables of a source, read line by line so that an error can name the line and the column."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from recsae.datasets.sources import SourceFile
from recsae.errors import DataError

_INTEGER = re.compile(r"[0-9]{1,18}")
_WHOLE = re.compile(r"([0-9]{1,18})(?:\.0*)?")
_NUMBER = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,9})?")

MAX_TEXT = 1000
"""Characters of a title; the longest known one has 81."""

Row = tuple[int, list[str]]
"""Line number, counted from 1, and the fields of the line."""


def decode(file: SourceFile, encoding: str) -> str:
    """Text of a file; DataError naming the line that is not in this encoding."""
    try:
        return file.data.decode(encoding)
    except UnicodeDecodeError as error:
        line = file.data.count(b"\n", 0, error.start) + 1
        raise DataError(f"{file.name} line {line}: not {encoding} text") from None


def split_rows(
    file: SourceFile, encoding: str, separator: str, columns: Sequence[str]
) -> list[Row]:
    """Fields of every line of a file without a header; empty lines are left out.

    Errors: DataError for a line that has not one field per column.
    """
    rows = []
    for number, line in enumerate(decode(file, encoding).split("\n"), start=1):
        line = line.removesuffix("\r")
        if not line:
            continue
        fields = line.split(separator)
        if len(fields) != len(columns):
            raise DataError(_field_count(file, number, len(fields), len(columns), separator))
        rows.append((number, fields))
    return rows


def split_headed(file: SourceFile, encoding: str, wanted: Sequence[str]) -> list[Row]:
    """The wanted fields of every line of a tab-separated file with a header ``name:type``.

    Errors: DataError for a missing column, naming those that are there, or an uneven line.
    """
    text = decode(file, encoding)
    header = text.partition("\n")[0].removesuffix("\r").split("\t")
    names = [cell.partition(":")[0] for cell in header]
    for column in wanted:
        if column not in names:
            raise DataError(
                f"{file.name} line 1: no column {column} between tabs; found {listed(names)}"
            )
    places = [names.index(column) for column in wanted]
    rows = split_rows(file, encoding, "\t", names)
    return [(number, [fields[place] for place in places]) for number, fields in rows[1:]]


def _field_count(file: SourceFile, line: int, found: int, wanted: int, separator: str) -> str:
    kind = "tabs" if separator == "\t" else f"{separator!r}"
    fields = "field" if found == 1 else "fields"
    return f"{file.name} line {line}: {found} {fields} between {kind}, expected {wanted}"


class Cells:
    """Typed fields of one file; an error names the file, the line and the column."""

    def __init__(self, file: SourceFile) -> None:
        self.name = file.name

    def integer(self, line: int, column: str, text: str) -> int:
        """An id: digits only."""
        if not _INTEGER.fullmatch(text):
            raise self.error(line, column, text, "a whole number")
        return int(text)

    def whole(self, line: int, column: str, text: str) -> int:
        """A time: digits, perhaps written as a decimal number."""
        found = _WHOLE.fullmatch(text)
        if not found:
            raise self.error(line, column, text, "a whole number")
        return int(found[1])

    def number(self, line: int, column: str, text: str) -> float:
        """A rating."""
        if not _NUMBER.fullmatch(text):
            raise self.error(line, column, text, "a number")
        return float(text)

    def text(self, line: int, column: str, text: str) -> str:
        """A title: anything but nothing, and not endless."""
        if not text.strip() or len(text) > MAX_TEXT:
            raise self.error(line, column, text, f"a text of at most {MAX_TEXT} characters")
        return text

    def error(self, line: int, column: str, text: str, wanted: str) -> DataError:
        return wrong(f"{self.name} line {line}", column, text, wanted)


def wrong(place: str, column: str, text: str, wanted: str, hint: str | None = None) -> DataError:
    """The error of one field: where it is, its column, its value, and what it should be."""
    shown = repr(text[:40]) if text.strip() else "empty"
    return DataError(f"{place}: column {column} is {shown}, not {wanted}", hint)


def listed(names: Sequence[str]) -> str:
    """Names of the columns that were found, in one line."""
    return " ".join(", ".join(map(str, names)).split())[:200] or "nothing"


def first_repeated(ids: Sequence[int]) -> Iterator[int]:
    """Indices of the ids that an earlier place has already."""
    seen: set[int] = set()
    for index, one in enumerate(ids):
        if one in seen:
            yield index
        seen.add(one)
