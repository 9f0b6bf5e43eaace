"""The command itself: version, help, exit codes, and what it does not import."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer

import recsae
from recsae import cli as commands
from recsae.errors import DataError, ExitCode, JudgeError, MissingStageError, UsageError

if TYPE_CHECKING:
    from conftest import Result

REPOSITORY = Path(recsae.__file__).parents[1]


def walk(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Words of every command that does something."""
    children = getattr(command, "commands", None)
    if children is None:
        yield path
        return
    for name, child in children.items():
        yield from walk(child, (*path, name))


WAITING = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
"""What decides how long torch's threads wait for each other."""

COMMANDS = sorted(walk(typer.main.get_command(commands.app)))


def test_version(cli: Callable[..., Result]) -> None:
    assert cli("--version") == (0, f"recsae {recsae.__version__}\n", "")


def test_commands() -> None:
    assert {("query",), ("runs",), ("data", "prepare")} <= set(COMMANDS)


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_help_has_an_example_that_fits(
    cli: Callable[..., Result], words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    result = cli(*words, "--help")
    assert (result.code, result.err) == (0, "")
    lines = [line.strip() for line in result.out.splitlines()]
    assert "Example:" in lines or "Examples:" in lines
    assert any(line.startswith(f"recsae {' '.join(words)}") for line in lines), result.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nothing"], "No such command 'nothing'."),
        (["data", "nothing"], "No such command 'nothing'."),
        (["query"], "no query is given"),
        (["compare"], "Missing argument 'RUN...'."),
        (["runs", "--nothing"], "No such option"),
        (["runs", "extra"], "unexpected extra argument"),
    ],
)
def test_usage_errors(cli: Callable[..., Result], words: list[str], message: str) -> None:
    result = cli(*words)
    assert (result.code, result.out) == (ExitCode.USAGE, "")
    lines = result.err.splitlines()
    assert lines[0].startswith("recsae: error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: recsae")
    assert len(lines) == 2


def test_no_command_shows_help(cli: Callable[..., Result]) -> None:
    result = cli()
    assert result.code == ExitCode.USAGE
    assert "Commands" in result.out + result.err


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (DataError("a"), 1, "recsae: error: a\n"),
        (UsageError("a", "b"), 2, "recsae: error: a\nhint: b\n"),
        (MissingStageError("a", "b"), 3, "recsae: error: a\nhint: b\n"),
        (JudgeError("a"), 4, "recsae: error: a\n"),
        (FileNotFoundError(2, "No such file", "x"), 1, "recsae: error: x: No such file\n"),
        (KeyboardInterrupt(), 130, "recsae: interrupted\n"),
    ],
)
def test_exit_codes(
    cli: Callable[..., Result],
    monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
    code: int,
    text: str,
) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(commands, "app", failing)
    assert cli("anything") == (code, "", text)


def test_a_bug_is_not_hidden(cli: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> None:
        raise AssertionError("a bug")

    monkeypatch.setattr(commands, "app", failing)
    with pytest.raises(AssertionError, match="a bug"):
        cli("anything")


def python(*words: str, cwd: Path = REPOSITORY) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "80"}
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def test_as_a_module(tmp_path: Path) -> None:
    done = python("-m", "recsae", "runs", "--warehouse", str(tmp_path), cwd=tmp_path)
    assert done.returncode == 3
    assert done.stderr.endswith("hint: recsae run ml-100k\n")
    assert "Traceback" not in done.stderr


HEAVY = ("torch", "polars", "duckdb", "pyarrow", "numpy", "safetensors", "pandas")


def loaded(words: list[str], cwd: Path) -> tuple[int, set[str]]:
    """Exit status of a command line and the heavy packages that it imported."""
    script = f"""
import json, sys
from recsae.cli import invoke
code = invoke({words!r})
sys.stdout.flush()
print(json.dumps([code, [name for name in {HEAVY!r} if name in sys.modules]]), file=sys.stderr)
"""
    done = python("-c", script, cwd=cwd)
    code, names = json.loads(done.stderr.splitlines()[-1])
    return code, set(names)


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["query", "--help"]])
def test_help_imports_nothing_heavy(words: list[str], tmp_path: Path) -> None:
    assert loaded(words, tmp_path) == (0, set())


def test_queries_do_not_import_torch(filled_warehouse: Path, tmp_path: Path) -> None:
    place = ["--warehouse", str(filled_warehouse)]
    for words in (["query", "select 1 as n"], ["runs"]):
        code, names = loaded([*words, *place], tmp_path)
        assert code == 0
        assert {"torch", "safetensors"}.isdisjoint(names)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "7"}, "7"), ({"OMP_WAIT_POLICY": "active"}, "None")],
)
def test_threads_wait_briefly_unless_told_otherwise(given: dict[str, str], wanted: str) -> None:
    """In time: torch reads it once, when it is loaded."""
    found = "os.environ.get('GOMP_SPINCOUNT'), 'torch' in sys.modules"
    code = f"import os, sys, recsae.cli; print({found})"
    left = {name: value for name, value in os.environ.items() if name not in WAITING}
    result = subprocess.run(
        [sys.executable, "-c", code], env={**left, **given}, capture_output=True, text=True
    )
    assert result.stdout == f"{wanted} False\n", result.stderr


def test_the_rule_for_latest_is_in_every_help(cli: Callable[..., Result]) -> None:
    """Wherever a run can be named, the help says what latest means."""
    for words in (
        *(("evaluate",), ("sae", "train"), ("sae", "encode"), ("sweep", "run")),
        *(("sweep", "report"), ("concepts",), ("confidence",), ("describe",), ("judge",)),
        *(("report",), ("latent",), ("compare",), ("check",), ("repair",), ("gc",), ("query",)),
    ):
        text = " ".join(cli(*words, "--help").out.replace("│", " ").split())
        assert "the last to finish" in text, words
        assert "stderr says which" in text, words
