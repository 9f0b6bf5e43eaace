"""Which double quotes of a text table open a field, and which are text.

A quoted field that ends on its own line is a field, as in RFC 4180. A quote that is still open at
the end of its line is either the start of a text of several lines or a stray one (``"Must have``,
``12"``), and a reader that takes the second for the first swallows every row up to the next stray
quote, which may look well formed. So both readings are tried, and the lines in between decide: rows
of the table look like rows. Where they do not decide, the file is refused. Whatever is read in
another way than RFC 4180 says is counted, with its first line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from recsae.errors import DataError

Rule = Literal["double", "lines", "none"]
RULES = ("double", "lines", "none")
"""What ``--quote`` may say."""

MAX_SPAN = 1000
"""Lines that a quoted field may span."""
MAX_RECORD = 2**17
"""Characters of a row of several lines; as many as Python's own reader allows in a field."""
REFUSED_FROM = 4
"""Evidence from which on lines inside a field are taken for rows."""
CERTAIN_FROM = 8
"""Evidence from which on they are read as rows, though the field would be well formed."""
PLAIN_FROM = 16
"""The same without a column of figures."""
ROWS_SHARE = 0.8
"""Least share of the lines inside a field that look like rows, where they speak against it."""

LEARNT = 1000
"""Rows that say in which columns figures are."""
ENOUGH = 5
"""Rows from which on they say it reliably."""

HINT = (
    "--quote none takes quotes as text; --quote lines takes every quoted field whole, however many "
    "lines it spans"
)

_CLOSED = re.compile(r'"((?:[^"]++|"")*+)"')
_ESCAPED = re.compile(r'"((?:[^"\\]++|\\.|"")*+)"', re.DOTALL)
_ESCAPE = re.compile(r'\\(["\\])')
_FIGURES = re.compile(r"(?=.*[0-9])[-+0-9.:/TZ ]+")
"""A number, date or time."""

Fields = list[str]
Peek = Callable[[int], str | None]
"""The n-th line from here, or nothing after the last one."""


class Evidence(NamedTuple):
    """What the lines inside a quoted field say about being rows."""

    fitting: int
    """Lines with as many fields as a row."""
    rows: int
    """Those of them with figures where the rows have some."""
    places: int
    """Columns of figures."""
    score: int
    """Separators and figures that are where a row has them."""


class Reading(NamedTuple):
    """One row of a table."""

    fields: Fields
    lines: int = 1
    """How many lines it has."""
    kind: Literal["plain", "literal", "escaped", "spanning"] = "plain"


def quoted(text: str, separator: str, escapes: bool = False) -> Fields | Literal["open", "broken"]:
    """Fields of a row by RFC 4180, or ``escapes``: with ``\\"`` for a quote inside a field.

    ``open`` when the last field lacks its closing quote, ``broken`` when something follows one.
    """
    pattern = _ESCAPED if escapes else _CLOSED
    fields, at = [], 0
    while True:
        if text.startswith('"', at):
            found = pattern.match(text, at)
            if found is None:
                return "open"
            end = found.end()
            if end < len(text) and text[end] != separator:
                return "broken"
            value = found[1].replace('""', '"')
            fields.append(_ESCAPE.sub(r"\1", value) if escapes else value)
        else:
            end = _until(text, separator, at)
            fields.append(text[at:end])
        if end == len(text):
            return fields
        at = end + 1


def _until(text: str, separator: str, start: int) -> int:
    end = text.find(separator, start)
    return len(text) if end < 0 else end


def mixed(line: str, separator: str) -> Fields:
    """Fields of a line of which some are quoted and others have quotes that are text."""
    fields, at = [], 0
    while True:
        found = _CLOSED.match(line, at)
        if found and (found.end() == len(line) or line[found.end()] == separator):
            end = found.end()
            fields.append(found[1].replace('""', '"'))
        else:
            end = _until(line, separator, at)
            fields.append(_unwrapped(line[at:end]))
        if end == len(line):
            return fields
        at = end + 1


def _unwrapped(field: str) -> str:
    """A field with quotes around and inside, such as ``"a "b" c"``, without those around it."""
    around = len(field) > 2 and field.startswith('"') and field.endswith('"')
    return field[1:-1] if around and '"' in field[1:-1] else field


