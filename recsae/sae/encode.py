"""Sparse activations as Arrow, batch by batch: torch ends here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from recsae.progress import Reporter
from recsae.sae.model import SAE

ACTIVATIONS = pa.schema(
    [
        ("latent_id", pa.int32()),
        ("case_id", pa.int64()),
        ("user_id", pa.int32()),
        ("item_id", pa.int32()),
        ("value", pa.float32()),
    ]
)
BATCH = 16384
"""Vectors per batch; only one batch is in memory."""

N_DECODER_ITEMS = 10


def write_activations(
    sae: SAE,
    vectors: npt.NDArray[np.float32],
    users: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    file: Path,
    reporter: Reporter,
) -> int:
    """Encode vectors (n, d) in batches and write every value above zero. Returns how many.

    Row i is case i; ``users`` and ``items`` (n,) are its user and its first recommendation. Rows
    come out by case; ``recsae.warehouse.parquet.cluster`` puts them in order of latents.
    """
    written = 0
    with (
        pq.ParquetWriter(file, ACTIVATIONS, compression="zstd", compression_level=1) as writer,
        reporter.task("encode", len(vectors), "vectors") as step,
    ):
        for start in range(0, len(vectors), BATCH):
            part = torch.from_numpy(np.array(vectors[start : start + BATCH]))
            values, indices = (t.numpy() for t in sae.encode(part))
            row, column = np.nonzero(values > 0)
            table = pa.table(
                [
                    pa.array(indices[row, column].astype(np.int32)),
                    pa.array(row.astype(np.int64) + start),
                    pa.array(users[start + row]),
                    pa.array(items[start + row]),
                    pa.array(values[row, column]),
                ],
                schema=ACTIVATIONS,
            )
            writer.write_table(table)
            written += len(row)
            step(len(part))
    return written


@torch.no_grad()
def decoder_items(sae: SAE, items: npt.NDArray[np.float32]) -> pl.DataFrame:
    """Items that each latent's decoder row points to: latent_id, rank (1 = best), item_id, score.

    ``items`` is (n_items, d), row r = item r + 1. The score is what one unit of the latent adds to
    the item's score.
    """
    table = torch.from_numpy(np.array(items))
    n = min(N_DECODER_ITEMS, len(table))
    parts = [(rows * sae.scale @ table.T).topk(n, dim=1) for rows in sae.W_dec.split(1024)]
    scores = torch.cat([part.values for part in parts]).numpy()
    ids = torch.cat([part.indices for part in parts]).numpy() + 1
    return pl.DataFrame(
        {
            "latent_id": np.repeat(np.arange(sae.h, dtype=np.int32), n),
            "rank": np.tile(np.arange(1, n + 1, dtype=np.int32), sae.h),
            "item_id": ids.reshape(-1).astype(np.int32),
            "score": scores.reshape(-1),
        }
    )
