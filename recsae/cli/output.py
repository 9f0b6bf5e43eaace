"""Frames as text: a table for people, CSV, JSON and Parquet for programs."""

from __future__ import annotations

import io
import json
import re
import sys
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsae.cli.files import write_whole
from recsae.cli.table import table_text

if TYPE_CHECKING:
    import polars as pl

NULL = "NULL"
WHOLE = 1e5
"""Numbers from here on are not rounded in a table."""

MIN_DAY, MAX_DAY = -719_162, 2_932_896
"""First and last day of Python's calendar, counted from 1970."""

FORMULA = tuple("=+-@＝＋－＠")
"""What a spreadsheet may take for the beginning of a formula."""

_CONTROLS = re.compile(r"[\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
"""What JSON itself does not escape: delete, C1, line ends and directions."""


class Format(StrEnum):
    """How a result is written."""

    table = "table"
    csv = "csv"
    json = "json"
    parquet = "parquet"


def note(text: str) -> None:
    """Narrate on stderr."""
    print(text, file=sys.stderr)


def frame_table(frame: pl.DataFrame, every: str = "--json") -> str:
    """Every row of a frame as a table."""
    columns = [texts(column) for column in frame.iter_columns()]
    rows = [[NULL if text is None else text for text in row] for row in zip(*columns, strict=True)]
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    whole = [not (dtype.is_nested() or is_text(dtype)) for dtype in frame.dtypes]
    return table_text(frame.columns, rows, numeric, whole=whole, every=every)


def is_text(dtype: pl.DataType) -> bool:
    """Whether a column holds words, or bytes, which may be broken."""
    import polars as pl

    return dtype in (pl.String, pl.Categorical, pl.Enum, pl.Binary)


def texts(column: pl.Series) -> list[str | None]:
    """The values of a column as text; None for NULL."""
    return [None if value is None else cell(value) for value in exact(column)]


def exact(column: pl.Series) -> list[Any]:
    """The values of a column as Python has them, or as a Number or text where Python would not.

    Python's decimals are rounded to 28 digits on their way, its times end in the year 9999 and at
    microseconds, and DuckDB's infinite ones are none at all.
    """
    import polars as pl

    if isinstance(column.dtype, pl.Decimal):
        return [None if text is None else Number(text) for text in column.cast(pl.String)]
    if column.dtype.is_nested() and _has_inside(column.dtype):
        read = partial(json.loads, parse_float=Number, parse_constant=lambda _: None)
        return [None if text is None else read(text) for text in _by_duckdb(column, "to_json(x)")]
    if column.dtype.is_temporal() and not _fits_python(column):
        return _by_duckdb(column, "x")
    return column.to_list()


class Number(str):
    """Digits that Python's own numbers would change."""

    __slots__ = ()


def _has_inside(dtype: Any) -> bool:
    """Whether a list or structure holds decimals or times."""
    import polars as pl

    inner = [field.dtype for field in dtype.fields] if isinstance(dtype, pl.Struct) else []
    inner += [dtype.inner] if isinstance(dtype, pl.List | pl.Array) else []
    if not inner:
        return isinstance(dtype, pl.Decimal) or bool(dtype.is_temporal())
    return any(map(_has_inside, inner))


def _fits_python(column: pl.Series) -> bool:
    """Whether Python has all the times of a column."""
    import polars as pl

    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_unit == "ns":
        return False
    if isinstance(column.dtype, pl.Time | pl.Duration):
        return True
    unit = getattr(column.dtype, "time_unit", None)
    days = column.to_physical() // (86_400 * {"us": 10**6, "ms": 10**3}[unit] if unit else 1)
    return bool(days.is_between(MIN_DAY, MAX_DAY).all())


def _by_duckdb(column: pl.Series, expression: str) -> list[str | None]:
    """The values of a column, called x, as DuckDB writes them."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("set TimeZone = 'UTC'")
        relation = connection.from_arrow(column.alias("x").to_frame().to_arrow())
        return [row[0] for row in relation.project(f"({expression})::varchar").fetchall()]


def cell(value: object) -> str:
    """A value in a table: NULL spelled out, control characters shown.

    Fractions have six significant digits, but never at the cost of the digits before the point.
    """
    from recsae.report.text import printable

    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) < WHOLE else repr(value)
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return json_line(value)
    return printable(str(value))


def plain(value: Any) -> Any:
    """A value as JSON holds it: not-a-number becomes null, dates ISO text, bytes hex."""
    from datetime import date, time

    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return value if isinstance(value, str | int | bool | None) else str(value)


def json_line(value: Any, indent: int | None = None) -> str:
    """JSON that can be read and cannot steer a terminal: controls above ASCII are escaped too."""
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent) if indent else _json(value)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _json(value: Any) -> str:
    """One line, in which a Number has all its digits."""
    if isinstance(value, Number):
        is_fraction = "." in value and "e" not in value.lower()
        return value.rstrip("0").rstrip(".") if is_fraction else str(value)
    if isinstance(value, list):
        return f"[{', '.join(map(_json, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_json(str(key))}: {_json(one)}' for key, one in value.items())}}}"
    return json.dumps(plain(value), ensure_ascii=False)


def json_text(records: Sequence[dict[str, Any]]) -> str:
    """A list of objects, one per line."""
    lines = ",\n".join(json_line(record) for record in records)
    return f"[\n{lines}\n]\n" if records else "[]\n"


def frame_json(frame: pl.DataFrame) -> str:
    """The rows of a frame as JSON objects."""
    columns = [exact(column) for column in frame.iter_columns()]
    return json_text(
        [dict(zip(frame.columns, row, strict=True)) for row in zip(*columns, strict=True)]
    )


def csv_text(frame: pl.DataFrame, *, safe: bool = False) -> str:
    """CSV with a header; lists and structures as JSON, so that every value is one field.

    ``safe`` changes texts that a spreadsheet would run or a terminal obey (``safe_text``).
    """
    import polars as pl

    flat = [_flat(column) for column in frame.iter_columns()]
    if safe:
        flat = [
            pl.Series(safe_text(column.name), [t and safe_text(t) for t in column], pl.String)
            if is_text(column.dtype)
            else column.alias(safe_text(column.name))
            for column in flat
        ]
    return pl.DataFrame(flat).write_csv() if flat else ""


def _flat(column: pl.Series) -> pl.Series:
    """A column that CSV can hold."""
    import polars as pl

    dtype = column.dtype
    odd = dtype.is_temporal() and dtype != pl.Datetime("ns") and not _fits_python(column)
    if odd or dtype.is_nested() or dtype == pl.Binary:
        return pl.Series(column.name, texts(column), pl.String)
    return column.cast(pl.String) if dtype in (pl.Categorical, pl.Enum) else column


def safe_text(text: str) -> str:
    """A text as a spreadsheet and a terminal may have it.

    Control characters are written as escapes, and a text that begins, perhaps after blanks, like a
    formula gets an apostrophe in front.
    """
    from recsae.report.text import printable

    shown = printable(text)
    risky = text.lstrip()[:1] in FORMULA or text[:1] in ("\t", "\r", "\n")
    return f"'{shown}" if text and risky else shown


def write_frame(
    frame: pl.DataFrame,
    form: Format,
    output: Path | None,
    *,
    paged: bool = False,
    safe: bool = False,
) -> None:
    """Write a frame to stdout, or to a file that appears only when it is complete."""
    makers: dict[Format, Callable[[], str]] = {
        Format.table: lambda: frame_table(frame, "--format csv"),
        Format.csv: lambda: csv_text(frame, safe=safe),
        Format.json: lambda: frame_json(frame),
    }
    if form in makers:
        text = makers[form]()
        if output is None:
            write_text(text, paged=paged and form is Format.table)
            return
        data = text.encode()
    else:
        buffer = io.BytesIO()
        frame.write_parquet(buffer)
        data = buffer.getvalue()
        if output is None:
            sys.stdout.buffer.write(data)
            return
    write_whole(output, data)


def write_text(text: str, *, paged: bool) -> None:
    """Write to stdout; by way of PAGER when it is a terminal with fewer lines."""
    import pydoc
    import shutil

    if paged and sys.stdout.isatty() and text.count("\n") >= shutil.get_terminal_size().lines:
        pydoc.pager(text)
    else:
        sys.stdout.write(text)
