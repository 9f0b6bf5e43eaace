"""Files of a large source as streams: out of a folder or a zip archive, read once or twice, never
as a whole.

Members are found by their file name; nothing is ever extracted by the path that an archive names.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, cast

from recsae.errors import DataError

_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    struct.error,
    NotImplementedError,  # unknown compression
    EOFError,
    OSError,
)
"""What a damaged archive or disk raises while it is read."""

_MAGIC = {
    b"PK\x03\x04": "a zip archive",
    b"PAR1": "a Parquet file",
    b"\x1f\x8b": "a gzip file",
    b"%PDF": "a PDF file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite f": "a database",
}
"""First bytes of files that are no text, whatever their name says."""


def _reason(error: Exception) -> str:
    """Why reading failed, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split("\n")[0][:200]


@dataclass(frozen=True)
class Entry:
    """A file of a source that can be opened, again and again."""

    name: str
    opens: Callable[[], IO[bytes]]

    @contextmanager
    def raw(self) -> Iterator[IO[bytes]]:
        """The bytes as they are stored; DataError when they cannot be read."""
        try:
            with self.opens() as file:
                yield file
        except _BROKEN as error:
            raise DataError(f"{self.name} cannot be read: {_reason(error)}") from None

    @contextmanager
    def stream(self) -> Iterator[IO[bytes]]:
        """The bytes of a text file, unpacked when its name ends in .gz.

        Errors: DataError for a file that is of another kind than its name says.
        """
        packed = self.name.endswith(".gz")
        with self.raw() as file:
            start = file.read(8)
        kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
        if packed and kind != "a gzip file":
            raise DataError(f"{self.name} is {kind or 'no gzip file'}, not what its name says")
        if not packed and kind:
            raise DataError(f"{self.name} is {kind}, not the text that its name says")
        with self.raw() as file:
            yield cast(IO[bytes], gzip.GzipFile(fileobj=file)) if packed else file

    @cached_property
    def sha256(self) -> str:
        """Of the bytes as they are stored."""
        digest = hashlib.sha256()
        with self.raw() as file:
            while block := file.read(2**20):
                digest.update(block)
        return digest.hexdigest()


Found = dict[str, Entry]
"""Files of a source by the name that they are looked for under."""


def single(path: Path) -> Entry:
    """A file named by the user; DataError when it is none."""
    if not path.is_file():
        raise DataError(f"{path} is no file", "change the option that names it")
    return Entry(path.name, lambda: path.open("rb"))


def entries(
    source: Path, wanted: Sequence[str], optional: Sequence[str] = (), inside: str = ""
) -> Found:
    """Files by name out of a folder (or its subfolder ``inside``) or a zip archive.

    Errors: DataError naming what is missing, or what is wrong with the archive.
    """
    if source.is_dir():
        found = _of_folder(source, (*wanted, *optional))
        if inside and not any(name in found for name in wanted):
            found = _of_folder(source / inside, (*wanted, *optional)) or found
    elif source.is_file():
        found = _of_zip(source, (*wanted, *optional))
    else:
        raise DataError(f"{source} is neither a file nor a folder", "change --source")
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(f"{source} has no {' and no '.join(missing)}", "change --source")
    return found


def _of_folder(folder: Path, names: Sequence[str]) -> Found:
    return {name: single(folder / name) for name in names if (folder / name).is_file()}


def _of_zip(path: Path, names: Sequence[str]) -> Found:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except (*_BROKEN, ValueError, OverflowError) as error:
        raise DataError(f"{path} cannot be read as a zip archive: {_reason(error)}") from None
    found: Found = {}
    for member in members:
        name = PurePosixPath(member.filename).name
        if name in found:
            raise DataError(f"{path} has more than one file named {name}")
        if name in names:
            found[name] = Entry(name, _member(path, member))
    return found


def _member(path: Path, member: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
    def opens() -> IO[bytes]:
        archive = zipfile.ZipFile(path)  # stays open for as long as the member does
        try:
            return archive.open(member)
        except RuntimeError as error:  # encrypted
            raise OSError(str(error)) from None

    return opens
