"""Whose a folder is: those that recsae makes carry a mark, and nothing without one is removed.

The mark is a file with the place that the folder was made for, so that a copy under another name is
not recsae's. Links are neither followed nor removed: recsae makes none.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

from recsae.errors import DataError

MARK = ".recsae"
"""File in every folder that recsae may delete or replace."""

RUN_FILES = re.compile(
    r"(checkpoint\.pt|judge/replies\.jsonl"
    r"|(run\.json|vectors\.npy|items\.npy|sae/config\.json|checkpoint)(\.partial)?"
    # safetensors has a temporary file of its own beside the one that it writes
    r"|(sae/)?model\.safetensors(\.partial(/(model\.safetensors|\.tmp\w{6}))?)?|(sae/)?\.tmp\w{6})"
)
"""All that stages write into the folder of a run."""

PARQUET_FILES = re.compile(r"part-\d+\.parquet")
"""All that stages write into a Parquet folder."""

LINK = "is a link, which recsae does not follow"
REPLACE_LINK = "put what it points to in its place, or remove the link"


def _text(place: str) -> bytes:
    return f"recsae made this folder as {place} and may delete it\n".encode()


def mark(folder: Path, place: str) -> None:
    """Mark an existing folder as made for ``place``, a path below the warehouse or data folder."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0)
    handle = os.open(folder / MARK, flags, 0o666)
    try:
        os.write(handle, _text(place))
    finally:
        os.close(handle)


def is_folder(path: Path) -> bool:
    """Whether there is a folder indeed, not a link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def is_marked(folder: Path, place: str) -> bool:
    """Whether recsae made this folder for this place."""
    return is_folder(folder) and _mark_of(folder) == _text(place)


def is_bare(folder: Path, place: str) -> bool:
    """Whether a folder holds nothing but a mark, of which a kill may have left a part only."""
    if not is_folder(folder) or not set(os.listdir(folder)) <= {MARK}:
        return False
    found = _mark_of(folder)
    return found is not None and _text(place).startswith(found)


def _mark_of(folder: Path) -> bytes | None:
    """What the mark says; nothing where there is none, None where its place is taken."""
    path = folder / MARK
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as file:
            return file.read(1000)
    except FileNotFoundError:
        return b""
    except OSError:
        return None


def own_folder(root: Path, place: str) -> Path:
    """The folder ``root``/``place``, made and marked where it is missing or empty.

    DataError when it is reached by a link.
    """
    folder = plain_folder(root, place)
    if is_bare(folder, place) and not is_marked(folder, place):
        mark(folder, place)
    return folder


def plain_folder(root: Path, place: str) -> Path:
    """The folder ``root``/``place``, made where it is missing; DataError for one behind a link."""
    refuse_link(root, place)
    folder = root / place
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def adopt(root: Path, place: str) -> None:
    """Mark a folder that is known to be recsae's, as an earlier version made it."""
    folder = root / place
    if link_to(root, place) is None and is_folder(folder) and not is_marked(folder, place):
        mark(folder, place)


def strangers(folder: Path, own: re.Pattern[str]) -> list[str]:
    """Files and links below a folder that are not named as recsae names its own, sorted."""
    found = []
    for path in _entries(folder):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or (not path.is_dir() and name != MARK and not own.fullmatch(name)):
            found.append(name)
    return sorted(found)


def require_own(root: Path, place: str, own: re.Pattern[str], *, known: bool = False) -> None:
    """DataError unless all that is in ``root``/``place`` was made by recsae, or nothing is.

    ``known``: it need not be marked, because the database has it.
    """
    refuse_link(root, place)
    folder = root / place
    if is_bare(folder, place) or not os.path.lexists(folder):
        return
    if found := strangers(folder, own):
        raise DataError(
            f"{folder} holds {found[0]}, which recsae did not write", "move it away, then repeat"
        )
    if not known and not is_marked(folder, place):
        raise DataError(f"{folder} was not made by recsae", "move it away, then repeat")


def link_to(root: Path, place: str) -> str | None:
    """The first part of ``place`` below ``root`` that is a link, as a path below it."""
    path = root
    for part in Path(place).parts:
        path = path / part
        if path.is_symlink():
            return path.relative_to(root).as_posix()
    return None


def links_in(root: Path, place: str) -> Iterator[str]:
    """``place`` itself if it is a link, else all links in it, as paths below ``root``; sorted."""
    if link_to(root, place):
        yield place
    elif is_folder(root / place):
        for path in sorted(_entries(root / place)):
            if path.is_symlink():
                yield path.relative_to(root).as_posix()


def refuse_link(root: Path, place: str) -> None:
    """DataError when ``root``/``place`` is reached by a link below ``root``."""
    if found := link_to(root, place):
        raise DataError(f"{root / found} {LINK}", REPLACE_LINK)


def _entries(folder: Path) -> Iterator[Path]:
    """All that is below a folder, without going into links."""
    for parent, folders, files in os.walk(folder):
        yield from (Path(parent, name) for name in (*folders, *files))
