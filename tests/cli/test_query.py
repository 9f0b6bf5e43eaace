"""``recsae query``: where SQL comes from, its parameters, the formats, and what is refused."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import polars as pl
import pytest

from recsae.cli.query import fold_params, guess_value, typed_value
from recsae.errors import DataError, UsageError
from recsae.warehouse import Warehouse, load

if TYPE_CHECKING:
    from conftest import Result

GOLDEN = Path(__file__).parents[1] / "golden"
SIDES = ("staging.user_sides", "-p", "run_id", "sae-1", "-p", "heldout_share", "0")
SHARES = ("-p", "seed", "1", "-p", "construct_share", "1", "-p", "heldout_share", "0")
EVERY_TYPE = """
select * from (values
    (1::integer, 2::bigint, 0.1::double, 1e300::double, 'plain', true, date '2001-02-03',
     timestamp '2001-02-03 04:05:06', [1, null], {'k': 'v'}, 'ab'::blob, 1.50::decimal(5, 2),
     interval '1 day', '{"a": 1}'::json, time '01:02:03', 12345678901234567890::ubigint),
    (null, null, null, null, null, null, null, null, null, null, null, null, null, null, null,
     null),
    (-1, -9223372036854775808, 'nan', 'inf', E'a,"b"\\n\\tc', false, date '0001-01-01',
     timestamp '1999-12-31 23:59:59.999999', [], {'k': 'it''s'}, '\\xFF'::blob, -0.01,
     interval '-2 months', '[]'::json, time '23:59:59.5', 0),
    (0, 0, -0.0, 123456.789, 'Amélie 🎬 [bold]', null, null, null, [2], {'k': null}, ''::blob, 0,
     interval 0 days, 'null'::json, null, 1)
) as t (int, big, float, huge, text, flag, day, moment, list, struct, bytes, price, span, json,
    clock, most)
