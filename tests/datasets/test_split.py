from __future__ import annotations

from dataclasses import replace

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets.canonical import SCHEMAS, SPLITS, fingerprint
from recsae.datasets.given import SPLIT
from recsae.datasets.split import Raw, build, dense_ids, k_core, latest, leave_one_out
from recsae.datasets.tags import tag_frame
from recsae.errors import DataError

EMPTY = pl.DataFrame(schema={"source_item_id": pl.Int64, "title": pl.String})
SCHEMA = {"source_user_id": pl.Int64, "source_item_id": pl.Int64, "time": pl.Int64}
rows = st.sets(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=144)
times = st.randoms(use_true_random=False)


def frame(pairs: set[tuple[int, int]], rng: object) -> pl.DataFrame:
    ordered = sorted(pairs)
    rng.shuffle(ordered)
    return pl.DataFrame([(*p, rng.randrange(9)) for p in ordered], schema=SCHEMA, orient="row")


def raw_of(interactions: pl.DataFrame) -> Raw:
    ids = pl.DataFrame({"source_item_id": range(1, 13)}, schema={"source_item_id": pl.Int64})
    tag = pl.when(pl.col("source_item_id") > 8).then(pl.lit("a:rare")).otherwise(pl.lit("a:common"))
    return Raw(
        interactions,
        ids.with_columns(title=pl.lit("film")),
        ids.select("source_item_id", pl.lit("a").alias("kind"), tag.alias("tag")),
        {},
    )


@given(rows, times, st.integers(3, 5))
def test_k_core_keeps_the_largest_part_with_k_everywhere(pairs, rng, k):
    given_frame = frame(pairs, rng)
    kept = k_core(given_frame, k)
    left = set(pairs)
    while True:  # plain version of the definition
        users = [u for u, _ in left]
        items = [i for _, i in left]
        rest = {(u, i) for u, i in left if users.count(u) >= k and items.count(i) >= k}
        if rest == left:
            break
        left = rest
    assert set(kept.select("source_user_id", "source_item_id").rows()) == left
    assert k_core(kept, k).equals(kept)


@given(rows, times)
def test_leave_one_out_orders_and_holds_out_one_each(pairs, rng):
    split = leave_one_out(k_core(frame(pairs, rng), 3))
    for (_,), own in split.group_by("source_user_id"):
        own = own.sort("position")
        assert own["position"].to_list() == list(range(1, own.height + 1))
        assert own["split"].to_list() == ["train"] * (own.height - 2) + ["dev", "test"]
        order = own.select("time", "source_item_id").rows()
        assert order == sorted(order)


@given(rows, times)
def test_tables_do_not_depend_on_the_order_of_rows(pairs, rng):
    interactions = frame(pairs, rng)
    if k_core(interactions, 3).is_empty():
        with pytest.raises(DataError, match="no interaction is left"):
            build(raw_of(interactions), 3)
        return
    tables, dropped = build(raw_of(interactions), 3)
    again, _ = build(raw_of(interactions.sample(fraction=1, shuffle=True, seed=1)), 3)
    assert fingerprint(tables) == fingerprint(again)
    assert {name: t.schema for name, t in tables.items()} == SCHEMAS
    assert tables["interactions"].height + dropped["below_core"] == len(pairs)
    assert tables["users"]["user_id"].to_list() == list(range(1, tables["users"].height + 1))
    assert tables["items"]["item_id"].to_list() == list(range(1, tables["items"].height + 1))
    counts = tables["interactions"].filter(split="train").group_by("item_id").len()
    popular = dict(counts.rows())
    assert all(p == popular.get(i, 0) for i, _, _, p in tables["items"].rows())


def test_rare_tags_are_dropped_and_counted():
    everyone = frame({(u, i) for u in range(1, 8) for i in range(1, 13)}, __import__("random"))
    tables, dropped = build(raw_of(everyone), 5)
    assert tables["item_tags"]["tag"].unique().to_list() == ["a:common"]
    assert dropped == {"below_core": 0, "item_tags_rare": 4}


def test_an_item_without_a_title_has_none():
    everyone = frame({(u, i) for u in range(1, 8) for i in range(1, 13)}, __import__("random"))
    raw = raw_of(everyone)
    untitled = Raw(raw.interactions, raw.items.filter(pl.col("source_item_id") != 7), raw.tags, {})
    titles = build(untitled, 5)[0]["items"]["title"].to_list()
    assert [place for place, title in enumerate(titles, start=1) if title is None] == [7]