class Quotes:
    """Reads the rows of one table in which quotes may be stray."""

    def __init__(self, name: str, separator: str, rule: Rule) -> None:
        self.name = name
        self.separator = separator
        self.rule = rule
        self.width: int | None = None
        """Fields of a row; None before the first one, which has the names."""
        self.seen = 0
        """Rows that ``places`` was learnt from."""
        self.places: set[int] = set()
        """Columns that had figures in each of them."""

    def learn(self, rows: Sequence[Fields]) -> None:
        """Take note of rows: how many fields they have, and where they have figures."""
        if self.width is None:
            self.width, rows = len(rows[0]), rows[1:]
        for row in rows[: LEARNT - self.seen]:
            found = {place for place, field in enumerate(row) if _FIGURES.fullmatch(field)}
            self.places = self.places & found if self.seen else found
            self.seen += 1

    def read(self, line: str, number: int, peek: Peek) -> Reading:
        """The row that starts with this line, number ``number`` of the file.

        Errors: DataError for a quote that can be read in no way, or in two.
        """
        if '"' not in line:
            return Reading(line.split(self.separator))
        found = quoted(line, self.separator)
        if isinstance(found, list) and self._fits(found):
            return Reading(found)
        if found == "open" and self.rule == "lines" and (whole := self._joined(line, peek, False)):
            return whole
        if '\\"' in line:
            escaped = quoted(line, self.separator, escapes=True)
            if isinstance(escaped, list) and self._fits(escaped):
                return Reading(escaped, kind="escaped")
        return self._unclear(line, number, peek, found)

    def _unclear(self, line: str, number: int, peek: Peek, found: Fields | str) -> Reading:
        literal = self._literal(line)
        spanning = self._spanning(line, peek, found)
        if spanning:
            return self._decide(literal, number, spanning, peek)
        if literal is not None and self.width is not None:
            return Reading(literal, kind="literal")
        if isinstance(found, list):
            return Reading(found)  # the wrong number of fields, which is told as for any line
        what = "opens a quote that is not closed" if found == "open" else "has a quote in a field"
        raise DataError(f"{self.name} line {number} {what}", HINT)

    def _fits(self, fields: Fields) -> bool:
        return self.width is None or len(fields) == self.width

    def _literal(self, line: str) -> Fields | None:
        """A line as a row of its own, stray quotes taken as text."""
        for fields in (mixed(line, self.separator), line.split(self.separator)):
            if self._fits(fields):
                return fields
        return None

    def _spanning(self, line: str, peek: Peek, found: Fields | str) -> Reading | None:
        """The row of several lines that a quote opens, if it is well formed."""
        for escapes in (False, True):
            state = quoted(line, self.separator, escapes=True) if escapes else found
            if state == "open" and (reading := self._joined(line, peek, escapes)):
                return reading
        return None

    def _joined(self, line: str, peek: Peek, escapes: bool) -> Reading | None:
        parts, size = [line], len(line)
        while len(parts) < MAX_SPAN and size < MAX_RECORD:
            if (more := peek(len(parts))) is None:
                return None
            parts.append(more)
            size += len(more) + 1
            if '"' not in more:
                continue
            found = quoted("\n".join(parts), self.separator, escapes)
            if isinstance(found, list):
                return Reading(found, len(parts), "spanning") if self._fits(found) else None
            if found == "broken":
                return None
        return None

    def _decide(
        self, literal: Fields | None, number: int, spanning: Reading, peek: Peek
    ) -> Reading:
        """A row of several lines, or the first of them as a row; DataError where that is open."""
        if self.rule == "lines":
            return spanning
        lines = [line for line in map(peek, range(1, spanning.lines)) if line]
        width = self.width or len(literal or ())
        found = self._evidence(lines, width, literal or [])
        if literal is not None and found.fitting == len(lines):
            enough = CERTAIN_FROM if found.places else PLAIN_FROM
            if found.rows == len(lines) and found.score >= enough:
                return Reading(literal, kind="literal")
            if found.rows or not (found.places and self.seen >= ENOUGH):
                last = number + spanning.lines - 1
                raise DataError(
                    f"{self.name} line {number} opens a quote that closes in line {last}, but each "
                    "of these lines could be a row as well",
                    HINT,
                )
        if found.score >= REFUSED_FROM and found.rows >= ROWS_SHARE * len(lines):
            raise DataError(
                f"{self.name} line {number} opens a quote that closes {spanning.lines - 1:,} lines "
                f"later, and {found.rows:,} of the lines in between look like rows",
                HINT,
            )
        return spanning

    def _evidence(self, lines: Sequence[str], width: int, literal: Fields) -> Evidence:
        """How far lines look like rows: as many fields, and figures where the rows have some."""
        places = self.places
        if not self.seen and self.width is not None:
            places = {place for place, field in enumerate(literal) if _FIGURES.fullmatch(field)}
        rows = fitting = 0
        for line in lines:
            choices = (mixed(line, self.separator), line.split(self.separator))
            fields = next((one for one in choices if len(one) == width), None)
            if fields is not None:
                fitting += 1
                # the field with the closing quote tells nothing: it is text now
                told = (fields[place] for place in places if '"' not in fields[place])
                rows += all(map(_FIGURES.fullmatch, told))
        return Evidence(fitting, rows, len(places), rows * (width - 1 + len(places)))
