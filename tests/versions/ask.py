"""Every relation and every named query of a warehouse, asked of the installed DuckDB.

``python ask.py WAREHOUSE`` writes JSON: who asked -> relation or query -> number, digest of rows.
Columns that tell when something was done are left out, so that two makers can be compared.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import duckdb

from recsae.errors import MissingStageError
from recsae.warehouse import Query, Warehouse, queries
from recsae.warehouse.sql import RAW, REPORT

TIMES = ("started", "seconds", "peak_memory_mb", "loaded")

SKIPPED = ("raw.meta", "raw.files")
"""They hold paths and the sizes of files that name versions."""

VALUES: dict[str, object] = {
    "judge": "builtin",
    "n_users": 5,
    "seed": 0,
    "permutation": 1,
    "permutations": 5,
    "construct_share": 0.5,
    "heldout_share": 0.2,
    "max_q": 0.05,
    "min_confidence": 0.7,
    "case_items": 10.0,
}
"""Of the parameters; any other is 5."""


def said(rows: Iterable[tuple[Any, ...]], *, ordered: bool) -> tuple[int, str]:
    """Number and digest of rows, in their order where that is part of the answer."""
    texts = [repr(row) for row in rows]
    if not ordered:
        texts.sort()
    return len(texts), sha256("\n".join(texts).encode()).hexdigest()


def relations() -> list[tuple[str, str]]:
    """Name, and columns that do not tell the time, of all that a warehouse can have."""
    named = [query for query in queries() if query.stage != REPORT]
    columns = [[f'"{c.name}"' for c in query.yields if c.name not in TIMES] for query in named]
    return [
        (query.full_name, ", ".join(columns_of))
        for query, columns_of in zip(named, columns, strict=True)
        if query.full_name not in SKIPPED
    ]


def where(name: str) -> str:
    """Without the metrics that tell how long something took."""
    return "where metric not in ('seconds', 'vectors/s')" if name == "raw.metrics" else ""


def stored(warehouse: Warehouse) -> list[tuple[str, str]]:
    return [(name, columns) for name, columns in relations() if warehouse.exists(name)]


def params(warehouse: Warehouse, query: Query, run_id: str) -> dict[str, object]:
    """The run, its surest latent, and VALUES."""
    best = warehouse.sql(
        "select latent_id from latents where run_id = $run_id and concept is not null "
        "order by confidence_low desc nulls last, latent_id limit 1",
        {"run_id": run_id},
    )
    latent_id = best.item() if len(best) else 0
    values: dict[str, object] = {"run_id": run_id, "latent_id": latent_id, **VALUES}
    return {param.name: values.get(param.name, 5) for param in query.params}


def through_recsae(root: Path) -> dict[str, tuple[int, str]]:
    found = {}
    with Warehouse.open(root, read_only=True) as warehouse:
        for name, columns in stored(warehouse):
            rows = warehouse.sql(f"select {columns} from {name} {where(name)}").rows()
            found[name] = said(rows, ordered=False)
        for run_id in warehouse.runs()["run_id"]:
            for query in queries():
                try:
                    if query.stage == RAW or not query.params:
                        continue
                    frame = warehouse.query(query.full_name, params(warehouse, query, run_id))
                except MissingStageError:  # a step on the way that is not kept
                    continue
                kept = frame.select([c for c in frame.columns if c not in TIMES])
                ordered = query.stage == REPORT
                found[f"{query.full_name} of {run_id}"] = said(kept.rows(), ordered=ordered)
    return found


def through_duckdb(root: Path) -> dict[str, tuple[int, str]]:
    with Warehouse.open(root, read_only=True) as warehouse:
        names = stored(warehouse)
    with duckdb.connect(str(root / "recsae.duckdb"), read_only=True) as connection:
        return {
            name: said(
                connection.execute(f"select {columns} from {name} {where(name)}").fetchall(),
                ordered=False,
            )
            for name, columns in names
        }


if __name__ == "__main__":
    root = Path(sys.argv[1])
    answers = {"recsae": through_recsae(root), "duckdb": through_duckdb(root)}
    json.dump({"version": duckdb.__version__, **answers}, sys.stdout)
