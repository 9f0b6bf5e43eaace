"""Replies are read strictly: what is not what was asked for is nothing, never a number."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        ("8 out of 10", 8),
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


# -- thoughts -------------------------------------------------------------------------------------

THOUGHT = (
    "Okay, the user wants me to look at the moments. Level 3 of them share a concept.\n"
    "So the number is probably 7."
)
SENTENCE = "Looks for items of one concept."

MARKED = {
    "think": "<think>\n{t}\n</think>\n\n{a}",
    "closing mark alone": "{t}\n</think>\n\n{a}",
    "opening mark in the prompt, number first": "7\nhmm, or rather\n</think>\n\n{a}",
    "with an attribute": '<think time="3">{t}</think>{a}',
    "upper case": "<THINKING>{t}</THINKING>\n{a}",
    "thought": "<thought>{t}</thought>\n{a}",
    "reasoning": "<reasoning>{t}</reasoning>{a}",
    "escaped": "&lt;think&gt;{t}&lt;/think&gt;{a}",
    "empty": "<think></think>{a}",
    "nested": "<think>a<think>b</think>c</think>{a}",
    "twice": "<think>{t}</think>\n<think>{t}</think>{a}",
    "seed": "<seed:think>{t}</seed:think>{a}",
    "minimax": "<mm:think>{t}</mm:think>{a}",
    "magistral": "[THINK]{t}[/THINK]{a}",
    "llama.cpp": "[Start thinking]\n{t}\n[End thinking]\n\n{a}",
    "kimi": "◁think▷{t}◁/think▷{a}",
    "kimi, closing alone": "{t}◁/think▷{a}",
    "cohere": "<|START_THINKING|>{t}<|END_THINKING|><|START_RESPONSE|>{a}<|END_RESPONSE|>",
    "openthoughts": "<|begin_of_thought|>{t}<|end_of_thought|>"
    "<|begin_of_solution|>{a}<|end_of_solution|>",
    "apertus": "<|inner_prefix|>{t}<|inner_suffix|>{a}",
    "gemma": "<|channel>thought\n{t}<channel|>{a}",
    "gemma, closing alone": "thought\n{t}<channel|>{a}",
    "granite": "Here is my thought process:\n{t}\n\nHere is my response:\n{a}",
    "ollama": "Thinking...\n{t}\n...done thinking.\n\n{a}",
    "open webui": '<details type="reasoning" done="true">{t}</details>{a}',
    "harmony": "<|channel|>analysis<|message|>{t}<|end|>"
    "<|start|>assistant<|channel|>final<|message|>{a}",
    "harmony, constrained": "<|channel|>analysis<|message|>{t}<|end|><|start|>assistant"
    "<|channel|>final <|constrain|>JSON<|message|>{a}<|return|>",
    "harmony, commentary": "<|channel|>commentary<|message|>{t}<|end|>"
    "<|start|>assistant<|channel|>final<|message|>{a}",
    "harmony without tokens": "analysis{t}assistantfinal{a}",
    "answer marks": "<think>{t}</think><answer>{a}</answer>",
    "answer marks alone": "{t}\n<answer>\n{a}\n</answer>",
    "next turn": "{a}<|im_end|>\n<|im_start|>user\nAnd 3?",
    "end of text": "{a}</s>",
    "preamble": "Sure! Here is the answer:\n\n{a}",
    "fence": "```\n{a}\n```",
    "preamble and fence": "Certainly!\n```text\n{a}\n```",
    "bold": "**{a}**",
    "line ends": "\r\n{a}\r\n",
}


@pytest.mark.parametrize("form", MARKED.values(), ids=MARKED)
def test_what_is_thought_is_not_answered(form: str) -> None:
    assert parse_level(form.format(t=THOUGHT, a="2")) == 2
    assert parse_level(form.format(t=THOUGHT, a='{"level": 2}')) == 2
    assert parse_description(form.format(t=THOUGHT, a=SENTENCE)) == SENTENCE


@pytest.mark.parametrize(
    "form",
    [
        "{t}",
        "<think>{t}",
        "<think>{t}</think>",
        "[THINK]{t}",
        "◁think▷{t}",
        "<|channel|>analysis<|message|>{t}",
        "<|channel|>analysis<|message|>{t}<|end|>",
        "analysis{t}",
        "Analysis: the moments",
        "<|channel>thought\n{t}",
        "thought\n{t}",
        "Here is my thought process:\n{t}",
        "7</think>",
    ],
)
def test_a_thought_alone_is_no_answer(form: str) -> None:
    assert parse_level(form.format(t=THOUGHT)) is None
    if "Analysis" not in form:
        assert parse_description(form.format(t=THOUGHT)) is None


@given(st.text(), st.integers(0, 10), st.sampled_from(["</think>", "[/THINK]", "◁/think▷"]))
def test_nothing_before_the_closing_mark_counts(thought: str, level: int, mark: str) -> None:
    assert parse_level(f"{thought}{mark}\n{level}") == level


@given(st.text(), st.booleans())
def test_any_text_is_read_or_not(text: str, was_cut: bool) -> None:
    level = parse_level(text, was_cut=was_cut)
    assert level is None or 0 <= level <= 10
    sentence = parse_description(text)
    assert sentence is None or len(sentence.splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ('{"level": 7}', 7),
        ('{"level": "7"}', 7),
        ('{"level": "7/10"}', 7),
        ('{"level": 7.0}', 7),
        ("{'level': 7}", 7),
        ('{"Predicted_Level": 7}', 7),
        ('{"n": 7}', 7),
        ('{"result": {"level": 7}}', 7),
        ('[{"level": 7}]', 7),
        ('{"reasoning": "3 of them fit", "level": 7}', 7),
        ('{"level": 7, "confidence": 9}', 7),
        ('```json\n{"level": 7}\n```', 7),
        ('The films fit.\n{"level": 7}', 7),
        ('{"level": 11}', None),
        ('{"level": -1}', None),
        ('{"level": 7.5}', None),
        ('{"level": true}', None),
        ('{"level": null}', None),
        ('{"level": NaN}', None),
        ('{"level": Infinity}', None),
        ('{"level": 1e400}', None),
        ('{"level": "between 3 and 7"}', None),
        ('{"level": [3, 7]}', None),
        ('{"min": 3, "max": 7}', None),
        ('{"level": 3, "level": 7}', None),
        ('{"level": 3}\n{"level": 7}', None),
        ('7\n{"level": 3}', None),
        ('{"level": 7', None),
        ("Level of the latent: 7", 7),
        ("Level of the latent, 0 to 10: 7", 7),
        ("Predicted level (0-10): 7", 7),
        ("**Level:** 7", 7),
        ("### Level: 7", 7),
        ("The level is 7.", 7),
        ("Sure! 7", 7),
        ("Sure! Here is the predicted level:\n\n7", 7),
        ("Reasoning: the films fit.\n\nFinal answer: 7", 7),
        ("\\boxed{7}", 7),
        ("$\\boxed{7}$", 7),
        ("<level>7</level>", 7),
        ("7 (strongly active)", 7),
        ("７", 7),
        ("\ufeff7\u200b", 7),
        ("Level: 7 (out of 10)", 7),
        ("The answer is \\(7\\).", 7),
        ("１０", 10),
        ("７／１０", 7),
        ("\r\n7\r\n", 7),
        ("10/10", 10),
        ("between 3 and 7", None),
        ("Between 3 and 7", None),
        ("3 to 7", None),
        ("3–7", None),
        ("3...7", None),
        ("Level: 3-7", None),
        ("Level: 3 or 7", None),
        ("Level: -7", None),
        ("Level -7", None),
        ("−7", None),
        ("7+", None),
        (">7", None),
        ("~7", None),
        ("7%", None),
        ("7, 8", None),
        ("7 8", None),
        ("7,5", None),
        ("1*0", None),
        ("7 (3)", None),
        ("7\n\n2", None),
        ("Answer: 7\nLevel: 3", None),
        ("7\n\nWait, actually 3.", None),
        ("7\nThe first film, of 1980, fits.", 7),
    ],
)
def test_forms_of_a_level(text: str, level: int | None) -> None:
    assert parse_level(text) == level


def test_a_level_that_may_be_unfinished() -> None:
    assert [parse_level(text, was_cut=True) for text in ("1", "Level: 1", "**1")] == [None] * 3
    assert parse_level("1", was_cut=False) == 1
    assert parse_level("1\n\nBecause", was_cut=True) == 1
    assert parse_level("7", was_cut=True) == 7


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("**Answer:** Horror films", "Horror films"),
        ("Sure, here's a description: Horror.", "Horror."),
        ("Sure! Here is the sentence:", None),
        ("### Description\nHorror films", "Horror films"),
        ("- Horror films", "Horror films"),
        ('{"description": "Horror films"}', "Horror films"),
        ('{"reasoning": "They are dark.", "sentence": "Horror"}', "Horror"),
        ("I'm sorry, but I cannot help with that.", None),
        ("Okay films for kids.", "Okay films for kids."),
        ("Great films: epics and sagas", "Great films: epics and sagas"),
        ("Here is a comedy for kids: slapstick", "Here is a comedy for kids: slapstick"),
        ("What happens at sea: pirate films", "What happens at sea: pirate films"),
        ("Fans of comedy \ud83d", "Fans of comedy \ufffd"),
        ("Horror\x00 films\x1b[31m", "Horror films"),
        ("Reasoning: they are dark.\nOld, too.\n\n**Answer:** Horror films", "Horror films"),
        ("Thinking Process:\n\n1. Analyze the moments.\n", None),
        ("Alright, looking at the moments, they are dark.", None),
        ("Based on the moments, the latent looks for: horror films", "horror films"),
        ("I think the latent looks for horror", "I think the latent looks for horror"),
        ('{\n  "description": "Horror fi', None),
        ('{"explanation": "dark"}', None),
        ("[Horror films]", "[Horror films]"),
    ],
)
def test_forms_of_a_description(text: str, sentence: str | None) -> None:
    assert parse_description(text) == sentence


@pytest.mark.parametrize(
    "part",
    [
        "<think>",
        "</think>",
        "<",
        " ",
        "{a",
        "[",
        "{}",
        "7",
        "7\n",
        "<|channel|>",
        "<details type",
        "<answer>",
        "<think ",
        "analysis",
        "sure! ",
        "wait ",
        "'",
        "*",
        '{"a":',
        "\x1b[",
        "\\boxed{",
    ],
)
def test_a_huge_reply_takes_no_time(part: str) -> None:
    text = part * (300_000 // len(part))
    started = time.monotonic()
    parse_level(text), parse_description(text)
    assert time.monotonic() - started < 10
