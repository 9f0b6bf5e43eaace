"""Small sources of every form that a user may bring, as files in memory."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from datasets.film_files import write_folder

from recsae.datasets import canonical, prepare, read_dataset
from recsae.errors import DataError

PAIRS = [(user, item) for user in range(1, 7) for item in range(1, 7)]
"""Six users who met the same six items, in order of the item."""

GENRES = {1: "Drama", 2: "Drama|War", 3: "Drama", 4: "Drama", 5: "Drama", 6: "War"}

Files = dict[str, bytes]


def lines(*rows: object) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def ml_1m() -> Files:
    ratings = [f"{user}::{item}::{4 + item % 2}::{100 + item}" for user, item in PAIRS]
    films = [f"{item}::Bête {item}, The (199{item})::{genres}" for item, genres in GENRES.items()]
    return {
        "ratings.dat": lines(*ratings, "1::7::3::50"),
        "movies.dat": lines(*films, "7::Bad (2000)::War").decode().encode("latin-1"),
    }


def lastfm() -> Files:
    plays = [f"{user}\t{item}\t{1000 - 10 * item}" for user, item in PAIRS]
    artists = [f"{item}\tBänd {item}\turl\tpicture" for item in range(1, 7)]
    tagged = [f"{user}\t{item}\t{tag}\t1\t4\t2009" for user, item in PAIRS for tag in (1, 2)]
    tagged = [row for row in tagged if row.split("\t")[2] == "1" or row.startswith("1\t")]
    tags = "tagID\ttagValue\n1\tRock Français\n2\tmine\n"
    return {
        "user_artists.dat": lines("userID\tartistID\tweight", *plays),
        "artists.dat": lines("id\tname\turl\tpictureURL", *artists),
        "tags.dat": tags.encode("latin-1"),
        "user_taggedartists.dat": lines(
            "userID\tartistID\ttagID\tday\tmonth\tyear", *tagged, "2\t99\t1\t1\t4\t2009"
        ),
    }


def rechorus() -> Files:
    head = "user_id\titem_id\ttime"
    train = [f"{user}\t{item}\t{item // 3}" for user, item in PAIRS if item < 5]
    related = {i: "[1, 2, 3, 4, 5]" if i < 6 else "[6, 7, 8]" for i in range(2, 9)}
    related[1] = "[2, 3, 99]"
    meta = [f"{i}\t{i // 6}\t{related[i]}\t[]" for i in range(1, 9)]
    return {
        "train.csv": lines(head, *train),
        "dev.csv": lines(head, *(f"{user}\t5\t1" for user in range(1, 7))),
        "test.csv": lines(head, *(f"{user}\t6\t0" for user in range(1, 7))),
        "item_meta.csv": lines("item_id\ti_category\tr_complement\tr_substitute", *meta),
        "item_info.csv": lines("item_id\ttitle\tother", '1\t"One ""1"""\tx', "2\tTwo\tx"),
    }


def amazon() -> Files:
    reviews = [
        {"reviewerID": f"A{u}", "asin": f"B00{i}", "overall": 1.0, "unixReviewTime": i, "x": [1]}
        for u, i in PAIRS
    ]
    meta = [
        {
            "asin": f"B00{item}",
            "title": f"Tea &amp; Leaf {item}",
            "brand": "Acme" if item < 6 else "",
            "categories": [["Grocery", "Tea", "Black"], ["Grocery"]],
        }
        for item in range(1, 7)
    ]
    literals = [repr(one) for one in meta[:3]] + [json.dumps(one) for one in meta[3:]]
    return {
        "reviews_Tea_5.json.gz": packed(lines(*map(json.dumps, reviews))),
        "meta_Tea.json.gz": packed(lines(*literals, "{'asin': 'unused', broken")),
    }


def csv() -> Files:
    rows = [f'u{user},"it, {item}",{item}.5,{item % 2 + 4}' for user, item in PAIRS]
    songs = [f'"it, {item}","Song\n{item}",pop|{"a b" if item < 6 else ""}' for item in range(1, 8)]
    return {
        "plays.csv": lines("who,what,when,stars", *rows),
        "songs.csv": lines("what,t,m", *songs),
    }


CSV = {"user": "who", "item": "what", "time": "when"}
FORMS = {
    "ml-1m": ml_1m(),
    "lastfm-2k": lastfm(),
    "rechorus": rechorus(),
    "amazon": amazon(),
    "csv": csv(),
}


def prepared(form: str, folder: Path, files: Files, **options: object) -> canonical.Dataset:
    """Prepare a source of this form from files, in a folder of its own, under the name ``own``."""
    source = write_folder(folder / "source", files)
    given: dict[str, object] = {"stored_as": "own", "source": source, "force": True}
    if form == "csv":
        given |= {"source": source / "plays.csv", **CSV}
        given |= {"items_file": source / "songs.csv", "title": "t", "tags": "m"}
    prepare(form, folder / "data", **(given | options))
    return read_dataset("own", folder / "data")


def refusal(form: str, folder: Path, files: Files, **options: object) -> str:
    """The message of the one line with which a source is refused."""
    with pytest.raises(DataError) as caught:
        prepared(form, folder, files, **options)
    assert "\n" not in caught.value.message
    assert not (folder / "data" / "own").exists()
    return caught.value.message
