"""What SQL of somebody else may do here: read, and nothing else.

Three things hold that promise, none of them a search in the text. DuckDB's parser says what kind of
statement it is and, as a tree, what is inside it: only the nodes and table functions that read are
let through. The database is open read-only, so DuckDB itself refuses to change it. And before the
statement runs, DuckDB is told which files it may touch at all (those of the warehouse, and those
that the statement names as what it reads from), and its configuration is locked.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import duckdb

from recsae.errors import DataError
from recsae.warehouse.connection import first_line
from recsae.warehouse.publish import KINDS
from recsae.warehouse.runs import RunKind
from recsae.warehouse.sql import queries

NODES = frozenset({"SELECT_NODE", "SET_OPERATION_NODE", "RECURSIVE_CTE_NODE", "CTE_NODE"})
"""What a query may be made of; a WITH may also hold COPY_QUERY_NODE, INSERT_QUERY_NODE and more."""

FUNCTIONS = re.compile(
    r"(read_(?!duckdb)|parquet_|duckdb_|pragma_)\w+|range|generate_series|unnest|repeat|repeat_row|"
    r"glob|sniff_csv|summary|json_each|json_tree|query_table|histogram|histogram_values|"
    r"test_all_types|icu_calendar_names|pg_timezone_names"
)
"""Table functions that only read. Others log, write profiles, run text as SQL or take addresses."""

_OPTIONS = ("analyze", "verbose", "format", "summary")
"""Words that may stand between the brackets after EXPLAIN."""

_TREE = """
select key, atom ->> '$' as value, path
from json_tree(json_serialize_sql($text))
where key in (
    'type', 'info_type', 'function_name', 'schema_name', 'table_name', 'text', 'error_message'
)
"""
"""The tree is walked by DuckDB too: a long sum nests deeper than Python follows."""

LATEST = "the text 'latest'; a run has to be called run, run_id, or end in _run or _run_id"
"""What is told of a parameter that looks like a run."""

FindRun = Callable[[str, RunKind | None], str]
"""The id of the run that a reference means, of a kind if one is given."""
Tell = Callable[[str], None]

_RUN = re.compile(r"(\w+_)?run(_id)?", re.IGNORECASE)
_MAGIC = re.compile(r"[*?[]")


@dataclass(frozen=True)
class Statement:
    """One statement that only reads, as DuckDB's parser understands it."""

    text: str
    """What runs: without a semicolon or what comes after one."""
    kind: str
    """SELECT or EXPLAIN."""
    parameters: tuple[str, ...]
    """Names of its ``$name`` parameters, in order."""
    inner: str
    """The query itself: of an EXPLAIN what it explains."""


@dataclass(frozen=True)
class Reads:
    """What a statement reads from."""

    relations: tuple[str, ...]
    """What stands after FROM as ``schema.name``, in schema main where none is given."""
    names: tuple[str, ...]
    """What may be a file: what stands after FROM without a schema, and constants among the
    arguments of table functions."""

    def run_kind(self) -> RunKind | None:
        """Kind of run that a ``run_id`` in these relations is, where all that say so agree."""
        kinds = set()
        for query in (query for query in queries() if query.full_name in self.relations):
            about = [column.text for column in query.yields if column.name == "run_id"]
            kinds |= {run_kind(text) for text in about}
        kinds.discard(None)
        return kinds.pop() if len(kinds) == 1 else None


def run_kind(text: str) -> RunKind | None:
    """Kind of run that the description of a column or a parameter speaks of."""
    words = text.lower()
    if "sae" in words or "autoencoder" in words:
        return "sae"
    return "recommender" if "recommender" in words else None


