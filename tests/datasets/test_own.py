from __future__ import annotations

import gzip
import hashlib
import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import own_files
from datasets.film_files import clear_errors, write_zip
from datasets.own_files import FORMS, PAIRS, packed, prepared, refusal
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import fetch, prepare, read_dataset, rows, streams, texts
from recsae.datasets.collect import ascending
from recsae.errors import DataError, UsageError

SPLITS = ["train"] * 4 + ["dev", "test"]
ORDERED = [(u, i, i, i) for u, i in PAIRS]
"""User, item, position, time where the time is the item's number."""


def tags_of(dataset):
    """Items by tag."""
    grouped = dataset.item_tags.group_by("tag").agg(pl.col("item_id").sort())
    return {tag: items for tag, items in grouped.rows()}


def interactions(dataset):
    return dataset.interactions.select("user_id", "item_id", "position", "time").rows()


def split_of(dataset, user):
    return dataset.interactions.filter(user_id=user)["split"].to_list()


def test_ml_1m(tmp_path):
    own = prepared("ml-1m", tmp_path, FORMS["ml-1m"])
    assert interactions(own) == [(u, i, i, 100 + i) for u, i in PAIRS]
    assert split_of(own, 3) == SPLITS
    assert own.items.rows()[0] == (1, "1", "The Bête 1 (1991)", 6)
    assert tags_of(own) == {
        "genre:Drama": [1, 2, 3, 4, 5],
        "decade:1990s": [1, 2, 3, 4, 5, 6],
        "word:bête": [1, 2, 3, 4, 5, 6],
    }
    assert own.info["dropped"] == {
        **{"duplicate": 0, "below_min_rating": 1, "below_core": 0},
        "item_tags_rare": 8,
    }
    assert [one["file"] for one in own.info["sources"]] == ["ratings.dat", "movies.dat"]


def test_ml_1m_out_of_the_archive_is_the_same(tmp_path):
    folder = prepared("ml-1m", tmp_path, FORMS["ml-1m"])
    archive = write_zip(tmp_path / "ml-1m.zip", FORMS["ml-1m"], "ml-1m/")
    heard = []
    prepare("ml-1m", tmp_path / "z", source=archive, report=heard.append)
    assert prepared("ml-1m", tmp_path, {}, source=archive).fingerprint == folder.fingerprint
    assert "ratings.dat has 37 ratings; MovieLens 1M has 1,000,209" in heard


def test_lastfm(tmp_path):
    own = prepared("lastfm-2k", tmp_path, FORMS["lastfm-2k"])
    assert interactions(own) == [(u, 7 - i, i, i) for u, i in PAIRS]
    assert split_of(own, 1) == SPLITS
    assert own.items["title"].to_list() == [f"Bänd {i}" for i in range(1, 7)]
    assert tags_of(own) == {"user_tag:rock français": [1, 2, 3, 4, 5, 6]}
    assert own.info["dropped"] == {
        **{"duplicate": 0, "tag_unknown_item": 1, "tag_one_user": 6},
        **{"below_core": 0, "item_tags_rare": 0},
    }


def test_equal_weights_are_ordered_by_artist(tmp_path):
    files = dict(FORMS["lastfm-2k"])
    plays = files["user_artists.dat"].replace(b"1\t1\t990", b"1\t1\t960")
    own = prepared("lastfm-2k", tmp_path, {**files, "user_artists.dat": plays})
    first = own.interactions.filter(user_id=1)["item_id"].to_list()
    assert first == [6, 5, 1, 4, 3, 2]


def test_rechorus(tmp_path):
    own = prepared("rechorus", tmp_path, FORMS["rechorus"])
    assert own.interactions.filter(user_id=2).drop("user_id").rows() == [
        (1, 1, 0, "train"),
        (2, 2, 0, "train"),
        (3, 3, 1, "train"),
        (4, 4, 1, "train"),
        (5, 5, 1, "dev"),
        (6, 6, 0, "test"),
    ]
    assert own.items["item_id"].to_list() == list(range(1, 9))
    assert own.items["title"].to_list() == ['One "1"', "Two", *[None] * 6]
    assert tags_of(own) == {
        "category:category 0": [1, 2, 3, 4, 5],
        "complement:complements 1": [1, 2, 3, 4, 5],
    }
    assert own.info["dropped"] == {"relation_unknown_item": 1, "item_tags_rare": 6}


def test_rechorus_ties_go_by_the_order_of_rows(tmp_path):
    files = dict(FORMS["rechorus"])
    rows_ = files["train.csv"].replace(b"1\t1\t0\n1\t2\t0\n", b"1\t2\t0\n1\t1\t0\n")
    own = prepared("rechorus", tmp_path, {**files, "train.csv": rows_})
    assert own.interactions.filter(user_id=1)["item_id"].to_list()[:2] == [2, 1]
    assert own.interactions.filter(user_id=2)["item_id"].to_list()[:2] == [1, 2]


