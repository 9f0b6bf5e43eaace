"""Standard streams that are closed or full: an exit status, no traceback, and no harm to data."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

RECSAE = f"{sys.executable} -m recsae"


def shell(line: str, root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "-c", line.replace("recsae ", f"{RECSAE} ", 1)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={"RECSAE_WAREHOUSE": str(root), "PATH": "/usr/bin:/bin"},
        cwd=Path(__file__).parents[2],
    )


@pytest.mark.parametrize(
    ("streams", "code"),
    [
        (">&-", 1),
        (">/dev/full", 1),
        ("2>&-", 0),
        ("2>/dev/full", 0),
        ("<&-", 0),
        (">&- 2>&-", 1),
        ("<&- >&- 2>&-", 1),
        (">/dev/full 2>/dev/full", 1),
    ],
)
@pytest.mark.parametrize(
    "words",
    ["query 'from raw.runs'", "--help", "runs", "schema --json", "query --list -o /dev/stdout"],
)
def test_closed_and_full(streams: str, code: int, words: str, filled_warehouse: Path) -> None:
    before = (filled_warehouse / "recsae.duckdb").read_bytes()
    done = shell(f"recsae {words} {streams}", filled_warehouse)
    assert done.returncode == code, done
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    if code == 1 and "2>" not in streams:
        assert done.stderr.startswith("recsae: error: cannot write"), done.stderr
    assert (filled_warehouse / "recsae.duckdb").read_bytes() == before


@pytest.mark.parametrize("streams", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full"])
def test_an_error_is_never_written_into_the_data(
    streams: str, filled_warehouse: Path, tmp_path: Path
) -> None:
    """A stream that is closed must not have its number taken by a file."""
    before = (filled_warehouse / "recsae.duckdb").read_bytes()
    failed = shell(f"recsae query 'from nothing' {streams}", filled_warehouse)
    assert failed.returncode == 1
    place = tmp_path / "x.csv"
    line = f"recsae query 'select 1 as n from range(3)' --limit 2 -o {place} {streams}"
    assert shell(line, filled_warehouse).returncode == 0
    assert place.read_text() == "n\n1\n1\n"
    assert (filled_warehouse / "recsae.duckdb").read_bytes() == before


def test_sql_from_a_stdin_that_is_closed(filled_warehouse: Path) -> None:
    done = shell("recsae query - <&-", filled_warehouse)
    assert done.returncode == 1
    assert "one statement can be run at a time, and here are 0" in done.stderr


def test_a_run_is_recorded_whatever_stderr_is(tmp_path: Path) -> None:
    """Narration that cannot be written must not end the work that it is about."""
    words = "data prepare planted --users 60 --items 80 --concepts 4 --noise-tags 4"
    words += f" --data {tmp_path}/data"
    assert shell(f"recsae {words} 2>/dev/full", tmp_path).returncode == 0
    assert (tmp_path / "data" / "planted" / "dataset.json").exists()
