"""A warehouse from a stranger leads nowhere outside of it, and shared ones can be shared."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import duckdb
import pytest

from recsae.errors import DataError
from recsae.warehouse import Warehouse, gc
from recsae.warehouse.check import check
from recsae.warehouse.checksums import OUTSIDE, misplaced
from recsae.warehouse.publish import KINDS
from recsae.warehouse.record import read_record, record_path

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

    Cli = Callable[..., Result]

COMMANDS = ("check", "repair", "gc", "runs", "query FROM_CASES", "schema --upgrade")


def changed(root: Path, statement: str, **values: object) -> None:
    with duckdb.connect(str(root / "recsae.duckdb")) as connection:
        connection.execute(statement, values or None)


def every_command(cli: Cli, own: Finished) -> Iterator[tuple[str, Result]]:
    places = ("--warehouse", own.root)
    for command in COMMANDS:
        text = "select count(*) from raw.cases"
        words = [text if word == "FROM_CASES" else word for word in command.split()]
        data = ("--data", own.data) if command == "repair" else ()
        yield command, cli(*words, *places, *data)


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Path]:
    """A folder beside the warehouse that has to stay as it is."""
    folder = tmp_path / "home"
    (folder / "runs").mkdir(parents=True)
    for name in ("profile", "part-0.parquet", "runs/vectors.npy"):
        (folder / name).write_text("the user's own")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    yield folder
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


# -- paths in the database ------------------------------------------------------------------------

PLACES = (
    "../home/profile",
    "runs/../../home/profile",
    "runs/RUN/../../../home/profile",
    "runs/RUN/./model.safetensors",
    "runs/RUN//model.safetensors",
    "HOME/profile",
    "runs\\RUN\\..\\..\\home\\profile",
    "runs/RUN/a\nb",
    "runs/RUN/a\x07",
    "runs/RUN",
    "",
    ".",
    "recsae.duckdb",
    "tmp/x",
    "runs/other/model.safetensors",
    "activations/run_id=other/part-0.parquet",
)


def test_paths_that_are_no_files_of_their_run(cli: Cli, own: Finished, outside: Path) -> None:
    root = own.root
    with Warehouse.open(root, read_only=True) as warehouse:
        run_id = warehouse.find_run("latest", "sae").run_id
    text = b"text of the stranger"
    (root / "profile").write_bytes(text)
    places = [one.replace("RUN", run_id).replace("HOME", str(outside)) for one in PLACES]
    for place in places:
        assert misplaced(run_id, place, KINDS) == OUTSIDE, place
        changed(
            root,
            "insert into raw.files by name select $run_id as run_id, $path as path, "
            "'encode' as stage, $bytes::bigint as bytes, $sha256 as sha256",
            run_id=run_id,
            path=place,
            bytes=len(text),
            sha256=hashlib.sha256(text).hexdigest(),
        )
    found = check(root, quick=True).problems
    assert {(p.run_id, p.place, p.what) for p in found} == {(run_id, p, OUTSIDE) for p in places}
    result = cli("repair", "--warehouse", root, "--data", own.data)
    assert result.code == 1
    assert {line.split(":")[0] for line in result.out.splitlines()} == {"not repaired"}
    assert len(result.out.splitlines()) == len(places)
    assert cli("gc", "--warehouse", root).code == 0


IDS = ("../../home/runs", "..", "/etc", "a/b", "a\\b", "x\ny", "", "run 1", "-x")


def test_runs_whose_ids_name_no_folder(cli: Cli, own: Finished, outside: Path) -> None:
    """In all tables, as a parent, and among what is still to be removed."""
    root = own.root
    with Warehouse.open(root, read_only=True) as warehouse:
        n_runs = warehouse.runs().height
    for number, run_id in enumerate(IDS):
        _insert(root, run_id, f"child-{number}")
    for command, result in every_command(cli, own):
        assert "Traceback" not in result.err
        assert result.code in (0, 1), (command, result.err)
        if command in ("check", "repair"):
            text = "has a run whose id cannot be the name of a folder"
            assert result.out.count(text) == 2 * len(IDS)
    assert len(check(root, quick=True).runs) == n_runs
    with Warehouse.open(root, read_only=True) as warehouse:
        assert gc._going(warehouse) == []


def _insert(root: Path, run_id: str, child: str) -> None:
    with duckdb.connect(str(root / "recsae.duckdb")) as connection:
        for text in (
            "insert into raw.runs by name select * replace ($r as run_id, null as parent_run_id) "
            "from raw.runs where kind = 'recommender' limit 1",
            f"insert into raw.runs by name select * replace ('{child}' as run_id, "
            "$r as parent_run_id) from raw.runs where kind = 'sae' limit 1",
            "insert into raw.stages by name select * replace ($r as run_id) from raw.stages "
            "where stage = 'train' limit 1",
            "insert into raw.meta values ('removing ' || $r, '0'), ('repairing ' || $r, '{}')",
        ):
            connection.execute(text, {"r": run_id})


def test_runs_that_are_built_on_each_other(cli: Cli, own: Finished) -> None:
    changed(own.root, "update raw.runs set parent_run_id = run_id where kind = 'recommender'")
    for command, result in every_command(cli, own):
        assert "Traceback" not in result.err
        if command in ("check", "repair"):
            assert result.code == 1
            assert "has a run that is built on itself" in result.out


# -- links ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "runs/REC/vectors.npy",
        "runs/REC/run.json",
        "runs/REC/run.json.partial",
        "runs/REC",
        "runs",
        "cases/run_id=REC/part-0.parquet",
        "cases/run_id=REC/part-9.parquet",
        "cases/run_id=REC",
        "cases",
        "recsae.duckdb",
        "recsae.duckdb.wal",
        "tmp",
    ],
)
def test_a_link_is_named_and_not_gone_through(
    cli: Cli, own: Finished, outside: Path, tmp_path: Path, place: str
) -> None:
    root = own.root
    with Warehouse.open(root, read_only=True) as warehouse:
        run_id = warehouse.find_run("latest", "recommender").run_id
    path = root / place.replace("REC", run_id)
    inside = tmp_path / "taken"
    if os.path.lexists(path):
        path.rename(inside)
    target = outside if not path.suffix or inside.is_dir() else outside / "profile"
    path.symlink_to(target)
    result = cli("check", "--warehouse", root)
    assert result.code == 1
    named = f"{path.relative_to(root)} is a link, which recsae does not follow; put what"
    assert named in result.out
    for command, result in every_command(cli, own):
        assert "Traceback" not in result.err
        if command == "repair":
            assert named.split(";")[0] in result.out + result.err
    assert path.is_symlink()


def test_rows_behind_a_link_are_not_shown(own: Finished, tmp_path: Path) -> None:
    root = own.root
    with Warehouse.open(root, read_only=True) as warehouse:
        run_id = warehouse.find_run("latest", "recommender").run_id
    folder = root / "cases" / f"run_id={run_id}"
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    changed(root, "update raw.meta set value = 'elsewhere' where key = 'root'")
    for read_only in (True, False):
        with Warehouse.open(root, read_only=read_only) as warehouse:
            assert warehouse.sql("from raw.cases").is_empty()


# -- records --------------------------------------------------------------------------------------


STRANGE = [
    ("files", "path", "../../home/profile"),
    ("files", "path", "/etc/passwd"),
    ("files", "path", "runs/other/vectors.npy"),
    ("files", "stage", "../x"),
    ("runs", "parent_run_id", "../../home"),
    ("runs", "dataset", "../../home"),
    ("runs", "kind", "other"),
    ("runs", "params", []),
    ("runs", "seed", 10**30),
    ("stages", "stage", "../x"),
    ("stages", "params", "text"),
    ("metrics", "run_id", "other"),
]


def test_a_record_of_a_stranger_makes_no_database(cli: Cli, own: Finished, outside: Path) -> None:
    with Warehouse.open(own.root, read_only=True) as warehouse:
        run_id = warehouse.find_run("latest", "recommender").run_id
    path = record_path(own.root, run_id)
    text = path.read_text()
    for key, name, value in STRANGE:
        kept = json.loads(text)
        kept[key][0][name] = value
        path.write_text(json.dumps(kept))
        with pytest.raises(DataError, match="is not a record of a run"):
            read_record(path)
    kept = json.loads(text)
    kept["files"][0]["path"] = "../../home/profile"
    path.write_text(json.dumps(kept))
    (own.root / "recsae.duckdb").write_bytes(b"no database")
    result = cli("repair", "--warehouse", own.root, "--data", own.data)
    assert result.code == 1
    assert f"not repaired: {run_id}: " in result.out
    with Warehouse.open(own.root, read_only=True) as warehouse:
        assert warehouse.runs().is_empty()


def test_a_record_that_is_nested_deeply(own: Finished) -> None:
    with Warehouse.open(own.root, read_only=True) as warehouse:
        path = record_path(own.root, warehouse.find_run("latest").run_id)
    path.write_text("[" * 100_000)
    with pytest.raises(DataError, match="is not a record of a run"):
        read_record(path)


# -- permissions ----------------------------------------------------------------------------------

PIPELINE = """
import os, sys
os.umask(int(sys.argv.pop(1), 8))
from recsae.cli import invoke
for line in sys.argv.pop(1).split(";"):
    code = invoke(line.split())
    assert code == 0, (line, code)
