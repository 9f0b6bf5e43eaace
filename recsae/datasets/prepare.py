"""From a source to a prepared folder: choose the reader, check, write aside, rename into place."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import polars as pl
from filelock import Timeout

from recsae.config import StageConfig, option
from recsae.datasets import (
    amazon,
    canonical,
    fetch,
    lastfm,
    ml1m,
    movielens,
    planted,
    rechorus,
    tabular,
)
from recsae.datasets.canonical import OWN_FILES, TRUTH, TRUTH_SCHEMA, Tables
from recsae.datasets.sources import SourceFile, read_source
from recsae.datasets.split import TAG_RULE, Made, Raw, build
from recsae.datasets.streams import Found
from recsae.errors import DataError, UsageError
from recsae.warehouse.files import (
    clean_leftovers,
    file_lock,
    replace_folder,
    safe_name,
    temp_folder,
)
from recsae.warehouse.marks import is_bare, is_marked, mark, plain_folder, strangers

Report = Callable[[str], None]

WORK = ".recsae"
"""Folder inside the data folder for work in progress and locks."""

WAIT = 600.0
"""Seconds to wait for another process that prepares the same data set."""


REASONS = {
    "duplicate": "interactions, because the same user met the same item later",
    "below_min_rating": "ratings below --min-rating",
    "split_incomplete": "rows of given splits, because their user has no train or dev row left",
    "below_core": "interactions of users or items with fewer than --core of them",
    "relation_unknown_item": "related items that item_meta.csv does not have",
    "tag_unknown_item": "tags given to items that the source does not describe",
    "tag_one_user": "item tags that a single user gave",
    "tag_not_text": "titles, brands and categories that are no text",
    "page_script": "titles, brands and categories, because they are script or style of a page",
    "markup": "pieces of markup in titles, brands and categories",
    "item_repeated": "descriptions of items that were described before",
    "item_tags_rare": f"item tags, because {TAG_RULE}",
}
"""What ``dropped`` in ``dataset.json`` counts."""


@dataclass(frozen=True)
class Inputs:
    """Where a data set is read from."""

    source: Path | None
    """``--source``, a file or folder; None: it is downloaded or made."""
    items: Path | None
    """``--items`` of csv and parquet: the file that describes the items."""
    temp: Path
    """Folder for downloads; it does not exist yet and goes away in the end."""
    report: Report


@dataclass(frozen=True)
class Recipe:
    """A data set, or a form of data sets, that can be prepared."""

    about: str
    licence: str
    options: type[StageConfig]
    make: Callable[[Any, Inputs], Made]
    files: Callable[[Path, Path | None], Found] | None = None
    """Where the source is the user's: its files, to notice that they are other ones."""
    source: Literal["none", "optional", "required"] = "required"
    items: bool = False
    """Whether it takes a file of items."""
    name: Literal["fixed", "own", "folder", "required"] = "own"
    """Name to store it under: the recipe's; the recipe's unless given; the source's unless given;
    always given."""

    @property
    def form(self) -> bool:
        """Whether it is a form of data sets, each of which has a name of its own."""
        return self.name in ("folder", "required")


def available() -> list[str]:
    """Names of the data sets that can be prepared."""
    return list(RECIPES)


def recipe(name: str) -> Recipe:
    """The recipe of a data set; UsageError naming the nearest names when there is none."""
    if name in RECIPES:
        return RECIPES[name]
    near = difflib.get_close_matches(name, RECIPES)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(RECIPES)}"
    raise UsageError(f"there is no data set {name!r}", hint)


def prepare(
    name: str,
    data_dir: Path,
    *,
    source: Path | None = None,
    items_file: Path | None = None,
    force: bool = False,
    report: Report = lambda _: None,
    stored_as: str | None = None,
    accept: Callable[[Mapping[str, int]], None] = lambda _: None,
    **options: Any,
) -> Path:
    """Prepare a data set under ``data_dir`` and return its folder; done already, it is left alone.

    ``options`` are the fields of the data set's options class; None means the default. ``accept``
    is called with what is dropped, by reason, before anything is written, and may raise.
    Errors: UsageError for an unknown data set or option; DataError for a source that cannot be had
    or is not what it should be, and for a folder that cannot be written.
    """
    found = recipe(name)
    if found.items and items_file is None and options.get("items") is not None:
        items_file = Path(options.pop("items"))  # as the command line calls it
    chosen = _options(name, found, options)
    _check_source(name, found, source, items_file)
    place = data_dir / _stored_name(name, found, stored_as, source)
    task = _Task(name, found, chosen, source, items_file, place, report, accept)
    try:
        with _lock(data_dir, place.name, report):
            clean_leftovers(data_dir / WORK)
            if force or not _is_prepared(task):
                _check_place(place)
                _prepare(task)
    except OSError as error:
        reason = error.strerror or str(error)
        raise DataError(
            f"cannot prepare {place.name} in {data_dir}: {reason}",
            "choose another folder with --data",
        ) from None
    return place