"""


@pytest.fixture(scope="module")
def shared(filled_warehouse: Path) -> Path:
    """A warehouse that no test here changes."""
    return filled_warehouse


@pytest.fixture
def query(cli: Callable[..., Result], shared: Path) -> Callable[..., Result]:
    def run(*words: object, stdin: str = "") -> Result:
        return cli("query", "--warehouse", shared, *words, stdin=stdin)

    return run


def values(result: Result) -> list[object]:
    """The values of the one column of a JSON result."""
    assert result.code == 0, result.err
    return [next(iter(row.values())) for row in json.loads(result.out)]


def refused(result: Result, code: int) -> str:
    """The lines on stderr of a command that failed, without a traceback."""
    assert (result.code, result.out) == (code, "")
    lines = result.err.splitlines()
    assert lines[0].startswith("recsae: error: ")
    assert len(lines) == 1 or (len(lines) == 2 and lines[1].startswith("hint: "))
    return result.err


# -- where the SQL comes from ---------------------------------------------------------------------


def test_inline(query: Callable[..., Result]) -> None:
    result = query("select run_id, status from raw.runs order by run_id")
    assert result.code == 0
    assert result.out.splitlines() == [
        "run_id   status",
        "───────────────",
        "rec-1    done",
        "rec-2    done",
        "sae-1    done",
    ]
    assert result.err == ""


def test_stdin(query: Callable[..., Result]) -> None:
    assert values(query("-", "--format", "json", stdin="-- a comment\nselect 7 as n;\n")) == [7]


def test_file(query: Callable[..., Result], tmp_path: Path) -> None:
    path = tmp_path / "mine.sql"
    path.write_text("select 'é' || $n as n\n", encoding="utf-8")
    assert values(query(path, "-p", "n", "x", "--format", "json")) == ["éx"]


def test_file_that_is_missing_or_no_text(query: Callable[..., Result], tmp_path: Path) -> None:
    missing = tmp_path / "missing.sql"
    assert f"cannot read {missing}: No such file" in refused(query(missing), 2)
    (tmp_path / "bytes.sql").write_bytes(b"\xff\xfe\x00")
    assert "bytes.sql: not UTF-8 text" in refused(query(tmp_path / "bytes.sql"), 2)


def test_named(query: Callable[..., Result]) -> None:
    result = query(*SIDES, "-p", "seed", "1", "-p", "construct_share", "1", "--format", "json")
    row = json.loads(result.out)[0]
    assert (row["run_id"], row["side"], row["is_heldout"]) == ("sae-1", "construct", False)


def test_raw_name_shows_the_table(query: Callable[..., Result]) -> None:
    result = query("raw.recommendations", "--format", "csv")
    assert len(result.out.splitlines()) == 8


def test_unknown_name(query: Callable[..., Result]) -> None:
    err = refused(query("report.overvew", "-p", "run_id", "x"), 2)
    assert err.startswith("recsae: error: no query is called 'report.overvew'\nhint: there is ")
    assert "report.overview" in err


def test_named_query_of_a_stage_that_has_not_run(query: Callable[..., Result]) -> None:
    result = query("report.latent_card", "-p", "run_id", "sae-1", "-p", "latent_id", "0")
    assert refused(result, 3).endswith("has not been built yet\nhint: recsae concepts\n")


def test_show(cli: Callable[..., Result], tmp_path: Path) -> None:
    nowhere = tmp_path / "no warehouse needed"
    result = cli("query", "report.overview", "--show", "--warehouse", nowhere)
    assert (result.code, result.out) == (0, load("report.overview").text)
    assert cli("query", "select 1", "--show").out == "select 1\n"
    assert cli("query", "raw.runs", "--show").out == "select * from raw.runs\n"


def test_no_warehouse(cli: Callable[..., Result], tmp_path: Path) -> None:
    err = refused(cli("query", "select 1", "--warehouse", tmp_path), 3)
    assert err == f"recsae: error: there is no warehouse in {tmp_path}\nhint: recsae run ml-100k\n"


def test_warehouse_from_the_environment(
    cli: Callable[..., Result], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSAE_WAREHOUSE", str(shared))
    assert cli("query", "select count(*) as n from raw.runs", "--format", "csv").out == "n\n3\n"


# -- parameters -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["-p", "n", "5"],
        ["-p", "n=5"],
        ["-p", "$n", "5"],
        ["--param", "n", "5"],
        ["--param", "n=5"],
        ["--param=n=5"],
        ["-p", "n", "+5"],
    ],
)
def test_ways_to_write_a_parameter(query: Callable[..., Result], words: list[str]) -> None:
    for order in (["select $n as n", *words], [*words, "select $n as n"]):
        assert values(query(*order, "--format", "json")) == [5]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("-5", -5),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1e", "1e"),
        ("", ""),
        ("a=b", "a=b"),
        ("it's; drop table x --", "it's; drop table x --"),
        ("9223372036854775808", 9223372036854775808),
        ("nan", "nan"),
        ("٣", "٣"),
        ("--limit", "--limit"),
    ],
)
def test_values(query: Callable[..., Result], word: str, value: object) -> None:
    assert values(query("select $n as n", "-p", "n", word, "--format", "json")) == [value]


def test_parameter_names_are_case_sensitive_as_in_the_text(query: Callable[..., Result]) -> None:
    words = ["-p", "a", "1", "-p", "b", "x"]
    result = query("select $a as a, $b as b, $a + 1 as c", *words, "--format", "csv")
    assert result.out == "a,b,c\n1,x,2\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["select $n"], "the query needs the parameter n\nhint: -p n VALUE\n"),
        (["select 1", "-p", "n", "1"], "has no parameter n\nhint: it takes none\n"),
        (
            ["select $a, $b", "-p", "a", "1", "-p", "b", "1", "-p", "c", "1"],
            "has no parameter c\nhint: it takes a, b\n",
        ),
        (["select $n", "-p", "n"], "parameter n has no value\nhint: -p n VALUE\n"),
        (["select $n", "-p"], "requires an argument"),
        (
            ["staging.user_sides"],
            "staging.user_sides needs the parameter run_id\nhint: it takes run_id, seed, ",
        ),
        (
            [*SIDES, "-p", "seed", "1", "-p", "construct_share", "1", "-p", "x", "1"],
            "staging.user_sides has no parameter x\nhint: it takes run_id, seed, ",
        ),
        (
            [*SIDES, "-p", "seed", "1.5", "-p", "construct_share", "0.5"],
            "parameter seed is '1.5', but it must be BIGINT\n",
        ),
        (
            [*SIDES, "-p", "seed", "1", "-p", "construct_share", "half"],
            "parameter construct_share is 'half', but it must be DOUBLE\n",
        ),
        (
            [*SIDES[:2], "run_id", "zzz", *SHARES],
            "no run is called 'zzz'\nhint: there is rec-1, rec-2, sae-1\n",
        ),
    ],
)
def test_parameters_that_do_not_fit(
    query: Callable[..., Result], words: list[str], message: str
) -> None:
    assert message in refused(query(*words), 2)


@pytest.mark.parametrize("ref", ["sae-1", "sae", "latest", "rec-1"])
def test_a_run_is_found_by_reference(query: Callable[..., Result], ref: str) -> None:
    result = query("staging.user_sides", "-p", "run_id", ref, *SHARES, "--format", "json")
    assert json.loads(result.out)[0]["run_id"] == "sae-1"


def test_named_parameters_have_the_types_of_the_header() -> None:
    assert typed_value("n", "BIGINT", "7") == 7
    assert typed_value("n", "DOUBLE", "7") == 7.0
    assert typed_value("n", "BOOLEAN", "True") is True
    assert typed_value("n", "VARCHAR", "7") == "7"
    for kind, text in (("INTEGER", "x"), ("FLOAT", "x"), ("BOOLEAN", "1")):
        with pytest.raises(UsageError, match=f"must be {kind}"):
            typed_value("n", kind, text)


def test_folding_leaves_other_words_alone() -> None:
    assert fold_params(["a", "-p", "n", "1", "-o", "x"]) == ["a", "-p", "n=1", "-o", "x"]
    assert fold_params(["-p", "n=1", "-p", "m", "-p"]) == ["-p", "n=1", "-p", "m=-p"]
    assert guess_value("1_000") == "1_000"


# -- formats --------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["table", "csv", "json", "parquet"])
def test_golden(
    query: Callable[..., Result], form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One query with every awkward type; RECSAE_GOLDEN=1 writes the files again."""
    monkeypatch.setenv("COLUMNS", "220")
    path = tmp_path / f"types.{form}"
    result = query("-", "--format", form, "--output", path, stdin=EVERY_TYPE)
    assert (result.code, result.out, result.err) == (0, "", "")
    got = path.read_bytes()
    if form == "parquet":  # bytes depend on the version that writes them
        frame = pl.read_parquet(path)
        lines = [f"{name} {dtype}" for name, dtype in frame.schema.items()]
        got = ("\n".join([*lines, *map(repr, frame.rows())]) + "\n").encode()
    golden = GOLDEN / f"types.{form}.txt"
    if os.environ.get("RECSAE_GOLDEN"):
        golden.write_bytes(got)
    assert got.decode() == golden.read_text(encoding="utf-8")