def test_rechorus_without_descriptions(tmp_path):
    files = {name: data for name, data in FORMS["rechorus"].items() if "item" not in name}
    files = {name: data.replace(b"time", b"time\tneg_items") for name, data in files.items()}
    files = {
        name: b"\n".join(
            line + b"\t[1, 2]" if line and not line.startswith(b"u") else line
            for line in data.split(b"\n")
        )
        for name, data in files.items()
    }
    own = prepared("rechorus", tmp_path, files)
    assert (own.users.height, own.items.height, own.item_tags.height) == (6, 6, 0)
    assert own.items["title"].null_count() == 6


def test_rechorus_takes_the_name_of_its_folder(tmp_path):
    own_files.write_folder(tmp_path / "tea", FORMS["rechorus"])
    assert prepare("rechorus", tmp_path / "d", source=tmp_path / "tea") == tmp_path / "d" / "tea"


@pytest.mark.parametrize("name", ["ml-100k", "my tea"])
def test_a_folder_whose_name_cannot_be_taken(tmp_path, name):
    own_files.write_folder(tmp_path / name, FORMS["rechorus"])
    with pytest.raises(UsageError) as caught:
        prepare("rechorus", tmp_path / "d", source=tmp_path / name)
    assert name in caught.value.message
    assert caught.value.hint == "give --name NAME"
    place = prepare("rechorus", tmp_path / "d", source=tmp_path / name, stored_as="tea")
    assert place == tmp_path / "d" / "tea"


def test_a_file_whose_name_is_no_text(tmp_path):
    own_files.write_folder(tmp_path, FORMS["csv"])
    source = (tmp_path / "plays.csv").rename(tmp_path / "pl\udcffys.csv")
    own = prepared("csv", tmp_path, {}, source=source, **LEFT)
    assert own.info["sources"][0]["file"] == source.name


def test_column_names_of_several_lines_are_shown_in_one(tmp_path):
    files = {"plays.csv": b'"a\nb",c\n1,2\n'}
    assert "found a b, c" in refusal("csv", tmp_path, files, **LEFT)


def test_communities_are_those_of_the_graph():
    from recsae.datasets.rechorus import communities

    edges = [(a, b) for part in (range(1, 6), range(6, 13)) for a in part for b in part]
    assert list(communities([*edges, (5, 6)])) == [list(range(6, 13)), list(range(1, 6))]
    assert list(communities([(3, 3)])) == []


def test_amazon(tmp_path):
    own = prepared("amazon", tmp_path, FORMS["amazon"])
    assert interactions(own) == ORDERED
    assert own.users["source_user_id"].to_list() == [f"A{i}" for i in range(1, 7)]
    assert own.items.rows()[0] == (1, "B001", "Tea & Leaf 1", 6)
    everything = [1, 2, 3, 4, 5, 6]
    assert tags_of(own) == {
        "brand:Acme": everything[:5],
        "category:Tea > Black": everything,
        "word:leaf": everything,
        "word:tea": everything,
    }
    assert refusal("amazon", tmp_path / "b", FORMS["amazon"], min_rating=4).startswith("no inter")


def test_halves_of_characters_in_titles(tmp_path):
    files = dict(FORMS["amazon"])
    meta = gzip.decompress(files["meta_Tea.json.gz"])
    meta = meta.replace(b"Leaf 1", b"\\ud83c\\udf43 1").replace(b"Leaf 2", b"\\ud83c 2")
    own = prepared("amazon", tmp_path, {**files, "meta_Tea.json.gz": packed(meta)})
    assert own.items["title"].to_list()[:2] == ["Tea & \U0001f343 1", "Tea & \ufffd 2"]


def test_amazon_unpacked_is_the_same(tmp_path):
    files = {n.removesuffix(".gz"): gzip.decompress(d) for n, d in FORMS["amazon"].items()}
    one = prepared("amazon", tmp_path / "1", FORMS["amazon"])
    assert prepared("amazon", tmp_path / "2", files).fingerprint == one.fingerprint


def test_csv(tmp_path):
    own = prepared("csv", tmp_path, FORMS["csv"])
    assert interactions(own) == ORDERED
    assert own.users["source_user_id"].to_list() == [f"u{i}" for i in range(1, 7)]
    assert own.items.rows()[2] == (3, "it, 3", "Song 3", 6)
    assert tags_of(own) == {"m:pop": [1, 2, 3, 4, 5, 6], "m:a b": [1, 2, 3, 4, 5]}


def test_parquet_is_the_same_as_csv(tmp_path):
    own = prepared("csv", tmp_path, FORMS["csv"])
    source = tmp_path / "source"
    pl.read_csv(source / "plays.csv").write_parquet(source / "plays.parquet")
    songs = pl.read_csv(source / "songs.csv").with_columns(
        pl.col("m").str.split("|").list.eval(pl.element().filter(pl.element() != ""))
    )
    songs.write_parquet(source / "songs.parquet")
    place = {"source": source / "plays.parquet", "items_file": source / "songs.parquet"}
    options = {**own_files.CSV, **place, "title": "t", "tags": "m"}
    assert prepared("parquet", tmp_path, {}, **options).fingerprint == own.fingerprint


NOW = 1_700_000_000
"""A time at which a float tells only 200 nanoseconds apart."""


