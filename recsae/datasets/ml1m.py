"""MovieLens 1M: ratings.dat and movies.dat of GroupLens, between double colons."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from recsae.datasets.collect import Ids, Interactions
from recsae.datasets.movielens import ML100KOptions
from recsae.datasets.rows import Form, batches
from recsae.datasets.split import Raw, positives
from recsae.datasets.streams import Entry, Found, entries
from recsae.datasets.tags import film_frames
from recsae.datasets.texts import Encoding
from recsae.errors import DataError

RATINGS, MOVIES = "ratings.dat", "movies.dat"
EXPECTED = 1_000_209
"""Ratings of the published data."""

RATING_FORM = Form("::", ("user id", "movie id", "rating", "timestamp"))
MOVIE_FORM = Form("::", ("movie id", "title", "genres"), Encoding(fallback="latin-1"))
"""Latin-1 as published; a copy in UTF-8 is taken as well."""


@dataclass(frozen=True)
class ML1MOptions(ML100KOptions):
    """The same options and defaults as for MovieLens 100K."""


def files(source: Path, items: Path | None = None) -> Found:
    """The files of a folder or of the archive of GroupLens."""
    return entries(source, (RATINGS, MOVIES), inside="ml-1m")


def read(found: Found, options: ML1MOptions) -> Raw:
    """Interactions, films and tags.

    Errors: DataError naming file, line and column.
    """
    films = _films(found[MOVIES])
    known = {str(film) for film, _, _ in films}
    items = Ids(whole=True, known=known, known_in=MOVIES)
    gathered = Interactions(Ids(whole=True), items, time="timestamp", rating="rating")
    for batch in batches(found[RATINGS], RATING_FORM, RATING_FORM.columns or ()):
        gathered.add(batch, "user id", "movie id")
    notes: tuple[str, ...] = ()
    if gathered.rows != EXPECTED:
        notes = (f"{RATINGS} has {gathered.rows:,} ratings; MovieLens 1M has {EXPECTED:,}",)
    kept, dropped = positives(gathered.frame(RATINGS), options.min_rating)
    return Raw(kept, *film_frames(films), dropped, notes, rows=gathered.rows)


def _films(entry: Entry) -> list[tuple[int, str, list[str]]]:
    """Id, title and genres of every film."""
    films: dict[int, tuple[int, str, list[str]]] = {}
    ids = Ids(whole=True)
    columns = ("movie id", "title", "genres")
    for batch in batches(entry, MOVIE_FORM, columns):
        ids.encode(batch, "movie id")
        for place, (_, (text, title, genres)) in enumerate(batch.rows(*columns)):
            source_id = int(text.strip())  # int() alone keeps control characters
            if source_id in films:
                raise DataError(f"{batch.at(place)}: film {source_id} occurs twice")
            if not title.strip():
                raise batch.wrong(place, "title", "a text")
            named = sorted({genre.strip() for genre in genres.split("|")} - {""})
            films[source_id] = (source_id, title, named)
    return list(films.values())
