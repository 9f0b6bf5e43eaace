"""What a report shows, read from the warehouse; nothing is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from recsae.report.advice import advice
from recsae.report.comparison import measures

if TYPE_CHECKING:
    from recsae.warehouse import Warehouse

Row = dict[str, Any]


class Found(NamedTuple):
    """The parts of a run's report."""

    card: Row
    histogram: list[Row]
    concepts: list[Row]
    """Interpretable latents, the surest first; ``place`` 1 is the best one of its leading tag."""
    controls: list[tuple[str, Row]]
    """Names and cards of the runs to be read beside it."""
    advice: list[str]
    """What may help where few latents are interpretable."""

    def as_json(self, concepts: list[Row]) -> Row:
        """The same as ``recsae report --json`` has it, with these concepts."""
        return {
            "run": self.card,
            "histogram": self.histogram,
            "concepts": concepts,
            "controls": {name: measures(card) for name, card in self.controls},
            "advice": self.advice,
        }


def collect(store: Warehouse, run_id: str) -> Found:
    """The report of a verified run."""
    key = {"run_id": run_id}
    card = run_card(store, run_id)
    facts = store.query("report.training_facts", key).row(0, named=True)
    return Found(
        card,
        store.query("report.confidence_histogram", key).to_dicts(),
        store.query("report.best_concepts", key).to_dicts(),
        [(name, run_card(store, one)) for one, name in store.query("report.controls", key).rows()],
        advice(card, facts),
    )


def run_card(store: Warehouse, run_id: str) -> Row:
    """The row of report.overview."""
    return store.query("report.overview", {"run_id": run_id}).row(0, named=True)


def verified_run(store: Warehouse, ref: str) -> str:
    """The SAE run meant by a reference; MissingStageError when its concepts are not verified."""
    run_id = store.find_run(ref, "sae").run_id
    store.require_stage(run_id, "confidence", f"recsae confidence {run_id}")
    return run_id
