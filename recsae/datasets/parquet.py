"""Rows of Parquet files in the batches of ``rows``, every value as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import polars as pl

from recsae.datasets.lines import listed
from recsae.datasets.rows import BATCH, Batch
from recsae.datasets.streams import Entry
from recsae.errors import DataError

EXACT_BELOW = {pl.Float64: 2**53, pl.Float32: 2**24, pl.Float16: 2**11}
"""Whole numbers that a float tells apart from their neighbours."""

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


def parquet_batches(
    entry: Entry, wanted: Sequence[str], ids: Sequence[str] = (), rough: Sequence[str] = ()
) -> Iterator[Batch]:
    """The wanted columns; rows count from 1. A null is an empty text, a list one of JSON.

    Columns of ``ids`` hold whole numbers or texts; those in ``rough`` are measures, which may be
    rounded.
    Errors: DataError for a file that is no Parquet, a missing column, naming those that are there,
    a column of a type that has no text, and floats that may have lost digits.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with entry.raw() as stream:
        try:
            table = pq.ParquetFile(stream)
            _check_columns(entry.name, table.schema_arrow.names, wanted)
            first, tally = 1, entry.start_tally()
            tally.unit, tally.lines = "row", table.metadata.num_rows
            for part in table.iter_batches(batch_size=BATCH, columns=list(wanted)):
                part.validate(full=True)  # polars takes texts to be UTF-8 without looking
                series = {name: _series(part.column(name)) for name in wanted}
                for name, values in series.items():
                    if values.dtype.is_float() and name not in rough:
                        _check_floats(entry.name, name, values, first, name in ids)
                    if values.dtype.is_nested() and name in ids:
                        raise _no_text(entry.name, name, values.dtype)
                columns = {
                    name: _texts(entry.name, name, values) for name, values in series.items()
                }
                lines = range(first, first + part.num_rows)
                tally.rows += part.num_rows
                yield Batch(entry.name, lines, columns, unit="row")
                first += part.num_rows
            tally.check(entry.name)
        except (pa.ArrowException, *_BROKEN) as error:
            reason = str(error).split("\n")[0][:200]
            hint = "write columns of unusual types as int64 or text"
            unknown = isinstance(error, NotImplementedError)
            raise DataError(
                f"{entry.name} cannot be read as Parquet: {reason}", hint if unknown else None
            ) from None


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


def _check_floats(name: str, column: str, values: pl.Series, first: int, ids: bool) -> None:
    """DataError for floats that do not tell neighbours apart, and for ids that are no number."""
    kind, limit = str(values.dtype).lower(), EXACT_BELOW[type(values.dtype)]  # type: ignore[index]
    large = (values.is_finite() & (values.abs() >= limit)).fill_null(False)
    if large.any():
        place = int(large.arg_max() or 0)
        raise DataError(
            f"{name} row {first + place}: column {column} is {values[place]!r} as {kind}, which "
            f"cannot tell whole numbers from {limit:,} on apart",
            f"write {column} anew from its source as int64 (in pandas Int64) or as text; "
            "its last digits are lost in this file",
        )
    odd = ~values.is_finite() | (values != values.floor())
    if ids and (odd := odd.fill_null(False)).any():
        place = int(odd.arg_max() or 0)
        raise DataError(
            f"{name} row {first + place}: column {column} is {values[place]!r}, not an id",
            f"take such rows out, and store {column} as int64 (in pandas Int64) or as text",
        )


def _texts(name: str, column: str, values: pl.Series) -> list[str]:
    """A column as text: whole floats without their point, dates as seconds since 1970.

    How a value is written does not depend on the other values of its batch.
    """
    dtype = values.dtype
    if dtype.is_float():
        values = _float_texts(values)
    elif dtype in (pl.Datetime, pl.Date):
        values = _seconds(values)
    elif isinstance(dtype, pl.Decimal) and dtype.scale:
        values = values.cast(pl.String).str.strip_chars_end("0").str.strip_suffix(".")
    elif isinstance(dtype, pl.List | pl.Array) and not dtype.inner.is_nested():
        return _lists(name, column, values)
    elif dtype == pl.Boolean or dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise _no_text(name, column, dtype)
    return values.cast(pl.String).fill_null("").to_list()


def _no_text(name: str, column: str, dtype: pl.DataType) -> DataError:
    return DataError(f"{name}: column {column} is of type {dtype}, not text or number")


def _lists(name: str, column: str, values: pl.Series) -> list[str]:
    """Lists as texts of JSON, which no value can break; a null as an empty text."""
    lists = values.arr.to_list() if isinstance(values.dtype, pl.Array) else values
    flat = lists.explode(keep_nulls=False, empty_as_null=False)
    texts = iter(_texts(name, column, flat))
    sizes = lists.list.len().to_list()
    return [
        "" if size is None else json.dumps(list(islice(texts, size)), ensure_ascii=False)
        for size in sizes
    ]


def _float_texts(values: pl.Series) -> pl.Series:
    """Finite floats as text, whole ones as whole numbers with all their digits; others null."""
    values = values.set(~values.is_finite().fill_null(False), None)
    whole = (values == values.floor()) & (values.abs() < 2**63)
    text = pl.when(pl.lit(whole)).then(pl.lit(values.cast(pl.Int64, strict=False)).cast(pl.String))
    return pl.select(text.otherwise(pl.lit(values.cast(pl.String)))).to_series()


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
