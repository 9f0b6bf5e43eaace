"""``run``: every stage in order, each of them skipped when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig, TrainConfig
from recsae.datasets import prepare, prepared, read_info
from recsae.datasets.canonical import advice
from recsae.datasets.prepare import RECIPES
from recsae.errors import UsageError
from recsae.progress import Reporter
from recsae.stages.concepts import concepts
from recsae.stages.confidence import confidence
from recsae.stages.encode import encode
from recsae.stages.sae_train import train_sae
from recsae.stages.train import train


@dataclass(frozen=True)
class PipelineConfig:
    """Settings of all stages."""

    train: TrainConfig
    sae: SAEConfig = field(default_factory=SAEConfig)
    concepts: ConceptsConfig = field(default_factory=ConceptsConfig)
    confidence: ConfidenceConfig = field(default_factory=ConfidenceConfig)


def run(
    root: Path,
    data: Path,
    dataset: str,
    model: str,
    config: PipelineConfig,
    *,
    source: Path | None,
    force: bool,
    reporter: Reporter,
) -> str:
    """Go from a data set's name to verified concepts; returns the id of the SAE run.

    A data set that is prepared already is taken as it is, whatever options it was prepared with.
    Errors: UsageError for a data set that has to be prepared by a command of its own.
    """
    _prepare(data, dataset, source, reporter)
    recommender = train(root, data, model, dataset, config.train, force=force, reporter=reporter)
    sae = train_sae(root, recommender, config.sae, force=force, reporter=reporter)
    encode(root, sae, force=force, reporter=reporter)
    concepts(root, sae, config.concepts, force=force, reporter=reporter)
    confidence(root, sae, config.confidence, force=force, reporter=reporter)
    return sae


def _prepare(data: Path, dataset: str, source: Path | None, reporter: Reporter) -> None:
    """Prepare a data set that is not, or that a source is given for."""
    known, done = RECIPES.get(dataset), dataset in prepared(data)
    if done and source is None:
        reporter.note(f"data {dataset}: already prepared")
        return
    if known is not None and known.form:
        raise UsageError(
            f"{dataset} is a form of data sets of your own, which are prepared first",
            f"recsae data prepare {dataset} --source PATH --name NAME, then recsae run NAME",
        )
    if done and known is None:
        recipe = read_info(dataset, data).get("recipe")
        raise UsageError(
            f"{dataset} was prepared by recsae data prepare {recipe}, which --source belongs to",
            "leave --source out, or prepare it again with recsae data prepare",
        )
    if known is None:
        raise UsageError(f"there is no data set {dataset!r}", advice(dataset, data))
    prepare(dataset, data, source=source, report=reporter.note)
