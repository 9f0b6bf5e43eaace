"""Folders and locks of a warehouse, usable without opening its database.

Training takes hours and holds no connection; it writes into a temporary folder that is renamed into
place at the end. Locks are held by the operating system, so a killed process frees them. What is
removed or replaced here carries the mark of ``marks``, so it is never somebody else's.
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
from recsae.saving import new_file
from recsae.warehouse.marks import (
    MARK,
    is_bare,
    is_folder,
    is_marked,
    link_to,
    links_in,
    mark,
    own_folder,
    plain_folder,
    refuse_link,
    require_own,
)

DATABASE = "recsae.duckdb"
YOUNG = 60.0
"""Seconds in which the lock of a temporary folder may be there before the folder."""

TEMPORARY = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,99})\.[0-9a-f]{8}")
"""Name of a temporary folder: what it is for, and digits drawn at random."""

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
    """Folder of a run's checkpoints and configuration, created if absent.

    DataError when it is a link or holds one: what is written or read there stays there.
    """
    root, place = root.resolve(), f"runs/{safe_name('run id', run_id)}"
    for link in links_in(root, place):
        refuse_link(root, link)
    return own_folder(root, place)


def parquet_folder(root: Path, kind: str, run_id: str) -> Path:
    """Where the Parquet files of a run are published; kind as the relation in raw."""
    return root.resolve() / kind / f"run_id={safe_name('run id', run_id)}"


@contextmanager
def temp_folder(root: Path, run_id: str) -> Iterator[Path]:
    """Yield a new marked folder under ``tmp/``; what is not moved away by the end is removed.

    Its name is taken under a lock first, so that ``clean_leftovers`` can tell a folder in use from
    one that a killed process left behind.
    """
    parent = plain_folder(root.resolve(), "tmp")
    folder = parent / f"{safe_name('run id', run_id)}.{secrets.token_hex(4)}"
    try:
        with file_lock(Path(f"{folder}.lock")):
            folder.mkdir()
            mark(folder, f"tmp/{folder.name}")
            yield folder
    finally:
        _remove(folder)


def file_lock(path: Path, timeout: float = 0) -> FileLock:
    """A lock for everybody who may write into the folder of its file."""
    return FileLock(path, timeout=timeout, mode=path.parent.stat().st_mode & 0o666 | 0o600)


def clean_leftovers(root: Path) -> list[Path]:
    """Remove the temporary folders of processes that no longer live; return them.

    A process may be killed before its new folder has a mark: an empty one with its lock goes too.
    """
    parent, removed = root / "tmp", []
    if not is_folder(parent):
        return []
    for folder in sorted(path for path in parent.iterdir() if TEMPORARY.fullmatch(path.name)):
        lock = Path(f"{folder}.lock")
        if _is_own(folder) or (is_folder(folder) and _is_begun(folder) and lock.is_file()):
            with suppress(Timeout, OSError), file_lock(lock):
                _remove(folder)
                removed.append(folder)
    for lock in parent.glob("*.lock"):
        with suppress(Timeout, OSError):
            if _is_lone(lock):
                with file_lock(lock):
                    lock.unlink()
    return removed


def only_temporary(parent: Path) -> bool:
    """Whether a folder ``tmp`` has nothing but locks, spilled data and temporary folders in it."""
    if not is_folder(parent):
        return False
    for path in parent.iterdir():
        named = TEMPORARY.fullmatch(path.name.removesuffix(".lock"))
        is_lock = named and path.suffix == ".lock" and path.is_file() and not path.stat().st_size
        if not (is_lock or path.name in ("locks", "spill") or _is_own(path) or _is_begun(path)):
            return False
    return True


def _is_own(folder: Path) -> bool:
    return is_marked(folder, f"tmp/{folder.name}")


def _is_begun(folder: Path) -> bool:
    return is_bare(folder, f"tmp/{folder.name}")


def _is_lone(lock: Path) -> bool:
    """The empty lock of a temporary folder that is gone; a young one may be about to be locked."""
    is_ours = TEMPORARY.fullmatch(lock.stem) and not lock.is_symlink()
    if not is_ours or os.path.lexists(lock.with_suffix("")):
        return False
    state = lock.stat()
    return state.st_size == 0 and time.time() - state.st_mtime > YOUNG


def _remove(folder: Path) -> None:
    """Remove a temporary folder: the mark after all that it stands for, the lock at the end.

    So a kill leaves a folder that is marked, or an empty one with its lock.
    """
    if _is_own(folder):
        for path in folder.iterdir():
            if path.name != MARK:
                remove(path)
    if is_folder(folder) and _is_begun(folder):
        with suppress(OSError):
            (folder / MARK).unlink(missing_ok=True)
            folder.rmdir()
    if not os.path.lexists(folder):
        Path(f"{folder}.lock").unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove a file, a link itself, or a folder with all that is in it; what resists stays."""
    with suppress(OSError):
        if is_folder(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


@contextmanager
def run_lock(root: Path, run_id: str) -> Iterator[None]:
    """Hold a run for this process; a second process gets a DataError naming the first at once."""
    path = _lock_path(root, run_id)
    plain_folder(root.resolve(), "tmp/locks")
    refuse_link(path.parent, path.name)
    holder = path.with_suffix(".json")
    try:
        with file_lock(path):
            with new_file(holder) as file:
                text = json.dumps({"pid": os.getpid(), "command": " ".join(sys.argv)})
                file.write(text.encode())
            yield
    except Timeout as error:
        if error.lock_file != str(path):
            raise
        raise DataError(
            f"run {run_id!r} is in use by {_holder(holder)}", "wait until it ends, or stop it"
        ) from None


def _lock_path(root: Path, run_id: str) -> Path:
    return root.resolve() / "tmp" / "locks" / f"{safe_name('run id', run_id)}.lock"


def is_locked(root: Path, run_id: str) -> bool:
    """Whether a process holds a run at this moment."""
    path = _lock_path(root, run_id)
    if not path.exists() or link_to(root.resolve(), f"tmp/locks/{path.name}"):
        return False
    try:
        with file_lock(path):
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


def replace_folder(new: Path, root: Path, place: str, own: re.Pattern[str]) -> None:
    """Rename ``new`` to ``root``/``place`` on the same file system; an old folder there goes away.

    DataError when that was not made by recsae, or holds files that are not named as in ``own``.
    Two renames cannot be one, so a kill between them leaves the place empty; nothing refers to it
    by then, because a stage that is being redone is not listed.
    """
    require_own(root, place, own)
    mark(new, place)
    _flush(new)
    target = root / place
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        aside = new.with_name(f"{new.name}.old")
        target.rename(aside)
        new.rename(target)
        shutil.rmtree(aside, ignore_errors=True)
    else:
        new.rename(target)


def _flush(folder: Path) -> None:
    """Have the files on disk before the database says that they exist."""
    for path in [*(p for p in folder.rglob("*") if p.is_file() and not p.is_symlink()), folder]:
        handle = os.open(path, os.O_RDONLY)
        try:
            with suppress(OSError):
                os.fsync(handle)
        finally:
            os.close(handle)
