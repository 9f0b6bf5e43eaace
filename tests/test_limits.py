"""What is too small to work in is told in one line, and never taken for damage."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from recsae.errors import DataError
from recsae.limits import LEAST, Watch, memory_error
from recsae.warehouse import Warehouse
from recsae.warehouse.check import check
from recsae.warehouse.publish import refresh_views

if TYPE_CHECKING:
    from conftest import Result

    Cli = Callable[..., Result]

COMMAND = "from recsae.cli import main; main()"
NO_ROOM = "GB is too small: "


def limited(n_bytes: int, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``recsae WORDS`` with so much address space."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (n_bytes, n_bytes))

    ended = subprocess.run(
        [sys.executable, "-c", COMMAND, *words],
        capture_output=True,
        text=True,
        preexec_fn=limit,
        timeout=120,
    )
    return ended.returncode, ended.stdout, ended.stderr


def plain(text: str) -> bool:
    """Whether stderr is an error with its hint and nothing else."""
    lines = text.splitlines()
    return len(lines) == 2 and lines[0].startswith("recsae: error: ") and lines[1][:6] == "hint: "


@pytest.mark.parametrize("n_bytes", [300_000_000, 2_000_000 * 1024])
def test_help_needs_little(n_bytes: int) -> None:
    code, out, err = limited(n_bytes, "--help")
    assert (code, err) == (0, "")
    assert "confidence" in out


@pytest.mark.parametrize("n_bytes", [300_000_000, 1_000_000_000, 1_500_000_000, 1_900_000_000])
def test_too_little_for_the_database(filled: Path, n_bytes: int) -> None:
    for command in ("runs", "report latest", "check"):
        code, out, err = limited(n_bytes, *command.split(), "--warehouse", str(filled))
        assert (code, out) == (1, "")
        assert plain(err)
        assert NO_ROOM in err


@pytest.mark.parametrize("n_bytes", [1_000_000_000, 2_000_000 * 1024, 2_900_000_000])
def test_too_little_for_torch(tmp_path: Path, n_bytes: int) -> None:
    places = ("--warehouse", str(tmp_path / "w"), "--data", str(tmp_path))
    code, out, err = limited(n_bytes, "train", "BPRMF", "ml-100k", *places)
    assert (code, out) == (1, "")
    assert plain(err)
    assert NO_ROOM in err
    assert not (tmp_path / "w").exists()


def test_enough_for_the_database(filled: Path) -> None:
    code, out, err = limited(4_000_000_000, "runs", "--warehouse", str(filled))
    assert (code, err) == (0, "")
    assert "rec-1" in out


def test_asking_for_a_library_is_no_loading(monkeypatch: pytest.MonkeyPatch) -> None:
    """Polars asks whether torch is there."""
    small = Watch(1000, 2)
    monkeypatch.setattr(sys, "meta_path", [small, *sys.meta_path])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert isinstance(find_spec("torch"), ModuleSpec)
    monkeypatch.delitem(sys.modules, "networkx", raising=False)
    assert small.find_spec("networkx", None) is None
    with pytest.raises(DataError, match=r"torch needs 3\.0 GB"):
        __import__("torch")
    assert Watch(int(LEAST["torch"]), 2).find_spec("torch", None) is None
    assert Watch(int(LEAST["torch"]), 64).find_spec("torch", None) is not None


@pytest.mark.parametrize("size", ["1KB", "100KB", "1MB"])
@pytest.mark.parametrize("command", ["runs", "check", "repair", "gc", "query raw.runs"])
def test_a_database_with_too_little_memory(
    cli: Cli, filled: Path, monkeypatch: pytest.MonkeyPatch, size: str, command: str
) -> None:
    """One line; and a table or file that was not read for want of memory is not damaged."""
    before = sorted(path.name for path in filled.iterdir())
    monkeypatch.setenv("RECSAE_MEMORY", size)
    result = cli(*command.split(), "--warehouse", filled)
    assert "is damaged" not in result.out + result.err
    if size != "1MB":  # with which some of them work
        assert result.code in (1, 2)
        assert plain(result.err)
        assert "RECSAE_MEMORY" in result.err
    assert sorted(path.name for path in filled.iterdir()) == before
    monkeypatch.delenv("RECSAE_MEMORY")
    with Warehouse.open(filled, read_only=True) as warehouse:
        assert warehouse.sql("from raw.cases").height == 7


@pytest.mark.parametrize(
    "text",
    [
        "Out of Memory Error: failed to pin block of size 256.0 KiB (0 bytes/1000 bytes used)",
        "IO Error: Could not write file: No space left on device",
    ],
)
def test_a_shortage_is_no_damage(filled: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    def short(*_: object) -> None:
        raise duckdb.Error(text)

    monkeypatch.setattr(Warehouse, "probe", short)
    with pytest.raises(duckdb.Error, match="Error: "):
        check(filled)
    with pytest.raises(duckdb.Error, match="Error: "), Warehouse.open(filled) as warehouse:
        refresh_views(warehouse)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"),
        RuntimeError("can't start new thread"),
        ImportError("libparquet.so: failed to map segment from shared object"),
        duckdb.Error(
            "Out of Memory Error: Failed to allocate block of 16384 bytes (bad allocation)"
        ),
    ],
)
def test_every_library_has_its_own_words_for_it(error: Exception) -> None:
    message, hint = memory_error(error) or ("", "")
    assert message.startswith("not enough memory: ")
    assert "ulimit" in hint
    assert memory_error(ValueError("no such column")) is None
