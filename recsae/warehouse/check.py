"""What is wrong with a warehouse: files and tables that are missing, damaged or do not agree.

Nothing is changed. The database is read first and closed again, since nobody can write while it is
open; the files, which take longer, are read after that.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np

from recsae.errors import RecsaeError
from recsae.warehouse import statements
from recsae.warehouse.checksums import (
    OUTSIDE,
    RECORD,
    measure,
    misplaced,
    parquet_path,
    results_in,
    run_path,
)
from recsae.warehouse.connection import (
    DamagedDatabase,
    connect,
    first_line,
    is_damage,
    is_shortage,
)
from recsae.warehouse.files import DATABASE, is_locked, is_safe
from recsae.warehouse.marks import LINK, REPLACE_LINK, link_to, links_in
from recsae.warehouse.publish import KINDS, kinds_of, needed_kinds
from recsae.warehouse.record import record_problem
from recsae.warehouse.runs import LABELLED, STORED, Run
from recsae.warehouse.store import DATASET_TABLES, Warehouse

GROUPS = "confidence.concept_groups"
"""Has rows where a latent is interpretable, unless an earlier version verified the run."""

LABELS = "concepts.labels"
"""Has as many rows as were counted when they were made."""

MAY_BE_EMPTY = ("concepts.concept_tags", "concepts.example_items", "confidence.verification")

FILES = {
    "recommender": ("model.safetensors", "vectors.npy", "items.npy"),
    "sae": ("sae/model.safetensors", "sae/config.json"),
}
"""Files that the training of each kind of run leaves in the run's folder."""


UNSAFE = "has a run whose id cannot be the name of a folder"
CIRCULAR = "has a run that is built on itself"
BY_HAND = {
    LINK: REPLACE_LINK,
    OUTSIDE: "do not trust this warehouse, or delete the row of raw.files",
    UNSAFE: "do not trust this warehouse, or delete the row of raw.runs",
    CIRCULAR: "do not trust this warehouse, or delete the row of raw.runs",
}
"""What is wrong with a warehouse that recsae alone has not written -> what to do about it."""


class Problem(NamedTuple):
    """One thing that is wrong."""

    run_id: str | None
    """None: it belongs to no run."""
    stage: str | None
    """None: it belongs to no stage; of a run its record alone."""
    place: str
    """File below the warehouse folder, or relation."""
    what: str

    @property
    def by_hand(self) -> str | None:
        """What the user has to do, where recsae must not touch it; None: repair sees to it."""
        return BY_HAND.get(self.what)


@dataclass
class Found:
    """What a check saw."""

    runs: list[str] = field(default_factory=list)
    """Ids of the runs that were checked."""
    n_files: int = 0
    n_bytes: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """What could not be checked, and why."""


@dataclass(frozen=True)
class _Stage:
    """A stage that is done, and all that the database knows about its files."""

    run: Run
    name: str
    files: dict[str, tuple[int, str]]
    """Path below the warehouse -> bytes, SHA-256; empty when none were registered."""
    n_activations: int | None
    """Rows that the stage counted when it wrote them."""


def check(root: Path, ref: str | None = None, *, quick: bool = False) -> Found:
    """Check a warehouse, or one run with those that it is built on.

    ``quick`` compares sizes alone instead of reading all files and tables. A run in use by another
    process is left out. Errors: as ``Warehouse.open``, except that a damaged database is a problem.
    """
    found = Found()
    stages: list[_Stage] = []
    found.problems += _links(root.resolve())
    if any(problem.place.startswith(DATABASE) for problem in found.problems):
        return found  # it is not opened then
    try:
        with Warehouse.open(root, read_only=True) as warehouse:
            if not quick:
                found.problems += damaged_tables(warehouse)
            found.problems += _unsafe_ids(warehouse)
            if not any(_is_books(problem) for problem in found.problems):
                stages = _check_books(warehouse, _chosen(warehouse, ref), found)
    except DamagedDatabase as error:
        found.problems.append(Problem(None, None, DATABASE, f"is damaged: {error.reason}"))
    except duckdb.Error as error:
        if not is_damage(error):
            raise
        found.problems.append(Problem(None, None, DATABASE, f"is damaged: {first_line(error)}"))
    for stage in stages:
        _check_files(root.resolve(), stage, found, quick=quick)
    return found


def _is_books(problem: Problem) -> bool:
    """Whether a table is damaged without which nothing else can be judged."""
    books = ("raw.runs", "raw.stages", "raw.files", "raw.datasets", DATABASE)
    return problem.place in books and not problem.by_hand


