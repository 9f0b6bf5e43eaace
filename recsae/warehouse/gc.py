"""Delete runs and leftovers, so that a kill in the middle or a stage at work loses nothing else.

Rows go first, in one transaction that also notes whose folders are to follow; these are renamed
into a temporary folder and removed. After a kill the next collection reads the note and goes on.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

from recsae.errors import DataError
from recsae.warehouse import statements
from recsae.warehouse.checksums import parquet_path, run_path
from recsae.warehouse.files import is_locked, is_safe, run_lock, safe_name, temp_folder
from recsae.warehouse.marks import (
    PARQUET_FILES,
    RUN_FILES,
    adopt,
    is_bare,
    is_folder,
    is_marked,
    link_to,
    require_own,
    strangers,
)
from recsae.warehouse.publish import KINDS, kinds_of, refresh_views
from recsae.warehouse.runs import Run
from recsae.warehouse.store import GOING, Warehouse

HOUR = 3600.0
SPILLED = "duckdb_temp_*"
UNFINISHED = "*.partial"
CHECKPOINT = "checkpoint.pt"


@dataclass
class Garbage:
    """What goes, or has gone."""

    runs: list[str] = field(default_factory=list)
    """Ids of runs: those that are built on the one meant, and it at the end."""
    paths: dict[Path, int] = field(default_factory=dict)
    """Files and folders with their sizes in bytes."""

    @property
    def n_bytes(self) -> int:
        return sum(self.paths.values())


# -- whole runs -----------------------------------------------------------------------------------


def run_garbage(warehouse: Warehouse, ref: str) -> Garbage:
    """What goes with a run: itself and every run built on it."""
    run = warehouse.find_run(ref)
    runs = [*reversed(warehouse.built_on(run.run_id)), run.run_id]
    paths = [path for run_id in runs for path in _known_folders(warehouse.root, run_id)]
    return Garbage(runs, {path: size(path) for path in paths})


def delete_runs(root: Path, garbage: Garbage) -> None:
    """Delete the runs of ``run_garbage``; DataError when another process works on one of them.

    Also when a run was built on one of them in the meantime.
    """
    with ExitStack() as locks:
        for run_id in garbage.runs:
            locks.enter_context(run_lock(root, run_id))
        with Warehouse.open(root) as warehouse:
            _refuse_new(warehouse, garbage.runs)
            for run_id in garbage.runs:  # as long as it is known that they are recsae's
                for path in _known_folders(warehouse.root, run_id):
                    adopt(warehouse.root, path.relative_to(warehouse.root).as_posix())
            with warehouse.transaction():
                _delete_rows(warehouse, garbage.runs)
        _remove_folders(root, garbage.runs)


def _refuse_new(warehouse: Warehouse, runs: list[str]) -> None:
    for run_id in runs:
        if new := set(warehouse.built_on(run_id)) - set(runs):
            raise DataError(f"run {min(new)!r} was built on {run_id!r} just now", "repeat it")


def _delete_rows(warehouse: Warehouse, runs: list[str]) -> None:
    """Every row of these runs, in every table that has run ids."""
    tables = warehouse.sql(
        "select schema_name || '.' || table_name as name from duckdb_columns() "
        "join duckdb_tables() using (database_name, schema_name, table_name) "
        "where column_name = 'run_id' and database_name = current_database() order by name"
    )["name"]
    for table in tables:
        warehouse.execute(
            f"delete from {statements.name(table)} where list_contains($runs, run_id)",
            {"runs": runs},
        )
    for run_id in runs:
        note = {"key": f"{GOING}{run_id}", "now": str(time.time())}
        warehouse.note_stages(run_id, {})
        warehouse.execute("delete from raw.meta where key = $key", {"key": note["key"]})
        warehouse.execute("insert into raw.meta values ($key, $now)", note)
    warehouse.drop_unused_versions()
    refresh_views(warehouse)


def _remove_folders(root: Path, runs: list[str]) -> None:
    """Remove the folders of runs that have no rows any more, then the notes about them."""
    for run_id in runs:
        for path in _folders(root.resolve(), run_id):
            _discard(root, run_id, path)
    with Warehouse.open(root) as warehouse:
        keys = [f"{GOING}{run_id}" for run_id in runs]
        warehouse.execute("delete from raw.meta where list_contains($keys, key)", {"keys": keys})


def _discard(root: Path, run_id: str, path: Path) -> None:
    """Move a file or folder out of sight at once, then remove it."""
    with temp_folder(root, run_id) as temp, suppress(FileNotFoundError):
        path.rename(temp / path.name)


def _folders(root: Path, run_id: str) -> list[Path]:
    """The folders of a run that are there, as far as recsae made them and all that is in them."""
    return [root / place for place in _places(run_id) if _is_own(root, place)]


def _known_folders(root: Path, run_id: str) -> list[Path]:
    """The folders of a registered run; DataError where one holds what recsae did not write."""
    places = [place for place in _places(run_id) if os.path.lexists(root / place)]
    for place in places:
        require_own(root, place, _own(place), known=True)
    return [root / place for place in places]


def _places(run_id: str) -> list[str]:
    """The folders that a run may have, below the warehouse."""
    safe = safe_name("run id", run_id)
    return [run_path(safe), *(parquet_path(kind, safe) for kind in KINDS)]


def _own(place: str) -> re.Pattern[str]:
    """How recsae names what it writes into a folder of a run."""
    return RUN_FILES if place.startswith("runs/") else PARQUET_FILES


def _is_own(root: Path, place: str, *, known: bool = False) -> bool:
    """Whether recsae made a folder, as is known or marked, and all in it; no link leads there."""
    if link_to(root, place) or not is_folder(root / place):
        return False
    made = known or is_marked(root / place, place) or is_bare(root / place, place)
    return made and not strangers(root / place, _own(place))


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    total = 0
    for file in files:
        with suppress(OSError):
            total += file.lstat().st_size if not file.is_dir() else 0
    return total


# -- leftovers ------------------------------------------------------------------------------------


def leftovers(warehouse: Warehouse, age: float = HOUR) -> Garbage:
    """What no run needs: half-written files, folders without a run, spilled and temporary data.

    Younger than ``age`` seconds, or of a run that a process works on: not a leftover. Checkpoints
    of a training that did not end are kept, since it goes on from them.
    """
    root = warehouse.root
    paths = [*_temporary(root), *_of_runs(warehouse), *_strangers(warehouse)]
    oldest = time.time() - age
    ripe = [path for path in dict.fromkeys(paths) if _last_change(path) <= oldest]
    finishing = [path for run_id in _going(warehouse) for path in _folders(root, run_id)]
    return Garbage([], {path: size(path) for path in dict.fromkeys([*finishing, *ripe])})


def delete_leftovers(root: Path, age: float = HOUR) -> Garbage:
    """Delete the leftovers of this moment, and finish a deletion that was stopped half-way."""
    with Warehouse.open(root) as warehouse:
        going, found = _going(warehouse), leftovers(warehouse, age)
    _remove_folders(root, going)
    for path in found.paths:
        if path.exists():
            _discard_leftover(root.resolve(), path)
    return found


def _discard_leftover(root: Path, path: Path) -> None:
    """Under the lock of its run, so that no stage begins to use it meanwhile."""
    run_id = _run_of(root, path)
    with suppress(DataError), ExitStack() as locks:
        if run_id is not None:
            locks.enter_context(run_lock(root, run_id))
        _discard(root, run_id or "leftover", path)


def _run_of(root: Path, path: Path) -> str | None:
    """Run that a path below the warehouse belongs to; None for temporary data."""
    kind, name, *_ = path.relative_to(root).parts
    return None if kind == "tmp" else name.removeprefix("run_id=")


def _temporary(root: Path) -> Iterator[Path]:
    """Spilled data; temporary folders of dead processes go whenever a warehouse is opened."""
    if link_to(root, "tmp/spill") is None:
        yield from (path for path in (root / "tmp" / "spill").glob(SPILLED) if is_file(path))


def _of_runs(warehouse: Warehouse) -> Iterator[Path]:
    """Files of known runs that nothing will read."""
    for run in _idle_runs(warehouse):
        folder = warehouse.root / run_path(run.run_id)
        if link_to(warehouse.root, run_path(run.run_id)) is None:
            yield from (p for p in folder.rglob(UNFINISHED) if _is_unfinished(folder, p))
        done = warehouse.sql(
            "select stage from raw.stages where run_id = $r and status = 'done'", {"r": run.run_id}
        )["stage"].to_list()
        if "train" in done:
            yield from (path for path in folder.glob(CHECKPOINT) if is_file(path))
        published = {kind for stage in done for kind in kinds_of(stage, run.kind)}
        for kind in set(KINDS) - published:
            place = parquet_path(kind, run.run_id)
            if _is_own(warehouse.root, place, known=True):
                yield warehouse.root / place


def _idle_runs(warehouse: Warehouse) -> Iterator[Run]:
    """Runs that no process holds."""
    for run_id in warehouse.sql("select run_id from raw.runs order by run_id")["run_id"]:
        if is_safe(run_id) and not is_locked(warehouse.root, run_id):
            yield warehouse.run(run_id)


def _is_unfinished(folder: Path, path: Path) -> bool:
    """Whether a half-written file, or the folder of one, is named as recsae names them."""
    name = path.relative_to(folder).as_posix()
    if is_folder(path):
        inside = [f"{name}/{one}" for one in strangers(path, re.compile(""))]
        return all(map(RUN_FILES.fullmatch, inside))
    return is_file(path) and RUN_FILES.fullmatch(name) is not None


def is_file(path: Path) -> bool:
    """Whether there is a file indeed, not a link to one."""
    return path.is_file() and not path.is_symlink()


def _strangers(warehouse: Warehouse) -> Iterator[Path]:
    """Folders of runs that are not registered, as far as recsae made them."""
    known = set(warehouse.sql("select run_id from raw.runs")["run_id"])
    root = warehouse.root
    found = [(path.name, path) for path in (root / "runs").glob("*")]
    for kind in KINDS:
        found += [
            (path.name.removeprefix("run_id="), path) for path in (root / kind).glob("run_id=*")
        ]
    for run_id, path in sorted(found):
        is_free = run_id not in known and is_safe(run_id) and not is_locked(root, run_id)
        if is_free and _is_own(root, path.relative_to(root).as_posix()):
            yield path


def _going(warehouse: Warehouse) -> list[str]:
    """Runs whose deletion was stopped before their folders were gone, and not made again since."""
    noted = warehouse.sql(
        "select key from raw.meta where starts_with(key, $going) order by key", {"going": GOING}
    )["key"]
    known = set(warehouse.sql("select run_id from raw.runs")["run_id"])
    runs = {key.removeprefix(GOING) for key in noted} - known
    free = (run_id for run_id in runs if is_safe(run_id))
    return sorted(run_id for run_id in free if not is_locked(warehouse.root, run_id))


def _last_change(path: Path) -> float:
    """When anything in a folder was last written, in seconds since 1970."""
    times = []
    for file in (path, *path.rglob("*")):
        with suppress(OSError):
            times.append(file.lstat().st_mtime)
    return max(times, default=0.0)
