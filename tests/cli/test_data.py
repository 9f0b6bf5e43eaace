from __future__ import annotations

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from recsae.cli import data, invoke
from recsae.datasets.prepare import RECIPES

PLAYS = ["user_id,item_id,time", *(f"{n // 6},{n % 6},{n}" for n in range(36))]
SMALL = ["--users", "40", "--items", "80", "--concepts", "4", "--noise-tags", "3"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cli") / "data"
    arguments = ["prepare", "planted", "--data", str(folder), *SMALL, "--name", "tiny"]
    result = CliRunner().invoke(data.app, arguments)
    assert result.exit_code == 0
    assert result.stdout == ""
    assert "prepared tiny: 40 users" in result.stderr
    return folder


def run(capsys, *words):
    code = invoke(["data", *map(str, words)])
    out, err = capsys.readouterr()
    return code, out, err


def test_prepare_twice(folder, capsys):
    words = ("prepare", "planted", "--data", folder, *SMALL, "--name", "tiny")
    code, out, err = run(capsys, *words)
    assert (code, out) == (0, "")
    assert err == "tiny is prepared already; --force prepares it again\n"
    code, _, err = run(capsys, *words, "--force", "--seed", 3)
    assert code == 0
    assert "prepared tiny" in err
    assert run(capsys, *words, "--force")[0] == 0


@pytest.mark.parametrize(
    ("words", "code", "error", "hint"),
    [
        (("prepare", "planned"), 2, "there is no data set 'planned'", "did you mean planted?"),
        (("prepare", "planted", "--users", "0"), 2, "--users is 0", "change --users"),
        (("prepare", "planted", "--core", "5.5"), 2, "--core", "recsae data prepare --help"),
        (("prepare", "ml-100k", "--source", "gone"), 2, "--source gone", "change --source"),
        (("prepare", "ml-100k"), 1, "RECSAE_OFFLINE is set", "--source ml-100k.zip"),
        (("prepare", "ml-1m"), 1, "RECSAE_OFFLINE is set", "--source ml-1m.zip"),
        (("prepare", "csv", "--source", "."), 2, "csv needs a name", "--name"),
        (("prepare", "planted", "--items", "x"), 2, "--items is x", "change --items"),
        (("prepare", "csv", "--users", "9"), 2, "csv takes no --users", "it takes --user,"),
        (("describe", "ml-100k"), 3, "'ml-100k' is not prepared", "recsae data prepare ml-100k"),
        (("describe", "../x"), 2, "data set '../x'", "use letters"),
    ],
)
def test_errors(words, code, error, hint, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("RECSAE_OFFLINE", "1")
    monkeypatch.setenv("RECSAE_DATA", str(tmp_path))
    got, out, err = run(capsys, *words)
    lines = err.splitlines()
    assert (got, out) == (code, "")
    assert lines[-2].startswith("recsae: error: ")
    assert error in lines[-2]
    assert lines[-1].startswith("hint: ")
    assert hint in lines[-1]


def test_list(folder, capsys):
    code, out, _ = run(capsys, "list", "--data", folder)
    assert code == 0
    named = ["ml-100k", "ml-1m", "lastfm-2k", "planted", "amazon", "rechorus", "csv", "parquet"]
    assert [line.split()[0] for line in out.splitlines()[2:]] == [*named, "tiny"]
    _, out, _ = run(capsys, "list", "--data", folder, "--json")
    records = json.loads(out)
    states = ["not prepared"] * 4 + ["form"] * 4 + ["prepared"]
    assert [row["state"] for row in records] == states
    assert records[-1]["users"] == 40
    assert records[0]["users"] is None


def test_list_shows_damage(folder, tmp_path, capsys):
    (tmp_path / "ml-100k").mkdir()
    (tmp_path / "ml-100k" / "dataset.json").write_text("{")
    code, out, err = run(capsys, "list", "--data", tmp_path)
    assert code == 0
    assert "damaged" in out
    assert "dataset.json" in err


def test_describe(folder, capsys):
    code, out, _ = run(capsys, "describe", "tiny", "--data", folder)
    assert code == 0
    for text in ("sparsity", "licence", "fingerprint", "dev", "concept", "noise:0", "below core"):
        assert text in out
    _, out, _ = run(capsys, "describe", "tiny", "--data", folder, "--json")
    record = json.loads(out)
    counts = record["counts"]
    assert counts["dev"] == counts["test"] == counts["users"] == 40
    assert record["sparsity"] == pytest.approx(1 - counts["interactions"] / (40 * counts["items"]))
    assert [row["kind"] for row in record["tag_kinds"]] == ["concept", "noise"]
    frequencies = [row["items"] for row in record["top_tags"]]
    assert frequencies == sorted(frequencies, reverse=True)


def test_tables_of_ones_own(tmp_path, capsys):
    pairs = [(user, item) for user in "abcdef" for item in range(6)]
    rows = [f"{user};{item};{item}" for user, item in pairs]
    (tmp_path / "plays.csv").write_text("\n".join(["who;what;when", *rows]))
    songs = [f"{item};Song {item};pop|{'old' if item else 'new'}" for item in range(6)]
    (tmp_path / "songs.csv").write_text("\n".join(["what;called;mood", *songs]))
    words = ("prepare", "csv", "--source", tmp_path / "plays.csv", "--name", "songs")
    words += ("--items", tmp_path / "songs.csv", "--title", "called", "--tags", "mood")
    words += ("--user", "who", "--item", "what", "--time", "when", "--separator", "semicolon")
    assert run(capsys, *words, "--data", tmp_path / "data")[0] == 0
    code, out, _ = run(capsys, "describe", "songs", "--data", tmp_path / "data", "--json")
    record = json.loads(out)
    assert code == 0
    assert record["counts"]["interactions"] == 36
    assert record["top_tags"] == [
        {"tag": "mood:pop", "kind": "mood", "items": 6},
        {"tag": "mood:old", "kind": "mood", "items": 5},
    ]
    _, _, err = run(capsys, *words, "--data", tmp_path / "data")
    assert "songs is prepared already" in err
    with (tmp_path / "plays.csv").open("a") as file:
        file.write("\nf;1;7")
    _, _, err = run(capsys, *words, "--data", tmp_path / "data")
    assert "songs was prepared from other files; preparing it again" in err


def whole(capsys, tmp_path, *words):
    """``recsae run``: exit status and error."""
    places = ("--data", tmp_path / "data", "--warehouse", tmp_path / "warehouse")
    code = invoke(["run", *map(str, (*words, *places))])
    assert not (tmp_path / "warehouse").exists()
    return code, capsys.readouterr().err


def test_run_takes_no_source_of_data_of_ones_own(tmp_path, capsys):
    (tmp_path / "p.csv").write_text("\n".join(PLAYS))
    words = ("--source", tmp_path / "p.csv", "--name", "songs", "--data", tmp_path / "data")
    assert run(capsys, "prepare", "csv", *words)[0] == 0
    code, err = whole(capsys, tmp_path, "songs", "--source", tmp_path / "p.csv")
    assert code == 2
    assert "songs was prepared by recsae data prepare csv, which --source belongs to" in err
    assert "hint: leave --source out" in err


@pytest.mark.parametrize("form", ["csv", "rechorus"])
def test_run_takes_no_form(form, tmp_path, capsys):
    code, err = whole(capsys, tmp_path, form, "--source", tmp_path)
    assert code == 2
    assert f"{form} is a form of data sets of your own, which are prepared first" in err
    assert (
        f"hint: recsae data prepare {form} --source PATH --name NAME, then recsae run NAME" in err
    )


def test_the_help_of_run_names_what_it_prepares(capsys):
    assert invoke(["run", "--help"]) == 0
    help_ = " ".join(capsys.readouterr().out.replace("│", " ").split())
    made = [name for name, one in RECIPES.items() if not one.form]
    alone = [name for name in made if RECIPES[name].source != "required"]
    with_source = [name for name in made if RECIPES[name].source == "required"]
    named = (
        f"{', '.join(alone[:-1])} or {alone[-1]}; {', '.join(with_source)} with --source; or the"
    )
    assert named in help_


@pytest.mark.parametrize("command", ["prepare", "list", "describe"])
def test_help_has_an_example(command, capsys):
    code, out, _ = run(capsys, command, "--help")
    assert code == 0
    assert f"recsae data {command}" in out
    assert "Example:" in out


def test_help_loads_nothing_heavy():
    heavy = ("polars", "duckdb", "numpy", "torch", "pyarrow")
    code = f"import recsae.cli.data, sys; sys.exit(any(m in sys.modules for m in {heavy}))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
