"""Replies as lines of a file that only grows, so that a killed process loses none of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self


@dataclass(frozen=True)
class Reply:
    """What a model answered to a prompt."""

    reply_id: str
    task: str
    model: str
    text: str | None
    """None when the server refused this prompt."""
    finish_reason: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    seconds: float | None = None
    asked: str | None = None
    """UTC, as ISO 8601 without a zone."""
    error: str | None = None

    @property
    def was_cut(self) -> bool:
        """The reply reached its limit of tokens."""
        return self.finish_reason == "length"


class Replies:
    """The replies of a run by id; the last line with an id counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.known: dict[str, Reply] = {}
        self._file: int | None = None

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Read what is there and append to it for the length of a with block."""
        replies = cls.read(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
        replies._file = os.open(path, flags, 0o666)
        try:
            replies._end_last_line()
            yield replies
        finally:
            os.close(replies._file)
            replies._file = None

    @classmethod
    def read(cls, path: Path) -> Self:
        """What is there; lines that are no reply, as a power cut leaves them, are passed over."""
        replies = cls(path)
        if path.exists():
            with path.open("rb") as lines:
                for line in lines:
                    if (reply := _reply(line)) is not None:
                        replies.known[reply.reply_id] = reply
        return replies

    def add(self, reply: Reply) -> None:
        """Write a reply to the disk before it counts."""
        assert self._file is not None, "opened for reading"
        line = json.dumps(asdict(reply), ensure_ascii=True, sort_keys=True) + "\n"
        data = line.encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)
        self.known[reply.reply_id] = reply

    def _end_last_line(self) -> None:
        """Close the half line of a writer that died, so that the next reply has its own."""
        assert self._file is not None
        size = os.lseek(self._file, 0, os.SEEK_END)
        if size and os.pread(self._file, 1, size - 1) != b"\n":
            os.write(self._file, b"\n")


def _reply(line: bytes) -> Reply | None:
    try:
        values: dict[str, Any] = json.loads(line)
        known = {field.name for field in fields(Reply)}
        reply = Reply(**{key: value for key, value in values.items() if key in known})
    except (ValueError, TypeError, AttributeError):
        return None
    return reply if isinstance(reply.reply_id, str) and line.endswith(b"\n") else None
