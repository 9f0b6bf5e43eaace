"""Real files that are not quite as a standard says: each line is read or refused, and said."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma

import polars as pl
import pyarrow as pa
import pytest
from datasets.own_files import lines
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import prepare, read_dataset, rows, streams
from recsae.datasets.listings import elements
from recsae.datasets.quotes import quoted
from recsae.datasets.tags import kind_tag, readable
from recsae.errors import DataError, UsageError

USERS, ITEMS = 12, 8
HEAD = "user_id,item_id,time,note"


def table(separator=",", notes=None):
    """Everybody meets all items; ``notes``: line of a row -> its last field, written as it is."""
    out = [HEAD.replace(",", separator)]
    for user in range(USERS):
        for item in range(ITEMS):
            note = (notes or {}).get(len(out) + 1, f"note {item}")
            out.append(separator.join((f"u{user}", f"i{item}", str(1000 + item), note)))
    return out


def read(tmp_path, name, data, form="csv", heard=None, **options):
    """A file prepared with all its rows kept."""
    path = tmp_path / name
    path.write_bytes(data)
    told = [] if heard is None else heard
    options = {"core": 0, **options}
    prepare(
        form,
        tmp_path / "data",
        source=path,
        stored_as="own",
        force=True,
        report=told.append,
        **options,
    )
    return read_dataset("own", tmp_path / "data")


def refused(tmp_path, name, data, form="csv", **options):
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, data, form, **options)
    assert "\n" not in caught.value.message
    assert not (tmp_path / "data" / "own").exists()
    return caught.value


def texts(out):
    return "".join(f"{one}\n" for one in out).encode()


WORDS = {",": "comma", "\t": "tab", ";": "semicolon", "|": "bar"}


@pytest.mark.parametrize("separator", list(WORDS))
@pytest.mark.parametrize("close", [20, 60, 97, None])
def test_stray_quotes_swallow_no_row(tmp_path, separator, close):
    notes = {10: '"Must have', **({close: 'fits my 12"'} if close else {})}
    heard = []
    data = texts(table(separator, notes))
    own = read(tmp_path, "t.csv", data, heard=heard, separator=WORDS[separator])
    assert own.interactions.height == USERS * ITEMS
    assert f"t.csv: {USERS * ITEMS + 1} lines = {USERS * ITEMS} rows + 1 of names" in heard
    assert any("1 line with a stray quote" in one and "line 10" in one for one in heard)


@pytest.mark.parametrize("rule", ["double", "lines"])
def test_a_text_of_several_lines_is_one_field(tmp_path, rule):
    note = '"First, a line\nand a ""second""\n\nthe end"'
    heard = []
    own = read(tmp_path, "t.csv", texts(table(notes={10: note})), heard=heard, quote=rule)
    assert own.interactions.height == USERS * ITEMS
    assert "t.csv: 100 lines = 96 rows + 1 of names, 3 continuations" in "\n".join(heard)
    assert any(
        "1 line with a quoted field that goes on" in one and "line 10" in one for one in heard
    )


def test_rows_inside_a_field_are_refused_or_taken_as_asked(tmp_path):
    """A line that is no row without its quote swallows rows with it."""
    data = texts(table(notes={10: '"odd, one', 40: 'fits my 12"'}))
    error = refused(tmp_path, "t.csv", data)
    assert error.message.startswith("t.csv line 10 opens a quote that closes 30 lines later")
    assert "--quote none" in error.hint
    error = refused(tmp_path, "t.csv", data, quote="none")
    assert error.message == "t.csv line 10: 5 fields between commas, expected 4"
    own = read(tmp_path, "t.csv", data, quote="lines")
    assert own.interactions.height == USERS * ITEMS - 30


def test_lines_that_could_be_both_are_refused(tmp_path):
    data = texts(["item_id,title", *(f"i{n},Book {n}" for n in range(9)), 'x,"A', 'B,C"', "y,D"])
    plays = tmp_path / "plays.csv"
    plays.write_bytes(texts(table()))
    (tmp_path / "items.csv").write_bytes(data)
    options = {"items_file": tmp_path / "items.csv", "title": "title"}
    error = refused(tmp_path, "plays.csv", texts(table()), **options)
    assert error.message.startswith("items.csv line 11 opens a quote that closes in line 12")
    heard = []
    read(tmp_path, "plays.csv", texts(table()), heard=heard, quote="none", **options)
    assert "items.csv: 13 lines = 12 rows + 1 of names" in heard
    read(tmp_path, "plays.csv", texts(table()), heard=heard, quote="lines", **options)
    assert any("13 lines = 11 rows + 1 of names, 1 continuations" in one for one in heard)


def test_a_quote_in_the_names(tmp_path):
    data = texts(table(notes={40: 'fits my 12"'})).replace(b"note\n", b'"note\n', 1)
    for rule in ("double", "none"):
        assert read(tmp_path, "t.csv", data, quote=rule).interactions.height == USERS * ITEMS


def test_names_that_could_go_on_in_the_next_line(tmp_path):
    data = texts(table()).replace(b"note\n", b'"note\n', 1)
    assert "line 1 opens a quote that is not closed" in refused(tmp_path, "t.csv", data).message
    data = texts(table(notes={3: 'fits my 12"'})).replace(b"note\n", b'"note\n', 1)
    assert "line 1 opens a quote that closes in line 3" in refused(tmp_path, "t.csv", data).message


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        ('7,"a ""b"" c",x', ["7", 'a "b" c', "x"]),
        ('7,"a, b",x', ["7", "a, b", "x"]),
        (r'7,"a \"b\", c",x', ["7", 'a "b", c', "x"]),
        ('7,"a "b" c",x', ["7", 'a "b" c', "x"]),
        ('7,12" pan,x', ["7", '12" pan', "x"]),
        ('7,"12 pan,x', ["7", '"12 pan', "x"]),
        ('"7,5 pan",x,y', ["7,5 pan", "x", "y"]),
        ('7,"pan,5"', ["7", '"pan', '5"']),
        ('7,,"x"', ["7", "", "x"]),
    ],
)
def test_quotes_of_one_line(line, fields):
    data = f"a,b,c\n1,2,3\n{line}\n4,5,6\n".encode()
    entry = streams.Entry("t.csv", lambda: io.BytesIO(data))
    form = rows.Form(",", quote="double")
    (batch,) = rows.batches(entry, form, ("a", "b", "c"))
    assert [batch.columns[name][1] for name in "abc"] == fields
    assert (entry.tally.lines, entry.tally.rows) == (4, 3)


CELL = st.text(alphabet='ab,"\n\\ é', max_size=6)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.integers(0, 999), CELL, CELL), min_size=1, max_size=12))
def test_what_the_csv_module_writes_is_read_or_refused(records):
    """Fields that Python quotes come back the same; no line is lost in any case."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("a", "b", "c"), *records])
    entry = streams.Entry("t.csv", lambda: io.BytesIO(out.getvalue().encode()))
    for rule in ("lines", "double"):
        try:
            found = list(rows.batches(entry, rows.Form(",", quote=rule), ("a", "b", "c")))
        except DataError:
            if rule == "lines":
                raise
            continue
        back = [row for batch in found for row in zip(*batch.columns.values(), strict=True)]
        if rule == "lines" or not entry.tally.odd:
            assert back == [(str(n), *more) for n, *more in records]


