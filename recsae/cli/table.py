"""A result as a table for people: what does not fit is left out as a whole column, and told."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

GAP = "   "
LONGEST = 24
"""Columns that the longest word of a text, or of a heading, may claim for itself."""


class _Kept(NamedTuple):
    """A column that is shown."""

    place: int
    width: int
    numeric: bool


def table_text(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numeric: Sequence[bool],
    *,
    whole: Sequence[bool] | None = None,
    every: str = "--json",
) -> str:
    """A table as wide as the terminal, numbers to the right; without a terminal as wide as it is.

    Texts are wrapped. Columns that are ``numeric`` or ``whole`` (dates, say) are not: if they do
    not fit they are left out, which stderr is told with ``every``, the option that shows all.
    """
    from recsae.report.cut import wrapped
    from recsae.report.text import printable

    heads = [printable(column) for column in columns]
    cells = [[printable(cell) for cell in row] for row in rows]
    room = table_width()
    widths = fitted(heads, cells, whole or numeric, room)
    kept = [
        _Kept(place, width, numeric[place])
        for place, width in enumerate(widths)
        if width is not None
    ]
    if left := [head for head, width in zip(heads, widths, strict=True) if width is None]:
        columns_are = "1 column" if len(left) == 1 else f"{len(left)} columns"
        text = f"{columns_are} not shown: {', '.join(left)}; {every} or a wider terminal"
        print(text, file=sys.stderr)
    if not kept:
        return ""
    lines = _lines([_heading(heads[one.place], one.width) for one in kept], kept, top=False)
    lines.append("─" * (sum(one.width for one in kept) + len(GAP) * (len(kept) - 1)))
    for row in cells:
        lines += _lines([wrapped(row[one.place], one.width) for one in kept], kept)
    return "".join(line.rstrip() + "\n" for line in lines)


def table_width() -> int | None:
    """Columns of the terminal, or of COLUMNS; None where nothing limits a line."""
    given = os.environ.get("COLUMNS", "")
    if given.isascii() and given.isdigit() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns or None
    except (OSError, ValueError):
        return None


def fitted(
    heads: Sequence[str], rows: Sequence[Sequence[str]], whole: Sequence[bool], room: int | None
) -> list[int | None]:
    """Width of every column, None for one that is left out.

    From left to right a column is shown if what it needs at least still fits; what is left over
    goes to those that would like more.
    """
    from rich.cells import cell_len

    most = [
        max(map(cell_len, (head, *texts)), default=0) for head, texts in _by_column(heads, rows)
    ]
    if room is None:
        return list(most)
    least = [
        _least(head, texts, is_whole)
        for (head, texts), is_whole in zip(_by_column(heads, rows), whole, strict=True)
    ]
    widths: list[int | None] = []
    used = -len(GAP)
    for width in least:
        fits = used + len(GAP) + width <= room
        widths.append(width if fits else None)
        used += len(GAP) + width if fits else 0
    return _grown(widths, most, room - used)


def _by_column(
    heads: Sequence[str], rows: Sequence[Sequence[str]]
) -> list[tuple[str, tuple[str, ...]]]:
    texts = zip(*rows, strict=True) if rows else [()] * len(heads)
    return list(zip(heads, texts, strict=True))


def _least(head: str, texts: Sequence[str], is_whole: bool) -> int:
    """Columns without which a column cannot be shown."""
    from rich.cells import cell_len

    words = max(cell_len(piece.rstrip()) for piece in _pieces(head))
    if is_whole:
        return max([min(words, LONGEST), *map(cell_len, texts)])
    for text in texts:
        words = max([words, *map(cell_len, text.split(" "))])
    return max(min(words, LONGEST), 1)


def _grown(widths: list[int | None], most: Sequence[int], extra: int) -> list[int | None]:
    """What is left over, in like parts to all that would be wider."""
    grown = list(widths)
    while extra > 0 and (
        wanting := [i for i, width in enumerate(grown) if width is not None and width < most[i]]
    ):
        part = max(extra // len(wanting), 1)
        for place in wanting:
            width = grown[place] or 0
            more = min(part, most[place] - width, extra)
            grown[place], extra = width + more, extra - more
    return grown


def _pieces(head: str) -> list[str]:
    """Where a heading may be broken: after underscores and blanks."""
    return re.findall(r"[^_ ]*[_ ]*", head)[:-1] or [""]


def _heading(head: str, width: int) -> list[str]:
    """Lines of a heading; a part of it that is too long is cut."""
    from rich.cells import cell_len

    from recsae.report.cut import cut

    lines = [""]
    for piece in _pieces(head):
        if cell_len((lines[-1] + piece).rstrip()) <= width:
            lines[-1] += piece
        else:
            lines.append(cut(piece.rstrip(), width))
    return [line.rstrip() for line in lines if line] or [""]


def _lines(cells: Sequence[list[str]], kept: Sequence[_Kept], *, top: bool = True) -> list[str]:
    """The lines of a row; a heading stands on the rule, other cells begin at the top."""
    height = max(map(len, cells))
    blank = [[""] * (height - len(lines)) for lines in cells]
    full = [a + b if top else b + a for a, b in zip(cells, blank, strict=True)]
    return [
        GAP.join(_set(text, one.width, one.numeric) for text, one in zip(line, kept, strict=True))
        for line in zip(*full, strict=True)
    ]


def _set(text: str, width: int, right: bool) -> str:
    from rich.cells import cell_len

    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks
