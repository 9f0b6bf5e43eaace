from __future__ import annotations

from unittest import mock

import polars as pl
import pytest
from datasets import film_files
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import canonical, movielens, prepare, read_dataset
from recsae.datasets.movielens import ML100KOptions
from recsae.datasets.sources import SourceFile, read_source
from recsae.datasets.split import build
from recsae.errors import DataError, RecsaeError, UsageError

FILMS, RATINGS = film_files.toy_films(), film_files.toy_ratings()
PAIRS = [movielens.GROUPLENS, movielens.RECBOLE]
GOOD = {
    movielens.GROUPLENS: film_files.grouplens_files(FILMS, RATINGS),
    movielens.RECBOLE: film_files.recbole_files(FILMS, RATINGS),
}


NIGHT = b"|Night Story 1, The (1991)|"


def read(files):
    with mock.patch.dict(movielens.EXPECTED, film_files.EXPECTED):
        sources = [SourceFile(name, data) for name, data in files.items()]
        return movielens.read(sources, ML100KOptions())


def message(names, name, old, new):
    """What reading says after a replacement in one of the files."""
    files = dict(GOOD[names])
    assert old in files[name]
    files[name] = files[name].replace(old, new, 1)
    with pytest.raises(DataError) as caught:
        read(files)
    assert "\n" not in caught.value.message
    return caught.value.message


def test_both_forms_give_the_same():
    one, other = (build(read(GOOD[names]), 5)[0] for names in PAIRS)
    for table in canonical.TABLES:
        assert one[table].equals(other[table])
    titles = one["items"]["title"].to_list()
    assert {"Les Misérables (1995)", "unknown", "Great Giving (1995)"} <= set(titles)


def test_low_and_repeated_ratings_are_counted():
    ratings = [*RATINGS[:-1], (*RATINGS[0][:2], 1, 9999)]
    raw = read(film_files.grouplens_files(FILMS, ratings))
    low = sum(rating < 4 for _, _, rating, _ in ratings[1:])
    assert raw.dropped == {"duplicate": 1, "below_min_rating": low}


def test_line_ends_and_order_of_rows_do_not_matter():
    files = {n: data.replace(b"\n", b"\r\n") for n, data in GOOD[movielens.GROUPLENS].items()}
    files["u.data"] = b"\r\n".join(reversed(files["u.data"].split(b"\r\n")))
    tables = [build(read(f), 5)[0] for f in (files, GOOD[movielens.RECBOLE])]
    assert canonical.fingerprint(tables[0]) == canonical.fingerprint(tables[1])


def test_missing_column_names_those_found():
    text = message(movielens.RECBOLE, "ml-100k.inter", b"rating:float", b"stars:float")
    assert text.startswith("ml-100k.inter line 1: no column rating")
    assert "user_id, item_id, stars, timestamp" in text


@pytest.mark.parametrize(
    ("names", "file", "old", "new", "parts"),
    [
        (movielens.GROUPLENS, "u.data", b"\t", b",", ["line 1", "3 fields", "tabs"]),
        (movielens.GROUPLENS, "u.data", b"1\t", b"\t", ["line 1", "user id", "empty"]),
        (movielens.GROUPLENS, "u.data", b"\t10", b"\tsoon10", ["line 1", "timestamp", "soon10"]),
        (movielens.GROUPLENS, "u.data", b"\t5\t", b"\tnan\t", ["column rating", "'nan'"]),
        (movielens.GROUPLENS, "u.item", b"|", b"\t", ["u.item line 1", "23 fields", "expected 24"]),
        (movielens.GROUPLENS, "u.item", b"url|0", b"url|7", ["unknown", "'7'", "0 or 1"]),
        (movielens.GROUPLENS, "u.item", b"2|Riv", b"1|Riv", ["film 1 occurs twice"]),
        (movielens.GROUPLENS, "u.item", NIGHT, b"|  |", ["line 1", "movie title", "empty"]),
        (movielens.RECBOLE, "ml-100k.inter", b"\t", b",", ["line 1", "no column"]),
        (movielens.RECBOLE, "ml-100k.item", b"\tAction", b"\tPolka", ["class", "'Polka'"]),
        (movielens.RECBOLE, "ml-100k.item", "é".encode(), b"\xe9", ["line 20", "utf-8"]),
        (movielens.RECBOLE, "ml-100k.inter", b"\n1\t", b"\n-1\t", ["line 2", "'-1'"]),
    ],
)
def test_a_wrong_field_is_named(names, file, old, new, parts):
    text = message(names, file, old, new)
    assert file in text
    for part in parts:
        assert part in text