def timed(folder, times):
    """Items and times as stored. The n-th item has the n-th time from the end, so that neither the
    order of ids nor that of rows is that of the times.
    """
    n = len(times)
    columns = {"user_id": [one // n for one in range(n * n)], "item_id": [*range(n)] * n}
    values = times.gather(list(range(n))[::-1] * n)
    pl.DataFrame({**columns, "time": values}).write_parquet(folder / "p.parquet")
    own = prepared("parquet", folder, {}, source=folder / "p.parquet", core=3)
    first = own.interactions.filter(user_id=1)
    return first["item_id"].to_list(), first["time"].to_list()


@pytest.mark.parametrize(("unit", "step"), [("ms", 10**6), ("us", 10**3), ("ns", 1), ("ns", 10**8)])
@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_parts_of_seconds_order_interactions(tmp_path, unit, step, zone):
    nanos = [NOW * 10**9 + n * step for n in range(5)]
    times = pl.Series(nanos).cast(pl.Datetime("ns")).cast(pl.Datetime(unit))
    times = times.dt.replace_time_zone("UTC").dt.convert_time_zone(zone) if zone else times
    assert timed(tmp_path, times) == ([5, 4, 3, 2, 1], [NOW] * 5)


@pytest.mark.parametrize(
    ("times", "whole"),
    [
        ([1.5, 1.6, 1.75, 2.0], [1, 1, 1, 2]),
        ([-1.5, -0.25, 0.0, 0.25], [-1, 0, 0, 0]),
        (["-1.5", f"{NOW}.123456788", f"{NOW}.123456789", f"{NOW + 1}"], [-1, NOW, NOW, NOW + 1]),
        ([str(NOW), f"{NOW}.{'1' * 18}", f"{NOW}.{'1' * 17}2", "1e17"], [*[NOW] * 3, 10**17]),
        (["1e-300", "0.5", " 0.75 ", "8.9e18"], [0, 0, 0, 89 * 10**17]),
        ([2**53 * 100 + n for n in range(4)], [2**53 * 100 + n for n in range(4)]),
    ],
)
def test_times_with_fractions_are_exact(tmp_path, times, whole):
    assert timed(tmp_path, pl.Series(times)) == ([4, 3, 2, 1], whole)
    rows_ = [f"{user},{item},{times[3 - item]}" for user in range(3) for item in range(4)]
    own = prepared(
        "csv", tmp_path, {"plays.csv": own_files.lines("who,what,when", *rows_)}, **LEFT, core=3
    )
    assert own.interactions.filter(user_id=2)["item_id"].to_list() == [4, 3, 2, 1]
    assert own.interactions.filter(user_id=2)["time"].to_list() == whole


def test_zones_of_any_name_are_read(tmp_path):
    shown = pa.timestamp("ms", "+07:30")
    columns = {"user_id": [0, 1, 2] * 3, "item_id": [0, 0, 0, 1, 1, 1, 2, 2, 2]}
    times = pa.array([NOW * 1000 + n for n in range(9)][::-1], shown)
    pq.write_table(pa.table({**columns, "time": times}), tmp_path / "p.parquet")
    own = prepared("parquet", tmp_path, {}, source=tmp_path / "p.parquet", core=3)
    assert own.interactions.filter(user_id=1)["item_id"].to_list() == [3, 2, 1]
    assert own.interactions["time"].unique().to_list() == [NOW]


def test_dates_before_1970(tmp_path):
    times = pl.Series([-2500, -1500, -1, 0, 1]).cast(pl.Datetime("ms"))
    assert timed(tmp_path, times) == ([5, 4, 3, 2, 1], [-2, -1, 0, 0, 0])


def test_a_float_id_is_written_alike_in_every_batch(tmp_path, monkeypatch):
    monkeypatch.setattr("recsae.datasets.parquet.BATCH", 4)
    users, items = [1.0, 2.0, 3.0] * 3 + [-0.0, 4.0, 1.0], [float(n // 3) for n in range(12)]
    frame = pl.DataFrame({"user_id": users, "item_id": items, "time": range(12)})
    frame.write_parquet(tmp_path / "p.parquet")
    own = prepared("parquet", tmp_path, {}, source=tmp_path / "p.parquet", core=3)
    assert own.users["source_user_id"].to_list() == ["1", "2", "3"]
    assert own.info["dropped"]["below_core"] == 3


def test_ids_of_more_than_18_digits_are_numbers(tmp_path):
    ids = [9, 10**18, 2 * 10**18, 10**19, 10**40]
    rows_ = [f"{user},{item},{item % 7}" for user in ids for item in ids]
    files = {"plays.csv": own_files.lines("who,what,when", *rows_)}
    own = prepared("csv", tmp_path, files, **LEFT)
    assert own.items["source_item_id"].to_list() == list(map(str, ids))


@pytest.mark.parametrize("ids", [[3, 20, 100], [3.0, 20.0, 100.0], ["3", "20", "100"]])
def test_parquet_ids_and_times_of_any_type(tmp_path, ids):
    frame = pl.DataFrame({"user_id": [ids[n % 3] for n in range(9)], "item_id": sorted(ids * 3)})
    frame = frame.with_columns(
        time=pl.datetime(1970, 1, 2) + pl.duration(days=pl.col("user_id").cum_count())
    )
    frame.write_parquet(tmp_path / "p.parquet")
    own = prepared("parquet", tmp_path, {}, source=tmp_path / "p.parquet", core=3)
    assert own.users["source_user_id"].to_list() == ["3", "20", "100"]
    assert own.interactions["time"].min() == 2 * 86_400


LEFT = {"items_file": None, "title": None, "tags": None}


def test_order_of_rows_instead_of_time(tmp_path):
    own = prepared("csv", tmp_path, FORMS["csv"], time="none")
    assert interactions(own) == [(u, i, i, 6 * (u - 1) + i) for u, i in PAIRS]


def test_low_ratings_are_left_out(tmp_path):
    own = prepared("csv", tmp_path, FORMS["csv"], rating="stars", min_rating=5, core=3)
    assert own.info["dropped"]["below_min_rating"] == 18
    assert own.items["source_item_id"].to_list() == ["it, 1", "it, 3", "it, 5"]
    own = prepared("csv", tmp_path, FORMS["csv"], rating="stars")
    assert own.info["options"]["min_rating"] == 4


def split_csv(*names):
    """Plays of which the last three items of everyone are in the named splits."""
    given_ = {4: names[0], 5: names[1], 6: names[2]}
    rows_ = [f"u{user},{item},{item},{given_.get(item, 'train')}" for user, item in PAIRS]
    return {"plays.csv": own_files.lines("who,what,when,part", *rows_)}


ALONE = {**LEFT, "split": "part"}


def test_a_split_may_be_given(tmp_path):
    own = prepared("csv", tmp_path, split_csv("test", "valid", "TRAIN"), **ALONE)
    assert own.interactions.filter(user_id=1)["item_id"].to_list() == [1, 2, 3, 6, 5, 4]
    assert own.interactions.filter(user_id=1)["split"].to_list() == SPLITS
    assert own.info["options"]["core"] is None


@pytest.mark.parametrize(
    ("names", "edit", "message"),
    [
        (("train", "dev", "later"), (), "plays.csv line 7: column part is 'later'"),
        (("train", "dev", "dev"), (), "user u1 has more than one dev row (6 such users)"),
        (("train", "train", "test"), (), "user u1 has a test row but no dev row"),
        (("train", "dev", "test"), (b"u1,6", b"u1,2"), "plays.csv line 7: user u1 and item 2"),
    ],
)
def test_splits_that_cannot_be(tmp_path, names, edit, message):
    files = split_csv(*names)
    if edit:
        files = {"plays.csv": files["plays.csv"].replace(*edit)}
    text = refusal("csv", tmp_path, files, **ALONE)
    assert message in text
    assert not edit or "are in plays.csv line 3 already" in text


def rated_split(low):
    """Plays of a given split, rated 5 but for the pairs of user and item in ``low``."""
    parts = dict(enumerate(["train"] * 4 + ["dev", "test"], start=1))
    rows_ = [f"{u},{i},{i},{parts[i]},{3 if (u, i) in low else 5}" for u, i in PAIRS]
    return {"plays.csv": own_files.lines("who,what,when,part,stars", *rows_)}


def test_ratings_are_left_out_after_a_split_is_checked(tmp_path):
    low = {(1, 1), (2, 5), (3, 6), *((4, item) for item in range(1, 5))}
    own = prepared("csv", tmp_path, rated_split(low), **ALONE, rating="stars")
    assert own.info["dropped"]["below_min_rating"] == 7
    assert own.info["dropped"]["split_incomplete"] == 3  # test of 2, dev and test of 4
    names = dict(own.users.iter_rows())
    splits = {
        names[user]: part for user, part in own.interactions.group_by("user_id").agg("split").rows()
    }
    assert splits == {
        "1": SPLITS[1:],
        "2": SPLITS[:4],
        "3": SPLITS[:5],
        "5": SPLITS,
        "6": SPLITS,
    }
    anew = prepared("csv", tmp_path, rated_split(low), **ALONE, rating="stars", core=3)
    assert "split_incomplete" not in anew.info["dropped"]
    assert split_of(anew, 2) == ["train"] * 3 + ["dev", "test"]


def test_a_split_is_checked_before_ratings_are_left_out(tmp_path):
    text = rated_split({(1, 5)})["plays.csv"].replace(b"1,4,4,train", b"1,4,4,dev")
    message = refusal("csv", tmp_path, {"plays.csv": text}, **ALONE, rating="stars")
    assert message == "user 1 has more than one dev row (1 such users)"


@pytest.mark.parametrize(
    ("names", "missing"), [(["train"] * 3, "dev"), (["train", "dev", "train"], "test")]
)
def test_a_split_without_dev_or_test_is_refused(tmp_path, names, missing):
    message = refusal("csv", tmp_path, split_csv(*names), **ALONE)
    assert message == f"no interaction in the split {missing}, so nothing could be measured"


def test_ratings_may_leave_no_test_row(tmp_path):
    low = {(user, 6) for user in range(1, 7)}
    message = refusal("csv", tmp_path, rated_split(low), **ALONE, rating="stars")
    assert "in the split test" in message
    message = refusal("csv", tmp_path, rated_split(set()), **ALONE, rating="stars", min_rating=6)
    assert message == "no interaction is left"


@pytest.mark.parametrize("column", [b" 0\t1\t", b"1\t 0\t"])
def test_an_id_of_0_with_blanks_is_refused(tmp_path, column):
    files = dict(FORMS["rechorus"])
    files = {name: files[name] for name in ("train.csv", "dev.csv", "test.csv")}
    files["train.csv"] = files["train.csv"].replace(b"1\t1\t", column, 1)
    assert "is ' 0', not an id from 1 on" in refusal("rechorus", tmp_path, files)


@pytest.mark.parametrize(("form", "name"), [("ml-1m", "movies.dat"), ("rechorus", "item_meta.csv")])
def test_blanks_of_any_kind_around_ids_of_items(tmp_path, form, name):
    files = dict(FORMS[form])
    one = prepared(form, tmp_path, files)
    files[name] = files[name].replace(b"\n2", b"\n\x1c2 ", 1)
    assert prepared(form, tmp_path, files).fingerprint == one.fingerprint


def test_blanks_around_ids_and_times_do_not_matter(tmp_path):
    files = dict(FORMS["rechorus"])
    one = prepared("rechorus", tmp_path, files)
    for name, data in files.items():
        files[name] = data.replace(b"\n2\t", b"\n 2 \t").replace(b"\t1\n", b"\t 1\n")
    assert prepared("rechorus", tmp_path, files).fingerprint == one.fingerprint


REFUSED = [
    # form, file, what is replaced once (None: everything), by what, part of the message
    ("ml-1m", "ratings.dat", b"1::1::", b"1::1,", "ratings.dat line 1: 3 fields between '::'"),
    ("ml-1m", "ratings.dat", b"1::1::", b"::1::", "line 1: column user id is empty"),
    ("ml-1m", "ratings.dat", b"1::2::", b"1::x::", "line 2: column movie id is 'x'"),
    ("ml-1m", "ratings.dat", b"1::3::", b"1::77::", "is '77', not an id in movies.dat"),
    ("ml-1m", "ratings.dat", b"::104\n", b"::soon\n", "line 4: column timestamp is 'soon'"),
    ("ml-1m", "ratings.dat", b"::5::", b"::nan::", "line 1: column rating is 'nan'"),
    ("ml-1m", "movies.dat", b"2::", b"1::", "movies.dat line 2: film 1 occurs twice"),
    ("ml-1m", "movies.dat", b"B\xeate 1, The (1991)", b" ", "column title is empty"),
    ("ml-1m", "ratings.dat", None, b"PK\x03\x04", "ratings.dat is a zip archive, not the text"),
    ("ml-1m", "ratings.dat", None, b"", "ratings.dat has no rows"),
    ("lastfm-2k", "user_artists.dat", b"weight", b"plays", "no column weight between tabs; found"),
    (
        "lastfm-2k",
        "user_artists.dat",
        b"\t",
        b",",
        "no column userID between tabs; found userID,artistID, weight",
    ),
    ("lastfm-2k", "user_artists.dat", b"1\t1\t9", b"1\t99\t9", "not an id in artists.dat"),
    ("lastfm-2k", "artists.dat", b"B\xc3\xa4nd 1", b"", "artists.dat line 2: column name is empty"),
    ("lastfm-2k", "artists.dat", b"2\tB", b"1\tB", "artists.dat line 3: id 1 occurs twice"),
    ("lastfm-2k", "user_taggedartists.dat", b"1\t1\t1", b"1\t1\t9", "not an id in tags.dat"),
    ("rechorus", "train.csv", b"time", b"t", "no column time between tabs; found user_id, item_id"),
    ("rechorus", "train.csv", b"\t", b",", "line 1: no column user_id between tabs"),
    ("rechorus", "train.csv", b"\n1\t1\t", b"\n1\t0\t", "line 2: column item_id is '0'"),
    ("rechorus", "train.csv", b"\n1\t1\t", b"\n-1\t1\t", "line 2: column user_id is '-1'"),
    ("rechorus", "train.csv", b"\n1\t1\t", b"\n01\t1\t", "without leading zeros"),
    ("rechorus", "train.csv", b"\n1\t1\t0", b"\n1\t1\tx", "line 2: column time is 'x'"),
    ("rechorus", "train.csv", b"\n1\t1\t", b"\n1\t50\t", "'50', not an id in item_meta.csv"),
    ("rechorus", "train.csv", b"\n1\t1\t", b"\n1\t2\t", "train.csv line 3: user 1 and item 2"),
    ("rechorus", "train.csv", b"\n1\t1\t", b"\n90000\t1\t", "user ids are not dense"),
    ("rechorus", "dev.csv", b"1\t5\t", b"1\t2\t", "are in train.csv line 3 already"),
    ("rechorus", "dev.csv", b"1\t5\t", b"7\t5\t", "user 7 has no train row"),
    ("rechorus", "dev.csv", b"2\t5\t", b"1\t7\t", "user 1 has more than one dev row"),
    ("rechorus", "item_meta.csv", b"\n2\t", b"\n1\t", "line 3: item 1 occurs twice"),
    ("rechorus", "item_meta.csv", b"\n2\t", b"\n0\t", "line 3: column item_id is '0'"),
    ("rechorus", "item_meta.csv", b"99]", b"x]", "column r_complement is '[2, 3, x]'"),
    ("csv", "plays.csv", b"who", b"whom", "line 1: no column who between commas; found whom, what"),
    ("csv", "plays.csv", b"what", b"who", "more than one column who"),
    ("csv", "plays.csv", b"u1,", b" ,", "plays.csv line 2: column who is empty"),
    ("csv", "plays.csv", b"2.5", b"2020-01-01", "line 3: column when is '2020-01-01', not a num"),
    ("csv", "plays.csv", b"1.5", b"inf", "column when is 'inf', not a number"),
    ("csv", "plays.csv", b"1.5", b"1e30", "column when is '1e30'"),
    ("csv", "plays.csv", b'"it, 1",', b'"it, 9",', "not an id in songs.csv"),
    ("csv", "plays.csv", b'"it, 1",', b'"it, 1"",', "plays.csv line"),
    ("csv", "plays.csv", b'"it, 1"', b"it, 1", "line 2: 5 fields between commas, expected 4"),
    ("csv", "plays.csv", b"u1", b"\xff", "plays.csv line 2: not utf-8 text"),
    ("csv", "plays.csv", None, b"PAR1", "plays.csv is a Parquet file"),
    ("csv", "plays.csv", None, b"", "no column who between commas; found ''"),
    ("csv", "songs.csv", b'"it, 2"', b'"it, 1"', "songs.csv line 5: item it, 1 occurs twice"),
]


@pytest.mark.parametrize(("form", "name", "old", "new", "message"), REFUSED)
def test_what_is_refused(tmp_path, form, name, old, new, message):
    files = dict(FORMS[form])
    assert old is None or old in files[name]
    files[name] = new if old is None else files[name].replace(old, new, 1)
    assert message in refusal(form, tmp_path, files)


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("reviews_Tea_5.json.gz", b'"asin"', b'"asn"', "line 1: no field asin; found reviewerID"),
        ("reviews_Tea_5.json.gz", b'"A1"', b"null", "line 1: field reviewerID is 'None'"),
        ("reviews_Tea_5.json.gz", b'"A1"', b'"\\ud800"', "line 1: field reviewerID is '\\ud800'"),
        ("reviews_Tea_5.json.gz", b'"A1"', b'""', "line 1: column reviewerID is empty"),
        ("reviews_Tea_5.json.gz", b"}", b"", "line 1 is no JSON object"),
        ("reviews_Tea_5.json.gz", b'"B001"', b'"B009"', "line 1: column asin is 'B009', not an id"),
        ("reviews_Tea_5.json.gz", b'e": 1', b'e": "x"', "column unixReviewTime is 'x'"),
        ("meta_Tea.json.gz", b"}", b"", "line 1 is no JSON object or Python literal"),
        ("meta_Tea.json.gz", b"'B001'", b"7", "meta_Tea.json.gz line 1: field asin is 7"),
        ("meta_Tea.json.gz", b"{'asin'", b"{x() or 'asin'", "or Python literal"),
    ],
)
def test_what_is_refused_in_reviews(tmp_path, name, old, new, message):
    files = dict(FORMS["amazon"])
    data = gzip.decompress(files[name])
    assert old in data
    files[name] = packed(data.replace(old, new, 1))
    assert message in refusal("amazon", tmp_path, files)


def test_other_faults_of_reviews(tmp_path):
    reviews, meta = FORMS["amazon"]
    files = dict(FORMS["amazon"])
    text = refusal("amazon", tmp_path, {**files, reviews: b"{}"})
    assert "no gzip file, not what its name says" in text
    text = refusal("amazon", tmp_path, {**files, meta: files[meta][:-9]})
    assert text.startswith("meta_Tea.json.gz cannot be read: Compressed file ended")
    text = refusal("amazon", tmp_path, {**files, "meta_Two.json": b""})
    assert "has meta_Tea.json.gz, meta_Two.json" in text
    (tmp_path / "meta.json").write_bytes(b"")
    text = refusal("amazon", tmp_path, {}, source=tmp_path / "meta.json")
    assert "is no folder" in text


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"user_id": [1], "time": [1]}, "p.parquet: no column item_id; found user_id, time"),
        ({"user_id": [None], "item_id": [1], "time": [1]}, "p.parquet row 1: column user_id is em"),
        ({"user_id": [1], "item_id": [1], "time": ["x"]}, "row 1: column time is 'x'"),
        ({"user_id": [True], "item_id": [1], "time": [1]}, "user_id is of type Boolean"),
        ({"user_id": [1], "item_id": [b"1"], "time": [1]}, "item_id is of type Binary"),
        ({"user_id": [float("inf")], "item_id": [1], "time": [1]}, "row 1: column user_id is inf"),
        (
            {"user_id": [1.0, 2.5], "item_id": [1] * 2, "time": [1] * 2},
            "row 2: column user_id is 2.5",
        ),
        ({"user_id": [["a"]], "item_id": [1], "time": [1]}, "user_id is of type List(String)"),
    ],
)
def test_what_is_refused_in_parquet(tmp_path, columns, message):
    pl.DataFrame(columns).write_parquet(tmp_path / "p.parquet")
    assert message in refusal("parquet", tmp_path, {}, source=tmp_path / "p.parquet")


