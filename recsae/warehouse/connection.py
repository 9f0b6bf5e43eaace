"""Open the database file: settings, waiting for a lock, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import re
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import duckdb

from recsae.errors import DataError, RecsaeError, UsageError
from recsae.limits import memory_error

DEFAULT_MEMORY = "1GB"
STORAGE = "v1.0.0"
"""Format of a new database file, the oldest that DuckDB writes: every client since 1.0 reads it.

DuckDB 2 would write one that nothing before it opens. A file keeps its format, whoever opens it.
"""

_HOLDER = re.compile(r"lock is held in (.+?) \(PID (\d+)\)")
_DAMAGE = ("not a valid duckdb", "serialization", "corrupt", "could not read enough bytes")
_NEWER = ("but we can only read", "greater than the latest version supported")
_FULL = ("No space left", "Disk quota exceeded", "File too large")
_PAUSE = 0.05
"""Seconds between tries; other stages hold the file only for moments."""


class DamagedDatabase(DataError):
    """The database file is not what DuckDB wrote."""

    def __init__(self, root: Path, reason: str) -> None:
        super().__init__(
            f"the warehouse database {root / 'recsae.duckdb'} is damaged: {reason}",
            "recsae repair makes a new one of runs/ and the Parquet folders, and keeps it",
        )
        self.reason = reason
        """What DuckDB says."""


class NewerDatabase(DataError):
    """The database file is of a DuckDB later than the one that is installed."""

    def __init__(self, root: Path) -> None:
        place = root / "recsae.duckdb"
        super().__init__(
            f"DuckDB {duckdb.__version__} is too old for the warehouse database {place}",
            "install a newer one (pip install -U duckdb), or where that is, "
            "recsae schema --upgrade writes the database for older ones too",
        )


def connect(
    path: Path | None, root: Path, *, read_only: bool, wait: float
) -> duckdb.DuckDBPyConnection:
    """Connect to a file (None: memory), for ``wait`` seconds while another process has it."""
    deadline = time.monotonic() + wait
    database = ":memory:" if path is None else str(path)
    while True:
        try:
            connection = duckdb.connect(database, read_only=read_only, config=settings(root))
            # it would be written among the data on stdout
            connection.execute("set enable_progress_bar = false")
            with suppress(duckdb.Error):  # DuckDB 1 knows no time zones without an extension
                connection.execute("set TimeZone = 'UTC'")
            return connection
        except (duckdb.Error, OSError) as error:
            if _is_lock(error) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
                continue
            raise open_error(error, root, read_only=read_only) from None


def settings(root: Path) -> dict[str, str | bool | int | float | list[str]]:
    """DuckDB's configuration.

    The order of rows is kept even though dropping it would save memory: a result without ORDER BY
    would then differ from run to run.
    """
    return {
        "memory_limit": os.environ.get("RECSAE_MEMORY") or DEFAULT_MEMORY,
        "threads": _threads(),
        "temp_directory": _spill_folder(root),
        "autoinstall_known_extensions": "false",
        # of files that the connection creates or attaches as new, not of one that is there
        "storage_compatibility_version": STORAGE,
    }


def _threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _spill_folder(root: Path) -> str:
    inside = root / "tmp"
    is_link = inside.is_symlink() or (inside / "spill").is_symlink()
    if not is_link and os.access(inside if inside.exists() else root, os.W_OK):
        return str(inside / "spill")
    # of this process, since nobody else may write into it
    return str(Path(tempfile.gettempdir()) / f"recsae-spill-{os.getuid()}-{os.getpid()}")


def _is_lock(error: Exception) -> bool:
    text = str(error)
    return "Could not set lock" in text or "being used by another process" in text


def open_error(error: Exception, root: Path, *, read_only: bool) -> RecsaeError:
    """What a failure to open the database means to the user."""
    text = getattr(error, "strerror", None) or first_line(error)
    if _is_lock(error):
        return _locked(str(error), root, read_only=read_only)
    if "different configuration" in text or "Unique file handle" in text:
        return DataError(f"the warehouse {root} is already open in this process")
    if "Allocation failure" in text or "bad allocation" in text:  # not of what DuckDB may have
        return DataError(*memory_error(MemoryError(text)) or (text,))
    if "memory" in text.lower() and "IO Error" not in text:
        return UsageError(f"RECSAE_MEMORY: {text}", "use a size such as 1GB")
    if any(mark in text for mark in _NEWER):
        return NewerDatabase(root)
    if is_damage(error):
        return DamagedDatabase(root, text)
    return storage_error(error, root) or DataError(f"cannot open the warehouse {root}: {text}")


def is_shortage(error: BaseException) -> bool:
    """Whether memory or disk ran out, which says nothing about what was being read."""
    short = any(mark in str(error) for mark in _FULL)
    return short or memory_error(error) is not None


def is_damage(error: BaseException) -> bool:
    """Whether DuckDB found in a file what it did not write there."""
    return any(mark in str(error).lower() for mark in _DAMAGE)


def _locked(text: str, root: Path, *, read_only: bool) -> DataError:
    held = _HOLDER.search(text)
    holder = f"{held[1]} (PID {held[2]})" if held else "another process"
    copy = f"wait until it ends, or read a copy: cp -r {root} COPY; recsae query --warehouse COPY"
    if not read_only and "read-only mode" in text:
        copy = "it only reads: end it to write; reading works meanwhile (recsae query)"
    return DataError(f"the warehouse {root} is in use by {holder}", copy)


def storage_error(error: Exception, root: Path) -> DataError | None:
    """DataError in one line when the disk is full or refuses to be written; else None."""
    text = str(error)
    code = getattr(error, "errno", None)
    if code in (errno.ENOSPC, errno.EDQUOT) or any(mark in text for mark in _FULL):
        return DataError(f"no space left on the disk of {root}", "free some space and repeat")
    denied = (errno.EACCES, errno.EPERM, errno.EROFS)
    if code in denied or "Permission denied" in text or "Read-only file system" in text:
        return DataError(f"cannot write to {root}: permission denied", "choose --warehouse FOLDER")
    return None


def first_line(error: BaseException) -> str:
    """First line of an error, which in DuckDB is the sentence without the caret picture."""
    return str(error).strip().split("\n", 1)[0]
