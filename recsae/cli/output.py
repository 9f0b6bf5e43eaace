"""Frames as text: a table for people, CSV, JSON and Parquet for programs."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsae.errors import DataError

if TYPE_CHECKING:
    import polars as pl

NULL = "NULL"
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


def table_text(
    columns: Sequence[str], rows: Sequence[Sequence[str]], numeric: Sequence[bool]
) -> str:
    """A table as wide as the terminal (80 columns elsewhere), numbers to the right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from recsae.report.text import printable

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column, right in zip(columns, numeric, strict=True):
        table.add_column(
            Text(printable(column)),
            justify="right" if right else "left",
            overflow="fold",
            no_wrap=right,
        )
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    width = Console(file=sys.stdout).width
    text = io.StringIO()
    Console(file=text, width=width, color_system=None, legacy_windows=False).print(table)
    return "".join(line.rstrip() + "\n" for line in text.getvalue().splitlines())


def frame_table(frame: pl.DataFrame) -> str:
    """Every row of a frame as a table."""
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    rows = [[cell(value) for value in row] for row in frame.iter_rows()]
    return table_text(frame.columns, rows, numeric)


def cell(value: object) -> str:
    """A value in a table: six significant digits, NULL spelled out, control characters shown."""
    from recsae.report.text import printable

    if value is None:
        return NULL
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list | dict):
        return json_line(value)
    return printable(str(value))


def plain(value: Any) -> Any:
    """A value as JSON holds it: not-a-number becomes null, dates ISO text, bytes hex."""
    from datetime import date, time
    from decimal import Decimal

    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else float(value)
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
    text = json.dumps(plain(value), ensure_ascii=False, indent=indent)
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def json_text(records: Sequence[dict[str, Any]]) -> str:
    """A list of objects, one per line."""
    lines = ",\n".join(json_line(record) for record in records)
    return f"[\n{lines}\n]\n" if records else "[]\n"


def csv_text(frame: pl.DataFrame) -> str:
    """CSV with a header; lists and structures as JSON, so that every value is one field."""
    import polars as pl

    flat = [
        pl.Series(
            column.name, [None if v is None else cell(v) for v in column.to_list()], pl.String
        )
        if column.dtype.is_nested() or column.dtype == pl.Binary
        else column
        for column in frame.iter_columns()
    ]
    return pl.DataFrame(flat).write_csv() if flat else ""


def write_frame(
    frame: pl.DataFrame, form: Format, output: Path | None, *, paged: bool = False
) -> None:
    """Write a frame to stdout, or to a file that appears only when it is complete."""
    texts: dict[Format, Callable[[], str]] = {
        Format.table: lambda: frame_table(frame),
        Format.csv: lambda: csv_text(frame),
        Format.json: lambda: json_text(frame.to_dicts()),
    }
    if form in texts:
        text = texts[form]()
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


def write_whole(output: Path, data: bytes) -> None:
    """Write a file that appears only when it is complete; DataError when it cannot be written."""
    part = output.with_name(f".{output.name}.part")
    try:
        if output.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        part.write_bytes(data)
        os.replace(part, output)
    except OSError as error:
        with suppress(OSError):
            part.unlink(missing_ok=True)
        raise DataError(f"cannot write {output}: {error.strerror}") from None
