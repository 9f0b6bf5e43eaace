"""Size and SHA-256 of the files that a stage leaves, measured once and registered with it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsae.warehouse.files import is_safe
from recsae.warehouse.session import Session

RESULTS = (".json", ".npy", ".parquet", ".safetensors")
"""Endings of files that are results; checkpoints and half-written files have others."""

RECORD = "run.json"
"""What the database knows of a run, in the run's folder; it changes with every stage."""

OUTSIDE = "is registered, but is not the path of a file of the run"

SCHEMA: dict[str, Any] = {
    "run_id": pl.String,
    "path": pl.String,
    "stage": pl.String,
    "bytes": pl.Int64,
    "sha256": pl.String,
}


def measure(path: Path) -> tuple[int, str]:
    """Size in bytes and SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        return file.tell(), digest


def sha256(path: Path) -> str:
    """SHA-256 of a file's content."""
    return measure(path)[1]


def run_path(run_id: str) -> str:
    """Folder of a run's own files below the warehouse."""
    return f"runs/{run_id}"


def parquet_path(kind: str, run_id: str) -> str:
    """Folder of the Parquet files of a run below the warehouse; kind as the relation in raw."""
    return f"{kind}/run_id={run_id}"


def misplaced(run_id: str, place: str, kinds: Iterable[str]) -> str | None:
    """What keeps a registered path from being that of a file of its run; None when nothing does.

    A warehouse may come from a stranger, so no path of it is followed out of the run's folders.
    """
    parts = place.split("/")
    homes = [run_path(run_id), *(parquet_path(kind, run_id) for kind in kinds)]
    is_plain = all(part not in ("", ".", "..") and part.isprintable() for part in parts)
    if is_plain and "\\" not in place and is_safe(run_id):
        inside = any(place.startswith(f"{home}/") for home in homes)
        return None if inside else OUTSIDE
    return OUTSIDE


def results_in(folder: Path, place: str) -> Iterator[tuple[str, Path]]:
    """Results below a folder that is, or is to become, ``place``: (path to register, file)."""
    for path in sorted(folder.rglob("*")):
        is_result = path.suffix in RESULTS and path.is_file() and not path.is_symlink()
        if is_result and path != folder / RECORD:
            yield f"{place}/{path.relative_to(folder).as_posix()}", path


def describe_files(
    root: Path, run_id: str, stage: str, folders: Mapping[str, Path]
) -> pl.DataFrame:
    """Rows of raw.files for what a stage is about to publish.

    ``folders`` maps each kind of Parquet to its temporary folder; the training stage also has the
    folder of the run.
    """
    found = [
        pair
        for kind, folder in folders.items()
        for pair in results_in(folder, parquet_path(kind, run_id))
    ]
    if stage == "train":
        place = run_path(run_id)
        found += results_in(root / place, place)
    rows = [(run_id, place, stage, *measure(path)) for place, path in found]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def register_files(session: Session, run_id: str, stage: str, files: pl.DataFrame) -> None:
    """Make ``files`` those of a stage."""
    with session.transaction():
        session.execute(
            "delete from raw.files where run_id = $run_id and stage = $stage",
            {"run_id": run_id, "stage": stage},
        )
        session.insert("raw.files", files)
        session.check("raw.files", run_id)
