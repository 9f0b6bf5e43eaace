"""New files: never written through a link, and readable by whom the folder is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


def new_file(path: Path) -> BinaryIO:
    """A file to be written from its start; what has the name goes first, and so does a link."""
    path.unlink(missing_ok=True)
    return path.open("xb")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield where a library is to write a file, which is renamed to ``path`` at the end.

    safetensors first writes a temporary file beside, which only its owner may read and which a kill
    leaves: hence a folder for both, whose permissions without those to enter it are the file's.
    """
    partial = path.with_name(f"{path.name}.partial")
    if partial.is_dir() and not partial.is_symlink():
        shutil.rmtree(partial)
    partial.unlink(missing_ok=True)
    partial.mkdir()
    file = partial / path.name
    yield file
    file.chmod(partial.stat().st_mode & 0o666)
    os.replace(file, path)
    partial.rmdir()
