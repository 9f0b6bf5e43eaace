"""Text of strangers made fit to be stored and shown."""

from __future__ import annotations

import re

from recsae.report.text import printable

_HALF = re.compile("[\ud800-\udfff]")
_ANSI = re.compile(r"\x1b\[[0-9;?]{0,20}[A-Za-z]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def whole(text: str) -> str:
    """Text that can be stored: half a surrogate pair becomes the replacement character."""
    return _HALF.sub("\ufffd", text)


def one_line(text: str, longest: int = 200) -> str:
    """Text on one line that cannot steer a terminal, cut to ``longest`` characters."""
    head = _ANSI.sub("", text[: longest * 8])
    line = " ".join(whole(_CONTROL.sub(" ", head)).split())
    return printable(line if len(line) <= longest else line[: longest - 1] + "…")


def without_controls(text: str) -> str:
    """Text without control characters and the colours of a terminal."""
    return _CONTROL.sub(" ", _ANSI.sub("", whole(text)))
