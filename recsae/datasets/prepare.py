"""From a source to a prepared folder: choose the reader, check, write aside, rename into place."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import polars as pl
from filelock import FileLock, Timeout

from recsae.config import StageConfig, option
from recsae.datasets import canonical, fetch, movielens, planted
from recsae.datasets.canonical import FILE_NAMES, TRUTH, TRUTH_SCHEMA, Tables
from recsae.datasets.sources import SourceFile, read_source
from recsae.datasets.split import TAG_RULE, Raw, build
from recsae.errors import DataError, UsageError
from recsae.warehouse.files import clean_leftovers, replace_folder, safe_name, temp_folder

Report = Callable[[str], None]

WORK = ".recsae"
"""Folder inside the data folder for work in progress and locks."""

WAIT = 600.0
"""Seconds to wait for another process that prepares the same data set."""


REASONS = {
    "duplicate": "ratings, because the same user rated the same item later",
    "below_min_rating": "ratings below --min-rating",
    "below_core": "interactions of users or items with fewer than --core of them",
    "item_tags_rare": f"item tags, because {TAG_RULE}",
}
"""What ``dropped`` in ``dataset.json`` counts."""


@dataclass(frozen=True)
class Made:
    """What a recipe gives: tables to write and what to record about them."""

    tables: Tables
    dropped: dict[str, int]
    sources: list[dict[str, str]]


@dataclass(frozen=True)
class Recipe:
    """A data set that can be prepared."""

    about: str
    licence: str
    options: type[StageConfig]
    make: Callable[[Any, Path | None, Path, Report], Made]
    """(options, source or None, empty temporary folder, report) -> tables."""
    takes_source: bool
    takes_name: bool


def available() -> list[str]:
    """Names of the data sets that can be prepared."""
    return list(RECIPES)


def recipe(name: str) -> Recipe:
    """The recipe of a data set; UsageError naming the nearest names when there is none."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(RECIPES)}"
    raise UsageError(f"there is no data set {name!r}", hint)


def prepare(
    name: str,
    data_dir: Path,
    *,
    source: Path | None = None,
    force: bool = False,
    report: Report = lambda _: None,
    stored_as: str | None = None,
    **options: Any,
) -> Path:
    """Prepare a data set under ``data_dir`` and return its folder; done already, it is left alone.

    ``options`` are the fields of the data set's options class; None means the default.
    Errors: UsageError for an unknown data set or option; DataError for a source that cannot be had
    or is not what it should be, and for a folder that cannot be written.
    """
    found = recipe(name)
    chosen = _options(name, found, options)
    stored = _stored_name(name, found, stored_as)
    if source is not None:
        _check_source(name, found, source)
    place = data_dir / stored
    try:
        with _lock(data_dir, stored, report):
            if force or not _is_prepared(stored, data_dir, name, chosen, report):
                _check_place(place)
                _prepare(name, found, chosen, source, place, report)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot prepare {stored} in {data_dir}: {reason}", "choose another folder with --data"
        ) from None
    return place


def _options(name: str, found: Recipe, given: dict[str, Any]) -> StageConfig:
    known = [field.name for field in fields(found.options)]
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in known:
            takes = ", ".join(option(one) for one in known)
            raise UsageError(f"data set {name} takes no {option(key)}", f"it takes {takes}")
    return found.options(**given)


def _stored_name(name: str, found: Recipe, stored_as: str | None) -> str:
    if stored_as is None or stored_as == name:
        return name
    if not found.takes_name:
        raise UsageError(f"data set {name} takes no --name", "only planted does")
    if stored_as in RECIPES:
        raise UsageError(f"--name {stored_as} is the name of another data set", "change --name")
    return safe_name("data set", stored_as)


def _check_source(name: str, found: Recipe, source: Path) -> None:
    if not found.takes_source:
        raise UsageError(f"data set {name} takes no --source", "it is made, not read")
    if not os.path.exists(source):  # Path.exists raises where a folder above may not be read
        raise UsageError(f"--source {source} does not exist", "change --source")


@contextmanager
def _lock(data_dir: Path, stored: str, report: Report) -> Iterator[None]:
    """Hold a data set for this process, waiting for another one."""
    folder = data_dir / WORK
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / f"{stored}.lock")
    try:
        try:
            lock.acquire(timeout=0)
        except Timeout:
            report(f"waiting for another process that prepares {stored}")
            lock.acquire(timeout=WAIT)
    except Timeout:
        raise DataError(
            f"another process has been preparing {stored} for {WAIT:.0f} seconds", "stop it"
        ) from None
    try:
        yield
    finally:
        lock.release()


def _is_prepared(
    stored: str, data_dir: Path, name: str, chosen: StageConfig, report: Report
) -> bool:
    """Whether the folder holds this very data set, undamaged."""
    if not (data_dir / stored / canonical.INFO).exists():
        return False
    try:
        info = canonical.read_dataset(stored, data_dir).info
    except DataError as error:
        report(f"{error.message}; preparing it again")
        return False
    if (info.get("recipe"), info["options"]) != (name, chosen.to_json()):
        report(f"{stored} was prepared with other options; preparing it again")
        return False
    report(f"{stored} is prepared already; --force prepares it again")
    return True