def test_a_column_name_that_is_no_text(tmp_path):
    frame = pl.DataFrame({"user_id": [1], "item_id": [1], "time": [1], "list": [["a"]]})
    frame.write_parquet(tmp_path / "p.parquet", compression="uncompressed")
    data = (tmp_path / "p.parquet").read_bytes()
    assert b"element" in data
    (tmp_path / "p.parquet").write_bytes(data.replace(b"element", b"\xe5lement"))
    text = refusal("parquet", tmp_path, {}, source=tmp_path / "p.parquet")
    assert text.startswith("p.parquet cannot be read as Parquet: ")


ODD_TYPES = [
    *(pa.float16(), pa.duration("s"), pa.time64("ns"), pa.decimal256(50, 3), pa.large_string()),
    *(pa.map_(pa.string(), pa.int8()), pa.struct([("a", pa.int8())]), pa.binary(2), pa.uint64()),
    *(pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.int8(), 1), pa.uuid(), pa.null()),
    *(pa.timestamp("ns", "Asia/Tokyo"), pa.timestamp("ms", "+07:30"), pa.date64(), pa.bool_()),
]


@pytest.mark.parametrize("column", ["user_id", "item_id", "time"])
@pytest.mark.parametrize("kind", ODD_TYPES, ids=str)
def test_any_type_of_column_gives_tables_or_a_clear_error(tmp_path, column, kind):
    plain = {name: pa.array([0, 1, 2]) for name in ("user_id", "item_id", "time")}
    table = pa.table({**plain, column: pa.nulls(3, kind)})
    pq.write_table(table, tmp_path / "p.parquet")
    text = refusal("parquet", tmp_path, {}, source=tmp_path / "p.parquet")
    assert "row 1: column" in text or "is of type" in text or "cannot be read as Parquet" in text


