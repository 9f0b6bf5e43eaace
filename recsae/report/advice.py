"""What may help where few latents are interpretable, from what the warehouse knows of the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from recsae.report.text import count, percent
from recsae.warehouse.runs import CONTROLS

Row = Mapping[str, Any]

ENOUGH = 0.1
"""Share of the latents above which nothing is advised."""

ROOM = 2.0
"""How many times the cases that judging needs a latent should have on average: they are uneven."""

MOST = 0.5
"""Share of the latents that makes one reason the one to speak of."""

FEW_TAGS = 10
"""Different tags below which there is little to name concepts with."""

WELL_KEPT = 0.8
"""Share of the NDCG@10 below which the autoencoder itself is at fault."""


def advice(card: Row, facts: Row) -> list[str]:
    """Lines about a run, from its rows of report.overview and report.training_facts.

    Every line names the number that it rests on and what to change. None where enough latents are
    interpretable, and about an autoencoder that nobody trained.
    """
    if facts["autoencoder"] in CONTROLS:
        return []
    if not card["n_latents"] or _known(card["n_interpretable"]) >= ENOUGH * card["n_latents"]:
        return []
    if facts["n_tags"] == 0:
        return ["there are no tags, so no concept has a name: prepare the data with --tags"]
    return [*_about_tags(facts), *_about_cases(card, facts), *_about_rebuilding(card)]


def _known(value: float | None) -> float:
    return 0.0 if value is None or value != value else value


def _about_tags(facts: Row) -> Iterator[str]:
    if facts["n_tags"] < FEW_TAGS:
        yield (
            f"there {_be(facts['n_tags'])} only {count(facts['n_tags'], 'different tag')}: they "
            "name the concepts, so give more kinds of them (--tags)"
        )
    if facts["n_items"] and facts["n_tagged"] < MOST * facts["n_items"]:
        share = percent(facts["n_tagged"] / facts["n_items"])
        yield f"only {share} of the items have a tag: describe more of them"


def _about_cases(card: Row, facts: Row) -> Iterator[str]:
    n, per_latent = card["n_latents"], _cases_per_latent(card, facts)
    if card["n_too_rare"] >= MOST * n:
        scale = _scale(card, facts)
        fewer = f": fewer latents have more, recsae sae train --scale {scale}" if scale else ""
        yield (
            f"a latent fires in {per_latent:,.0f} held-out cases on average, and needs "
            f"{_needed(facts):,} to be judged{fewer}"
        )
        if facts["n_cases"] == facts["n_case_users"]:
            yield (
                f"each of the {count(facts['n_case_users'], 'user')} is one case: vectors of "
                "positions make a case of every moment (docs/own-model.md; or a sequence model)"
            )
    elif card["n_not_shown"] >= MOST * n:
        yield (
            f"{card['n_not_shown']:,} latents have cases enough, but no tag tells their cases "
            "well: other kinds of tags may"
        )


def _about_rebuilding(card: Row) -> Iterator[str]:
    kept, n = card["ndcg_10_kept"], card["n_latents"]
    if kept is not None and kept == kept and kept < WELL_KEPT:
        yield f"the autoencoder keeps {percent(kept)} of the NDCG@10: raise --k (it is {card['k']})"
    if card["n_dead"] >= MOST * n:
        yield f"{card['n_dead']:,} of {n:,} latents never fire: lower --scale"


def _cases_per_latent(card: Row, facts: Row) -> float:
    """Held-out cases in which a latent fires, if all fire alike."""
    return float(facts["n_verify_cases"]) * _known(card["l0"] or card["k"]) / card["n_latents"]


def _needed(facts: Row) -> int:
    return int(facts["min_active"] or 1)


def _scale(card: Row, facts: Row) -> int | None:
    """The largest dictionary, as a multiple of the width, whose latents have cases enough; None
    where that is not smaller than it is.
    """
    d, k = facts["d"], card["k"]
    if not d or not k:
        return None
    now, least = card["n_latents"] // d, -(-k // d)
    fits = int(facts["n_verify_cases"] * k / (ROOM * _needed(facts) * d))
    return max(fits, least) if max(fits, least) < now else None


def _be(n: int) -> str:
    return "is" if n == 1 else "are"
