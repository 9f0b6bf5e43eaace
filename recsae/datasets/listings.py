"""Lists that stand as text in a field: ``["a", "b"]``, ``['a', 'b']``, ``{'a', 'b'}``, ``{a,b}``.

JSON, the lists, tuples and sets of Python, arrays as numpy prints them (without commas) and those
of PostgreSQL. The text is taken apart here: nothing is evaluated.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from typing import Any

from recsae.datasets.tags import whole

MAX_TEXT = 2**16
"""Characters of a list; a longer text is none."""

_PAIRS = {"[": "]", "(": ")", "{": "}"}
_NOTHING = frozenset(("", "none", "null", "nan"))
"""Elements that say that there is none, in lower case."""

_STRING = r"""[bruBRU]?(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+')"""
_BARE = r"""[^\s,'"\[\](){}:][^,'"\[\](){}:]*"""
_ELEMENT = re.compile(rf"\s*(?:({_STRING})|({_BARE}))\s*", re.DOTALL)
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|(.))", re.DOTALL)
_BLANKS = {"n": " ", "t": " ", "r": " "}
_NUMBERS = re.compile(r"[-+0-9.eE]+(?:\s+[-+0-9.eE]+)+")


def looks_listed(text: str) -> bool:
    """Whether a text stands between brackets or braces."""
    return len(text) > 1 and _PAIRS.get(text[0]) == text[-1]


def elements(text: str) -> list[str] | None:
    """The elements of a list, in order, as text; None for a text that is no list.

    Of a list of objects with a name (``[{'id': 16, 'name': 'Animation'}]``) these are the names.
    """
    text = text.strip()
    if text in ("set()", "frozenset()", "list()", "tuple()"):
        return []
    if not looks_listed(text) or len(text) > MAX_TEXT:
        return None
    inside = text[1:-1]
    found = _named(text) if inside.lstrip().startswith("{") else _flat(inside)
    if found is None or (text[0] == "(" and len(found) < 2 and "," not in inside):
        return None  # a remark in brackets
    return [whole(one) for one in found if one.lower() not in _NOTHING]


def _flat(text: str) -> list[str] | None:
    found: list[str] = []
    at, comma = 0, True
    while at < len(text.rstrip()):
        element = _ELEMENT.match(text, at)
        if element is None:
            return None
        string, bare = element[1], element[2]
        if not comma and not string:
            return None
        found += [_unescaped(string)] if string else _numbers(bare.strip())
        at = element.end()
        comma = at < len(text) and text[at] == ","
        at += comma
    return found


def _numbers(bare: str) -> list[str]:
    """Numbers without commas between them, as numpy prints them; any other text is one element."""
    return bare.split() if _NUMBERS.fullmatch(bare) else [bare]


def _unescaped(string: str) -> str:
    quote = string[-1]
    return _ESCAPE.sub(_character, string[string.index(quote) + 1 : -1])


def _character(found: re.Match[str]) -> str:
    if code := found[1] or found[2]:
        return chr(int(code, 16))
    return _BLANKS.get(found[3], found[3])


def _named(text: str) -> list[str] | None:
    """Names of the objects of a list, written as JSON or as Python does."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        try:
            value = ast.literal_eval(text)  # evaluates nothing but literals
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return None
    names = list(_names(value)) if isinstance(value, list | tuple) else [None]
    return None if None in names else [name for name in names if name is not None]


def _names(values: Any) -> Iterator[str | None]:
    for one in values:
        name = one.get("name") if isinstance(one, dict) else None
        yield name if isinstance(name, str) else None
