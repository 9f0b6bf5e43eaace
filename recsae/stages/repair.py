"""``repair``: make again what ``check`` finds missing or damaged, from what is left.

A file is made again in a copy of the warehouse aside, and moves to its place only when its checksum
is the registered one; then everything built on it is still right, and no row is touched. Where it
comes out different, a stage without anything that others were trained on is run again for real; a
training is not, because that would drop what is built on it: the command is named instead.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig, TrainConfig
from recsae.datasets import read_dataset, read_info
from recsae.errors import DataError, RecsaeError
from recsae.progress import Reporter
from recsae.saving import new_file
from recsae.stages.concepts import concepts
from recsae.stages.confidence import confidence
from recsae.stages.encode import encode
from recsae.stages.sae_train import draw_user_sides, train_sae
from recsae.stages.stored import train_hint
from recsae.stages.train import train
from recsae.warehouse import Run, StageState, Warehouse, run_lock, statements, temp_folder
from recsae.warehouse.check import (
    Problem,
    ancestors,
    check,
    datasets_problems,
    file_problem,
    readable_tables,
    stored_tables,
)
from recsae.warehouse.checksums import RECORD, misplaced, parquet_path, results_in, run_path
from recsae.warehouse.files import DATABASE, clean_leftovers, is_safe
from recsae.warehouse.marks import is_folder, own_folder, refuse_link
from recsae.warehouse.publish import KINDS
from recsae.warehouse.record import Record, keep_record, read_record, record_path, restore
from recsae.warehouse.runs import (
    CONTROLS,
    STAGES,
    STORED,
    Stage,
    dataset_name,
    dataset_version,
)
from recsae.warehouse.store import DATASET_TABLES, is_lost

SIDES = "staging.user_sides"


@dataclass
class Repaired:
    """What a repair did, or with ``dry_run`` would do."""

    done: list[str] = field(default_factory=list)
    """A line about everything that is as it was again."""
    left: list[str] = field(default_factory=list)
    """A line about everything that is not, with the command that makes it anew."""


@dataclass(frozen=True)
class _Repair:
    """One call: where, and what it is told to do."""

    root: Path
    data: Path
    dry_run: bool
    reporter: Reporter
    result: Repaired


def repair(
    root: Path, data: Path, ref: str | None, *, dry_run: bool, reporter: Reporter
) -> Repaired:
    """Repair a warehouse, or one run with those that it is built on.

    Recommenders are trained again on the prepared data sets in ``data``. Errors: DataError when a
    run is in use by another process.
    """
    job = _Repair(root.resolve(), data, dry_run, reporter, Repaired())
    if not dry_run:
        clean_leftovers(job.root)  # of a repair that was killed
    if is_lost(job.root):  # a repair was killed just when it took the damaged one away
        _start_anew(job)
        if dry_run:
            return job.result
    problems = _mendable(job, check(root, ref).problems)
    if any(problem.run_id is None for problem in problems):
        _repair_database(job, [problem for problem in problems if problem.run_id is None])
        if dry_run or not _is_known(job.root, ref):
            return job.result
        problems = [one for one in check(root, ref).problems if not one.by_hand]
    for run_id in dict.fromkeys(problem.run_id for problem in problems if problem.run_id):
        own = [problem for problem in problems if problem.run_id == run_id]
        if missing := _lacks_dataset(job.root, run_id):
            job.result.left.append(f"{run_id}: {missing}, then repair again")
            continue
        for stage in STAGES:
            if bad := [problem for problem in own if problem.stage == stage]:
                _repair_stage(job, run_id, bad)
        if any(problem.stage is None for problem in own):
            _write_record(job, run_id)
    return job.result


def _mendable(job: _Repair, problems: list[Problem]) -> list[Problem]:
    """Those that can be mended; of the others, which are not recsae's, it is said what to do."""
    for one in problems:
        if one.by_hand:
            owner = f"{one.run_id}: " if one.run_id else ""
            job.result.left.append(f"{owner}{one.place} {one.what}; {one.by_hand}")
    return [one for one in problems if not one.by_hand]


