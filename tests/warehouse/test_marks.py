"""Nothing is removed or replaced that recsae did not make, and no link is followed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsae.datasets import prepare
from recsae.errors import DataError, RecsaeError, UsageError
from recsae.warehouse import Warehouse, gc, run_folder, run_lock, temp_folder
from recsae.warehouse.files import YOUNG, clean_leftovers, is_locked
from recsae.warehouse.marks import MARK, adopt, is_bare, is_marked, mark, own_folder

if TYPE_CHECKING:
    from conftest import Maker, Result
    from stages.finished import Finished

    Cli = Callable[..., Result]

SMALL = {"users": 40, "items": 80, "concepts": 4, "noise_tags": 3}


def tree(folder: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: contents, targets of links, None for a folder."""
    found: dict[str, bytes | str | None] = {}
    for parent, folders, files in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *files)):
            content: bytes | str | None = None
            if path.is_symlink():
                content = os.readlink(path)
            elif path.is_file():
                content = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = content
    return found


def kept(before: dict[str, bytes | str | None], folder: Path) -> bool:
    """Whether all that was there is there as it was."""
    return before.items() <= tree(folder).items()


def aged(root: Path, seconds: float = 7200) -> None:
    then = time.time() - seconds
    for path in root.rglob("*"):
        os.utime(path, (then, then), follow_symlinks=False)


def created(root: Path) -> None:
    with Warehouse.open(root, create=True):
        pass


# -- creation -------------------------------------------------------------------------------------

HARMLESS = ("README.md", ".gitkeep", ".gitignore", ".DS_Store", "lost+found/", "Thumbs.db")
STRANGE = ("tmp/backup.2026/x", "runs/exp1/events.out", "cases/run_id=mine/x", "main.py", "tmp/x")
STRANGE += (".git/config", "recsae.duckdb.wal", "tmp/a.deadbeef/x", "tmp/a.deadbeef.lock/x")


