"""Choosing example cases against a straightforward pandas program, and the SQL stages at size.

    python benchmarks/interpret.py packing
    python benchmarks/interpret.py scale --cases 14000000

packing  levels of activation, the strongest cases of every latent and random silent ones, with the
         titles of their histories: what the reference's packing step prepares. The pandas program
         is written as one would, latent by latent; both give the same levels and strongest cases.
scale    concepts and confidence of a run with 8 activations a case, without permutations, in a
         process of limited memory (RECSAE_MEMORY is DuckDB's share of it).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import polars as pl

from recsae.config import ConceptsConfig, ConfidenceConfig
from recsae.interpret.concepts import build_concepts, parameters
from recsae.interpret.confidence import build_confidence
from recsae.warehouse import Warehouse, load, statements
from recsae.warehouse.files import parquet_folder
from recsae.warehouse.publish import refresh_views
from recsae.warehouse.workspace import Workspace

N_STRONG, N_RANDOM = 10, 5
LATENTS, K = 1024, 8


def timed(work: Any) -> tuple[float, Any]:
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


# -- packing ----------------------------------------------------------------------------------


def sample(n_users: int, n_items: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """One case per user with 8 active latents, and every user's history with titles."""
    rng = np.random.default_rng(seed)
    # popular latents fire on many cases, as they do in a trained autoencoder
    share = 1 / np.arange(1, LATENTS + 1) ** 0.5
    draws = rng.gumbel(size=(n_users, LATENTS)) + np.log(share)
    latents = np.argpartition(-draws, K, axis=1)[:, :K]
    activations = pd.DataFrame(
        {
            "latent_id": latents.reshape(-1),
            "user_id": np.repeat(np.arange(1, n_users + 1), K),
            "item_id": np.repeat(rng.integers(1, n_items + 1, n_users), K),
            "value": rng.exponential(size=n_users * K).astype(np.float32),
        }
    )
    lengths = rng.integers(5, 16, n_users)
    history = pd.DataFrame(
        {
            "user_id": np.repeat(np.arange(1, n_users + 1), lengths),
            "title": [f"Item {n}" for n in rng.integers(1, n_items + 1, lengths.sum())],
        }
    )
    return activations, history


def with_pandas(
    activations: pd.DataFrame, history: pd.DataFrame, seed: int
) -> dict[int, dict[str, Any]]:
    """Latent by latent: its rows, its strongest cases, silent users, and their histories."""
    edges = activations["value"].quantile(np.arange(0.1, 1, 0.1)).to_numpy()
    activations = activations.assign(
        level=1 + (activations["value"].to_numpy()[:, None] >= edges).sum(1)
    )
    users = history["user_id"].unique()
    rng = np.random.default_rng(seed)
    packed = {}
    for latent in sorted(activations["latent_id"].unique()):
        own = activations[activations["latent_id"] == latent]
        strong = own[own["level"] >= 5].sort_values(["value", "user_id"], ascending=[False, True])
        strong = strong.head(N_STRONG)
        silent = users[~np.isin(users, own["user_id"])]
        random = rng.choice(silent, N_RANDOM, replace=False)
        cases = []
        for _, row in strong.iterrows():
            titles = history[history["user_id"] == row["user_id"]]["title"].tolist()
            cases.append((int(row["user_id"]), int(row["level"]), titles))
        for user in random:
            titles = history[history["user_id"] == user]["title"].tolist()
            cases.append((int(user), 0, titles))
        packed[int(latent)] = {"cases": cases, "strong": strong["user_id"].tolist()}
    return packed


PACK = """
with strong as (
    select latent_id, case_id, level, 'strong' as role from confidence.reference_cases
    where is_active
),
cases as (
    from strong
    union all
    select latent_id, case_id, 0 as level, 'random' as role from confidence.reference_cases
    where not is_active
)
select c.latent_id, c.case_id, c.level, c.role, list(h.title) as titles
from cases as c join history as h on c.case_id + 1 = h.user_id
group by all
"""
"""Histories of the cases that the relation of the protocol chose."""


