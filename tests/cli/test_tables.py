"""Tables of every width: a number is shown whole or not at all, and what is left out is told."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from recsae.cli.output import cell, csv_text, exact, frame_json, frame_table, safe_text, texts
from recsae.cli.table import fitted, table_text
from recsae.report.cut import cut, wrapped
from recsae.warehouse import queries
from recsae.warehouse.sql import REPORT, VIEWS

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

WIDTHS = ("40", "80", "200")
DIGITS = re.compile(r"\d+")
NOT_SHOWN = re.compile(
    r"^(\d+) columns? not shown: (.*); (--\S+(?: \w+)?) or a wider terminal$", re.M
)
EXTREMES = """
select 9007199254740993::bigint as big, (-9223372036854775808)::bigint as low,
    18446744073709551615::ubigint as ubig,
    170141183460469231731687303715884105727::hugeint as huge,
    340282366920938463463374607431768211455::uhugeint as uhuge,
    12345678901234567890.123456789012345678::decimal(38, 18) as dec, 0::decimal(30, 20) as zero,
    1.7976931348623157e308::double as most, 123456789.25::double as mid, 'nan'::double as nan,
    timestamp_ns '2001-02-03 04:05:06.123456789' as ns, 'infinity'::timestamp as never,
    date '99999-12-31' as late, date '0044-03-15 (BC)' as early,
    timestamptz '2001-02-03 04:05:06.123456+00' as zoned,
    [170141183460469231731687303715884105727::hugeint, null] as huges,
    [9007199254740993, 1] as list,
    {'price': 1.5::decimal(20, 10), 'at': date '99999-12-31'} as struct,
    null::integer as nothing, '9007199254740993' as digits_as_text,
    'https://example.com/' || repeat('9007199254740993/', 8) as link,
    repeat('漢字', 40) as wide, 'שלום 9007199254740993 עולם' as rtl,
    'A title of 1995 that is long, with 9007199254740993 in it' as title
