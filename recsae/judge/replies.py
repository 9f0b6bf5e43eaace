"""Replies as lines of a file that only grows, so that a killed process loses none of them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from recsae.judge.prompts import TASKS

_CUT = ("length", "max_tokens", "max_output_tokens", "model_length", "token_limit")


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
        """The reply reached its limit of tokens, in the words of any server."""
        return (self.finish_reason or "").lower() in _CUT


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
    except (ValueError, TypeError, AttributeError, RecursionError):
        return None
    return reply if line.endswith(b"\n") and _is_sound(reply) else None


def _is_sound(reply: Reply) -> bool:
    """Whether every value is of its type, so that no later step stumbles over a damaged line."""
    words = (reply.reply_id, reply.task, reply.model)
    may_lack = (reply.text, reply.finish_reason, reply.asked, reply.error)
    counts = (reply.tokens_in, reply.tokens_out)
    fine = all(isinstance(value, str) for value in words) and reply.task in TASKS
    fine = fine and all(isinstance(value, str | None) for value in may_lack)
    fine = fine and all(_is_count(value) for value in counts)
    fine = fine and isinstance(reply.seconds, int | float | None)
    return fine and _is_moment(reply.asked)


def _is_count(value: object) -> bool:
    return value is None or (isinstance(value, int) and 0 <= value < 2**62)


def _is_moment(text: str | None) -> bool:
    try:
        return text is None or datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False