def test_latest_rating_wins():
    ratings = pl.DataFrame(
        {
            "source_user_id": [1, 1, 1],
            "source_item_id": [2, 2, 3],
            "rating": [5.0, 1.0, 4.0],
            "time": [10, 20, 5],
        }
    )
    assert sorted(latest(ratings)["rating"].to_list()) == [1.0, 4.0]


def test_ids_are_dense_in_numeric_order():
    ids = dense_ids(pl.Series([30, 7, 7, 200]), "item_id")
    assert ids.rows() == [(1, 7), (2, 30), (3, 200)]


@settings(deadline=None)
@given(st.lists(st.tuples(*[st.integers(1, 4)] * 4), max_size=40))
def test_latest_is_the_last_of_every_pair(rows):
    columns = ["source_user_id", "source_item_id", "time", "rating"]
    schema = dict.fromkeys(columns, pl.Int64)
    best = {}
    for user, item, time, rating in rows:
        best[user, item] = max(best.get((user, item), (0, 0)), (time, rating))
    found = latest(pl.DataFrame(rows, schema=schema, orient="row"))
    assert sorted(found.rows()) == sorted((*pair, *value) for pair, value in best.items())


def given_split(rows):
    """Rows of user, item, time, split, and their order."""
    schema = {**SCHEMA, "split": SPLIT}
    return pl.DataFrame(rows, schema=schema, orient="row").with_row_index("row")


def test_a_given_split_stays_and_ids_keep_their_gaps():
    frame = given_split(
        [
            (2, 5, 9, "test"),
            (2, 1, 7, "train"),
            (2, 3, 7, "train"),
            (2, 2, 8, "dev"),
            (4, 5, 1, "train"),
        ]
    )
    items = pl.DataFrame(
        {"source_item_id": [7], "title": ["seventh"]},
        schema={"source_item_id": pl.Int64, "title": pl.String},
    )
    tables, dropped = build(Raw(frame, items, tag_frame([], pl.Int64), {}, dense=True), None)
    assert tables["interactions"].rows() == [
        (2, 1, 1, 7, "train"),
        (2, 3, 2, 7, "train"),
        (2, 2, 3, 8, "dev"),
        (2, 5, 4, 9, "test"),
        (4, 5, 1, 1, "train"),
    ]
    assert tables["users"].rows() == [(n, str(n)) for n in range(1, 5)]
    popularity = [row[3] for row in tables["items"].rows()]
    assert popularity == [1, 0, 1, 0, 1, 0, 0]
    assert tables["items"]["title"].to_list() == [None] * 6 + ["seventh"]
    assert dropped == {"item_tags_rare": 0}


def test_a_core_splits_what_is_left_anew():
    everyone = [(u, i, i, "train" if i < 6 else "dev") for u in range(1, 6) for i in range(1, 7)]
    raw = Raw(given_split([*everyone, (6, 1, 1, "train")]), EMPTY, tag_frame([], pl.Int64), {})
    tables, dropped = build(raw, 5)
    one = tables["interactions"].filter(user_id=1)["split"].to_list()
    assert one == ["train"] * 4 + ["dev", "test"]
    assert dropped["below_core"] == 1


@pytest.mark.parametrize("column", ["source_user_id", "source_item_id"])
def test_interactions_that_would_get_lost_are_an_error(column):
    pairs = [(user, item, split) for user in (1, 2) for item, split in enumerate(SPLITS, start=1)]
    schema = {"source_user_id": pl.Int64, "source_item_id": pl.Int64, "split": SPLIT}
    given_split = pl.DataFrame(pairs, schema=schema, orient="row").with_columns(time=0, row=0)
    raw = replace(raw_of(given_split), dense=True)
    assert build(raw, None)[0]["interactions"].height == 6
    lost = given_split.with_columns(
        pl.when(pl.col(column) == 1).then(0).otherwise(column).alias(column)
    )
    with pytest.raises(DataError, match="interactions have a user or an item that is in no table"):
        build(replace(raw, interactions=lost.with_columns(pl.col(column).cast(pl.Int64))), None)