"""
WHOLE = (
    *("9007199254740993", "-9223372036854775808", "18446744073709551615"),
    *("170141183460469231731687303715884105727", "340282366920938463463374607431768211455"),
    *("12345678901234567890.123456789012345678", "0.00000000000000000000", "123456789.25"),
    *("2001-02-03 04:05:06.123456789", "infinity", "99999-12-31", "0044-03-15 (BC)"),
    *("1.7976931348623157e+308",),
)


def numbers(text: str) -> set[str]:
    return set(DIGITS.findall(text))


def shown(result: Result) -> tuple[str, set[str]]:
    """The table, and the columns that are not in it."""
    assert result.code == 0, result.err
    left = NOT_SHOWN.findall(result.err)
    names = set(left[0][1].split(", ")) if left else set()
    assert not left or int(left[0][0]) == len(names)
    return result.out, names


def check_page(text: str, rows: Any, columns: list[str], left: set[str], width: int) -> None:
    """No line is too wide, no number is one that the data has not, every column is told."""
    assert all(cell_len(line) <= width for line in text.splitlines()), text
    known = numbers(rows) | numbers(" ".join(columns))
    assert numbers(text) <= known, numbers(text) - known
    head = "".join(text.split("─")[0].split())
    for column in columns:
        assert column in left or _initial(column) in head, column


def _initial(column: str) -> str:
    """What a heading shows at least of a name in one line."""
    return re.split(r"(?<=_)|\s", column)[0][:20]


@pytest.mark.parametrize("width", WIDTHS)
def test_every_named_query(
    width: str,
    whole: Finished,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(whole.root))
    given = {"latent_id": 0, "n_users": 3, "judge": "builtin", "run_id": whole.sae}
    for query in queries():
        if query.stage not in (VIEWS, REPORT) and query.stage != "raw":
            continue
        words = [w for p in query.params for w in ("-p", p.name, given[p.name])]
        words += ["--limit", "5"]
        result = cli("query", query.full_name, *words)
        if result.code == 3:  # of a stage that this run does not go through
            assert "has not been built yet" in result.err
            continue
        text, left = shown(result)
        data = cli("query", query.full_name, *words, "--format", "csv").out
        frame = data + rounded(data)
        check_page(text, frame, data.split("\n")[0].split(","), left, int(width))


def rounded(data: str) -> str:
    """The fractions of some CSV as a table has them."""
    return " ".join(cell(float(n)) for n in re.findall(r"-?\d+\.\d+(?:e-?\d+)?", data))


@pytest.mark.parametrize("width", [*WIDTHS, "1", "12", "100000"])
def test_awkward_values(
    width: str, filled_warehouse: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    words = ("query", "-", "--warehouse", filled_warehouse)
    text, left = shown(cli(*words, stdin=EXTREMES))
    data = cli(*words, "--format", "csv", stdin=EXTREMES).out
    columns = data.split("\n")[0].split(",")
    check_page(text, data + " ".join((*WHOLE, "+00:00")), columns, left, int(width))
    if width == "100000":
        assert not left
        for value in WHOLE:
            assert value in text, value
            in_csv = value.replace(" ", "T") if value.endswith(".123456789") else value
            assert in_csv in data or float(value) in map(float, re.findall(r"[\d.]+e\+?\d+", data))


def test_json_has_every_digit(filled_warehouse: Path, cli: Callable[..., Result]) -> None:
    out = cli("query", "-", "--format", "json", "--warehouse", filled_warehouse, stdin=EXTREMES).out
    for part in (
        '"huge": 170141183460469231731687303715884105727,',
        '"dec": 12345678901234567890.123456789012345678,',
        '"ns": "2001-02-03 04:05:06.123456789"',
        '"never": "infinity"',
        '"huges": [170141183460469231731687303715884105727, null]',
        '"struct": {"price": 1.5, "at": "99999-12-31"}',
        '"nan": null',
    ):
        assert part in out, part


def test_a_pipe_limits_nothing(
    filled_warehouse: Path, cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS")
    result = cli("query", "-", "--warehouse", filled_warehouse, stdin=EXTREMES)
    assert result.err == ""
    assert all(value in result.out for value in WHOLE)
    assert len(result.out.splitlines()) == 3


@pytest.mark.parametrize(
    "words",
    [
        ("schema",),
        ("schema", "latents"),
        ("schema", "raw.runs"),
        ("data", "list"),
        ("data", "describe", "planted"),
        ("evaluate", "latest"),
        ("runs",),
        ("report",),
        ("latent", "latest", "0"),
        ("compare", "latest"),
        ("sweep", "report"),
        ("query", "--list"),
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("width", WIDTHS)
def test_other_tables(
    words: tuple[str, ...],
    width: str,
    whole: Finished,
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """At 40 columns no number is there that is not there at 1000, unless its column is told."""
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(whole.root))
    monkeypatch.setenv("RECSAE_DATA", str(whole.data))
    monkeypatch.setenv("COLUMNS", "1000")
    everything = cli(*words)
    assert everything.code == 0, everything.err
    monkeypatch.setenv("COLUMNS", width)
    monkeypatch.setattr("rich.console.Console.is_terminal", True)
    text, _ = shown(cli(*words))
    assert numbers(text) <= numbers(everything.out)


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=60)
CELLS = st.one_of(TEXT, st.integers(-(10**30), 10**30).map(str), st.floats().map(repr))


@settings(deadline=None)
@given(CELLS, st.integers(1, 50))
def test_cutting_and_wrapping_keep_numbers_whole(text: str, width: int) -> None:
    known = set(re.findall(r"[0-9]+", text))
    for line in (cut(text, width), *wrapped(text, width)):
        assert cell_len(line) <= max(width, 2)  # a wide letter needs two
        assert set(re.findall(r"[0-9]+", line)) <= known
    if cell_len(text) <= width:
        assert cut(text, width) == text


@settings(deadline=None)
@given(st.data(), st.integers(1, 120))
def test_fitting(data: st.DataObject, room: int) -> None:
    n = data.draw(st.integers(1, 6))
    heads = data.draw(st.lists(TEXT, min_size=n, max_size=n))
    rows = data.draw(st.lists(st.lists(CELLS, min_size=n, max_size=n), max_size=4))
    whole = data.draw(st.lists(st.booleans(), min_size=n, max_size=n))
    widths = fitted(heads, rows, whole, room)
    kept = [width for width in widths if width is not None]
    assert sum(kept) + 3 * (len(kept) - 1) <= room
    for place, width in enumerate(widths):
        if width is not None and whole[place]:
            assert all(cell_len(row[place]) <= width for row in rows)


def test_what_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    text = table_text(["a", "wide", "c"], [["1", "1234567890123", "3"]], [True] * 3)
    assert text == "a   c\n─────\n1   3\n"
    assert capsys.readouterr().err == "1 column not shown: wide; --json or a wider terminal\n"
    monkeypatch.setenv("COLUMNS", "5")
    assert table_text(["a"], [["123456"]], [True]) == ""


def test_headings_break_at_underscores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "16")
    text = table_text(["mean_confidence_null"], [["0.5"]], [True])
    assert text == "mean_confidence_\n            null\n────────────────\n             0.5\n"


# -- values ---------------------------------------------------------------------------------------


def test_fractions_are_rounded_and_nothing_else() -> None:
    for value, text in (
        (0.123456789, "0.123457"),
        (99999.4, "99999.4"),
        (6107123.0, "6107123.0"),
        (1700000000.5, "1700000000.5"),
        (9007199254740992.0, "9007199254740992.0"),
        (1e300, "1e+300"),
        (float("inf"), "inf"),
        (-123456.789, "-123456.789"),
    ):
        assert cell(value) == text


def test_exact_values_and_none() -> None:
    frame = pl.DataFrame({"d": [None, "1.50"]}).select(pl.col("d").cast(pl.Decimal(10, 2)))
    assert exact(frame["d"]) == [None, "1.50"]
    assert texts(frame["d"]) == [None, "1.50"]
    assert frame_json(frame) == '[\n{"d": null},\n{"d": 1.5}\n]\n'
    assert "NULL" in frame_table(frame)


# -- csv ------------------------------------------------------------------------------------------

RISKY = ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", " =1", "＝1", "\x1b[2J", "plain", "", None]


def test_safe_csv(filled_warehouse: Path, cli: Callable[..., Result], tmp_path: Path) -> None:
    frame = pl.DataFrame({"=t": RISKY, "n": [-1] * len(RISKY)})
    rows = list(csv.reader(io.StringIO(csv_text(frame), newline="")))
    assert rows == [["=t", "n"], *([text or "", "-1"] for text in RISKY)]
    rows = list(csv.reader(io.StringIO(csv_text(frame, safe=True), newline="")))
    assert rows[0] == ["'=t", "n"]
    assert {row[1] for row in rows[1:]} == {"-1"}
    assert [row[0] for row in rows[1:]] == [
        *("'=1+1", "'+1", "'-1", "'@x", "'\\t=1", "'\\r=1", "' =1", "'＝1", "\\x1b[2J", "plain"),
        *("", ""),
    ]
    words = ("query", "select '=1' as x, -1 as n", "--warehouse", filled_warehouse)
    assert cli(*words, "--format", "csv").out == "x,n\n=1,-1\n"
    assert cli(*words, "--format", "csv", "--safe").out == "x,n\n'=1,-1\n"
    assert cli(*words, "-o", tmp_path / "x.csv", "--safe").code == 0
    assert (tmp_path / "x.csv").read_text() == "x,n\n'=1,-1\n"
    refused = cli(*words, "--safe")
    assert refused.code == 2
    assert "--safe is for csv, and this is table\nhint: add --format csv" in refused.err


@given(st.text(max_size=20))
def test_no_safe_text_is_a_formula(text: str) -> None:
    shown = safe_text(text)
    assert shown.lstrip()[:1] not in tuple("=+-@＝＋－＠")
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", shown)
