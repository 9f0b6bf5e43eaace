"""A table of vectors with an id each, and what every such table has to fulfil."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from recsae.datasets.collect import is_rounded
from recsae.errors import DataError

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class VectorTable:
    """Vectors as they were given, checked; row = one id, or one (id, position)."""

    name: str
    """Of the file or the array, for messages."""
    files: tuple[tuple[str, str], ...]
    """Name and SHA-256 (hex) of every file, or of the array, that it was made of."""
    ids: tuple[str, ...]
    """(n,) ids of the source, as text."""
    vectors: Floats
    """(n, d), finite."""
    positions: Places | None = None
    """(n,) items that the user had met; None: one vector per id."""
    bias: Floats | None = None
    """(n,) what is added to every score of the item, finite; None: nothing."""
    row_ids: bool = False
    """Whether there were no ids, so that a row's id is its number, from 0."""

    def with_bias(self, bias: VectorTable | None) -> VectorTable:
        """The same with the bias of a file of its own: one number per item.

        Without ids its rows are those of the vectors.
        """
        if bias is None:
            return self
        if bias.vectors.shape[1] != 1 or bias.positions is not None:
            raise DataError(f"{bias.name}: a bias is one number per item")
        files = (*self.files, *bias.files)
        return replace(self, bias=self._bias_of(bias), files=files)

    def _bias_of(self, bias: VectorTable) -> Floats:
        """(n,) bias of every row: by row where it has no ids, else by id."""
        numbers = bias.vectors[:, 0]
        if bias.row_ids:
            if len(numbers) != len(self.ids):
                raise DataError(
                    f"{bias.name} has {len(numbers):,} numbers, but {self.name} has "
                    f"{len(self.ids):,} vectors"
                )
            return numbers
        values = dict(zip(bias.ids, numbers.tolist(), strict=True))
        lacking = [one for one in self.ids if one not in values]
        if lacking:
            raise DataError(
                f"{bias.name} has no bias for {lacking[0]!r} ({len(lacking):,} such ids)",
                f"its ids are {shown(bias.ids)}, ...",
            )
        return np.array([values[one] for one in self.ids], dtype=np.float32)


def table_of(
    name: str,
    vectors: Any,
    ids: Any = None,
    *,
    positions: Any = None,
    bias: Any = None,
    files: Sequence[tuple[str, str]] | None = None,
    constant: bool = False,
) -> VectorTable:
    """A checked table of arrays: vectors (n, d), and ids, positions and bias (n,) where given.

    Without ids the id of row r is r, counted from 0. ``constant`` allows all vectors to be the
    same. Errors: DataError naming the first id or row that is duplicated or not a finite number,
    and for arrays of the wrong shape or type.
    """
    matrix = _numbers(name, "vectors", vectors, 2)
    n = len(matrix)
    if 0 in matrix.shape:
        raise DataError(f"{name} holds no vectors: their shape is {matrix.shape}")
    texts = tuple(map(str, range(n))) if ids is None else _ids(name, ids)
    places = None if positions is None else _positions(name, positions)
    biases = None if bias is None else _numbers(name, "bias", bias, 1)
    for what, column in (("ids", texts), ("positions", places), ("bias", biases)):
        if column is not None and len(column) != n:
            raise DataError(f"{name} has {n:,} vectors, but {len(column):,} {what}")
    _check_finite(name, "the vector", matrix, texts)
    if biases is not None:
        _check_finite(name, "the bias", biases[:, None], texts)
    _check_distinct(name, texts, places)
    if n > 1 and not constant and bool((matrix == matrix[0]).all()):
        raise DataError(f"all vectors of {name} are the same, so they say nothing")
    known = tuple(files or [(name, _digest(matrix, texts, places, biases))])
    return VectorTable(name, known, texts, matrix, places, biases, row_ids=ids is None)


def shown(ids: Sequence[str], n: int = 3) -> str:
    """The first ids, for a message."""
    return ", ".join(repr(one) for one in ids[:n])


def _numbers(name: str, what: str, values: Any, axes: int) -> Floats:
    """An array of numbers as 32-bit floats."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiu":
        raise DataError(f"{name}: its {what} are of type {array.dtype}, not numbers")
    if array.ndim != axes:
        wanted = "(rows, width)" if axes == 2 else "(rows,)"
        raise DataError(f"{name}: its {what} have the shape {array.shape}, not {wanted}")
    with np.errstate(over="ignore"):  # becomes infinite, which is told with the id
        return np.ascontiguousarray(array, dtype=np.float32)


def _ids(name: str, values: Any) -> tuple[str, ...]:
    """Ids as text; whole numbers and texts are ids."""
    if isinstance(values, list | tuple | range):
        # an array of mixed numbers would be one of floats
        texts = [one.decode(errors="replace") if isinstance(one, bytes) else one for one in values]
        shape = np.shape(texts) if texts and isinstance(texts[0], list | tuple) else (len(texts),)
    else:
        array = np.asarray(values)
        shape = array.shape
        if array.dtype.kind == "S":
            array = np.char.decode(array, "utf-8", "replace")
        texts = array.tolist()
    if len(shape) != 1:
        raise DataError(f"{name}: its ids have the shape {shape}, not (rows,)")
    for row, one in enumerate(texts):
        if isinstance(one, bool) or not isinstance(one, int | str | np.integer):
            raise _no_id(name, row, one)
        if isinstance(one, str) and is_rounded(one.strip()):
            raise _no_id(name, row, one)
    return tuple(str(one).strip() for one in texts)


def _no_id(name: str, row: int, value: object) -> DataError:
    hint = None
    if isinstance(value, float | np.floating | str):
        hint = (
            "store the ids as int64 (in pandas Int64) or as text, from where they have all digits"
        )
    return DataError(
        f"{name}: the id of row {row} is {value!r}, but ids are texts or whole numbers", hint
    )


def _positions(name: str, values: Any) -> Places:
    array = np.asarray(values)
    if array.dtype.kind not in "iu" or array.ndim != 1:
        raise DataError(
            f"{name}: its positions are of type {array.dtype} and shape {array.shape}, "
            "not whole numbers of shape (rows,)"
        )
    return array.astype(np.int64)


def _check_finite(name: str, what: str, matrix: Floats, ids: Sequence[str]) -> None:
    good = np.isfinite(matrix).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise DataError(
            f"{name}: {what} of {ids[row]!r} holds {_odd(matrix[row])} "
            f"({int((~good).sum()):,} such rows)",
            "take them out, or mend the model that wrote them",
        )


def _odd(row: Floats) -> str:
    """The value of a row that is no finite number."""
    value = float(row[~np.isfinite(row)][0])
    return "NaN" if value != value else "an infinite value"


def _check_distinct(name: str, ids: Sequence[str], positions: Places | None) -> None:
    keys: Sequence[Any] = ids if positions is None else list(zip(ids, positions.tolist()))  # noqa: B905
    if len(set(keys)) == len(keys):
        return
    seen: set[Any] = set()
    for key in keys:
        if key in seen:
            where = repr(key) if positions is None else f"{key[0]!r} at position {key[1]}"
            raise DataError(f"{name} has more than one vector for {where}", "keep one of them")
        seen.add(key)


def _digest(
    matrix: Floats, ids: Sequence[str], positions: Places | None, bias: Floats | None
) -> str:
    """SHA-256 of the content, for what did not come from a file."""
    digest = hashlib.sha256(repr((matrix.shape, ids)).encode())
    for array in (matrix, positions, bias):
        digest.update(b"none" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