def _is_known(root: Path, ref: str | None) -> bool:
    """Whether a new database has the run that was asked for; what keeps it out has been said."""
    if ref is None:
        return True
    with Warehouse.open(root, read_only=True) as warehouse, suppress(RecsaeError):
        return bool(warehouse.find_run(ref))
    return False


def _lacks_dataset(root: Path, run_id: str) -> str | None:
    """What to do where the database does not have the data set of a run."""
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(run_id)
        if warehouse.dataset_info(run.dataset):
            return None
    needs, name = f"needs data set {run.dataset}", run.dataset_name
    if name == run.dataset:
        return f"{needs}; recsae data prepare {name}"
    return f"{needs}, the content that {name} had; prepare {name} of those files, train on it"


def _write_record(job: _Repair, run_id: str) -> None:
    place = f"{run_path(run_id)}/{RECORD}"
    if job.dry_run:
        job.result.done.append(f"{run_id}: {place} would be written")
        return
    with run_lock(job.root, run_id), Warehouse.open(job.root, read_only=True) as warehouse:
        keep_record(warehouse, run_id)
    job.result.done.append(f"{run_id}: {place} is written")


# -- stages ---------------------------------------------------------------------------------------


def _repair_stage(job: _Repair, run_id: str, problems: list[Problem]) -> None:
    """Make a stage whole again: its files aside where they can be compared, else all of it."""
    with Warehouse.open(job.root, read_only=True) as warehouse:
        run = warehouse.run(run_id)
        states = {stage: warehouse.stage_state(run_id, stage) for stage in STAGES}
        for noted, params in warehouse.noted_stages(run_id).items():
            states[noted] = states[noted] or _state(run_id, noted, params)
        known = {
            place: (size, digest)
            for place, size, digest in warehouse.sql(
                "select path, bytes, sha256 from raw.files where run_id = $r", {"r": run_id}
            ).rows()
        }
    stage = str(problems[0].stage)
    state = next((s for name, s in states.items() if name == stage and s), None)
    if reason := _cannot_run(run, state):
        job.result.left.append(f"{run_id}: {stage} {reason}")
        return
    assert state is not None
    files = [problem.place for problem in problems if problem.place in known]
    if job.dry_run:
        job.result.done.append(f"{run_id}: {stage} would be made again")
        return
    try:
        if len(files) == len(problems):
            wanted = {place: known[place] for place in files}
            if _made_aside(job, run, state, wanted):
                job.result.done += [f"{run_id}: {place} is as it was" for place in files]
                return
        _run_again(job, run, state, [s for s in states.values() if s], problems)
    except RecsaeError as error:
        job.result.left.append(
            f"{run_id}: {stage}: {error.message}; {error.hint or _command(run, stage)}"
        )


def _run_again(
    job: _Repair, run: Run, state: StageState, states: list[StageState], problems: list[Problem]
) -> None:
    """Run a stage in the warehouse itself, with those after it that were done."""
    stage = state.stage
    strangers = [p for p in problems if p.what == "was not written by the stage"]
    if strangers:
        places = ", ".join(problem.place for problem in strangers)
        job.result.left.append(f"{run.run_id}: {stage}: move {places} away")
        return
    if {problem.place for problem in problems} == {SIDES}:
        _draw_sides(job.root, run)
        job.result.done.append(f"{run.run_id}: {SIDES} is as it was")
        return
    if stage == "train" and state.status == "done":
        made = "what is made now is not what was there; everything built on it goes with"
        job.result.left.append(f"{run.run_id}: {stage}: {made}  {_command(run, stage)}")
        return
    after = STAGES[STAGES.index(stage) + 1 :]
    later = [one for one in states if one.stage in after and one.status == "done"]
    with Warehouse.open(job.root) as warehouse:  # they are forgotten when this one starts
        warehouse.note_stages(run.run_id, {one.stage: one.params for one in (state, *later)})
    _redo(job, job.root, run, state, force=state.status == "done")
    job.result.done.append(f"{run.run_id}: {stage} ran again")
    for one in sorted(later, key=lambda one: STAGES.index(one.stage)):
        _redo(job, job.root, run, one, force=False)
        job.result.done.append(f"{run.run_id}: {one.stage} ran again")
    with Warehouse.open(job.root) as warehouse:
        warehouse.note_stages(run.run_id, {})


