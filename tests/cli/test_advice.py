"""Advice where few latents are interpretable: each rule by its numbers, nothing without need."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from recsae.report.advice import advice
from recsae.report.tables import report

CARD: dict[str, Any] = {
    "n_latents": 128,
    "n_interpretable": 2,
    "n_not_shown": 20,
    "n_too_rare": 100,
    "n_dead": 6,
    "k": 8,
    "l0": 8.0,
    "ndcg_10_kept": 0.97,
}
FACTS: dict[str, Any] = {
    "autoencoder": "TopK",
    "d": 32,
    "min_active": 20,
    "n_cases": 300,
    "n_case_users": 300,
    "n_verify_cases": 150,
    "n_items": 100,
    "n_tagged": 100,
    "n_tags": 40,
}


def said(card: dict[str, Any] | None = None, **facts: Any) -> list[str]:
    return advice({**CARD, **(card or {})}, {**FACTS, **facts})


def test_one_vector_per_user() -> None:
    """150 held-out cases with 8 latents each: 9 for each of 128; 30 latents would have 40."""
    assert said() == [
        "a latent fires in 9 held-out cases on average, and needs 20 to be judged: fewer latents "
        "have more, recsae sae train --scale 1",
        "each of the 300 users is one case: vectors of positions make a case of every moment "
        "(docs/own-model.md; or a sequence model)",
    ]


def test_a_smaller_dictionary_is_named_only_where_there_is_one() -> None:
    assert "--scale" not in said({"n_latents": 32, "n_too_rare": 30})[0]
    many = said({"n_latents": 1024, "n_too_rare": 900}, n_cases=9000, n_verify_cases=4500)
    # 4500 * 8 / (2 * 20 * 32) = 28
    assert many == [
        "a latent fires in 35 held-out cases on average, and needs 20 to be judged: fewer latents "
        "have more, recsae sae train --scale 28"
    ]
    assert "--scale 2" in said({"k": 60}, n_verify_cases=30)[0]  # 60 have to fit


def test_tags() -> None:
    assert said(n_tags=0, n_tagged=0) == [
        "there are no tags, so no concept has a name: prepare the data with --tags"
    ]
    few = said(n_tags=3, n_tagged=20)
    assert few[0].startswith("there are only 3 different tags: they name the concepts")
    assert few[1] == "only 20.0% of the items have a tag: describe more of them"
    assert said(n_tags=1)[0].startswith("there is only 1 different tag:")
    (line,) = said({"n_too_rare": 10, "n_not_shown": 110}, n_cases=900)
    assert line.startswith("110 latents have cases enough, but no tag tells their cases well")


def test_an_autoencoder_that_rebuilds_little() -> None:
    lines = said({"ndcg_10_kept": 0.489, "n_too_rare": 2, "n_dead": 100})
    assert lines == [
        "the autoencoder keeps 48.9% of the NDCG@10: raise --k (it is 8)",
        "100 of 128 latents never fire: lower --scale",
    ]


@pytest.mark.parametrize("kept", [None, float("nan")])
def test_what_is_not_known_is_not_advised_on(kept: float | None) -> None:
    assert not any("NDCG" in line for line in said({"ndcg_10_kept": kept, "l0": kept}))


def test_no_advice_without_need() -> None:
    assert said({"n_interpretable": 13}) == []
    assert said({"n_latents": 0}) == []
    for control in ("untrained", "neurons"):
        assert said(autoencoder=control) == []


def test_it_ends_the_report() -> None:
    from cli.test_report import CARD as whole

    text = io.StringIO()
    lines = ["first", "second " * 20]
    Console(file=text, width=80).print(report(whole, [], [], 0, (), lines))
    tail = text.getvalue().split("What may help:\n")[1].splitlines()
    assert tail[0] == "- first"
    assert tail[1].startswith("- second second")
    plain = io.StringIO()
    Console(file=plain, width=80).print(report(whole, [], [], 0))
    assert "What may help" not in plain.getvalue()
