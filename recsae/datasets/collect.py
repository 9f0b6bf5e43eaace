"""Interactions of a large source, gathered batch by batch.

Ids are text in the source and numbers from the first batch on, so that millions of interactions
need little memory. In the end the columns are of an Enum type whose order is that of the ids.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from itertools import islice

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsae.datasets.lines import wrong
from recsae.datasets.rows import Batch
from recsae.datasets.times import EXACT
from recsae.errors import DataError

CANONICAL = re.compile(r"0|[1-9][0-9]*")
"""A number written in the one way that numbers are written."""
MAX_DIGITS = 18
"""Of an id where only whole numbers are ids, so that it fits into 64 bits."""
_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]{1,200}")
"""No control characters and line ends, and no halves of a character, which no file can hold."""

_ROUNDED = re.compile(r"[-+]?[0-9](?:\.[0-9]+)?[eE]\+[0-9]+|[-+]?([0-9]{16,})\.0*")
"""How a float of many digits is written as text, which has lost some of them."""

INTEGER_ID = f"a whole number of at most {MAX_DIGITS} digits without leading zeros"
TEXT_ID = "an id of at most 200 characters"
EXACT_ID = "an id: it is a rounded number, and others may have become the same"
WHOLE_HINT = "write the ids anew from their source as whole numbers (in pandas Int64) or as text"


def is_rounded(text: str) -> bool:
    """Whether a text is a float that has lost digits, as others may have that become the same."""
    found = _ROUNDED.fullmatch(text)
    return found is not None and int(found[1] or 2**53) >= 2**53


class Ids:
    """Ids of users or items: every text gets a number in order of appearance."""

    def __init__(
        self, whole: bool = False, known: Collection[str] | None = None, known_in: str = ""
    ) -> None:
        self.whole = whole
        """Whether only whole numbers are ids."""
        self.known = known
        """The only ids that may occur; None: any."""
        self.known_in = known_in
        """File that has the known ids."""
        self.numbers: dict[str, int] = {}

    def encode(self, batch: Batch, column: str) -> NDArray[np.uint32]:
        """Numbers of a column of ids; DataError naming the first bad or unknown one."""
        numbers, before = self.numbers, len(self.numbers)
        texts = list(map(str.strip, batch.columns[column]))
        codes = [numbers.setdefault(text, len(numbers)) for text in texts]
        for text in islice(numbers, before, None):
            if reason := self.refusal(text):
                place = texts.index(text)
                value, hint = (
                    batch.columns[column][place],
                    WHOLE_HINT if reason == EXACT_ID else None,
                )
                raise wrong(batch.at(place), column, value, reason, hint)
        return np.array(codes, dtype=np.uint32)

    def refusal(self, text: str) -> str | None:
        """What a text is not, when it is no id."""
        if self.whole and not (CANONICAL.fullmatch(text) and len(text) <= MAX_DIGITS):
            return INTEGER_ID
        if not _TEXT.fullmatch(text):
            return TEXT_ID
        if is_rounded(text):
            return EXACT_ID
        if self.known is not None and text not in self.known:
            return f"an id in {self.known_in}"
        return None

    def column(self, codes: Iterable[NDArray[np.uint32]]) -> pl.Series:
        """All numbers as ids again, of an Enum in ascending order of the ids."""
        names = pl.Series(list(self.numbers), dtype=pl.String)
        every = np.concatenate([np.empty(0, np.uint32), *codes])
        return names.cast(pl.Enum(ascending(self.numbers))).gather(every)


def ascending(ids: Iterable[str]) -> list[str]:
    """Ids in order: as numbers when all of them are written as such, else as text."""
    ordered = list(ids)
    numeric = all(map(CANONICAL.fullmatch, ordered))
    return sorted(ordered, key=int) if numeric else sorted(ordered)


class Interactions:
    """Gathers users, items, times and ratings."""

    def __init__(
        self, users: Ids, items: Ids, *, time: str | None, rating: str | None = None
    ) -> None:
        self.ids = (users, items)
        self.time = time
        """Column of the time; None: the order of the rows."""
        self.rating = rating
        """Column of the rating; None: there is none."""
        self.codes: tuple[list[NDArray[np.uint32]], list[NDArray[np.uint32]]] = ([], [])
        self.times: list[pl.Series] = []
        self.dated: bool | None = None
        """Whether the times are dates; None before the first row."""
        self.ratings: list[pl.Series] = []
        self.rows = 0

    def add(self, batch: Batch, user: str, item: str) -> None:
        """Take the rows of a batch, whose columns of users and items are named.

        Errors: DataError naming the line and the value.
        """
        for ids, codes, column in zip(self.ids, self.codes, (user, item), strict=True):
            codes.append(ids.encode(batch, column))
        if self.time is not None:
            self._add_times(batch, self.time)
        if self.rating is not None:
            self.ratings.append(batch.numbers(self.rating))
        self.rows += len(batch)

    def _add_times(self, batch: Batch, column: str) -> None:
        dated = batch.has_dates(column)
        if self.dated not in (None, dated):
            raise batch.wrong(0, column, "a date as before" if self.dated else "a number as before")
        self.dated = dated
        self.times.append(batch.times(column))

    def frame(self, name: str) -> pl.DataFrame:
        """source_user_id, source_item_id (Enum), time, and rating where there is one.

        ``name`` is the file, for the error when there is no row.
        """
        if not self.rows:
            raise DataError(f"{name} has no rows")
        users, items = (ids.column(codes) for ids, codes in zip(self.ids, self.codes, strict=True))
        for codes in self.codes:
            codes.clear()
        columns = {"source_user_id": users, "source_item_id": items, "time": self._times()}
        if self.rating is not None:
            columns["rating"] = pl.concat(self.ratings)
        return pl.DataFrame(columns)

    def _times(self) -> pl.Series:
        if self.time is None:
            return pl.int_range(1, self.rows + 1, eager=True)
        if all(series.dtype == pl.Int64 for series in self.times):
            return pl.concat(self.times)
        return pl.concat([series.cast(EXACT) for series in self.times])