def _links(root: Path) -> list[Problem]:
    """Links where recsae has its files; it makes none, and goes through none."""
    tops = sorted(path.name for path in root.glob(f"{DATABASE}*"))
    places = [link for top in (*tops, "runs", *KINDS, "tmp") for link in links_in(root, top)]
    return [Problem(None, None, place, LINK) for place in places]


def _unsafe_ids(warehouse: Warehouse) -> Iterator[Problem]:
    """Runs with ids that recsae does not give; they are left out of all that follows."""
    if not warehouse.sql("from raw.runs").height:
        return
    rows = warehouse.sql("select run_id, parent_run_id from raw.runs order by all").rows()
    parents = dict(rows)
    for run_id, parent in rows:
        if not all(is_safe(one) for one in (run_id, parent) if one is not None):
            yield Problem(None, None, "raw.runs", UNSAFE)
        elif run_id in ancestors(run_id, parents):
            yield Problem(None, None, "raw.runs", CIRCULAR)


def ancestors(run_id: str, parents: Mapping[str, str | None]) -> list[str]:
    """The runs that one is built on, nearest first; one built on itself is among them."""
    found: list[str] = []
    parent = parents.get(run_id)
    while parent is not None and parent not in found:
        found.append(parent)
        parent = parents.get(parent)
    return found


def _chosen(warehouse: Warehouse, ref: str | None) -> list[Run]:
    """All runs, or the one that is meant and its ancestors; ancestors first."""
    rows = warehouse.sql("select run_id, parent_run_id from raw.runs order by started, run_id")
    parents = dict(rows.rows())
    if ref is None:
        ids = list(parents)
    else:
        run_id = warehouse.find_run(ref).run_id
        ids = [*reversed(ancestors(run_id, parents)), run_id]
    return [warehouse.run(run_id) for run_id in ids if _is_plain(run_id, parents)]


def _is_plain(run_id: str, parents: Mapping[str, str | None]) -> bool:
    """Whether a run and those that it is built on have names that recsae gives."""
    family = [run_id, *ancestors(run_id, parents)]
    return run_id not in family[1:] and all(map(is_safe, family))


# -- the database ---------------------------------------------------------------------------------


def damaged_tables(warehouse: Warehouse) -> list[Problem]:
    """Tables that cannot be read to the last row."""
    problems = []
    for table in stored_tables(warehouse):
        try:
            warehouse.probe(f"select bit_xor(hash(t)) as x from {statements.name(table)} as t")
        except duckdb.Error as error:
            if is_shortage(error):
                raise
            problems.append(Problem(None, None, table, f"is damaged: {first_line(error)}"))
            if isinstance(error, duckdb.FatalException | duckdb.InternalException):
                # nothing can be read after that
                problems.append(Problem(None, None, DATABASE, "is damaged"))
                break
    return problems


def stored_tables(warehouse: Warehouse) -> list[str]:
    """``schema.name`` of all tables in the database file."""
    return warehouse.sql(
        "select schema_name || '.' || table_name as name from duckdb_tables() "
        "where database_name in ('stored', current_database()) and not internal order by name"
    )["name"].to_list()


def readable_tables(root: Path) -> tuple[list[str], list[str]]:
    """Tables of a database that can be read in full, and those that cannot.

    The database itself is among the latter when it cannot be opened.
    """
    try:
        with Warehouse.open(root, read_only=True) as warehouse:
            damaged = [problem.place for problem in damaged_tables(warehouse)]
            return [t for t in stored_tables(warehouse) if t not in damaged], damaged
    except DamagedDatabase:
        return [], [DATABASE]
    except duckdb.Error as error:
        if not is_damage(error):
            raise
        return [], [DATABASE]


def _check_books(warehouse: Warehouse, runs: Sequence[Run], found: Found) -> list[_Stage]:
    """Check what the database says about the runs; the stages whose files are to be checked."""
    found.problems += datasets_problems(warehouse, {run.dataset for run in runs})
    stages: list[_Stage] = []
    for run in runs:
        states = warehouse.sql(
            "select stage, status from raw.stages where run_id = $r", {"r": run.run_id}
        )
        status = dict(states.rows())
        if "running" in status.values() or run.status == "running":
            if is_locked(warehouse.root, run.run_id):
                found.notes.append(f"{run.run_id} is in use by another process and not checked")
                continue
            found.problems += [
                Problem(run.run_id, stage, "raw.stages", f"stage {stage} was stopped half-way")
                for stage, now in status.items()
                if now == "running"
            ]
        found.problems += [
            Problem(run.run_id, stage, "raw.stages", f"stage {stage} was stopped half-way")
            for stage in warehouse.noted_stages(run.run_id)
            if status.get(stage) != "running"
        ]
        found.runs.append(run.run_id)
        done = [stage for stage, now in status.items() if now == "done"]
        found.problems += _run_rows(warehouse, run, done)
        what = record_problem(warehouse, run.run_id) if done else None
        if what and what != LINK:  # that has been named
            place = f"{run_path(run.run_id)}/{RECORD}"
            found.problems.append(Problem(run.run_id, None, place, what))
        known = [_stage(warehouse, run, stage) for stage in done]
        if any(not stage.files and _has_files(stage) for stage in known):
            found.notes.append(f"{run.run_id} is of a version that registered no checksums")
        stages += known
    return stages