def put(root: Path, name: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir() if name.endswith("/") else path.write_bytes(b"mine")


def test_a_folder_with_by_products_becomes_a_warehouse(tmp_path: Path) -> None:
    for name in HARMLESS:
        put(tmp_path, name)
    before = tree(tmp_path)
    created(tmp_path)
    assert kept(before, tmp_path)


@pytest.mark.parametrize("name", STRANGE)
def test_a_folder_in_use_does_not(cli: Cli, tmp_path: Path, name: str) -> None:
    data, root = tmp_path / "data", tmp_path / "project"
    prepare("planted", data, **SMALL)
    put(root, name)
    before = tree(root)
    train = ("train", "BPRMF", "planted", "--epochs", 1, "--emb-size", 4)
    result = cli(*train, "--data", data, "--warehouse", root)
    assert result.code == 2
    assert result.err == (
        f"recsae: error: {root} cannot become a warehouse: it is not empty, but holds "
        f"{name.split('/')[0]}\nhint: choose a new or empty folder with --warehouse FOLDER\n"
    )
    assert tree(root) == before


def test_a_creation_that_was_killed_is_begun_again(tmp_path: Path) -> None:
    """After its lock, its folder, the mark or a part of it, and the file."""
    for number, text in enumerate((None, b"", b"recsae made", b"recsae made this folder as tmp/")):
        folder = tmp_path / "tmp" / f"new.0000000{number}"
        folder.parent.mkdir(exist_ok=True)
        Path(f"{folder}.lock").touch()
        if text is not None:
            folder.mkdir()
            (folder / MARK).write_bytes(text)
    whole = own_folder(tmp_path, "tmp/new.00000009")
    (whole / "recsae.duckdb").write_bytes(b"half")
    aged(tmp_path, 2 * YOUNG)
    created(tmp_path)
    assert not list((tmp_path / "tmp").iterdir())


def test_a_warehouse_whose_database_is_lost(cli: Cli, own: Finished, tmp_path: Path) -> None:
    """It is not begun anew beside the runs that a repair can register."""
    root, data = own.root, own.data
    (root / "recsae.duckdb").unlink()
    with pytest.raises(DataError, match="has lost its database") as caught:
        created(root)
    assert str(caught.value.hint).startswith(f"recsae repair --warehouse {root}")
    cli("repair", "--warehouse", root, "--data", data)
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.runs().height == 2


# -- tmp ------------------------------------------------------------------------------------------


def strange_tmp(root: Path) -> None:
    """What may lie in a tmp, and looks as much like recsae's as somebody's own things can."""
    for name in ("backup.2026", "thesis.v2", "rec-1.old", "rec-1.deadbeef", ".ssh-like"):
        put(root, f"tmp/{name}/precious")
    put(root, "tmp/other.deadbeef/.recsae")  # of another program, or another folder's
    copy = root / "tmp" / "rec-1.12345678"
    copy.mkdir()
    mark(copy, "tmp/rec-1.87654321")
    put(root, "tmp/rec-1.12345678/precious")
    for name in ("yarn.lock", "poetry.deadbeef.lock", "spill/notes", "spill/duckdb_temp_x/y"):
        put(root, f"tmp/{name}")
    (root / "tmp" / "empty.deadbeef").mkdir()


def test_a_foreign_folder_in_tmp_is_never_taken_for_ones_own(filled: Path, cli: Cli) -> None:
    strange_tmp(filled)
    aged(filled)
    before = tree(filled / "tmp")
    with Warehouse.open(filled):
        assert clean_leftovers(filled) == []
    assert cli("gc", "--warehouse", filled).out == ""
    assert cli("repair", "--warehouse", filled).code in (0, 1)
    assert kept(before, filled / "tmp")


@pytest.mark.parametrize("place", ["tmp", "tmp/locks", "tmp/spill", "runs", "cases"])
@pytest.mark.parametrize("command", ["gc", "gc --run rec-1 --yes", "repair", "schema --upgrade"])
def test_a_link_to_elsewhere_is_refused(
    cli: Cli, filled: Path, tmp_path: Path, place: str, command: str
) -> None:
    scratch = tmp_path / "scratch"
    for name in ("thesis.v2/chapter", "rec-1.deadbeef/x", "run_id=rec-1/part-0.parquet", "rec-1/x"):
        put(scratch, name)
    put(scratch, "rec-1.lock")
    aged(scratch)
    before = tree(scratch)
    if (filled / place).is_dir():
        (filled / place).rename(tmp_path / "aside")
    (filled / place).parent.mkdir(exist_ok=True)
    (filled / place).symlink_to(scratch)
    result = cli(*command.split(), "--warehouse", filled)
    assert result.code == 1
    assert "is a link, which recsae does not follow" in result.out + result.err
    assert "Traceback" not in result.err
    assert tree(scratch) == before
    assert (filled / place).is_symlink()


def test_a_lock_is_not_written_through_a_link(filled: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    locks = filled / "tmp" / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    (locks / "rec-8.lock").symlink_to(tmp_path / "mine")
    (locks / "rec-9.json").symlink_to(tmp_path / "mine")
    with pytest.raises(DataError, match="is a link"), run_lock(filled, "rec-8"):
        pass
    assert not is_locked(filled, "rec-8")
    with run_lock(filled, "rec-9"):
        assert is_locked(filled, "rec-9")
    assert (tmp_path / "mine").read_text() == "precious"


STOPPED = """
import os, signal, sys
from pathlib import Path
from recsae.warehouse import temp_folder

number = 0

def audit(event, arguments):
    global number
    if event in ("open", "os.mkdir", "os.remove", "os.rmdir", "shutil.rmtree", "os.rename"):
        if any(str(root) in str(one) for one in arguments):
            number += 1
            if number == stop:
                os.kill(os.getpid(), signal.SIGKILL)

root, stop = Path(sys.argv[1]), int(sys.argv[2])
sys.addaudithook(audit)
with temp_folder(root, "rec-1") as folder:
    (folder / "cases").mkdir()
    (folder / "cases" / "part-0.parquet").write_bytes(b"x" * 100)
print(number)
"""


def test_a_kill_at_any_step_leaves_what_can_be_collected(tmp_path: Path) -> None:
    """Of making a temporary folder, filling it and removing it."""
    command = [sys.executable, "-c", STOPPED, str(tmp_path)]
    whole = subprocess.run([*command, "0"], capture_output=True, text=True, check=True)
    assert int(whole.stdout) >= 8
    for stop in range(1, int(whole.stdout) + 1):
        ended = subprocess.run([*command, str(stop)], capture_output=True)
        assert ended.returncode == -signal.SIGKILL
        aged(tmp_path, 2 * YOUNG)
        clean_leftovers(tmp_path)
        assert not list((tmp_path / "tmp").iterdir()), f"after step {stop}"


# -- folders of runs ------------------------------------------------------------------------------


def test_folders_that_no_run_has_go_only_if_recsae_made_them(cli: Cli, filled: Path) -> None:
    for place in ("runs/gone", "cases/run_id=gone"):
        put(own_folder(filled, place), "checkpoint.pt" if place[0] == "r" else "part-0.parquet")
    put(own_folder(filled, "runs/annotated"), "notes.txt")
    for name in ("runs/exp1/events.out", "runs/exp1/checkpoint.pt", "cases/run_id=mine/x.csv"):
        put(filled, name)
    put(filled, "summaries/run_id=mine/part-0.parquet")
    put(filled, "activations/run_id=mine/part-0.parquet")
    run_folder(filled, "rec-1")
    copied = filled / "runs" / "rec-1-backup"
    (filled / "runs" / "rec-1").rename(copied)  # as cp -r does, with its mark
    put(copied, "vectors.npy")
    linked = filled / "runs" / "linked"
    linked.symlink_to(copied)
    aged(filled)
    before = tree(filled)
    result = cli("gc", "--warehouse", filled)
    gone = {str(filled / "runs" / "gone"), str(filled / "cases" / "run_id=gone")}
    assert {line.split("  ")[0] for line in result.out.splitlines()} == gone
    left = {k: v for k, v in before.items() if "/gone" not in k and "=gone" not in k}
    assert kept({k: v for k, v in left.items() if "recsae.duckdb" not in k}, filled)


@pytest.mark.parametrize("name", ["notes.txt", "sae/notes", "model.safetensors.bak", "x.partial"])
def test_a_run_with_somebodys_file_is_not_deleted(cli: Cli, filled: Path, name: str) -> None:
    put(run_folder(filled, "rec-2"), name)
    result = cli("gc", "--run", "rec-2", "--yes", "--warehouse", filled)
    assert result.code == 1
    assert result.err == (
        f"recsae: error: {filled / 'runs' / 'rec-2'} holds {name}, which recsae did not write\n"
        "hint: move it away, then repeat\n"
    )
    aged(filled)
    assert cli("gc", "--warehouse", filled).out == ""
    assert (filled / "runs" / "rec-2" / name).read_bytes() == b"mine"
    with Warehouse.open(filled, read_only=True) as warehouse:
        assert warehouse.run("rec-2").status == "done"


def test_what_is_published_replaces_only_ones_own(filled: Path, make: Maker) -> None:
    put(filled, "cases/run_id=rec-1/mine.csv")
    put(filled, "cases/run_id=rec-5/part-0.parquet")
    for run_id, what in (("rec-1", "holds mine.csv"), ("rec-5", "was not made by recsae")):
        with (
            pytest.raises(DataError, match=what) as caught,
            Warehouse.open(filled) as warehouse,
            warehouse.transaction(),
        ):
            make.recommender(warehouse, run_id, 5)
        assert caught.value.hint == "move it away, then repeat"
    assert (filled / "cases" / "run_id=rec-1" / "mine.csv").read_bytes() == b"mine"
    assert (filled / "cases" / "run_id=rec-5" / "part-0.parquet").read_bytes() == b"mine"
    with Warehouse.open(filled, read_only=True) as warehouse:
        count = "select count(*) from raw.cases where run_id = 'rec-1'"
        assert warehouse.sql(count).item() == 3


def test_a_stage_says_so_before_it_works(cli: Cli, own: Finished) -> None:
    root = own.root
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.find_run("latest", "sae").run_id
    put(root, f"activations/run_id={run}/mine.csv")
    result = cli("sae", "encode", run, "--force", "--warehouse", root)
    assert result.code == 1
    assert f"activations/run_id={run} holds mine.csv, which recsae did not write" in result.err
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.stage_done(run, "encode")


def test_folders_of_an_earlier_version_are_marked_where_the_database_knows_them(
    cli: Cli, filled: Path
) -> None:
    put(run_folder(filled, "rec-1"), "checkpoint.pt")
    (filled / "tmp" / "rec-1.deadbeef").mkdir(parents=True)
    put(filled, "tmp/rec-1.deadbeef/part")
    (filled / "tmp" / "rec-1.deadbeef.lock").touch()
    put(filled, "tmp/thesis.deadbeef/chapter")
    (filled / "tmp" / "thesis.deadbeef.lock").touch()
    put(filled, "runs/exp1/checkpoint.pt")
    for path in filled.rglob(MARK):
        path.unlink()
    with duckdb.connect(str(filled / "recsae.duckdb")) as connection:
        connection.execute("delete from raw.meta where key = 'marked'")
    with Warehouse.open(filled):
        pass
    for place in ("runs/rec-1", "cases/run_id=rec-1", "activations/run_id=sae-1"):
        assert is_marked(filled / place, place)
    assert not (filled / "tmp" / "rec-1.deadbeef").exists()
    assert (filled / "tmp" / "thesis.deadbeef" / "chapter").exists()
    aged(filled)
    assert cli("gc", "--run", "rec-1", "--yes", "--warehouse", filled).code == 0
    assert not (filled / "runs" / "rec-1").exists()
    cli("gc", "--warehouse", filled)
    assert tree(filled / "runs" / "exp1") == {"checkpoint.pt": b"mine"}


# -- data sets ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "what"),
    [
        (("items.parquet", "users.parquet"), "was not prepared by recsae and is not replaced"),
        (("dataset.json",), "was not prepared by recsae and is not replaced"),
        (("dataset.json", "notes.txt"), "holds notes.txt"),
        (("sub/users.parquet",), "holds sub/users.parquet"),
        (("truth.parquet", ".recsae"), "was not prepared by recsae and is not replaced"),
    ],
)
@pytest.mark.parametrize("force", [False, True])
def test_a_folder_that_recsae_did_not_prepare(
    tmp_path: Path, names: tuple[str, ...], what: str, force: bool
) -> None:
    for name in names:
        put(tmp_path / "planted", name)
    before = tree(tmp_path / "planted")
    with pytest.raises(RecsaeError, match=what):
        prepare("planted", tmp_path, force=force, **SMALL)
    assert tree(tmp_path / "planted") == before


def test_a_data_set_of_an_earlier_version_is_replaced(tmp_path: Path) -> None:
    folder = prepare("planted", tmp_path, **SMALL)
    (folder / MARK).unlink()
    prepare("planted", tmp_path, force=True, **{**SMALL, "users": 50})
    assert is_marked(folder, "planted")


def test_a_damaged_copy_under_another_name_is_not_replaced(tmp_path: Path) -> None:
    folder = prepare("planted", tmp_path, **SMALL)
    folder.rename(tmp_path / "mine")
    (tmp_path / "mine" / "dataset.json").write_text("{")
    before = tree(tmp_path / "mine")
    with pytest.raises(DataError, match="was not prepared by recsae"):
        prepare("planted", tmp_path, stored_as="mine", **SMALL)
    assert tree(tmp_path / "mine") == before


@pytest.mark.parametrize("place", ["planted", ".recsae", ".recsae/tmp"])
def test_a_link_in_the_data_folder(tmp_path: Path, place: str) -> None:
    data, elsewhere = tmp_path / "data", tmp_path / "elsewhere"
    prepare("planted", elsewhere, **SMALL)
    put(elsewhere / "planted", "mine.v2/x")
    (data / place).parent.mkdir(parents=True)
    (data / place).symlink_to(elsewhere / "planted")
    before = tree(elsewhere)
    with pytest.raises(DataError, match="is a link"):
        prepare("planted", data, force=True, **SMALL)
    assert tree(elsewhere) == before
    assert (data / place).is_symlink()


def test_other_things_beside_the_data_sets_stay(tmp_path: Path) -> None:
    for name in ("ratings.csv", "planted2/x", ".recsae/tmp/planted.v2/x", "backup.2026/x"):
        put(tmp_path, name)
    before = tree(tmp_path)
    prepare("planted", tmp_path, **SMALL)
    prepare("planted", tmp_path, force=True, **SMALL)
    assert kept(before, tmp_path)


# -- marks ----------------------------------------------------------------------------------------


@given(st.binary(max_size=80))
@settings(max_examples=60)
def test_only_the_mark_of_this_very_place_counts(
    tmp_path_factory: pytest.TempPathFactory, text: bytes
) -> None:
    root = tmp_path_factory.mktemp("marks")
    (root / "runs" / "a").mkdir(parents=True)
    (root / "runs" / "a" / MARK).write_bytes(text)
    assert not is_marked(root / "runs" / "a", "runs/a")
    (root / "runs" / "a" / "x").write_bytes(text)
    assert not is_bare(root / "runs" / "a", "runs/a")
    (root / "runs" / "a" / MARK).unlink()
    (root / "runs" / "a" / MARK).symlink_to(root / "other")
    with pytest.raises(OSError):
        mark(root / "runs" / "a", "runs/a")
    assert not (root / "other").exists()


def test_what_is_behind_a_link_is_not_marked(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "a").symlink_to(tmp_path / "there")
    adopt(tmp_path, "runs/a")
    assert tree(tmp_path / "there") == {}
    with pytest.raises(DataError, match="is a link"):
        own_folder(tmp_path, "runs/a")
    with pytest.raises(DataError, match="is a link"):
        run_folder(tmp_path, "a")


def test_unsafe_names_name_no_folder(tmp_path: Path) -> None:
    for name in ("..", ".", "", "a/b", "a\\b", "a\0b", "/etc", "../x", "-x", "x\n"):
        with pytest.raises(UsageError):
            run_folder(tmp_path, name)
        with pytest.raises(UsageError), temp_folder(tmp_path, name):
            pass
        with pytest.raises(UsageError), run_lock(tmp_path, name):
            pass
        with pytest.raises(UsageError):
            gc._places(name)
    assert not list(tmp_path.rglob("*.lock"))
