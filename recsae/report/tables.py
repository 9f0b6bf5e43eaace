"""The run report and the latent card as rich renderables that read well at 80 columns.

Everything is text with fixed columns, so that a pipe, a log file and a terminal without colour show
the same thing. Titles and tags come from data sets: they are never markup, and what could steer a
terminal is shown as an escape.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from recsae.report.comparison import controls_table
from recsae.report.cut import Cut, cut
from recsae.report.text import count, number, percent, printable, share, short

Row = Mapping[str, Any]

WIDTH = 80
"""Columns of the report, on a wider terminal as well."""

BAR = 36
"""Characters of the longest bar of the histogram."""

LABEL = WIDTH - 7
"""Columns of a line of a label in a list. A label may need two: its number is that of all tags."""

NO_CONCEPT = "none: no tag stands out"
"""In place of a label."""

NUMBERS = (
    ("conf", "confidence"),
    ("low95", "confidence_low"),
    ("AUC", "auc"),
    ("recall", "recall"),
    ("spec", "specificity"),
    ("null", "null_mean"),
    ("q", "q_value"),
)
"""Heading and column of the numbers of a concept."""


def report(
    card: Row,
    histogram: Sequence[Row],
    concepts: Sequence[Row],
    n_left: int,
    controls: Sequence[tuple[str, Row]] = (),
    advice: Sequence[str] = (),
) -> Group:
    """The whole report of a run; ``n_left`` concepts were left out of the list.

    ``controls`` are names and cards of runs to be read beside it, ``advice`` what may help, in
    lines.
    """
    parts: list[RenderableType] = [run_card(card), Text(), histogram_table(histogram), Text()]
    parts += [concepts_table(concepts, n_left), Text(), status_line(card)]
    if not has_tags(card):
        parts += [Text(), no_tags(card)]
    if controls:
        parts += [Text(), controls_table(card, controls)]
    if advice and has_tags(card):  # else it is that there are none, which stands above
        parts += [Text(), Text("Few latents are interpretable. What may help:")]
        parts += [Text(f"- {line}") for line in advice]
    return Group(*parts)


def run_card(card: Row) -> Group:
    """What was trained on what, and what the autoencoder keeps."""
    rows = [
        (
            "data",
            f"{card['dataset']}: {count(card['n_users'], 'user')}, "
            f"{count(card['n_items'], 'item')}, {count(card['n_interactions'], 'interaction')}",
        ),
        ("model", f"{card['model']} ({card['recommender_run_id']})"),
        ("", f"test HR@10 {share(card['hr_10'], 4)}, NDCG@10 {share(card['ndcg_10'], 4)}"),
        (
            "SAE",
            f"{count(card['n_latents'], 'latent')}, k = {card['k']}, L0 {number(card['l0'], 1)}, "
            f"dead {percent(card['dead_share'])} (fire on no case)",
        ),
        (
            "",
            f"FVU {share(card['fvu_train'])} (held-out users {share(card['fvu_heldout'])})",
        ),
        (
            "",
            f"NDCG@10 with the SAE {share(card['ndcg_10_sae'], 4)}: "
            f"{percent(card['ndcg_10_kept'])} kept "
            f"(held-out users {percent(card['ndcg_10_kept_heldout'])})",
        ),
        ("", f"by interpretable latents alone {percent(card['ndcg_10_kept_alone'])}"),
        *_concept_facts(card),
    ]
    return Group(_text(card["run_id"], "bold"), _pairs(rows))


def _concept_facts(card: Row) -> Iterator[tuple[str, str]]:
    """How many concepts hold, how well, and what chance and the paper's protocol would say."""
    yield (
        "concepts",
        f"{count(card['n_interpretable'], 'interpretable latent')} with "
        f"{count(card['n_concepts'], 'different leading tag')}",
    )
    yield "", f"{percent(card['user_coverage'])} of the verifying users have one that is active"
    yield (
        "trends",
        f"{count(card['n_trend'], 'latent')} with items of like popularity or age, "
        f"{card['n_trend_only']:,} with nothing else",
    )
    yield (
        "confidence",
        f"mean {share(card['mean_confidence'])} over {count(judged(card), 'judged latent')}, "
        f"mean AUC {share(card['mean_auc'])}",
    )
    yield (
        "null",
        f"mean {share(card['mean_confidence_null'])} with permuted tags, under which "
        f"{number(card['n_permuted'], 1)} would pass",
    )
    yield (
        "5+5 test",
        f"confidence {share(card['reference_confidence'])}, "
        f"recall {share(card['reference_recall'])}, "
        f"specificity {share(card['reference_specificity'])} "
        "(paper's protocol)",
    )


