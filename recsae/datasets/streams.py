"""Files of a large source as streams: out of a folder or a zip archive, read once or twice, never
as a whole.

Members are found by their file name; nothing is ever extracted by the path that an archive names.
"""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

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
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ\x00": "an xz file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"7z\xbc\xaf": "a 7z archive",
    b"Rar!": "a RAR archive",
    b"\xd0\xcf\x11\xe0": "an Excel file",
    b"%PDF": "a PDF file",
    b"\x89HDF": "an HDF5 file",
    b"SQLite f": "a database",
}
"""First bytes of files that are no text, whatever their name says."""


def _zstd(file: IO[bytes]) -> IO[bytes]:
    import pyarrow as pa

    return cast(IO[bytes], pa.CompressedInputStream(pa.PythonFile(file, mode="r"), "zstd"))


_PACKED: dict[str, tuple[str, Callable[[IO[bytes]], Any]]] = {
    ".gz": ("a gzip file", lambda file: gzip.GzipFile(fileobj=file)),
    ".bz2": ("a bzip2 file", bz2.BZ2File),
    ".xz": ("an xz file", lzma.LZMAFile),
    ".zst": ("a zstd file", _zstd),
}
"""Suffix of a packed text -> what such a file is, and how it is unpacked."""

_OTHER_WAYS = {
    "a zip archive": "unpack it first",
    "a 7z archive": "unpack it first",
    "a RAR archive": "unpack it first",
    "a Parquet file": "recsae data prepare parquet, or --interactions FILE.parquet, reads it",
    "an Excel file": "save it as CSV",
}


@dataclass
class Tally:
    """Where the lines of a text file went."""

    lines: int = 0
    """Line ends in the file, and one more for a last line without."""
    names: int = 0
    """Lines, at most one, with the names of the columns."""
    rows: int = 0
    empty: int = 0
    """Lines without anything in them."""
    continued: int = 0
    """Lines that go on with the row before."""
    skipped: int = 0
    """Lines about things that nobody asked for."""
    odd: dict[str, list[int]] = field(default_factory=dict)
    """Lines by the way in which their quotes were read, where it is not that of RFC 4180."""
    unit: str = "line"
    """row for a file that has no lines."""

    def check(self, name: str) -> None:
        """DataError unless every line of the file is accounted for."""
        known = self.names + self.rows + self.empty + self.continued + self.skipped
        if known != self.lines:
            raise DataError(
                f"{name} has {self.lines:,} {self.unit}s, but {known:,} were read, which is a "
                "fault of recsae: nothing was prepared"
            )

    def notes(self, name: str) -> Iterator[str]:
        """What is to be said about the lines of a file of this name."""
        others = {
            "of names": self.names,
            "empty": self.empty,
            "continuations of fields that span lines": self.continued,
            "not needed": self.skipped,
        }
        parts = ", ".join(f"{n:,} {what}" for what, n in others.items() if n)
        if self.unit == "line":
            yield f"{name}: {self.lines:,} lines = {self.rows:,} rows" + (parts and f" + {parts}")
        for kind, text in _ODD.items():
            if lines := self.odd.get(kind):
                some = "line" if len(lines) == 1 else "lines"
                yield f"{name}: {len(lines):,} {some} {text}: {_some(lines)}"


def _some(lines: list[int], most: int = 3) -> str:
    """The first line numbers."""
    more = ", ..." if len(lines) > most else ""
    word = "line" if len(lines) == 1 else "lines"
    return f"{word} {', '.join(map(str, lines[:most]))}{more}"


_ODD = {
    "literal": "with a stray quote, which was taken as text; --quote none takes all quotes so",
    "escaped": 'with \\" for a quote inside a field, read so',
    "spanning": "with a quoted field that goes on in the next lines, read as one field",
}
"""Kind of reading -> what it means."""


def _reason(error: Exception) -> str:
    """Why reading failed, in one line."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).split("\n")[0][:200]


@dataclass(frozen=True)
class Entry:
    """A file of a source that can be opened, again and again."""

    name: str
    opens: Callable[[], IO[bytes]]
    tallies: list[Tally] = field(default_factory=list, compare=False)
    """Of the latest reading, at most one."""

    @property
    def tally(self) -> Tally:
        """Where the lines went when the file was read; all zero before."""
        return self.tallies[0] if self.tallies else self.start_tally()

    def start_tally(self) -> Tally:
        """A new tally, for a reading that starts."""
        self.tallies[:] = [Tally()]
        return self.tallies[0]

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
        """The bytes of a text file, unpacked when its name ends in .gz, .bz2, .xz or .zst.

        Errors: DataError for a file that is of another kind than its name says.
        """
        with self.raw() as file:
            start = file.read(8)
        kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), None)
        suffix = next((one for one in _PACKED if self.name.lower().endswith(one)), None)
        if suffix is not None and kind != _PACKED[suffix][0]:
            wanted = _PACKED[suffix][0].split(" ", 1)[1]
            raise DataError(
                f"{self.name} is {kind or f'no {wanted}'}, not what its name says",
                "give it the suffix of what it is",
            )
        if suffix is None and kind:
            other = next((one for one, (packed, _) in _PACKED.items() if packed == kind), None)
            hint = f"rename it to {self.name}{other}" if other else _OTHER_WAYS.get(kind)
            raise DataError(f"{self.name} is {kind}, not the text that its name says", hint)
        with self.raw() as file:
            yield cast(IO[bytes], _PACKED[suffix][1](file) if suffix else file)

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