def test_stdout_and_file_are_the_same(query: Callable[..., Result], tmp_path: Path) -> None:
    for form in ("table", "csv", "json"):
        path = tmp_path / f"x.{form}"
        shown = query("-", "--format", form, stdin=EVERY_TYPE).out
        query("-", "--format", form, "-o", path, stdin=EVERY_TYPE)
        assert path.read_text(encoding="utf-8") == shown


def test_json_and_csv_can_be_read_back(query: Callable[..., Result]) -> None:
    rows = json.loads(query("-", "--format", "json", stdin=EVERY_TYPE).out)
    assert len(rows) == 4
    assert rows[2]["text"] == 'a,"b"\n\tc'
    assert rows[2]["float"] is None, "JSON has no NaN"
    assert rows[0]["most"] == 12345678901234567890
    frame = pl.read_csv(io.StringIO(query("-", "--format", "csv", stdin=EVERY_TYPE).out))
    assert frame.shape == (4, 16)
    assert frame["text"][2] == 'a,"b"\n\tc'


def test_format_follows_the_file(query: Callable[..., Result], tmp_path: Path) -> None:
    for suffix, start in (
        ("csv", b"n\n1\n"),
        ("json", b"[\n{"),
        ("parquet", b"PAR1"),
        ("md", b"n"),
    ):
        path = tmp_path / f"out.{suffix}"
        assert query("select 1 as n", "-o", path).code == 0
        assert path.read_bytes().startswith(start)


def test_parquet_to_a_pipe(query: Callable[..., Result]) -> None:
    result = query("select 1 as n", "--format", "parquet")
    data = result.out.encode("utf-8", "surrogateescape")
    assert pl.read_parquet(io.BytesIO(data)).rows() == [(1,)]