def test_a_parquet_file_that_is_none(tmp_path):
    (tmp_path / "p.parquet").write_bytes(b"user_id,item_id,time\n")
    text = refusal("parquet", tmp_path, {}, source=tmp_path / "p.parquet")
    assert text.startswith("p.parquet cannot be read as Parquet")


@pytest.mark.parametrize(
    "options",
    [
        {"min_rating": 4},
        {"separator": "comma-ish"},
        {"tag_separator": ""},
        {"rating": "stars", "min_rating": float("nan")},
        {"core": 2},
        {"items_file": None},
    ],
)
def test_options_that_make_no_sense(tmp_path, options):
    with pytest.raises(UsageError):
        prepared("csv", tmp_path, FORMS["csv"], **options)


def test_missing_files_are_named(tmp_path):
    files = {name: data for name, data in FORMS["lastfm-2k"].items() if name != "tags.dat"}
    assert "has no tags.dat" in refusal("lastfm-2k", tmp_path, files)
    archive = write_zip(tmp_path / "any.zip", {"ratings.dat": b"", "b/ratings.dat": b""}, "")
    assert "more than one file named ratings.dat" in refusal("ml-1m", tmp_path, {}, source=archive)
    (tmp_path / "no.zip").write_bytes(b"<html>")
    text = refusal("ml-1m", tmp_path, {}, source=tmp_path / "no.zip")
    assert "cannot be read as a zip archive" in text


