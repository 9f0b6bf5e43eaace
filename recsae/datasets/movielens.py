"""MovieLens 100K, from GroupLens' own files or from the copy in the RecBole wheel.

Both are brought to the same ratings and films, so that every route ends in the same tables. Titles
are brought to the form of ``u.item``: RecBole puts the brackets at their end into a column of its
own, which is the year for all films but one that ends in "(V)" and one that has no year.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsae.config import StageConfig, require
from recsae.datasets.lines import Cells, first_repeated, split_headed, split_rows
from recsae.datasets.sources import SourceFile
from recsae.datasets.split import MIN_CORE, Raw, positives
from recsae.datasets.tags import film_frames
from recsae.errors import DataError

GENRES = (
    *("unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime"),
    *("Documentary", "Drama", "Fantasy", "Film-Noir", "Horror", "Musical", "Mystery"),
    *("Romance", "Sci-Fi", "Thriller", "War", "Western"),
)
"""Order of the flags in ``u.item``."""

GROUPLENS = ("u.data", "u.item")
RECBOLE = ("ml-100k.inter", "ml-100k.item")

EXPECTED = {"ratings": 100_000, "users": 943, "items": 1_682}
"""What the complete data have."""

FINGERPRINT = "019765a400b4bc82c8a94756ae9140d66729d03571ea8011a6d19896373d4bb1"
"""Of the canonical tables with the default options."""

KNOWN_FILES = {
    "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
}
"""SHA-256 of RecBole's files. For GroupLens' single files none is published."""

_DATA_COLUMNS = ("user id", "item id", "rating", "timestamp")
_ITEM_COLUMNS = ("movie id", "movie title", "release date", "video date", "URL", *GENRES)
_NO_YEAR = "unkonwn"
"""RecBole's spelling, for the title too, of the one film that has neither title nor year."""


@dataclass(frozen=True)
class ML100KOptions(StageConfig):
    """Which interactions are kept; the defaults are the reference's."""

    min_rating: float = 4.0
    """Ratings below this are no sign of interest and are left out (ratings run from 1 to 5)."""
    core: int = 5
    """Least interactions of every user and item that is kept."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "min_rating", float(self.min_rating))
        require(1 <= self.min_rating <= 5, "--min-rating", self.min_rating, "from 1 to 5")
        require(self.core >= MIN_CORE, "--core", self.core, f"at least {MIN_CORE}")


def genuine(files: Sequence[SourceFile]) -> bool:
    """Whether all files have the checksum of the published ones."""
    return all(KNOWN_FILES.get(file.name) == file.sha256 for file in files)


def read(files: Sequence[SourceFile], options: ML100KOptions) -> Raw:
    """Interactions, films and tags of a rating file and a film file of either form.

    Errors: DataError naming file, line and column, or the number that shows the data incomplete.
    """
    data, item = files
    if data.name in GROUPLENS:
        ratings, films = _rating_frame(data, _grouplens_rows(data)), _grouplens_films(item)
    else:
        ratings, films = _rating_frame(data, _recbole_rows(data)), _recbole_films(item)
    _check_complete(ratings, films, data, item)
    items, tags = film_frames(films)
    kept, dropped = positives(ratings, options.min_rating)
    return Raw(kept, items, tags, dropped)


Rating = tuple[int, int, float, int]
Film = tuple[int, str, list[str]]


def _grouplens_rows(file: SourceFile) -> list[tuple[int, list[str]]]:
    return split_rows(file, "latin-1", "\t", _DATA_COLUMNS)


def _recbole_rows(file: SourceFile) -> list[tuple[int, list[str]]]:
    return split_headed(file, "utf-8-sig", ("user_id", "item_id", "rating", "timestamp"))


def _rating_frame(file: SourceFile, rows: Sequence[tuple[int, list[str]]]) -> pl.DataFrame:
    """Columns source_user_id, source_item_id, rating, time."""
    cells = Cells(file)
    ratings: list[Rating] = [
        (
            cells.integer(line, "user id", user),
            cells.integer(line, "item id", item),
            cells.number(line, "rating", rating),
            cells.whole(line, "timestamp", time),
        )
        for line, (user, item, rating, time) in rows
    ]
    schema = {
        "source_user_id": pl.Int64,
        "source_item_id": pl.Int64,
        "rating": pl.Float64,
        "time": pl.Int64,
    }
    return pl.DataFrame(ratings, schema=schema, orient="row")


def _grouplens_films(file: SourceFile) -> list[Film]:
    cells = Cells(file)
    films = []
    for line, fields in split_rows(file, "latin-1", "|", _ITEM_COLUMNS):
        flags = fields[-len(GENRES) :]
        for genre, flag in zip(GENRES, flags, strict=True):
            if flag not in ("0", "1"):
                raise cells.error(line, genre, flag, "0 or 1")
        genres = [genre for genre, flag in zip(GENRES, flags, strict=True) if flag == "1"]
        source_id = cells.integer(line, "movie id", fields[0])
        films.append((source_id, cells.text(line, "movie title", fields[1]), genres))
    return films


def _recbole_films(file: SourceFile) -> list[Film]:
    cells = Cells(file)
    films = []
    columns = ("item_id", "movie_title", "release_year", "class")
    for line, (item, name, year, genres) in split_headed(file, "utf-8-sig", columns):
        cells.text(line, "movie_title", name)
        title = "unknown" if year == _NO_YEAR else f"{name} ({cells.text(line, columns[2], year)})"
        for genre in genres.split():
            if genre not in GENRES:
                raise cells.error(line, "class", genre, "a genre of MovieLens")
        films.append((cells.integer(line, "item_id", item), title, genres.split()))
    return films


def _check_complete(
    ratings: pl.DataFrame, films: Sequence[Film], data: SourceFile, item: SourceFile
) -> None:
    """Compare with EXPECTED; film ids have to be unique."""
    for index in first_repeated([film[0] for film in films]):
        raise DataError(f"{item.name}: film {films[index][0]} occurs twice")
    known = ratings["source_item_id"].is_in([film[0] for film in films])
    if not known.all():
        source_id = ratings["source_item_id"].filter(~known)[0]
        raise DataError(f"{data.name}: item {source_id} has ratings but is not in {item.name}")
    found = {
        "ratings": (data.name, ratings.height),
        "users": (data.name, ratings["source_user_id"].n_unique()),
        "items": (item.name, len(films)),
    }
    for what, (name, number) in found.items():
        if number != EXPECTED[what]:
            raise DataError(
                f"{name} has {number:,} {what}, but MovieLens 100K has {EXPECTED[what]:,}"
            )
