"""Files that a user names for a result: what is there keeps its kind and its rights.

A file appears only when it is complete. Devices, pipes and links are no places for that, so they
are written through: what a shell does with ``>``, and a program must not undo by a rename.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

from recsae.errors import DataError, UsageError

_OPEN = re.compile(r"/dev/(stdin|stdout|stderr)|(?:/dev|/proc/(?:self|thread-self|\d+))/fd/(\d+)")
_NUMBER = {"stdin": 0, "stdout": 1, "stderr": 2}
_MOST_LINKS = 40


def write_whole(output: Path, data: bytes) -> None:
    """Write a file that appears only when it is complete; DataError when it cannot be written.

    What is there already keeps its rights and its owner; a symbolic link stays and its target is
    written, also one that is not there yet. Devices, pipes and open files (/dev/stdout) are written
    to. Refused are folders, disks, sockets, and files of several names (hard links): they may be
    what a backup keeps.
    """
    try:
        number = open_number(output)
        if number is not None:
            with os.fdopen(os.dup(number), "wb") as file:
                file.write(data)
            return
        target = Path(os.path.realpath(output))
        known = _known(target)
        if known is None:
            _put(target, data, None)
        elif stat.S_ISREG(known.st_mode):
            _replace(target, data, known)
        else:
            _write_through(target, data, known)
    except OSError as error:
        raise DataError(f"cannot write {output}: {error.strerror or error}") from None


def open_number(output: Path) -> int | None:
    """Number of the open file that a path such as /dev/stdout means, also by way of links.

    It is written to as it is: to open it anew would empty a log that it is appended to.
    """
    path = os.path.abspath(output)
    for _ in range(_MOST_LINKS):
        if found := _OPEN.fullmatch(path):
            return int(found[2]) if found[2] else _NUMBER[found[1]]
        if not os.path.islink(path):
            return None
        path = os.path.normpath(os.path.join(os.path.dirname(path), os.readlink(path)))
    return None


def _known(target: Path) -> os.stat_result | None:
    try:
        return os.stat(target)
    except FileNotFoundError:
        return None


def _replace(target: Path, data: bytes, known: os.stat_result) -> None:
    """New content for a file, by a new file in its place where that changes nothing else."""
    if not os.access(target, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    if known.st_nlink > 1:
        raise OSError(errno.EMLINK, f"the file has {known.st_nlink} names (hard links)")
    try:
        _put(target, data, known)
    except PermissionError:  # a folder where no file may be made, or only its owner's renamed
        _write_through(target, data, known)


def _put(target: Path, data: bytes, known: os.stat_result | None) -> None:
    """Write beside the place, with the rights of what is there, and rename."""
    part = target.with_name(f".recsae-{secrets.token_hex(6)}.part")
    number = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(number, "wb") as file:
            file.write(data)
            if known is not None:
                with suppress(OSError):  # only root may give a file away
                    os.fchown(file.fileno(), known.st_uid, known.st_gid)
                os.fchmod(file.fileno(), stat.S_IMODE(known.st_mode))
        os.replace(part, target)
    finally:
        with suppress(OSError):
            part.unlink()


def _write_through(target: Path, data: bytes, known: os.stat_result) -> None:
    """Write to what is there."""
    if stat.S_ISDIR(known.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISBLK(known.st_mode):
        raise OSError(errno.EPERM, "it is a disk")
    is_file = stat.S_ISREG(known.st_mode)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_NOCTTY), "wb") as file:
        file.write(data)
        file.flush()
        if is_file:
            file.truncate(len(data))


def refuse_output(option: str, output: Path | None, warehouse: Path) -> None:
    """UsageError for a result that would replace a part of the warehouse, before any work is done.

    DataError where its folder is not there, or it is a folder itself.
    """
    if output is None or open_number(output) is not None:
        return
    from recsae.warehouse.files import DATABASE
    from recsae.warehouse.publish import KINDS

    target, root = Path(os.path.realpath(output)), Path(os.path.realpath(warehouse))
    if target.is_dir():
        raise DataError(f"cannot write {output}: {os.strerror(errno.EISDIR)}")
    if not target.parent.is_dir():
        raise DataError(f"cannot write {output}: {os.strerror(errno.ENOENT)}")
    if not target.is_relative_to(root) or not (root / DATABASE).exists():
        return
    top = target.relative_to(root).parts[0]
    if top.startswith(DATABASE) or top in (*KINDS, "runs", "tmp"):
        raise UsageError(f"{option} {output} is a part of the warehouse", "write it elsewhere")