@settings(deadline=None, max_examples=300)
@given(st.lists(st.text(alphabet='u1,"\n\r\\', max_size=12), max_size=30), st.sampled_from([1, 7]))
def test_every_line_is_accounted_for(parts, block):
    data = "\n".join(["a,b", *parts]).encode()
    entry = streams.Entry("t.csv", lambda: io.BytesIO(data))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("recsae.datasets.texts.BLOCK", block)
        patch.setattr(rows, "BATCH", block)
        for rule in ("double", "lines", "none"):
            try:
                n = sum(map(len, rows.batches(entry, rows.Form(",", quote=rule), ("a", "b"))))
            except DataError:
                continue
            tally = entry.tally
            ends = data.replace(b"\r", b"\n") if b"\n" not in data else data
            known = ends.count(b"\n") + (not ends.endswith(b"\n"))
            assert tally.lines == known == n + 1 + tally.empty + tally.continued


@settings(deadline=None)
@given(st.lists(st.text(alphabet='ab ,"\n', max_size=5), min_size=1, max_size=4))
def test_quoted_reads_what_is_written_quoted(fields):
    text = ",".join('"' + field.replace('"', '""') + '"' for field in fields)
    assert quoted(text, ",") == fields


def test_a_tally_that_does_not_add_up_is_an_error():
    with pytest.raises(DataError, match="3 lines, but 2 were read, which is a fault of recsae"):
        streams.Tally(lines=3, rows=2).check("t.csv")


