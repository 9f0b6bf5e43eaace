"""Every command, query, relation, file and setting that the pages name exists."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pytest
import typer

import recsae
from recsae import cli
from recsae.cli.query import fold_params, split_param
from recsae.warehouse import load, queries, statements
from recsae.warehouse.sql import RAW, stages
from recsae.warehouse.store import check_params

REPOSITORY = Path(recsae.__file__).parents[1]
PAGES = [
    path
    for path in (
        REPOSITORY / "README.md",
        *sorted((REPOSITORY / "docs").rglob("*.md")),
        REPOSITORY / "data" / "README.md",
        REPOSITORY / "warehouse" / "README.md",
    )
    if path.is_file()
]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)")
RELATION = re.compile(r"\b(raw|staging|concepts|confidence|report)\.(\w+)")
FOLDERS = ("recsae/", "tests/", "sql/", "docs/", "benchmarks/")
OPERATORS = ("&&", "||", "|", ";", "&")

APP: Any = typer.main.get_command(cli.app)


class Block(NamedTuple):
    """A fenced block of a page, or a span of code in its text."""

    page: str
    kind: str
    text: str


def page_name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def blocks(path: Path) -> Iterator[Block]:
    for kind, text in FENCE.findall(path.read_text(encoding="utf-8")):
        yield Block(page_name(path), kind, text)


def spans(path: Path) -> Iterator[Block]:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    for code in CODE.findall(text):
        yield Block(page_name(path), "code", code)


BLOCKS = [block for path in PAGES for block in blocks(path)]
SPANS = [span for path in PAGES for span in spans(path)]


def commands(text: str) -> Iterator[list[str]]:
    """The words after ``recsae`` of every command of a shell script."""
    pending = ""
    for line in text.replace("\\\n", " ").splitlines():
        pending += line.removeprefix("$ ")
        try:
            words = split(pending)
        except ValueError:  # a quotation goes on in the next line
            pending += "\n"
            continue
        pending = ""
        for is_end, part in groupby(words, OPERATORS.__contains__):
            found = list(part)
            if not is_end and Path(found[0]).name == "recsae":
                yield found[1:]
    if pending:
        yield ["a quotation does not end", pending]


def split(line: str) -> list[str]:
    """Words and operators of a line of shell."""
    words = shlex.shlex(line, posix=True, punctuation_chars=True)
    words.whitespace_split = True
    return list(words)


def lines() -> Iterator[tuple[str, list[str]]]:
    """Every command line that can be typed as it stands, with the page that shows it."""
    for block in BLOCKS:
        if block.kind == "sh":
            yield from ((block.page, words) for words in commands(block.text))
        elif block.kind in ("", "text"):
            whole = block.text.replace("\\\n", " ").splitlines()
            text = "\n".join(line for line in whole if line.startswith(("recsae ", "$ recsae ")))
            yield from ((block.page, words) for words in commands(text))


LINES = list(lines())


def parsed(words: list[str]) -> Any:
    """The context that a command line would run in; a UsageError of typer when it cannot."""
    context = APP.make_context("recsae", list(words))
    rest = [*context._protected_args, *context.args]
    while hasattr(context.command, "commands"):
        name, found, rest = context.command.resolve_command(context, rest)
        context = found.make_context(name, rest, parent=context)
    return context


def short_name(value: Any) -> str:
    return re.sub(r"\W+", "-", " ".join(value) if isinstance(value, list) else str(value))[:60]


def test_pages_are_found() -> None:
    assert page_name(PAGES[0]) == "README.md"
    assert {block.kind for block in BLOCKS} >= {"sh", "sql", "text"}
    assert ["run", "ml-100k"] in [words for _, words in LINES]
    assert ["latent", "latest"] in [words[:2] for _, words in LINES]


def test_reading_of_shell_lines() -> None:
    text = """python3 -m venv x && x/recsae run 'a b' | head
$ recsae runs \\
  --json  # all
echo recsae
recsae query "select 1
from it's" -p n 2
"""
    assert list(commands(text)) == [
        ["run", "a b"],
        ["runs", "--json"],
        ["query", "select 1\nfrom it's", "-p", "n", "2"],
    ]


# -- commands -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "words"), LINES, ids=short_name)
def test_command_lines(page: str, words: list[str]) -> None:
    assert parsed(words).command.callback


@pytest.mark.parametrize(
    "words",
    [["run"], ["rum", "x"], ["sae", "x"], ["train", "a", "b", "--no"], ["query", "1", "-p"]],
)
def test_command_lines_that_are_wrong_are_noticed(words: list[str]) -> None:
    with pytest.raises(Exception, match=r"[Mm]issing|No such|no value|requires"):
        parsed(words)


def in_text() -> Iterator[tuple[str, list[str]]]:
    """Commands in running text, where words in capitals and ``...`` stand for something."""
    for span in SPANS:
        if span.text.startswith("recsae "):
            yield from ((span.page, words) for words in commands(span.text))


@pytest.mark.parametrize(("page", "words"), list(in_text()), ids=short_name)
def test_commands_in_running_text(page: str, words: list[str]) -> None:
    found, rest = APP, list(words)
    while hasattr(found, "commands") and rest:
        found = found.commands[rest.pop(0)]
    known = {name for param in found.params for name in param.opts} | {"--help"}
    assert {word for word in rest if re.match(r"--?[A-Za-z]", word)} <= known


def every(found: Any = APP, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    children = getattr(found, "commands", {})
    if not children:
        yield path
    for name, child in children.items():
        yield from every(child, (*path, name))


@pytest.mark.parametrize("path", sorted(every()), ids=" ".join)
def test_examples_of_the_help(path: tuple[str, ...]) -> None:
    found = APP
    for word in path:
        found = found.commands[word]
    about, _, examples = found.help.partition("Example:")
    assert about.strip()
    typed = list(commands("\n".join(line.strip() for line in examples.splitlines())))
    assert any(words[: len(path)] == list(path) for words in typed)
    for words in typed:
        assert parsed(words).command.callback


@pytest.mark.parametrize("path", sorted(every()), ids=" ".join)
def test_every_command_is_on_a_page(path: tuple[str, ...]) -> None:
    shown = [words for _, words in LINES] + [words for _, words in in_text()]
    assert any(words[: len(path)] == list(path) for words in shown) or any(
        span.text == path[-1] for span in SPANS if len(path) == 1
    )


# -- SQL ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def empty() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty table for every relation, made from its header alone."""
    with duckdb.connect() as connection:
        for stage in stages():
            connection.execute(f"create schema if not exists {stage}")
        for query in queries():
            connection.execute(statements.create_table(query))
        yield connection


