"""``recsae query``: SQL over the warehouse, read-only."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from recsae.cli.files import refuse_output
from recsae.cli.options import WarehouseOption
from recsae.cli.output import Format, note, write_frame
from recsae.errors import UsageError

if TYPE_CHECKING:
    import polars as pl

    from recsae.warehouse import Query

AS_STORED = ("case_latents",)
"""Views that are listed as their files are: to sort a hundred million rows takes a minute."""

TABLE_ROWS = 200
"""Rows that a table shows unless --limit says otherwise; files and pipes get all."""

_NAMED = re.compile(r"([a-z_]\w*\.)?[a-z_]\w*")
_INTEGER = re.compile(r"[+-]?\d+", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UBIGINT")


class QueryCommand(TyperCommand):
    """Accepts ``-p NAME VALUE``, which typer cannot declare, as ``-p NAME=VALUE``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, fold_params(args))


def fold_params(args: list[str]) -> list[str]:
    """Join the two words after each -p; a word that has an equals sign is complete already."""
    folded: list[str] = []
    rest = list(args)
    while rest:
        word = rest.pop(0)
        folded.append(word)
        if word in ("-p", "--param") and rest:
            name = rest.pop(0)
            if "=" not in name:
                if not rest:
                    raise UsageError(f"parameter {name} has no value", f"-p {name} VALUE")
                name = f"{name}={rest.pop(0)}"
            folded.append(name)
    return folded


def query(
    sql: Annotated[
        str | None,
        typer.Argument(
            metavar="SQL|FILE.sql|NAME",
            help="A query, a file that holds one, the name of one of ours, or - for stdin.",
        ),
    ] = None,
    warehouse: WarehouseOption = Path("warehouse"),
    param: Annotated[
        list[str] | None,
        typer.Option(
            "-p", "--param", metavar="NAME VALUE", help="Value of a $NAME parameter; repeatable."
        ),
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="Default: as --output ends, else table."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write into this file.")
    ] = None,
    safe: Annotated[
        bool,
        typer.Option(
            "--safe",
            help="csv: put an apostrophe before texts that a spreadsheet would take for a formula "
            "(= + - @), and write control characters as escapes.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=0, help=f"Most rows; 0 is all. Default {TABLE_ROWS} for a table."),
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.001, metavar="SECONDS", help="Stop a query that takes longer."),
    ] = None,
    show: Annotated[bool, typer.Option("--show", help="Print the SQL instead.")] = False,
    every: Annotated[
        bool,
        typer.Option("--list", help="List the queries that have a name, and their parameters."),
    ] = False,
    paged: Annotated[
        bool,
        typer.Option("--pager/--no-pager", help="Page a table that is longer than the terminal."),
    ] = True,
) -> None:
    """Run SQL over the warehouse, without changing it. Control-C stops a query.

    The views of `recsae schema` need no schema name; `--list` has the queries with a name. A query
    may also read files of yours that it names, as read_csv('mine.csv').

    A parameter called run or run_id, or whose name ends in _run or _run_id, is a run: its id, the
    start of one, or latest (the last to finish of the kind that the relations of the query hold,
    never a control). stderr says which.

    A table rounds fractions to six significant digits and shows other numbers whole; a column that
    does not fit is left out, and stderr says so. csv has all digits and texts as they are, formulas
    and control characters included, unless --safe.

    \b
    Example:
      recsae query "select label, confidence from latents order by confidence desc"
      recsae query "select model, count(*) from raw.runs group by all"
      recsae query concepts --limit 20 --timeout 10
      recsae query report.overview -p run_id latest --format csv
      recsae query "from raw.metrics where run_id = $run_id" -p run_id latest
    """
    form = form or guess_format(output)
    if safe and form is not Format.csv:
        raise UsageError(f"--safe is for csv, and this is {form}", "add --format csv")
    refuse_output("--output", output, warehouse)
    if every:
        write_frame(named_queries(), form, output, paged=paged, safe=safe)
        return
    if sql is None:
        raise UsageError("no query is given", "recsae query --list names some")
    named, text = read_query(sql)
    if show:
        text = shown_text(sql, text)
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    if form is Format.parquet and output is None and sys.stdout.isatty():
        raise UsageError("parquet is not for a terminal", "add --output FILE.parquet")
    given = dict(split_param(word) for word in param or [])
    from recsae.warehouse import Warehouse
    from recsae.warehouse.door import statement

    asked = statement(text)
    values = named_params(named, given) if named else adhoc_params(asked.parameters, given)
    with Warehouse.open(warehouse, read_only=True) as store:
        if named:
            store.require_relations(named)
        most = row_limit(form, limit)
        more = None if most is None else most + 1  # to know whether there are more
        frame = store.read(asked, values, named=named, limit=more, seconds=timeout)
    cut = most is not None and len(frame) > most
    frame = frame.head(most) if most is not None else frame
    write_frame(frame, form, output, paged=paged, safe=safe)
    if cut:
        note(f"{len(frame)} of more rows shown; --limit 0 shows all")


