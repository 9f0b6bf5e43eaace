"""Several processes, killed ones, a full disk, a folder that may not be written to."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest
from filelock import FileLock

import recsae
from recsae.errors import DataError, RecsaeError
from recsae.warehouse import Warehouse, run_folder, run_lock, temp_folder
from recsae.warehouse.files import clean_leftovers

if TYPE_CHECKING:
    from conftest import Maker

REPOSITORY = Path(recsae.__file__).parents[1]
PRELUDE = """
import os, signal, sys, time
from pathlib import Path
import polars as pl
from recsae.warehouse import Warehouse, run_lock, temp_folder
root = Path(sys.argv[1])
"""


@contextmanager
def process(script: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """A Python process that runs ``script`` and has printed its first line."""
    command = [sys.executable, "-c", PRELUDE + script, str(root)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as started:
        line = pipe(started.stdout).readline()
        assert line, pipe(started.stderr).read()
        try:
            yield started
        finally:
            started.kill()


def pipe(end: IO[str] | None) -> IO[str]:
    assert end is not None
    return end


def release(started: subprocess.Popen[str]) -> None:
    """Let a process that waits for a line on stdin go on."""
    print(file=pipe(started.stdin), flush=True)


WRITER = """
with Warehouse.open(root) as warehouse:
    print("open", flush=True)
    sys.stdin.readline()
"""
READER = WRITER.replace("open(root)", "open(root, read_only=True)")


# -- the database ---------------------------------------------------------------------------------


def test_a_second_process_is_told_who_writes(root: Path) -> None:
    with process(WRITER, root) as other:
        for read_only in (True, False):
            with (
                pytest.raises(DataError) as caught,
                Warehouse.open(root, read_only=read_only, wait=0),
            ):
                pass
            assert caught.value.message.startswith(f"the warehouse {root} is in use by ")
            assert caught.value.message.endswith(f"(PID {other.pid})")
            assert "cp -r" in str(caught.value.hint)


def test_a_copy_reads_while_another_process_writes(filled: Path, tmp_path: Path) -> None:
    with process(WRITER, filled):
        shutil.copytree(filled, tmp_path / "copy")
        with Warehouse.open(tmp_path / "copy", read_only=True) as warehouse:
            assert warehouse.sql("select count(*) from raw.cases").item() == 7


def test_readers_share_and_keep_a_writer_out(root: Path) -> None:
    with process(READER, root) as other:
        with Warehouse.open(root, read_only=True, wait=0):
            pass
        with pytest.raises(DataError) as caught, Warehouse.open(root, wait=0):
            pass
        assert caught.value.message.endswith(f"(PID {other.pid})")
        assert "it only reads" in str(caught.value.hint)


def test_a_reader_waits_for_a_writer_that_has_it_for_a_moment(root: Path) -> None:
    with process(WRITER, root) as other:
        started = time.monotonic()
        timer = threading.Timer(0.3, release, [other])
        timer.start()
        with Warehouse.open(root, read_only=True, wait=20):
            assert time.monotonic() - started >= 0.3
        timer.join()


def test_a_killed_writer_leaves_what_was_committed(root: Path) -> None:
    script = """
with Warehouse.open(root) as warehouse:
    insert = "insert into raw.users values ('toy', $n, 'x')"
    warehouse.execute(insert, {"n": 1})
    warehouse.execute("begin transaction")
    warehouse.execute(insert, {"n": 2})
    print("half", flush=True)
    time.sleep(60)
"""
    with process(script, root) as other:
        other.send_signal(signal.SIGKILL)
        other.wait()
    with Warehouse.open(root, read_only=True) as warehouse:
        assert warehouse.sql("select user_id from raw.users").rows() == [(1,)]


# -- temporary folders and run locks --------------------------------------------------------------

HOLDS_FOLDER = """
with temp_folder(root, "rec-1") as folder:
    (folder / "half.parquet").write_text("x")
    print(folder, flush=True)
    sys.stdin.readline()
