"""Text files of any size in blocks of whole lines, whatever their encoding and line ends."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

from recsae.datasets.streams import Entry
from recsae.errors import DataError, UsageError

BLOCK = 2**22
"""Bytes that are read at once."""
MAX_LINE = 2**24
"""Bytes of a line; a longer one is no line of a table."""
SNIFFED = 2**16
"""Bytes at the start that tell the line ends and some encodings."""

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""First bytes of a text that says its encoding; the longer ones first, which start like others."""


@dataclass(frozen=True)
class Encoding:
    """How the characters of a text are written."""

    name: str = "utf-8"
    fallback: str | None = None
    """Encoding of the lines that are not in the first one."""
    option: bool = False
    """Whether ``--encoding`` can change it."""


UTF8 = Encoding()


def check_encoding(name: str) -> None:
    """UsageError unless it is the name of an encoding of texts."""
    try:
        known = "a,\n".encode(name).decode(name) == "a,\n"
    except (LookupError, ValueError, TypeError):  # codecs that are not of texts have names as well
        known = False
    if not known:
        raise UsageError(
            f"--encoding is {name!r}, but it must be an encoding of texts",
            "such as utf-8, latin-1, cp1252 or utf-16",
        )


def text_blocks(entry: Entry, encoding: Encoding = UTF8) -> Iterator[tuple[int, str]]:
    """Number of the first line, and text, of blocks of whole lines, each ended by a line feed.

    A text with a mark of UTF-16 or UTF-32 is read as such. Where only carriage returns end lines,
    as on an old Mac, they do. Counts the lines in the tally of the entry.
    Errors: DataError for a line that is too long or not in the encoding.
    """
    with entry.stream() as stream:
        start = stream.read(SNIFFED)
    name = next((one for mark, one in _MARKS.items() if start.startswith(mark)), encoding.name)
    wide = name if "\n,".encode(name) != b"\n," else None
    if wide:
        encoding = UTF8
    elif b"\0" in start:
        hint = "give --encoding utf-16-le or utf-16-be if it is" if encoding.option else None
        raise DataError(
            f"{entry.name} holds NUL bytes: it is no text, or UTF-16 without mark", hint
        )
    old_mac = not wide and b"\n" not in start and b"\r" in start
    number, rest = 1, b""
    with entry.stream() as stream:
        for block in _pieces(stream, entry.name, wide):
            block = block.replace(b"\r", b"\n") if old_mac else block
            whole, end, rest = (rest + block).rpartition(b"\n")
            if len(rest) > MAX_LINE:
                raise DataError(f"{entry.name} has a line of more than {MAX_LINE:,} bytes")
            if end:
                lines = whole.count(b"\n") + 1
                entry.tally.lines += lines
                yield number, _decoded(entry.name, number, whole + end, encoding)
                number += lines
    if rest:
        entry.tally.lines += 1
        yield number, _decoded(entry.name, number, rest.removesuffix(b"\r"), encoding)


def _pieces(stream: IO[bytes], name: str, wide: str | None) -> Iterator[bytes]:
    """The bytes of a stream; those of a ``wide`` encoding, whose commas are no byte, as UTF-8."""
    decoder = codecs.getincrementaldecoder(wide)() if wide else None
    while True:
        block = stream.read(BLOCK)
        if decoder is None:
            if not block:
                return
            yield block
            continue
        try:
            yield decoder.decode(block, final=not block).encode()
        except UnicodeError:
            raise DataError(f"{name} is not {wide} text", "change --encoding") from None
        if not block:
            return


def _decoded(name: str, number: int, block: bytes, encoding: Encoding) -> str:
    if number == 1:
        block = block.removeprefix(codecs.BOM_UTF8)
    try:
        return block.decode(encoding.name)
    except UnicodeDecodeError as error:
        if encoding.fallback is None:
            line = number + block.count(b"\n", 0, error.start)
            hint = "--encoding latin-1 or cp1252 reads older files" if encoding.option else None
            raise DataError(f"{name} line {line}: not {encoding.name} text", hint) from None
    lines = block.split(b"\n")
    return "\n".join(_either(line, encoding.name, encoding.fallback) for line in lines)


def _either(line: bytes, encoding: str, fallback: str) -> str:
    try:
        return line.decode(encoding)
    except UnicodeDecodeError:
        return line.decode(fallback)
