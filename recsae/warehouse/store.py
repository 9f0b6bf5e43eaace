"""The warehouse: one DuckDB file and the Parquet folders beside it.

Only one process can have the file open for writing, and then no other can even read it, so stages
open it for writing for moments: register, work with it closed, publish.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl

from recsae.errors import DataError, MissingStageError, UsageError
from recsae.progress import tell
from recsae.warehouse import door, migrations, publish, statements
from recsae.warehouse.catalog import added_columns, stored_columns
from recsae.warehouse.checksums import RECORD, parquet_path, run_path
from recsae.warehouse.connection import connect, open_error
from recsae.warehouse.files import (
    DATABASE,
    TEMPORARY,
    clean_leftovers,
    is_safe,
    only_temporary,
    safe_name,
    temp_folder,
)
from recsae.warehouse.marks import adopt, is_marked, refuse_link
from recsae.warehouse.record import read_record
from recsae.warehouse.runs import (
    VERSION_MARK,
    RunKind,
    Runs,
    dataset_name,
    dataset_version,
)
from recsae.warehouse.session import Session, Trace
from recsae.warehouse.sql import RAW, REPORT, SUMMARIES, VIEWS, Query, load, queries, stages
from recsae.warehouse.views import refresh_people_views

WAIT = 20.0
"""Seconds to wait for another process that has the database open."""

STAGE_COMMAND = {
    "staging": "recsae concepts",
    "concepts": "recsae concepts",
    "confidence": "recsae confidence",
}
"""Command that builds the relations of a schema."""

GOING = "removing "
"""Key in raw.meta, before a run id, of folders that are still to be removed."""

DATASET_TABLES = ("users", "items", "item_tags", "interactions")


class Warehouse(Runs):
    """Everything a stage needs of the warehouse. Open it with ``Warehouse.open``."""

    _is_mirror = False

    @classmethod
    @contextmanager
    def open(
        cls,
        root: Path,
        *,
        read_only: bool = False,
        create: bool = False,
        wait: float = WAIT,
        trace: Trace | None = None,
    ) -> Iterator[Self]:
        """Open the warehouse folder ``root`` for the length of a with block.

        Missing and not ``create``: MissingStageError. In use by another process after ``wait``
        seconds, damaged, or newer than this program: DataError. A read-only open changes no file
        and refuses an older layout; any other brings it up to date.
        """
        warehouse = cls._opened(root, read_only=read_only, create=create, wait=wait, trace=trace)
        try:
            yield warehouse
        finally:
            warehouse.close()

    @classmethod
    def _opened(
        cls, root: Path, *, read_only: bool, create: bool, wait: float, trace: Trace | None
    ) -> Self:
        root = root.resolve()
        path = root / DATABASE
        check_path(root)
        _refuse_links(root, read_only=read_only)
        try:
            if create and not read_only:
                root.mkdir(parents=True, exist_ok=True)
                _create_database(root)
            elif not path.exists():
                raise _missing(root)
        except OSError as error:
            raise open_error(error, root, read_only=read_only) from None
        connection = connect(path, root, read_only=read_only, wait=wait)
        warehouse = cls(connection, root, read_only=read_only, trace=trace)
        try:
            warehouse._prepare(create=create)
            if read_only and not warehouse._is_current():
                warehouse._mirror(path, wait)
        except BaseException as error:
            warehouse.close()
            if isinstance(error, duckdb.Error | OSError):
                raise open_error(error, root, read_only=read_only) from None
            raise
        return warehouse

    def _prepare(self, *, create: bool) -> None:
        """Check the layout; when writing, bring tables, comments and views up to date."""
        if self.exists("raw.meta"):
            self._check_version()
        elif self.sql("select 1 from information_schema.tables limit 1").height:
            raise DataError(f"{self.root / DATABASE} is not a warehouse of recsae")
        elif self.read_only or not create:
            raise _missing(self.root)
        if not self.read_only:
            self._update_layout()
            clean_leftovers(self.root)

    def _check_version(self) -> None:
        """DataError for a layout that this program does not know, or has to change to read."""
        version, known = self._meta("schema_version") or "none", migrations.latest()
        about = f"the warehouse {self.root} has layout version {version}"
        if not version.isdigit() or int(version) > known:
            raise DataError(f"{about}; this program knows {known}", "install a newer recsae")
        if self.read_only and int(version) < known:
            raise DataError(
                f"{about}; this program reads {known}",
                f"recsae schema --upgrade --warehouse {self.root}",
            )

    def _is_current(self) -> bool:
        """Whether views and comments are those of this program and of the present folder."""
        return self._meta("headers") == _headers() and self._meta("root") == str(self.root)

    def _update_layout(self) -> None:
        """Migrate, then create what is missing; nothing to do when all is as last time."""
        known, latest = self.exists("raw.meta"), migrations.latest()
        version = int(self._meta("schema_version") or latest) if known else latest
        if known and version == latest and self._is_current() and self._meta("marked"):
            return
        with self.transaction():
            migrations.migrate(self, version)
            for stage in stages():
                self.execute(f"create schema if not exists {statements.name(stage)}")
            for query in queries(RAW):
                self.execute(query.text)
            self._add_columns()
            publish.refresh_views(self)
            self._comment("table")
            refresh_people_views(self)
            self._set_meta("schema_version", str(latest))
            self._set_meta("headers", _headers())
            self._set_meta("root", str(self.root))
            self._mark_folders()
            self._set_meta("marked", "1")

    def _mark_folders(self) -> None:
        """Mark what an earlier version made of the runs that are known, or are being deleted."""
        ids = self.sql(
            "select run_id from raw.runs union "
            "select substr(key, length($going) + 1) from raw.meta where starts_with(key, $going)",
            {"going": GOING},
        )["run_id"]
        known = {run_id for run_id in ids if is_safe(run_id)}
        places = [run_path(run_id) for run_id in known]
        places += [parquet_path(kind, run_id) for run_id in known for kind in publish.KINDS]
        for lock in (self.root / "tmp").glob("*.lock"):
            named = TEMPORARY.fullmatch(lock.stem)
            if named and named[1] in {*known, "new", "repair", "leftover"}:
                places.append(f"tmp/{lock.stem}")
        for place in places:
            with suppress(OSError):  # of another user's, who may mark it
                adopt(self.root, place)

    def _add_columns(self) -> None:
        """Give the results of an earlier program the columns that are new, without values.

        The stage makes them again with values, because its queries have changed.
        """
        built = stored_columns(self)
        for query in queries():
            if query.stage not in (RAW, REPORT, SUMMARIES, VIEWS):
                for column in added_columns(query, built):
                    self.execute(statements.add_column(query, column))

    def _comment(self, kind: str) -> None:
        """COMMENT ON the stored relations that are as their headers say."""
        built = stored_columns(self)
        for query in queries():
            is_stored = query.stage != REPORT and not _is_view(query)
            if is_stored and built.get(query.full_name) == _columns(query):
                for statement in statements.comments(query, kind):
                    self.execute(statement)

    def _mirror(self, path: Path, wait: float) -> None:
        """Read a warehouse whose folder was moved or copied without changing it.

        The views inside it point to where it was, so a database in memory takes its place: its
        relations are views over the file's tables, and the Parquet views name the present folder.
        The same when the views were made by another version of the program.
        """
        self.close()
        self._connection = connect(None, self.root, read_only=False, wait=wait)
        self._is_mirror = True
        self.execute(f"attach {statements.literal(str(path))} as stored (read_only)")
        tables = self.sql(
            "select schema_name as schema, table_name as name from duckdb_tables() "
            "where database_name = 'stored' order by all"
        )
        for stage in stages():
            self.execute(f"create schema if not exists {statements.name(stage)}")
        for schema, table in tables.rows():
            relation = statements.name(f"{schema}.{table}")
            self.execute(f"create schema if not exists {statements.name(schema)}")
            self.execute(f"create view {relation} as from stored.{relation}")
        built = stored_columns(self)
        for query in queries():
            if new := added_columns(query, built):
                self.execute(statements.widened_view(query, new))
        for query in queries(RAW):
            if not self.exists(query.full_name):
                self.execute(query.text)
        publish.refresh_views(self)
        self._comment("view")
        refresh_people_views(self)

    def _meta(self, key: str) -> str | None:
        frame = self.sql("select value from raw.meta where key = $key", {"key": key})
        return str(frame.item()) if len(frame) else None

    def _set_meta(self, key: str, value: str) -> None:
        self.execute("delete from raw.meta where key = $key", {"key": key})
        self._insert_row("raw.meta", {"key": key, "value": value})

    # -- data sets ----------------------------------------------------------------------------

    def load_dataset(
        self,
        users: pl.DataFrame,
        items: pl.DataFrame,
        item_tags: pl.DataFrame,
        interactions: pl.DataFrame,
        info: Mapping[str, Any],
    ) -> bool:
        """Store a canonical data set under ``info['name']``; False when it is already there.

        The same fingerprint means the same content. Other content takes the name over; what had it
        is kept under ``dataset_version`` for as long as there is a run that was made from it, and
        such a run names that version, so it always joins the rows that it was made from.
        """
        dataset, fingerprint = safe_name("data set", str(info["name"])), str(info["fingerprint"])
        known = self.dataset_info(dataset)
        if known and known.get("fingerprint") == fingerprint:
            return False
        frames = dict(zip(DATASET_TABLES, (users, items, item_tags, interactions), strict=True))
        with self.transaction():
            if known:
                self._rename_dataset(dataset, dataset_version(dataset, str(known["fingerprint"])))
            if not self._rename_dataset(dataset_version(dataset, fingerprint), dataset):
                self._insert_dataset(dataset, frames, info)
            self._point_runs(dataset, fingerprint)
            self.drop_unused_versions()
        return True

    def _insert_dataset(
        self, dataset: str, frames: Mapping[str, pl.DataFrame], info: Mapping[str, Any]
    ) -> None:
        for table, frame in frames.items():
            self.insert(f"raw.{table}", frame.with_columns(dataset=pl.lit(dataset)))
            self.check(f"raw.{table}", dataset)
        counts = {f"n_{table}": len(frame) for table, frame in frames.items()}
        self._insert_row("raw.datasets", _dataset_row(dataset, info, counts))

    def _rename_dataset(self, dataset: str, name: str) -> bool:
        """Give the rows of a data set another name; whether there are any."""
        if self.dataset_info(dataset) is None:
            return False
        for table in (*DATASET_TABLES, "datasets"):
            self.execute(
                f"update raw.{table} set dataset = $name where dataset = $dataset",
                {"dataset": dataset, "name": name},
            )
        return True

    def _point_runs(self, name: str, fingerprint: str) -> None:
        """Have all runs on a data set name the version of it that they were made from."""
        for version, known in self.sql(
            "select distinct dataset, data_fingerprint from raw.runs order by all"
        ).rows():
            if dataset_name(version) == name:
                right = name if known == fingerprint else dataset_version(name, known)
                self.execute(
                    "update raw.runs set dataset = $right "
                    "where dataset = $version and data_fingerprint = $known and dataset <> $right",
                    {"right": right, "version": version, "known": known},
                )

    def drop_unused_versions(self) -> None:
        """Delete the replaced content of data sets that no run was made from any more."""
        unused = self.sql(
            "select dataset from raw.datasets where contains(dataset, $mark) "
            "and dataset not in (select dataset from raw.runs) order by dataset",
            {"mark": VERSION_MARK},
        )["dataset"]
        for version in unused:
            self.drop_dataset(version)

    def drop_dataset(self, version: str) -> None:
        """Delete every row of a data set, or of a version of it."""
        for table in (*DATASET_TABLES, "datasets"):
            self.execute(f"delete from raw.{table} where dataset = $version", {"version": version})

    def dataset_info(self, dataset: str) -> dict[str, Any] | None:
        """The ``dataset.json`` of a loaded data set; None when it is not loaded.

        ``dataset`` is as in raw.runs: a name, or the version of a name.
        """
        frame = self.sql("select info from raw.datasets where dataset = $d", {"d": dataset})
        return dict(json.loads(frame.item())) if len(frame) else None

    # -- stored relations ---------------------------------------------------------------------

    def build(self, relation: str, params: Mapping[str, object]) -> int:
        """Run the query of a relation and make its result this run's rows of the table.

        ``params`` are exactly those of the header, ``run_id`` among them. Returns the number of
        rows; DataError when they break the grain, and then nothing has changed.
        """
        query = load(relation)
        check_params(query, params)
        if query.grain[:1] != ("run_id",) or "run_id" not in params:
            raise DataError(f"{relation} cannot be stored: its grain does not start with run_id")
        self.require_relations(query)
        run_id = str(params["run_id"])
        with self.transaction():
            self._ensure_table(query)
            self.execute(
                f"delete from {statements.name(relation)} where run_id = $run_id",
                {"run_id": run_id},
            )
            self.execute(statements.insert_query(query), params)
            self.check(relation, run_id)
        count = f"select count(*) from {statements.name(relation)} where run_id = $run_id"
        return int(self.sql(count, {"run_id": run_id}).item())

    def replace_rows(self, relation: str, run_id: str, frame: pl.DataFrame) -> int:
        """Make ``frame`` this run's rows of a relation that a workspace built; returns how many.

        DataError when they break the grain of the header, and then nothing has changed.
        """
        query = load(relation)
        with self.transaction():
            if query.stage != RAW:
                self._ensure_table(query)
            self.execute(
                f"delete from {statements.name(relation)} where run_id = $run_id",
                {"run_id": run_id},
            )
            count = self.insert(relation, frame)
            self.check(relation, run_id)
        return count

    def build_stage(self, stage: str, params: Mapping[str, object]) -> dict[str, int]:
        """Build every relation of a stage in order, all or none; rows by relation.

        ``params`` is the union of their parameters; one that no query takes is a UsageError.
        """
        files = queries(stage)
        used = {param.name for query in files for param in query.params}
        if unused := sorted(set(params) - used):
            raise UsageError(f"no query of stage {stage} takes ${', $'.join(unused)}")
        with self.transaction():
            return {
                query.full_name: self.build(
                    query.full_name,
                    {p.name: params[p.name] for p in query.params if p.name in params},
                )
                for query in files
            }

    def query(self, name: str, params: Mapping[str, object] | None = None) -> pl.DataFrame:
        """The result of a named query, not stored."""
        query = load(name)
        check_params(query, params or {})
        self.require_relations(query)
        return self.sql(query.text, params)

    def read(
        self,
        asked: door.Statement,
        params: Mapping[str, object] | None = None,
        *,
        named: Query | None = None,
        limit: int | None = None,
        seconds: float | None = None,
    ) -> pl.DataFrame:
        """The result of SQL that does not come from recsae (or is ``named``): the one door for it.

        Parameters that are runs may be references (``door.with_runs``). At most ``limit`` rows, and
        a DataError after ``seconds``; also for what would do more than read, or reads a file that
        neither the warehouse has nor the query names.
        """
        given = dict(params or {})
        with self._guest() as guest, self._explained(asked.text, given):
            read = door.reads(asked)
            of = {param.name: door.run_kind(param.text) for param in named.params} if named else {}
            kind = of.get("run_id") if named else read.run_kind()
            values = door.with_runs(self._run_id, given, kind, tell)
            guest.seal(read, values)
            try:
                return guest.stoppable(asked.text, values, limit=limit, seconds=seconds)
            except duckdb.PermissionException as error:
                raise door.not_allowed(error) from error

    def _run_id(self, ref: str, kind: RunKind | None) -> str:
        return self.find_run(ref, kind).run_id

    @contextmanager
    def _guest(self) -> Iterator[_Guest]:
        """A connection for others' SQL, which can be sealed without binding this one.

        It belongs to a database in memory that has this one attached read-only, so neither this
        connection nor one of another thread shares its settings.
        """
        if not self.read_only:
            raise DataError("a warehouse that is open for writing takes no queries")
        if self._is_mirror:
            yield _Guest(self._connection, self.root, read_only=True)
            return
        connection = connect(None, self.root, read_only=False, wait=0)
        try:
            path = statements.literal(str(self.root / DATABASE))
            connection.execute(f"attach {path} as stored (read_only)")
            connection.execute("use stored")
            yield _Guest(connection, self.root, read_only=True)
        finally:
            connection.close()

    def require_relations(self, query: Query) -> None:
        """MissingStageError when a relation that the query reads has never been built."""
        for relation in query.reads:
            self.require_relation(relation)

    def require_relation(self, relation: str) -> None:
        """MissingStageError when a relation has never been built."""
        if not self.exists(relation):
            hint = STAGE_COMMAND.get(relation.split(".")[0], "recsae run ml-100k")
            raise MissingStageError(f"{relation} has not been built yet", hint)

    def _ensure_table(self, query: Query) -> None:
        """Create the table of a query; one with other columns is from another version and goes."""
        if self.exists(query.full_name) and self.columns(query.full_name) != _columns(query):
            self.execute(f"drop table {statements.name(query.full_name)}")
            # every run has lost these rows; the stage that builds them anew is running
            lost = ["confidence"] if query.stage == "confidence" else ["concepts", "confidence"]
            self.execute(
                "delete from raw.stages where list_contains($lost, stage) and status <> 'running'",
                {"lost": lost},
            )
        if not self.exists(query.full_name):
            self.execute(statements.create_table(query))
            for statement in statements.comments(query, "table"):
                self.execute(statement)
            refresh_people_views(self, query.full_name)


class _Guest(Session):
    """A connection on which others' SQL runs; errors are explained by the warehouse."""

    def seal(self, read: door.Reads, params: Mapping[str, object]) -> None:
        """Let it touch what is read, and nothing else; once (a mirror may be asked again)."""
        if not self.sql("select current_setting('lock_configuration')").item():
            door.seal(self._connection, self.root, read, params)

    @contextmanager
    def _explained(self, text: str, params: Mapping[str, object] | None) -> Iterator[None]:
        yield