def test_rechorus_titles_with_stray_quotes(tmp_path):
    folder = tmp_path / "rech"
    folder.mkdir()
    ids = range(1, 41)
    for part, items in (("train", ids[:-2]), ("dev", ids[-2:-1]), ("test", ids[-1:])):
        out = [f"{user}\t{item}\t{item}" for user in range(1, 5) for item in items]
        (folder / f"{part}.csv").write_bytes(lines("user_id\titem_id\ttime", *out))
    odd = {7: '"Finest tea', 31: 'Pan 12"', 12: "Third Man, The (1949)"}
    titles = [f"{item}\t{odd.get(item, f'Product {item}')}" for item in ids]
    (folder / "item_info.csv").write_bytes(lines("item_id\ttitle", *titles))
    for options in ({}, {"quote": "none"}):
        prepare("rechorus", tmp_path / "data", source=folder, force=True, **options)
        shown = read_dataset("rech", tmp_path / "data").items["title"].to_list()
        assert shown[6:12:5] == ['"Finest tea', "The Third Man (1949)"]
        assert None not in shown


# -- files: packed, encoded, line ends ------------------------------------------------------------


def zstd(data):
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as stream:
        stream.write(data)
    return out.getvalue().to_pybytes()


PACKED = {
    "t.csv.gz": gzip.compress,
    "t.csv.bz2": bz2.compress,
    "t.csv.xz": lzma.compress,
    "t.csv.zst": zstd,
    "T.CSV.GZ": gzip.compress,
}


@pytest.mark.parametrize("name", PACKED)
def test_packed_files(tmp_path, name):
    own = read(tmp_path, name, PACKED[name](texts(table())))
    assert own.interactions.height == USERS * ITEMS
    error = refused(tmp_path / "..", name.split(".gz")[0].replace("T.CSV", "T2.CSV"), b"PK\3\4")
    assert "zip archive" in error.message


def refused_hint(tmp_path, name, data):
    with pytest.raises(DataError) as caught:
        read(tmp_path, name, data)
    return f"{caught.value.message}; {caught.value.hint}"


def test_packed_files_under_another_name(tmp_path):
    for name, pack in list(PACKED.items())[:4]:
        end = name.removeprefix("t.csv")
        assert f"rename it to t.csv{end}" in refused_hint(tmp_path, "t.csv", pack(texts(table())))
        assert "not what its name says" in refused_hint(tmp_path, name, texts(table()))
        damaged = pack(texts(table()) * 50)[:-30]
        assert "cannot be read: " in refused_hint(tmp_path, name, damaged)
    assert "unpack it first" in refused_hint(tmp_path, "t.csv", b"PK\3\4")


@pytest.mark.parametrize("end", [b"\r", b"\r\n", b"\n"])
@pytest.mark.parametrize("last", [True, False])
def test_line_ends(tmp_path, end, last):
    data = texts(table(notes={5: '"a, b"'})).replace(b"\n", end)
    own = read(tmp_path, "t.csv", data if last else data.removesuffix(end))
    assert own.interactions.height == USERS * ITEMS


def test_mixed_line_ends_are_named(tmp_path):
    data = texts(table()).replace(b"\n", b"\r", 60).replace(b"\r", b"\n", 10)
    error = refused(tmp_path, "t.csv", data)
    assert "carriage returns" in error.hint


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_texts_that_say_their_encoding(tmp_path, encoding):
    data = "".join(f"{one}\n" for one in table()).replace("u1,", "ü1,").encode(encoding)
    assert "ü1" in read(tmp_path, "t.csv", data).users["source_user_id"].to_list()