def _has_files(stage: _Stage) -> bool:
    return stage.name == "train" or bool(needed_kinds(stage.name, stage.run.kind))


def _stage(warehouse: Warehouse, run: Run, stage: str) -> _Stage:
    files = warehouse.sql(
        "select path, bytes, sha256 from raw.files where run_id = $r and stage = $s",
        {"r": run.run_id, "s": stage},
    )
    counted = warehouse.sql(
        "select value from raw.metrics where run_id = $r and metric = 'activations'",
        {"r": run.run_id},
    )["value"].to_list()
    known = {path: (size, digest) for path, size, digest in files.rows()}
    return _Stage(run, stage, known, int(counted[0]) if counted else None)


def datasets_problems(warehouse: Warehouse, names: set[str]) -> Iterator[Problem]:
    """Data sets of which rows are gone."""
    for name in sorted(names):
        row = warehouse.sql("from raw.datasets where dataset = $d", {"d": name}).to_dicts()
        if not row:
            yield Problem(None, None, "raw.datasets", f"data set {name} is not there")
        for table in DATASET_TABLES if row else ():
            expected = row[0].get(f"n_{table}")
            count = _count(warehouse, f"raw.{table}", dataset=name)
            if None not in (expected, count) and count != expected:
                what = f"has {count} rows of data set {name}, not {expected}"
                yield Problem(None, None, f"raw.{table}", what)


def _run_rows(warehouse: Warehouse, run: Run, done: list[str]) -> Iterator[Problem]:
    """Rows that a run with these finished stages must have."""
    if run.status == "done" and "train" not in done:
        yield Problem(run.run_id, "train", "raw.stages", "the run is done, but not its training")
    known = warehouse.sql("select run_id from raw.runs")["run_id"].to_list()
    if run.parent_run_id and run.parent_run_id not in known:
        what = f"run {run.parent_run_id} that it is built on is not there"
        yield Problem(run.run_id, "train", "raw.runs", what)
    for stage in (one for one in STORED if one in done and run.kind == "sae"):
        for table in STORED[stage]:
            if table == GROUPS:
                if _lacks_groups(warehouse, run.run_id):
                    yield Problem(run.run_id, stage, table, "has no rows of the run")
            elif not warehouse.exists(table):
                yield Problem(run.run_id, stage, table, "is missing")
            elif table == LABELS:
                yield from _labels(warehouse, run)
            elif table in MAY_BE_EMPTY:
                continue
            elif _count(warehouse, table, run_id=run.run_id) == 0:
                yield Problem(run.run_id, stage, table, "has no rows of the run")


def _labels(warehouse: Warehouse, run: Run) -> Iterator[Problem]:
    """Labels that are gone; a data set without tags has none from the start."""
    n = _count(warehouse, LABELS, run_id=run.run_id)
    counted = warehouse.sql(
        "select value from raw.metrics where run_id = $r and metric = $m",
        {"r": run.run_id, "m": LABELLED},
    )["value"].to_list()
    if n is not None and counted and n != counted[0]:
        what = f"has {n} rows of the run, not {counted[0]:.0f}"
        yield Problem(run.run_id, "concepts", LABELS, what)
    if n == 0 and not counted and _count(warehouse, "raw.item_tags", dataset=run.dataset):
        yield Problem(run.run_id, "concepts", LABELS, "has no rows of the run")


def _lacks_groups(warehouse: Warehouse, run_id: str) -> bool:
    """Whether a run has interpretable latents and no groups of them."""
    if not warehouse.exists("confidence.scores"):
        return False
    n = _count(warehouse, "confidence.scores", run_id=run_id, status="interpretable")
    # a table that cannot be read has been named already
    there = warehouse.exists(GROUPS)
    return bool(n) and (not there or _count(warehouse, GROUPS, run_id=run_id) == 0)


