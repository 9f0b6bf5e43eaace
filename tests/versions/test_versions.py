"""Warehouses across versions of DuckDB: each opens what the others wrote, and answers the same.

``pytest -n 0 -m versions`` installs each version into a folder of its own, which a subprocess has
before all others on its path; everything else is that of the present environment.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
from stages.finished import planted_data

import recsae

pytestmark = [pytest.mark.versions, pytest.mark.timeout(1800)]

REPOSITORY = Path(recsae.__file__).parents[1]
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
LOWEST = re.findall(r'"duckdb>=([\d.]+),<3"', PROJECT)[0]
VERSIONS = {LOWEST: LOWEST, "1.4": "1.4.*", "1.5": "1.5.*", "2.0": "2.0.*"}
"""What pip is asked for: the lowest that is allowed, and the newest of each line."""

MAKE = """
import sys
from pathlib import Path
from stages.finished import pipeline
pipeline(Path(sys.argv[1]), Path(sys.argv[2]), model="BPRMF")
"""

LOCKED = """
import os, signal, sys
import duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("insert into raw.meta values ('noted', 'before the kill')")
os.kill(os.getpid(), signal.SIGKILL)
"""


class Versions:
    """Runs programs with one version of DuckDB or another, in a folder of the test session."""

    def __init__(self, base: Path) -> None:
        self.base = base
        self.data = planted_data(base)

    @cache  # noqa: B019 - one object in a session
    def installed(self, name: str) -> Path:
        target = self.base / f"duckdb-{name}"
        words = ["install", "--quiet", "--no-deps", "--target", target]
        subprocess.run(
            [sys.executable, "-m", "pip", *words, f"duckdb=={VERSIONS[name]}"], check=True
        )
        return target

    def run(self, name: str, *words: object, code: int = 0) -> str:
        """Output of Python with a version; it has to end with that code."""
        folders = (self.installed(name), REPOSITORY, REPOSITORY / "tests")
        env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
        done = subprocess.run(
            [sys.executable, *map(str, words)],
            capture_output=True,
            text=True,
            env=env,
            cwd=self.base,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout

    @cache  # noqa: B019
    def made_by(self, name: str) -> Path:
        """A warehouse with every stage of BPRMF on the planted data."""
        root = self.base / f"made-by-{name}"
        self.run(name, "-c", MAKE, root, self.data)
        return root

    def ask(self, name: str, root: Path) -> dict[str, Any]:
        """All answers that a version gives."""
        answers = dict(
            json.loads(self.run(name, REPOSITORY / "tests" / "versions" / "ask.py", root))
        )
        assert answers.pop("version").startswith(name)
        return answers

    @cache  # noqa: B019
    def own_answers(self, name: str) -> dict[str, Any]:
        """Those of the version that made the warehouse."""
        return self.ask(name, self.made_by(name))


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    return Versions(tmp_path_factory.mktemp("versions"))


@pytest.mark.parametrize("maker", VERSIONS)
def test_every_answer_has_been_asked(versions: Versions, maker: str) -> None:
    answers = versions.own_answers(maker)
    asked, plain = answers["recsae"], answers["duckdb"]
    views = ("main.latents", "main.case_latents", "main.item_latents", "main.user_latents")
    for name in (*views, "main.concepts", "confidence.scores", "raw.activations"):
        assert asked[name][0] > 0
        assert plain[name][0] == asked[name][0]
    reports = [name for name in asked if name.startswith("report.") and asked[name][0] > 0]
    assert len(reports) >= 10


@pytest.mark.parametrize(("maker", "reader"), [*permutations(VERSIONS, 2)])
def test_each_opens_what_the_others_wrote(versions: Versions, maker: str, reader: str) -> None:
    assert versions.ask(reader, versions.made_by(maker)) == versions.own_answers(maker)


@pytest.mark.parametrize("maker", list(VERSIONS)[:-1])
def test_each_makes_the_same_of_the_same_data(versions: Versions, maker: str) -> None:
    assert versions.own_answers(maker) == versions.own_answers("2.0")


@pytest.mark.parametrize(("maker", "writer"), [("2.0", LOWEST), (LOWEST, "2.0"), ("1.5", "1.4")])
def test_what_another_version_wrote_goes_on(versions: Versions, maker: str, writer: str) -> None:
    """A stage again, and a kill that leaves a log: all others still read what is there."""
    before = versions.own_answers(maker)
    root = versions.base / f"{maker}-then-{writer}"
    versions.run(maker, "-c", MAKE, root, versions.data)
    words = ("confidence", "latest", "--permutations", "5", "--force", "--warehouse", root)
    versions.run(writer, "-m", "recsae", *words)
    versions.run(writer, "-c", LOCKED, root / "recsae.duckdb", code=-9)
    assert (root / "recsae.duckdb.wal").exists()
    for reader in VERSIONS:
        assert versions.ask(reader, root) == before
    noted = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).execute(sys.argv[2]).fetchall())"
    query = "select value from raw.meta where key = 'noted'"
    out = versions.run(maker, "-c", noted, root / "recsae.duckdb", query)
    assert out.strip() == "[('before the kill',)]"


@pytest.mark.parametrize("name", VERSIONS)
def test_every_worked_example_holds(versions: Versions, name: str) -> None:
    tests = REPOSITORY / "tests"
    others = (tests / "warehouse" / "test_session.py", tests / "warehouse" / "test_storage.py")
    versions.run(name, "-m", "pytest", "-n", "0", "-q", tests / "sql", *others)