def test_repeated_interactions_count_once(tmp_path):
    files = dict(FORMS["csv"])
    again = files["plays.csv"] + b'u1,"it, 1",99,5\n'
    own = prepared("csv", tmp_path, {**files, "plays.csv": again})
    assert own.info["dropped"]["duplicate"] == 1
    assert own.interactions.filter(user_id=1)["time"].to_list() == [2, 3, 4, 5, 6, 99]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_blocks_and_batches_do_not_matter(tmp_path, monkeypatch, block):
    whole = {form: prepared(form, tmp_path / form, FORMS[form]).fingerprint for form in FORMS}
    monkeypatch.setattr(texts, "BLOCK", block)
    monkeypatch.setattr(rows, "BATCH", 5)
    monkeypatch.setattr("recsae.datasets.amazon.BATCH", 5)
    for form, fingerprint in whole.items():
        assert prepared(form, tmp_path / form, FORMS[form]).fingerprint == fingerprint
    text = b'a,b\n\n1,2\r\n\n"x\ny",3\n4\n'
    entry = streams.Entry("t.csv", lambda: io.BytesIO(text))
    with pytest.raises(DataError, match="line 7: 1 field between commas, expected 2"):
        list(rows.batches(entry, rows.Form(",", quote="double"), ("a",)))