def _state(run_id: str, stage: Stage, params: dict[str, Any]) -> StageState:
    """A stage that was done before a repair that was killed."""
    return StageState(run_id, stage, params, "", "done", datetime.min, None, None)


def _draw_sides(root: Path, run: Run) -> None:
    """The sides of the users again: they depend on the seed and the shares alone."""
    with run_lock(root, run.run_id):
        sides = draw_user_sides(root, run.run_id, SAEConfig.from_json(run.params))
        with Warehouse.open(root) as warehouse:
            warehouse.replace_rows(SIDES, run.run_id, sides)


def _redo(job: _Repair, root: Path, run: Run, state: StageState, *, force: bool) -> None:
    """Run a stage as it was run, with its recorded settings."""
    reporter = job.reporter
    if state.stage == "encode":
        encode(root, run.run_id, force=force, reporter=reporter)
    elif state.stage == "concepts":
        settings = ConceptsConfig.from_json(state.params)
        concepts(root, run.run_id, settings, force=force, reporter=reporter)
    elif state.stage == "confidence":
        trial = ConfidenceConfig.from_json(state.params)
        confidence(root, run.run_id, trial, force=force, reporter=reporter)
    else:
        made = _train(job, root, run, state, force=force)
        if made != run.run_id:
            raise DataError(f"these settings make run {made} by now", _command(run, "train"))


def _train(job: _Repair, root: Path, run: Run, state: StageState, *, force: bool) -> str:
    reporter = job.reporter
    if run.kind == "sae":
        config = SAEConfig.from_json(state.params)
        return train_sae(root, str(run.parent_run_id), config, force=force, reporter=reporter)
    settings, name = TrainConfig.from_json(run.params), run.dataset_name
    if read_info(name, job.data)["fingerprint"] != run.data_fingerprint:
        raise DataError(
            f"data set {name!r} is prepared with other content than the run was made from",
            f"recsae data prepare {name} --force, of the files that it was made from",
        )
    return train(root, job.data, run.model, name, settings, force=force, reporter=reporter)


def _cannot_run(run: Run, state: StageState | None) -> str | None:
    """Why a stage cannot be run again from here, with the command that does it."""
    if state is None:
        return f"has no settings; {_command(run, 'train')}"
    if state.stage != "train":
        return None
    if run.params.keys() & {"imported", "init_from"}:
        return f"needs the file that it came from; {_command(run, 'train')}"
    if run.model in CONTROLS:
        return f"is a control; {_command(run, 'train')}"
    return None


def _command(run: Run, stage: str) -> str:
    """The command that makes a stage anew."""
    if stage == "encode":
        return f"recsae sae encode {run.run_id} --force"
    if stage != "train":
        return f"recsae {stage} {run.run_id} --force"
    if run.model in CONTROLS:
        return "recsae confidence RUN --controls --force"
    if run.kind == "sae":
        return f"recsae sae train {run.parent_run_id} --force"
    return f"{train_hint(run)} --force"


# -- aside ----------------------------------------------------------------------------------------


def _made_aside(
    job: _Repair, run: Run, state: StageState, wanted: dict[str, tuple[int, str]]
) -> bool:
    """Run a stage in a copy of the warehouse and take over the wanted files.

    False, and nothing is taken over, unless every one has its registered size and checksum.
    """
    with run_lock(job.root, run.run_id), temp_folder(job.root, "repair") as temp:
        aside = temp / "warehouse"
        _copy(job.root, aside, run)
        _redo(job, aside, run, state, force=True)
        for place, (size, digest) in wanted.items():
            if misplaced(run.run_id, place, KINDS) or file_problem(aside / place, size, digest):
                return False
        for place in wanted:
            own_folder(job.root, "/".join(place.split("/")[:2]))
            target = job.root / place
            refuse_link(job.root, place)
            target.parent.mkdir(exist_ok=True)
            os.replace(aside / place, target)
    return True


