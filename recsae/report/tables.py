"""The run report and the latent card as rich renderables that read well at 80 columns.

Everything is text with fixed columns, so that a pipe, a log file and a terminal without colour show
the same thing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

Row = Mapping[str, Any]

BAR = 36
"""Characters of the longest bar of the histogram."""

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


def report(card: Row, histogram: Sequence[Row], concepts: Sequence[Row], n_left: int) -> Group:
    """The whole report of a run; ``n_left`` concepts were left out of the list."""
    parts: list[RenderableType] = [run_card(card), Text(), histogram_table(histogram), Text()]
    parts += [concepts_table(concepts, n_left), Text(), status_line(card)]
    return Group(*parts)


def run_card(card: Row) -> Group:
    """What was trained on what, and what the autoencoder keeps."""
    rows = [
        (
            "data",
            f"{card['dataset']}: {card['n_users']:,} users, {card['n_items']:,} items, "
            f"{card['n_interactions']:,} interactions",
        ),
        ("model", f"{card['model']} ({card['recommender_run_id']})"),
        ("", f"test HR@10 {share(card['hr_10'], 4)}, NDCG@10 {share(card['ndcg_10'], 4)}"),
        (
            "SAE",
            f"{card['n_latents']:,} latents, k = {card['k']}, L0 {number(card['l0'], 1)}, "
            f"dead {percent(card['dead_share'])}",
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
        (
            "concepts",
            f"{card['n_interpretable']:,} interpretable latents with "
            f"{card['n_concepts']:,} different leading tags",
        ),
        ("", f"{percent(card['user_coverage'])} of the verifying users have one that is active"),
        (
            "confidence",
            f"mean {share(card['mean_confidence'])} over {judged(card):,} judged latents, "
            f"mean AUC {share(card['mean_auc'])}",
        ),
        (
            "null",
            f"mean {share(card['mean_confidence_null'])} with permuted tags, under which "
            f"{number(card['n_permuted'], 1)} would pass",
        ),
        (
            "5+5 test",
            f"confidence {share(card['reference_confidence'])}, "
            f"recall {share(card['reference_recall'])}, "
            f"specificity {share(card['reference_specificity'])} "
            "(paper's protocol)",
        ),
    ]
    return Group(Text(str(card["run_id"]), style="bold"), _pairs(rows))


def histogram_table(rows: Sequence[Row]) -> Group:
    """Confidence of the judged latents, one line per bin, beside that under permuted tags."""
    used = [i for i, row in enumerate(rows) if row["n_latents"] or row["n_permuted"] >= 0.5]
    shown = rows[used[0] : used[-1] + 1] if used else []
    most = max((max(row["n_latents"], row["n_permuted"]) for row in shown), default=1)
    title = "confidence   latents   permuted   # interpretable  = not shown  . permuted"
    lines = [Text(title, style="bold")]
    for row in shown:
        lines.append(_bar_line(row, most))
    return Group(*lines)


def _bar_line(row: Row, most: float) -> Text:
    good = round(row["n_interpretable"] / most * BAR)
    both = round(row["n_latents"] / most * BAR)
    null = round(row["n_permuted"] / most * BAR)
    line = Text(f" {row['low']:.2f}-{row['high']:.2f} {row['n_latents']:>9,}")
    line.append(f"{row['n_permuted']:>11,.1f}   ")
    line.append("#" * good, style="green")
    line.append("=" * (both - good), style="yellow")
    line.append("." * max(null - both, 0), style="dim")
    return line


def concepts_table(concepts: Sequence[Row], n_left: int) -> Group:
    """Concepts with their numbers, three lines each: label, numbers, example items."""
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
    tail = f"{row['n_active']:>7,}{row['n_users']:>7,}{row['n_same']:>7,}"
    yield Text(f"{row['latent_id']:>6}{numbers}{tail}")
    yield _cut(f"       {row['label']}", "cyan")
    yield _cut("       e.g. " + "; ".join(row["examples"][:3]), "dim")


def status_line(card: Row) -> Group:
    """What is not in the list, so that nothing is silently dropped."""
    return Group(
        Text(f"Of {card['n_latents']:,} latents {card['n_interpretable']:,} are interpretable,"),
        Text(f"{card['n_not_shown']:,} not shown: their concept does not hold well enough,"),
        Text(f"{card['n_too_rare']:,} too rare: too few held-out cases to judge,"),
        Text(f"{card['n_dead']:,} dead: they never fire."),
    )


def latent_card(
    card: Row,
    tags: Sequence[Row],
    examples: Sequence[Row],
    users: Sequence[Row],
    decoder: Sequence[Row],
) -> Group:
    """One latent: concept, numbers, example items, users, and the items of its decoder row."""
    head = f"latent {card['latent_id']} of {card['run_id']}: {card['status']}"
    rows = [
        ("concept", card["label"] or "none: no tag stands out"),
        (
            "confidence",
            f"{share(card['confidence'])} (at least {share(card['confidence_low'])} at 95%), "
            f"AUC {share(card['auc'])}",
        ),
        (
            "",
            f"recall {share(card['recall'])}, specificity {share(card['specificity'])}, "
            f"precision {share(card['precision'])}, F1 {share(card['f1'])}",
        ),
        (
            "",
            f"permuted tags {share(card['null_mean'])}, p {share(card['p_value'])}, "
            f"q {share(card['q_value'])}; longer profile {share(card['profile_confidence'])}",
        ),
        (
            "cases",
            f"fires on {card['n_fired']:,}; {card['n_active']:,} active held-out cases of "
            f"{card['n_users']:,} users",
        ),
        (
            "5+5 test",
            f"confidence {share(card['reference_confidence'])}, "
            f"recall {share(card['reference_recall'])}, "
            f"specificity {share(card['reference_specificity'])}",
        ),
    ]
    return Group(
        Text(head, style="bold"),
        _pairs(rows),
        *_section("tags (log-odds z on item half A, half B)", _tag_lines(tags)),
        *_section(
            "items recommended first where it fires strongest",
            [(number(r["value"], 3), f"{r['title']}  ({r['n_cases']:,} cases)") for r in examples],
        ),
        *_section(
            "items its decoder row raises most (score per unit)",
            [(number(r["score"], 3), r["title"]) for r in decoder],
        ),
        *_section("users on whom it fires strongest", [_user_line(r) for r in users]),
    )


def _tag_lines(tags: Sequence[Row]) -> list[tuple[str, str]]:
    return [
        (f"{number(row['z_a'], 1):>5} {number(row['z_b'], 1):>5}", row["tag"]) for row in tags[:10]
    ]


def _user_line(row: Row) -> tuple[str, str]:
    text = (
        f"user {row['source_user_id']}, {row['n_cases']:,} cases; "
        f"after {row['position']} items: {row['title']}"
    )
    return number(row["value"], 3), text


def _section(title: str, lines: Sequence[tuple[str, str]]) -> list[RenderableType]:
    body = [_cut(f"  {left:>7}  {right}", "") for left, right in lines]
    return [Text(), Text(title, style="bold"), *(body or [Text("  none")])]


def _pairs(rows: Sequence[tuple[str, str]]) -> RenderableType:
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, style="dim")
    table.add_column(overflow="fold")
    for left, right in rows:
        table.add_row(Text(left), Text(right))
    return Padding(table, (0, 0, 0, 2))


def _cut(text: str, style: str) -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def judged(card: Row) -> int:
    """Latents with enough held-out cases."""
    return int(card["n_interpretable"] + card["n_not_shown"])


def share(value: float | None, digits: int = 3) -> str:
    """A number from 0 to 1 without its leading zero; a dash for NULL."""
    if value is None or value != value:
        return "-"
    text = f"{value:.{digits}f}"
    return text[1:] if text.startswith("0.") else text


def number(value: float | None, digits: int) -> str:
    """A plain number; a dash for NULL."""
    return "-" if value is None or value != value else f"{value:,.{digits}f}"


def percent(value: float | None) -> str:
    """A share in per cent; a dash for NULL."""
    return "-" if value is None or value != value else f"{value:.1%}"
