"""The standard streams of a process that may have been started without them, or with full ones.

A closed stream is worse than a full one: the next file that is opened gets its number, and what is
meant for stdout or stderr is written into the database or into a result.
"""

from __future__ import annotations

import io
import os
import sys
from contextlib import suppress
from typing import Any


class Tolerant:
    """A text stream for narration: what cannot be written is lost, and nothing else is.

    Hours of training must not end because the file behind stderr is on a full disk.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def prepare() -> None:
    """Give all three streams a place, and make stdout UTF-8 whatever the locale.

    Reading stdin that was closed finds its end, writing to such a stdout fails as it does in other
    programs, and to such a stderr is lost.
    """
    # in order, since a new one gets the lowest free number
    for number, mode in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    if sys.stdin is None:
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), encoding="utf-8")
    if sys.stdout is None:
        # not io.FileIO in mode w: the number is open for reading, so that writing fails
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(_Closed()), encoding="utf-8")
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")
    sys.stderr = Tolerant(sys.stderr)


class _Closed(io.RawIOBase):
    """A stdout that nobody opened."""

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return 1

    def write(self, data: Any) -> int:
        return os.write(1, data)


def give_up_stdout() -> None:
    """Have what is still held for stdout go nowhere, so that the exit does not try again."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.stdout.flush()
