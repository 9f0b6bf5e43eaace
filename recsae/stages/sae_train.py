"""``sae train``: case vectors of a recommender -> a sparse autoencoder and how well it rebuilds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from torch import Tensor

from recsae.config import SAEConfig, digest
from recsae.errors import UsageError
from recsae.progress import Reporter
from recsae.recommenders.cases import VECTORS
from recsae.recommenders.trainer import CHECKPOINT, epoch_generator
from recsae.report.text import number, percent
from recsae.sae import TRAINING_VERSION
from recsae.sae.folding import LEAST_FIT, FoldIn, default_fold_ins, with_parts
from recsae.sae.model import SAE
from recsae.sae.presets import with_preset
from recsae.sae.selection import Score
from recsae.sae.trainer import fit, measure_fired
from recsae.sae.vectors import FileVectors, MemoryVectors, Vectors, sample
from recsae.stages.advice import fewer_latents, warnings_about
from recsae.stages.common import StageRun, final_metrics, metric_rows, open_stage
from recsae.stages.stored import Stored, load_stored, require_one_vector, train_hint
from recsae.warehouse import Run, Warehouse, run_folder
from recsae.warehouse.checksums import sha256

FOLDER = "sae"
"""Folder of the trained autoencoder inside the run's folder."""

DEV_USERS = 4096
"""Users that are ranked for after each epoch, at most; they are drawn with the seed."""

HELDOUT_VECTORS = 65_536
"""Held-out vectors that are measured after each epoch, at most; all of them are at the end."""


def train_sae(
    root: Path,
    ref: str,
    config: SAEConfig,
    *,
    force: bool,
    reporter: Reporter,
    checkpoint_every: int | None = None,
) -> str:
    """Train an autoencoder on a recommender run (id, prefix or ``latest``); returns its run id.

    ``checkpoint_every`` is the number of steps between two checkpoints, None one each minute.
    """
    with Warehouse.open(root) as warehouse:
        parent = warehouse.find_run(ref, "recommender")
        state = warehouse.require_stage(parent.run_id, "train", train_hint(parent))
    stored = load_stored(root, parent)
    require_one_vector(stored, parent)
    n, d = stored.vectors.shape
    n_train = round(n * (1 - config.heldout_share))
    config = with_preset(config.for_vectors(n_train, d))
    config = replace(config, fold_in=_fold_ins(stored, config, n_train, parent))
    SAE(d, config.latents(d), config.k)  # refuses a k that does not fit before anything is stored
    # the hash costs .5 s per GB, and tells vectors apart that other threads or versions made
    made = (state.input_hash, sha256(run_folder(root, parent.run_id) / VECTORS))
    identity = digest("sae", TRAINING_VERSION, config.to_json(), parent.run_id, *made)
    with Warehouse.open(root) as warehouse:
        run_id = name_sae_run(warehouse, parent, config.k, identity)

    def register(warehouse: Warehouse) -> None:
        warehouse.start_run(
            run_id,
            kind="sae",
            parent_run_id=parent.run_id,
            dataset=parent.dataset,
            model="TopK",
            params={
                **config.to_json(),
                "d": d,
                "n_latents": config.latents(d),
                "training_version": TRAINING_VERSION,
            },
            data_fingerprint=parent.data_fingerprint,
            seed=config.seed,
            replace=True,
        )

    params = config.to_json()
    with open_stage(
        root, run_id, "train", params, identity, force=force, reporter=reporter, register=register
    ) as stage:
        checkpoint = run_folder(root, run_id) / CHECKPOINT
        if stage is not None:
            if force:
                checkpoint.unlink(missing_ok=True)
            sides = draw_user_sides(root, run_id, config)
            _train(stage, stored, sides, config, identity, reporter, checkpoint_every)
        # also what a process left that was killed after it had published
        checkpoint.unlink(missing_ok=True)
    return run_id


def name_sae_run(
    warehouse: Warehouse, parent: Run, k: int, identity: str, first: str = "sae"
) -> str:
    """The id of an SAE run: after its first word the parent's id, without the hash, and k."""
    base = parent.run_id.rsplit("-", 1)[0]
    return warehouse.name_run(f"{first}-{base}-k{k}", identity)


