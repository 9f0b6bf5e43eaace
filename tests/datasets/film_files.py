"""Source files of films and ratings in both forms, small or made from the real ones."""

from __future__ import annotations

import random
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsae.datasets.movielens import GENRES
from recsae.errors import RecsaeError

Film = tuple[int, str, list[str]]
"""Id, title as u.item has it, genres."""
Rating = tuple[int, int, int, int]
"""User, item, rating, time."""

EXPECTED = {"ratings": 400, "users": 40, "items": 20}
WORDS = ("Star", "Night", "River", "Love", "City")


@contextmanager
def clear_errors() -> Iterator[None]:
    """Let errors of ours pass if they are of one line; any other exception fails the test."""
    try:
        yield
    except RecsaeError as error:
        if "\n" in error.message:
            raise


def toy_films() -> list[Film]:
    """20 films: titles with articles, a mark after the year, one without a year, non-ASCII."""
    films = [
        (i, f"{WORDS[i % 5]} Story {i}, The ({1990 + i % 7})", [GENRES[1 + i % 3]])
        for i in range(1, 18)
    ]
    films.append((18, "unknown", ["unknown"]))
    films.append((19, "Misérables, Les (1995)", ["Drama", "Musical"]))
    films.append((20, "Great Giving (1995) (V)", ["Animation"]))
    return films


def toy_ratings(seed: int = 0) -> list[Rating]:
    """Ten ratings by each of 40 users; every fourth is a low one."""
    rng = random.Random(seed)
    return [
        (user, item, 2 if rng.random() < 0.25 else rng.randint(4, 5), 1000 + rng.randrange(50))
        for user in range(1, 41)
        for item in rng.sample(range(1, 21), 10)
    ]


def data_lines(ratings: list[Rating]) -> bytes:
    """``u.data``."""
    return "".join("\t".join(map(str, rating)) + "\n" for rating in ratings).encode()


def item_lines(films: list[Film]) -> bytes:
    """``u.item``."""
    lines = []
    for source_id, title, genres in films:
        flags = [str(int(genre in genres)) for genre in GENRES]
        lines.append("|".join([str(source_id), title, "01-Jan-1995", "", "a url", *flags]))
    return ("\n".join(lines) + "\n").encode("latin-1")


def inter_lines(ratings: list[Rating]) -> bytes:
    """``ml-100k.inter``."""
    return b"user_id:token\titem_id:token\trating:float\ttimestamp:float\n" + data_lines(ratings)


def recbole_item_lines(films: list[Film]) -> bytes:
    """``ml-100k.item``: what is in brackets at the end of a title becomes the year."""
    lines = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    for source_id, title, genres in films:
        name, _, year = title.rstrip()[:-1].rpartition(" (")
        if title == "unknown":
            name = year = "unkonwn"
        lines.append(f"{source_id}\t{name}\t{year}\t{' '.join(genres)}")
    return ("\n".join(lines) + "\n").encode()


def grouplens_files(films: list[Film], ratings: list[Rating]) -> dict[str, bytes]:
    return {"u.data": data_lines(ratings), "u.item": item_lines(films)}


def recbole_files(films: list[Film], ratings: list[Rating]) -> dict[str, bytes]:
    return {"ml-100k.inter": inter_lines(ratings), "ml-100k.item": recbole_item_lines(films)}


def write_folder(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def write_zip(path: Path, files: dict[str, bytes], inside: str = "ml-100k/") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(inside + name, data)
    return path


def real_grouplens_files(folder: Path) -> dict[str, bytes]:
    """GroupLens' two files, made from RecBole's: its title, blank and spelling quirks undone."""
    ratings = (folder / "ml-100k.inter").read_bytes().split(b"\n", 1)[1]
    films = []
    for line in (folder / "ml-100k.item").read_text(encoding="utf-8").split("\n")[1:]:
        if line:
            source_id, name, year, genres = line.split("\t")
            title = "unknown" if name == "unkonwn" else f"{name} ({year})"
            title += " " if source_id == "1201" else ""
            films.append((int(source_id), title, genres.split()))
    return {"u.data": ratings, "u.item": item_lines(films)}
