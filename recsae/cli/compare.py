"""``recsae compare``: verified runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsae.cli.options import LATEST, JsonOption, WarehouseOption


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...",
            help=f"Autoencoder runs: ids, starts of ids, or latest ({LATEST}). "
            "Controls can be named as well; a recommender stands for its last autoencoder.",
        ),
    ],
    as_json: JsonOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Show verified runs side by side: concepts found, users covered, NDCG kept.

    \b
    Example:
      recsae compare sae-sasrec-ml-100k-k8 untrained-sasrec-ml-100k-k8
    """
    from recsae.cli.report import write, write_json
    from recsae.report.collect import run_card, verified_run
    from recsae.report.comparison import comparison, measures
    from recsae.warehouse import Warehouse

    with Warehouse.open(warehouse, read_only=True) as store:
        ids = dict.fromkeys(verified_run(store, ref) for ref in runs)
        cards = [run_card(store, run_id) for run_id in ids]
    if as_json:
        write_json([measures(card) for card in cards])
    else:
        write(comparison(cards))