def statements_of_pages() -> Iterator[tuple[str, str]]:
    """SQL of the pages: blocks, and what ``recsae query`` is given."""
    for block in BLOCKS:
        if block.kind == "sql":
            yield block.page, block.text
    for page, words in [*LINES, *in_text()]:
        if words[0] == "query" and len(words) > 1 and " " in words[1]:
            yield page, words[1]


@pytest.mark.parametrize(("page", "sql"), list(statements_of_pages()), ids=short_name)
def test_sql(page: str, sql: str, empty: duckdb.DuckDBPyConnection) -> None:
    for statement in duckdb.extract_statements(sql):
        names = statement.named_parameters
        values = {name: "x" if name == "run_id" else 1 for name in names}
        empty.execute(f"explain {statement.query}", values).fetchall()


def test_wrong_sql_is_noticed(empty: duckdb.DuckDBPyConnection) -> None:
    for sql in ("select nothing from raw.runs", "select * from raw.nothing", "selec 1"):
        with pytest.raises(duckdb.Error):
            empty.execute(f"explain {sql}")


NAMED = [
    (page, fold_params(words[1:]))
    for page, words in LINES
    if words[0] == "query" and RELATION.fullmatch(words[1])
]


@pytest.mark.parametrize(("page", "words"), NAMED, ids=short_name)
def test_named_queries_get_their_parameters(page: str, words: list[str]) -> None:
    found = load(words[0])
    given = [word for option, word in pairwise(words) if option == "-p"]
    if found.stage != RAW:
        check_params(found, dict(split_param(word) for word in given))


RELATIONS = sorted(
    {
        (span.page, match[0])
        for span in [*SPANS, *BLOCKS]
        if span.kind in ("code", "sql")
        for match in RELATION.finditer(span.text)
        if not re.search(rf"[\w/]{re.escape(match[0])}|{re.escape(match[0])}/", span.text)
    }
)


@pytest.mark.parametrize(("page", "relation"), RELATIONS)
def test_relations(page: str, relation: str) -> None:
    assert load(relation).full_name == relation


def test_relations_are_found() -> None:
    assert ("warehouse/README.md", "raw.activations") in RELATIONS
    assert ("README.md", "confidence.scores") in RELATIONS


# -- files and settings ---------------------------------------------------------------------------


def targets() -> Iterator[tuple[str, str]]:
    for path in PAGES:
        for link in LINK.findall(FENCE.sub("", path.read_text(encoding="utf-8"))):
            if not re.match(r"\w+:", link):
                yield page_name(path), (path.parent / link).resolve().as_posix()
    for span in SPANS:
        if span.text.startswith(FOLDERS) and not re.search(r"[*<{ ]", span.text):
            yield span.page, (REPOSITORY / span.text).as_posix()


@pytest.mark.parametrize(("page", "path"), sorted(set(targets())), ids=lambda text: text[-40:])
def test_files_and_folders(page: str, path: str) -> None:
    assert Path(path).exists()


def test_variables() -> None:
    """RECSAE_... of the pages are read somewhere, and those that the program reads are named."""
    named = {word for path in PAGES for word in re.findall(r"RECSAE_\w+", path.read_text("utf-8"))}
    used = {
        part: {
            word
            for path in (REPOSITORY / part).rglob("*.py")
            for word in re.findall(r"RECSAE_\w+", path.read_text("utf-8"))
        }
        for part in ("recsae", "tests")
    }
    assert named <= used["recsae"] | used["tests"]
    assert used["recsae"] - {"RECSAE_TRACEBACK"} <= named


def test_markers() -> None:
    """Every marker that a page runs exists, and one that is left out says how to run it."""
    options = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))["tool"]["pytest"]
    markers = dict(line.split(":", 1) for line in options["ini_options"]["markers"])
    for path in PAGES:
        assert set(re.findall(r"pytest -m (\w+)", path.read_text("utf-8"))) <= set(markers)
    left_out = re.findall(r"not (\w+)", options["ini_options"]["addopts"])
    assert len(left_out) >= 2
    assert all(markers[name].endswith(f"run with -m {name}") for name in left_out)
