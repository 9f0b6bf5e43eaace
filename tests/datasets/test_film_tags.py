from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsae.datasets.tags import display_title, film_frames, film_tags, split_year, title_words


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("Usual Suspects, The (1995)", "The Usual Suspects (1995)"),
        ("Postino, Il (1994)", "Il Postino (1994)"),
        ("City of Lost Children, The (1995)", "The City of Lost Children (1995)"),
        ("Enfer, L' (1994)", "L'Enfer (1994)"),
        ("Seven (Se7en) (1995)", "Seven (Se7en) (1995)"),
        (
            "Horseman on the Roof, The (Hussard sur le toit, Le) (1995)",
            "The Horseman on the Roof (Le Hussard sur le toit) (1995)",
        ),
        ("Good, The Bad and The Ugly, The (1966)", "The Good, The Bad and The Ugly (1966)"),
        ("Paris, France (1993)", "Paris, France (1993)"),
        ("Giving (1995) (V)", "Giving (1995)"),
        ("2001: A Space Odyssey (1968)", "2001: A Space Odyssey (1968)"),
        ("unknown", "unknown"),
        ("(1995)", "(1995)"),
    ],
)
def test_titles_for_people(raw, shown):
    assert display_title(*split_year(raw)) == shown


def test_title_words_leave_out_what_says_nothing():
    words = title_words("The Children's 2001: A Star, E.T. and Misérables III")
    assert words == ["children's", "misérables", "star"]
    assert title_words("Mr. Smith and the Last Great Three: New Days") == ["days", "smith"]


def test_tags_of_a_film():
    tags = list(film_tags("Star Wars", 1977, ["Sci-Fi"]))
    assert tags == [
        ("genre", "genre:Sci-Fi"),
        ("title_word", "word:star"),
        ("title_word", "word:wars"),
        ("year", "year:1977"),
        ("decade", "decade:1970s"),
    ]


@given(st.text(max_size=60), st.lists(st.sampled_from(["Drama", "War"]), unique=True))
def test_any_title_gives_unique_tags(raw, genres):
    items, tags = film_frames([(1, raw, genres)])
    assert items.height == 1
    assert tags.unique().height == tags.height
    assert not any(word.isspace() or len(word) < 2 for word in title_words(raw))
