"""Last.fm of HetRec 2011: artists that 1,892 users listened to, with the tags they gave.

There is no time. A user's artists are ordered by how often they were played, ties by artist id, so
the artist that a user plays most is the test item; ``time`` is the rank in that order, from 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsae.config import StageConfig, require
from recsae.datasets.collect import Ids, Interactions
from recsae.datasets.rows import Form, batches
from recsae.datasets.split import MIN_CORE, Raw, in_order, positives
from recsae.datasets.streams import Entry, Found, entries
from recsae.datasets.tags import tag_frame
from recsae.datasets.texts import Encoding
from recsae.errors import DataError

PLAYS, ARTISTS = "user_artists.dat", "artists.dat"
TAGS, TAGGED = "tags.dat", "user_taggedartists.dat"

FORM = Form("\t", encoding=Encoding("utf-8", fallback="latin-1"))
"""artists.dat is UTF-8, tags.dat Latin-1 as published."""

MIN_USERS = 2
"""Users who have to give a tag to an artist; with 1, most tags are one person's shelf marks."""


@dataclass(frozen=True)
class LastFMOptions(StageConfig):
    """Which interactions are kept."""

    core: int = 5
    """Least interactions of every user and item that is kept."""

    def __post_init__(self) -> None:
        require(self.core >= MIN_CORE, "--core", self.core, f"at least {MIN_CORE}")


def files(source: Path, items: Path | None = None) -> Found:
    """The files of a folder or zip archive."""
    return entries(source, (PLAYS, ARTISTS, TAGS, TAGGED))


def read(found: Found, options: LastFMOptions) -> Raw:
    """Interactions, artists and tags.

    Errors: DataError naming file, line and column.
    """
    artists = _texts(found[ARTISTS], "id", "name")
    items = Ids(whole=True, known=artists, known_in=ARTISTS)
    gathered = Interactions(Ids(whole=True), items, time="weight")
    for batch in batches(found[PLAYS], FORM, ("userID", "artistID", "weight")):
        gathered.add(batch, "userID", "artistID")
    plays, dropped = positives(gathered.frame(PLAYS), None)
    ranked = in_order(plays).with_columns(time="position").drop("position")
    tags, dropped_tags = _tags(found, artists)
    frame = pl.DataFrame(
        {"source_item_id": list(artists), "title": list(artists.values())},
        schema={"source_item_id": pl.String, "title": pl.String},
    )
    return Raw(
        ranked, frame, tags, {"duplicate": dropped["duplicate"], **dropped_tags}, rows=gathered.rows
    )


def _texts(entry: Entry, id_column: str, column: str) -> dict[str, str]:
    """Texts by id; DataError for an id or a text that is empty or an id that occurs twice."""
    texts: dict[str, str] = {}
    ids = Ids(whole=True)
    for batch in batches(entry, FORM, (id_column, column)):
        ids.encode(batch, id_column)
        for place, (_, (one, text)) in enumerate(batch.rows(id_column, column)):
            if not text.strip():
                raise batch.wrong(place, column, "a text")
            if one.strip() in texts:
                raise DataError(f"{batch.at(place)}: {id_column} {one.strip()} occurs twice")
            texts[one.strip()] = " ".join(text.split())
    return texts


def _tags(found: Found, artists: dict[str, str]) -> tuple[pl.DataFrame, dict[str, int]]:
    """Tags that MIN_USERS users gave to an artist, in lower case; and how many were left out."""
    texts = _texts(found[TAGS], "tagID", "tagValue")
    users, items = Ids(whole=True), Ids(whole=True)
    tags = Ids(whole=True, known=texts, known_in=TAGS)
    givers: dict[tuple[str, str], set[str]] = {}
    unknown = 0
    columns = ("userID", "artistID", "tagID")
    for batch in batches(found[TAGGED], FORM, columns):
        for ids, column in zip((users, items, tags), columns, strict=True):
            ids.encode(batch, column)
        for _, (user, artist, tag) in batch.rows(*columns):
            if artist.strip() in artists:
                pair = (artist.strip(), texts[tag.strip()].lower())
                givers.setdefault(pair, set()).add(user.strip())
            else:
                unknown += 1
    kept = [pair for pair, own in givers.items() if len(own) >= MIN_USERS]
    rows = [(artist, "user_tag", f"user_tag:{tag}") for artist, tag in kept]
    dropped = {"tag_unknown_item": unknown, "tag_one_user": len(givers) - len(kept)}
    return tag_frame(rows, pl.String), dropped
