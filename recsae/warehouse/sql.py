"""Find, parse and load the .sql files; knows their headers and nothing about connections.

A file is one SELECT (in ``0_raw`` one DDL statement) under a header that people, tests and
COMMENT ON read. ``sql/2_concepts/labels.sql`` is the query ``concepts.labels``.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib import resources
from pathlib import Path
from typing import NamedTuple

from recsae.errors import DataError, UsageError

RAW = "raw"
"""Stage whose files are DDL: the relations that Python writes."""

REPORT = "report"
"""Stage whose queries are run as they are and never stored."""

SUMMARIES = "summaries"
"""Stage whose files are counts over all activations of a run, kept as Parquet."""

VIEWS = "main"
"""Stage whose files are views for people, in the schema that needs no naming."""

_FOLDER = re.compile(r"(\d+)_(\w+)")
_TITLE = re.compile(r"-- (\w+): (.*)")
_KEY = re.compile(r"-- (grain|reads|params|yields|source):\s*(.*)")
_COLUMN = re.compile(r"--   (\$?\w+)\s+([A-Z_]+(?:\([^)]*\))?(?:\[\d*\])*)(?:\s+(.*))?")
_NAMES = re.compile(r"[\w.]+(?:\s*,\s*[\w.]+)*")


class Column(NamedTuple):
    """A parameter or result column as its header line tells it."""

    name: str
    type: str
    text: str


@dataclass(frozen=True)
class Query:
    """One .sql file."""

    stage: str
    name: str
    purpose: str
    """First sentence of the header."""
    grain: tuple[str, ...]
    """Columns that identify a row; empty when the result is one row."""
    reads: tuple[str, ...]
    """Relations read, as ``schema.name``."""
    params: tuple[Column, ...]
    """Parameters, without the dollar sign."""
    yields: tuple[Column, ...]
    """Columns of the result, in order."""
    source: str
    """Paper section or reason; may be empty."""
    text: str
    """The whole file."""

    @property
    def full_name(self) -> str:
        return f"{self.stage}.{self.name}"

    @property
    def short_name(self) -> str:
        """As people write it: views need no schema."""
        return self.name if self.stage == VIEWS else self.full_name


def sql_folder() -> Path:
    """Folder of the .sql files: inside the installed package, else beside it in the checkout."""
    packaged = Path(str(resources.files("recsae"))) / "sql"
    if packaged.is_dir():
        return packaged
    checkout = Path(__file__).resolve().parents[2] / "sql"
    if checkout.is_dir():
        return checkout
    raise DataError(f"the .sql files are not at {packaged}", "install recsae again")


def load(name: str) -> Query:
    """The query called ``stage.name``, or the view ``name``; else UsageError with the nearest."""
    known = {query.full_name: query for query in queries()}
    for full_name in (name, f"{VIEWS}.{name}"):
        if full_name in known:
            return known[full_name]
    near = difflib.get_close_matches(name, known, n=3) or sorted(known)
    raise UsageError(f"no query is called {name!r}", f"there is {', '.join(near)}")


def queries(stage: str | None = None) -> list[Query]:
    """All queries (of one stage), each after those whose relations it reads."""
    return [query for query in _ordered(sql_folder()) if stage in (None, query.stage)]


def stages() -> list[str]:
    """Stage names in the order of their folder numbers."""
    return [stage for stage, _ in _stage_folders(sql_folder())]


@cache
def _ordered(folder: Path) -> tuple[Query, ...]:
    found = {
        query.full_name: query
        for stage, path in _stage_folders(folder)
        for query in (parse(file, stage) for file in sorted(path.glob("*.sql")))
    }
    graph: TopologicalSorter[str] = TopologicalSorter()
    for query in found.values():
        graph.add(query.full_name, *(r for r in query.reads if r in found))
    try:
        depth = _depths(graph, found)
    except CycleError as error:
        raise DataError(f"queries read each other: {' -> '.join(error.args[1])}") from None
    numbers = {stage: number for number, (stage, _) in enumerate(_stage_folders(folder))}
    return tuple(
        sorted(found.values(), key=lambda q: (numbers[q.stage], depth[q.full_name], q.name))
    )


def _depths(graph: TopologicalSorter[str], found: dict[str, Query]) -> dict[str, int]:
    depth: dict[str, int] = {}
    for name in graph.static_order():
        depth[name] = 1 + max((depth[r] for r in found[name].reads if r in depth), default=0)
    return depth


def _stage_folders(folder: Path) -> list[tuple[str, Path]]:
    matched = [(_FOLDER.fullmatch(path.name), path) for path in folder.iterdir() if path.is_dir()]
    numbered = sorted((int(match[1]), match[2], path) for match, path in matched if match)
    return [(stage, path) for _, stage, path in numbered]


def parse(path: Path, stage: str) -> Query:
    """Read a file and its header; DataError naming the file and the line that does not fit."""
    text = path.read_text(encoding="utf-8")
    sections = _sections(path, text)
    return Query(
        stage=stage,
        name=sections["name"][0],
        purpose=" ".join(sections["purpose"]),
        grain=_names(sections["grain"]),
        reads=_names(sections["reads"]),
        params=tuple(
            column._replace(name=column.name.removeprefix("$"))
            for column in _columns(path, sections["params"])
        ),
        yields=tuple(_columns(path, sections["yields"])),
        source=" ".join(line.strip() for line in sections["source"]),
        text=text,
    )


def _sections(path: Path, text: str) -> dict[str, list[str]]:
    """Header lines by section; a line without a key continues the section above it."""
    sections: dict[str, list[str]] = {
        key: [] for key in ("name", "purpose", "grain", "reads", "params", "yields", "source")
    }
    current = ""
    for line in text.splitlines():
        if not line.startswith("--"):
            break
        if match := _KEY.fullmatch(line):
            current = match[1]
            sections[current].append(match[2])
        elif not current and (match := _TITLE.fullmatch(line)):
            current = "purpose"
            sections["name"].append(match[1])
            sections["purpose"].append(match[2].strip())
        elif current:
            kept = line if current in ("params", "yields") else line.removeprefix("--").strip()
            sections[current].append(kept)
    for key in ("name", "grain", "yields"):
        if not sections[key]:
            raise DataError(f"{path.name}: its header has no {key}", f"see {path}")
    return sections


def _names(lines: list[str]) -> tuple[str, ...]:
    """Comma-separated names; none for ``none`` and for prose such as ``one row``."""
    joined = " ".join(line for line in lines if line).strip().rstrip(",")
    if joined == "none" or not _NAMES.fullmatch(joined):
        return ()
    return tuple(name.strip() for name in joined.split(","))


def _columns(path: Path, lines: list[str]) -> Iterator[Column]:
    pending: Column | None = None
    for line in lines:
        if line in ("", "none"):
            continue
        if match := _COLUMN.fullmatch(line):
            if pending:
                yield pending
            pending = Column(match[1], match[2], match[3] or "")
        elif pending and line.startswith("--    "):
            more = line.removeprefix("--").strip()
            pending = pending._replace(text=f"{pending.text} {more}".strip())
        else:
            raise DataError(f"{path.name}: header line {line!r} is not NAME TYPE text")
    if pending:
        yield pending
