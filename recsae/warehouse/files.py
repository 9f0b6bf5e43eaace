"""Folders and locks of a warehouse, usable without opening its database.

Training takes hours and holds no connection; it writes into a temporary folder that is renamed into
place at the end. Locks are held by the operating system, so a killed process frees them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from recsae.errors import DataError, UsageError

DATABASE = "recsae.duckdb"
YOUNG = 60.0
"""Seconds in which the lock of a temporary folder may be there before the folder."""

_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_safe(text: str) -> bool:
    """Whether a text can name a folder everywhere."""
    return _SAFE.fullmatch(text) is not None


def safe_name(kind: str, text: str) -> str:
    """Return ``text`` if it can name a folder everywhere, else raise UsageError."""
    if is_safe(text):
        return text
    raise UsageError(
        f"{kind} {text!r} cannot be used as a folder name",
        "use letters, digits, dots, dashes and underscores, at most 100",
    )


def run_folder(root: Path, run_id: str) -> Path:
    """Folder of a run's checkpoints and configuration, created if absent."""
    folder = root.resolve() / "runs" / safe_name("run id", run_id)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def parquet_folder(root: Path, kind: str, run_id: str) -> Path:
    """Where the Parquet files of a run are published; kind as the relation in raw."""
    return root.resolve() / kind / f"run_id={safe_name('run id', run_id)}"


@contextmanager
def temp_folder(root: Path, run_id: str) -> Iterator[Path]:
    """Yield a new empty folder under ``tmp/``; what is not moved away by the end is removed.

    Its name is taken under a lock first, so that ``clean_leftovers`` can tell a folder in use from
    one that a killed process left behind.
    """
    parent = root.resolve() / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    folder = parent / f"{safe_name('run id', run_id)}.{secrets.token_hex(4)}"
    lock = FileLock(f"{folder}.lock", timeout=0)
    try:
        with lock:
            folder.mkdir()
            yield folder
    finally:
        _remove(folder)


def clean_leftovers(root: Path) -> list[Path]:
    """Remove the temporary folders of processes that no longer live; return them."""
    removed = []
    for folder in sorted((root / "tmp").glob("*.*")):
        if not folder.is_dir():
            continue
        with suppress(Timeout), FileLock(f"{folder}.lock", timeout=0):
            _remove(folder)
            removed.append(folder)
    for lock in (root / "tmp").glob("*.lock"):
        with suppress(Timeout, FileNotFoundError):
            # a young one may be about to be locked
            if not lock.with_suffix("").exists() and time.time() - lock.stat().st_mtime > YOUNG:
                with FileLock(lock, timeout=0):
                    lock.unlink()
    return removed


def _remove(folder: Path) -> None:
    # the lock first: to everybody a folder without one is a leftover, but not a lock alone
    Path(f"{folder}.lock").unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def run_lock(root: Path, run_id: str) -> Iterator[None]:
    """Hold a run for this process; a second process gets a DataError naming the first at once."""
    path = root.resolve() / "tmp" / "locks" / f"{safe_name('run id', run_id)}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_suffix(".json")
    try:
        with FileLock(path, timeout=0):
            holder.write_text(json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv)}))
            yield
    except Timeout as error:
        if error.lock_file != str(path):
            raise
        raise DataError(
            f"run {run_id!r} is in use by {_holder(holder)}", "wait until it ends, or stop it"
        ) from None


def is_locked(root: Path, run_id: str) -> bool:
    """Whether a process holds a run at this moment."""
    path = root.resolve() / "tmp" / "locks" / f"{safe_name('run id', run_id)}.lock"
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that may only be read: nobody else works in it either
        return False


def _holder(path: Path) -> str:
    try:
        known = json.loads(path.read_text())
        return f"{known['command']} (PID {known['pid']})"
    except (OSError, ValueError, KeyError):
        return "another process"


def replace_folder(new: Path, place: Path) -> None:
    """Rename ``new`` to ``place`` on the same file system; an old folder there goes away.

    Two renames cannot be one, so a kill between them leaves the place empty; nothing refers to it
    by then, because a stage that is being redone is not listed.
    """
    _flush(new)
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.exists():
        aside = new.with_name(f"{new.name}.old")
        place.rename(aside)
        new.rename(place)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        new.rename(place)


def _flush(folder: Path) -> None:
    """Have the files on disk before the database says that they exist."""
    for path in [*(p for p in folder.rglob("*") if p.is_file()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(handle)
        finally:
            os.close(handle)