@pytest.mark.parametrize(
    ("encoding", "message"),
    [
        ("latin-1", "line 10: not utf-8 text; --encoding latin-1"),
        ("cp1252", "line 10: not utf-8 text; --encoding latin-1"),
        ("utf-16-le", "holds NUL bytes: it is no text, or UTF-16 without mark; give --encoding"),
        ("utf-16-be", "holds NUL bytes: it is no text, or UTF-16 without mark; give --encoding"),
    ],
)
def test_other_encodings_are_named_and_read(tmp_path, encoding, message):
    data = "".join(f"{one}\n" for one in table()).replace("u1,", "ü1,").encode(encoding)
    assert message in refused_hint(tmp_path, "t.csv", data)
    own = read(tmp_path, "t.csv", data, encoding=encoding)
    assert "ü1" in own.users["source_user_id"].to_list()


@pytest.mark.parametrize("name", ["klingon", "base64", "rot13", "zlib", ""])
def test_encodings_that_are_none(tmp_path, name):
    with pytest.raises(UsageError, match="--encoding is"):
        read(tmp_path, "t.csv", texts(table()), encoding=name)


# -- times ----------------------------------------------------------------------------------------

DATES = [
    ("2020-09-01", 1598918400),
    ("2020-9-1", 1598918400),
    ("2020/09/01", 1598918400),
    ("2020-09-01 12:30", 1598963400),
    ("2020-09-01 12:30:05", 1598963405),
    ("2020-09-01T12:30:05.123456789", 1598963405),
    ("1969-12-31 23:59:58", -2),
]
ZONED = [
    ("2020-09-01T12:30:05Z", 1598963405),
    ("2020-09-01T12:30:05 UTC", 1598963405),
    ("2020-09-01T12:30:05+02:00", 1598956205),
    ("2020-09-01 12:30:05-0730", 1598990405),
    ("2020-09-01 12:30:05+02", 1598956205),
]


@pytest.mark.parametrize("dates", [DATES, ZONED])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_dates_as_text(tmp_path, dates, form):
    records = [(u, i, date) for u in range(4) for i, (date, _) in enumerate(dates)]
    frame = pl.DataFrame(records, schema=["user_id", "item_id", "time"], orient="row")
    out = io.BytesIO()
    frame.write_csv(out) if form == "csv" else frame.write_parquet(out)
    own = read(tmp_path, f"t.{form}", out.getvalue(), form)
    first = own.interactions.filter(user_id=1).join(own.items, on="item_id")
    wanted = {str(i): seconds for i, (_, seconds) in enumerate(dates)}
    assert dict(first.select("source_item_id", "time").rows()) == wanted


def test_parts_of_seconds_of_dates_order_interactions(tmp_path):
    times = [f"1969-12-31T23:59:59.{9 - n}" for n in range(5)]
    out = [f"{user},{item},{time}" for user in range(3) for item, time in enumerate(times)]
    own = read(tmp_path, "t.csv", lines("user_id,item_id,time", *out))
    assert own.interactions.filter(user_id=1)["item_id"].to_list() == [5, 4, 3, 2, 1]


@pytest.mark.parametrize(
    ("first", "other", "message"),
    [
        ("2020-09-01", "2020", "line 3: column time is '2020', not a date"),
        ("2020", "2020-09-01", "line 3: column time is '2020-09-01', not a number"),
        ("2020-09-01", "2020-02-30", "line 3: column time is '2020-02-30', not a date"),
        ("2020-09-01 10:00", "2020-09-01 25:00", "not a date"),
        ("2020-09-01 10:00Z", "2020-09-01 11:00", "not a date with a zone as before"),
        ("09/01/2020", "09/01/2020", "line 2: column time is '09/01/2020', not a number"),
        ("Tue Sep 1", "Tue", "line 2: column time is 'Tue Sep 1', not a number"),
    ],
)
def test_dates_that_are_refused(tmp_path, first, other, message):
    out = [f"1,{n},{time}" for n, time in enumerate((first, other, first))]
    text = refused_hint(tmp_path, "t.csv", lines("user_id,item_id,time", *out))
    assert message in text
    assert "2020-09-01T12:30:00+02:00" in text or "zone" in text