def check_path(root: Path) -> None:
    """UsageError for a folder whose name DuckDB would take for something else."""
    if "?" in str(root):
        reason = "DuckDB cuts paths at a question mark"
    elif set(re.findall(r"/([^/=]+)=", str(root))) & publish.columns():
        reason = "DuckDB takes a folder called COLUMN=VALUE for data"
    else:
        return
    raise UsageError(f"{root} cannot be a warehouse: {reason}", "choose --warehouse FOLDER")


def check_params(query: Query, params: Mapping[str, object]) -> None:
    """UsageError naming a parameter that a query lacks or does not know."""
    known = [param.name for param in query.params]
    takes = f"it takes {', '.join(known)}" if known else "it takes none"
    for name in known:
        if name not in params:
            raise UsageError(f"{query.full_name} needs the parameter {name}", takes)
    for name in params:
        if name not in known:
            raise UsageError(f"{query.full_name} has no parameter {name}", takes)


def _refuse_links(root: Path, *, read_only: bool) -> None:
    """DataError when what is opened or written would be reached by a link in the warehouse."""
    places = [path.name for path in root.glob(f"{DATABASE}*") if ".damaged-" not in path.name]
    if not read_only:
        places += ["tmp/spill", "tmp/locks", "runs", *publish.KINDS]
    for place in places:
        refuse_link(root, place)


