"""Dates and times that are written as text, as seconds since 1970."""

from __future__ import annotations

import re

import polars as pl

EXACT = pl.Decimal(38, 18)
"""Type of times with fractions: a float could not tell two nanoseconds of today apart."""

HINT = (
    "give seconds since 1970, or dates such as 2020-09-01, 2020-09-01 12:30:00 or "
    "2020-09-01T12:30:00+02:00"
)

_DATE = (
    r"^([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})"
    r"(?:[T ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:[.,]([0-9]{1,18}))?)?"
    r" ?(Z|UTC|GMT|[-+][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
"""Year, month, day; hour, minute, second, fraction; zone. The year comes first: no doubt."""

_NAMES = ("year", "month", "day", "hour", "minute", "second", "fraction", "zone")


def is_date(text: str | None) -> bool:
    """Whether a text is written as a date, with a time or without."""
    return text is not None and re.match(_DATE, text) is not None


def zoned(texts: pl.Series) -> pl.Series:
    """Whether dates come with a zone: Boolean."""
    return texts.str.extract(_DATE, len(_NAMES)).is_not_null()


def seconds(texts: pl.Series) -> pl.Series:
    """Seconds since 1970 of dates: Int64, or EXACT where one has a fraction; null for no date.

    A time without a zone is taken as UTC.
    """
    parts = pl.DataFrame(
        {name: texts.str.extract(_DATE, place) for place, name in enumerate(_NAMES, start=1)}
    )
    numbers = [pl.col(name).cast(pl.Int32).fill_null(0) for name in _NAMES[3:6]]
    day = pl.concat_str(
        pl.col("year"), pl.col("month").str.zfill(2), pl.col("day").str.zfill(2), separator="-"
    ).str.to_date("%Y-%m-%d", strict=False)
    hour, minute, second = numbers
    valid = (hour < 24) & (minute < 60) & (second < 60)
    whole = day.cast(pl.Int64) * 86_400 + hour * 3600 + minute * 60 + second - _offset()
    found = parts.select(
        whole=pl.when(valid).then(whole), fraction=pl.concat_str(pl.lit("0."), "fraction")
    )
    if parts["fraction"].null_count() < len(parts):
        exact = pl.col("whole").cast(EXACT) + pl.col("fraction").fill_null("0").cast(EXACT)
        return found.select(exact).to_series()
    return found["whole"].cast(pl.Int64)


def _offset() -> pl.Expr:
    """Seconds that a zone is ahead of UTC; 0 without one."""
    digits = pl.col("zone").str.replace_all(r"[^0-9]", "").str.pad_end(4, "0")
    size = digits.str.head(2).cast(pl.Int32, strict=False) * 3600
    size += digits.str.tail(2).cast(pl.Int32, strict=False) * 60
    return pl.when(pl.col("zone").str.starts_with("-")).then(-size).otherwise(size).fill_null(0)
