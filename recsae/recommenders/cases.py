"""Write what a recommender knows: vectors of all cases and items, and every case's best items."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from torch import Tensor

from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders.base import Recommender, Sequences
from recsae.recommenders.ranking import top_items
from recsae.recommenders.trainer import case_vectors
from recsae.saving import new_file

N_RECOMMENDATIONS = 10
CHUNK = 8192
"""Cases per batch, also per Parquet row group of recommendations."""

CASES = pa.schema(
    [
        ("case_id", pa.int64()),
        ("user_id", pa.int32()),
        ("position", pa.int32()),
        ("split", pa.string()),
    ]
)
RECOMMENDATIONS = pa.schema(
    [
        ("case_id", pa.int64()),
        ("rank", pa.int32()),
        ("item_id", pa.int32()),
        ("score", pa.float32()),
    ]
)
VECTORS, ITEMS = "vectors.npy", "items.npy"


class Cases(NamedTuple):
    """The moments at which a recommender has a vector for a user; row = case id."""

    users: Tensor
    """(n,) user ids."""
    positions: Tensor
    """(n,) items of the user's sequence that came before."""
    splits: npt.NDArray[np.str_]
    """(n,) split of the interaction that follows."""


def list_cases(sequences: Sequences, is_sequential: bool) -> Cases:
    """All cases: one per position of a sequence, or one per user for a table of user vectors.

    A case has at least one item before it and one after it. The single case of a table is that of
    the test item: its user has met all earlier items.
    """
    lengths = sequences.offsets[1:] - sequences.offsets[:-1]
    every = torch.arange(1, sequences.n_users + 1)
    if is_sequential:
        counts = (lengths - 1).clamp(min=0)
        users = torch.repeat_interleave(every, counts)
        first = torch.cumsum(counts, 0) - counts
        positions = torch.arange(users.numel()) - first[users - 1] + 1
    else:
        users = every[lengths > 1]
        positions = torch.minimum(sequences.n_train + 1, lengths - 1)[users - 1]
    # the item that follows is number `positions`, counted from 0: train up to n_train - 1
    after_train = positions - sequences.n_train[users - 1]
    number = (after_train + 1).clamp(0, 2).numpy()
    splits = np.array(["train", "dev", "test"])[number]
    return Cases(users, positions, splits)


def write_cases(
    model: Recommender,
    sequences: Sequences,
    run_folder: Path,
    cases_folder: Path,
    recommendations_folder: Path,
    reporter: Reporter,
) -> int:
    """Write ``vectors.npy`` (n_cases, d) and ``items.npy`` (n_items, d) into the run's folder, and
    both Parquet relations into the given (temporary) folders, in batches. Returns n_cases.

    A model with K vectors per case leaves (n_cases, K, d).
    """
    cases = list_cases(sequences, model.is_sequential)
    items = model.item_vectors().detach()
    _save_array(run_folder / ITEMS, items.numpy())
    _write_case_rows(cases, cases_folder)
    partial = run_folder / f"{VECTORS}.partial"
    n = cases.users.numel()
    first = case_vectors(model, sequences, cases.users[:1], cases.positions[:1]) if n else items
    header = {"descr": "<f4", "fortran_order": False, "shape": (n, *first.shape[1:])}
    file = recommendations_folder / "part-0.parquet"
    # not through a memory map, which a full disk would turn into a signal that ends the process
    with (
        new_file(partial) as vectors,
        pq.ParquetWriter(file, RECOMMENDATIONS, compression="zstd") as writer,
        reporter.task("write cases", n, "cases") as step,
    ):
        np.lib.format.write_array_header_1_0(vectors, header)
        for start in range(0, n, CHUNK):
            rows = slice(start, min(start + CHUNK, n))
            part = case_vectors(model, sequences, cases.users[rows], cases.positions[rows])
            vectors.write(part.numpy().astype("<f4", copy=False).tobytes())
            writer.write_table(_recommendations(part, items, sequences, cases, rows))
            step(rows.stop - rows.start)
    os.replace(partial, run_folder / VECTORS)
    return n


def _write_case_rows(cases: Cases, folder: Path) -> None:
    table = pa.table(
        [
            pa.array(np.arange(cases.users.numel())),
            pa.array(cases.users.numpy().astype(np.int32)),
            pa.array(cases.positions.numpy().astype(np.int32)),
            pa.array(cases.splits.tolist(), pa.string()),
        ],
        schema=CASES,
    )
    pq.write_table(table, folder / "part-0.parquet", compression="zstd")


@torch.no_grad()
def _recommendations(
    vectors: Tensor, items: Tensor, sequences: Sequences, cases: Cases, rows: slice
) -> pa.Table:
    users, positions = cases.users[rows], cases.positions[rows]
    chunks = top_items(vectors, items, sequences, users, positions, N_RECOMMENDATIONS)
    ids, scores = zip(*((ids, scores) for _, ids, scores in chunks), strict=True)
    best, values = torch.cat(ids), torch.cat(scores)
    n, width = best.shape
    table = pa.table(
        [
            pa.array(np.repeat(np.arange(rows.start, rows.stop), width)),
            pa.array(np.tile(np.arange(1, width + 1, dtype=np.int32), n)),
            pa.array(best.reshape(-1).numpy().astype(np.int32)),
            pa.array(values.reshape(-1).numpy()),
        ],
        schema=RECOMMENDATIONS,
    )
    # a user who has met nearly all items is left with places that no item can fill
    return table.filter(pc.is_finite(table["score"]))


def _save_array(path: Path, array: npt.NDArray[np.float32]) -> None:
    partial = path.with_name(f"{path.name}.partial")
    with new_file(partial) as file:
        np.save(file, np.ascontiguousarray(array, dtype=np.float32))
    os.replace(partial, path)


def load_array(
    path: Path, hint: str, dimensions: tuple[int, ...] = (2,)
) -> npt.NDArray[np.float32]:
    """A float32 matrix that ``write_cases`` wrote, memory-mapped; DataError when it is damaged.

    ``dimensions`` are the numbers of axes that it may have; vectors of a model with K per case have
    three.
    """
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy reads the header as Python text, which may fail in any way
        raise DataError(f"{path} is missing or damaged ({error})", hint) from None
    if array.ndim not in dimensions or array.dtype != np.float32:
        raise DataError(f"{path} is not a matrix of 32-bit floats", hint)
    matrix: npt.NDArray[np.float32] = array
    return matrix