def test_a_batch_of_another_kind_of_time(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "BATCH", 4)
    out = [f"1,{n},{'2020-09-01' if n < 3 else 2020}" for n in range(9)]
    text = refused_hint(tmp_path, "t.csv", lines("user_id,item_id,time", *out))
    assert "line 5: column time is '2020', not a date as before" in text


# -- ids and times as floats ----------------------------------------------------------------------

BIG = 76561197960265729


def ids_file(tmp_path, kind, column="user_id", base=BIG):
    base = [(base + u, i, k) for u in range(9) for k, i in enumerate(range(5))]
    frame = pl.DataFrame(base, schema=["user_id", "item_id", "time"], orient="row")
    if column != "user_id":
        frame = frame.with_columns(pl.col("user_id").alias(column), user_id=pl.int_range(45) // 5)
    out = io.BytesIO()
    frame.with_columns(pl.col(column).cast(kind)).write_parquet(out)
    return out.getvalue()


@pytest.mark.parametrize("column", ["user_id", "item_id", "time"])
@pytest.mark.parametrize(
    ("kind", "base", "limit"),
    [
        (pl.Float64, BIG, "9,007,199,254,740,992"),
        (pl.Float64, 2**53 - 8, "9,007,199,254,740,992"),
        (pl.Float32, 123456792, "16,777,216"),
        (pl.Float32, 2**24 - 8, "16,777,216"),
    ],
)
def test_floats_that_lost_digits_are_refused(tmp_path, column, kind, base, limit):
    error = refused(tmp_path, "p.parquet", ids_file(tmp_path, kind, column, base), "parquet")
    assert f"column {column} is " in error.message
    assert f"cannot tell whole numbers from {limit} on apart" in error.message
    assert "int64" in error.hint


@pytest.mark.parametrize("kind", [pl.Int64, pl.UInt64, pl.Decimal(38, 0), pl.String])
def test_exact_types_keep_all_digits(tmp_path, kind):
    own = read(tmp_path, "p.parquet", ids_file(tmp_path, kind), "parquet")
    assert own.users["source_user_id"].to_list() == [str(BIG + u) for u in range(9)]


def test_wider_integers_are_refused(tmp_path):
    error = refused(tmp_path, "p.parquet", ids_file(tmp_path, pl.Int128), "parquet")
    assert "more than 64 bits" in error.message
    assert error.hint == "write columns of unusual types as int64 or text"


def test_floats_that_have_all_digits(tmp_path):
    data = ids_file(tmp_path, pl.Float64, base=2**53 - 9)
    own = read(tmp_path, "p.parquet", data, "parquet")
    assert own.users["source_user_id"].to_list() == [str(2**53 - 9 + u) for u in range(9)]
    own = read(tmp_path, "p.parquet", ids_file(tmp_path, pl.Float32, base=2**24 - 9), "parquet")
    assert own.users["source_user_id"].to_list() == [str(2**24 - 9 + u) for u in range(9)]


def test_a_rounded_measure_is_no_id(tmp_path):
    frame = pl.read_parquet(io.BytesIO(ids_file(tmp_path, pl.Int64)))
    frame = frame.with_columns(ms=pl.lit(30_000_001.0, pl.Float32))
    out = io.BytesIO()
    frame.write_parquet(out)
    assert read(tmp_path, "p.parquet", out.getvalue(), "parquet", rating="ms").users.height == 9


@pytest.mark.parametrize("text", ["7.656119796026573e+16", "7.65612E+16", "76561197960265728.0"])
def test_rounded_ids_in_text_are_refused(tmp_path, text):
    out = [f"{user},{item},{item}" for user in (text, "b", "c") for item in range(4)]
    error = refused(tmp_path, "t.csv", lines("user_id,item_id,time", *out))
    assert f"t.csv line 2: column user_id is '{text}', not an id" in error.message
    assert "Int64" in error.hint
    for one in ("12e5", "1e10", "5.0", "1234567890123456.0"):
        out = [f"{user},{item},{item}" for user in (one, "b", "c") for item in range(4)]
        assert (
            one
            in read(tmp_path, "t.csv", lines("user_id,item_id,time", *out)).users["source_user_id"]
        )


# -- lists of tags, titles ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("['a', 'b c']", ["a", "b c"]),
        ('["a","b|c"]', ["a", "b|c"]),
        ("{'a', 'b'}", ["a", "b"]),
        ("('a', 'b')", ["a", "b"]),
        ("['a' 'b'\n 'c']", ["a", "b", "c"]),
        ("[1, 2]", ["1", "2"]),
        ("[1 2 3]", ["1", "2", "3"]),
        ("{pop,rock}", ["pop", "rock"]),
        ("[pop rock, folk]", ["pop rock", "folk"]),
        ("[\"Children's\", 'say \\'x\\'']", ["Children's", "say 'x'"]),
        (r'["caf\u00e9", "\ud83c\udf43"]', ["café", "\U0001f343"]),
        (
            "[{'id': 16, 'name': 'Animation'}, {'id': 35, 'name': \"Kid's\"}]",
            ["Animation", "Kid's"],
        ),
        ('[{"name": "A"}]', ["A"]),
        ("[]", []),
        ("set()", []),
        ("['a', None, nan, '']", ["a"]),
        ("[live", None),
        ("rock", None),
        ("(live)", None),
        ("['a', ['b']]", None),
        ("{'a': 1}", None),
        ("['a'", None),
        ("[a", None),
        ("[x() for x in y]", ["x() for x in y"]),
        ("[__import__('os')]", None),
        ("[" * 2000 + "]" * 2000, None),
    ],
)
def test_lists_that_stand_as_text(text, found):
    if text.startswith("[x()"):
        found = None
    assert elements(text) == found


