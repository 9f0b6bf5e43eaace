"""Replies of a language model as values; what cannot be read is None, never a default."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from recsae.judge.prompts import LONGEST_DESCRIPTION
from recsae.judge.thoughts import answer
from recsae.judge.words import without_controls

READING = 2
"""Counted up when the same reply may be read otherwise, so that stored results are read anew."""

LONGEST_LINE = 200
"""Characters of a line that may be a level."""

MOST_LINES = 50
"""Lines of a reply in which a level is looked for."""


# -- levels ---------------------------------------------------------------------------------------

_SURE = r"(?:(?:sure|certainly|of course|okay|ok|alright|absolutely|understood)\b[!,.:]*\s*)?"
_LABEL = (
    r"(?:(?:the|my|a|final|predicted|estimated|activation|overall|latent's?|correct)\s+)*"
    r"(?:level|activation|answer|prediction|rating|score|response|result|output|estimate)"
    r"(?:\s+(?:level|of the latent|of activation|(?:for|at) this moment))*"
    r"(?:\s*,?\s*\(?0\s*(?:-|–|to)\s*10\)?)?"
)
_LEVEL = re.compile(
    rf"{_SURE}(?:here(?:'s|’s| is)\s+)?(?P<label>{_LABEL}\s*(?:is\b|would be\b|[:=]|[-=]>|→)?\s*)?"
    r"[\s\"'(\[“‘«「$\\]*(?P<level>[0-9]{1,2})(?:\.0+)?(?:\s*\(?(?:/|out of|of)\s*10)?"
    r"[\s\"')\].”’»」$\\]*(?:\([^()0-9]{1,60}\)\.?)?",
    re.IGNORECASE,
)
_BOXED = re.compile(r"\\boxed\{\s*(?:\\text\{)?([^{}]{0,20})\}")
_MARKDOWN = re.compile(r"(?<![0-9])[*`_]+|[*`_]+(?![0-9])|^#{1,6}\s")
_CORRECTION = re.compile(
    r"\b(?:wait|actually|or rather|correction|second thought)\b[^\n]{0,200}?"
    r"(?<![\d.])(?:10|\d)(?![\d.]?\d)",
    re.IGNORECASE,
)
_WIDE = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)} | {0x3000: 0x20}
"""Characters of full width as East Asian keyboards and models write them."""

_LEVEL_LETTERS: dict[int, int | None] = {**_WIDE, 0xFEFF: None, 0x200B: None, 0x2060: None}
"""The same, without what has no width at all."""

_LEVEL_KEYS = {
    *("level", "answer", "activation", "prediction", "activationlevel", "predictedlevel"),
    *("latentlevel", "finalanswer", "finallevel", "predictedactivation", "rating", "score"),
    *("result", "output", "response", "value"),
}


class _UnclearError(Exception):
    """The reply gives no level, or more than one."""


def parse_level(text: str | None, *, was_cut: bool = False) -> int | None:
    """The one whole number from 0 to 10 that a reply gives; None for anything else.

    ``8``, ``8/10``, ``**8**``, ``Level: 8``, ``{"level": 8}`` and ``8 out of 10`` are 8, behind
    thoughts and a line such as "Here is the level:" as well. A sentence with a number in it, two
    numbers that differ, a range, a fraction, a sign and 11 are not read; nor is a 1 at the end of
    a reply that ``was_cut``, which may be the start of a 10.
    """
    said = answer(text).translate(_LEVEL_LETTERS)
    try:
        found = {*_json_levels(said), *_boxed_levels(said)}
        found |= _line_levels(_without_json(said), found)
    except _UnclearError:
        return None
    if len(found) != 1:
        return None
    level = found.pop()
    if was_cut and level == 1 and (text or "").translate(_WIDE).endswith("1"):
        return None
    return level


def _within(level: float) -> int:
    if not 0 <= level <= 10 or level != int(level):  # the first is false for NaN
        raise _UnclearError
    return int(level)


def _line_level(line: str) -> tuple[int, bool] | None:
    """The level that a line is and whether it says so; _UnclearError for a number beyond 10."""
    if len(line) > LONGEST_LINE:
        return None
    found = _LEVEL.fullmatch(" ".join(_MARKDOWN.sub("", line).split()))
    if not found:
        return None
    return _within(int(found["level"])), bool(found["label"])


def _line_levels(said: str, known: set[int]) -> set[int]:
    """Levels that the first line is, or any that says "level" or "answer"; bare others if so."""
    lines = [line.strip() for line in said.splitlines()[: MOST_LINES * 4] if line.strip()]
    while lines and _is_preamble(lines[0]):
        lines.pop(0)
    lines = [line for line in lines if not line.startswith(("```", "~~~"))][:MOST_LINES]
    read = [(place, _line_level(line)) for place, line in enumerate(lines)]
    levels = [(place, *found) for place, found in read if found is not None]
    told = {level for place, level, labelled in levels if labelled or place == 0}
    if not (told or known):
        return set()
    if _CORRECTION.search("\n".join(line[:LONGEST_LINE] for line in lines)):
        raise _UnclearError
    return {level for _, level, _ in levels}


def _is_preamble(line: str) -> bool:
    plain = _MARKDOWN.sub("", line).strip()
    if len(plain) > LONGEST_LINE or re.search(r"\d", plain.replace("0 to 10", "")):
        return False
    return plain.endswith(":") or bool(_GREETING.fullmatch(plain))


def _boxed_levels(said: str) -> set[int]:
    found = set()
    for inside in _BOXED.findall(said):
        read = _line_level(inside)
        if read is None:
            raise _UnclearError
        found.add(read[0])
    return found


def _json_levels(said: str) -> set[int]:
    return {level for value in _values(said) if (level := _level_of(value)) is not None}


def _level_of(value: Any, depth: int = 0) -> int | None:
    """The level in a JSON value; None without any, _UnclearError with a wrong one or several."""
    if isinstance(value, bool) or value is None or depth > 3:
        raise _UnclearError
    if isinstance(value, int | float):
        return _within(value)
    if isinstance(value, str):
        read = _line_level(value.strip())
        if read is None:
            raise _UnclearError
        return read[0]
    if isinstance(value, list):
        if len(value) != 1:
            raise _UnclearError
        return _level_of(value[0], depth + 1)
    named = [inner for key, inner in value.items() if _plain_key(key) in _LEVEL_KEYS]
    if not named:
        named = [inner for inner in value.values() if not isinstance(inner, str)]
        named = named or (list(value.values()) if len(value) == 1 else [])
    levels = {_level_of(inner, depth + 1) for inner in named}
    if len(levels) > 1:
        raise _UnclearError
    return levels.pop() if levels else None


# -- JSON in a reply ------------------------------------------------------------------------------

_FLAT = re.compile(r"\{[^{}]*\}")


def _plain_key(key: str) -> str:
    return "".join(letter for letter in key.casefold() if letter.isalpha())


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name stands twice")
    return values


def _loads(text: str) -> Any:
    """A JSON value; ValueError for anything else, however deeply it is nested."""
    try:
        return json.loads(text, object_pairs_hook=_object, strict=False)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _values(said: str) -> Iterator[Any]:
    """The JSON objects and lists of a reply: all of it, from brace to brace, or the flat ones."""
    start, end = said.find("{"), said.rfind("}")
    for text in (said, said[start : end + 1] if 0 <= start < end else ""):
        try:
            value = _loads(text)
        except ValueError:
            continue
        if isinstance(value, dict | list):
            yield value
            return
    for place, found in enumerate(_FLAT.finditer(said)):
        if place == MOST_LINES:
            return
        for text in (found[0], found[0].replace("'", '"')):
            try:
                value = _loads(text)
            except ValueError:
                continue
            yield value
            break


def _without_json(said: str) -> str:
    start, end = said.find("{"), said.rfind("}")
    return said if not 0 <= start < end else f"{said[:start]}\n{said[end + 1 :]}"


# -- descriptions ---------------------------------------------------------------------------------

_OPENING = re.compile(r"(?:based on [^,:\n]{0,100},\s*)?the latent looks for:?\s*", re.IGNORECASE)
_NOUNS = r"(?:sentence|description|answer|summary|latent|response|output|result|concept|what)"
_INTERJECTION = (
    r"(?:sure(?: thing)?|certainly|of course|okay|ok|alright|absolutely|understood|got it|great"
    r"|yes|thank you|thanks)[!.,:]+"
)
_HELP = r"(?:i(?:'d| would|’d) be |i am |i'm |i’m )?(?:happy|glad) to help[^.!:\n]{0,60}[.!:]"
_GREETING = re.compile(rf"(?:{_INTERJECTION}|{_HELP})(?:\s*{_HELP})?", re.IGNORECASE)
_PREAMBLE = re.compile(
    rf"(?:{_INTERJECTION}\s*)?(?:{_HELP}\s*)?"
    rf"(?:(?:here(?:'s|’s| is| are)|below is)\b(?=[^:\n]{{0,120}}\b{_NOUNS}\b)"
    r"[^:\n]{0,120}:\s*)?"
    rf"(?:(?:(?:the|my|final|one|single)\s+){{0,2}}{_NOUNS}(?: (?:sentence|description))?\s*:\s*)?",
    re.IGNORECASE,
)
_HEADING = re.compile(rf"(?:(?:the|my|final)\s+)?{_NOUNS}\s*:?", re.IGNORECASE)
_MONOLOGUE = re.compile(
    r"(?:(?:okay|ok|alright|all right|hmm+|well|so|right|first|now|got it)\b[,.!…]*\s+)*"
    r"(?:the user (?:wants|is asking|asks|asked|has|gave|provided|needs)\b"
    r"|let me\b|let's\b|let’s\b|let us\b|i (?:need|have to|should|must|will|am|was|can(?:no|')t)\b"
    r"|i'(?:ll|m)\b|i’(?:ll|m)\b|we (?:need|have to|have|are|should|must|can)\b|we're\b|we’re\b"
    r"|to (?:determine|figure out|solve)\b|looking at th(?:e|ese) (?:moments|data|examples|user))",
    re.IGNORECASE,
)
"""How thoughts without any mark begin, and refusals; no description does."""

_THINKS = re.compile(
    r"(?:reasoning|thinking(?: process)?|thought process|thoughts?|analysis)\s*:", re.IGNORECASE
)
_CONCLUDES = re.compile(r"(?:final )?(?:answer|description|sentence)\s*:", re.IGNORECASE)
"""Headings of a reply that thinks aloud, and of what it comes to."""

_DESCRIPTION_KEYS = {
    *("description", "sentence", "answer", "summary", "latent", "concept", "finalanswer"),
    *("latentdescription", "output", "result", "response", "text", "looksfor", "thelatentlooksfor"),
}
_THOUGHT_KEYS = {"reasoning", "thought", "thoughts", "thinking", "analysis", "explanation"}


def parse_description(text: str | None) -> str | None:
    """The sentence of a reply on one line, without quotes, marks or a preamble; None without any.

    Thoughts, with or without a mark, are no sentence.
    """
    said = answer(text)
    sentence = _json_sentence(said)
    line = _sentence_line(said if sentence is None else sentence)
    line = line[found.end() :] if (found := _OPENING.match(line)) else line
    line = " ".join(without_controls(line).split()).strip("\"'`*_“”").strip()
    if not any(letter.isalpha() for letter in line) or _MONOLOGUE.match(line):
        return None
    cut = len(line) > LONGEST_DESCRIPTION
    return line[: LONGEST_DESCRIPTION - 1] + "…" if cut else line


def _sentence_line(said: str) -> str:
    """The first line that is no fence, greeting, heading or thought, without its preamble."""
    thinks = False
    for raw in said.splitlines():
        line = raw.strip()
        if line.startswith(("```", "~~~")) or not line:
            continue
        if line.startswith(("{", "[{")):  # JSON that is broken, or holds no sentence
            return ""
        line = re.sub(r"^(?:#{1,6}|[-*•>])\s+", "", line).replace("**", "").strip()
        thinks = (thinks or bool(_THINKS.match(line))) and not _CONCLUDES.match(line)
        if thinks or _HEADING.fullmatch(line) or _GREETING.fullmatch(line):
            continue
        if rest := line[_PREAMBLE.match(line).end() :].strip():  # type: ignore[union-attr]
            return rest
    return ""


def _json_sentence(said: str) -> str | None:
    """The sentence of a reply in JSON; None when there is no such object in it."""
    for value in _values(said):
        if not isinstance(value, dict):
            continue
        named = {_plain_key(key): inner for key, inner in value.items() if isinstance(inner, str)}
        for key in named:
            if key in _DESCRIPTION_KEYS:
                return named[key]
        others = [inner for key, inner in named.items() if key not in _THOUGHT_KEYS]
        if len(others) == 1:
            return others[0]
    return None
