"""Rows of Parquet files in the batches of ``rows``, every value as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import polars as pl

from recsae.datasets.lines import listed
from recsae.datasets.rows import BATCH, Batch
from recsae.datasets.streams import Entry
from recsae.errors import DataError

LIST_SEPARATOR = "|"
"""Between the values of a list, as between several tags in one text."""

_BROKEN = (
    pl.exceptions.PolarsError,
    pl.exceptions.PanicException,
    ValueError,  # names that are no UTF-8
    KeyError,
    TypeError,
    NotImplementedError,
    OverflowError,
    MemoryError,
)
"""What pyarrow and polars raise for damaged files and for types that they do not know."""


def parquet_batches(entry: Entry, wanted: Sequence[str]) -> Iterator[Batch]:
    """The wanted columns; rows count from 1. A null is an empty text.

    Errors: DataError for a file that is no Parquet, a missing column, naming those that are there,
    and a column of a type that has no text.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with entry.raw() as stream:
        try:
            table = pq.ParquetFile(stream)
            _check_columns(entry.name, table.schema_arrow.names, wanted)
            first = 1
            for part in table.iter_batches(batch_size=BATCH, columns=list(wanted)):
                part.validate(full=True)  # polars takes texts to be UTF-8 without looking
                columns = {
                    name: _texts(entry.name, name, _series(part.column(name))) for name in wanted
                }
                lines = range(first, first + part.num_rows)
                yield Batch(entry.name, lines, columns, unit="row")
                first += part.num_rows
        except (pa.ArrowException, *_BROKEN) as error:
            reason = str(error).split("\n")[0][:200]
            raise DataError(f"{entry.name} cannot be read as Parquet: {reason}") from None


def _check_columns(name: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if list(found).count(column) != 1:
            many = "no" if column not in found else "more than one"
            raise DataError(f"{name}: {many} column {column}; found {listed(found)}")


def _series(column: Any) -> pl.Series:
    """A column of Arrow; times without their zone, which only says how they are shown."""
    import pyarrow as pa

    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp(column.type.unit))
    return pl.Series(pl.from_arrow(column))


def _texts(name: str, column: str, values: pl.Series) -> list[str]:
    """A column as text: whole floats without their point, dates as seconds since 1970.

    How a value is written does not depend on the other values of its batch.
    """
    dtype = values.dtype
    if dtype.is_float():
        values = values.set(~values.is_finite().fill_null(False), None)
        values = values.cast(pl.String).str.strip_suffix(".0").replace("-0", "0")
    elif dtype in (pl.Datetime, pl.Date):
        values = _seconds(values)
    elif isinstance(dtype, pl.Decimal) and dtype.scale:
        values = values.cast(pl.String).str.strip_chars_end("0").str.strip_suffix(".")
    elif dtype == pl.List(pl.String):
        values = values.list.join(LIST_SEPARATOR)
    elif dtype == pl.Boolean or dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(f"{name}: column {column} is of type {dtype}, not text or number")
    return values.cast(pl.String).fill_null("").to_list()


def _seconds(dates: pl.Series) -> pl.Series:
    """Seconds since 1970 as text, with a fraction where there is one, exact to the nanosecond."""
    unit = dates.dtype.time_unit if isinstance(dates.dtype, pl.Datetime) else None
    digits = {"ms": 3, "us": 6, "ns": 9}.get(unit or "ms", 0)
    steps = dates.cast(pl.Datetime(unit or "ms")).to_physical()
    size = steps.abs()
    text = pl.format(
        "{}{}.{}",
        pl.when(steps < 0).then(pl.lit("-")).otherwise(pl.lit("")),
        pl.lit(size // 10**digits),
        pl.lit((size % 10**digits).cast(pl.String).str.zfill(digits)),
    )
    return pl.select(text).to_series().str.strip_chars_end("0").str.strip_chars_end(".")
