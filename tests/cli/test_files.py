"""Files that a user names: devices, pipes, links, rights, and what is refused."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from recsae.cli.files import open_number, write_whole
from recsae.errors import DataError

if TYPE_CHECKING:
    from conftest import Result

DATA = b"a\n42\n"


def test_a_new_file_has_the_rights_of_others_beside_it(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    write_whole(tmp_path / "new", DATA)
    assert (tmp_path / "new").read_bytes() == DATA
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode
    write_whole(tmp_path / ("n" * 250), DATA)  # a name that leaves no room for another
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("mode", [0o600, 0o664, 0o640])
def test_a_file_keeps_its_rights(mode: int, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"old and longer than the new one")
    path.chmod(mode)
    write_whole(path, DATA)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (DATA, mode)


def test_links_stay(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "target").write_text("old")
    (tmp_path / "far" / "next").symlink_to("target")
    (tmp_path / "link").symlink_to(Path("far") / "next")
    (tmp_path / "dangling").symlink_to(Path("far") / "not yet")
    for name, target in (("link", "target"), ("dangling", "not yet")):
        write_whole(tmp_path / name, DATA)
        assert (tmp_path / name).is_symlink()
        assert (tmp_path / "far" / target).read_bytes() == DATA
    assert (tmp_path / "far" / "next").is_symlink()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="cannot write"):
        write_whole(tmp_path / "loop", DATA)
    assert (tmp_path / "loop").is_symlink()


def test_a_file_of_two_names_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    os.link(tmp_path / "a", tmp_path / "b")
    with pytest.raises(DataError, match=r"the file has 2 names \(hard links\)"):
        write_whole(tmp_path / "b", DATA)
    assert (tmp_path / "a").read_text() == (tmp_path / "b").read_text() == "old"
    assert (tmp_path / "a").stat().st_nlink == 2


def test_folders_and_sockets_are_refused(tmp_path: Path) -> None:
    import socket

    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    for name in ("folder", "link", "folder/"):
        with pytest.raises(DataError, match="Is a directory"):
            write_whole(tmp_path / name, DATA)
    assert (tmp_path / "link").is_symlink()
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(os.path.relpath(tmp_path / "socket"))
        with pytest.raises(DataError, match="cannot write"):
            write_whole(tmp_path / "socket", DATA)
    assert stat.S_ISSOCK((tmp_path / "socket").stat().st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "link", "socket"]


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append(fifo.read_bytes()))
    reader.start()
    write_whole(fifo, DATA)
    reader.join(30)
    assert heard == [DATA]
    assert fifo.is_fifo()


def test_devices_are_written_to() -> None:
    before = os.stat("/dev/null")
    write_whole(Path("/dev/null"), DATA)
    after = os.stat("/dev/null")
    assert (before.st_mode, before.st_ino) == (after.st_mode, after.st_ino)
    with pytest.raises(DataError, match="cannot write /dev/full: No space left"):
        write_whole(Path("/dev/full"), DATA)


def test_open_files(tmp_path: Path) -> None:
    (tmp_path / "out").symlink_to("/proc/self/fd/1")
    assert open_number(Path("/dev/stdout")) == open_number(tmp_path / "out") == 1
    assert open_number(Path("/dev/fd/7")) == 7
    assert open_number(tmp_path / "x") is None
    log = tmp_path / "log"
    log.write_text("kept\n")
    command = [sys.executable, "-m", "recsae", "query", "--list", "--format", "csv"]
    for name in ("/dev/stdout", tmp_path / "out", "/dev/fd/1"):
        with log.open("ab") as file:
            subprocess.run([*command, "-o", str(name)], stdout=file, check=True)
    assert log.read_text().startswith("kept\nname,parameters,purpose\n")
    assert log.read_text().count("name,parameters,purpose") == 3


def test_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_text("old")
    (tmp_path / ".x.part").write_text("somebody's")

    def stop(old: Path, new: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write_whole(tmp_path / "x", DATA)
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "x": "old",
        ".x.part": "somebody's",
    }


@pytest.mark.parametrize(
    "place",
    ["recsae.duckdb", "activations/run_id=sae-1/part-0.parquet", "runs/x.csv", "tmp/x", "link"],
)
def test_no_part_of_the_warehouse(place: str, filled: Path, cli: Callable[..., Result]) -> None:
    (filled / "runs").mkdir(exist_ok=True)
    (filled / "link").symlink_to("recsae.duckdb")
    before = (filled / "recsae.duckdb").read_bytes()
    for words in (
        ("query", "select 1", "--format", "csv", "--output"),
        ("judge", "sae-1", "--plot"),
        ("sweep", "report", "rec-1", "--plot"),
    ):
        target = filled / place
        if words[0] != "query":  # a picture is known by its end
            target = target.with_name(f"{target.name}.svg")
            if place in ("recsae.duckdb", "link"):
                continue
        result = cli(*words, target, "--warehouse", filled)
        assert result.code == 2, result
        assert "is a part of the warehouse\nhint: write it elsewhere" in result.err
    assert (filled / "recsae.duckdb").read_bytes() == before
    beside = cli("query", "select 1 as n", "-o", filled / "x.csv", "--warehouse", filled)
    assert (beside.code, (filled / "x.csv").read_text()) == (0, "n\n1\n")
