"""Every reader, given anything: prepared tables or one clear error, and nothing half-written."""

from __future__ import annotations

import csv
import gzip
import io
import json
import tempfile
import zipfile
from pathlib import Path
from unittest import mock

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import film_files, own_files
from datasets.own_files import CSV, PAIRS, Files, lines, packed
from hypothesis import example, given, settings
from hypothesis import strategies as st

from recsae.datasets import canonical, movielens, prepare, read_dataset

few = settings(max_examples=8, deadline=None)
many = settings(max_examples=300, deadline=None)


def parquet() -> Files:
    """Interactions and items with a column of every type that ids, times and tags may have."""
    users, items = zip(*PAIRS, strict=True)
    plays = pl.DataFrame({"who": users, "what": [f"i{one}" for one in items], "when": items})
    plays = plays.with_columns(pl.from_epoch("when", time_unit="s"))
    songs = pl.DataFrame({"what": [f"i{n}" for n in range(1, 8)], "t": ["Søng"] * 7})
    songs = songs.with_columns(m=pl.lit(["pop", "old"]))
    return {"plays.parquet": written(plays.to_arrow()), "songs.parquet": written(songs.to_arrow())}


def written(table: pa.Table) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream)
    return stream.getvalue()


def splits() -> Files:
    """CSV with its own split."""
    parts = dict(enumerate(["train"] * 4 + ["dev", "test"], start=1))
    return {
        "plays.csv": lines("who,what,when,part", *(f"{u},{i},{i},{parts[i]}" for u, i in PAIRS))
    }


FILMS, RATINGS = film_files.toy_films(), film_files.toy_ratings()
DESCRIBED = {"title": "t", "tags": "m"}
SOURCES: dict[str, tuple[str, Files]] = {
    "ml-100k": ("ml-100k", film_files.grouplens_files(FILMS, RATINGS)),
    "ml-100k of recbole": ("ml-100k", film_files.recbole_files(FILMS, RATINGS)),
    "ml-100k zip": ("ml-100k", film_files.grouplens_files(FILMS, RATINGS)),
    "ml-1m": ("ml-1m", own_files.ml_1m()),
    "ml-1m zip": ("ml-1m", own_files.ml_1m()),
    "lastfm-2k": ("lastfm-2k", own_files.lastfm()),
    "rechorus": ("rechorus", own_files.rechorus()),
    "rechorus zip": ("rechorus", own_files.rechorus()),
    "amazon": ("amazon", own_files.amazon()),
    "csv": ("csv", own_files.csv()),
    "csv with a split": ("csv", splits()),
    "parquet": ("parquet", parquet()),
}


def attempt(kind: str, files: Files, archive: bytes | None = None) -> canonical.Dataset | None:
    """Prepare files of a kind of source; None where they are refused in one line.

    Whichever it is, the data folder holds the whole data set or none, and no work in progress.
    """
    form, _ = SOURCES[kind]
    name = "ml-100k" if form == "ml-100k" else "own"
    own: canonical.Dataset | None = None
    with tempfile.TemporaryDirectory() as temp:
        data = Path(temp) / "data"
        with film_files.clear_errors(), mock.patch.dict(movielens.EXPECTED, film_files.EXPECTED):
            prepare(form, data, **options(kind, Path(temp), files, archive))
            own = read_dataset(name, data)
            assert own.interactions["item_id"].min() >= 1
        assert own is not None or not (data / name).exists()
        assert list((data / ".recsae" / "tmp").glob("*")) == []
    return own


def options(kind: str, folder: Path, files: Files, archive: bytes | None) -> dict[str, object]:
    """What ``prepare`` is called with, once the files or the archive are written."""
    form, _ = SOURCES[kind]
    source = film_files.write_folder(folder / "source", files)
    if archive is not None:
        source = folder / "source.zip"
        source.write_bytes(archive)
    given_: dict[str, object] = {} if form == "ml-100k" else {"stored_as": "own"}
    if form in ("csv", "parquet"):
        given_ |= {**CSV, "source": source / f"plays.{form}", "core": None}
        if f"songs.{form}" in files:
            return given_ | {"items_file": source / f"songs.{form}", **DESCRIBED}
        return given_ | {"split": "part"}
    return given_ | {"source": source}