def with_sql(activations: pd.DataFrame, history: pd.DataFrame, seed: int) -> pl.DataFrame:
    """The stage's own queries: deciles, levels, the cases of the protocol; then the histories."""
    with duckdb.connect() as db:
        for schema in ("raw", "staging", "confidence"):
            db.execute(f"create schema {schema}")
        rows = activations.assign(run_id="sae", case_id=activations["user_id"] - 1)
        db.register("rows", rows)
        db.register("given", history)
        db.execute("create table history as from given")
        make(db, "raw.activations", "select * from rows")
        cases = (
            "select distinct run_id, case_id, user_id, 1 as position, 'test' as split, "
            "'verify' as side from rows"
        )
        make(db, "staging.cases", cases)
        params = {"run_id": "sae", "seed": seed, "n_strong": N_STRONG, "pool_cases": 1000}
        for relation in (
            "staging.case_pool",
            *("staging.level_edges", "staging.activation_levels"),
            "confidence.reference_cases",
        ):
            query = load(relation)
            db.execute(statements.create_table(query))
            used = {param.name: params[param.name] for param in query.params}
            db.execute(statements.insert_query(query), used)
        return db.sql(PACK).pl()


def make(db: duckdb.DuckDBPyConnection, relation: str, select: str) -> None:
    """A table of the warehouse with the rows of a query, by name."""
    db.execute(statements.create_table(load(relation)))
    db.execute(f"insert into {relation} by name {select}")


def packing(n_users: int, n_items: int, seed: int) -> None:
    activations, history = sample(n_users, n_items, seed)
    with_sql(activations.head(800), history, seed)  # the first connection loads the library
    ours, packed = timed(lambda: with_sql(activations, history, seed))
    plain, expected = timed(lambda: with_pandas(activations, history, seed))
    strong = packed.filter(role="strong")
    for latent, users in strong.group_by("latent_id").agg("case_id").iter_rows():
        if {case + 1 for case in users} != set(expected[latent]["strong"]):
            raise SystemExit(f"latent {latent}: the strongest cases differ")
    n_cases = sum(len(one["cases"]) for one in expected.values())
    print(f"{len(activations):,} activations of {n_users:,} users, {LATENTS} latents")
    print(f"pandas, latent by latent  {plain:8.2f} s  {n_cases:,} cases")
    print(f"SQL                       {ours:8.2f} s  {packed.height:,} cases")
    print(f"times faster              {plain / ours:8.0f}")


# -- scale ------------------------------------------------------------------------------------

SIZES = {"positions": 20, "items": 20_000, "tags": 300}


