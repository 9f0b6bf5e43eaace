"""Models that the library implicit (github.com/benfred/implicit) saved: ``model.save(FILE)``."""

from __future__ import annotations

from pathlib import Path

from recsae.errors import DataError
from recsae.vectors.files import load_npz, read_ids, sha256
from recsae.vectors.table import VectorTable, table_of

USERS, ITEMS = "user_factors", "item_factors"
KINDS = {"use_cg": "ALS", "verify_negative_samples": "BPR", "neg_prop": "LMF"}
"""An array that only the files of one model have -> that model."""


def read_implicit(
    path: Path, user_ids: Path | None = None, item_ids: Path | None = None
) -> tuple[VectorTable, VectorTable, str]:
    """Vectors of users and items, and the model's name: ALS, BPR, LMF or implicit.

    Their dot product is the score. Biases are in columns of the factors: BPR has one of the items,
    LMF one of the users as well, which ranks nothing and which ``match`` takes out. Row r
    is that of the matrix that was fitted: its id is line r of the file of ids, else r.
    Errors: DataError for a file that is no such model.
    """
    arrays = load_npz(path, (USERS, ITEMS, *KINDS))
    for name in (USERS, ITEMS):
        if name not in arrays:
            raise DataError(
                f"{path} has no array {name}, so it is no model of implicit with vectors",
                "model.save(FILE) of ALS, BPR or LMF writes one",
            )
    users, items = (
        table_of(
            f"{name} of {path}",
            arrays[name],
            None if ids is None else read_ids(ids),
            files=[(one.name, sha256(one)) for one in (path, ids) if one is not None],
        )
        for name, ids in ((USERS, user_ids), (ITEMS, item_ids))
    )
    kind = next((model for key, model in KINDS.items() if key in arrays), "implicit")
    return users, items, kind