def _copy(root: Path, aside: Path, run: Run) -> None:
    """The database, and the files of a run and of those that it is built on."""
    aside.mkdir()
    with Warehouse.open(root, read_only=True) as warehouse:
        for path in root.glob(f"{DATABASE}*"):
            if ".damaged-" not in path.name:
                shutil.copyfile(path, aside / path.name)
        rows = warehouse.sql("select run_id, parent_run_id from raw.runs").rows()
        family = [run.run_id, *ancestors(run.run_id, dict(rows))]
    for one in family:
        for place in (run_path(one), *(parquet_path(k, one) for k in KINDS)):
            refuse_link(root, place)
            for name, path in results_in(root / place, place):
                _link(path, aside / name)


def _link(path: Path, target: Path) -> None:
    """A second name for a file, which stages replace and never change; else a copy."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(path, target)
    except OSError:
        with path.open("rb") as source, new_file(target) as copy:
            shutil.copyfileobj(source, copy)


# -- the database ---------------------------------------------------------------------------------


def _repair_database(job: _Repair, problems: list[Problem]) -> None:
    """Put all tables that can still be read into a new database; the old file is kept aside.

    Where only rows of data sets are missing these data sets are loaded again.
    """
    tables, unreadable = readable_tables(job.root)
    sets = {f"raw.{table}" for table in (*DATASET_TABLES, "datasets")}
    if not unreadable and {problem.place for problem in problems} <= sets:
        _load_datasets(job, incomplete=True)
        return
    lost = set(unreadable)
    lost |= {problem.place for problem in problems}
    if lost & {DATABASE, "raw.runs", "raw.stages"}:
        _start_anew(job)
        return
    if job.dry_run:
        job.result.done.append(f"a new database without {', '.join(sorted(lost))}")
        return
    # raw.meta of the new file has it that the views are to be made
    skipped = {"raw.meta"} | lost | (sets if lost & sets else set())
    with temp_folder(job.root, "repair") as temp:
        _salvage(job.root, temp / "warehouse", [table for table in tables if table not in skipped])
        kept = _replace(job.root, temp / "warehouse" / DATABASE)
    with Warehouse.open(job.root):  # lets the views find the folders
        pass
    job.result.done.append(f"a new database has what could be read; the old one is {kept.name}")
    if lost & sets:
        _load_datasets(job)
    for table in sorted(lost - sets - _made_by_stages() - {"raw.meta"}):
        job.result.left.append(f"the rows of {table} are lost")


def _made_by_stages() -> set[str]:
    """Tables that a stage after the training fills again."""
    return {table for tables in STORED.values() for table in tables}


def _salvage(root: Path, aside: Path, tables: list[str]) -> None:
    """A new database with the rows of these tables."""
    with Warehouse.open(aside, create=True) as new:
        there = stored_tables(new)
        new.execute(f"attach {statements.literal(str(root / DATABASE))} as old (read_only)")
        with new.transaction():
            for table in tables:
                own, old = statements.name(table), statements.name(f"old.{table}")
                if table in there:
                    new.execute(f"delete from {own}")
                    new.execute(f"insert into {own} by name from {old}")
                else:
                    new.execute(f"create table {own} as from {old}")
        new.execute("detach old")


def _replace(root: Path, new: Path) -> Path:
    """Put a new database in the place of the damaged one, which keeps another name.

    The damaged one gets that name first, so that a kill never leaves none.
    """
    kept = _kept(root)
    log = root / f"{DATABASE}.wal"  # what DuckDB had not yet written into it
    if (root / DATABASE).exists() and not kept.exists():
        _link(root / DATABASE, kept)
    if log.exists():
        _link(log, root / f"{kept.name}.wal")
        log.unlink()
    os.replace(new, root / DATABASE)
    return kept


def _kept(root: Path) -> Path:
    """The name for a damaged database; one that it has already after a repair that was killed."""
    for path in root.glob(f"{DATABASE}.damaged-*"):
        is_link = path.is_symlink()
        if not is_link and (root / DATABASE).exists() and path.samefile(root / DATABASE):
            return path
    stamp, number = time.strftime("%Y%m%dT%H%M%S", time.gmtime()), 0
    while os.path.lexists(
        path := root / f"{DATABASE}.damaged-{stamp}{f'-{number}' if number else ''}"
    ):
        number += 1
    return path


def _load_datasets(job: _Repair, *, incomplete: bool = False) -> None:
    """Load the data sets of all runs again, where they are still prepared as they were.

    With ``incomplete`` only those of which rows are missing; what there is of one that cannot be
    loaded stays.
    """
    with Warehouse.open(job.root, read_only=True) as warehouse:
        used = warehouse.sql(
            "select distinct dataset, data_fingerprint from raw.runs order by all"
        ).rows()
        if incomplete:
            used = [row for row in used if any(datasets_problems(warehouse, {row[0]}))]
    for version, fingerprint in used:
        _load_dataset(job, version, fingerprint)


def _load_dataset(job: _Repair, version: str, fingerprint: str) -> None:
    name = dataset_name(version)
    try:
        content = read_dataset(name, job.data)
    except RecsaeError as error:
        job.result.left.append(f"data set {version}: {error.message}; {error.hint}")
        return
    if content.fingerprint != fingerprint:
        lost = dataset_version(name, fingerprint)
        other = (
            f"data set {lost}: {name} is prepared with other content than its runs were made from"
        )
        job.result.left.append(f"{other}; recsae data prepare {name} --force, of the old files")
        return
    if job.dry_run:
        job.result.done.append(f"data set {name} would be loaded again")
        return
    with Warehouse.open(job.root) as warehouse, warehouse.transaction():
        warehouse.drop_dataset(version)
        warehouse.load_dataset(
            content.users, content.items, content.item_tags, content.interactions, content.info
        )
    job.result.done.append(f"data set {name} is loaded again")


def _start_anew(job: _Repair) -> None:
    """Nothing can be read any more: a new database with the runs whose records are there."""
    records = list(_records(job))
    if job.dry_run:
        job.result.left.append(f"{DATABASE} cannot be read and would be set aside")
        job.result.done += [f"{one['runs'][0]['run_id']}: would be registered" for one in records]
        return
    with temp_folder(job.root, "repair") as temp:
        with Warehouse.open(temp / "warehouse", create=True) as new:
            for one in records:
                restore(new, one)
        kept = _replace(job.root, temp / "warehouse" / DATABASE)
    with Warehouse.open(job.root):  # lets the views find the folders
        pass
    if kept.exists():
        job.result.done.append(f"a new database; the old one, which cannot be read, is {kept.name}")
    job.result.done += [
        f"{one['runs'][0]['run_id']}: registered from its {RECORD}" for one in records
    ]
    _load_datasets(job)


def _records(job: _Repair) -> Iterator[Record]:
    """The records of all runs, each after those of the runs that it is built on.

    A run without one, or built on vectors that are other ones by now, is named and left out.
    """
    waiting: dict[str, Record] = {}
    for run_id in _run_folders(job.root):
        try:
            waiting[run_id] = read_record(record_path(job.root, run_id))
        except DataError as error:
            hint = f"train it again with its settings; its files are still in runs/{run_id}"
            job.result.left.append(f"{run_id}: {error.message}; {hint}")
    known: dict[str | None, Record] = {}
    while ready := [r for r in waiting.values() if r["runs"][0]["parent_run_id"] in {None, *known}]:
        for one in ready:
            run = one["runs"][0]
            del waiting[run["run_id"]]
            if _is_built_on(one, known.get(run["parent_run_id"])):
                known[run["run_id"]] = one
                yield one
            else:
                hint = f"recsae sae train {run['parent_run_id']}"
                job.result.left.append(
                    f"{run['run_id']}: run {run['parent_run_id']} has other vectors by now; {hint}"
                )
    for run_id, one in waiting.items():
        parent = one["runs"][0]["parent_run_id"]
        job.result.left.append(f"{run_id}: run {parent}, which it is built on, is not there")


def _is_built_on(one: Record, parent: Record | None) -> bool:
    """Whether the vectors of a parent are those that a run was made from."""
    if parent is None or one["parent_vectors"] is None:
        return True
    place = f"{run_path(parent['runs'][0]['run_id'])}/vectors.npy"
    sums = {row["path"]: row["sha256"] for row in parent["files"]}
    return bool(sums.get(place) == one["parent_vectors"])


def _run_folders(root: Path) -> Iterator[str]:
    for path in sorted((root / "runs").glob("*")):
        if is_folder(path) and is_safe(path.name):
            yield path.name
