"""Choosing example cases against a straightforward pandas program, and the SQL stages at size.

    python benchmarks/interpret.py packing
    python benchmarks/interpret.py scale --cases 14000000

packing  levels of activation, the strongest cases of every latent and random silent ones, with
         their item and the titles of their histories: what the reference's packing step prepares.
         Beside SQL three programs in pandas: row by row as the reference's script goes, latent by
         latent, and vectorised. All agree on the strongest cases and their levels. --skip leaves
         some out.
scale    concepts and confidence of a run with 8 activations a case, without permutations, each in
         a workspace of its own, as the stages do (RECSAE_MEMORY is DuckDB's share of the memory).
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import numpy as np
import pandas as pd
import polars as pl

from recsae.config import ConceptsConfig, ConfidenceConfig
from recsae.interpret.concepts import build_concepts, parameters
from recsae.interpret.confidence import READ, build_confidence
from recsae.warehouse import Warehouse, load, runs, statements
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


Packed = dict[int, list[tuple[int, int, int, list[str]]]]
"""Latent -> its cases: user, level, recommended item, titles of the history; strongest first."""


def row_by_row(activations: pd.DataFrame, history: pd.DataFrame, seed: int) -> Packed:
    """Every row of the table gets its level and titles, then every latent picks among its rows.

    The reference's script goes through its table like this.
    """
    edges = activations["value"].quantile(np.arange(0.1, 1, 0.1)).tolist()
    items = dict(zip(activations["user_id"], activations["item_id"], strict=True))
    rows: dict[int, list[dict[str, Any]]] = {}
    for _, row in activations.iterrows():
        level = 1
        for edge in edges:
            if row["value"] >= edge:
                level += 1
        user, latent = int(row["user_id"]), int(row["latent_id"])
        titles = history[history["user_id"] == user]["title"].tolist()
        entry = {"user": user, "level": level, "value": row["value"], "titles": titles}
        rows.setdefault(latent, []).append({**entry, "item": int(row["item_id"])})
    rng = np.random.default_rng(seed)
    users = history["user_id"].unique()
    packed: Packed = {}
    for latent in sorted(rows):
        strong = [row for row in rows[latent] if row["level"] >= 5]
        strong.sort(key=lambda row: (-row["value"], row["user"]))
        cases = [(r["user"], r["level"], r["item"], r["titles"]) for r in strong[:N_STRONG]]
        firing = {row["user"] for row in rows[latent]}
        silent = [user for user in users if user not in firing]
        for user in rng.choice(silent, N_RANDOM, replace=False):
            titles = history[history["user_id"] == user]["title"].tolist()
            cases.append((int(user), 0, int(items[user]), titles))
        packed[latent] = cases
    return packed


def latent_by_latent(activations: pd.DataFrame, history: pd.DataFrame, seed: int) -> Packed:
    """Levels of all rows at once, then a loop over latents that filters both frames."""
    edges = activations["value"].quantile(np.arange(0.1, 1, 0.1)).to_numpy()
    activations = activations.assign(
        level=1 + (activations["value"].to_numpy()[:, None] >= edges).sum(1)
    )
    items = activations.drop_duplicates("user_id").set_index("user_id")["item_id"]
    users = history["user_id"].unique()
    rng = np.random.default_rng(seed)
    packed: Packed = {}
    for latent in sorted(activations["latent_id"].unique()):
        own = activations[activations["latent_id"] == latent]
        strong = own[own["level"] >= 5].sort_values(["value", "user_id"], ascending=[False, True])
        silent = users[~np.isin(users, own["user_id"])]
        chosen = [
            (int(row["user_id"]), int(row["level"])) for _, row in strong.head(N_STRONG).iterrows()
        ]
        chosen += [(int(user), 0) for user in rng.choice(silent, N_RANDOM, replace=False)]
        packed[int(latent)] = [
            (user, level, int(items[user]), history[history["user_id"] == user]["title"].tolist())
            for user, level in chosen
        ]
    return packed


def vectorised(activations: pd.DataFrame, history: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Without a loop over rows or latents: sorts, group counts and merges."""
    edges = activations["value"].quantile(np.arange(0.1, 1, 0.1)).to_numpy()
    levels = 1 + np.searchsorted(edges, activations["value"].to_numpy(), side="right")
    strong = activations.assign(level=levels).query("level >= 5")
    strong = strong.sort_values(["latent_id", "value", "user_id"], ascending=[True, False, True])
    strong = strong[strong.groupby("latent_id").cumcount() < N_STRONG]

    items = activations.drop_duplicates("user_id")[["user_id", "item_id"]]
    users = items["user_id"].to_numpy()
    latents = np.sort(activations["latent_id"].unique())
    rng = np.random.default_rng(seed)
    # more draws than needed, without those on which the latent fires and those drawn before
    n_draws = 20 * N_RANDOM
    drawn = pd.DataFrame(
        {
            "latent_id": np.repeat(latents, n_draws),
            "user_id": rng.choice(users, len(latents) * n_draws),
        }
    ).drop_duplicates()
    n_users = users.max() + 1
    firing = activations["latent_id"].astype("int64") * n_users + activations["user_id"]
    drawn = drawn[~(drawn["latent_id"].astype("int64") * n_users + drawn["user_id"]).isin(firing)]
    drawn = drawn[drawn.groupby("latent_id").cumcount() < N_RANDOM]
    if len(drawn) < len(latents) * N_RANDOM:
        raise SystemExit("a latent fires nearly everywhere: draw more often")

    cases = pd.concat(
        [
            strong.assign(role="strong"),
            drawn.merge(items, on="user_id").assign(level=0, role="random"),
        ]
    )
    shown = history[history["user_id"].isin(cases["user_id"].unique())]
    titles = shown.groupby("user_id")["title"].agg(list).rename("titles")
    return cases.merge(titles, left_on="user_id", right_index=True)