def histogram_table(rows: Sequence[Row]) -> Group:
    """Confidence of the judged latents, one line per bin, beside that under permuted tags."""
    used = [i for i, row in enumerate(rows) if row["n_latents"] or _known(row["n_permuted"]) >= 0.5]
    shown = rows[used[0] : used[-1] + 1] if used else []
    most = max((max(row["n_latents"], _known(row["n_permuted"])) for row in shown), default=1)
    title = "confidence   latents   permuted   # interpretable  = not shown  . permuted"
    lines = [Text(title, style="bold")]
    for row in shown:
        lines.append(_bar_line(row, most))
    return Group(*(lines if shown else [*lines, Text("no latent has enough cases to be judged")]))


def _known(value: float | None) -> float:
    """Zero for what cannot be drawn."""
    return value if value is not None and isfinite(value) else 0.0


def _bar_line(row: Row, most: float) -> Text:
    good = round(row["n_interpretable"] / most * BAR)
    both = round(row["n_latents"] / most * BAR)
    null = round(_known(row["n_permuted"]) / most * BAR)
    line = Text(f" {row['low']:.2f}-{row['high']:.2f} {row['n_latents']:>9,}")
    line.append(f"{number(row['n_permuted'], 1):>11}   ")
    line.append("#" * good, style="green")
    line.append("=" * (both - good), style="yellow")
    line.append("." * max(null - both, 0), style="dim")
    return line


def concepts_table(concepts: Sequence[Row], n_left: int) -> Group:
    """Concepts with their numbers, each on a line: numbers, label, example items."""
    heads = "".join(f"{head:>7}" for head, _ in NUMBERS)
    title = Text(f"latent{heads}  cases  users   same", style="bold")
    if not concepts:
        return Group(title, Text("no latent is interpretable"))
    lines: list[RenderableType] = [title]
    for row in concepts:
        lines += list(_concept(row))
    if n_left:
        lines.append(Text(f"and {n_left:,} more; --top 0 shows all, --all every latent of a tag"))
    return Group(*lines)


def _concept(row: Row) -> Iterator[RenderableType]:
    numbers = "".join(f"{share(row[name]):>7}" for _, name in NUMBERS)
    tail = "".join(f"{short(row[name]):>7}" for name in ("n_active", "n_users", "n_same"))
    yield Text(f"{row['latent_id']:>6}{numbers}{tail}")
    trend = f"{_adjective(row['trend'])} items; " if row["trend"] else ""
    label = cut(printable(f"{trend}{row['label'] or NO_CONCEPT}"), 2 * LABEL)
    yield Padding(Text(_filled(label), style="cyan", overflow="fold"), (0, 0, 0, 7))
    if examples := [title for title in row["examples"] or [] if title is not None]:
        yield _cut("       e.g. " + "; ".join(examples[:3]), "dim")


def _filled(label: str) -> str:
    """A label in lines that end between two tags, where these are short enough."""
    lines = [""]
    for tag in label.split(", "):
        longer = f"{lines[-1]}, {tag}" if lines[-1] else tag
        if lines[-1] and cell_len(longer) >= LABEL:
            lines[-1] += ","
            lines.append(tag)
        else:
            lines[-1] = longer
    return "\n".join(lines)


def _adjective(trend: str) -> str:
    """A trend as it stands before a noun."""
    return trend.replace(" ", "-")


def status_line(card: Row) -> Group:
    """What is not in the list, so that nothing is silently dropped."""
    good, dead = card["n_interpretable"], card["n_dead"]
    why = "their concept does not hold well enough" if has_tags(card) else "there are no tags"
    return Group(
        Text(f"Of {count(card['n_latents'], 'latent')} {good:,} {_are(good)} interpretable,"),
        Text(f"{card['n_not_shown']:,} not shown: {why},"),
        Text(f"{card['n_too_rare']:,} too rare: too few held-out cases or users to judge,"),
        Text(f"{dead:,} dead: they fire on no case of any user."),
    )


def has_tags(card: Row) -> bool:
    """Whether there is anything to name a latent with; yes where the data set is not known."""
    return card["n_item_tags"] != 0


