"""A small planted data set, run once through all stages; tests read it or take copies of it.

It is small enough for seconds and large enough to be honest: every planted concept is found.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import torch

from recsae import stages
from recsae.config import ConfidenceConfig, SAEConfig, TrainConfig
from recsae.datasets import prepare
from recsae.progress import Reporter
from recsae.stages import PipelineConfig
from recsae.warehouse import Warehouse, queries
from recsae.warehouse.checksums import RECORD
from recsae.warehouse.publish import refresh_views, relation_of
from recsae.warehouse.record import keep_record
from recsae.warehouse.runs import LATER_METRICS

# tensors this small gain nothing from a second thread, and lose much when the machine is busy
torch.set_num_threads(1)

OPTIONS = {"users": 300, "items": 160, "concepts": 8, "noise_tags": 20, "seed": 0}
"""Of the data set."""

CONFIG = PipelineConfig(
    train=TrainConfig(emb_size=32, batch_size=64, lr=3e-3, dropout=0.2, epochs=20, early_stop=5),
    sae=SAEConfig(k=4, scale=2, lr=4e-3, revival="auxk", batch_size=256, epochs=20),
    confidence=ConfidenceConfig(permutations=5),
)

COMMANDS: dict[str, tuple[str, ...]] = {
    stage: tuple(line.split())
    for stage, line in {
        "train": "train SASRec planted --emb-size 32 --batch-size 64 --lr 3e-3 --l2 1e-6 "
        "--dropout 0.2 --epochs 20 --early-stop 5",
        "sae train": "sae train latest --k 4 --scale 2 --batch-size 256 --epochs 20 --lr 4e-3 "
        "--revival auxk",
        "encode": "sae encode latest",
        "concepts": "concepts latest",
        "confidence": "confidence latest --permutations 5",
    }.items()
}
"""The command line of every stage that makes the same; the words before any --force."""

TIMES = ("started", "seconds", "peak_memory_mb", "loaded")
"""Columns that differ between two runs of the same."""


class Finished(NamedTuple):
    """A warehouse with all stages done, and where its data set is."""

    root: Path
    data: Path
    recommender: str
    sae: str


@cache
def planted_data(base: Path) -> Path:
    """Data folder with the planted data set, under a folder of the test session."""
    data = base / "planted-data"
    prepare("planted", data, **OPTIONS)
    return data


def pipeline(root: Path, data: Path, config: PipelineConfig = CONFIG, model: str = "SASRec") -> str:
    """Every stage from the prepared data on; the id of the SAE run."""
    return stages.run(
        root, data, "planted", model, config, source=None, force=False, reporter=Reporter()
    )


@cache
def finished(base: Path) -> Finished:
    """The pipeline with CONFIG, run once in a session."""
    root, data = base / "planted-warehouse", planted_data(base)
    sae = pipeline(root, data)
    with Warehouse.open(root, read_only=True) as warehouse:
        return Finished(root, data, str(warehouse.run(sae).parent_run_id), sae)


@cache
def until(base: Path, stage: str) -> Finished:
    """The same as it is before a stage of COMMANDS has run for the first time."""
    whole = finished(base)
    root = copied(whole, base / f"before-{stage.replace(' ', '-')}").root
    later = list(COMMANDS)[list(COMMANDS).index(stage) :]
    with Warehouse.open(root) as warehouse, warehouse.transaction():
        for name in later:
            _undo(warehouse, name, whole)
        refresh_views(warehouse)
    for folder in _folders(root, later, whole):
        shutil.rmtree(folder)
    with Warehouse.open(root, read_only=True) as warehouse:
        for run_id in warehouse.runs()["run_id"]:
            keep_record(warehouse, run_id)
    return whole._replace(root=root)


def _undo(warehouse: Warehouse, stage: str, whole: Finished) -> None:
    """Take everything that a stage registered out of the database."""
    run_id = whole.recommender if stage == "train" else whole.sae
    name = stage.rsplit(" ", 1)[-1]
    for table in ("raw.stages", "raw.files"):
        warehouse.execute(
            f"delete from {table} where run_id = $r and stage = $s", {"r": run_id, "s": name}
        )
    for relation in RESULTS[stage]:
        warehouse.execute(f"delete from {relation} where run_id = $r", {"r": run_id})
    for metric in LATER_METRICS.get(name, ()):
        warehouse.execute("delete from raw.metrics where metric = $m", {"m": metric})


RESULTS = {
    "train": ("raw.metrics", "raw.runs"),
    "sae train": ("raw.metrics", "raw.runs", "staging.user_sides"),
    "encode": ("raw.decoder_items",),
    "concepts": (
        "staging.cases",
        "staging.item_sides",
        "staging.level_edges",
        "concepts.concept_tags",
        "concepts.labels",
        "concepts.example_items",
    ),
    "confidence": (
        "confidence.verification",
        "confidence.scores",
        "confidence.concept_groups",
    ),
}
"""Tables that hold the rows of a stage; its Parquet folders are in FOLDERS."""

FOLDERS = {
    "train": ("cases", "recommendations"),
    "encode": ("activations", "item_latents", "latent_pairs"),
    "confidence": ("user_concepts", "latent_positions"),
}
"""Kinds of Parquet folder that a stage publishes."""


def _folders(root: Path, later: list[str], whole: Finished) -> list[Path]:
    found = [root / kind for stage in later for kind in FOLDERS.get(stage, ())]
    runs = {"train": whole.recommender, "sae train": whole.sae}
    return found + [root / "runs" / run_id for stage, run_id in runs.items() if stage in later]


def copied(source: Finished, root: Path) -> Finished:
    """A copy that may be changed; the warehouse finds its files at the new place by itself."""
    shutil.copytree(source.root, root)
    with Warehouse.open(root):
        pass
    return source._replace(root=root)


def fresh(source: Finished, place: Path) -> Finished:
    """A copy at ``place``, in the stead of what an earlier test left there.

    Its views are made for this place once, so later copies need not be opened.
    """
    template = place.with_name(f"{place.name}-template")
    if not template.exists():
        copied(source, place)
        place.rename(template)
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(template, place)
    return source._replace(root=place)


def snapshot(root: Path) -> dict[str, pl.DataFrame]:
    """Everything of a warehouse that does not tell the time: relations, and digests of files."""
    with Warehouse.open(root, read_only=True) as warehouse:
        names = [query.full_name for query in queries() if query.stage != "report"]
        shown = {
            name: _rows(warehouse, name)
            for name in names
            if name != "raw.meta" and warehouse.exists(name)
        }
    files = sorted(
        path
        for path in root.rglob("*")
        if path.is_file() and not path.name.startswith("recsae.duckdb")
        if path.relative_to(root).parts[0] != "tmp"
    )
    digests = [hashlib.sha256(_content(path)).hexdigest() for path in files]
    places = [str(path.relative_to(root)) for path in files]
    return {**shown, "files": pl.DataFrame({"file": places, "sha256": digests})}


def _content(path: Path) -> bytes:
    """Bytes of a file; of the record of a run without the times."""
    if path.name != RECORD:
        return path.read_bytes()
    found = json.loads(path.read_text())
    for row in (*found["runs"], *found["stages"]):
        for name in TIMES:
            row.pop(name, None)
    found["metrics"] = [row for row in found["metrics"] if row["metric"] not in TIMED]
    return json.dumps(found).encode()


TIMED = ("seconds", "vectors/s")
"""Metrics that tell the time."""


def _rows(warehouse: Warehouse, relation: str) -> pl.DataFrame:
    columns = ", ".join(c for c in warehouse.columns(relation) if c not in TIMES)
    where = f"where metric not in {TIMED}" if relation == "raw.metrics" else ""
    return warehouse.sql(f"select {columns} from {relation} {where} order by all")


def differences(left: dict[str, pl.DataFrame], right: dict[str, pl.DataFrame]) -> list[str]:
    """Names of the relations that are not equal to the last bit."""
    names = sorted({*left, *right})
    return [
        name
        for name in names
        if name not in left or name not in right or not left[name].equals(right[name])
    ]


def runs_of(whole: Finished) -> dict[str, tuple[str, str]]:
    """Run and name in raw.stages of every stage."""
    return {
        stage: (whole.recommender if stage == "train" else whole.sae, stage.rsplit(" ", 1)[-1])
        for stage in COMMANDS
    }


def assert_none_or_all(root: Path, whole: Finished) -> None:
    """Each stage shows no row, or all rows of ``whole`` and then it is done; and readers work."""
    for stage, (run_id, name) in runs_of(whole).items():
        shown = rows_of(root, run_id, stage)
        if stage_row(root, run_id, name).get("status") == "done":
            assert shown == rows_of(whole.root, run_id, stage), f"{stage} is done, but not whole"
        else:
            assert not any(shown.values()), f"{stage} is not done, but has rows"


def scores(root: Path, run_id: str) -> pl.DataFrame:
    """confidence.scores of a run with the leading tags."""
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.sql(
            "select scores.*, labels.leading_tag from confidence.scores as scores "
            "left join concepts.labels as labels using (run_id, latent_id) "
            "where scores.run_id = $run_id order by latent_id",
            {"run_id": run_id},
        )


def trained(relation: str) -> str:
    """Leaves out the metrics that later stages add to those of the training."""
    if relation != "raw.metrics":
        return ""
    return "".join(
        f" and metric <> '{metric}'" for added in LATER_METRICS.values() for metric in added
    )


def rows_of(root: Path, run_id: str, stage: str) -> dict[str, int]:
    """How many rows of a run each relation of a stage shows.

    Without latent_positions, which an encoded run has before they are kept.
    """
    with Warehouse.open(root, read_only=True) as warehouse:
        relations: list[str] = [r for r in RESULTS[stage] if r != "raw.runs"]
        kinds = [kind for kind in FOLDERS.get(stage, ()) if kind != "latent_positions"]
        relations += map(relation_of, kinds)
        return {
            relation: int(
                warehouse.sql(
                    f"select count(*) from {relation} where run_id = $r {trained(relation)}",
                    {"r": run_id},
                ).item()
            )
            for relation in relations
            if warehouse.exists(relation)
        }


def stage_row(root: Path, run_id: str, stage: str) -> dict[str, Any]:
    """The row of raw.stages; empty when there is none."""
    with Warehouse.open(root, read_only=True) as warehouse:
        found = warehouse.sql(
            "select * from raw.stages where run_id = $r and stage = $s", {"r": run_id, "s": stage}
        ).to_dicts()
    return found[0] if found else {}
