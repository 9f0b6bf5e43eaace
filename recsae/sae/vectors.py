"""Where training vectors come from: memory, or a file too large for it.

Both give every epoch in an exact, uniformly random order that the generator alone decides. The two
orders differ: in memory it is one permutation. On disk each vector first goes to a random bucket,
the buckets are written one after another to temporary files, and each of these is then permuted in
memory, which is a uniform permutation of the whole as well (Rao 1961, Sandelius 1962).
"""

from __future__ import annotations

import math
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from io import RawIOBase
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from recsae.errors import DataError

BLOCK = 16_384
"""Vectors read at once."""

BUCKET_BYTES = 16 * 2**20
"""Mean size of a bucket, one of which is in memory and in the cache of a processor."""

MOST_BUCKETS = 256
"""Files that are open at once; buckets grow instead."""


class Vectors(ABC):
    """n vectors of width d, to be read in order or in a random one."""

    n: int
    d: int

    @abstractmethod
    def blocks(self) -> Iterator[Tensor]:
        """All vectors in their own order, in parts (at most BLOCK, d)."""

    @abstractmethod
    def batches(self, size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Tensor]:
        """All vectors in random order, in parts (size, d) of which only the last may be smaller.

        The first ``skip`` parts are left out. The caller uses up the iterator or closes it.
        """


class MemoryVectors(Vectors):
    """Vectors (n, d) in memory."""

    def __init__(self, vectors: Tensor) -> None:
        self.vectors = vectors
        self.n, self.d = vectors.shape

    def blocks(self) -> Iterator[Tensor]:
        yield from self.vectors.split(BLOCK)

    def batches(self, size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Tensor]:
        order = torch.randperm(self.n, generator=generator)
        for chunk in order.split(size)[skip:]:
            yield self.vectors[chunk]


class FileVectors(Vectors):
    """Rows of a float32 matrix in a .npy file, read part by part and never mapped into memory.

    ``rows`` (n_rows,) bool marks the rows that count, None all. ``temp`` is an existing folder for
    the buckets, which take as much room as the vectors. Raises DataError for another kind of file.
    """

    def __init__(self, path: Path, temp: Path, rows: Tensor | None = None) -> None:
        self.path, self.temp = path, temp
        self.n_rows, self.d, self.start = _header(path)
        self.rows = None if rows is None else rows.numpy()
        self.n = self.n_rows if rows is None else int(rows.sum())
        if rows is not None and len(rows) != self.n_rows:
            raise DataError(f"{path} has {self.n_rows} vectors, but {len(rows)} were expected")

    def blocks(self) -> Iterator[Tensor]:
        with self.path.open("rb") as file:
            file.seek(self.start)
            for first in range(0, self.n_rows, BLOCK):
                count = min(BLOCK, self.n_rows - first)
                block = np.fromfile(file, np.float32, count * self.d)
                if block.size < count * self.d:
                    raise DataError(f"{self.path} is shorter than its header says")
                block = block.reshape(count, self.d)
                if self.rows is not None:
                    block = block[self.rows[first : first + count]]
                if len(block):
                    yield torch.from_numpy(block)

    def batches(self, size: int, generator: torch.Generator, skip: int = 0) -> Iterator[Tensor]:
        folder = self.temp / "shuffled"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield from self._batches(folder, size, generator, skip)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _batches(
        self, folder: Path, size: int, generator: torch.Generator, skip: int
    ) -> Iterator[Tensor]:
        left_out, rest = skip * size, torch.empty(0, self.d)
        for path in self._scatter(folder, generator):
            vectors = torch.from_numpy(np.fromfile(path, np.float32).reshape(-1, self.d))
            path.unlink()
            order = torch.randperm(len(vectors), generator=generator)
            passed = min(left_out, len(order))
            left_out, order = left_out - passed, order[passed:]
            # the end of a bucket and the start of the next one share a batch
            missing = min((size - len(rest)) % size, len(order))
            rest = torch.cat([rest, vectors[order[:missing]]])
            if len(rest) == size:
                yield rest
                rest = rest[:0]
            for chunk in order[missing:].split(size):
                if len(chunk) == size:
                    yield vectors[chunk]
                elif len(chunk):
                    rest = vectors[chunk]
        if len(rest):
            yield rest

    def _scatter(self, folder: Path, generator: torch.Generator) -> list[Path]:
        """Write each vector to a random bucket; returns the files of the buckets."""
        count = min(max(1, math.ceil(4 * self.n * self.d / BUCKET_BYTES)), MOST_BUCKETS)
        paths = [folder / f"{number:05}.f32" for number in range(count)]
        files: list[RawIOBase] = [path.open("wb", buffering=0) for path in paths]
        try:
            for block in self.blocks():
                # file after file gets its vectors of the block
                bucket = torch.randint(count, (len(block),), generator=generator)
                ordered, order = bucket.sort(stable=True)
                content = memoryview(block[order].numpy().data).cast("B")
                ends = torch.searchsorted(ordered, torch.arange(count), right=True)
                start, row = 0, 4 * self.d
                for file, end in zip(files, ends.tolist(), strict=True):
                    _write(file, content[start * row : end * row])
                    start = end
        finally:
            for file in files:
                file.close()
        return paths


def _write(file: RawIOBase, content: memoryview) -> None:
    """All of it: an unbuffered file may take a part only."""
    while content:
        content = content[file.write(content) or 0 :]


def _header(path: Path) -> tuple[int, int, int]:
    """Rows, width and place of the first number of a .npy file."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = {
                (1, 0): np.lib.format.read_array_header_1_0,
                (2, 0): np.lib.format.read_array_header_2_0,
            }[version]
            shape, fortran, dtype = read(file)
            start = file.tell()
    except Exception as error:  # numpy reads the header as Python text, which may fail in any way
        raise DataError(f"{path} is missing or damaged ({error})") from None
    if len(shape) != 2 or fortran or dtype != np.dtype("<f4"):
        raise DataError(f"{path} is not a matrix of 32-bit floats by rows")
    return shape[0], shape[1], start


def as_vectors(vectors: Tensor | Vectors) -> Vectors:
    """Vectors (n, d) in memory as what training reads from; others as they are."""
    return MemoryVectors(vectors) if isinstance(vectors, Tensor) else vectors


def sample(vectors: Vectors, count: int, generator: torch.Generator) -> Tensor:
    """``count`` vectors drawn without repetition, in their own order; all where there are fewer."""
    if vectors.n <= count:
        return torch.cat([torch.empty(0, vectors.d), *vectors.blocks()])
    chosen = torch.zeros(vectors.n, dtype=torch.bool)
    chosen[torch.randperm(vectors.n, generator=generator)[:count]] = True
    parts, start = [], 0
    for block in vectors.blocks():
        parts.append(block[chosen[start : start + len(block)]])
        start += len(block)
    return torch.cat(parts)