def _fold_ins(stored: Stored, config: SAEConfig, n_train: int, run: Run) -> int:
    """Vectors to fold in per user; UsageError where that was asked for and cannot be done."""
    if stored.file is None and torch.bincount(stored.users).max() <= 1:
        return default_fold_ins(n_train) if config.fold_in is None else config.fold_in
    if config.fold_in:
        why = "has several vectors of a user" if stored.file is None else "has too many vectors"
        raise UsageError(
            f"--fold-in is {config.fold_in}, but run {run.run_id!r} {why}", "leave --fold-in out"
        )
    return 0


def draw_user_sides(root: Path, run_id: str, config: SAEConfig) -> pl.DataFrame:
    """Draw the sides of the users: the rows of staging.user_sides, stored when the stage ends."""
    shares = {
        "run_id": run_id,
        "seed": config.seed,
        "construct_share": config.construct_share,
        "heldout_share": config.heldout_share,
    }
    with Warehouse.open(root, read_only=True) as warehouse:
        return warehouse.query("staging.user_sides", shares)


def _is_heldout(stored: Stored, sides: pl.DataFrame) -> Tensor:
    """(n_cases,) whether a case's user must not train."""
    return torch.isin(stored.users, _heldout_users(sides))


def _heldout_users(sides: pl.DataFrame) -> Tensor:
    users = sides.filter("is_heldout")["user_id"].sort()
    return torch.from_numpy(users.cast(pl.Int64).to_numpy().copy())


def _sources(stage: StageRun, stored: Stored, sides: pl.DataFrame) -> tuple[Vectors, Vectors]:
    """Vectors that train, and those held out."""
    is_heldout = _is_heldout(stored, sides)
    if stored.file is None:
        train, heldout = stored.vectors[~is_heldout], stored.vectors[is_heldout]
        return MemoryVectors(train), MemoryVectors(heldout)
    train_rows, heldout_rows = ~is_heldout, is_heldout
    return (
        FileVectors(stored.file, stage.temp, train_rows),
        FileVectors(stored.file, stage.temp, heldout_rows),
    )


def _train(
    stage: StageRun,
    stored: Stored,
    sides: pl.DataFrame,
    config: SAEConfig,
    identity: str,
    reporter: Reporter,
    checkpoint_every: int | None,
) -> None:
    train, heldout = _sources(stage, stored, sides)
    source, n_folded = train, 0
    if config.fold_in:
        assert isinstance(train, MemoryVectors)  # _fold_ins sees to it
        folded = _folded(train.vectors, stored, sides, config, reporter)
        source, n_folded = MemoryVectors(with_parts(train.vectors, folded)), len(folded)
    n_latents = config.latents(train.d)
    if train.n < n_latents:
        reporter.note(
            f"warning: only {train.n} training vectors for {n_latents} latents, which will "
            f"memorise them; {fewer_latents(config, train.d)}"
        )
    generator = epoch_generator(config.seed, -1)
    sae, history = fit(
        source,
        sample(heldout, HELDOUT_VECTORS, generator),
        config,
        run_folder(stage.root, stage.run_id),
        identity,
        reporter,
        score=_dev_score(stored, generator),
        checkpoint_every=checkpoint_every,
    )
    also = {"folded vectors": n_folded}
    publish_sae(stage, stored, sae, sides, history, reporter, also, trained=config)


def _folded(
    own: Tensor, stored: Stored, sides: pl.DataFrame, config: SAEConfig, reporter: Reporter
) -> Tensor:
    """Vectors (n, d) that train beside the users' ``own``; none unless they resemble those."""
    assert config.fold_in is not None
    users = stored.users[~_is_heldout(stored, sides)]
    fold = FoldIn(stored.sequences, users, own, stored.items)
    if fold.fit < LEAST_FIT:
        reporter.note(
            f"histories explain {max(fold.fit, 0):.0%} of the users' vectors, too little to fold "
            "in parts of them"
        )
        return own[:0]
    vectors = fold.draw(config.fold_in, epoch_generator(config.seed, -2))
    reporter.note(
        f"{len(vectors):,} vectors of parts of histories train beside the users' own "
        f"{len(own):,} (histories explain {fold.fit:.0%} of these)"
    )
    return vectors