def zipped(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


PIECES = [b"\t", b",", b"\n", b"\r\n", b'"', b"'", b"::", b"|", b"0", b"-", b".", b"e9", b"nan"]
PIECES += [b"\xff", b"\x00", b"[", b"{", b"}", b"\\ud800", b"\xed\xa0\x80", b"\xef\xbb\xbf", b" "]


@st.composite
def bad_bytes(draw: st.DrawFn, data: bytes) -> bytes:
    """Bytes with some of them flipped, cut out, put in or doubled."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        size = draw(st.sampled_from([0, 1, 2, 16, 2**20]))
        part = data[at : at + size]
        kind = draw(st.sampled_from(["flip", "cut", "insert", "piece", "double"]))
        if kind == "flip":
            mask = draw(st.integers(1, 255))
            part = bytes(byte ^ mask for byte in part[:2]) + part[2:]
        elif kind == "double":
            part = part[:64] * 2
        elif kind != "cut":
            pieces = st.lists(st.sampled_from(PIECES), max_size=4).map(b"".join)
            part = draw(st.binary(max_size=12) if kind == "insert" else pieces) + part
        data = data[:at] + part + data[at + size :]
    return data


def check_bytes(kind: str, data: st.DataObject) -> None:
    """Some files of a source are any bytes."""
    _, files = SOURCES[kind]
    chosen = data.draw(st.sets(st.sampled_from(sorted(files)), min_size=1))
    some = {**files, **{name: data.draw(st.binary(max_size=300)) for name in sorted(chosen)}}
    attempt(kind, some, data.draw(st.binary(max_size=300)) if kind.endswith("zip") else None)


def check_damage(kind: str, data: st.DataObject) -> None:
    """One file of a source is damaged, or the archive, or what is packed in one."""
    _, files = SOURCES[kind]
    name = data.draw(st.sampled_from(sorted(files)))
    content, inside = files[name], name.endswith(".gz") and data.draw(st.booleans())
    if kind.endswith("zip") and data.draw(st.booleans()):
        attempt(kind, {}, data.draw(bad_bytes(zipped(files))))
        return
    content = data.draw(bad_bytes(gzip.decompress(content) if inside else content))
    some = {**files, name: packed(content) if inside else content}
    attempt(kind, some, zipped(some) if kind.endswith("zip") else None)


ODD = [
    *("", " ", '"', "'", '"" "', "\n", "\r", "a\r\nb", "\x00", "a\x00b", "\x1b[31mred", "\x9b1m"),
    *(
        "\ud800",
        "a\udfffb",
        "\ud83d\ude00",
        "😀",
        "👩‍👩‍👧",
        "e\u0301",
        "\u202egnp",
        "\u2028",
        "\ufeff",
    ),
    *("'; drop table items; --", "x' or '1'='1", '"); select 1', "$1", "%s", "{}", "{0}", "\\"),
    *("None", "null", "nan", "-inf", "1e999", "0", "-1", "007", "9" * 19, "9" * 400, "../../x"),
    *("a" * 201, "long " * 20_000, "=1+1", "a|b|", "[", "['a', '\\ud800']", "{'a': 1}", "&#xD800;"),
    *("[1, 2", "[" * 500, "c:d", "A::B", "a\tb", "a,b;c", "\N{ARABIC-INDIC DIGIT THREE}", "½"),
]
odd = st.one_of(st.sampled_from(ODD), st.text(st.characters(exclude_categories=()), max_size=8))
"""Texts that are hard to read, to store or to show, halves of characters among them."""

ids = st.one_of(st.sampled_from(["8", "u8"]), odd)


def coded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def rows_csv(*rows: tuple[object, ...]) -> bytes:
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return coded(stream.getvalue())


def odd_csv(user: str, item: str, title: str) -> Files:
    plays = [(user if u == 1 else u, item if i == 1 else i, i) for u, i in PAIRS]
    songs = [(item if i == 1 else i, title, title) for i in range(1, 7)]
    return {
        "plays.csv": rows_csv(("who", "what", "when"), *plays),
        "songs.csv": rows_csv(("what", "t", "m"), *songs),
    }


def odd_parquet(user: str, item: str, title: str) -> Files:
    """As for CSV; texts that are no UTF-8 are written as they are, as a broken writer would."""
    plays = [(user if u == 1 else str(u), item if i == 1 else str(i), str(i)) for u, i in PAIRS]
    songs = [(item if i == 1 else str(i), title, title) for i in range(1, 7)]
    return {
        "plays.parquet": written(raw_table(("who", "what", "when"), plays)),
        "songs.parquet": written(raw_table(("what", "t", "m"), songs)),
    }


def raw_table(names: tuple[str, ...], rows: list[tuple[str, ...]]) -> pa.Table:
    columns = []
    for column in zip(*rows, strict=True):
        array = pa.array([coded(text) for text in column], pa.binary())
        columns.append(pa.Array.from_buffers(pa.string(), len(array), array.buffers()))
    return pa.table(columns, names=names)


def odd_amazon(user: str, item: str, title: str) -> Files:
    names = {1: item}
    reviews = [
        {"reviewerID": user if u == 1 else f"A{u}", "asin": names.get(i, f"B{i}")}
        | {"unixReviewTime": i, "overall": 5}
        for u, i in PAIRS
    ]
    meta = [{"asin": names.get(i, f"B{i}"), "title": title, "brand": title} for i in range(1, 7)]
    tree = [{**one, "categories": [["root", title], title]} for one in meta]
    return {
        "reviews_Odd.json.gz": packed(lines(*map(json.dumps, reviews))),
        "meta_Odd.json.gz": packed(lines(*map(ascii, tree[:3]), *map(json.dumps, tree[3:]))),
    }


def odd_rechorus(user: str, item: str, title: str) -> Files:
    files = own_files.rechorus()
    meta = [["item_id", "i_kind", "r_like"]] + [[i, title, f"[{i % 8 + 1}]"] for i in range(1, 9)]
    info = [["item_id", "title"], [item, title], *([i, title] for i in range(1, 9))]
    for name, rows in (("item_meta.csv", meta), ("item_info.csv", info)):
        files[name] = rows_csv(*rows).replace(b",", b"\t")
    files["train.csv"] += coded(f"{user}\t{item}\t1\n")
    return files


def odd_lastfm(user: str, item: str, title: str) -> Files:
    files = own_files.lastfm()
    files["artists.dat"] += coded(f"{item}\t{title}\turl\tpicture\n")
    files["user_artists.dat"] += coded(f"{user}\t{item}\t5\n")
    files["tags.dat"] += coded(f"3\t{title}\n")
    files["user_taggedartists.dat"] += coded(f"1\t1\t3\t1\t4\t2009\n{user}\t1\t3\t1\t4\t2009\n")
    return files


def odd_ml_1m(user: str, item: str, title: str) -> Files:
    files = own_files.ml_1m()
    files["movies.dat"] += coded(f"{item}::{title}::{title}\n")
    files["ratings.dat"] += coded(f"{user}::{item}::5::7\n")
    return files


def odd_ml_100k(user: str, item: str, title: str) -> Files:
    films = [(number, title if number == 3 else one, genres) for number, one, genres in FILMS]
    ratings = film_files.data_lines([(*RATINGS[0][:2], 5, 1000), *RATINGS[1:]])
    data = ratings.replace(b"2\t", coded(user) + b"\t", 1)
    described = film_files.item_lines([film for film in films if film[0] != 3])
    flags = "|".join(["1", *["0"] * (len(movielens.GENRES) - 1)])
    return {"u.data": data, "u.item": described + coded(f"3|{title}|{item}|||{flags}\n")}


HOSTILE = {
    "csv": odd_csv,
    "parquet": odd_parquet,
    "amazon": odd_amazon,
    "rechorus": odd_rechorus,
    "lastfm-2k": odd_lastfm,
    "ml-1m": odd_ml_1m,
    "ml-100k": odd_ml_100k,
}


def check_texts(kind: str, user: str, item: str, title: str) -> None:
    """Ids, titles and tags are odd texts; what is taken comes out as it went in."""
    own = attempt(kind, HOSTILE[kind](user, item, title))
    if own is not None and kind in ("csv", "parquet"):
        assert user.strip() in own.users["source_user_id"].to_list()
        assert item.strip() in own.items["source_item_id"].to_list()
        assert set(own.items["title"].to_list()) == {" ".join(title.split()) or None}


@pytest.mark.parametrize("kind", SOURCES)
def test_valid_sources_are_taken(kind):
    files = SOURCES[kind][1]
    archive = zipped(files) if kind.endswith("zip") else None
    with mock.patch.object(movielens, "FINGERPRINT", toy_fingerprint()):
        own = attempt(kind, files, archive)
    assert own is not None


def toy_fingerprint() -> str:
    """What ml-100k has to have, when the toy files are the whole of it."""
    with mock.patch.object(canonical, "fingerprint", return_value=movielens.FINGERPRINT):
        own = None
        with (
            tempfile.TemporaryDirectory() as temp,
            mock.patch.dict(movielens.EXPECTED, film_files.EXPECTED),
        ):
            source = film_files.write_folder(Path(temp) / "s", SOURCES["ml-100k"][1])
            prepare("ml-100k", Path(temp) / "data", source=source)
            own = read_dataset("ml-100k", Path(temp) / "data")
    return canonical.fingerprint({name: getattr(own, name) for name in canonical.TABLES})


@pytest.mark.parametrize("kind", sorted(set(HOSTILE) - {"ml-100k"}))
def test_plain_texts_are_taken(kind):
    assert attempt(kind, HOSTILE[kind]("8", "8", "Eight")) is not None


@pytest.mark.parametrize("kind", SOURCES)
@few
@given(data=st.data())
def test_any_bytes(kind, data):
    check_bytes(kind, data)


@pytest.mark.parametrize("kind", SOURCES)
@few
@given(data=st.data())
def test_any_damage(kind, data):
    check_damage(kind, data)


@pytest.mark.parametrize("kind", HOSTILE)
@few
@given(user=ids, item=ids, title=odd)
@example(user="8", item="8", title="a\ud800")
@example(user="\udfff", item="8", title="Eight")
@example(user="8", item="8", title="['a\\ud800', 1]")
def test_any_text(kind, user, item, title):
    check_texts(kind, user, item, title)


@pytest.mark.fault
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("check", [check_bytes, check_damage])
@many
@given(data=st.data())
def test_anything_at_length(check, kind, data):
    check(kind, data)


@pytest.mark.fault
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", HOSTILE)
@many
@given(user=ids, item=ids, title=odd)
def test_any_text_at_length(kind, user, item, title):
    check_texts(kind, user, item, title)
