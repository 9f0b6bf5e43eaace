"""A warehouse of a hundred million activations, and how long its questions take.

    python benchmarks/warehouse.py                       a million activations, in a minute
    python benchmarks/warehouse.py --rows 100000000      3 GB of disk, 15 with what is spilled
    python benchmarks/warehouse.py --rows 100000000 --concepts

The warehouse is made of hashes, in the layout of the stages: 50 moments a user, 8 latents a moment,
most of them among the user's own 32, popular latents and items as in real data, items with a genre
that their latents share. Activations are put in order and published as by recsae sae encode; labels
and scores are made up.

Every question is a process of its own, which asks twice. The files are dropped from the cache of
the system before the first time, so that it reads from the disk. CPU seconds are those of the
second time, MB the peak of the whole process, whose DuckDB has RECSAE_MEMORY (1GB unless told).
--concepts runs that stage at the end, over the made-up labels.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import polars as pl

from recsae.sae.encode import ACTIVATIONS
from recsae.stages.common import final_metrics, peak_memory_mb
from recsae.stages.encode import put_in_order, summarise
from recsae.warehouse import Warehouse, load, queries, statements, temp_folder
from recsae.warehouse.checksums import describe_files, register_files
from recsae.warehouse.publish import KINDS
from recsae.warehouse.runs import COVERED
from recsae.warehouse.sql import REPORT, VIEWS
from recsae.warehouse.summaries import summaries_of, write_summary
from recsae.warehouse.views import refresh_people_views
from recsae.warehouse.workspace import Workspace

REPOSITORY = Path(__file__).resolve().parents[1]
COOKBOOK = REPOSITORY / "docs" / "sql-cookbook.md"
REC, SAE = "rec-synthetic-0000", "sae-synthetic-0000"
POSITIONS, K = 50, 8
GENRES = 64
MAX_CASES = 500_000

SETTINGS = "set threads = 2; set memory_limit = '1GB'; set enable_progress_bar = false"


class Sizes:
    """How much of everything a warehouse of about ``rows`` activations has."""

    def __init__(self, rows: int, latents: int) -> None:
        self.users = max(rows // (POSITIONS * K), 20)
        self.cases = self.users * POSITIONS
        self.activations = self.cases * K
        self.latents = latents
        self.items = min(50_000, max(GENRES * 5, self.users // 5 // GENRES * GENRES))


# -- making it --------------------------------------------------------------------------------

DRAW = "(hash({0}) / 18446744073709551616.0)"
"""A number in 0..1 out of anything."""


def draw(*words: str) -> str:
    return DRAW.format(", ".join(words))


def skewed(n: str, *words: str) -> str:
    """A number in 0..n-1; small ones are more frequent."""
    return f"floor(pow({draw(*words)}, 2) * {n})::integer"


def make(root: Path, sizes: Sizes) -> None:
    """A warehouse whose two runs have gone through all stages."""
    with Warehouse.open(root, create=True) as warehouse:
        for run_id, kind, parent in ((REC, "recommender", None), (SAE, "sae", REC)):
            warehouse.start_run(
                run_id,
                kind=kind,  # type: ignore[arg-type]
                parent_run_id=parent,
                dataset="synthetic",
                model="synthetic",
                params={"n_latents": sizes.latents, "k": K},
                data_fingerprint="none",
                seed=0,
            )
            warehouse.start_stage(run_id, "train", {}, "none")
        fill_dataset(warehouse, sizes)
    with temp_folder(root, REC) as temp:
        for kind, query in ("cases", cases(sizes)), ("recommendations", recommended(sizes)):
            write(temp / kind, query, root)
        with Warehouse.open(root) as warehouse:
            folders = {kind: temp / kind for kind in ("cases", "recommendations")}
            warehouse.publish(REC, "train", folders, seconds=1.0)
            warehouse.finish_run(REC, 1.0)
            warehouse.build("staging.user_sides", {**PARAMS, "run_id": SAE})
            warehouse.finish_stage(SAE, "train", seconds=1.0)
            warehouse.finish_run(SAE, 1.0)
            warehouse.start_stage(SAE, "encode", {}, "none")
    with temp_folder(root, SAE) as temp:
        write(temp / "unordered", fired(sizes), root)
        (temp / "activations").mkdir()
        started = time.perf_counter()
        target = temp / "activations" / "part-0.parquet"
        put_in_order(temp / "unordered" / "part-0.parquet", target, root)
        (temp / "unordered" / "part-0.parquet").unlink()
        print(f"put in order in {time.perf_counter() - started:.0f} s", flush=True)
        started = time.perf_counter()
        directions = pl.DataFrame(
            duckdb.sql(f"select {decoder(sizes)} from range({sizes.latents * 10}) as t (i)").arrow()
        )
        folders = summarise(temp, SAE, temp / "activations", directions, root)
        print(f"items and pairs counted in {time.perf_counter() - started:.0f} s", flush=True)
        folders["activations"] = temp / "activations"
        publish(root, "encode", folders)
    with Warehouse.open(root) as warehouse:
        fill_results(warehouse, sizes)
    with temp_folder(root, SAE) as temp:
        with Warehouse.open(root, read_only=True) as warehouse:
            run = warehouse.run(SAE)
        started = time.perf_counter()
        with Workspace.open(root, run, COUNTED) as workspace:
            sources = workspace.sources(run)
            folders = {
                kind: write_summary(workspace, kind, sources, temp)
                for kind in summaries_of("confidence")
            }
        print(f"users and positions counted in {time.perf_counter() - started:.0f} s", flush=True)
        publish(root, "confidence", folders, final_metrics({COVERED: 1.0}, "all"))


COUNTED = ("staging.level_edges", "concepts.labels", "confidence.scores")


def publish(
    root: Path, stage: str, folders: dict[str, Path], metrics: pl.DataFrame | None = None
) -> None:
    """End a stage as the stages do."""
    files = describe_files(root, SAE, stage, folders)
    with Warehouse.open(root) as warehouse, warehouse.transaction():
        register_files(warehouse, SAE, stage, files)
        warehouse.publish(SAE, stage, folders, seconds=1.0, metrics=metrics)  # type: ignore[arg-type]


PARAMS = {"seed": 0, "construct_share": 0.5, "heldout_share": 0.2}


def write(folder: Path, query: str, root: Path) -> None:
    """One Parquet file with the result of a query, in its order."""
    folder.mkdir()
    with duckdb.connect(config={"temp_directory": str(root / "tmp" / "spill")}) as db:
        db.execute(SETTINGS)
        db.execute(f"copy ({query}) to '{folder / 'part-0.parquet'}' (compression zstd)")


def cases(sizes: Sizes) -> str:
    return f"""
    select
        i as case_id,
        (i // {POSITIONS} + 1)::integer as user_id,
        (i % {POSITIONS} + 1)::integer as position,
        case i % {POSITIONS} when {POSITIONS - 1} then 'test' when {POSITIONS - 2} then 'dev'
            else 'train' end as split
    from range({sizes.cases}) as t (i)"""


def latent(sizes: Sizes, case: str, slot: str) -> str:
    """The latent of a slot of a case: mostly one of four that its user has for that slot."""
    user = f"{case} // {POSITIONS}"
    own = skewed(str(sizes.latents // K), "'own'", user, slot, f"hash({case}, {slot}) % 4")
    other = skewed(str(sizes.latents // K), "'other'", case, slot)
    which = draw("'which'", case, slot)
    return f"({K} * if({which} < 0.7, {own}, {other}) + {slot})"


def item(sizes: Sizes, case: str, rank: str) -> str:
    """A recommended item, of the genre of the latent in the slot of the same number."""
    genre = f"{latent(sizes, case, f'(({rank} - 1 + {case}) % {K})')} % {GENRES}"
    place = skewed(str(sizes.items // GENRES), "'item'", case, rank)
    return f"({GENRES} * {place} + {genre} + 1)::integer"


def recommended(sizes: Sizes) -> str:
    return f"""
    select case_id, rank, {item(sizes, "case_id", "rank")} as item_id,
        (1.0 / rank)::float as score
    from (select i // 10 as case_id, (i % 10 + 1)::integer as rank
        from range({sizes.cases * 10}) as t (i))"""


def fired(sizes: Sizes) -> str:
    names, value = ", ".join(ACTIVATIONS.names), draw("'value'", "case_id", "slot")
    return f"""
    select {names} from (
        select {latent(sizes, "case_id", "slot")}::integer as latent_id, case_id,
            (case_id // {POSITIONS} + 1)::integer as user_id,
            {item(sizes, "case_id", "1")} as item_id,
            (-ln(1 - {value}) + 0.001)::float as value
        from (select i // {K} as case_id, (i % {K})::integer as slot
            from range({sizes.activations}) as t (i)))"""


def fill_dataset(warehouse: Warehouse, sizes: Sizes) -> None:
    """Users, items, tags and interactions; a user chooses the genres of the latents that fire."""
    length = POSITIONS + 1
    n = sizes.users * length
    insert(
        warehouse,
        "raw.datasets",
        f"'none' as fingerprint, '{{}}' as info, {sizes.users} as n_users, "
        f"{sizes.items} as n_items, {n} as n_interactions, {sizes.items * 4} as n_item_tags, "
        "now()::timestamp as loaded",
        1,
    )
    insert(
        warehouse, "raw.users", "(i + 1)::integer as user_id, 'u' || i as source_user_id",
        sizes.users,
    )  # fmt: skip
    insert(
        warehouse,
        "raw.items",
        "(i + 1)::integer as item_id, 'i' || i as source_item_id, 'Item ' || (i + 1) as title, "
        f"({n} / {GENRES} / (2 * sqrt({sizes.items // GENRES} * (i // {GENRES} + 1))))::integer "
        "as popularity",
        sizes.items,
    )
    tags = (
        f"(i % {sizes.items} + 1)::integer as item_id, case i // {sizes.items} "
        f"when 0 then 'genre:G' || i % {sizes.items} % {GENRES} "
        f"when 1 then 'year:' || (1950 + hash(i) % 70) else "
        f"'word:w' || i // {sizes.items} || hash(i) % 400 end as tag, "
        f"case i // {sizes.items} when 0 then 'genre' when 1 then 'year' else 'title_word' "
        "end as kind"
    )
    insert(warehouse, "raw.item_tags", tags, sizes.items * 4)
    chosen = item(sizes, f"(i // {length} * {POSITIONS} + i % {length})", "1")
    split = (
        f"case i % {length} when {length - 1} then 'test' when {length - 2} then 'dev' "
        "else 'train' end"
    )
    insert(
        warehouse,
        "raw.interactions",
        f"(i // {length} + 1)::integer as user_id, (i % {length} + 1)::integer as position, "
        f"{chosen} as item_id, i as time, {split} as split",
        n,
    )


def fill_results(warehouse: Warehouse, sizes: Sizes) -> None:
    """What the stages after encoding leave, made up; two of three latents hold."""
    for stage in ("concepts", "confidence"):
        warehouse.start_stage(SAE, stage, {}, "none")  # type: ignore[arg-type]
    known = {"run_id": SAE, "seed": 0, "popularity_bins": 10, "max_cases": MAX_CASES}
    for relation in ("staging.cases", "staging.item_sides"):
        warehouse.build(
            relation, {param.name: known[param.name] for param in load(relation).params}
        )
    tag = f"'genre:G' || i % {GENRES}"
    tables = {
        "staging.level_edges": (
            f"{sizes.activations} as n_activations, "
            "list_transform(generate_series(1, 9), lambda x: -ln(1 - x / 10)) as edges",
            1,
        ),
        "concepts.labels": (
            f"i::integer as latent_id, {tag} as leading_tag, 'G' || i % {GENRES} as label, "
            f"[{tag}] as tags, 1 as n_shared",
            sizes.latents,
        ),
        "concepts.concept_tags": (
            "(i // 20)::integer as latent_id, if(i % 20 < 10, 'A', 'B') as item_side, "
            "'word:' || i % 20 as tag, i % 10 + 1 as rank, 10 - i % 10 as z, 0.1 as spread, "
            "0.1 as weight",
            sizes.latents * 20,
        ),
        "concepts.example_items": (
            f"(i // 10)::integer as latent_id, i % 10 + 1 as rank, "
            f"(hash(i) % {sizes.items} + 1)::integer as item_id, (10 - i % 10)::float as value, "
            "3 as n_cases",
            sizes.latents * 10,
        ),
        "raw.decoder_items": (decoder(sizes), sizes.latents * 10),
        "confidence.scores": (
            "i::integer as latent_id, if(i % 3 < 2, 'interpretable', 'not shown') as status, "
            f"0.7 + {draw('i')} / 4 as confidence, 0.65 + {draw('i')} / 4 as confidence_low, "
            "0.55 as null_mean, 0.01 as q_value, 0.8 as auc, 1000 as n_fired, 500 as n_active, "
            "300 as n_users",
            sizes.latents,
        ),
        "confidence.concept_groups": (
            "(3 * i)::integer as latent_id, [3 * i, 3 * i + 1]::integer[] as latent_ids, "
            "0.8 as least_alike, 300 as n_users",
            sizes.latents // 3,
        ),
        "confidence.verification": (
            f"i // {sizes.latents} as permutation, 5 as tags_used, "
            f"(i % {sizes.latents})::integer as latent_id, 1 as threshold, 500 as n_trials, "
            f"1000 as n_inactive, 0.5 + {draw('i')} / 5 as balanced_accuracy",
            sizes.latents * 21,
        ),
    }
    for relation, (select, n) in tables.items():
        warehouse.execute(statements.create_table(load(relation)))
        insert(warehouse, relation, select, n)
    warehouse.finish_stage(SAE, "concepts", seconds=1.0)
    refresh_people_views(warehouse)


def decoder(sizes: Sizes) -> str:
    """Columns of the decoder items of latent i // 10."""
    return (
        "(i // 10)::integer as latent_id, (i % 10 + 1)::integer as rank, "
        f"(i % {sizes.items} + 1)::integer as item_id, (10 - i % 10)::float as score"
    )


def insert(warehouse: Warehouse, relation: str, select: str, n: int) -> None:
    owner = f"'{SAE}' as run_id" if "run_id" in warehouse.columns(relation) else ""
    owner = owner or "'synthetic' as dataset"
    warehouse.execute(
        f"insert into {relation} by name select {owner}, {select} from range({n}) as t (i)"
    )


# -- asking -----------------------------------------------------------------------------------

QUESTION = re.compile(r"^## (?P<title>[^\n]+\?)\n\n.*?```sql\n(?P<sql>.*?)^```", re.M | re.S)


def questions(root: Path, sizes: Sizes) -> Iterator[tuple[str, list[str], str]]:
    """Name, words of the command, and what it reads from stdin."""
    user, item_id, latent_id = sizes.users // 2, sizes.items // 3, sizes.latents // 2
    at = ["--warehouse", str(root)]
    yield "recsae report", ["report", SAE, *at], ""
    yield f"recsae latent RUN {latent_id}", ["latent", SAE, str(latent_id), *at], ""
    yield "recsae latent RUN 3 (a popular one)", ["latent", SAE, "3", *at], ""
    values = {
        "run_id": SAE,
        "user": f"u{user}",
        "title": f"Item {item_id}",
        "a": "Item 5",
        "b": "Item 6",
        "latent_id": latent_id,
        "n_users": 5,
        "judge": "builtin",
    }
    for match in QUESTION.finditer(COOKBOOK.read_text(encoding="utf-8")):
        names = duckdb.extract_statements(match["sql"])[0].named_parameters
        words = [word for name in sorted(names) for word in ("-p", f"{name}={values[name]}")]
        yield match["title"], ["query", "-", *words, *at], match["sql"]
    for query in queries(REPORT):
        if any(relation in MISSING for relation in query.reads):
            continue
        params = {**values, "run_id": REC if query.name == "sweep" else SAE}
        words = [word for p in query.params for word in ("-p", f"{p.name}={params[p.name]}")]
        yield f"query {query.short_name}", ["query", query.full_name, *words, *at], ""
    for query in queries(VIEWS):
        yield f"query {query.short_name}", ["query", query.short_name, *at], ""


MISSING = ("confidence.judge_scores", "confidence.judge_predictions", "raw.judgements")
"""Relations of language models, which this warehouse does not have."""


def ask(words: list[str], text: str) -> None:
    """Run a command twice in this process; a line of JSON with times and memory goes to stderr."""
    import io
    from contextlib import redirect_stderr, redirect_stdout

    from recsae.cli import invoke

    found = []
    for _ in range(2):
        sys.stdin = io.StringIO(text)
        out, err = io.StringIO(), io.StringIO()
        began, used = time.perf_counter(), time.process_time()
        with redirect_stdout(out), redirect_stderr(err):
            code = invoke(words)
        found.append([time.perf_counter() - began, time.process_time() - used])
        if code != 0 or not out.getvalue().strip():
            raise SystemExit(f"{' '.join(words)}: {err.getvalue() or 'nothing found'}")
    print(json.dumps({"calls": found, "peak": peak_memory_mb()}), file=sys.stderr)


def forget(root: Path) -> None:
    """Drop all files from the system's cache, so that the next reader reads from the disk."""
    for path in root.rglob("*"):
        if path.is_file() and hasattr(os, "posix_fadvise"):
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)


def asked(root: Path, sizes: Sizes, only: str) -> None:
    """Ask everything and print a table."""
    print(f"{'':56}{'first s':>8}{'second':>8}{'CPU s':>7}{'MB':>7}")
    for name, words, text in questions(root, sizes):
        if only not in name:
            continue
        forget(root)
        done = subprocess.run(
            [sys.executable, __file__, "--ask", *words], input=text, text=True, capture_output=True
        )
        if done.returncode != 0:
            print(f"{name[:55]:56}{done.stderr.strip().splitlines()[-1]}", flush=True)
            continue
        told = json.loads(done.stderr.strip().splitlines()[-1])
        (first, _), (second, used) = told["calls"]
        numbers = f"{first:>8.2f}{second:>8.2f}{used:>7.2f}{told['peak']:>7,.0f}"
        print(f"{name[:55]:56}{numbers}", flush=True)


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        ask(sys.argv[2:], sys.stdin.read())
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_000_000, help="activations, up to 1e9")
    parser.add_argument("--latents", type=int, default=1024, help="a multiple of 8")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="make it here, or ask it again")
    parser.add_argument("--only", default="", metavar="TEXT", help="questions whose name has this")
    parser.add_argument("--concepts", action="store_true", help="run the stage at the end")
    given = parser.parse_args()
    sizes = Sizes(given.rows, given.latents)
    with tempfile.TemporaryDirectory() as folder:
        root = given.keep or Path(folder) / "warehouse"
        if not (root / "recsae.duckdb").exists():
            began = time.perf_counter()
            make(root, sizes)
            taken = time.perf_counter() - began
            print(f"made {sizes.activations:,} activations in {taken:.0f} s", flush=True)
        for kind in KINDS:
            size = sum(path.stat().st_size for path in (root / kind).rglob("*.parquet"))
            print(f"{kind:16}{size / 1e6:>8,.0f} MB")
        print(f"{'recsae.duckdb':16}{(root / 'recsae.duckdb').stat().st_size / 1e6:>8,.0f} MB")
        asked(root, sizes, given.only)
        if given.concepts:
            words = ["concepts", SAE, "--force", "--warehouse", str(root)]
            done = subprocess.run(
                [sys.executable, "-c", TIMED, *words], text=True, capture_output=True
            )
            print(done.stderr.strip().splitlines()[-1])


TIMED = """
import sys, time
from recsae.cli import invoke
from recsae.stages.common import peak_memory_mb
began = time.perf_counter()
code = invoke(sys.argv[1:])
seconds, used = time.perf_counter() - began, time.process_time()
print(f"recsae concepts: status {int(code)}, {seconds:.0f} s, {used:.0f} CPU s, "
      f"{peak_memory_mb():,.0f} MB", file=sys.stderr)
"""


if __name__ == "__main__":
    main()