@dataclass(frozen=True)
class _Task:
    """What ``prepare`` was called with, checked."""

    name: str
    found: Recipe
    options: StageConfig
    source: Path | None
    items: Path | None
    place: Path
    report: Report
    accept: Callable[[Mapping[str, int]], None]


def _options(name: str, found: Recipe, given: dict[str, Any]) -> StageConfig:
    known = [field.name for field in fields(found.options)]
    given = {key: value for key, value in given.items() if value is not None}
    for key in given:
        if key not in known:
            takes = ", ".join(option(one) for one in known)
            raise UsageError(f"data set {name} takes no {option(key)}", f"it takes {takes}")
    return found.options(**given)


def _stored_name(name: str, found: Recipe, stored_as: str | None, source: Path | None) -> str:
    if stored_as is None and found.name == "folder" and source is not None:
        return _folder_name(name, source)
    if stored_as is None and found.name == "required":
        raise UsageError(f"data set {name} needs a name to store it under", "give --name NAME")
    if stored_as is None or stored_as == name:
        return name
    if found.name == "fixed":
        raise UsageError(f"data set {name} takes no --name", "leave it out")
    if stored_as in RECIPES:
        raise UsageError(f"--name {stored_as} is the name of another data set", "change --name")
    return safe_name("data set", stored_as)


def _folder_name(name: str, source: Path) -> str:
    """The name of a source; UsageError when nothing can be stored under it."""
    stored = source.resolve().name.removesuffix(".zip")
    if stored in RECIPES and stored != name:
        raise UsageError(
            f"{stored}, the name of {source}, is the name of another data set", "give --name NAME"
        )
    try:
        return safe_name("data set", stored)
    except UsageError as error:
        raise UsageError(error.message, "give --name NAME") from None


def _check_source(name: str, found: Recipe, source: Path | None, items: Path | None) -> None:
    if source is None and found.source == "required":
        raise UsageError(f"data set {name} needs --source", "give --source PATH")
    if source is not None and found.source == "none":
        raise UsageError(f"data set {name} takes no --source", "it is made, not read")
    if items is not None and not found.items:
        raise UsageError(f"data set {name} takes no file of items", "leave --items out")
    for place, words in ((source, "--source"), (items, "--items")):
        if place is not None and not os.path.exists(place):
            # Path.exists raises where a folder above may not be read
            raise UsageError(f"{words} {place} does not exist", f"change {words}")


@contextmanager
def _lock(data_dir: Path, stored: str, report: Report) -> Iterator[None]:
    """Hold a data set for this process, waiting for another one."""
    folder = plain_folder(data_dir, WORK)
    lock = file_lock(folder / f"{stored}.lock")
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


def _is_prepared(task: _Task) -> bool:
    """Whether the folder holds this very data set, undamaged."""
    stored, report = task.place.name, task.report
    if not (task.place / canonical.INFO).exists():
        return False
    try:
        info = canonical.read_dataset(stored, task.place.parent).info
    except DataError as error:
        report(f"{error.message}; preparing it again")
        return False
    if (info.get("recipe"), info["options"]) != (task.name, task.options.to_json()):
        report(f"{stored} was prepared with other options; preparing it again")
        return False
    if task.found.files and task.source:
        entries = task.found.files(task.source, task.items)
        if [one["sha256"] for one in info["sources"]] != [one.sha256 for one in entries.values()]:
            report(f"{stored} was prepared from other files; preparing it again")
            return False
    report(f"{stored} is prepared already; --force prepares it again")
    return True


def _check_place(place: Path) -> None:
    """Never replace a folder that holds anything but a data set that recsae prepared."""
    away = "move the folder away, or choose another with --data"
    if place.is_symlink():
        raise DataError(f"{place} is a link, which recsae does not replace", away)
    if place.exists() and not place.is_dir():
        raise DataError(f"{place} is a file where the prepared data set belongs", "move it away")
    if not place.exists() or is_bare(place, place.name):
        return
    if foreign := strangers(place, OWN_FILES):
        raise DataError(
            f"{place} holds {foreign[0]}, so it is not a prepared data set to be replaced", away
        )
    if not is_marked(place, place.name):
        if not canonical.is_prepared(place):
            raise DataError(f"{place} was not prepared by recsae and is not replaced", away)
        mark(place, place.name)