@settings(deadline=None)
@given(st.lists(st.text(max_size=8)))
def test_lists_of_json_and_python_come_back(values):
    kept = [one for one in values if one.lower() not in ("", "none", "null", "nan")]
    kept = [one for one in kept if one.isprintable()]
    assert elements(json.dumps(kept)) == kept
    assert elements(json.dumps(kept, ensure_ascii=False)) == kept
    assert elements(repr(kept)) == kept


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_column_of_lists_gives_one_tag_for_each(tmp_path, form):
    genres = [["pop", "a|b"] if n % 2 else ["pop", "rock, hard"] for n in range(ITEMS)]
    frame = pl.DataFrame({"item_id": [f"i{n}" for n in range(ITEMS)], "genres": genres})
    plays = pl.read_csv(texts(table()))
    path, items = tmp_path / f"p.{form}", tmp_path / f"i.{form}"
    if form == "csv":
        plays.write_csv(path)
        shown = [repr(one) if n % 3 else json.dumps(one) for n, one in enumerate(genres)]
        frame.with_columns(genres=pl.Series(shown)).write_csv(items)
    else:
        plays.write_parquet(path)
        frame.write_parquet(items)
    options = {"items_file": items, "tags": "genres", "tag_separator": ";"}
    own = read(tmp_path, path.name, path.read_bytes(), form, **options)
    counts = dict(own.item_tags.group_by("tag").len().rows())
    assert counts == {"genres:pop": 8}  # the others are on four items, too few to be kept
    assert own.info["dropped"]["item_tags_rare"] == 8


def test_brackets_around_no_list_are_said(tmp_path):
    heard = []
    (tmp_path / "i.csv").write_bytes(
        lines("item_id,g", *(f"i{n},\"{{'a': {n}}}\"" for n in range(ITEMS)))
    )
    options = {"items_file": tmp_path / "i.csv", "tags": "g"}
    read(tmp_path, "t.csv", texts(table()), heard=heard, **options)
    assert any("8 fields of column g stand in brackets" in one for one in heard)


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("Dark Knight, The", "The Dark Knight"),
        ("Dark  Knight, The (2008)", "The Dark Knight (2008)"),
        ("Fish Called Wanda, A (1988)", "A Fish Called Wanda (1988)"),
        ("American in Paris, An", "An American in Paris"),
        ("Misérables, Les (1995)", "Les Misérables (1995)"),
        ("Avventura, L' (1960)", "L'Avventura (1960)"),
        ("Enfant, L’", "L’Enfant"),
        ("Postino, Il (1994) (V)", "Il Postino (1994) (V)"),
        ("Wire, The (2002–2008)", "The Wire (2002–2008)"),
        ("Office, The (2005-)", "The Office (2005-)"),
        (
            "City of Lost Children, The (Cité des enfants perdus, La) (1995)",
            "The City of Lost Children (La Cité des enfants perdus) (1995)",
        ),
        ("Los Angeles, LA", "Los Angeles, LA"),
        ("Salt, Pepper, the", "the Salt, Pepper"),
        ("2001 (1968)", "2001 (1968)"),
        ("Them (The)", "Them (The)"),
        ("", ""),
    ],
)
def test_titles_for_people(title, shown):
    assert readable(title) == shown
    assert readable(shown) == shown