"""


def test_temp_folder_goes_away(root: Path) -> None:
    with temp_folder(root, "rec-1") as folder:
        assert folder.parent == root.resolve() / "tmp"
        assert folder.name.startswith("rec-1.")
        (folder / "file").write_text("x")
    assert not list((root / "tmp").iterdir())


def test_temp_folder_goes_away_after_an_error(root: Path) -> None:
    with pytest.raises(ZeroDivisionError), temp_folder(root, "rec-1"):
        raise ZeroDivisionError
    assert not list((root / "tmp").iterdir())


def test_leftovers_of_a_killed_process_go_and_those_of_a_living_one_stay(root: Path) -> None:
    with process(HOLDS_FOLDER, root) as dead, process(HOLDS_FOLDER, root):
        both = {path for path in (root / "tmp").iterdir() if path.is_dir()}
        dead.send_signal(signal.SIGKILL)
        dead.wait()
        removed = set(clean_leftovers(root))
        assert len(both) == 2
        assert len(removed) == 1
        assert {path for path in (root / "tmp").iterdir() if path.is_dir()} == both - removed
        with Warehouse.open(root):  # cleans up as well, and leaves the living alone
            assert all(path.exists() for path in both - removed)


def test_a_lock_whose_folder_never_came_goes_once_it_is_old(root: Path) -> None:
    """As a kill leaves it just before the folder is made; a young one may be about to be used."""
    lock = root / "tmp" / "rec-1.0a1b2c3d.lock"
    lock.parent.mkdir(exist_ok=True)
    lock.touch()
    clean_leftovers(root)
    assert lock.exists()
    os.utime(lock, (0, 0))
    with FileLock(lock, timeout=0):
        clean_leftovers(root)
        assert lock.exists()
        os.utime(lock, (0, 0))
    clean_leftovers(root)
    assert not lock.exists()


def test_opening_for_writing_cleans_up(root: Path) -> None:
    with process(HOLDS_FOLDER, root) as dead:
        dead.send_signal(signal.SIGKILL)
        dead.wait()
    with Warehouse.open(root):
        assert not [path for path in (root / "tmp").iterdir() if path.is_dir()]


def test_a_run_belongs_to_one_process(root: Path) -> None:
    script = "with run_lock(root, 'rec-1'): print('held', flush=True); sys.stdin.readline()"
    with process(script, root) as other:
        with pytest.raises(DataError) as caught, run_lock(root, "rec-1"):
            pass
        assert caught.value.message.startswith("run 'rec-1' is in use by ")
        assert caught.value.message.endswith(f"(PID {other.pid})")
        with run_lock(root, "rec-2"):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        with run_lock(root, "rec-1"):
            pass


def test_a_lock_inside_a_lock_and_an_error_inside(root: Path) -> None:
    with run_lock(root, "rec-1"):
        with pytest.raises(DataError, match=f"PID {os.getpid()}"), run_lock(root, "rec-1"):
            pass
        with run_lock(root, "rec-2"):
            pass
    with pytest.raises(ZeroDivisionError), run_lock(root, "rec-1"):
        raise ZeroDivisionError
    with run_lock(root, "rec-1"):
        pass


def test_run_folder(root: Path) -> None:
    folder = run_folder(root, "rec-1")
    assert folder == root.resolve() / "runs" / "rec-1"
    assert folder.is_dir()
    for run_id in ("..", "a/b", "", "."):
        with pytest.raises(RecsaeError, match="cannot be used as a folder name"):
            run_folder(root, run_id)


# -- a kill between moving the files and registering them -----------------------------------------


def test_files_of_a_killed_publish_are_invisible_and_made_again(filled: Path, make: Maker) -> None:
    script = """
from recsae.warehouse.runs import Runs

with Warehouse.open(root) as warehouse:
    warehouse.start_stage("rec-1", "train", {}, "new")
    Runs.finish_stage = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    with temp_folder(root, "rec-1") as temp:
        folders = {kind: temp / kind for kind in ("cases", "recommendations")}
        for kind, folder in folders.items():
            folder.mkdir()
            old = root / kind / "run_id=rec-1" / "part-0.parquet"
            pl.read_parquet(old, hive_partitioning=False).head(1).write_parquet(
                folder / "part-0.parquet"
            )
        print("ready", flush=True)
        warehouse.publish("rec-1", "train", folders, seconds=1.0)
