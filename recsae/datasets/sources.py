"""Files of a source as bytes: out of a folder, a zip archive or a wheel.

Members are found by their file name and read into memory up to a limit; nothing is ever extracted
by the path that an archive names.
"""

from __future__ import annotations

import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from recsae.errors import DataError

MAX_FILE = 64 * 2**20
"""Bytes that a file of ours may have when unpacked; the largest known one has 2 million."""
MAX_ARCHIVE = 256 * 2**20
"""Bytes that an archive may have."""

_ZIP_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    RuntimeError,  # encrypted
    NotImplementedError,  # unknown compression
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    MemoryError,
)


@dataclass(frozen=True)
class SourceFile:
    """A file's name, content and checksum."""

    name: str
    data: bytes

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


def read_source(source: Path, choices: Sequence[tuple[str, ...]]) -> tuple[SourceFile, ...]:
    """The first of ``choices`` (file names that belong together) that a source has completely.

    Errors: DataError naming what was looked for, or what is wrong with the archive.
    """
    if source.is_dir():
        found = _from_folder(source, choices)
    elif source.is_file():
        found = _from_zip(source, choices)
    else:
        raise DataError(f"{source} is neither a file nor a folder", "change --source")
    if not found:
        wanted = " or ".join(" and ".join(names) for names in choices)
        raise DataError(f"{source} has no {wanted}", "change --source")
    return found


def _from_folder(folder: Path, choices: Iterable[tuple[str, ...]]) -> tuple[SourceFile, ...]:
    for names in choices:
        for place in (folder, folder / "ml-100k"):
            paths = [place / name for name in names]
            if all(path.is_file() for path in paths):
                return tuple(SourceFile(path.name, _read_limited(path)) for path in paths)
    return ()


def _read_limited(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE + 1)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from None
    return _checked_size(data, str(path))


def _checked_size(data: bytes, name: str) -> bytes:
    if len(data) > MAX_FILE:
        raise DataError(f"{name} is larger than {MAX_FILE // 2**20} MB, so it is something else")
    return data


def _from_zip(path: Path, choices: Iterable[tuple[str, ...]]) -> tuple[SourceFile, ...]:
    try:
        if path.stat().st_size > MAX_ARCHIVE:
            raise DataError(f"{path} is larger than {MAX_ARCHIVE // 2**20} MB")
        with zipfile.ZipFile(path) as archive:
            return _from_members(archive, choices)
    except _ZIP_ERRORS as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise DataError(f"{path} cannot be read as a zip archive: {reason}") from None


def _from_members(
    archive: zipfile.ZipFile, choices: Iterable[tuple[str, ...]]
) -> tuple[SourceFile, ...]:
    by_name: dict[str, list[zipfile.ZipInfo]] = {}
    for member in archive.infolist():
        by_name.setdefault(PurePosixPath(member.filename).name, []).append(member)
    for names in choices:
        if all(name in by_name for name in names):
            return tuple(_member(archive, by_name[name]) for name in names)
    return ()


def _member(archive: zipfile.ZipFile, members: list[zipfile.ZipInfo]) -> SourceFile:
    name = PurePosixPath(members[0].filename).name
    if len(members) > 1:
        raise DataError(f"{archive.filename} has {len(members)} files named {name}")
    with archive.open(members[0]) as file:
        return SourceFile(name, _checked_size(file.read(MAX_FILE + 1), name))
