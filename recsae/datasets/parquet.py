"""Rows of Parquet files in the batches of ``rows``, every value as text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import polars as pl

from recsae.datasets.rows import BATCH, Batch
from recsae.datasets.streams import Entry
from recsae.errors import DataError

LIST_SEPARATOR = "|"
"""Between the values of a list, as between several tags in one text."""


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
                    name: _texts(entry.name, name, pl.Series(pl.from_arrow(part.column(name))))
                    for name in wanted
                }
                lines = range(first, first + part.num_rows)
                yield Batch(entry.name, lines, columns, unit="row")
                first += part.num_rows
        except (
            pa.ArrowException,
            pl.exceptions.PolarsError,
            pl.exceptions.PanicException,
        ) as error:
            reason = str(error).split("\n")[0][:200]
            raise DataError(f"{entry.name} cannot be read as Parquet: {reason}") from None


def _check_columns(name: str, found: Sequence[str], wanted: Sequence[str]) -> None:
    for column in wanted:
        if list(found).count(column) != 1:
            many = "no" if column not in found else "more than one"
            raise DataError(
                f"{name}: {many} column {column}; found {', '.join(found)[:200] or 'nothing'}"
            )


def _texts(name: str, column: str, values: pl.Series) -> list[str]:
    """A column as text: whole floats without their point, dates as seconds since 1970."""
    dtype = values.dtype
    if dtype.is_float():
        values = values.set(~values.is_finite().fill_null(False), None)
        if (values == values.floor()).all() and (values.abs() < 2**53).all():
            values = values.cast(pl.Int64)
    elif dtype in (pl.Datetime, pl.Date):
        values = values.cast(pl.Datetime("us")).dt.epoch("s")
    elif dtype == pl.List(pl.String):
        values = values.list.join(LIST_SEPARATOR)
    elif dtype == pl.Boolean or dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(f"{name}: column {column} is of type {dtype}, not text or number")
    return values.cast(pl.String).fill_null("").to_list()