HARMLESS = re.compile(
    r"\.recsae|README(\.\w+)?|LICENSE(\.\w+)?|\.(git)?keep|\.git(ignore|attributes)|CACHEDIR\.TAG"
    r"|lost\+found|\.(_.*|DS_Store|directory|localized|nfs\w+|snapshots?|fseventsd|Spotlight-V100)"
    r"|\.Trash.*|\.ipynb_checkpoints|Thumbs\.db|desktop\.ini|\$RECYCLE\.BIN"
    r"|System Volume Information",
    re.IGNORECASE,
)
"""What people, git and systems put into a folder that is otherwise empty."""


def _require_empty(root: Path) -> None:
    """UsageError for a folder that is in use for other things, and so cannot become a warehouse."""
    others = sorted(path.name for path in root.iterdir() if not _is_harmless(path))
    if not others or (root / DATABASE).exists():  # another process has just made it
        return
    if is_lost(root):
        hint = f"recsae repair --warehouse {root} makes a database of what is there"
        raise DataError(f"the warehouse {root} has lost its database {DATABASE}", hint)
    raise UsageError(
        f"{root} cannot become a warehouse: it is not empty, but holds {others[0]}",
        "choose a new or empty folder with --warehouse FOLDER",
    )


def _is_harmless(path: Path) -> bool:
    """Whether a warehouse can be made beside this: a by-product, or made by recsae."""
    if path.name == "tmp":
        return only_temporary(path)
    return is_marked(path, path.name) or HARMLESS.fullmatch(path.name) is not None