def test_numbers_that_do_not_match_are_given():
    with pytest.raises(DataError) as caught:
        read(film_files.grouplens_files(FILMS, RATINGS[:-1]))
    assert caught.value.message == "u.data has 399 ratings, but MovieLens 100K has 400"


@pytest.mark.parametrize(
    "options", [{"min_rating": 0}, {"min_rating": float("nan")}, {"min_rating": 6}, {"core": 2}]
)
def test_options_out_of_range(options):
    with pytest.raises(UsageError) as caught:
        ML100KOptions(**options)
    assert f"--{next(iter(options)).replace('_', '-')} is" in caught.value.message


@st.composite
def damaged(draw):
    """One of the good pairs of files with a slice of one file replaced by other bytes."""
    names = draw(st.sampled_from(PAIRS))
    files = dict(GOOD[names])
    name = draw(st.sampled_from(names))
    data = files[name]
    start = draw(st.integers(0, len(data)))
    size = draw(st.sampled_from([0, 1, 2, 10, len(data)]))
    files[name] = data[:start] + draw(st.binary(max_size=12)) + data[start + size :]
    return files


@settings(max_examples=150, deadline=None)
@given(damaged())
def test_damaged_files_give_a_result_or_a_clear_error(files):
    with film_files.clear_errors():
        build(read(files), 5)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.binary(max_size=300), st.sampled_from(PAIRS))
def test_random_bytes_give_a_clear_error(data, item, names):
    with pytest.raises(RecsaeError):
        read(dict(zip(names, (data, item), strict=True)))


REAL = pytest.mark.realdata


@REAL
def test_real_data_are_those_of_the_reference(real_data, tmp_path):
    prepare("ml-100k", tmp_path, source=real_data / "ml-100k")
    dataset = read_dataset("ml-100k", tmp_path)
    counts = {key: dataset.info["counts"][key] for key in ("users", "items", "interactions")}
    assert counts == {"users": 938, "items": 1008, "interactions": 54413}
    assert dataset.info["counts"]["train"] == 52537
    assert dataset.info["counts"]["item_tags"] == 4015
    assert dataset.info["counts"]["tags"] == 79
    assert dataset.fingerprint == movielens.FINGERPRINT
    own = dataset.interactions.select("user_id", "item_id", "time", "split").rows()
    reference = set()
    for split in canonical.SPLITS:
        frame = pl.read_csv(real_data / "rechorus" / "ml-100k" / f"{split}.csv", separator="\t")
        reference |= {(*row, split) for row in frame.rows()}
    assert set(own) == reference


@REAL
def test_every_real_route_ends_in_the_same_bytes(real_data, tmp_path):
    recbole = {n: (real_data / "ml-100k" / n).read_bytes() for n in movielens.RECBOLE}
    grouplens = film_files.real_grouplens_files(real_data / "ml-100k")
    folder = film_files.write_folder(tmp_path / "unpacked" / "ml-100k", grouplens)
    wheel = tmp_path / "recbole-1.2.1-py3-none-any.whl"
    sources = [
        real_data / "ml-100k",
        folder,
        folder.parent,
        film_files.write_zip(tmp_path / "ml-100k.zip", grouplens),
        film_files.write_zip(wheel, recbole, "recbole/dataset_example/ml-100k/"),
    ]
    written = []
    for number, source in enumerate(sources):
        place = prepare("ml-100k", tmp_path / str(number), source=source)
        written.append({path.name: path.read_bytes() for path in place.glob("*.parquet")})
    assert len(written[0]) == 4
    assert all(files == written[0] for files in written)


@REAL
def test_an_edited_copy_is_refused(real_data, tmp_path):
    files = film_files.real_grouplens_files(real_data / "ml-100k")
    files["u.item"] = files["u.item"].replace(b"Jungle", b"06gle")
    source = film_files.write_folder(tmp_path / "edited", files)
    with pytest.raises(DataError) as caught:
        prepare("ml-100k", tmp_path, source=source, core=6)
    assert "not the published MovieLens 100K" in caught.value.message


@REAL
def test_real_titles_and_years(real_data):
    files = read_source(real_data / "ml-100k", (movielens.RECBOLE,))
    items = movielens.read(files, ML100KOptions()).items
    titles = dict(items.rows())
    assert len(titles) == 1682
    assert titles[12] == "The Usual Suspects (1995)"
    assert titles[267] == "unknown"
    assert titles[1412] == "Land Before Time III: The Time of the Great Giving (1995)"
    assert titles[1201] == "Marlene Dietrich: Shadow and Light (1996)"
    dated = items.filter(pl.col("title").str.contains(r" \((19[2-9][0-9])\)$"))
    assert dated.height == 1681
    assert not items["title"].str.contains(r", (The|A|An|La|Le|Les|Il|Der|Das)\b *(\(|$)").any()
