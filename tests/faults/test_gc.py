"""``recsae gc`` deletes what it says and nothing else, whatever happens meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsae.errors import DataError
from recsae.warehouse import Warehouse, gc, run_folder, run_lock
from recsae.warehouse.check import check
from recsae.warehouse.marks import own_folder
from recsae.warehouse.publish import KINDS

if TYPE_CHECKING:
    from conftest import Maker, Result

    Cli = Callable[..., Result]


def runs_of(root: Path) -> list[str]:
    with Warehouse.open(root, read_only=True) as warehouse:
        return sorted(warehouse.runs()["run_id"])


def folders_of(root: Path) -> set[str]:
    found = {path.name for kind in ("runs", *KINDS) for path in (root / kind).glob("*")}
    return {name.removeprefix("run_id=") for name in found}


def rows_left(root: Path, run_id: str) -> int:
    """Rows of a run in all tables and views."""
    with Warehouse.open(root, read_only=True) as warehouse:
        tables = warehouse.sql(
            "select distinct schema_name || '.' || table_name as name from duckdb_columns() "
            "where column_name = 'run_id' and schema_name <> 'main'"
        )["name"]
        return sum(
            int(warehouse.sql(f"select count(*) from {t} where run_id = $r", {"r": run_id}).item())
            for t in tables
        )


@pytest.fixture
def full(filled: Path) -> Path:
    """rec-1 with sae-1, and rec-2, each with a folder of its own files."""
    for run_id in ("rec-1", "rec-2", "sae-1"):
        (run_folder(filled, run_id) / "model.safetensors").write_bytes(bytes(1000))
    return filled


def test_a_run_goes_with_what_is_built_on_it(cli: Cli, full: Path) -> None:
    at = ("--warehouse", full)
    only_said = cli("gc", "--run", "rec-1", "--dry-run", *at)
    assert only_said.code == 0
    lines = only_said.out.splitlines()
    assert lines[:2] == ["run sae-1", "run rec-1"]
    assert [line.rsplit("  ", 1)[0] for line in lines[2:]] == [
        str(full / place)
        for place in (
            "runs/sae-1",
            "activations/run_id=sae-1",
            "runs/rec-1",
            "cases/run_id=rec-1",
            "recommendations/run_id=rec-1",
        )
    ]
    unasked = cli("gc", "--run", "rec-1", *at)
    assert unasked.code == 2
    assert unasked.err.endswith("2 runs would be deleted\nhint: add --yes\n")
    assert runs_of(full) == ["rec-1", "rec-2", "sae-1"]
    assert cli("gc", "--run", "rec-1", "--yes", *at).code == 0
    assert runs_of(full) == ["rec-2"]
    assert folders_of(full) == {"rec-2"}
    assert rows_left(full, "rec-1") == rows_left(full, "sae-1") == 0
    assert rows_left(full, "rec-2") > 0
    assert not [path for path in (full / "tmp").iterdir() if path.name != "locks"]


def test_an_autoencoder_goes_alone(cli: Cli, full: Path) -> None:
    assert cli("gc", "--run", "sae-1", "--yes", "--warehouse", full).code == 0
    assert runs_of(full) == ["rec-1", "rec-2"]
    assert cli("gc", "--run", "sae-1", "--yes", "--warehouse", full).code == 2


@pytest.mark.parametrize("held", ["rec-1", "sae-1"])
def test_a_run_in_use_is_not_deleted(cli: Cli, full: Path, held: str) -> None:
    with run_lock(full, held):
        result = cli("gc", "--run", "rec-1", "--yes", "--warehouse", full)
    assert result.code == 1
    assert f"run {held!r} is in use by " in result.err
    assert runs_of(full) == ["rec-1", "rec-2", "sae-1"]
    assert folders_of(full) == {"rec-1", "rec-2", "sae-1"}


def test_a_run_that_is_built_meanwhile(full: Path, make: Maker) -> None:
    with Warehouse.open(full, read_only=True) as warehouse:
        garbage = gc.run_garbage(warehouse, "rec-1")
    with Warehouse.open(full) as warehouse:
        make.sae(warehouse, "sae-2", "rec-1")
    with pytest.raises(DataError, match="run 'sae-2' was built on 'rec-1' just now"):
        gc.delete_runs(full, garbage)
    assert runs_of(full) == ["rec-1", "rec-2", "sae-1", "sae-2"]


@pytest.mark.parametrize("n_done", [0, 1, 3])
def test_a_deletion_killed_half_way_is_finished(
    full: Path, monkeypatch: pytest.MonkeyPatch, n_done: int
) -> None:
    """After the rows are gone and some of the folders, whatever their age."""
    with Warehouse.open(full, read_only=True) as warehouse:
        garbage = gc.run_garbage(warehouse, "rec-1")
    calls: list[Path] = []

    plain = gc._discard

    def killed(root: Path, run_id: str, path: Path) -> None:
        if len(calls) == n_done:
            raise KeyboardInterrupt
        calls.append(path)
        plain(root, run_id, path)

    with monkeypatch.context() as patch:
        patch.setattr(gc, "_discard", killed)
        with pytest.raises(KeyboardInterrupt):
            gc.delete_runs(full, garbage)
    assert len(calls) == n_done
    assert runs_of(full) == ["rec-2"]
    gc.delete_leftovers(full)
    assert folders_of(full) == {"rec-2"}
    assert gc.delete_leftovers(full).paths == {}
    with Warehouse.open(full, read_only=True) as warehouse:
        assert not warehouse.sql("from raw.meta where starts_with(key, 'removing')").height


def test_a_run_made_again_after_a_killed_deletion_stays(
    full: Path, make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Warehouse.open(full, read_only=True) as warehouse:
        garbage = gc.run_garbage(warehouse, "rec-2")
    with monkeypatch.context() as patch:
        patch.setattr(gc, "_remove_folders", lambda *_: None)
        gc.delete_runs(full, garbage)
    with Warehouse.open(full) as warehouse:
        make.recommender(warehouse, "rec-2", 2)
    gc.delete_leftovers(full, age=0)
    assert runs_of(full) == ["rec-1", "rec-2", "sae-1"]
    assert rows_left(full, "rec-2") > 0


def litter(root: Path) -> list[Path]:
    """Leftovers of every kind."""
    left = [
        root / "runs" / "rec-1" / "vectors.npy.partial",
        root / "runs" / "rec-1" / "checkpoint.pt",
        root / "runs" / "gone-1" / "model.safetensors",
        root / "cases" / "run_id=gone-2" / "part-0.parquet",
        root / "tmp" / "spill" / "duckdb_temp_storage-0.tmp",
    ]
    for path in left:
        own_folder(root, path.parent.relative_to(root).as_posix())
        path.write_bytes(bytes(500))
    return left


def aged(root: Path) -> None:
    """Make everything two hours old."""
    then = time.time() - 7200
    for path in root.rglob("*"):
        os.utime(path, (then, then))


def test_leftovers_go_and_nothing_else(cli: Cli, full: Path) -> None:
    left = litter(full)
    assert cli("gc", "--warehouse", full).out == ""  # all are of this minute
    assert all(path.exists() for path in left)
    aged(full)
    said = cli("gc", "--dry-run", "--warehouse", full)
    assert len(said.out.splitlines()) == len(left)
    assert all(path.exists() for path in left)
    done = cli("gc", "--warehouse", full)
    assert done.out == said.out
    assert not any(path.exists() for path in left)
    assert folders_of(full) == {"rec-1", "rec-2", "sae-1"}
    assert runs_of(full) == ["rec-1", "rec-2", "sae-1"]
    assert {p.run_id for p in check(full).problems if p.what == "is missing"} <= {
        "rec-1",
        "rec-2",
        "sae-1",
    }


def test_what_a_stage_at_work_has_is_no_leftover(full: Path) -> None:
    litter(full)
    with run_lock(full, "rec-1"), run_lock(full, "gone-1"):
        aged(full)
        gc.delete_leftovers(full)
        assert (full / "runs" / "rec-1" / "vectors.npy.partial").exists()
        assert (full / "runs" / "gone-1" / "model.safetensors").exists()
    gc.delete_leftovers(full)
    assert not (full / "runs" / "gone-1").exists()


def test_the_checkpoint_of_a_training_that_did_not_end_stays(full: Path, make: Maker) -> None:
    with Warehouse.open(full) as warehouse:
        make.start(warehouse, "rec-3")
        warehouse.start_stage("rec-3", "train", {}, "h")
        warehouse.fail_run("rec-3")
    checkpoint = full / "runs" / "rec-3" / "checkpoint.pt"
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"x")
    aged(full)
    gc.delete_leftovers(full)
    assert checkpoint.exists()


def test_a_folder_of_somebody_else_stays(full: Path) -> None:
    (full / "runs" / "my own notes").mkdir()
    aged(full)
    gc.delete_leftovers(full)
    assert (full / "runs" / "my own notes").exists()
