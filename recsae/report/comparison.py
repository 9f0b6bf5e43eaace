"""Several run cards side by side: runs against each other, and a run against its controls."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from recsae.report.cut import Cut
from recsae.report.text import number, percent, printable, share

Row = Mapping[str, Any]

PER_TABLE = 4
"""Runs side by side on 80 columns."""

HEAD, COLUMN = 32, 12
"""Characters of the names of the rows, and of each column."""

PERMUTED = "permuted"
"""Column of a run's own null: its latents with the tags permuted over the items."""


def _whole(value: float | None) -> str:
    return number(value, 0)


ROWS: tuple[tuple[str, str, Callable[[float | None], str]], ...] = (
    ("latents", "n_latents", _whole),
    ("interpretable", "n_interpretable", _whole),
    ("judged", "n_judged", _whole),
    ("different leading tags", "n_concepts", _whole),
    ("users covered", "user_coverage", percent),
    ("mean balanced accuracy", "mean_confidence", share),
    ("  the same, permuted tags", "mean_confidence_null", share),
    ("FVU, held-out users", "fvu_heldout", share),
    ("dead latents", "dead_share", percent),
    ("NDCG@10 kept", "ndcg_10_kept", percent),
    ("  by interpretable ones alone", "ndcg_10_kept_alone", percent),
)
"""Name of a row, column of report.overview, and how it is written."""

READING = (
    "Interpretable latents, leading tags, users covered and NDCG kept say what",
    "training bought: compare them with the controls. Balanced accuracy does not:",
    "random directions of an informative space are informative too. What passes",
    "under permuted tags is chance. Nothing here shows that the model uses a concept.",
)
"""What may be concluded and what may not (docs/decisions.md)."""


def measures(card: Row) -> dict[str, Any]:
    """The rows of the table for one run, by their column of report.overview."""
    values = {**card, "n_judged": card["n_interpretable"] + card["n_not_shown"]}
    return {"run_id": card["run_id"], **{key: values[key] for _, key, _ in ROWS}}


def permuted(card: Row) -> dict[str, Any]:
    """What is known of a run whose tags are permuted; the rest does not depend on tags."""
    return {
        "n_interpretable": card["n_permuted"],
        "mean_confidence": card["mean_confidence_null"],
    }


def controls_table(card: Row, controls: Sequence[tuple[str, Row]]) -> Group:
    """A run beside its controls, given with their names, and how to read it."""
    columns = [("this SAE", measures(card)), *((name, measures(one)) for name, one in controls)]
    lines = list(_table([*columns, (PERMUTED, permuted(card))], "controls"))
    return Group(*lines, *(Text(line, style="dim") for line in READING))


def comparison(cards: Sequence[Row]) -> Group:
    """Runs side by side, as many tables as they need, under their numbers and ids."""
    parts: list[RenderableType] = []
    for first in range(0, len(cards), PER_TABLE):
        some = cards[first : first + PER_TABLE]
        if parts:
            parts.append(Text())
        for place, card in enumerate(some, first + 1):
            text = f"{place}  {card['run_id']}: {card['dataset']}, {card['model']}, k {card['k']}"
            parts.append(Cut(printable(text)))
        columns = [(str(place), measures(card)) for place, card in enumerate(some, first + 1)]
        parts += _table(columns, "")
    return Group(*parts)


def _table(columns: Sequence[tuple[str, Row]], title: str) -> Iterator[Text]:
    heads = "".join(f"{name:>{COLUMN}}" for name, _ in columns)
    yield Text(f"{title:<{HEAD}}{heads}", style="bold")
    for name, key, form in ROWS:
        cells = "".join(
            f"{_cell(values, key, form) if key in values else '':>{COLUMN}}"
            for _, values in columns
        )
        yield Text(f"{name:<{HEAD}}{cells}".rstrip())


def _cell(values: Row, key: str, form: Callable[[float | None], str]) -> str:
    value = values[key]
    if form is _whole and isinstance(value, float):
        return number(value, 1)  # a mean over rounds
    return form(value)