def _count(warehouse: Warehouse, table: str, **values: str) -> int | None:
    """Rows of a table with these values; None when it cannot be read, which has been said."""
    where = " and ".join(f"{column} = ${column}" for column in values)
    query = f"select count(*) from {statements.name(table)} where {where}"
    try:
        return int(warehouse.probe(query, values).item())
    except duckdb.Error as error:
        if is_damage(error):
            return None
        raise


# -- files ----------------------------------------------------------------------------------------


def _check_files(root: Path, stage: _Stage, found: Found, *, quick: bool) -> None:
    """Add what is wrong with the files of a stage."""

    def wrong(place: str, what: str) -> None:
        found.problems.append(Problem(stage.run.run_id, stage.name, place, what))

    for place, (size, digest) in stage.files.items():
        found.n_files += 1
        if what := misplaced(stage.run.run_id, place, KINDS):
            wrong(place, what)
            continue
        if link_to(root, place):
            continue  # it has been named
        found.n_bytes += size
        if what := file_problem(root / place, size, None if quick else digest):
            wrong(place, what)
    for kind in kinds_of(stage.name, stage.run.kind):
        if stage.files or kind in needed_kinds(stage.name, stage.run.kind):
            _check_parquet(root, kind, stage, wrong, quick=quick)
    if stage.name == "train" and not stage.files:
        _check_run_folder(root, stage.run, wrong)


def file_problem(path: Path, size: int, digest: str | None) -> str | None:
    """What is wrong with a file that had ``size`` bytes and this SHA-256 (None: not compared)."""
    try:
        if path.stat().st_size != size:
            return f"has {path.stat().st_size} bytes, not {size}"
        if digest is not None and measure(path)[1] != digest:
            return "is not as it was written: its checksum is another one"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None


def _check_parquet(
    root: Path, kind: str, stage: _Stage, wrong: Callable[[str, str], None], *, quick: bool
) -> None:
    """Parquet of a stage: nothing but its own files, each readable, with as many rows as counted.

    What is wrong with a file that has a checksum has been said already.
    """
    place = parquet_path(kind, stage.run.run_id)
    there = list(results_in(root / place, place))
    if link_to(root, place):
        return
    if not there and not stage.files:
        wrong(f"{place}/part-0.parquet", "is missing")
    for name, _ in there:
        if stage.files and name not in stage.files:
            wrong(name, "was not written by the stage")
    if stage.files or not there:
        return
    rows: int | None = 0
    for name, path in there:
        problem, n = _read_parquet(root, path, quick=quick)
        rows = None if n is None or rows is None else rows + n
        if problem:
            wrong(name, problem)
    if kind == "activations" and rows not in (None, stage.n_activations):
        wrong(place, f"has {rows} rows, not {stage.n_activations}")


def _read_parquet(root: Path, path: Path, *, quick: bool) -> tuple[str | None, int | None]:
    """What is wrong with a Parquet file, and its rows; every value is read unless ``quick``."""
    file = statements.literal(statements.glob_escape(path))
    read = "" if quick else ", bit_xor(hash(t)) as x"
    try:
        with connect(None, root, read_only=False, wait=0) as connection:
            query = f"select count(*) as n{read} from read_parquet({file}) as t"
            row = connection.execute(query).fetchone()
    except (duckdb.Error, RecsaeError) as error:
        if is_shortage(error):
            raise
        return f"is damaged: {first_line(error)}", None
    return None, int(row[0]) if row else None


def _check_run_folder(root: Path, run: Run, wrong: Callable[[str, str], None]) -> None:
    """Files of a run without checksums: there, and with a vector for each case."""
    place = run_path(run.run_id)
    if any(links_in(root, place)):
        return
    for name in FILES[run.kind]:
        if not (root / place / name).is_file():
            wrong(f"{place}/{name}", "is missing")
    vectors = root / place / "vectors.npy"
    if run.kind != "recommender" or not vectors.is_file():
        return
    try:
        n = np.lib.format.open_memmap(vectors, mode="r").shape[0]
    except Exception as error:  # numpy reads the header as Python text, which may fail in any way
        return wrong(f"{place}/vectors.npy", f"is damaged: {first_line(error)}")
    cases = results_in(root / parquet_path("cases", run.run_id), "")
    rows = [_read_parquet(root, path, quick=True)[1] for _, path in cases]
    n_cases = None if None in rows else sum(filter(None, rows))
    if rows and n_cases not in (None, n):
        wrong(f"{place}/vectors.npy", f"has {n} vectors, but there are {n_cases} cases")
