"""Every block of docs/sql-cookbook.md runs on a finished warehouse and finds something there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import duckdb
import pytest

import recsae
from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

PAGE = Path(recsae.__file__).parents[1] / "docs" / "sql-cookbook.md"
QUESTION = re.compile(
    r"^## (?P<title>[^\n]+\?)\n\n(?P<about>[^\n]+)\n\n"
    r"```sql\n(?P<sql>.*?)^```\n\n```text\n(?P<output>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)


class Question(NamedTuple):
    title: str
    about: str
    sql: str
    output: str


def questions() -> list[Question]:
    text = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
    return [Question(**match.groupdict()) for match in QUESTION.finditer(text)]


def short(question: Question) -> str:
    return question.title


@pytest.fixture(scope="module")
def values(whole: Finished) -> dict[str, object]:
    """Values for the parameters: what a person would pick in this warehouse."""
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        key = {"run_id": whole.sae}
        user = warehouse.sql(
            "select user from user_latents where run_id = $run_id and status = 'interpretable' "
            "order by share_active desc, user limit 1",
            key,
        ).item()
        latent = warehouse.sql(
            "select latent_id from concepts where run_id = $run_id order by confidence_low desc",
            key,
        )["latent_id"][0]
        titles = warehouse.sql(
            "select title from item_latents where run_id = $run_id group by title "
            "order by sum(n_cases) desc, title limit 2",
            key,
        )["title"].to_list()
    return {
        "run_id": "latest",
        "user": user,
        "latent_id": latent,
        "title": titles[0],
        "a": titles[0],
        "b": titles[1],
    }


def test_the_page_is_all_read() -> None:
    if not PAGE.is_file():
        pytest.skip("the documentation is not here")
    text = PAGE.read_text(encoding="utf-8")
    found = questions()
    assert len(found) >= 15
    assert len(found) == text.count("\n## ") == text.count("```sql")
    assert all(question.output.count("\n") >= 3 for question in found)


@pytest.mark.parametrize("question", questions(), ids=short)
def test_a_question_has_an_answer(
    question: Question, whole: Finished, values: dict[str, object], cli: Callable[..., Result]
) -> None:
    names = sorted(duckdb.extract_statements(question.sql)[0].named_parameters)
    words = [word for name in names for word in ("-p", name, values[name])]
    options = ("--warehouse", whole.root, "--format", "json")
    result = cli("query", "-", *words, *options, stdin=question.sql)
    told = f"run latest: {whole.sae}, autoencoder of {whole.recommender}\n"
    assert (result.code, result.err) == (0, told if "run_id" in names else "")
    assert json.loads(result.out)


@pytest.mark.parametrize("question", questions(), ids=short)
def test_the_text_names_the_parameters(question: Question) -> None:
    names = set(duckdb.extract_statements(question.sql)[0].named_parameters)
    assert set(re.findall(r"-p (\w+) ", question.about)) == names - {"run_id"}


@pytest.mark.parametrize("question", questions(), ids=short)
def test_the_output_has_the_columns_of_the_query(
    question: Question, whole: Finished, values: dict[str, object]
) -> None:
    names = duckdb.extract_statements(question.sql)[0].named_parameters
    with Warehouse.open(whole.root, read_only=True) as warehouse:
        columns = warehouse.sql(question.sql, {name: values[name] for name in names}).columns
    assert question.output.splitlines()[0].split() == columns
