from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import prepare, read_dataset, read_truth
from recsae.datasets.planted import PlantedOptions, generate
from recsae.datasets.split import build
from recsae.errors import DataError, UsageError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("planted")
    prepare("planted", folder)
    return folder


def test_same_options_same_bytes(data, tmp_path):
    again = prepare("planted", tmp_path)
    for path in again.iterdir():
        assert path.read_bytes() == (data / "planted" / path.name).read_bytes()
    prepare("planted", tmp_path, seed=1, stored_as="other")
    one, other = (read_dataset(name, tmp_path).fingerprint for name in ("planted", "other"))
    assert one != other


def test_every_item_has_its_concept(data):
    dataset, truth = read_dataset("planted", data), read_truth("planted", data)
    assert truth["item_id"].to_list() == dataset.items["item_id"].to_list()
    tags = dataset.item_tags.filter(kind="concept")
    assert set(truth.rows()) <= set(tags.select("item_id", "tag").rows())
    assert truth["concept"].n_unique() == 16
    assert 400 < tags.height < 480
    assert dataset.items["title"][16] == "Item 0017"


def test_noise_is_as_frequent_as_concepts(data):
    sizes = read_dataset("planted", data).item_tags.group_by("kind", "tag").len()
    means = dict(sizes.group_by("kind").agg(pl.col("len").mean()).rows())
    assert means["noise"] == pytest.approx(means["concept"], rel=0.2)
    assert sizes["len"].min() >= 5
    assert sizes.group_by("kind").len().sort("kind").rows() == [("concept", 16), ("noise", 40)]


def test_history_tells_the_concept(data):
    """Guessing that the next item is of the last item's concept is right far more than by chance.

    Knowing only which items are popular in that concept has to rank the test item well.
    """
    dataset, truth = read_dataset("planted", data), read_truth("planted", data)
    steps = dataset.interactions.join(truth, on="item_id").sort("user_id", "position")
    same = steps.select(pl.col("concept") == pl.col("concept").shift(1).over("user_id"))
    assert same["concept"].mean() > 0.7
    last = steps.group_by("user_id", maintain_order=True).agg(
        pl.col("item_id"), before=pl.col("concept").slice(-2, 1).first()
    )
    popular = dataset.items.join(truth, on="item_id").sort("popularity", descending=True)
    ranked = {c: f["item_id"].to_list() for (c,), f in popular.group_by("concept")}
    hits = [
        items[-1] in [i for i in ranked[concept] if i not in items[:-1]][:10]
        for _, items, concept in last.rows()
    ]
    assert sum(hits) / len(hits) > 0.25  # by chance: 10 of 400


@settings(max_examples=15, deadline=None)
@given(st.integers(80, 120), st.integers(2, 10), st.integers(0, 6), st.integers(0, 99))
def test_any_size_holds_the_invariants(items, concepts, noise, seed):
    options = PlantedOptions(users=60, items=items, concepts=concepts, noise_tags=noise, seed=seed)
    raw, _ = generate(options)
    pairs = raw.interactions.select("source_user_id", "source_item_id")
    assert pairs.is_unique().all()
    lengths = raw.interactions.group_by("source_user_id").len()["len"]
    assert lengths.max() <= 40
    tables, _ = build(raw, options.core)
    for column in ("user_id", "item_id"):
        assert tables["interactions"].group_by(column).len()["len"].min() >= options.core


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"users": -1}, "--users is -1"),
        ({"items": 0}, "--items is 0"),
        ({"concepts": 51}, "--concepts is 51, but it must be from 2 to 50"),
        ({"concepts": 0}, "--concepts is 0"),
        ({"noise_tags": -1}, "--noise-tags is -1"),
        ({"seed": -1}, "--seed is -1"),
        ({"core": 0}, "--core is 0"),
    ],
)
def test_options_out_of_range(options, named, tmp_path):
    with pytest.raises(UsageError) as caught:
        prepare("planted", tmp_path, **options)
    assert named in caught.value.message


def test_a_core_that_nothing_survives(tmp_path):
    with pytest.raises(DataError) as caught:
        prepare("planted", tmp_path, core=100)
    assert "no interaction is left" in caught.value.message
    assert not (tmp_path / "planted").exists()
