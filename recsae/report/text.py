"""Words and numbers as they may be printed; imports nothing heavy."""

from __future__ import annotations

import unicodedata

JOINERS = "\u200c\u200d"
"""Invisible, but Persian words and compound emoji need them."""


def printable(text: str) -> str:
    """Text that cannot steer a terminal: control and direction characters as escapes."""
    return "".join(c if _harmless(c) else repr(c)[1:-1] for c in text)


def _harmless(letter: str) -> bool:
    # isprintable() also refuses spaces other than the plain one, which titles do contain
    return letter.isprintable() or letter in JOINERS or unicodedata.category(letter) == "Zs"


def number(value: float | None, digits: int) -> str:
    """A plain number; a dash for NULL."""
    return "-" if value is None or value != value else f"{value:,.{digits}f}"


def share(value: float | None, digits: int = 3) -> str:
    """A number from 0 to 1 without its leading zero; a dash for NULL."""
    if value is None or value != value:
        return "-"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def percent(value: float | None) -> str:
    """A share in per cent; a dash for NULL."""
    return "-" if value is None or value != value else f"{value:.1%}"


def count(value: int | None, word: str = "") -> str:
    """A whole number, with its word if given: ``1 case``, ``2,000 cases``; a dash for NULL."""
    shown = "-" if value is None else f"{value:,}"
    if not word:
        return shown
    return f"{shown} {word}" if value == 1 else f"{shown} {word}s"


def short(value: int | None) -> str:
    """A whole number in at most six characters: ``99,999``, ``123k``, ``4,567k``, ``12M``."""
    if value is None:
        return "-"
    for unit, size in (("", 1), ("k", 1000), ("M", 1_000_000)):
        if len(text := f"{value // size:,}{unit}") <= 6:
            return text
    return f"{value:.0e}"