def read_query(sql: str) -> tuple[Query | None, str]:
    """The named query (None for ad-hoc SQL) and the text to run."""
    if sql == "-":
        return None, sys.stdin.read()
    if sql.endswith(".sql") and not re.search(r"\s", sql):
        try:
            return None, Path(sql).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or "not UTF-8 text"
            raise UsageError(f"cannot read {sql}: {reason}") from None
    if not _NAMED.fullmatch(sql):
        return None, sql
    from recsae.warehouse import load
    from recsae.warehouse.sql import RAW, VIEWS

    found = load(sql)
    if found.stage == RAW:  # its file is DDL; the useful meaning is its content
        return None, f"select * from {found.full_name}"
    if found.stage == VIEWS:
        order = "" if found.name in AS_STORED else f" order by {', '.join(found.grain)}"
        return None, f"select * from {found.full_name}{order}"
    return found, found.text


def shown_text(sql: str, text: str) -> str:
    """What --show prints: of a view the query behind it."""
    from recsae.warehouse import load
    from recsae.warehouse.sql import VIEWS

    found = load(sql) if _NAMED.fullmatch(sql) else None
    return found.text if found and found.stage == VIEWS else text


def named_queries() -> pl.DataFrame:
    """Views, then queries that read what is stored: name, parameters, purpose.

    The queries of other stages can be run too, but are there to build what these read.
    """
    import polars as pl

    from recsae.warehouse import queries
    from recsae.warehouse.sql import REPORT, VIEWS

    found = [*queries(VIEWS), *queries(REPORT)]
    return pl.DataFrame(
        {
            "name": [query.short_name for query in found],
            "parameters": [" ".join(param.name for param in query.params) for query in found],
            "purpose": [query.purpose for query in found],
        }
    )


def guess_format(output: Path | None) -> Format:
    """Format that a file name ends in; table for none."""
    suffix = output.suffix.removeprefix(".") if output else ""
    return Format(suffix) if suffix in list(Format) else Format.table


def row_limit(form: Format, limit: int | None) -> int | None:
    """Most rows to fetch, None for all."""
    if limit is None:
        return TABLE_ROWS if form is Format.table else None
    return limit or None


def split_param(word: str) -> tuple[str, str]:
    """``name=value`` as a pair; a leading dollar sign is dropped."""
    name, equals, value = word.partition("=")
    if not equals:
        raise UsageError(f"parameter {word} has no value", f"-p {word} VALUE")
    return name.removeprefix("$"), value


def adhoc_params(names: Sequence[str], given: dict[str, str]) -> dict[str, object]:
    """Values for the parameters of an ad-hoc query: what looks like a number is one."""
    for name in names:
        if name not in given:
            raise UsageError(f"the query needs the parameter {name}", f"-p {name} VALUE")
    for name in given:
        if name not in names:
            takes = f"it takes {', '.join(names)}" if names else "it takes none"
            raise UsageError(f"the query has no parameter {name}", takes)
    return {name: guess_value(value) for name, value in given.items()}


def guess_value(text: str) -> object:
    """A number if it looks like one, else the text."""
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def named_params(named: Query, given: dict[str, str]) -> dict[str, object]:
    """Values typed as the header says."""
    from recsae.warehouse.store import check_params

    check_params(named, given)
    return {
        param.name: typed_value(param.name, param.type, given[param.name]) for param in named.params
    }


def typed_value(name: str, kind: str, text: str) -> object:
    """A word as a value of an SQL type; UsageError when it is not one."""
    try:
        if kind in _INTEGER_TYPES:
            return int(text)
        if kind in ("DOUBLE", "FLOAT"):
            return float(text)
        if kind == "BOOLEAN":
            return {"true": True, "false": False}[text.lower()]
    except (ValueError, KeyError):
        raise UsageError(f"parameter {name} is {text!r}, but it must be {kind}") from None
    return text
