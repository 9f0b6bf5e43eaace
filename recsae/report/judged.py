"""A judged run at 80 columns: counts, histograms, and latents beside the built-in judge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from recsae.report.cut import Cut
from recsae.report.text import count, number, printable, share

Row = Mapping[str, Any]

BAR = 40
"""Characters of a bar of 100%."""

ROWS = (
    ("latents judged", "n_latents", 0),
    ("verifying cases", "n_cases", 0),
    ("unparsed", "n_unparsed", 0),
    ("confidence", "mean_confidence", 3),
    ("recall", "mean_recall", 3),
    ("specificity", "mean_specificity", 3),
    ("level, active cases", "mean_level_active", 2),
    ("level, silent cases", "mean_level_silent", 2),
    ("at 1.0", "n_perfect", 0),
    (">= .9", "n_at_least_9", 0),
    (">  .8", "n_above_8", 0),
    (">= .8", "n_at_least_8", 0),
)
"""Name, column and digits of the lines of the overview."""


def judged(
    run_id: str,
    overview: Sequence[Row],
    histogram: Sequence[Row],
    latents: Sequence[Row],
    n_left: int,
) -> Group:
    """The whole page; ``n_left`` latents were left out of the list."""
    name = str(overview[0]["judge"])
    head = Text(printable(f"{run_id}: judged by {name}"), style="bold", overflow="fold")
    parts: list[RenderableType] = [head, *_overview(overview), Text()]
    parts += [*_histograms(histogram), *_latents(latents, n_left)]
    return Group(*parts)


def _overview(rows: Sequence[Row]) -> Iterator[Text]:
    """One column per judge."""
    names = ["this judge", "built-in"] if len(rows) > 1 else [""]
    if len(rows) > 1:
        yield Text(f"{'':23}" + "".join(f"{name:>12}" for name in names), style="dim")
    for title, column, digits in ROWS:
        cells = (number(row[column], digits) for row in rows)
        yield Text(f"  {title:21}" + "".join(f"{cell:>12}" for cell in cells))


def _histograms(rows: Sequence[Row]) -> Iterator[Text]:
    for measure in ("recall", "specificity", "confidence"):
        yield Text(f"{measure:13}latents", style="bold")
        for row in rows:
            if row["measure"] == measure:
                part = row["share"] or 0.0
                line = Text(f"  {row['centre']:.1f}  {row['n_latents']:>13,}  ")
                line.append("#" * round(part * BAR), style="green")
                line.append(f" {part:.1%}" if row["n_latents"] else "")
                yield line
        yield Text()


def _latents(rows: Sequence[Row], n_left: int) -> Iterator[RenderableType]:
    yield Text("latent   conf  recall  spec  built-in  label; true>predicted levels", style="bold")
    for row in rows:
        numbers = f"{share(row['confidence']):>7}{share(row['recall']):>8}"
        numbers += f"{share(row['specificity']):>6}{share(row['builtin_confidence']):>10}"
        label = printable(row["label"] or "no tag stands out")
        yield Cut(f"{row['latent_id']:>6}{numbers}  {label}")
        yield _line(_levels(row["levels"], row["predicted_levels"]), "dim")
        if row["description"]:
            yield _line(row["description"], "cyan", wrap=True)
    if n_left:
        yield Text(f"and {n_left:,} more; --top 0 shows all")


def _levels(levels: Sequence[int], predicted: Sequence[int | None]) -> str:
    """``10>8 9>? | 0>1``: true and predicted level of active cases, then of silent ones."""
    active = [_pair(a, b) for a, b in zip(levels, predicted, strict=True) if a > 0]
    silent = [_pair(a, b) for a, b in zip(levels, predicted, strict=True) if a == 0]
    return " | ".join(" ".join(part) for part in (active, silent) if part)


def _pair(level: int, predicted: int | None) -> str:
    return f"{level}>{'?' if predicted is None else predicted}"


def descriptions(run_id: str, model: str, rows: Sequence[Row], n_left: int) -> Group:
    """The sentences of a model; ``n_left`` were left out."""
    lines: list[RenderableType] = [
        Text(printable(f"{run_id}: described by {model}"), style="bold", overflow="fold")
    ]
    for row in rows:
        text = row["description"] or "no readable sentence"
        cut = " (cut off)" if row["was_cut"] else ""
        head = f"{row['latent_id']:>6}  from {count(row['n_cases'], 'case')}{cut}"
        lines += [Text(head), _line(text, "cyan", wrap=True)]
    if n_left:
        lines.append(Text(f"and {n_left:,} more; --top 0 shows all"))
    return Group(*lines)


def _line(text: str, style: str, *, wrap: bool = False) -> RenderableType:
    """Text from a model or a data set under its latent."""
    shown = printable(text)
    if wrap:
        return Text("       " + shown, style=style, overflow="fold")
    return Cut("       " + shown, style)