def is_lost(root: Path) -> bool:
    """Whether there is no database, but what one can be made of: a damaged one, or runs."""
    if os.path.lexists(root / DATABASE):
        return False
    if any(root.glob(f"{DATABASE}.damaged-*")):
        return True
    for path in (root / "runs").glob(f"*/{RECORD}"):
        with suppress(DataError):
            return bool(read_record(path))
    return False


def _create_database(root: Path) -> None:
    """Make an empty database file aside, so that a kill or a full disk leaves none or a whole."""
    place = root / DATABASE
    if place.exists():
        return
    _require_empty(root)
    with temp_folder(root, "new") as temp:
        connect(temp / DATABASE, root, read_only=False, wait=0).close()
        try:
            os.link(temp / DATABASE, place)  # unlike a rename never over that of another process
        except FileExistsError:
            return
        except OSError:  # a file system without hard links
            (temp / DATABASE).rename(place)


def _missing(root: Path) -> MissingStageError:
    return MissingStageError(f"there is no warehouse in {root}", "recsae run ml-100k")


def _is_view(query: Query) -> bool:
    by_folders = query.stage == RAW and query.name in publish.PUBLISHED_BY
    return by_folders or query.stage in (SUMMARIES, VIEWS)


def _columns(query: Query) -> dict[str, str]:
    return {column.name: column.type for column in query.yields}


@cache
def _headers() -> str:
    """Digest of what is written into the catalog: relations, comments, views."""
    made = "".join(query.text for query in queries() if query.stage != REPORT)
    return sha256(made.encode()).hexdigest()


def _dataset_row(
    dataset: str, info: Mapping[str, Any], counts: Mapping[str, int]
) -> dict[str, object]:
    return {
        "dataset": dataset,
        "fingerprint": info["fingerprint"],
        "info": json.dumps(dict(info), ensure_ascii=False, sort_keys=True),
        **counts,
        "loaded": datetime.now(UTC).replace(tzinfo=None),
    }
