"""Runs, their stages and their metrics: who made what, from which input, and whether it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import polars as pl

import recsae
from recsae.errors import DataError, MissingStageError, RecsaeError, UsageError
from recsae.progress import WARNING, tell
from recsae.warehouse import publish, statements
from recsae.warehouse.checksums import parquet_path, run_path
from recsae.warehouse.files import replace_folder, safe_name
from recsae.warehouse.marks import PARQUET_FILES, RUN_FILES, require_own
from recsae.warehouse.session import Session

RunKind = Literal["recommender", "sae"]
Stage = Literal["train", "encode", "concepts", "confidence"]
STAGES: tuple[Stage, ...] = ("train", "encode", "concepts", "confidence")
"""In the order in which a run goes through them; a recommender has only the first."""

STORED: dict[Stage, tuple[str, ...]] = {
    "train": ("staging.user_sides",),
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
"""Tables in which a stage of an autoencoder leaves rows, beside its Parquet folders."""

JUDGED = (
    *("raw.descriptions", "raw.predictions", "raw.judgements"),
    *("confidence.judge_predictions", "confidence.judge_scores"),
)
"""Tables of the judges, who go by what the confidence stage has left."""

KEPT_ALONE = "NDCG@10 kept by interpretable"
"""Metric of a verified run: its interpretable latents alone against the recommender."""

COVERED = "users covered"
"""Metric of a verified run: share of the verifying users with an active interpretable latent."""

LABELLED = "labelled latents"
"""Metric of a run whose concepts are built: rows of concepts.labels, none where no tags are."""

LATER_METRICS: dict[Stage, tuple[str, ...]] = {
    "encode": ("activations",),
    "concepts": (LABELLED,),
    "confidence": (KEPT_ALONE, COVERED),
}
"""Metrics that a stage after the training adds to those of its run."""

REPAIRING = "repairing "
"""Key in raw.meta, before a run id, of the stages that a repair is running again."""

CONTROLS = ("untrained", "neurons")
"""Models of SAE runs that are there to be compared with; ``latest`` never means one of them."""

KEY_METRICS = {
    "recommender": (("test", "NDCG@10"), ("test", "HR@10")),
    "sae": (("heldout", "FVU"), ("test", "NDCG@10")),
}
"""Final metrics that identify a run in a listing, as (split, metric)."""


VERSION_MARK = "@"
"""Between the name of a data set and the start of its fingerprint; no name has it."""


def dataset_version(name: str, fingerprint: str) -> str:
    """What content of a data set is stored as once other content has its name."""
    return f"{name}{VERSION_MARK}{fingerprint[:8]}"


def dataset_name(version: str) -> str:
    """The name under which a data set is prepared, of any version of it."""
    return version.partition(VERSION_MARK)[0]


@dataclass(frozen=True)
class Run:
    """A row of raw.runs."""

    run_id: str
    kind: RunKind
    parent_run_id: str | None
    dataset: str
    model: str
    params: dict[str, Any]
    data_fingerprint: str
    code_version: str
    seed: int
    status: str
    started: datetime
    """UTC, without a time zone."""
    seconds: float | None

    @property
    def dataset_name(self) -> str:
        """The name under which its data set is prepared, whatever content that has by now."""
        return dataset_name(self.dataset)


@dataclass(frozen=True)
class StageState:
    """A row of raw.stages."""

    run_id: str
    stage: Stage
    params: dict[str, Any]
    input_hash: str
    status: str
    started: datetime
    seconds: float | None
    peak_memory_mb: float | None


class Runs(Session):
    """The part of the warehouse that keeps the books."""

    # -- runs ---------------------------------------------------------------------------------

    def name_run(self, base: str, digest: str) -> str:
        """``base-3f2a``: the shortest id, of four digits or more, that no other run has.

        A run whose stage has ``digest`` as its input hash, or that has no stage yet, is this one.
        """
        for length in range(4, len(digest) + 1):
            run_id = f"{base}-{digest[:length]}"
            hashes = self.sql(
                "select input_hash from raw.stages where run_id = $run_id", {"run_id": run_id}
            )["input_hash"]
            if hashes.is_empty() or digest in hashes:
                return safe_name("run id", run_id)
        raise DataError(f"no run id is left for {base!r}")

    def start_run(
        self,
        run_id: str,
        *,
        kind: RunKind,
        dataset: str,
        model: str,
        params: Mapping[str, Any],
        data_fingerprint: str,
        seed: int,
        parent_run_id: str | None = None,
        replace: bool = False,
    ) -> Run:
        """Register a run as running.

        One that is running or failed is reset: its stages and metrics are forgotten, and so are
        the stages of the autoencoders trained on it. One that is done is a UsageError unless
        ``replace``.
        """
        safe_name("run id", run_id)
        known = self._run(run_id)
        if known and known.status == "done" and not replace:
            raise UsageError(f"run {run_id!r} is already done", "repeat it with --force")
        values = {
            "run_id": run_id,
            "kind": kind,
            "parent_run_id": parent_run_id,
            "dataset": self._version_of(dataset, data_fingerprint),
            "model": model,
            "params": _json(params),
            "data_fingerprint": data_fingerprint,
            "code_version": recsae.__version__,
            "seed": seed,
            "status": "running",
            "started": _now(),
        }
        with self.transaction():
            self._forget(run_id)
            self._insert_row("raw.runs", values)
            publish.refresh_views(self)
        return self.run(run_id)

    def _version_of(self, dataset: str, fingerprint: str) -> str:
        """The stored version of a data set with this fingerprint.

        DataError when another process has loaded other content since this one read it, and no run
        was made from the old.
        """
        name = dataset_name(dataset)
        stored = dict(self.sql("select dataset, fingerprint from raw.datasets").rows())
        if stored.get(name, fingerprint) == fingerprint:
            return name
        version = dataset_version(name, fingerprint)
        if version not in stored:
            raise DataError(
                f"data set {name!r} was replaced by other content just now", "repeat the command"
            )
        return version

    def _forget(self, run_id: str) -> None:
        key = {"run_id": run_id}
        self.note_stages(run_id, {})
        self.execute("delete from raw.metrics where run_id = $run_id", key)
        self.execute("delete from raw.runs where run_id = $run_id", key)
        self._drop_stages(run_id, STAGES)

    def finish_run(self, run_id: str, seconds: float) -> None:
        """Mark a run done after ``seconds`` of wall time."""
        self._end_run(run_id, "done", seconds)

    def fail_run(self, run_id: str, seconds: float | None = None) -> None:
        """Mark a run failed, and its stage that was running."""
        with self.transaction():
            self._end_run(run_id, "failed", seconds)
            self.execute(
                "update raw.stages set status = 'failed' "
                "where run_id = $run_id and status = 'running'",
                {"run_id": run_id},
            )

    def fail_stage(self, run_id: str, stage: Stage) -> None:
        """Mark a running stage failed, and with the stage that makes the run the run as well."""
        if stage == "train":
            self.fail_run(run_id)
            return
        self.execute(
            "update raw.stages set status = 'failed' "
            "where run_id = $run_id and stage = $stage and status = 'running'",
            {"run_id": run_id, "stage": stage},
        )

    def _end_run(self, run_id: str, status: str, seconds: float | None) -> None:
        self.run(run_id)
        self.execute(
            "update raw.runs set status = $status, seconds = $seconds where run_id = $run_id",
            {"run_id": run_id, "status": status, "seconds": seconds},
        )

    def run(self, run_id: str) -> Run:
        """The run with exactly this id; UsageError when there is none."""
        if found := self._run(run_id):
            return found
        raise self._unknown(run_id)

    def _run(self, run_id: str) -> Run | None:
        frame = self.sql("select * from raw.runs where run_id = $run_id", {"run_id": run_id})
        return _as_run(frame.row(0, named=True)) if len(frame) else None

    def find_run(self, ref: str, kind: RunKind | None = None) -> Run:
        """The run meant by an id, a unique prefix of one, or ``latest`` (the last to finish).

        ``latest`` is of the ``kind`` that is asked for and no control. An id of the other kind
        stands for the run that belongs to it: the last finished autoencoder of a recommender, or
        the recommender of an autoencoder. Which run it is, is told (``telling``) unless it is named
        in full. UsageError when none or several match.
        """
        run = self._found(ref, kind)
        if ref != run.run_id:
            tell(f"run {ref}: {run.run_id}, {_about(run)}")
        if ref == "latest" and _family(newest := self._latest(None)) != _family(run):
            tell(
                f"{WARNING}a newer run is of another recommender: {newest.run_id}, {_about(newest)}"
            )
        return run

    def recommender_of(self, run: Run) -> Run:
        """The recommender of an autoencoder; a recommender itself."""
        return self._of_kind(run, "recommender")

    def _found(self, ref: str, kind: RunKind | None) -> Run:
        if ref == "latest":
            return self._latest(kind)
        if exact := self._run(ref):
            return self._of_kind(exact, kind)
        all_runs = self._ids()
        matches = all_runs.filter(pl.col("run_id").str.starts_with(ref)) if ref else all_runs[:0]
        wanted = matches if kind is None else matches.filter(pl.col("kind") == kind)
        ids = (wanted if len(wanted) else matches)["run_id"].to_list()
        if len(ids) == 1:
            return self._of_kind(self.run(ids[0]), kind)
        if ids:
            raise UsageError(f"{ref!r} is the start of several runs", f"say which: {_list(ids)}")
        raise self._unknown(ref)

    def _ids(self) -> pl.DataFrame:
        return self.sql("select run_id, kind from raw.runs order by run_id")

    def _unknown(self, ref: str) -> RecsaeError:
        available = self._ids()["run_id"].to_list()
        if not available:
            return MissingStageError("the warehouse has no runs yet", "recsae run ml-100k")
        return UsageError(f"no run is called {ref!r}", f"there is {_list(available)}")

    def _latest(self, kind: RunKind | None, parent: str | None = None) -> Run:
        frame = self.sql(
            "select * from raw.runs where status = 'done' and kind = coalesce($kind, kind) "
            "and ($parent is null or parent_run_id = $parent) "
            "and not list_contains($controls, model) "
            "order by started + to_microseconds((coalesce(seconds, 0) * 1e6)::bigint) desc, "
            "run_id desc limit 1",
            {"kind": kind, "parent": parent, "controls": list(CONTROLS)},
        )
        if len(frame):
            return _as_run(frame.row(0, named=True))
        if parent:
            raise MissingStageError(
                f"run {parent!r} has no finished autoencoder", f"recsae sae train {parent}"
            )
        raise MissingStageError(
            f"no {kind or 'finished'} run is done yet",
            "recsae sae train" if kind == "sae" else "recsae run ml-100k",
        )

    def _of_kind(self, run: Run, kind: RunKind | None) -> Run:
        if kind is None or run.kind == kind:
            return run
        if kind == "sae":
            return self._latest("sae", run.run_id)
        parent = run.parent_run_id and self._run(run.parent_run_id)
        if not parent:
            raise DataError(f"the recommender of run {run.run_id!r} is not in the warehouse")
        return parent

    def runs(self) -> pl.DataFrame:
        """All runs, latest first: raw.runs plus ``stages`` (those done, in order)."""
        return self.sql(
            "select r.*, coalesce(s.stages, []) as stages from raw.runs as r left join ("
            "select run_id, list(stage order by list_position($stages, stage)) as stages "
            "from raw.stages where status = 'done' group by run_id) as s using (run_id) "
            "order by r.started desc, r.run_id",
            {"stages": list(STAGES)},
        )

    # -- stages -------------------------------------------------------------------------------

    def stage_state(self, run_id: str, stage: Stage) -> StageState | None:
        """What is known about a stage of a run; None when it never started."""
        frame = self.sql(
            "select * from raw.stages where run_id = $run_id and stage = $stage",
            {"run_id": run_id, "stage": stage},
        )
        if frame.is_empty():
            return None
        row = frame.row(0, named=True)
        return StageState(**{**row, "params": json.loads(row["params"])})

    def start_stage(
        self, run_id: str, stage: Stage, params: Mapping[str, Any], input_hash: str
    ) -> None:
        """Register a stage as running; it and the stages after it count as not done from now on."""
        self.run(run_id)
        values = {
            "run_id": run_id,
            "stage": stage,
            "params": _json(params),
            "input_hash": input_hash,
            "status": "running",
            "started": _now(),
        }
        with self.transaction():
            self._drop_stages(run_id, STAGES[STAGES.index(stage) :])
            self._insert_row("raw.stages", values)
            publish.refresh_views(self)

    def note_stages(self, run_id: str, stages: Mapping[str, Mapping[str, Any]]) -> None:
        """Keep the settings of stages that a repair will drop and run again; none: it is done."""
        key = {"key": f"{REPAIRING}{run_id}"}
        with self.transaction():
            self.execute("delete from raw.meta where key = $key", key)
            if stages:
                self._insert_row("raw.meta", {**key, "value": json.dumps(dict(stages))})

    def noted_stages(self, run_id: str) -> dict[Stage, dict[str, Any]]:
        """Stages of ``note_stages`` that have not been run again yet, with their settings."""
        noted = self.sql(
            "select value from raw.meta where key = $key", {"key": f"{REPAIRING}{run_id}"}
        )["value"]
        done = self.sql(
            "select stage from raw.stages where run_id = $run_id and status = 'done'",
            {"run_id": run_id},
        )["stage"].to_list()
        found = json.loads(noted[0]) if len(noted) else {}
        return {stage: params for stage, params in found.items() if stage not in done}

    def _drop_stages(self, run_id: str, stages: tuple[Stage, ...]) -> None:
        """Forget stages of a run with the rows they made.

        Without its training also all of the runs that build on it, and those built on these; such
        a run is no longer done.
        """
        self._drop_results([run_id], stages)
        if "train" not in stages:
            return
        if built := self.built_on(run_id):
            self._drop_results(built, STAGES)
            self.execute(
                "delete from raw.metrics where list_contains($runs, run_id)", {"runs": built}
            )
            self.execute(
                "update raw.runs set status = 'failed' "
                "where list_contains($runs, run_id) and status = 'done'",
                {"runs": built},
            )

    def built_on(self, run_id: str) -> list[str]:
        """Ids of the runs that have this one among their ancestors."""
        found = self.sql(
            "with recursive built (run_id) as (select run_id from raw.runs "
            "where parent_run_id = $run_id union select r.run_id from raw.runs as r "
            "join built on r.parent_run_id = built.run_id) from built order by run_id",
            {"run_id": run_id},
        )
        return found["run_id"].to_list()

    def _drop_results(self, runs: list[str], stages: tuple[Stage, ...]) -> None:
        for table in ("raw.stages", "raw.files"):
            self.execute(
                f"delete from {table} where list_contains($stages, stage) "
                "and list_contains($runs, run_id)",
                {"runs": runs, "stages": list(stages)},
            )
        self.execute(
            "delete from raw.metrics where list_contains($metrics, metric) "
            "and list_contains($runs, run_id)",
            {
                "runs": runs,
                "metrics": [m for stage in stages for m in LATER_METRICS.get(stage, ())],
            },
        )
        tables = {table for stage in stages for table in STORED[stage]}
        if "confidence" in stages:
            tables.update(JUDGED)
        for table in sorted(filter(self.exists, tables)):
            self.execute(
                f"delete from {statements.name(table)} where list_contains($runs, run_id)",
                {"runs": runs},
            )

    def finish_stage(
        self, run_id: str, stage: Stage, *, seconds: float, peak_memory_mb: float | None = None
    ) -> None:
        """Mark a started stage done; its Parquet folders, if any, become visible."""
        run = self.run(run_id)
        if self.stage_state(run_id, stage) is None:
            raise DataError(f"stage {stage} of run {run_id!r} was not started")
        with self.transaction():
            self.execute(
                "update raw.stages set status = 'done', seconds = $seconds, "
                "peak_memory_mb = $peak where run_id = $run_id and stage = $stage",
                {"run_id": run_id, "stage": stage, "seconds": seconds, "peak": peak_memory_mb},
            )
            if publish.kinds_of(stage, run.kind):
                publish.refresh_views(self)

    def publish(
        self,
        run_id: str,
        stage: Stage,
        folders: Mapping[str, Path],
        *,
        seconds: float,
        peak_memory_mb: float | None = None,
        metrics: pl.DataFrame | None = None,
    ) -> None:
        """Move finished Parquet folders into place, then in one transaction end the stage.

        ``folders`` maps each kind the stage publishes (cases and recommendations, or activations,
        and summaries) to a temporary folder on the same disk. Nothing is visible before, all of it
        after.
        """
        run_kind = self.run(run_id).kind
        expected = publish.needed_kinds(stage, run_kind)
        if not set(expected) <= set(folders) <= set(publish.kinds_of(stage, run_kind)):
            raise DataError(f"stage {stage} publishes {expected}, not {sorted(folders)}")
        for kind, folder in folders.items():
            publish.check_folder(self, kind, folder)
        for kind, folder in folders.items():
            replace_folder(folder, self.root, parquet_path(kind, run_id), PARQUET_FILES)
        with self.transaction():
            if metrics is not None:
                self.add_metrics(run_id, metrics)
            self.finish_stage(run_id, stage, seconds=seconds, peak_memory_mb=peak_memory_mb)

    def require_places(self, run_id: str, stage: Stage) -> None:
        """DataError when a place that a stage is to fill holds what recsae did not make."""
        if stage == "train":
            require_own(self.root, run_path(run_id), RUN_FILES)
        for kind in publish.kinds_of(stage, self.run(run_id).kind):
            require_own(self.root, parquet_path(kind, run_id), PARQUET_FILES)

    def stage_done(self, run_id: str, stage: Stage, input_hash: str | None = None) -> bool:
        """Whether a stage is done (with this input) and its files can still be opened."""
        state = self.stage_state(run_id, stage)
        if state is None or state.status != "done":
            return False
        if input_hash is not None and state.input_hash != input_hash:
            return False
        return not self._lost_folders(run_id, stage)

    def _lost_folders(self, run_id: str, stage: Stage) -> dict[Path, str | None]:
        kinds = publish.needed_kinds(stage, self.run(run_id).kind)
        return publish.lost_folders(self, kinds, run_id)

    def require_stage(self, run_id: str, stage: Stage, hint: str) -> StageState:
        """The state of a stage that is done; MissingStageError with the hint when it is not.

        DataError when its files cannot be opened, or when its data set is not there as it was.
        """
        self._require_its_data(self.run(run_id))
        state = self.stage_state(run_id, stage)
        if state is None or state.status != "done":
            status = f"is {state.status}" if state else "has not run"
            raise MissingStageError(f"stage {stage} of run {run_id!r} {status}", hint)
        for folder, problem in self._lost_folders(run_id, stage).items():
            if problem:
                raise DataError(f"{folder} is damaged: {problem}", hint)
            raise MissingStageError(f"stage {stage} of run {run_id!r} has lost its files", hint)
        return state

    def _require_its_data(self, run: Run) -> None:
        """A data set with other content has other ids, titles and splits."""
        stored = dict(self.sql("select dataset, fingerprint from raw.datasets").rows())
        has_it = stored.get(run.dataset) == run.data_fingerprint
        if dataset_name(run.dataset) in stored and not has_it:
            raise DataError(
                f"the content of data set {run.dataset_name!r} that run {run.run_id!r} was made "
                "from is no longer in the warehouse",
                f"recsae train {run.model} {run.dataset_name}"
                if run.kind == "recommender"
                else f"train its recommender {run.parent_run_id} and the autoencoder again",
            )

    # -- metrics ------------------------------------------------------------------------------

    def add_metrics(self, run_id: str, frame: pl.DataFrame) -> None:
        """Store (split, epoch, metric, value) rows; rows of the same grain are replaced.

        A value that is not a finite number could not be measured, and becomes NULL.
        """
        value = pl.col("value").cast(pl.Float64)
        rows = frame.select(
            pl.lit(run_id).alias("run_id"),
            pl.col("split").cast(pl.String),
            pl.col("epoch").cast(pl.Int32),
            pl.col("metric").cast(pl.String),
            pl.when(value.is_finite()).then(value).alias("value"),
        )
        keys = rows.select("split", "epoch", "metric").to_dict(as_series=False)
        with self.transaction():
            self.execute(
                "delete from raw.metrics where run_id = $run_id and (split, epoch, metric) in "
                "(select unnest($split), unnest($epoch), unnest($metric))",
                {"run_id": run_id, **keys},
            )
            self.insert("raw.metrics", rows)
            self.check("raw.metrics", run_id)

    def metrics(self, run_id: str) -> pl.DataFrame:
        """The metrics of a run, ordered: run_id, split, epoch, metric, value."""
        return self.sql(
            "select * from raw.metrics where run_id = $run_id order by split, epoch, metric",
            {"run_id": run_id},
        )

    def key_metrics(self) -> pl.DataFrame:
        """Final metrics (epoch 0) of every run: run_id, split, metric, value."""
        return self.sql(
            "select run_id, split, metric, value from raw.metrics where epoch = 0 "
            "order by run_id, split, metric"
        )

    def _insert_row(self, table: str, values: Mapping[str, object]) -> None:
        columns = ", ".join(values)
        marks = ", ".join(f"${column}" for column in values)
        self.execute(f"insert into {table} ({columns}) values ({marks})", values)


def _about(run: Run) -> str:
    """A run in a few words."""
    if run.kind == "sae":
        return f"autoencoder of {run.parent_run_id}"
    return f"{run.model} on {run.dataset}"


def _family(run: Run) -> str | None:
    """The recommender that a run is about."""
    return run.parent_run_id if run.kind == "sae" else run.run_id


def _as_run(row: dict[str, Any]) -> Run:
    return Run(**{**row, "params": json.loads(row["params"])})


def _json(values: Mapping[str, Any]) -> str:
    return json.dumps(dict(values), ensure_ascii=False, sort_keys=True, default=str)


def _now() -> datetime:
    return datetime.now(UTC).replace(tzinfo=None)


def _list(ids: list[str]) -> str:
    shown = ", ".join(ids[:10])
    return shown if len(ids) <= 10 else f"{shown} and {len(ids) - 10} more"