def _check_place(place: Path) -> None:
    """Never replace a folder that holds anything but a prepared data set."""
    if place.exists() and not place.is_dir():
        raise DataError(f"{place} is a file where the prepared data set belongs", "move it away")
    if not place.exists():
        return
    foreign = sorted(path.name for path in place.iterdir() if path.name not in FILE_NAMES)
    if foreign:
        raise DataError(
            f"{place} holds {foreign[0]}, so it is not a prepared data set to be replaced",
            "move the folder away, or choose another with --data",
        )


def _prepare(
    name: str,
    found: Recipe,
    chosen: StageConfig,
    source: Path | None,
    place: Path,
    report: Report,
) -> None:
    work = place.parent / WORK
    clean_leftovers(work)
    with temp_folder(work, place.name) as temp:
        made = found.make(chosen, source, temp / "download", report)
        folder = temp / "prepared"
        folder.mkdir()
        info = {
            "name": place.name,
            "recipe": name,
            "options": chosen.to_json(),
            "sources": made.sources,
            "dropped": made.dropped,
            "tag_rule": TAG_RULE,
        }
        complete = canonical.write(folder, made.tables, info)
        replace_folder(folder, place)
    _narrate(place.name, complete, report)


def _narrate(stored: str, info: dict[str, Any], report: Report) -> None:
    counts = info["counts"]
    for reason, number in info["dropped"].items():
        if number:
            report(f"dropped {number:,} {REASONS[reason]}")
    report(
        f"prepared {stored}: {counts['users']:,} users, {counts['items']:,} items, "
        f"{counts['interactions']:,} interactions ({counts['train']:,} train), "
        f"{counts['item_tags']:,} item tags ({counts['tags']:,} different)"
    )


def _make_ml_100k(
    options: movielens.ML100KOptions, source: Path | None, temp: Path, report: Report
) -> Made:
    """Read from the source given, else from a download."""
    route = "source"
    if source is None:
        temp.mkdir()
        source, route = fetch.fetch_ml_100k(temp, report)
    files = read_source(source, (movielens.GROUPLENS, movielens.RECBOLE))
    report(f"reading {' and '.join(file.name for file in files)}")
    raw = movielens.read(files, options)
    tables, dropped = build(raw, options.core)
    archive = _archive(source)
    if not (archive and archive["sha256"] in KNOWN_ARCHIVES) and not movielens.genuine(files):
        _check_content(files, options, tables)
    used = [{"file": file.name, "sha256": file.sha256} for file in files]
    sources = [{**one, "route": route} for one in [*([archive] if archive else []), *used]]
    return Made(tables, dropped, sources)


KNOWN_ARCHIVES = frozenset({fetch.GROUPLENS_SHA256, fetch.RECBOLE_SHA256})
"""SHA-256 of the published archives."""


def _archive(source: Path) -> dict[str, str] | None:
    """Name and checksum of a source that is one file."""
    if source.is_dir():
        return None
    with source.open("rb") as file:
        return {"file": source.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _check_content(
    files: tuple[SourceFile, ...], options: movielens.ML100KOptions, tables: Tables
) -> None:
    """Files without a published checksum have to give the known tables with default options."""
    default = movielens.ML100KOptions()
    if options != default:
        tables, _ = build(movielens.read(files, default), default.core)
    if canonical.fingerprint(tables) != movielens.FINGERPRINT:
        raise DataError(
            f"{' and '.join(file.name for file in files)} are not the published MovieLens 100K: "
            "as many rows, but other content",
            f"get {fetch.GROUPLENS_URL}",
        )


def _make_planted(
    options: planted.PlantedOptions, source: Path | None, temp: Path, report: Report
) -> Made:
    """Generate; the truth is kept beside the canonical tables."""
    raw, truth = planted.generate(options)
    tables, dropped = build(raw, options.core)
    return Made({**tables, TRUTH: _kept_truth(raw, truth, tables)}, dropped, [])


def _kept_truth(raw: Raw, truth: pl.DataFrame, tables: Tables) -> pl.DataFrame:
    """Truth of the items that the k-core kept, under their new ids."""
    ids = tables["items"].select("item_id", pl.col("source_item_id").cast(pl.Int64))
    joined = ids.join(truth, on="source_item_id").sort("item_id")
    return joined.select(pl.col(name).cast(dtype) for name, dtype in TRUTH_SCHEMA.items())


RECIPES = {
    "ml-100k": Recipe(
        about="MovieLens 100K: 100,000 ratings of films, 1997-1998 (GroupLens)",
        licence="research use only, no redistribution; see the README of the GroupLens archive",
        options=movielens.ML100KOptions,
        make=_make_ml_100k,
        takes_source=True,
        takes_name=False,
    ),
    "planted": Recipe(
        about="synthetic data with known concepts and noise tags",
        licence="made by recsae; free to use",
        options=planted.PlantedOptions,
        make=_make_planted,
        takes_source=False,
        takes_name=True,
    ),
}
