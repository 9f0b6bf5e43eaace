"""``run``: every stage in order, each of them skipped when it is done."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from recsae.config import ConceptsConfig, ConfidenceConfig, SAEConfig, TrainConfig
from recsae.datasets import prepare, prepared
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
    """
    if source is None and dataset in prepared(data):
        reporter.note(f"data {dataset}: already prepared")
    else:
        prepare(dataset, data, source=source, report=reporter.note)
    recommender = train(root, data, model, dataset, config.train, force=force, reporter=reporter)
    sae = train_sae(root, recommender, config.sae, force=force, reporter=reporter)
    encode(root, sae, force=force, reporter=reporter)
    concepts(root, sae, config.concepts, force=force, reporter=reporter)
    confidence(root, sae, config.confidence, force=force, reporter=reporter)
    return sae
