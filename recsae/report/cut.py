"""Text in too little room: a number in it is shown whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

ELLIPSIS = "…"

_PART = re.compile(r"[+-]?\d(?:[\d.,:/-]*\d)?(?:[eE][+-]?\d+)?%?|.", re.DOTALL)
"""A number, a date, or one letter."""


def cut(text: str, width: int) -> str:
    """The start of a text that fits, with an ellipsis where something is left out."""
    if cell_len(text) <= width:
        return text
    kept, used = "", 0
    for part in _PART.findall(text):
        if used + cell_len(part) > width - 1:
            break
        kept, used = kept + part, used + cell_len(part)
    return kept.rstrip() + ELLIPSIS if width > 0 else ""


def wrapped(text: str, width: int) -> list[str]:
    """Lines of a text: broken at blanks, and a longer word anywhere but in a number.

    A number that is wider than the room is an ellipsis.
    """
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cell_len(longer) <= width:
            lines[-1] = longer
        elif cell_len(word) <= width:
            lines.append(word)
        else:
            lines += _broken(word, width)
    return lines if lines[0] or len(lines) == 1 else lines[1:]


def _broken(word: str, width: int) -> Iterator[str]:
    line = ""
    for part in _PART.findall(word):
        shown = part if cell_len(part) <= width else ELLIPSIS
        if cell_len(line + shown) > width:
            yield line
            line = ""
        line += shown
    yield line


@dataclass(frozen=True)
class Cut:
    """One line of text, cut where it is too long for the console."""

    text: str
    style: str = ""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        yield Text(cut(self.text, options.max_width), style=self.style, no_wrap=True)
