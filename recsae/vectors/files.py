"""Vectors in ``.npy``, ``.npz``, Parquet and safetensors files. Nothing in a file is ever run."""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from safetensors import SafetensorError
from safetensors.numpy import load_file

from recsae.datasets.streams import Entry
from recsae.datasets.texts import text_blocks
from recsae.errors import DataError, UsageError
from recsae.vectors.table import VectorTable, table_of

Arrays = Mapping[str, Any]
"""vectors, and perhaps ids, positions and bias."""

NAMES = ("vectors", "ids", "positions", "bias")
"""Arrays of .npz and safetensors files."""


def read_vectors(
    path: Path, *, ids_file: Path | None = None, column: str | None = None
) -> VectorTable:
    """Read a file of vectors, its form told by its suffix.

    ``ids_file`` has the ids of the rows, where the file has none: a text with one id a line, or
    .npy. ``column`` is the column of the ids of a Parquet file; without it ``id``.
    Errors: UsageError for an unknown suffix, and for ids that are given twice; DataError naming
    the file for one that cannot be read or is no table of vectors.
    """
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise UsageError(f"{path} is not one of {', '.join(READERS)}", "write it in such a form")
    return _table(path, dict(reader(path, column)), ids_file)


def read_bias(path: Path) -> VectorTable:
    """Read one number per item: a .npy array, or an array bias (or vectors) with or without ids.

    Errors: as ``read_vectors``.
    """
    suffix = path.suffix.lower()
    if suffix == ".npy":
        arrays: dict[str, Any] = {"vectors": load_numpy(path)}
    elif suffix in (".npz", ".safetensors"):
        found = load_npz(path) if suffix == ".npz" else _load_safetensors(path)
        arrays = {"ids": found.get("ids"), "vectors": found.get("bias", found.get("vectors"))}
    else:
        raise UsageError(
            f"{path} is not one of .npy, .npz, .safetensors", "write it in such a form"
        )
    values = np.asarray(arrays["vectors"])
    arrays["vectors"] = values[:, None] if values.ndim == 1 else values
    return _table(path, arrays, None, constant=True)


def _table(
    path: Path, arrays: dict[str, Any], ids_file: Path | None, *, constant: bool = False
) -> VectorTable:
    files = [(path.name, sha256(path))]
    if ids_file is not None:
        if arrays.get("ids") is not None:
            raise UsageError(
                f"{path} has ids of its own, beside those of {ids_file}", "leave one of them out"
            )
        arrays["ids"] = read_ids(ids_file)
        files.append((ids_file.name, sha256(ids_file)))
    return table_of(
        str(path),
        arrays["vectors"],
        arrays.get("ids"),
        positions=arrays.get("positions"),
        bias=arrays.get("bias"),
        files=files,
        constant=constant,
    )


def read_ids(path: Path) -> Any:
    """Ids in row order: a text with one id a line, perhaps packed, or a .npy array."""
    if path.suffix.lower() == ".npy":
        return load_numpy(path)
    _bytes(path)
    entry = Entry(str(path), lambda: path.open("rb"))
    try:
        blocks = [block for _, block in text_blocks(entry)]
    except DataError as error:
        raise DataError(
            f"{path} is not a text with one id a line: {error.message}", error.hint
        ) from None
    lines = [line.strip() for block in blocks for line in block.removesuffix("\n").split("\n")]
    return lines[:-1] if lines and not lines[-1] else lines


def sha256(path: Path) -> str:
    """Hex digest of a file; DataError when it cannot be read."""
    return hashlib.sha256(_bytes(path)).hexdigest()


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from None


def load_numpy(path: Path) -> Any:
    """The array of a .npy file; DataError for anything else, and for Python objects."""
    if not _bytes(path).startswith(b"\x93NUMPY"):
        raise DataError(f"{path} is not a .npy file")
    try:
        return np.load(path, allow_pickle=False)
    except Exception as error:  # numpy reads the header as Python text, which may fail in any way
        raise _unreadable(path, error) from None


