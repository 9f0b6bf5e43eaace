"""``sweep``: a grid of autoencoders of one recommender, each cell a run like any other.

Nothing is kept about a sweep itself: a cell is done when its run is, so the same command goes on
after a kill, and two sweeps share the cells that they have in common.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig
from recsae.errors import RecsaeError, UsageError
from recsae.progress import Reporter
from recsae.sae.presets import with_preset
from recsae.stages.concepts import concepts
from recsae.stages.confidence import confidence
from recsae.stages.encode import encode
from recsae.stages.sae_train import train_sae
from recsae.stages.stored import load_stored, require_one_vector, train_hint
from recsae.warehouse import Warehouse, load, statements

LAST = ("sae", "encode", "concepts", "confidence")
"""Stages of a cell in order, by the words of --until."""


@dataclass(frozen=True)
class SweepConfig:
    """The grid: every combination of these values is a cell."""

    k: tuple[int, ...] = (8,)
    """Latents kept per case."""
    scale: tuple[int, ...] = (16,)
    """Dictionary size / width of the vectors."""
    lr: tuple[float, ...] = ()
    """Highest Adam step size; empty: the preset of each k and scale."""
    revival: str | None = None
    """What is done for silent latents; None: the preset of each k and scale."""
    seeds: int = 1
    """Seeds 0, 1, ... of each cell."""
    epochs: int | None = None
    """Passes over the vectors; None: the preset."""
    until: str = "confidence"
    """Last stage of a cell, one of LAST."""
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)
    """How concepts are verified."""

    def cells(self) -> list[SAEConfig]:
        """A configuration per cell and seed, by k, scale and rate; UsageError for a bad value."""
        if self.seeds < 1:
            raise UsageError(f"--seeds is {self.seeds}, but it must be at least 1")
        if self.until not in LAST:
            words = ", ".join(LAST)
            raise UsageError(f"--until is {self.until}, but it must be one of {words}")
        rates: Sequence[float | None] = self.lr or (None,)
        usual = SAEConfig().with_options(revival=self.revival, epochs=self.epochs)
        return [
            with_preset(usual.with_options(k=k, scale=scale, lr=lr, seed=seed))
            for k, scale, lr, seed in itertools.product(
                self.k, self.scale, rates, range(self.seeds)
            )
        ]


@dataclass(frozen=True)
class SweepResult:
    """What became of the cells."""

    recommender: str
    """Id of the run whose vectors they explain."""
    run_ids: list[str]
    """SAE runs of the cells that are done, in order."""
    failures: list[str]
    """A line about each cell that is not."""


def sweep(root: Path, ref: str, config: SweepConfig, *, reporter: Reporter) -> SweepResult:
    """Train every cell on a recommender run (id, prefix or ``latest``), and verify its concepts.

    The whole grid is checked before anything is trained (UsageError). A cell that fails later does
    not end the sweep; an interruption does.
    """
    cells = config.cells()
    with Warehouse.open(root) as warehouse:
        parent = warehouse.find_run(ref, "recommender")
        warehouse.require_stage(parent.run_id, "train", train_hint(parent))
    stored = load_stored(root, parent)
    require_one_vector(stored, parent)
    _require_room(cells, int(stored.vectors.shape[1]))
    done: list[str] = []
    failures: list[str] = []
    for number, cell in enumerate(cells, 1):
        name = f"k {cell.k}, scale {cell.scale}, lr {cell.lr:g}, seed {cell.seed}"
        reporter.note(f"cell {number} of {len(cells)}: {name}")
        try:
            done.append(_cell(root, parent.run_id, cell, config, reporter))
        except Exception as error:  # hours of other cells may be left
            failures.append(f"{name}: {_reason(error)}")
            reporter.note(f"failed: {failures[-1]}")
    return SweepResult(parent.run_id, done, failures)


def _require_room(cells: Sequence[SAEConfig], width: int) -> None:
    """UsageError for the first cell with a k above its dictionary."""
    for cell in cells:
        if cell.k > cell.latents(width):
            raise UsageError(
                f"--k {cell.k} with --scale {cell.scale} cannot be: "
                f"the dictionary has {cell.latents(width)} latents",
                f"lower --k or raise --scale; the vectors have {width} dimensions",
            )


def _cell(
    root: Path, recommender: str, cell: SAEConfig, config: SweepConfig, reporter: Reporter
) -> str:
    """Every stage of a cell up to the last one that is wanted; the id of its run."""
    run_id = train_sae(root, recommender, cell, force=False, reporter=reporter)
    last = LAST.index(config.until)
    if last >= LAST.index("encode"):
        encode(root, run_id, force=False, reporter=reporter)
    if last >= LAST.index("concepts"):
        concepts(root, run_id, ConceptsConfig(), force=False, reporter=reporter)
    if last >= LAST.index("confidence"):
        confidence(root, run_id, config.confidence, force=False, reporter=reporter)
    return run_id


def _reason(error: Exception) -> str:
    """An error as one line; those that are not ours with their type."""
    if isinstance(error, RecsaeError):
        return error.message
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {first}"


def grid(warehouse: Warehouse, ref: str) -> tuple[str, pl.DataFrame]:
    """The recommender (found by its id, one of its autoencoders, or ``latest``) and its grid.

    Rows of report.sweep. Relations that no stage has built yet count as empty, so a sweep that
    stopped after training can be shown as well.
    """
    run_id = warehouse.find_run(ref, "recommender").run_id
    query = load("report.sweep")
    text = "\n".join(line for line in query.text.splitlines() if not line.startswith("--"))
    for relation in query.reads:
        if not warehouse.exists(relation):
            empty = statements.no_rows(load(relation))
            text = re.sub(rf"\b{re.escape(relation)}\b", f"({empty})", text)
    return run_id, warehouse.sql(text, {"run_id": run_id})