PACK = """
with cases as (
    select latent_id, case_id, level from confidence.reference_cases
),
shown as (
    select user_id, list(title) as titles from history
    semi join cases on history.user_id = cases.case_id + 1
    group by user_id
),
items as (
    select distinct user_id, item_id from raw.activations
)
select latent_id, case_id, level, item_id, titles
from cases
join shown on case_id + 1 = shown.user_id
join items on case_id + 1 = items.user_id
"""
"""Items and histories of the cases that the relation of the protocol chose."""

STEPS = (
    "staging.case_pool",
    "staging.level_edges",
    "staging.activation_levels",
    "confidence.reference_cases",
)


def with_sql(activations: pd.DataFrame, history: pd.DataFrame, seed: int) -> pl.DataFrame:
    """The stage's own queries: deciles, levels, the cases of the protocol; then the histories.

    From a new database on, whose activations are a view, as those of a warehouse are.
    """
    with duckdb.connect() as db:
        for schema in ("raw", "staging", "confidence"):
            db.execute(f"create schema {schema}")
        db.register("activations", activations)
        db.register("history", history)
        db.execute(
            "create view raw.activations as select 'sae' as run_id, latent_id, "
            "user_id - 1 as case_id, user_id, item_id, value from activations"
        )
        db.execute(statements.create_table(load("staging.cases")))
        db.execute(
            "insert into staging.cases by name select distinct run_id, case_id, user_id, "
            "1 as position, 'test' as split, 'verify' as side from raw.activations"
        )
        params = {"run_id": "sae", "seed": seed, "n_strong": N_STRONG, "pool_cases": 1000}
        for query in map(load, STEPS):
            db.execute(statements.create_table(query))
            used = {param.name: params[param.name] for param in query.params}
            db.execute(statements.insert_query(query), used)
        return db.sql(PACK).pl()


def strongest(packed: Packed | pd.DataFrame | pl.DataFrame) -> set[tuple[int, int, int, int]]:
    """(latent, user, level, item) of the strong cases, which all programs must agree on."""
    if isinstance(packed, dict):
        rows = [(k, *case[:3]) for k, cases in packed.items() for case in cases]
    elif isinstance(packed, pl.DataFrame):
        users = packed.select("latent_id", pl.col("case_id") + 1, "level", "item_id")
        rows = users.rows()
    else:
        columns = packed[["latent_id", "user_id", "level", "item_id"]]
        rows = list(columns.itertuples(index=False, name=None))
    return {tuple(map(int, row)) for row in rows if row[2] > 0}  # type: ignore[misc]


PROGRAMS = {
    "pandas, row by row": row_by_row,
    "pandas, latent by latent": latent_by_latent,
    "pandas, vectorised": vectorised,
}
ROUNDS = 3
"""How often what takes less than a second is timed; the fastest counts, for all programs alike."""