def scale(n_cases: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "warehouse"
        seconds, run_id = timed(lambda: synthetic(root, n_cases))
        print(f"made {n_cases:,} cases with {n_cases * K:,} activations in {seconds:.0f} s")
        with Warehouse.open(root, read_only=True) as warehouse:
            run = warehouse.run(run_id)
        config = ConfidenceConfig(permutations=1)
        params: Mapping[str, object] = {
            **parameters(run_id, run.seed, ConceptsConfig()),
            **config.to_json(),
        }
        reset_peak()
        started = time.perf_counter()
        with Workspace.open(root, run, ["staging.user_sides"]) as workspace:
            print(f"{'workspace':28}{time.perf_counter() - started:8.1f} s", flush=True)
            for name in steps(build_concepts(workspace, params), "concepts"):
                print(name, flush=True)
            for name in steps(build_confidence(workspace, params, config), "confidence"):
                print(name, flush=True)
                if name.startswith("confidence: reference protocol"):
                    break
        print(f"{'all':28}{time.perf_counter() - started:8.1f} s, peak {peak():,.0f} MB")


def steps(work: Iterator[str], stage: str) -> Iterator[str]:
    while True:
        seconds, name = timed(lambda: next(work, None))
        if name is None:
            return
        yield f"{f'{stage}: {name}':44}{seconds:8.1f} s  peak {peak():6,.0f} MB"


def synthetic(root: Path, n_cases: int) -> str:
    """A warehouse whose run has that many cases; every number is a hash of its place."""
    n_users = n_cases // SIZES["positions"]
    with Warehouse.open(root, create=True) as warehouse:
        for run_id, kind, parent in (("rec", "recommender", None), ("sae", "sae", "rec")):
            warehouse.start_run(
                run_id,
                kind=kind,  # type: ignore[arg-type]
                parent_run_id=parent,
                dataset="synthetic",
                model="synthetic",
                params={"n_latents": LATENTS, "k": K},
                data_fingerprint="none",
                seed=0,
            )
    with duckdb.connect(config={"memory_limit": "1GB", "temp_directory": str(root / "tmp")}) as db:
        write(
            db,
            root,
            "cases",
            "rec",
            f"""
            select i as case_id, (i // 20 + 1)::integer as user_id,
                (i % 20 + 1)::integer as position, 'train' as split from range({n_cases}) t(i)""",
        )
        write(
            db,
            root,
            "recommendations",
            "rec",
            f"""
            select i // 10 as case_id, (i % 10 + 1)::integer as rank,
                (hash(i) % {SIZES["items"]} + 1)::integer as item_id,
                (10 - i % 10)::float as score from range({n_cases * 10}) t(i)""",
        )
        each = n_cases * K // LATENTS
        write(
            db,
            root,
            "activations",
            "sae",
            f"""
            select (i // {each})::integer as latent_id, c as case_id,
                (c // 20 + 1)::integer as user_id,
                (hash(c * 10) % {SIZES["items"]} + 1)::integer as item_id,
                (hash(i) % 1000003 + 1)::float as value
            from (select i, (i % {each} * 9973 + i // {each} * 7919) % {n_cases} as c
                from range({each * LATENTS}) t(i))""",
        )
        with Warehouse.open(root) as warehouse:
            fill(warehouse, n_users)
    return "sae"


def write(db: duckdb.DuckDBPyConnection, root: Path, kind: str, run_id: str, query: str) -> None:
    folder = parquet_folder(root, kind, run_id)
    folder.mkdir(parents=True)
    db.execute(f"copy ({query}) to '{folder / 'part-0.parquet'}' (compression zstd)")


def fill(warehouse: Warehouse, n_users: int) -> None:
    """Tables of the data set: items with popularity, tags, and every user's interactions."""
    items, tags = SIZES["items"], SIZES["tags"]
    warehouse.execute(
        "insert into raw.items by name select 'synthetic' as dataset, i::integer as item_id, "
        "i::varchar as source_item_id, 'Item ' || i as title, (hash(i) % 5000)::integer "
        f"as popularity from range(1, {items + 1}) t(i)"
    )
    warehouse.execute(
        "insert into raw.item_tags by name select distinct 'synthetic' as dataset, "
        f"(i % {items} + 1)::integer as item_id, 'genre:' || hash(i) % {tags} as tag, "
        f"'genre' as kind from range({items * 5}) t(i)"
    )
    warehouse.execute(
        "insert into raw.interactions by name select 'synthetic' as dataset, "
        "(i // 21 + 1)::integer as user_id, "
        f"(hash(i + 77) % {items} + 1)::integer as item_id, (i % 21 + 1)::integer as position, "
        f"i as time, 'train' as split from range({n_users * 21}) t(i)"
    )
    warehouse.execute(
        "insert into raw.stages by name select unnest(['rec', 'sae', 'sae']) as run_id, "
        "unnest(['train', 'train', 'encode']) as stage, '{}' as params, 'h' as input_hash, "
        "'done' as status, current_timestamp::timestamp as started"
    )
    with warehouse.transaction():
        refresh_views(warehouse)
    warehouse.build(
        "staging.user_sides",
        {"run_id": "sae", "seed": 0, "construct_share": 0.5, "heldout_share": 0.2},
    )


def reset_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def peak() -> float:
    """Most resident memory since the last reset, MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=["packing", "scale"])
    parser.add_argument("--users", type=int, default=14_681)
    parser.add_argument("--items", type=int, default=8_713)
    parser.add_argument("--cases", type=int, default=14_000_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if given.part == "packing":
        packing(given.users, given.items, given.seed)
    else:
        scale(given.cases)


if __name__ == "__main__":
    main()