def with_runs(
    find: FindRun, params: Mapping[str, object], kind: RunKind | None, tell: Tell
) -> dict[str, object]:
    """Parameters with the ids of the runs that they mean.

    A parameter is a run by its name: ``run``, ``run_id``, or one that ends in ``_run`` or
    ``_run_id``. Elsewhere ``latest`` is a word like others, which is told.
    """
    values = dict(params)
    for name, value in params.items():
        if not isinstance(value, str):
            continue
        if _RUN.fullmatch(name):
            values[name] = find(value, kind)
        elif value == "latest":
            tell(f"parameter {name}: {LATEST}")
    return values


def statement(text: str) -> Statement:
    """The one statement of a text; DataError when there are others or it does more than read."""
    found = duckdb.extract_statements(text)
    if len(found) != 1:
        raise DataError(f"one statement can be run at a time, and here are {len(found)}")
    try:
        kind = found[0].type.name
    except ValueError:  # of a kind that DuckDB's Python side has no name for
        raise DataError("query only reads, and DuckDB has no name for this statement") from None
    if kind == "MULTI":
        raise DataError("a PIVOT has to name its values", "pivot t on x in ('a', 'b') using sum(y)")
    text = without_end(text)
    if kind == "EXPLAIN":
        prefix, explained = _split_explain(text)
        inner = statement(explained)
        if inner.kind != "SELECT":
            raise DataError("query only reads, and this explains an explanation")
        return Statement(prefix + inner.text, kind, inner.parameters, inner.text)
    if kind != "SELECT":
        raise DataError(f"query only reads, and this is a {kind} statement")
    return Statement(text, kind, tuple(sorted(found[0].named_parameters)), text)


def without_end(text: str) -> str:
    """A statement without its semicolon and what comes after, so that a limit can be added."""
    data = text.encode()
    end = len(data)
    for place, kind in reversed(duckdb.tokenize(text)):
        if data[place : place + 1] == b";" and kind == duckdb.token_type.operator:
            end = place
        elif kind != duckdb.token_type.comment:
            break
    return data[:end].decode()


def _split_explain(text: str) -> tuple[str, str]:
    """``explain``, with its options written anew, and what is explained.

    By the tokens of DuckDB, to whom comments are tokens of their own. What runs is put together
    from the two parts, and the second was parsed by itself: nothing can hide in between.
    """
    tokens = list(_tokens(text))
    place, prefix = 1, "explain "
    if place < len(tokens) and tokens[place][1].lower() in ("analyze", "verbose"):
        prefix += "analyze " if tokens[place][1].lower() == "analyze" else ""
        place += 1
    elif _starts_options(tokens[place : place + 2]):
        end = next((i for i, (_, word) in enumerate(tokens) if word == ")"), len(tokens) - 1)
        prefix += " ".join(word for _, word in tokens[place : end + 1]) + " "
        place = end + 1
    start = tokens[place][0] if place < len(tokens) else len(text.encode())
    return prefix, text.encode()[start:].decode()


def _tokens(text: str) -> Iterator[tuple[int, str]]:
    """Tokens that are no comment: the byte where they start, and their text."""
    data, marks = text.encode(), duckdb.tokenize(text)
    ends = [*(place for place, _ in marks[1:]), len(data)]
    for (place, kind), end in zip(marks, ends, strict=True):
        if kind != duckdb.token_type.comment:
            yield place, data[place:end].decode(errors="replace").strip()


def _starts_options(tokens: list[tuple[int, str]]) -> bool:
    words = [word.lower() for _, word in tokens]
    return len(words) == 2 and words[0] == "(" and words[1] in _OPTIONS


def reads(asked: Statement) -> Reads:
    """What a statement reads from; DataError when a part of it does more than read.

    The tree is that of a plain DuckDB: with the storage version of a warehouse it would be written
    as an older one knew it.
    """
    with duckdb.connect(":memory:") as parser:
        rows = parser.execute(_TREE, {"text": asked.inner}).fetchall()
    schemas = {path: value for key, value, path in rows if key == "schema_name"}
    relations: dict[str, None] = {}
    names: dict[str, None] = {}
    for key, value, path in rows:
        _require_reading(key, value, path)
        if key == "table_name" and value:
            relations[f"{schemas.get(path) or 'main'}.{value}"] = None
            names |= {} if schemas.get(path) else {value: None}
        elif key == "text" and ".function." in path:
            names[value] = None
    return Reads(tuple(relations), tuple(names))


