"""``recsae report`` and ``recsae latent``: as text, as JSON, in colour, and what they refuse."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from rich.cells import cell_len

from recsae.cli.report import write, write_json
from recsae.report.tables import latent_card, report
from recsae.report.text import count, number, percent, printable, share, short
from recsae.warehouse import Warehouse

if TYPE_CHECKING:
    from conftest import Result
    from stages.finished import Finished

GOLDEN = Path(__file__).parents[1] / "golden"
NAN = float("nan")
ESCAPES = re.compile(r"\x1b\[[0-9;]*m")

CARD: dict[str, Any] = {
    "run_id": "sae-sasrec-toy-k8-0001",
    "recommender_run_id": "sasrec-toy-0002",
    "dataset": "toy",
    "model": "SASRec",
    "n_users": 1234,
    "n_items": 567,
    "n_interactions": 1234567,
    "n_item_tags": 4321,
    "hr_10": 0.19004,
    "ndcg_10": 0.1,
    "ndcg_10_sae": 0.09999,
    "ndcg_10_kept": 0.9999,
    "ndcg_10_kept_heldout": 1.0123,
    "ndcg_10_kept_alone": 0.8125,
    "k": 8,
    "n_latents": 1024,
    "fvu_train": 0.0375,
    "fvu_heldout": 1.25,
    "l0": 7.96,
    "dead_share": 0.0,
    "n_interpretable": 3,
    "n_not_shown": 1000,
    "n_too_rare": 20,
    "n_dead": 1,
    "n_concepts": 1,
    "n_trend": 12,
    "n_trend_only": 5,
    "n_permuted": 2.25,
    "mean_confidence": 0.7512,
    "mean_confidence_null": 0.5,
    "mean_auc": 1.0,
    "user_coverage": 0.5,
    "reference_confidence": 0.8,
    "reference_recall": 0.6,
    "reference_specificity": 0.9,
}
TEXTS = ("run_id", "recommender_run_id", "dataset", "model", "k")
COUNTS = (
    *("n_interpretable", "n_not_shown", "n_too_rare", "n_dead"),
    *("n_concepts", "n_trend", "n_trend_only"),
)
"""Of the card; the other columns may be NULL."""

BARE: dict[str, Any] = {
    name: value if name in TEXTS else 0 if name in COUNTS else None for name, value in CARD.items()
}
"""A run of which nothing is known but its name."""

BIN: dict[str, Any] = {
    "bin": 0,
    "low": 0.0,
    "high": 0.05,
    "n_latents": 0,
    "n_interpretable": 0,
    "n_permuted": 0.0,
}
CONCEPT: dict[str, Any] = {
    "latent_id": 3,
    "leading_tag": "genre:Horror",
    "label": "Horror, 1980s",
    "examples": ["Carrie (1976)", "The Birds (1963)", "Psycho (1960)", "Alien (1979)"],
    "auc": 0.9871,
    "confidence": 0.9712,
    "confidence_low": 0.95,
    "recall": 1.0,
    "specificity": 0.0,
    "precision": 0.1,
    "null_mean": 0.5701,
    "p_value": 0.048,
    "q_value": 0.015,
    "trend": None,
    "n_active": 107,
    "n_users": 75,
    "place": 1,
    "n_same": 6,
}
MARKUP = "[bold]not bold[/bold] [/] :smile: \\[x]"
STEERING = "up\x1b[2Jdown\x1b]0;title\x07 \x9b31m\r\n\tend\x00\x7f\u202eback\u2028"
WIDE = "千と千尋の神隠し　と " * 8
FAMILY = "👩‍👩‍👧 Amélie é 🎬\xa0!"

LATENT: dict[str, Any] = {
    "run_id": "sae-sasrec-toy-k8-0001",
    "latent_id": 3,
    "dataset": "toy",
    "recommender_run_id": "sasrec-toy-0002",
    "leading_tag": "genre:Horror",
    "label": "Horror, 1980s",
    "status": "interpretable",
    "confidence": 0.96,
    "confidence_low": 0.934,
    "auc": 0.995,
    "recall": 0.96,
    "specificity": 0.959,
    "precision": 0.086,
    "f1": 0.158,
    "profile_confidence": 0.953,
    "null_mean": 0.526,
    "p_value": 0.048,
    "q_value": 0.015,
    "trend": "long tail",
    "trend_confidence": 0.8125,
    "n_fired": 2780,
    "n_active": 101,
    "n_users": 77,
    "n_verified": 600,
    "reference_recall": 1.0,
    "reference_specificity": NAN,
    "reference_confidence": 1.0,
    "reference_cases": 10,
}
UNNAMED: dict[str, Any] = {
    name: value if name in ("run_id", "latent_id") else 0 if name.startswith("n_") else None
    for name, value in LATENT.items()
} | {"status": "dead"}


def bins(**rows: dict[str, Any]) -> list[dict[str, Any]]:
    """The twenty bins of the histogram, of which ``bin_N`` are not empty."""
    given = {int(name.removeprefix("bin_")): row for name, row in rows.items()}
    return [
        {**BIN, "bin": n, "low": n / 20, "high": (n + 1) / 20, **given.get(n, {})}
        for n in range(20)
    ]


HISTOGRAM = bins(
    bin_9={"n_permuted": 0.4},
    bin_10={"n_latents": 12, "n_permuted": 700.05},
    bin_12={"n_latents": 1000, "n_permuted": NAN},
    bin_14={"n_latents": 30, "n_interpretable": 20, "n_permuted": None},
    bin_19={"n_latents": 500, "n_interpretable": 500, "n_permuted": 0.6},
)
CONCEPTS: list[dict[str, Any]] = [
    CONCEPT,
    {**CONCEPT, "latent_id": 100000, "label": MARKUP, "examples": [MARKUP]},
    {**CONCEPT, "latent_id": 4, "label": STEERING, "examples": [STEERING, "second"]},
    {**CONCEPT, "latent_id": 5, "label": WIDE, "examples": [WIDE, WIDE]},
    {**CONCEPT, "latent_id": 6, "label": "long label, " * 12, "examples": ["x" * 200]},
    {**CONCEPT, "latent_id": 7, "label": FAMILY, "examples": [FAMILY, None]},
    {**CONCEPT, "latent_id": 8, "label": None, "examples": []},
    {**CONCEPT, "latent_id": 9, "auc": NAN, "q_value": None, "null_mean": -0.5, "examples": None},
    {**CONCEPT, "latent_id": 10, "n_active": 12345678, "n_users": 100000, "n_same": 1000},
]
REPORTS: dict[str, tuple[Any, ...]] = {
    "ordinary": (CARD, HISTOGRAM, CONCEPTS[:1], 2),
    "awkward texts": (
        {**CARD, "run_id": "[red]" + "r" * 90, "dataset": STEERING, "model": WIDE},
        HISTOGRAM,
        CONCEPTS,
        0,
    ),
    "nothing is interpretable": ({**CARD, "n_interpretable": 0}, HISTOGRAM[:13], [], 0),
    "no tags": ({**CARD, "n_item_tags": 0, "n_interpretable": 0}, HISTOGRAM[:13], [], 0),
    "nothing is known": (BARE, bins(), [], 0),
    "one of everything": (
        {**CARD, **dict.fromkeys(("n_users", "n_items", "n_interactions", "n_latents"), 1)}
        | {"n_interpretable": 1, "n_not_shown": 0, "n_too_rare": 0, "n_dead": 0},
        bins(bin_15={"n_latents": 1, "n_interpretable": 1}),
        [CONCEPT],
        0,
    ),
}
TAGS = [
    {"tag": "genre:Horror", "z_a": 9.04, "z_b": None},
    {"tag": STEERING, "z_a": -1234.5, "z_b": NAN},
    {"tag": MARKUP, "z_a": 0.0, "z_b": 2.25},
    {"tag": WIDE, "z_a": 1.0, "z_b": 1.0},
]
ITEMS = [
    {"title": "Carrie (1976)", "value": 0.5744, "score": 4.2, "n_cases": 1000},
    {"title": STEERING, "value": 1.5, "score": -0.25, "n_cases": 1},
    {"title": MARKUP, "value": 12345.678, "score": 0.0, "n_cases": 2},
    {"title": "y" * 100, "value": NAN, "score": None, "n_cases": 0},
    {"title": None, "value": 0.1, "score": 0.1, "n_cases": 1},
    {"title": FAMILY, "value": 0.1, "score": 0.1, "n_cases": 1},
]
USER: dict[str, Any] = {"user_id": 1, "source_user_id": "u1", "side": "verify", "value": 0.57}
USERS = [
    {**USER, "n_cases": 1, "position": 48, "title": "Carrie (1976)"},
    {**USER, "source_user_id": STEERING, "n_cases": 2, "position": 1, "title": MARKUP},
    {**USER, "source_user_id": None, "n_cases": 2000, "position": 3, "title": None},
    {**USER, "source_user_id": "z" * 90, "n_cases": 2, "position": 3, "title": WIDE},
]
LATENTS: dict[str, tuple[Any, ...]] = {
    "ordinary": (LATENT, TAGS[:1] * 12, ITEMS[:1], USERS[:1], ITEMS[:1]),
    "awkward texts": (
        {**LATENT, "label": STEERING + MARKUP + WIDE, "status": "not shown"},
        TAGS,
        ITEMS,
        USERS,
        ITEMS,
    ),
    "nothing is known": (UNNAMED, [], [], [], []),
    "users are not wanted": (UNNAMED, [], [], None, []),
}
RENDERED = {
    "report": {name: report(*parts) for name, parts in REPORTS.items()},
    "latent": {name: latent_card(*parts) for name, parts in LATENTS.items()},
}


class Terminal(io.StringIO):
    """Takes itself for a terminal, whose width COLUMNS tells."""

    def isatty(self) -> bool:
        return True


def shown(page: Any, monkeypatch: pytest.MonkeyPatch, out: io.StringIO | None = None) -> str:
    """What ``write`` puts on a pipe, or on the stream given."""
    stream = out or io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)
    write(page)
    monkeypatch.undo()
    return stream.getvalue()


def pages(kind: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """All hand-made pages of a kind under their names."""
    parts = [f"== {name}\n{shown(page, monkeypatch)}" for name, page in RENDERED[kind].items()]
    return "".join(parts)


EVERY_PAGE = [(kind, name) for kind, named in RENDERED.items() for name in named]


# -- hand-made rows -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["report", "latent"])
def test_golden(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """RECSAE_GOLDEN=1 writes the files again."""
    got = pages(kind, monkeypatch)
    golden = GOLDEN / f"{kind}.txt"
    if os.environ.get("RECSAE_GOLDEN"):
        golden.write_bytes(got.encode())
    assert got == golden.read_bytes().decode()


@pytest.mark.parametrize(("kind", "name"), EVERY_PAGE)
@pytest.mark.parametrize("columns", ["30", "80", "300"])
def test_a_pipe_is_80_columns_wide(
    kind: str, name: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = shown(RENDERED[kind][name], monkeypatch).split("\n")
    assert 40 < max(map(cell_len, lines)) <= 80
    assert all(line == line.rstrip() for line in lines)
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(("kind", "name"), EVERY_PAGE)
def test_nothing_but_line_ends_steers(
    kind: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(RENDERED[kind][name], monkeypatch)
    assert printable(text.replace("\n", "")) == text.replace("\n", "")


@pytest.mark.parametrize("page", RENDERED.values(), ids=RENDERED)
def test_texts_of_the_data_are_shown_as_they_are(
    page: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = shown(page["awkward texts"], monkeypatch)
    assert MARKUP in text
    assert FAMILY in text
    assert r"up\x1b[2Jdown\x1b]0;title\x07 \x9b31m\r" in text
    assert "千と千尋の神隠し　と" in text


@pytest.mark.parametrize(("kind", "name"), EVERY_PAGE)
@pytest.mark.parametrize("variable", ["FORCE_COLOR", "NO_COLOR"])
@pytest.mark.parametrize("columns", ["80", "300"])
def test_a_terminal_shows_the_same_text(
    kind: str, name: str, variable: str, columns: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = shown(RENDERED[kind][name], monkeypatch)
    for key, value in {"TERM": "xterm-256color", "COLUMNS": columns, variable: "1"}.items():
        monkeypatch.setenv(key, value)
    stream = io.StringIO() if variable == "FORCE_COLOR" else Terminal()
    coloured = shown(RENDERED[kind][name], monkeypatch, stream)
    assert [line.rstrip() for line in ESCAPES.sub("", coloured).split("\n")] == plain.split("\n")
    codes = set(";".join(re.findall(r"\x1b\[([0-9;]*)m", coloured)).split(";"))
    assert "1" in codes  # bold titles
    colours = {code for code in codes if re.fullmatch(r"[349][0-7]", code)}
    assert not (variable == "NO_COLOR" and colours)
    if (kind, name, variable) == ("report", "ordinary", "FORCE_COLOR"):
        assert {"32", "33", "36"} <= colours  # interpretable, not shown, label


def test_json_of_what_no_number_is(capsys: pytest.CaptureFixture[str]) -> None:
    write_json({"a": NAN, "b": [None, float("inf")], "text": STEERING, "other": MARKUP + FAMILY})
    out = capsys.readouterr().out
    value = json.loads(out, parse_constant=pytest.fail)
    assert value == {"a": None, "b": [None, None], "text": STEERING, "other": MARKUP + FAMILY}
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u202e]", out)
    assert "Amélie é 🎬" in out


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("a b\u3000c\xa0d", "a b\u3000c\xa0d"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("a\nb\t", r"a\nb\t"),
        ("\x1b[31m\x9b\x7f\x85", r"\x1b[31m\x9b\x7f\x85"),
        ("\u202e\u2066\u2029\ufeff", r"\u202e\u2066\u2029\ufeff"),
        ("\\n é 🎬", "\\n é 🎬"),
    ],
)
def test_printable(text: str, safe: str) -> None:
    assert printable(text) == safe
    assert printable(safe) == safe


@pytest.mark.parametrize(
    ("got", "text"),
    [
        (share(0.0), ".000"),
        (share(1.0), "1.000"),
        (share(0.99996, 4), "1.0000"),
        (share(-0.25), "-0.250"),
        (share(NAN), "-"),
        (number(None, 2), "-"),
        (number(1234.567, 2), "1,234.57"),
        (percent(NAN), "-"),
        (percent(1.0123), "101.2%"),
        (count(1, "case"), "1 case"),
        (count(0, "case"), "0 cases"),
        (count(None, "case"), "- cases"),
        (count(1000), "1,000"),
        (short(None), "-"),
        (short(99999), "99,999"),
        (short(100000), "100k"),
        (short(1999999), "1,999k"),
        (short(12345678), "12M"),
        (short(10**12), "1e+12"),
    ],
)
def test_numbers(got: str, text: str) -> None:
    assert got == text


# -- the commands ---------------------------------------------------------------------------------


@pytest.fixture
def view(cli: Callable[..., Result], whole: Finished) -> Callable[..., Result]:
    """Run a command on the finished pipeline."""
    return lambda *words: cli(*words, "--warehouse", whole.root)


def untold(result: Result) -> str:
    """What is on stderr beside the run that latest is."""
    return re.sub(r"^run latest: sae-\S+, autoencoder of \S+\n", "", result.err)


def read(result: Result) -> Any:
    assert (result.code, untold(result)) == (0, "")
    return json.loads(result.out, parse_constant=pytest.fail)


def test_report_has_the_numbers_of_its_json(view: Callable[..., Result], whole: Finished) -> None:
    text, data = view("report"), read(view("report", "--json"))
    assert (text.code, untold(text)) == (0, "")
    lines = text.out.splitlines()
    card, concepts = data["run"], data["concepts"]
    assert lines[0] == card["run_id"] == whole.sae
    assert f"test HR@10 {share(card['hr_10'], 4)}, NDCG@10 {share(card['ndcg_10'], 4)}" in text.out
    assert (
        f"FVU {share(card['fvu_train'])} (held-out users {share(card['fvu_heldout'])})" in text.out
    )
    assert f"NDCG@10 with the SAE {share(card['ndcg_10_sae'], 4)}: " in text.out
    n_judged = card["n_interpretable"] + card["n_not_shown"]
    assert f"mean {share(card['mean_confidence'])} over {n_judged} judged latents" in text.out
    assert f"Of {card['n_latents']} latents {card['n_interpretable']} are interpretable," in lines
    bars = [line for line in lines if re.match(r" \d\.\d\d-\d\.\d\d ", line)]
    counts = {row["low"]: row["n_latents"] for row in data["histogram"]}
    assert len(data["histogram"]) == 20
    assert {float(bar[:5]): int(bar.split()[1]) for bar in bars}.items() <= counts.items()
    assert sum(counts.values()) == sum(int(bar.split()[1]) for bar in bars) > 0
    head = next(i for i, line in enumerate(lines) if line.startswith("latent "))
    rest = iter(lines[head + 1 :])
    for row in concepts:
        numbers, label, examples = next(rest), next(rest).strip(), next(rest)
        while not examples.strip().startswith("e.g. "):
            label, examples = f"{label} {examples.strip()}", next(rest)
        assert numbers.split()[:3] == [
            str(row["latent_id"]),
            share(row["confidence"]),
            share(row["confidence_low"]),
        ]
        trend = f"{row['trend']} items; ".replace("long tail", "long-tail") if row["trend"] else ""
        assert label == trend + row["label"]
        assert examples.strip().startswith(f"e.g. {row['examples'][0]}")


def test_statuses_add_up(view: Callable[..., Result]) -> None:
    card = read(view("report", "--json"))["run"]
    names = ("n_interpretable", "n_not_shown", "n_too_rare", "n_dead")
    assert sum(card[name] for name in names) == card["n_latents"]


def test_top_and_all(view: Callable[..., Result]) -> None:
    best = read(view("report", "--top", 0, "--json"))["concepts"]
    every = read(view("report", "--top", 0, "--all", "--json"))["concepts"]
    assert len(every) > len(best) > 2
    assert len({row["leading_tag"] for row in best}) == len(best)
    assert {row["place"] for row in best} == {1}
    assert [row for row in every if row["place"] == 1] == best
    assert len(every) == read(view("report", "--json"))["run"]["n_interpretable"]
    lows = [row["confidence_low"] for row in every]
    assert lows == sorted(lows, reverse=True)
    assert read(view("report", "--top", 2, "--json"))["concepts"] == best[:2]
    cut = view("report", "--top", 2).out
    assert f"and {len(best) - 2} more; --top 0 shows all" in cut
    assert "more; --top" not in view("report", "--top", 0, "--all").out
    assert view("report", "--top", -1).code == 2


@pytest.mark.parametrize("word", ["latest", "the run", "its start", "its recommender"])
def test_ways_to_name_a_run(word: str, view: Callable[..., Result], whole: Finished) -> None:
    ref = {"the run": whole.sae, "its start": whole.sae[:-2], "its recommender": whole.recommender}
    assert view("report", ref.get(word, word)).out.splitlines()[0] == whole.sae


def first_latent(view: Callable[..., Result]) -> int:
    return int(read(view("report", "--json"))["concepts"][0]["latent_id"])


def test_latent_has_the_numbers_of_its_json(view: Callable[..., Result], whole: Finished) -> None:
    latent = first_latent(view)
    text, data = view("latent", "latest", latent), read(view("latent", "latest", latent, "--json"))
    assert (text.code, untold(text)) == (0, "")
    card = data["latent"]
    assert text.out.startswith(f"latent {latent} of {whole.sae}: interpretable\n")
    assert f"{share(card['confidence'])} (at least {share(card['confidence_low'])}" in text.out
    assert f"fires on {card['n_fired']:,}; {card['n_active']:,} active" in text.out
    parts = ["tags", "examples", "decoder_items", "descriptions", "users"]
    assert list(data) == ["latent", *parts]
    for row in data["examples"]:
        assert f"{number(row['value'], 3)}  {row['title']}" in text.out
    for row in data["decoder_items"]:
        assert f"{number(row['score'], 3)}  {row['title']}" in text.out
    for row in data["users"]:
        assert f"{number(row['value'], 3)}  user {row['source_user_id']}, " in text.out
    assert card["label"].split(", ")[0] in text.out
    assert data["tags"][0]["tag"] == card["leading_tag"]
    assert max(map(len, text.out.splitlines())) <= 80


def test_users(view: Callable[..., Result]) -> None:
    latent = first_latent(view)
    for n, wanted in ((0, 0), (2, 2), (5, 5)):
        words = ("latent", "latest", latent, "--users", n)
        assert len(read(view(*words, "--json"))["users"]) == wanted
        assert len(re.findall(r"  user \S+, ", view(*words).out)) == wanted
    assert "users on whom" in view("latent", "latest", latent).out
    assert "users on whom" not in view("latent", "latest", latent, "--users", 0).out
    values = [row["value"] for row in read(view("latent", "latest", latent, "--json"))["users"]]
    assert values == sorted(values, reverse=True)


@pytest.mark.parametrize("latent", [64, 10**9, 10**22])
def test_a_latent_that_is_not_there(
    latent: int, view: Callable[..., Result], whole: Finished
) -> None:
    result = view("latent", "latest", latent)
    assert (result.code, result.out) == (2, "")
    assert untold(result) == (
        f"recsae: error: run {whole.sae!r} has no latent {latent}\nhint: use 0 to 63\n"
    )


@pytest.mark.parametrize("words", [["report"], ["latent", "latest", "0"], ["report", "--json"]])
def test_confidence_has_not_run(
    words: list[str], cli: Callable[..., Result], filled_warehouse: Path
) -> None:
    result = cli(*words, "--warehouse", filled_warehouse)
    assert (result.code, result.out) == (3, "")
    assert result.err == (
        "run latest: sae-1, autoencoder of rec-1\n"
        "warning: a newer run is of another recommender: rec-2, bprmf on toy\n"
        "recsae: error: stage confidence of run 'sae-1' has not run\n"
        "hint: recsae confidence sae-1\n"
    )


def test_no_autoencoder(cli: Callable[..., Result], root: Path) -> None:
    result = cli("report", "--warehouse", root)
    assert (result.code, result.out) == (3, "")
    assert result.err.endswith("hint: recsae sae train\n")


def test_titles_of_a_data_set_are_harmless(cli: Callable[..., Result], own: Finished) -> None:
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute("update raw.items set title = $t", {"t": MARKUP + STEERING})
        warehouse.execute("update concepts.labels set label = $t", {"t": MARKUP + STEERING})
    for words in (["report"], ["latent", "latest", "0"], ["report", "--json"]):
        result = cli(*words, "--warehouse", own.root)
        assert result.code == 0
        assert printable(result.out.replace("\n", "")) == result.out.replace("\n", "")
        assert "[bold]not bold[/bold]" in result.out


def test_columns_and_values_of_a_query_are_harmless(
    cli: Callable[..., Result], filled_warehouse: Path
) -> None:
    sql = 'select $t as "a\x1b[31m", [$t] as list, 1 as n'
    for form in ("table", "json"):
        words = ("query", sql, "-p", f"t={STEERING}", "--format", form)
        result = cli(*words, "--warehouse", filled_warehouse)
        assert result.code == 0, result.err
        assert "\x1b" not in result.out
        assert "\x9b" not in result.out


def test_errors_that_quote_data_are_harmless(
    cli: Callable[..., Result], filled_warehouse: Path
) -> None:
    words = ("query", "select $t::integer", "-p", f"t={STEERING}", "--warehouse", filled_warehouse)
    result = cli(*words)
    assert (result.code, result.out) == (1, "")
    assert r"up\x1b[2Jdown" in result.err
    assert printable(result.err.replace("\n", "")) == result.err.replace("\n", "")


def test_the_sentence_of_a_language_model(own: Finished, cli: Callable[..., Result]) -> None:
    with Warehouse.open(own.root) as warehouse:
        warehouse.execute(
            "insert into raw.descriptions values ($run, $model, 0, 'Films.', 5, false, 'r1')",
            {"run": own.sae, "model": "m\x1b[2J"},
        )
    shown = cli("latent", own.sae, 0, "--warehouse", own.root).out
    assert "\nm\\x1b[2J: Films.\n" in shown
    card = json.loads(cli("latent", own.sae, 0, "--json", "--warehouse", own.root).out)
    assert card["descriptions"] == [{"model": "m\x1b[2J", "description": "Films."}]
