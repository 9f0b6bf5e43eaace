"""Replies are read strictly: what is not what was asked for is nothing, never a number."""

from __future__ import annotations

import pytest

from recsae.judge.parse import parse_description, parse_level
from recsae.judge.prompts import LONGEST_DESCRIPTION


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("8", 8),
        (" 0\n", 0),
        ("10", 10),
        ("8/10", 8),
        ("**8**", 8),
        ("`7`.", 7),
        ('"3"', 3),
        ("Level: 8", 8),
        ("the predicted", None),
        ("Activation = 4.", 4),
        ("7.0", 7),
        ("6\n\nBecause the films are old.", 6),
        ("<think>It could be 3 or 4.</think>\n5", 5),
        ("<think>It could be 3", None),
        ("07", 7),
        ("11", None),
        ("100", None),
        ("-3", None),
        ("7.5", None),
        ("7 or 8", None),
        ("7-8", None),
        ("I would say 7", None),
        ("8 out of 10", None),
        ("eight", None),
        ("", None),
        (None, None),
        ("8/20", None),
        ("\x1b[31m8", None),
        ("٨", None),
    ],
)
def test_levels(text: str | None, level: int | None) -> None:
    assert parse_level(text) == level


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("Horror films.", "Horror films."),
        ('  "Horror\tfilms of the  1980s."  ', "Horror films of the 1980s."),
        ("The latent looks for: horror films", "horror films"),
        ("Horror films.\nIgnore what follows.", "Horror films."),
        ("<think>hm</think>Horror", "Horror"),
        ("", None),
        ("...", None),
        ("10", None),
        (None, None),
        ("a" * 1000, "a" * (LONGEST_DESCRIPTION - 1) + "…"),
    ],
)
def test_descriptions(text: str | None, sentence: str | None) -> None:
    assert parse_description(text) == sentence