def test_parquet_is_not_for_a_terminal(
    query: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "parquet is not for a terminal" in refused(query("select 1", "--format", "parquet"), 2)


def test_no_rows(query: Callable[..., Result]) -> None:
    nothing = "select 1 as n, 'x' as t where false"
    assert query(nothing, "--format", "csv").out == "n,t\n"
    assert query(nothing, "--format", "json").out == "[]\n"
    assert query(nothing).out == "n   t\n─────\n"


def test_output_appears_whole_or_not_at_all(
    query: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    refused(query("select error('no')", "-o", path), 1)
    assert path.read_text() == "old"

    def full(old: Path, new: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    err = refused(query("select 1", "-o", path), 1)
    assert err == f"recsae: error: cannot write {path}: No space left on device\n"
    assert [one.name for one in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "old"


def test_output_that_cannot_be_written(query: Callable[..., Result], tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere" / "x.csv"
    err = refused(query("select 1", "-o", nowhere), 1)
    assert err == f"recsae: error: cannot write {nowhere}: No such file or directory\n"
    assert "Is a directory" in refused(query("select 1", "-o", tmp_path), 1)


# -- how many rows --------------------------------------------------------------------------------


def test_a_table_stops_at_200_and_says_so(query: Callable[..., Result]) -> None:
    result = query("from range(201) as t (n)")
    assert len(result.out.splitlines()) == 202
    assert result.err == "200 of more rows shown; --limit 0 shows all\n"
    exactly = query("from range(200) as t (n)")
    assert (len(exactly.out.splitlines()), exactly.err) == (202, "")


def test_other_formats_give_all(query: Callable[..., Result]) -> None:
    result = query("from range(1000) as t (n)", "--format", "csv")
    assert (len(result.out.splitlines()), result.err) == (1001, "")


def test_limit(query: Callable[..., Result]) -> None:
    result = query("from range(9) as t (n)", "--limit", "2", "--format", "csv")
    assert (result.out, result.err) == (
        "n\n0\n1\n",
        "2 of more rows shown; --limit 0 shows all\n",
    )
    assert len(query("from range(300) as t (n)", "--limit", "0").out.splitlines()) == 302
    ordered = query("from range(9) as t (n) order by n desc", "--limit", "2", "--format", "csv")
    assert ordered.out == "n\n8\n7\n"
    assert "--limit" in refused(query("select 1", "--limit", "-1"), 2)


# -- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sql",
    [
        "drop table raw.runs",
        "delete from raw.runs",
        "insert into raw.meta values ('a', 'b')",
        "update raw.runs set status = 'done'",
        "create table raw.t (i integer)",
        "copy (select 1) to 'stolen.csv'",
        "attach 'other.duckdb'",
        "install spatial",
        "set memory_limit = '1GB'",
        "pragma version",
        "call pragma_version()",
        "explain analyze copy (select 1) to 'stolen.csv'",
        "/* so */ explain (analyze) -- this\n delete from raw.runs",
        "pivot raw.runs on kind using count(*)",
        "with gone as (delete from raw.runs returning *) from gone",
    ],
)
def test_only_reading(
    query: Callable[..., Result],
    shared: Path,
    sql: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(query(sql), 1)
    assert not list(tmp_path.iterdir())
    with Warehouse.open(shared, read_only=True) as warehouse:
        assert warehouse.runs().height == 3


@pytest.mark.parametrize("sql", ["", ";", "-", "select 1; select 2", "select 1; drop table x"])
def test_one_statement(query: Callable[..., Result], sql: str) -> None:
    assert "one statement can be run at a time, and here are" in refused(query(sql), 1)


@pytest.mark.parametrize(
    "sql",
    [
        "explain select 1",
        "-- why\nexplain analyze from raw.runs",
        "describe raw.runs",
        "show all tables",
        "values (1)",
        "select 1; -- done",
        "select '; -- é' as text ; /* a */ ; -- b",
        "pivot raw.runs on kind in ('sae') using count(*)",
        "summarize raw.runs",
    ],
)
def test_reading_in_other_words(query: Callable[..., Result], sql: str) -> None:
    result = query("-", stdin=sql)
    assert result.code == 0, result.err
    assert result.out


@pytest.mark.parametrize(
    ("sql", "message", "hint"),
    [
        ("selec 1", 'Parser Error: syntax error at or near "selec"', ""),
        ("select * from raw.rums", "Catalog Error: Table with name rums does not exist!", "runs"),
        ("select run_idd from raw.runs", 'column "run_idd" not found', "Candidate bindings"),
        ("select 'x'::integer", "Conversion Error: ", ""),
        ("select error('boom')", "boom", ""),
    ],
)
def test_errors_are_one_line(
    query: Callable[..., Result], sql: str, message: str, hint: str
) -> None:
    lines = refused(query(sql), 1).splitlines()
    assert message in lines[0]
    assert hint in (lines[1] if len(lines) > 1 else "")


def test_an_unknown_format(query: Callable[..., Result]) -> None:
    assert "'xml' is not one of" in refused(query("select 1", "--format", "xml"), 2)


def test_traceback_on_request(
    query: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECSAE_TRACEBACK", "1")
    result = query("selec 1")
    assert result.code == 1
    assert "Traceback" in result.err


def test_a_damaged_file_is_named_with_its_command(cli: Callable[..., Result], filled: Path) -> None:
    path = filled / "activations" / "run_id=sae-1" / "part-0.parquet"
    path.write_bytes(b"PAR1")
    err = refused(cli("query", "from raw.activations", "--warehouse", filled), 1)
    assert err == (
        f"recsae: error: {path.resolve()} is missing or damaged\n"
        "hint: recsae sae encode sae-1 --force\n"
    )


def test_a_reader_that_leaves_early_is_no_error(shared: Path) -> None:
    command = [sys.executable, "-m", "recsae", "query", "from range(200000) as t (n)"]
    with subprocess.Popen(
        [*command, "--format", "csv", "--warehouse", str(shared)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"n\n"
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(timeout=60) == 0


def test_a_run_id_of_an_adhoc_query_may_be_a_reference(
    cli: Callable[..., Result], filled: Path
) -> None:
    words = ("select count(*) as n from raw.activations where run_id = $run_id", "-p", "run_id")
    for ref in ("latest", "sae", "sae-1"):
        assert cli("query", *words, ref, "--format", "csv", "--warehouse", filled).out == "n\n2\n"
    unknown = cli("query", *words, "nothing", "--warehouse", filled)
    assert unknown.code == 2
    assert "nothing" in unknown.err


# -- views and names ------------------------------------------------------------------------------


def test_a_view_by_its_name_alone(query: Callable[..., Result]) -> None:
    found = [row["latent_id"] for row in json.loads(query("latents", "--format", "json").out)]
    assert found == [0, 1, 2, 3]
    assert query("main.latents", "--format", "csv").out == query("latents", "--format", "csv").out
    assert values(query("select count(*) from latents", "--format", "json")) == [4]
    assert query("latents", "--show").out == load("main.latents").text


def test_unknown_word(query: Callable[..., Result]) -> None:
    err = refused(query("latent"), 2)
    assert err.startswith("recsae: error: no query is called 'latent'\nhint: there is ")


def test_list(cli: Callable[..., Result], tmp_path: Path) -> None:
    result = cli("query", "--list", "--format", "json", "--warehouse", tmp_path / "not needed")
    found = {row["name"]: row for row in json.loads(result.out)}
    assert found["latents"]["parameters"] == ""
    assert found["report.latent_users"]["parameters"] == "run_id latent_id n_users"
    assert found["report.overview"]["purpose"] == load("report.overview").purpose
    assert "concepts.labels" not in found


def test_nothing_to_run(query: Callable[..., Result]) -> None:
    assert "no query is given\nhint: recsae query --list names some\n" in refused(query(), 2)


# -- stopping -------------------------------------------------------------------------------------

ENDLESS = "select count(*) from range(10000000) as a (i), range(10000000) as b (j) where i * j = 7"


def test_time_limit(query: Callable[..., Result]) -> None:
    err = refused(query(ENDLESS, "--timeout", "0.2"), 1)
    assert err == (
        "recsae: error: the query was stopped after 0.2 seconds\nhint: allow more with --timeout\n"
    )
    assert values(query("select 1 as n", "--timeout", "60", "--format", "json")) == [1]
    assert "--timeout" in refused(query("select 1", "--timeout", "0"), 2)


def test_after_a_stopped_query_the_next_one_runs(shared: Path) -> None:
    with Warehouse.open(shared, read_only=True) as warehouse:
        with pytest.raises(DataError, match="was stopped"):
            warehouse.stoppable(ENDLESS, seconds=0.2)
        assert warehouse.stoppable("select 7").item() == 7
        with pytest.raises(duckdb.BinderException):
            warehouse.stoppable("select nothing")


def test_control_c(shared: Path) -> None:
    script = "from recsae.warehouse.session import Session\n"
    script += "plain = Session.sql\n"
    script += "def sql(self, text, *rest, **options):\n"
    script += "    if 'range' in text: print('now', flush=True)\n"
    script += "    return plain(self, text, *rest, **options)\n"
    script += "Session.sql = sql\nfrom recsae.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", script, "query", ENDLESS, "--warehouse", str(shared)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "now\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (130, "", "recsae: interrupted\n")


# -- paging ---------------------------------------------------------------------------------------


def on_a_terminal(words: list[str], shared: Path, rows: int) -> str:
    """What a command writes to a terminal of 20 lines whose pager marks each line."""
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (20, 80))
    environment = {k: v for k, v in os.environ.items() if k not in ("LINES", "COLUMNS", "MANPAGER")}
    process = subprocess.Popen(
        [sys.executable, "-m", "recsae", "query", f"from range({rows}) as t (n)", *words],
        stdin=slave,
        stdout=slave,
        env={**environment, "PAGER": "sed s/^/paged:/", "RECSAE_WAREHOUSE": str(shared)},
    )
    os.close(slave)
    parts = []
    with suppress(OSError):  # the end of a terminal
        while part := os.read(master, 65536):
            parts.append(part)
    os.close(master)
    assert process.wait(timeout=60) == 0
    return b"".join(parts).decode()


def test_a_long_table_is_paged_on_a_terminal(shared: Path) -> None:
    assert on_a_terminal([], shared, 30).count("paged:") == 32
    assert "paged:" not in on_a_terminal([], shared, 3)
    assert "paged:" not in on_a_terminal(["--no-pager"], shared, 30)
    assert "paged:" not in on_a_terminal(["--format", "csv"], shared, 30)


def test_nothing_is_paged_in_a_pipe(
    query: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PAGER", "sed s/^/paged:/")
    assert "paged:" not in query("from range(100) as t (n)").out


# -- which run is meant ---------------------------------------------------------------------------


def test_latest_is_of_the_kind_that_the_relations_hold(query: Callable[..., Result]) -> None:
    """rec-2 is the last to finish: what asks for an autoencoder says that it has none."""
    told = "run latest: sae-1, autoencoder of rec-1\n"
    newer = "warning: a newer run is of another recommender: rec-2, bprmf on toy\n"
    for name in ("run", "run_id", "my_run", "sae_run_id", "RUN"):
        sql = f"select count(*) as n from raw.activations where run_id = ${name}"
        result = query(sql, "-p", name, "latest", "--format", "csv")
        assert (result.code, result.out, result.err) == (0, "n\n2\n", told + newer)
    sql = "select count(*) as n from raw.cases where run_id = $run"
    result = query(sql, "-p", "run", "latest", "--format", "csv")
    assert (result.out, result.err) == ("n\n4\n", "run latest: rec-2, bprmf on toy\n")
    result = query(sql, "-p", "run", "sae-1", "--format", "csv")
    assert (result.out, result.err) == ("n\n3\n", "run sae-1: rec-1, bprmf on toy\n")


def test_a_word_that_is_no_run_is_told(query: Callable[..., Result]) -> None:
    result = query("select 1 as n where 'x' = $r", "-p", "r", "latest", "--format", "csv")
    assert (result.code, result.out) == (0, "n\n")
    assert result.err.startswith("parameter r: the text 'latest'; a run has to be called run, ")
    unknown = query("from raw.runs where run_id = $run", "-p", "run", "zzz")
    assert refused(unknown, 2).startswith("recsae: error: no run is called 'zzz'\n")
    named = query("from raw.runs where run_id = $run", "-p", "run", "rec-1", "--format", "csv")
    assert named.err == ""