def _dev_score(stored: Stored, generator: torch.Generator) -> Score | None:
    """NDCG@10 of the dev item with vectors rebuilt by an autoencoder, per user."""
    gains = stored.gains("dev", DEV_USERS, generator)
    if gains is None:
        return None
    return lambda sae: gains(lambda x: sae(x.to(sae.shift.device)).cpu())


def publish_sae(
    stage: StageRun,
    stored: Stored,
    sae: SAE,
    sides: pl.DataFrame,
    history: list[dict[str, float]],
    reporter: Reporter,
    also: Mapping[str, float] | None = None,
    *,
    trained: SAEConfig | None = None,
) -> None:
    """Save an autoencoder, measure it on the vectors of both sides, and end its training stage.

    ``sides`` are those of ``draw_user_sides``, ``also`` more metrics of the training vectors,
    ``trained`` the settings of one that was trained just now, about which there may be advice.
    """
    train, heldout = _sources(stage, stored, sides)
    sae.save(run_folder(stage.root, stage.run_id) / FOLDER)
    (own, fired), (other, also_fired) = measure_fired(sae, train), measure_fired(sae, heldout)
    dead = 1 - float((fired | also_fired).double().mean())
    final: dict[str, dict[str, float]] = {
        "train": {**own, **(also or {})},
        "heldout": dict(other),
        "all": {"dead": dead},
    }
    ranking = {
        "test": _through(stored, sae, None),
        "heldout": _through(stored, sae, _heldout_users(sides)),
    }
    stage.publish(
        relations={"staging.user_sides": sides},
        metrics=_metrics(history, final, ranking),
        ends_run=True,
    )
    fvu = (final["train"]["FVU"], final["heldout"]["FVU"])
    for line in warnings_about(*fvu, stored.vectors, stored.users, trained, train.n):
        reporter.note(line)
    reporter.note(
        f"{stage.run_id}: FVU {number(fvu[0], 3)}, held-out {number(fvu[1], 3)}, "
        f"dead {percent(dead)}, "
        f"NDCG@10 kept {percent(ranking['test'].get('NDCG@10 kept'))}"
    )


def _through(stored: Stored, sae: SAE, users: Tensor | None) -> dict[str, float]:
    """Test metrics with vectors rebuilt by the SAE, and the share of NDCG@10 that is kept."""
    plain, rebuilt = (stored.evaluate("test", r, users) for r in (None, sae))
    if not plain:
        return {}
    whole = plain["NDCG@10"]
    return {**rebuilt, "NDCG@10 kept": rebuilt["NDCG@10"] / whole if whole else float("nan")}


def _metrics(
    history: list[dict[str, float]],
    final: Mapping[str, dict[str, float]],
    ranking: dict[str, dict[str, float]],
) -> pl.DataFrame:
    """Rows for the warehouse. A latent is dead that fires on no case, of any user."""
    rows = [dict(row) for row in history]
    best = [row["epoch"] for row in rows if row.pop("kept", 0)]
    scores = [
        {"epoch": row["epoch"], "NDCG@10": row.pop("dev score")}
        for row in rows
        if "dev score" in row
    ]
    prefix = "heldout "
    train, heldout = [], []
    for row in rows:
        train.append({k: v for k, v in row.items() if not k.startswith(prefix)})
        own = {k.removeprefix(prefix): v for k, v in row.items() if k.startswith(prefix)}
        heldout.append({"epoch": row["epoch"], **own})
    train_only, shown = (
        {k: v for k, v in final[side].items() if k != "dead"} for side in ("train", "heldout")
    )
    return pl.concat(
        [
            metric_rows(train, "train"),
            metric_rows(heldout, "heldout"),
            metric_rows(scores, "dev"),
            final_metrics({"best epoch": best[0]} if best else {}, "all"),
            final_metrics(final["all"], "all"),
            final_metrics(train_only, "train"),
            final_metrics({**shown, **ranking["heldout"]}, "heldout"),
            final_metrics(ranking["test"], "test"),
        ]
    )