def test_a_line_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(texts, "MAX_LINE", 20)
    monkeypatch.setattr(texts, "BLOCK", 16)
    assert "line of more than 20 bytes" in refusal(
        "ml-1m", tmp_path, {**FORMS["ml-1m"], "ratings.dat": b"1" * 100}
    )


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(0, 10**12).map(str), st.text(max_size=3)), unique=True))
def test_ids_are_in_order_of_numbers_or_else_of_text(ids):
    ordered = ascending(ids)
    assert sorted(ordered) == sorted(ids)
    if all(one.isascii() and one.isdigit() and str(int(one)) == one for one in ids):
        assert ordered == sorted(ids, key=int)
    else:
        assert ordered == sorted(ids)


@st.composite
def damaged(draw):
    """A form and its files, a slice of one of them replaced by other bytes."""
    form = draw(st.sampled_from(sorted(FORMS)))
    files = dict(FORMS[form])
    name = draw(st.sampled_from(sorted(files)))
    data = files[name]
    inside = name.endswith(".gz") and draw(st.booleans())
    data = gzip.decompress(data) if inside else data
    start = draw(st.integers(0, len(data)))
    size = draw(st.sampled_from([0, 1, 2, 10, len(data)]))
    bits = st.lists(st.sampled_from([b"\t", b",", b"\n", b'"', b"::", b"0", b"-", b"\xff", b"["]))
    new = draw(st.one_of(st.binary(max_size=12), bits.map(b"".join)))
    data = data[:start] + new + data[start + size :]
    return form, {**files, name: packed(data) if inside else data}


