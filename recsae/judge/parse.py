"""Replies of a language model as values; what cannot be read is None, never a default."""

from __future__ import annotations

import re

from recsae.judge.prompts import LONGEST_DESCRIPTION

_THOUGHT = re.compile(r"<think>.*?(</think>|\Z)", re.DOTALL)
_LEVEL = re.compile(
    r"[\s\"'*`(\[]*(?:(?:predicted |the )?(?:level|activation|answer)\s*(?:is|[:=])\s*)?"
    r"[\s\"'*`(\[]*([0-9]{1,2})(?:\.0+)?(?:\s*/\s*10)?[\s\"'*`)\].]*",
    re.IGNORECASE,
)
_OPENING = re.compile(r"\s*the latent looks for:?\s*", re.IGNORECASE)


def parse_level(text: str | None) -> int | None:
    """The whole number from 0 to 10 that the first line of a reply is; None for anything else.

    ``8``, ``8/10``, ``**8**`` and ``Level: 8`` are 8. A sentence with a number in it, two numbers,
    a fraction, a sign and 11 are not read.
    """
    found = _LEVEL.fullmatch(_first_line(text))
    if not found:
        return None
    level = int(found[1])
    return level if level <= 10 else None


def parse_description(text: str | None) -> str | None:
    """The first line of a reply without quotes around it, on one line; None when it is empty."""
    line = _OPENING.sub("", _first_line(text), count=1)
    line = " ".join(line.split()).strip("\"'`*“”")
    if not any(letter.isalpha() for letter in line):
        return None
    cut = len(line) > LONGEST_DESCRIPTION
    return line[: LONGEST_DESCRIPTION - 1] + "…" if cut else line


def _first_line(text: str | None) -> str:
    said = _THOUGHT.sub("", text or "").strip()
    return said.splitlines()[0].strip() if said else ""