def load_npz(path: Path, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """The arrays of a .npz file that are in ``names``; the others may be anything.

    Errors: DataError for a file that is none, or holds Python objects under one of the names.
    """
    if not _bytes(path).startswith(b"PK"):
        raise DataError(f"{path} is not a .npz file")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            found = list(archive.files)
            arrays = {name: archive[name] for name in names if name in found}
    except Exception as error:  # as above; and a zip archive may be damaged in many ways
        raise _unreadable(path, error) from None
    return _having_vectors(path, arrays, found) if names == NAMES else arrays


def _load_safetensors(path: Path) -> dict[str, Any]:
    _bytes(path)
    try:
        found = load_file(path)
    except (SafetensorError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise _unreadable(path, error) from None
    arrays = {name: found[name] for name in NAMES if name in found}
    return _having_vectors(path, arrays, list(found))


def _having_vectors(path: Path, arrays: dict[str, Any], found: list[str]) -> dict[str, Any]:
    if not {"vectors", "bias"} & arrays.keys():
        raise DataError(
            f"{path} has no array vectors; found {', '.join(sorted(found)[:10]) or 'nothing'}"
        )
    return arrays


def _unreadable(path: Path, error: Exception) -> DataError:
    reason = str(error).split("\n")[0][:200] or type(error).__name__
    if "allow_pickle" in reason:
        return DataError(f"{path} holds Python objects, which are not read", "write plain arrays")
    if isinstance(error, zipfile.BadZipFile | EOFError):
        reason = "it is cut short or damaged"
    return DataError(f"{path} cannot be read: {reason}")


def _read_npy(path: Path, _: str | None) -> Arrays:
    return {"vectors": load_numpy(path)}


def _read_npz(path: Path, _: str | None) -> Arrays:
    return _required(path, load_npz(path))


def _read_safetensors(path: Path, _: str | None) -> Arrays:
    return _required(path, _load_safetensors(path))


def _required(path: Path, arrays: Arrays) -> Arrays:
    if "vectors" not in arrays:
        raise DataError(f"{path} has no array vectors; found {', '.join(arrays)}")
    return arrays


def _read_parquet(path: Path, column: str | None) -> Arrays:
    """Columns id (or ``column``), vector, and perhaps position and bias."""
    _bytes(path)
    try:
        frame = pl.read_parquet(path, hive_partitioning=False)
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        raise _unreadable(path, error) from None
    return frame_arrays(str(path), frame, column)


def frame_arrays(name: str, frame: pl.DataFrame, column: str | None = None) -> dict[str, Any]:
    """Arrays of a frame with a column of ids, ``vector``, and perhaps ``position`` and ``bias``."""
    ids = next((one for one in (column, "id") if one in frame.columns), None)
    if ids is None or "vector" not in frame.columns:
        lacking = "vector" if ids else (column or "id")
        raise DataError(f"{name} has no column {lacking}; found {', '.join(frame.columns[:10])}")
    arrays = {"ids": frame[ids].to_list(), "vectors": _matrix(name, frame, ids)}
    for one, key in (("position", "positions"), ("bias", "bias")):
        if one in frame.columns:
            if frame[one].null_count():
                raise DataError(f"{name}: column {one} has empty values")
            arrays[key] = frame[one].to_numpy()
    return arrays


def _matrix(name: str, frame: pl.DataFrame, ids: str) -> Any:
    """The column vector as one array (n, d)."""
    column = frame["vector"]
    inner = getattr(column.dtype, "inner", None)  # of lists and arrays
    if inner is None or not inner.is_numeric():
        raise DataError(f"{name}: column vector is of type {column.dtype}, not lists of numbers")
    lists = column.arr.to_list() if isinstance(column.dtype, pl.Array) else column
    lengths = lists.list.len()
    if not len(lists):
        return np.empty((0, 0), np.float32)
    width = lengths[0] or 0
    odd = (lengths != width).fill_null(True) | (lists.list.eval(pl.element().is_null()).list.any())
    if odd.any():
        row = int(odd.arg_max() or 0)
        raise DataError(
            f"{name}: the vector of {frame[ids][row]!r} has {lengths[row]} numbers or gaps, "
            f"the first one has {width}"
        )
    return lists.explode(keep_nulls=True, empty_as_null=True).to_numpy().reshape(len(lists), width)


READERS: dict[str, Callable[[Path, str | None], Arrays]] = {
    ".npy": _read_npy,
    ".npz": _read_npz,
    ".parquet": _read_parquet,
    ".pq": _read_parquet,
    ".safetensors": _read_safetensors,
}
"""Suffix -> how such a file is read."""