@settings(max_examples=300, deadline=None)
@given(damaged())
def test_any_damage_gives_tables_or_a_clear_error(tmp_path_factory, damage):
    form, files = damage
    with clear_errors():
        own = prepared(form, tmp_path_factory.mktemp("fuzz"), files)
        assert own.interactions["item_id"].min() >= 1


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 2**16), st.integers(0, 9))
def test_damaged_parquet_gives_tables_or_a_clear_error(tmp_path_factory, new, start, size):
    folder = tmp_path_factory.mktemp("fuzz")
    columns = {name: [one % 6 for one in range(36)] for name in ("user_id", "time")}
    frame = pl.DataFrame({**columns, "item_id": [f"i{one // 6}" for one in range(36)]})
    frame.write_parquet(folder / "p.parquet")
    data = (folder / "p.parquet").read_bytes()
    start %= len(data)
    (folder / "p.parquet").write_bytes(data[:start] + new + data[start + size :])
    with clear_errors():
        prepared("parquet", folder, {}, source=folder / "p.parquet")


@pytest.mark.realdata
def test_real_lastfm(real_data, tmp_path):
    own = prepared("lastfm-2k", tmp_path, {}, source=real_data / "lastfm-2k")
    counts = own.info["counts"]
    assert (counts["users"], counts["items"], counts["interactions"]) == (1859, 2823, 71355)
    assert (counts["item_tags"], counts["tags"]) == (14832, 307)
    assert own.info["dropped"]["tag_unknown_item"] == 1538
    assert own.items["title"].null_count() == 0
    plays = pl.read_csv(real_data / "lastfm-2k" / "user_artists.dat", separator="\t")
    weights = plays.rows_by_key(["userID", "artistID"], unique=True)
    users = dict(own.users.rows())
    items = dict(own.items.select("item_id", "source_item_id").rows())
    for (user,), rows_ in own.interactions.group_by("user_id"):
        order = [
            (weights[int(users[user]), int(items[item])][0], int(items[item]))
            for item in rows_.sort("position")["item_id"]
        ]
        assert order == sorted(order)


@pytest.mark.realdata
def test_real_grocery(real_data, tmp_path):
    own = prepared("rechorus", tmp_path, {}, source=real_data / "grocery")
    counts = own.info["counts"]
    assert (counts["users"], counts["items"]) == (14681, 8713)
    assert [counts[split] for split in ("train", "dev", "test")] == [121892, 14681, 14681]
    assert set(own.item_tags["kind"]) == {"category", "complement", "substitute"}
    assert own.info["dropped"]["relation_unknown_item"] == 0
    for split in ("train", "dev", "test"):
        source = pl.read_csv(real_data / "grocery" / f"{split}.csv", separator="\t")
        kept = own.interactions.filter(split=split).select("user_id", "item_id", "time")
        assert sorted(kept.rows()) == sorted(source.rows())


@pytest.mark.realdata
def test_real_rechorus_ml_100k_is_ml_100k(real_data, tmp_path):
    own = prepared("rechorus", tmp_path, {}, source=real_data / "rechorus" / "ml-100k")
    prepare("ml-100k", tmp_path / "data", source=real_data / "ml-100k")
    other = read_dataset("ml-100k", tmp_path / "data")
    assert (own.users.height, own.items.height) == (938, 1008)
    assert own.interactions.equals(other.interactions)


def test_download_of_ml_1m(tmp_path, monkeypatch):
    data = write_zip(tmp_path / "made.zip", FORMS["ml-1m"], "ml-1m/").read_bytes()
    monkeypatch.delenv("RECSAE_OFFLINE")
    monkeypatch.setattr("urllib.request.urlopen", lambda url, timeout: io.BytesIO(data))
    with pytest.raises(DataError) as caught:
        prepare("ml-1m", tmp_path / "data")
    assert "ml-1m.zip has the MD5" in caught.value.message
    assert "--source FILE" in caught.value.message
    monkeypatch.setattr(fetch, "ML_1M_MD5", hashlib.md5(data).hexdigest())
    prepare("ml-1m", tmp_path / "data")
    sources = read_dataset("ml-1m", tmp_path / "data").info["sources"]
    assert {one["route"] for one in sources} == {"grouplens"}