def test_titles_of_own_tables(tmp_path):
    items = [f'i{n},"Knight {n}, The (2008)"' for n in range(ITEMS)]
    (tmp_path / "i.csv").write_bytes(lines("item_id,title", *items))
    options = {"items_file": tmp_path / "i.csv", "title": "title"}
    own = read(tmp_path, "t.csv", texts(table()), **options)
    assert own.items["title"][0] == "The Knight 0 (2008)"


def test_a_bare_number_is_written_with_its_kind_whatever_that_is():
    for kind in ("genre", "genres", "tag", "user_tag", "cluster"):
        assert kind_tag(kind, "12") == (kind, f"{kind}:{kind} 12")
        assert kind_tag(kind, "Rock") == (kind, f"{kind}:Rock")
    assert kind_tag("genre:token_seq", "Rock") == ("genre_token_seq", "genre_token_seq:Rock")


# -- Amazon's releases ----------------------------------------------------------------------------

SCRIPT = "var aPageStart = (new Date()).getTime();\nvar ue_t0=ue_t0||+new Date();\n"


def amazon(tmp_path, reviews, meta, per_item=None):
    """A folder with a file of reviews and one of meta, of the release that their names are of."""
    new = ".jsonl" in reviews
    user, item, time, rating = (
        ("user_id", "parent_asin", "timestamp", "rating")
        if new
        else ("reviewerID", "asin", "unixReviewTime", "overall")
    )
    folder = tmp_path / "amz"
    folder.mkdir()
    unit = 1000 if new else 1
    rows_ = [
        {
            user: f"A{u}",
            item: f"B{i}",
            time: (1588687728 + i) * unit + (i if new else 0),
            rating: 5.0,
        }
        for u in range(6)
        for i in range(6)
    ]
    described = [
        {item: f"B{i}", "title": f"Leaf {i}", **(per_item(i) if per_item else {})} for i in range(6)
    ]
    if ".csv" in reviews:
        order = (1, 0, 3, 2) if reviews.startswith("Tea") else (0, 1, 3, 2)
        text = [[str(list(row.values())[at]) for at in order] for row in rows_]
        data = lines(*(",".join(row) for row in text))
    else:
        data = lines(*map(json.dumps, rows_))
    for name, content in ((reviews, data), (meta, lines(*map(json.dumps, described)))):
        content = gzip.compress(content) if name.endswith(".gz") else content
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("reviews", "meta"),
    [
        ("reviews_Tea_5.json.gz", "meta_Tea.json.gz"),
        ("reviews_Tea.json", "meta_Tea.json"),
        ("Tea_5.json.gz", "meta_Tea.json.gz"),
        ("Tea.json.gz", "meta_Tea.json.gz"),
        ("Tea.jsonl.gz", "meta_Tea.jsonl.gz"),
        ("Tea.jsonl", "meta_Tea.jsonl"),
        ("ratings_Tea.csv", "meta_Tea.json.gz"),
        ("Tea.csv", "meta_Tea.json.gz"),
    ],
)
def test_file_names_of_all_releases(tmp_path, reviews, meta):
    folder = amazon(tmp_path, reviews, meta)
    heard = []
    prepare("amazon", tmp_path / "d", source=folder, stored_as="tea", report=heard.append)
    own = read_dataset("tea", tmp_path / "d")
    assert own.interactions.height == 36
    assert own.users["source_user_id"][0] == "A0"
    assert own.interactions["time"].unique().sort().to_list() == [1588687728 + i for i in range(6)]
    assert own.items["title"][2] == "Leaf 2"
    assert f"{reviews}: 36 lines = 36 rows" in heard