def _require_reading(key: str, value: str, path: str) -> None:
    """DataError for a part of the tree that does more than read."""
    if key == "error_message":
        raise DataError(f"query only reads, and DuckDB cannot tell what this does: {value}")
    if key == "info_type" or (key == "type" and value.endswith("_NODE") and value not in NODES):
        raise DataError(f"query only reads, and this holds a {_plain(value)}")
    # a call that stands where a table does; one inside its arguments has a longer path
    is_table = key == "function_name" and path.endswith(".function")
    if is_table and not FUNCTIONS.fullmatch(value.lower()):
        raise DataError(f"query only reads, and the function {value} may do more")


def _plain(node: str) -> str:
    """``COPY_QUERY_NODE`` as a user knows it."""
    return node.removesuffix("_NODE").removesuffix("_QUERY").removesuffix("_INFO") + " statement"


def seal(
    connection: duckdb.DuckDBPyConnection, root: Path, read: Reads, params: Mapping[str, object]
) -> None:
    """Let DuckDB touch the Parquet files below ``root`` and what is read from; nothing else.

    Files that a query names are files of the user, who may want to join them. A name has to stand
    in the query or be a parameter: one that is computed is not known before. It cannot be undone.
    """
    given = [value for value in params.values() if isinstance(value, str)]
    folders, files = own_files([*read.names, *given])
    places = {"allowed_directories": [*folders, *parquet_places(root)], "allowed_paths": files}
    for setting, values in places.items():
        connection.execute(f"set {setting} = $values", {"values": values})
    connection.execute("set enable_external_access = false")
    connection.execute("set python_enable_replacements = false")
    connection.execute("set lock_configuration = true")


def parquet_places(root: Path) -> list[str]:
    """Folders with the Parquet files of a warehouse, and where links among them lead."""
    found: dict[str, None] = {}
    for folder in (root / kind for kind in KINDS):
        links = [one.resolve() for one in folder.glob("*") if one.is_symlink()]
        links += [one.resolve().parent for one in folder.glob("*/*.parquet") if one.is_symlink()]
        found |= dict.fromkeys(f"{place}/" for place in (folder, folder.resolve(), *links))
    return list(found)


def own_files(names: Iterable[str]) -> tuple[list[str], list[str]]:
    """Folders and files that exist under the names; of a pattern the folder before its first star.

    Both as written and without links, since DuckDB compares the one or the other.
    """
    folders: dict[str, None] = {}
    files: dict[str, None] = {}
    for name in names:
        if not name or "\0" in name:
            continue
        before = os.path.abspath(os.path.expanduser(_MAGIC.split(name, maxsplit=1)[0] or "."))
        if _MAGIC.search(name) and not os.path.exists(os.path.expanduser(name)):
            # the whole disk is no answer to a star in the root
            folder = before if os.path.isdir(before) else os.path.dirname(before)
            folders |= {} if folder == "/" else {folder: None, os.path.realpath(folder): None}
        elif os.path.isfile(path := os.path.abspath(os.path.expanduser(name))):
            files |= {path: None, os.path.realpath(path): None}
    return [f"{folder}/" for folder in folders], list(files)


def not_allowed(error: duckdb.Error) -> DataError:
    """What it means that DuckDB may not touch a file."""
    named = re.search(r'"(.+)"', first_line(error))
    return DataError(
        f"a query reads the warehouse and files that it names, and {named[1] if named else 'this'} "
        "is neither",
        "write the whole name into the query, as read_csv('FILE'), or give it as a parameter",
    )