def packing(n_users: int, n_items: int, seed: int, skip: list[str]) -> None:
    activations, history = sample(n_users, n_items, seed)
    print(f"{len(activations):,} activations of {n_users:,} users, {LATENTS} latents", flush=True)
    for warm in (with_sql, vectorised):  # the first calls load libraries
        warm(activations.head(80_000), history, seed)
    ours, packed = fastest(lambda: with_sql(activations, history, seed))
    print(f"{'SQL':26}{ours.wall:9.3f} s{ours.cpu:9.3f} s of processors, {packed.height:,} cases")
    for name, program in PROGRAMS.items():
        if name.removeprefix("pandas, ") in skip:
            continue
        plain, other = fastest(lambda run=program: run(activations, history, seed))
        if strongest(other) != strongest(packed):
            raise SystemExit(f"{name}: the strongest cases differ")
        print(
            f"{name:26}{plain.wall:9.3f} s{plain.cpu:9.3f} s of processors, "
            f"{plain.wall / ours.wall:,.1f} times as long ({plain.cpu / ours.cpu:,.1f})",
            flush=True,
        )


class Spent(NamedTuple):
    """Seconds on the clock, and of all processors together."""

    wall: float
    cpu: float


def fastest(work: Callable[[], Any]) -> tuple[Spent, Any]:
    spent = []
    for _ in range(ROUNDS):
        cpu = time.process_time()
        wall, result = timed(work)
        spent.append(Spent(wall, time.process_time() - cpu))
        if wall > 1:
            break
    return min(spent), result


# -- scale ------------------------------------------------------------------------------------

SIZES = {"positions": 20, "items": 20_000, "tags": 300}


def scale(n_cases: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "warehouse"
        seconds, run_id = timed(lambda: synthetic(root, n_cases))
        print(f"made {n_cases:,} cases with {n_cases * K:,} activations in {seconds:.0f} s")
        spent = {stage: work(root, run_id) for stage, work in STAGES.items()}
        total = Spent(*map(sum, zip(*spent.values(), strict=True)))
        print(f"{'both':40}{total.wall:8.1f} s{total.cpu:8.1f} s of processors")


def concepts(root: Path, run_id: str) -> Spent:
    """The concepts stage, up to its rows in the warehouse."""
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(run_id)
    params = parameters(run_id, run.seed, ConceptsConfig())
    with measured("concepts") as spent:
        with Workspace.open(root, run, ["staging.user_sides"]) as workspace:
            show_steps(root, build_concepts(workspace, params))
            results = {name: workspace.frame(name) for name in runs.STORED["concepts"]}
        with Warehouse.open(root) as warehouse:
            for name, frame in results.items():
                warehouse.replace_rows(name, run_id, frame)
    return spent[0]


def confidence(root: Path, run_id: str) -> Spent:
    """The confidence stage without its permutations."""
    with Warehouse.open(root, read_only=True) as warehouse:
        run = warehouse.run(run_id)
    config = ConfidenceConfig(permutations=1)
    params: Mapping[str, object] = {
        **parameters(run_id, run.seed, ConceptsConfig()),
        **config.to_json(),
    }
    with measured("confidence") as spent, Workspace.open(root, run, READ) as workspace:
        show_steps(root, until_permutations(build_confidence(workspace, params, config)))
        for relation in ("confidence.q_values", "confidence.scores"):
            workspace.build(relation, params)
    return spent[0]


def until_permutations(work: Iterator[str]) -> Iterator[str]:
    """The steps up to the last one before them."""
    for name in work:
        yield name
        if name == "reference protocol":
            return


STAGES = {"concepts": concepts, "confidence": confidence}


@contextmanager
def measured(stage: str) -> Iterator[list[Spent]]:
    """Print time and peak memory of a stage; the list holds the time afterwards."""
    spent: list[Spent] = []
    reset_peak()
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent.append(Spent(time.perf_counter() - wall, time.process_time() - cpu))
    print(
        f"{stage:40}{spent[0].wall:8.1f} s{spent[0].cpu:8.1f} s of processors, "
        f"peak {peak():,.0f} MB",
        flush=True,
    )


def show_steps(root: Path, work: Iterator[str]) -> None:
    """Go through the steps of a stage and print what each took."""
    wall, cpu = time.perf_counter(), time.process_time()
    for name in work:
        spent = Spent(time.perf_counter() - wall, time.process_time() - cpu)
        spilled = sum(path.stat().st_size for path in root.glob("tmp/*/spill/*")) / 1e6
        print(
            f"  {name:38}{spent.wall:8.1f} s{spent.cpu:8.1f} s of processors, "
            f"peak {peak():,.0f} MB, {spilled:,.0f} MB on disk",
            flush=True,
        )
        wall, cpu = time.perf_counter(), time.process_time()


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
    parser.add_argument(
        "--skip", nargs="*", default=[], choices=[n.removeprefix("pandas, ") for n in PROGRAMS]
    )
    given = parser.parse_args()
    if given.part == "packing":
        packing(given.users, given.items, given.seed, given.skip)
    else:
        scale(given.cases)


if __name__ == "__main__":
    main()