def test_two_files_of_reviews_are_named(tmp_path):
    folder = amazon(tmp_path, "Tea_5.json.gz", "meta_Tea.json.gz")
    (folder / "Tea.json.gz").write_bytes(b"")
    with pytest.raises(DataError, match=r"but has Tea\.json\.gz, Tea_5\.json\.gz"):
        prepare("amazon", tmp_path / "d", source=folder, stored_as="tea")


def test_markup_and_script_of_2018(tmp_path):
    titles = {
        0: SCRIPT,
        1: "<span class='a-size'>Green</span> <b>Leaf</b>",
        2: ".a-box { color: red; }",
        3: "&lt;i&gt;Leaf&lt;/i&gt; &amp;amp; Co",
        4: "A <3 tea, 3 < 4 > 2",
        5: "<script>x()</script>Leaf",
    }

    def meta(i):
        return {
            "title": titles[i],
            "brand": ["by\n    \n    Leaf", "Leaf", "Visit Amazon's Leaf Page", "by Nature"][i % 4],
            "category": ["Grocery", "Tea", "</span></span></span>"],
        }

    folder = amazon(tmp_path, "Tea_5.json.gz", "meta_Tea.json.gz", meta)
    prepare("amazon", tmp_path / "d", source=folder, stored_as="tea")
    own = read_dataset("tea", tmp_path / "d")
    assert own.items["title"].to_list() == [
        *(None, "Green Leaf", None, "Leaf & Co", "A <3 tea, 3 < 4 > 2", "Leaf"),
    ]
    assert own.item_tags["tag"].unique().sort().to_list() == ["brand:Leaf", "category:Tea"]
    assert own.info["dropped"]["page_script"] == 2
    assert own.info["dropped"]["markup"] == 3 + 6


def test_products_of_2023_without_meta(tmp_path):
    folder = amazon(tmp_path, "Tea.jsonl", "meta_Tea.jsonl", lambda i: {"store": "Leaf"})
    meta = (folder / "meta_Tea.jsonl").read_bytes().split(b"\n", 1)[1]
    (folder / "meta_Tea.jsonl").write_bytes(meta)
    heard = []
    prepare("amazon", tmp_path / "d", source=folder, stored_as="tea", report=heard.append)
    own = read_dataset("tea", tmp_path / "d")
    assert own.items["title"].to_list() == [None, *(f"Leaf {i}" for i in range(1, 6))]
    assert "1 of 6 products are not in meta_Tea.jsonl" in heard
    assert "brand:Leaf" in own.item_tags["tag"].to_list()


# -- names and hints ------------------------------------------------------------------------------


def test_items_is_the_name_of_the_file_from_python_too(tmp_path):
    (tmp_path / "i.csv").write_bytes(lines("item_id,title", *(f"i{n},T{n}" for n in range(ITEMS))))
    own = read(tmp_path, "t.csv", texts(table()), items=tmp_path / "i.csv", title="title")
    assert own.items["title"][0] == "T0"


def test_the_hint_about_damage_is_the_command_that_made_it(tmp_path):
    (tmp_path / "i.csv").write_bytes(lines("item_id,t", *(f"i{n},T{n}" for n in range(ITEMS))))
    data = texts(table()).replace(b"user_id", b"who")
    options = {"items_file": tmp_path / "i.csv", "title": "t", "user": "who"}
    read(tmp_path, "my plays.csv", data, **options)
    (tmp_path / "data" / "own" / "items.parquet").write_bytes(b"")
    with pytest.raises(DataError) as caught:
        read_dataset("own", tmp_path / "data")
    assert caught.value.hint == (
        "recsae data prepare csv --source 'my plays.csv' --items i.csv --name own "
        "--user who --title t --core 0 --force"
    )


def test_a_run_of_an_unknown_name_lists_what_is_prepared(tmp_path, cli):
    read(tmp_path, "t.csv", texts(table()))
    result = cli("run", "gone", "--data", tmp_path / "data", "--warehouse", tmp_path / "w")
    assert (result.code, result.out) == (2, "")
    assert result.err.splitlines() == [
        "recsae: error: there is no data set 'gone'",
        "hint: prepared are own; recsae data list shows all that there is",
    ]