"""
STAGES = (
    "data prepare planted --users 300 --items 160 --concepts 8 --noise-tags 20;"
    "train BPRMF planted --epochs 2 --emb-size 8;sae train latest --k 2 --scale 2 --epochs 2;"
    "sae encode latest;concepts latest"
)


@pytest.mark.parametrize("mask", ["022", "002", "077"])
def test_files_are_readable_by_whom_the_folder_is(tmp_path: Path, mask: str) -> None:
    """All have the permissions of new files, and the group of a folder that hands it down."""
    group = next((one for one in os.getgroups() if one != os.getegid()), os.getegid())
    if os.geteuid() == 0:
        group = 12345
    tmp_path = tmp_path / "shared"
    tmp_path.mkdir()
    os.chown(tmp_path, -1, group)
    tmp_path.chmod(0o2775)
    environment = os.environ | {
        "RECSAE_WAREHOUSE": str(tmp_path / "w"),
        "RECSAE_DATA": str(tmp_path / "d"),
        "RECSAE_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    ended = subprocess.run(
        [sys.executable, "-c", PIPELINE, mask, STAGES],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    found = list(tmp_path.rglob("*"))
    assert {path.suffix for path in found} >= {".duckdb", ".json", ".npy", ".parquet", ".lock"}
    assert len([path for path in found if path.suffix == ".safetensors"]) == 2
    wrong = []
    for path in found:
        state = path.stat()
        base = 0o2777 if path.is_dir() else 0o666
        right = base & ~int(mask, 8)
        if (stat.S_IMODE(state.st_mode), state.st_gid) != (right, group):
            wrong.append((str(path.relative_to(tmp_path)), oct(state.st_mode), state.st_gid))
    assert wrong == []


SECOND = """
import os, sys
from pathlib import Path

from recsae.warehouse.files import is_locked, run_lock, temp_folder

os.setgid(12345)
os.setgroups([])
os.setuid(int(sys.argv[1]))
os.umask(0o002)

root = Path(sys.argv[2])
print(is_locked(root, "rec-1"))
with run_lock(root, "rec-1"), temp_folder(root, "rec-1") as temp:
    (temp / "x").write_text("x")
    print(is_locked(root, "rec-1"))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become two users")
def test_two_users_of_a_group_can_lock(tmp_path: Path) -> None:
    for path in (tmp_path, *list(tmp_path.parents)[:3]):
        if path != Path(tempfile.gettempdir()):
            path.chmod(0o755)
    root = tmp_path / "shared"
    root.mkdir()
    os.chown(root, -1, 12345)
    root.chmod(0o2775)
    for user in ("23456", "34567", "23456"):
        ended = subprocess.run(
            [sys.executable, "-c", SECOND, user, str(root)], capture_output=True, text=True
        )
        assert (ended.returncode, ended.stdout) == (0, "False\nTrue\n"), ended.stderr
