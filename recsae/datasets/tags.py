"""Titles and tags of films: readable titles; tags of kind genre, year, decade and title_word."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import polars as pl

PREFIXES = {"genre": "genre", "year": "year", "decade": "decade", "title_word": "word"}
"""Kind of tag -> what its text starts with, so that no two kinds share a text."""

STOP_WORDS = frozenset(
    word
    for line in (
        "a an the and or but nor not no so if of in on at to by for from with into as up out down",
        "is are was be it its my me you your he his she her we our they their this that",
        "about over off who what when where why how vs",
        "mr mrs ms dr new old good great best big little first second third last",
        "one two three four five six seven eight nine ten ii iii iv vi vii viii",
        "das der el il la le les los un une de des du et en und",
    )
    for word in line.split()
)
"""Words of titles that say nothing about a film: they go with any noun, or stand for none."""

_YEAR = re.compile(r"(.*?)\s*\(([0-9]{4})\)(?:\s*\([A-Z]{1,3}\))?")
_YEARS = re.compile(r"(.*?)(\s*\([12][0-9]{3}(?:[-–](?:[12][0-9]{3})?)?\)(?:\s*\([A-Z]{1,3}\))?)")
_ARTICLE = re.compile(
    r"(.+), ((?i:the)|An?|an|La|Le|Les|L['’]|Il|Lo|Gli|Das|Der|Die|El|Los|Las|O|Os)"
)
"""As catalogues write them; ``Los Angeles, LA`` has none."""
_SECOND = re.compile(r"(.*\S)\s*\((.*)\)")
_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
HALF = re.compile("[\ud800-\udfff]")
"""Half of a character, which JSON and Python literals can write but no file can hold."""
_PURE_YEAR = re.compile(r"(1[89]|20)[0-9]{2}")


def split_year(title: str) -> tuple[str, int | None]:
    """``Net, The (1995)`` -> ``Net, The`` and 1995; a mark such as (V) after the year goes away."""
    found = _YEAR.fullmatch(title)
    if found and found[1]:
        return found[1], int(found[2])
    return title, None


def readable(title: str) -> str:
    """A title of any catalogue for people: blanks single, an article in front, years as they are.

    ``Dark Knight, The (2008)`` -> ``The Dark Knight (2008)``.
    """
    title = " ".join(title.split())
    found = _YEARS.fullmatch(title)
    name, years = (found[1], found[2]) if found else (title, "")
    return display_title(name, None) + years


def display_title(name: str, year: int | None) -> str:
    """Title for people: articles in front, also in a second name in brackets, then the year."""
    second = _SECOND.fullmatch(name)
    text = f"{_front(second[1])} ({_front(second[2])})" if second else _front(name)
    return text if year is None else f"{text} ({year})"


def _front(name: str) -> str:
    found = _ARTICLE.fullmatch(name)
    if not found:
        return name
    return found[2] + ("" if found[2].endswith(("'", "’")) else " ") + found[1]


def title_words(name: str) -> list[str]:
    """Words of a title in lower case, without stop words, single letters and years; sorted."""
    words = {word.replace("’", "'") for word in _WORD.findall(name.lower())}
    return sorted(
        word
        for word in words
        if len(word) > 1 and word not in STOP_WORDS and not _PURE_YEAR.fullmatch(word)
    )


def film_tags(name: str, year: int | None, genres: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Kind and text of every tag of a film."""
    values: dict[str, Sequence[str]] = {"genre": genres, "title_word": title_words(name)}
    if year is not None:
        values |= {"year": [str(year)], "decade": [f"{year // 10 * 10}s"]}
    for kind, texts in values.items():
        for text in texts:
            yield kind, f"{PREFIXES[kind]}:{text}"


def whole(text: str) -> str:
    """A text whose halves of characters are joined, or replaced where the other half is missing."""
    if not HALF.search(text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def kind_tag(kind: str, value: str) -> tuple[str, str]:
    """Kind and text of a tag; a value that is a bare number is written with its kind.

    Labels leave out what stands before the colon.
    """
    kind = kind.replace(":", "_")
    return kind, f"{kind}:{kind} {value}" if _NUMBER.fullmatch(value) else f"{kind}:{value}"


def tag_frame(
    tags: Sequence[tuple[object, str, str]], id_type: type[pl.Int64] | type[pl.String]
) -> pl.DataFrame:
    """Columns source_item_id, kind, tag."""
    schema = pl.Schema({"source_item_id": id_type(), "kind": pl.String(), "tag": pl.String()})
    return pl.DataFrame(list(tags), schema=schema, orient="row")


def film_frames(
    films: Sequence[tuple[int, str, Sequence[str]]],
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Items (source_item_id, title) and tags (source_item_id, kind, tag) of films.

    A film is its source id, its title as MovieLens writes it, and its genres.
    """
    items, tags = [], []
    for source_id, raw, genres in films:
        name, year = split_year(" ".join(raw.split()))
        items.append((source_id, display_title(name, year)))
        tags += [(source_id, *tag) for tag in film_tags(name, year, genres)]
    item_schema = {"source_item_id": pl.Int64, "title": pl.String}
    return pl.DataFrame(items, schema=item_schema, orient="row"), tag_frame(tags, pl.Int64)
