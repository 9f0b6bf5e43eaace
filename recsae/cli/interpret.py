"""``recsae concepts`` and ``recsae confidence``: the SQL stages."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from recsae.cli.options import ForceOption, SaeRun, WarehouseOption


def concepts(
    run: SaeRun = "latest",
    label_tags: Annotated[int | None, typer.Option(help="Tags of a label. Default 5.")] = None,
    profile_tags: Annotated[
        int | None, typer.Option(help="Tags of the longer profile. Default 15.")
    ] = None,
    top_items: Annotated[
        int | None, typer.Option(help="Recommendations that describe a case. Default 10.")
    ] = None,
    history_items: Annotated[
        int | None, typer.Option(help="Last history items that describe a case. Default 10.")
    ] = None,
    max_cases: Annotated[
        int | None,
        typer.Option(help="Cases looked at, drawn where there are more. Default 500000."),
    ] = None,
    pool_cases: Annotated[
        int | None, typer.Option(help="Random cases shared by all latents. Default 1000.")
    ] = None,
    popularity_bins: Annotated[
        int | None, typer.Option(help="Groups of items among which tags are permuted. Default 10.")
    ] = None,
    n_examples: Annotated[
        int | None, typer.Option(help="Example items kept per latent. Default 5.")
    ] = None,
    force: ForceOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Build the concept of every latent from the tags of items; prints the id of the run.

    \b
    Example:
      recsae concepts latest
    """
    from recsae import stages
    from recsae.config import ConceptsConfig
    from recsae.progress import reporter

    config = ConceptsConfig().with_options(
        label_tags=label_tags,
        profile_tags=profile_tags,
        top_items=top_items,
        history_items=history_items,
        max_cases=max_cases,
        pool_cases=pool_cases,
        popularity_bins=popularity_bins,
        n_examples=n_examples,
    )
    print(stages.concepts(warehouse, run, config, force=force, reporter=reporter()))


def confidence(
    run: SaeRun = "latest",
    permutations: Annotated[
        int | None, typer.Option(help="Rounds of permuted tags, the null. Default 20.")
    ] = None,
    active_cap: Annotated[
        int | None, typer.Option(help="Most active cases scored per latent. Default 500.")
    ] = None,
    min_active: Annotated[
        int | None, typer.Option(help="Fewest held-out active cases to judge. Default 20.")
    ] = None,
    min_users: Annotated[
        int | None, typer.Option(help="Fewest held-out users with one. Default 10.")
    ] = None,
    min_confidence: Annotated[
        float | None, typer.Option(help="Least confidence of an interpretable latent: .75.")
    ] = None,
    max_q: Annotated[
        float | None, typer.Option(help="Largest q-value of an interpretable latent: .05.")
    ] = None,
    n_strong: Annotated[
        int | None, typer.Option(help="Strongest cases of the paper's protocol. Default 10.")
    ] = None,
    controls: Annotated[
        bool,
        typer.Option(
            "--controls",
            help="Score an untrained SAE and the raw neurons as well; report shows them beside it.",
        ),
    ] = False,
    force: ForceOption = False,
    warehouse: WarehouseOption = Path("warehouse"),
) -> None:
    """Verify every concept on held-out users and items; prints the id of the run.

    \b
    Example:
      recsae confidence latest --permutations 100
      recsae confidence latest --controls
    """
    from recsae import stages
    from recsae.config import ConfidenceConfig
    from recsae.progress import reporter

    config = ConfidenceConfig().with_options(
        permutations=permutations,
        active_cap=active_cap,
        min_active=min_active,
        min_users=min_users,
        min_confidence=min_confidence,
        max_q=max_q,
        n_strong=n_strong,
    )
    run_id = stages.confidence(warehouse, run, config, force=force, reporter=reporter())
    if controls:
        stages.controls(warehouse, run_id, force=force, reporter=reporter())
    print(run_id)