def no_tags(card: Row) -> Group:
    """Why nothing is interpretable, and how to change that."""
    return Group(
        _text(f"Data set {card['dataset']} has no tags, and tags are what a latent is named by."),
        Text("Prepare it with the tags that you have, and make the run again on that:"),
        Text("  recsae data prepare csv --source FILE --items FILE --tags COLUMN --name NAME"),
    )


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def latent_card(
    card: Row,
    tags: Sequence[Row],
    examples: Sequence[Row],
    users: Sequence[Row] | None,
    decoder: Sequence[Row],
    descriptions: Sequence[Row] = (),
) -> Group:
    """One latent: concept, numbers, example items, users, and the items of its decoder row.

    ``users`` None leaves their part out; ``descriptions`` are the sentences of language models.
    """
    head = f"latent {card['latent_id']} of {card['run_id']}: {card['status']}"
    return Group(
        _text(head, "bold"),
        _pairs(list(_latent_facts(card))),
        *(
            [Text(), *(_text(f"{row['model']}: {row['description']}") for row in descriptions)]
            if descriptions
            else []
        ),
        *_section("tags (log-odds z on item half A, half B)", _tag_lines(tags)),
        *_section(
            "items recommended first where it fires strongest",
            [
                (number(r["value"], 3), f"{_title(r)}  ({count(r['n_cases'], 'case')})")
                for r in examples
            ],
        ),
        *_section(
            "items its decoder row raises most (score per unit)",
            [(number(r["score"], 3), _title(r)) for r in decoder],
        ),
        *(
            []
            if users is None
            else _section("users on whom it fires strongest", [_user_line(r) for r in users])
        ),
    )


def _latent_facts(card: Row) -> Iterator[tuple[str, str]]:
    """The label of a latent and every number about it."""
    yield "concept", card["label"] or NO_CONCEPT
    yield (
        "confidence",
        f"{share(card['confidence'])} (at least {share(card['confidence_low'])} at 95%), "
        f"AUC {share(card['auc'])}",
    )
    yield (
        "",
        f"recall {share(card['recall'])}, specificity {share(card['specificity'])}, "
        f"precision {share(card['precision'])}, F1 {share(card['f1'])}",
    )
    yield (
        "",
        f"permuted tags {share(card['null_mean'])}, p {share(card['p_value'])}, "
        f"q {share(card['q_value'])}; longer profile {share(card['profile_confidence'])}",
    )
    told = f"{_adjective(card['trend'])} items" if card["trend"] else "none tells its cases"
    yield "trend", f"{told} (the best reaches {share(card['trend_confidence'])})"
    yield (
        "cases",
        f"fires on {count(card['n_fired'])}; {count(card['n_active'], 'active held-out case')} of "
        f"{count(card['n_users'], 'user')}",
    )
    yield (
        "5+5 test",
        f"confidence {share(card['reference_confidence'])}, "
        f"recall {share(card['reference_recall'])}, "
        f"specificity {share(card['reference_specificity'])}",
    )


def _tag_lines(tags: Sequence[Row]) -> list[tuple[str, str]]:
    return [
        (f"{number(row['z_a'], 1):>5} {number(row['z_b'], 1):>5}", row["tag"]) for row in tags[:10]
    ]


def _user_line(row: Row) -> tuple[str, str]:
    text = (
        f"user {row['source_user_id'] or row['user_id']}, {count(row['n_cases'], 'case')}; "
        f"after {count(row['position'], 'item')}: {_title(row)}"
    )
    return number(row["value"], 3), text


def _title(row: Row) -> str:
    return "an item without a title" if row["title"] is None else str(row["title"])


def _section(title: str, lines: Sequence[tuple[str, str]]) -> list[RenderableType]:
    body = [_cut(f"  {left:>7}  {right}") for left, right in lines]
    return [Text(), Text(title, style="bold"), *(body or [Text("  none")])]


def _pairs(rows: Sequence[tuple[str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for left, right in rows:
        table.add_row(Text(left), _text(right))
    return Padding(table, (0, 0, 0, 2))


def _text(text: object, style: str = "") -> Text:
    """Text from a data set, wrapped where it is too long."""
    return Text(printable(str(text)), style=style, overflow="fold")


def _cut(text: str, style: str = "") -> RenderableType:
    """Text from a data set, cut where it is too long."""
    return Cut(printable(text), style)


def judged(card: Row) -> int:
    """Latents with enough held-out cases."""
    return int(card["n_interpretable"] + card["n_not_shown"])
