"""``sae encode``: trained autoencoder -> sparse activations of all cases as Parquet."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from recsae.config import digest
from recsae.errors import DataError
from recsae.progress import Reporter
from recsae.recommenders.cases import ITEMS, VECTORS, load_array
from recsae.sae.encode import decoder_items, write_activations
from recsae.sae.model import SAE
from recsae.stages.common import StageRun, final_metrics, open_stage
from recsae.stages.sae_train import FOLDER
from recsae.stages.stored import train_hint
from recsae.warehouse import Run, Warehouse, load, run_folder, statements
from recsae.warehouse.connection import connect
from recsae.warehouse.parquet import cluster
from recsae.warehouse.session import Session
from recsae.warehouse.summaries import summaries_of, summary_texts, write_summary

ORDER = ("latent_id", "case_id")
Ids = npt.NDArray[np.int32]


def encode(root: Path, ref: str, *, force: bool, reporter: Reporter) -> str:
    """Encode all cases of an SAE run (id, prefix, ``latest``, or its recommender's id)."""
    with Warehouse.open(root) as warehouse:
        run = warehouse.find_run(ref, "sae")
        parent = warehouse.run(str(run.parent_run_id))
        state = warehouse.require_stage(run.run_id, "train", f"recsae sae train {parent.run_id}")
        warehouse.require_stage(parent.run_id, "train", train_hint(parent))
    identity = digest("encode", state.input_hash, summary_texts("encode"))
    with open_stage(
        root, run.run_id, "encode", {}, identity, force=force, reporter=reporter
    ) as stage:
        if stage is not None:
            _encode(stage, run, parent, reporter)
    return run.run_id


def _encode(stage: StageRun, run: Run, parent: Run, reporter: Reporter) -> None:
    hint = f"{train_hint(parent)} --force"
    vectors, items = (
        load_array(run_folder(stage.root, parent.run_id) / name, hint) for name in (VECTORS, ITEMS)
    )
    sae = load_sae(stage.root, run)
    users, first_items = _case_columns(stage.root, parent.run_id)
    if len(users) != len(vectors):
        raise DataError(
            f"run {parent.run_id!r} has {len(vectors)} vectors, but {len(users)} cases", hint
        )
    unordered = stage.temp / "unordered.parquet"
    n = write_activations(sae, vectors, users, first_items, unordered, reporter)
    folder = stage.folder("activations")
    put_in_order(unordered, folder / "part-0.parquet", stage.root)
    unordered.unlink()
    directions = decoder_items(sae, items).with_columns(run_id=pl.lit(run.run_id))
    summaries = summarise(stage.temp, run.run_id, folder, directions, stage.root)
    stage.publish(
        {"activations": folder, **summaries},
        {"raw.decoder_items": directions},
        final_metrics({"activations": n}, "all"),
    )


def put_in_order(unordered: Path, target: Path, root: Path) -> None:
    """Rows of a latent together, and in a large file first those of a range of users."""
    cluster(unordered, target, ORDER, root, blocks="user_id")


def summarise(
    temp: Path, run_id: str, activations: Path, directions: pl.DataFrame, root: Path
) -> dict[str, Path]:
    """Folders in ``temp`` with the summaries that this stage leaves, by kind."""
    decoder = temp / "decoder"
    decoder.mkdir()
    directions.write_parquet(decoder / "part-0.parquet")
    sources = {
        relation: statements.of_run(load(relation), run_id, folder)
        for relation, folder in (("raw.activations", activations), ("raw.decoder_items", decoder))
    }
    session = Session(connect(None, root, read_only=False, wait=0), root, read_only=False)
    try:
        session.execute("create schema raw")
        kinds = summaries_of("encode")
        return {kind: write_summary(session, kind, sources, temp) for kind in kinds}
    finally:
        session.close()


def load_sae(root: Path, run: Run) -> SAE:
    """The autoencoder of a run; DataError with the command that trains it again."""
    try:
        return SAE.load(run_folder(root, run.run_id) / FOLDER)
    except DataError as error:
        raise DataError(error.message, f"recsae sae train {run.parent_run_id} --force") from None


def _case_columns(root: Path, run_id: str) -> tuple[Ids, Ids]:
    """User and first recommendation of every case, in order of case ids; 0 where there is none."""
    with Warehouse.open(root, read_only=True) as warehouse:
        frame = warehouse.sql(
            "select c.user_id, coalesce(r.item_id, 0) as item_id from raw.cases as c "
            "left join raw.recommendations as r "
            "on c.run_id = r.run_id and c.case_id = r.case_id and r.rank = 1 "
            "where c.run_id = $run_id order by c.case_id",
            {"run_id": run_id},
        )
    return frame["user_id"].to_numpy(), frame["item_id"].to_numpy()