"""
    with process(script, filled) as other:
        assert other.wait() == -signal.SIGKILL
    assert (filled / "cases" / "run_id=rec-1" / "part-0.parquet").exists()
    with Warehouse.open(filled, read_only=True) as warehouse:
        assert warehouse.sql("select distinct run_id from raw.cases").rows() == [("rec-2",)]
        assert not warehouse.stage_done("rec-1", "train")
        assert warehouse.stage_state("rec-1", "train").status == "running"
    with Warehouse.open(filled) as warehouse:
        make.recommender(warehouse, "rec-1", 3)
        assert warehouse.sql("select count(*) from raw.cases").item() == 7


# -- no room, no permission -----------------------------------------------------------------------

FILL = """
import resource, signal
from recsae.cli import explain

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1_500_000, 1_500_000))
rows = 300_000
users = pl.select(
    dataset=pl.lit("toy").repeat_by(rows).explode(),
    user_id=pl.int_range(1, rows + 1, dtype=pl.Int32),
    source_user_id=pl.int_range(rows).hash(1).cast(pl.String),
)
print("ready", flush=True)
try:
    with Warehouse.open(root) as warehouse, warehouse.transaction():
        warehouse.execute("delete from raw.users")
        warehouse.insert("raw.users", users)
except Exception as error:
    print(*explain(error), sep="|")
"""


def test_a_full_disk_is_one_line_and_leaves_the_old_content(root: Path) -> None:
    """A limit on the size of files stands in for a disk that is full."""
    with Warehouse.open(root) as warehouse:
        warehouse.execute("insert into raw.users values ('toy', 1, 'old')")
    with process(FILL, root) as other:
        out, err = other.communicate(timeout=60)
    assert out == f"1|no space left on the disk of {root}|free some space and repeat\n", err
    with Warehouse.open(root) as warehouse:
        assert warehouse.sql("from raw.users").rows() == [("toy", 1, "old")]


DROP = """
# root may write anywhere; without capabilities it is bound to the permissions of a file
import ctypes
if os.geteuid() == 0:
    libc = ctypes.CDLL(None)
    nothing = (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if not hasattr(libc, "capset") or libc.capset(header, nothing):
        sys.exit("cannot drop rights")
"""


@pytest.fixture
def sealed(filled: Path) -> Iterator[tuple[Path, Callable[[str], str]]]:
    """A warehouse that may only be read, and a way to run a script without special rights."""
    for path in [filled, *filled.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)

    def run(script: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", PRELUDE + DROP + script, str(filled)],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            check=False,
        )
        if done.stderr.startswith("cannot drop rights"):
            pytest.skip("this system lets root write anywhere")
        return done.stdout + done.stderr

    yield filled, run
    for path in [filled, *filled.rglob("*")]:
        path.chmod(0o755)


def test_a_folder_that_may_only_be_read(sealed: tuple[Path, Callable[[str], str]]) -> None:
    root, run = sealed
    reads = """
with Warehouse.open(root, read_only=True) as warehouse:
    print(warehouse.sql("select count(*) from raw.cases").item())
"""
    assert run(reads) == "7\n"
    writes = """
from recsae.cli import explain
for attempt in (
    lambda: Warehouse.open(root).__enter__(),
    lambda: Warehouse.open(root / "new", create=True).__enter__(),
    lambda: temp_folder(root, "r").__enter__(),
    lambda: run_lock(root, "r").__enter__(),
):
    try:
        attempt()
    except Exception as error:
        print(explain(error)[1])
"""
    lines = run(writes).splitlines()
    assert lines[0] == f"cannot write to {root}: permission denied"
    assert lines[1] == f"cannot write to {root / 'new'}: permission denied"
    assert len(lines) == 4
    assert all(line.endswith("Permission denied") for line in lines[2:])