def _prepare(task: _Task) -> None:
    work = task.place.parent / WORK
    with temp_folder(work, task.place.name) as temp:
        inputs = Inputs(task.source, task.items, temp / "download", task.report)
        made = task.found.make(task.options, inputs)
        task.accept(made.dropped)
        folder = temp / "prepared"
        folder.mkdir()
        info = {
            "name": task.place.name,
            "recipe": task.name,
            "options": task.options.to_json(),
            "sources": made.sources,
            "dropped": made.dropped,
            "tag_rule": TAG_RULE,
        }
        complete = canonical.write(folder, made.tables, info)
        replace_folder(folder, task.place.parent, task.place.name, OWN_FILES)
    _narrate(task.place.name, complete, task.report)


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


def _reader(
    files: Callable[[Path, Path | None], Found],
    read: Callable[[Found, Any], Raw],
    download: Callable[[Path, Report], tuple[Path, str]] | None = None,
) -> Callable[[Any, Inputs], Made]:
    """How a source is prepared: find its files, read them, build the tables."""

    def make(options: Any, inputs: Inputs) -> Made:
        source, route = inputs.source, "source"
        if source is None and download is not None:
            inputs.temp.mkdir()
            source, route = download(inputs.temp, inputs.report)
        if source is None:
            raise UsageError("there is no source", "give --source PATH")
        found = files(source, inputs.items)
        inputs.report(f"reading {' and '.join(entry.name for entry in found.values())}")
        raw = read(found, options)
        for note in (
            *(line for one in found.values() for line in one.tally.notes(one.name)),
            *raw.notes,
        ):
            inputs.report(note)
        tables, dropped = build(raw, options.core)
        _check_rows(raw, tables, dropped)
        sources = [
            {"file": one.name, "sha256": one.sha256, "route": route} for one in found.values()
        ]
        return Made(tables, dropped, sources)

    return make


LOSSES = ("duplicate", "below_min_rating", "split_incomplete", "below_core")
"""Reasons of ``dropped`` that count interactions."""


def _check_rows(raw: Raw, tables: Tables, dropped: dict[str, int]) -> None:
    """DataError unless every row of the source is an interaction or counted as dropped."""
    known = tables["interactions"].height + sum(dropped.get(reason, 0) for reason in LOSSES)
    if raw.rows is not None and raw.rows != known:
        raise DataError(
            f"{raw.rows:,} interactions were read, but {known:,} are kept or dropped, which is a "
            "fault of recsae: nothing was prepared"
        )


def _make_ml_100k(options: movielens.ML100KOptions, inputs: Inputs) -> Made:
    """Read from the source given, else from a download."""
    source, report, route = inputs.source, inputs.report, "source"
    if source is None:
        inputs.temp.mkdir()
        source, route = fetch.fetch_ml_100k(inputs.temp, report)
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


def _make_planted(options: planted.PlantedOptions, inputs: Inputs) -> Made:
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
        source="optional",
        name="fixed",
    ),
    "ml-1m": Recipe(
        about="MovieLens 1M: 1,000,209 ratings of films, 2000-2003 (GroupLens)",
        licence="research use only, no redistribution; see the README of the GroupLens archive",
        options=ml1m.ML1MOptions,
        make=_reader(ml1m.files, ml1m.read, fetch.fetch_ml_1m),
        files=ml1m.files,
        source="optional",
    ),
    "lastfm-2k": Recipe(
        about="Last.fm: artists and tags of 1,892 listeners, without times (HetRec 2011)",
        licence="non-commercial use; see readme.txt of the archive",
        options=lastfm.LastFMOptions,
        make=_reader(lastfm.files, lastfm.read),
        files=lastfm.files,
    ),
    "planted": Recipe(
        about="synthetic data with known concepts and noise tags",
        licence="made by recsae; free to use",
        options=planted.PlantedOptions,
        make=_make_planted,
        source="none",
    ),
    "amazon": Recipe(
        about="any category of Amazon's reviews, 5-core (McAuley)",
        licence="see the page of the data; no redistribution",
        options=amazon.AmazonOptions,
        make=_reader(amazon.files, amazon.read),
        files=amazon.files,
        name="required",
    ),
    "rechorus": Recipe(
        about="any folder of ReChorus, with its splits and ids",
        licence="that of the data",
        options=rechorus.ReChorusOptions,
        make=_reader(rechorus.files, rechorus.read),
        files=rechorus.files,
        name="folder",
    ),
    "csv": Recipe(
        about="any interactions in CSV",
        licence="that of the data",
        options=tabular.CsvOptions,
        make=_reader(tabular.files, tabular.read_csv),
        files=tabular.files,
        items=True,
        name="required",
    ),
    "parquet": Recipe(
        about="any interactions in Parquet",
        licence="that of the data",
        options=tabular.ParquetOptions,
        make=_reader(tabular.files, tabular.read_parquet),
        files=tabular.files,
        items=True,
        name="required",
    ),
}
