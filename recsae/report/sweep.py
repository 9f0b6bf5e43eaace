"""The grid of a sweep, as a table that reads well at 80 columns and as a drawing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from math import log2
from typing import Any

from rich.console import Group
from rich.text import Text

from recsae.config import MOST_BATCH, SAEConfig
from recsae.report.text import count, number, percent, printable, share
from recsae.sae.presets import with_preset

Row = Mapping[str, Any]

COLUMNS = (
    ("", 1),
    ("k", 4),
    ("scale", 6),
    ("lr", 8),
    ("n", 3),
    ("FVU", 5),
    ("±SD", 5),
    ("L0", 6),
    ("dead", 6),
    ("NDCG kept", 11),
    ("concepts", 11),
    ("", 7),
    ("users", 6),
)
"""Heading and width; texts are to the right."""

NOTES = (
    "* Pareto front: no other cell is as good in NDCG@10 kept (more is better), L0",
    "  (less) and share of concepts (more), and better in one of them, as shown.",
    "n: seeds; numbers are means over them, ± and SD the standard deviation.",
    "FVU, L0: of held-out users. dead: latents that fire on no case.",
    "NDCG kept: per cent of the test NDCG@10. concepts: interpretable latents, and",
    "as a share of all. users: verifying ones with such a latent active.",
)


def sweep_table(run_id: str, cells: Sequence[Row]) -> Group:
    """The grid of a recommender, a line per cell; rows are those of report.sweep."""
    runs = sum(cell["n_runs"] for cell in cells)
    title = f"{printable(run_id)}: {count(len(cells), 'cell')}, {count(runs, 'autoencoder')}"
    lines = [
        Text(title, style="bold", overflow="fold"),
        Text(_line(head for head, _ in COLUMNS), style="bold"),
    ]
    for cell in cells:
        lines += [Text(line, style="green" if cell["is_pareto"] else "") for line in _lines(cell)]
    if not cells:
        lines.append(Text("no autoencoder is done yet"))
    return Group(*lines, Text(), *(Text(note) for note in NOTES))


def _lines(cell: Row) -> Iterator[str]:
    rate = "-" if cell["lr"] is None else f"{cell['lr']:g}"
    found = f"{number(cell['n_interpretable'], 0)}{_spread(cell['n_interpretable_sd'], 1)}"
    kept = percent(cell["ndcg_10_kept"]).removesuffix("%")
    yield _line(
        (
            "*" if cell["is_pareto"] else "",
            _text(cell["k"]),
            _text(cell["scale"]),
            rate,
            _text(cell["n_runs"]),
            share(cell["fvu_heldout"]),
            share(cell["fvu_heldout_sd"]),
            _brief(cell["l0"]),
            _brief_percent(cell["dead_share"]),
            kept + _spread(cell["ndcg_10_kept_sd"], 100, 1),
            found,
            f"({_whole(cell['interpretable_share'])})",
            _whole(cell["user_coverage"]),
        )
    )
    if other := differing(cell):
        yield f"       {printable(other)}"


def _line(texts: Iterable[str]) -> str:
    line = ""
    for text, (_, width) in zip(texts, COLUMNS, strict=True):
        cell = f"{text:>{width}}"
        # two numbers without a blank between them would be another one
        touches = not line.endswith(" ") and not cell.startswith(" ")
        line += f" {cell}" if line and touches else cell
    return line


def _text(value: object) -> str:
    return "-" if value is None else str(value)


def _spread(value: float | None, factor: float, digits: int = 0) -> str:
    return "" if value is None else f"±{value * factor:.{digits}f}"


def _brief(value: float | None) -> str:
    return number(value, 1 if value is not None and value < 1000 else 0)


def _brief_percent(value: float | None) -> str:
    return _whole(value) if value is not None and value >= 0.9995 else percent(value)


def _whole(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def differing(cell: Row) -> str:
    """The settings of a cell that are not those of its k and scale with many vectors."""
    usual = with_preset(
        SAEConfig(k=cell["k"], scale=cell["scale"], batch_size=MOST_BATCH)
    ).to_json()
    return ", ".join(
        f"{key} {value:g}" if isinstance(value, float) else f"{key} {value}"
        for key, value in cell["settings"].items()
        if key != "sha256" and usual.get(key) != value
    )


PANELS = (
    ("NDCG@10 kept (per cent)", "ndcg_10_kept", "ndcg_10_kept_sd", 100.0),
    ("interpretable latents", "n_interpretable", "n_interpretable_sd", 1.0),
)
"""Title, column, its spread and what both are multiplied by."""

COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#9467bd", "#8c564b", "#e377c2")
SIDE, LEFT, TOP = 300, 60, 50
"""Pixels of a panel's side, and left of and above it."""


def drawing(run_id: str, cells: Sequence[Row]) -> str:
    """The grid as SVG: NDCG kept and interpretable latents by L0, a colour per scale.

    Cells on the Pareto front are filled; a line through a point is one standard deviation up and
    down. A cell without a number is left out of its panel.
    """
    scales = sorted({cell["scale"] for cell in cells}, key=lambda scale: scale or 0)
    parts = [f'<text x="{LEFT}" y="20" font-weight="bold">{escape(printable(run_id))}</text>']
    for i, scale in enumerate(scales):
        x, colour = LEFT + 90 * i, COLOURS[i % len(COLOURS)]
        parts.append(f'<text x="{x}" y="36" fill="{colour}">scale {_text(scale)}</text>')
    for i, panel in enumerate(PANELS):
        parts += _panel(LEFT + i * (SIDE + 80), panel, cells, scales)
    width, height = 2 * SIDE + 3 * LEFT + 20, TOP + SIDE + 50
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">\n'
        f'<rect width="{width}" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _panel(
    left: int, panel: tuple[str, str, str, float], cells: Sequence[Row], scales: Sequence[Any]
) -> Iterator[str]:
    """One panel: frame, ticks and a point per cell; the x axis is logarithmic."""
    title, column, spread, factor = panel
    shown = [cell for cell in cells if cell[column] is not None and cell["l0"]]
    ends = [(c[column] + s * (c[spread] or 0)) * factor for c in shown for s in (-1, 1)]
    low, high = min(ends, default=0.0), max(ends, default=1.0)
    low, high = (low, high) if high > low else (low - 1, high + 1)
    wide = [log2(cell["l0"]) for cell in shown]
    first, last = min(wide, default=0.0) - 0.3, max(wide, default=1.0) + 0.3

    def at(value: float) -> float:
        return TOP + SIDE * (0.95 - 0.9 * (value - low) / (high - low))

    def across(l0: float) -> float:
        return left + SIDE * (log2(l0) - first) / (last - first)

    yield f'<text x="{left}" y="{TOP - 2}">{escape(title)}</text>'
    frame = f'x="{left}" y="{TOP + 4}" width="{SIDE}" height="{SIDE}"'
    yield f'<rect {frame} fill="none" stroke="#999"/>'
    yield f'<text x="{left + SIDE / 2}" y="{TOP + SIDE + 40}" text-anchor="middle">L0</text>'
    for i in range(5):
        value = low + (high - low) * i / 4
        yield f'<text x="{left - 6}" y="{at(value):.1f}" text-anchor="end">{value:.4g}</text>'
    for k in sorted({cell["k"] for cell in shown}):
        x = across(sum(c["l0"] for c in shown if c["k"] == k) / sum(c["k"] == k for c in shown))
        yield f'<text x="{x:.1f}" y="{TOP + SIDE + 22}" text-anchor="middle">k {k}</text>'
    for cell in shown:
        colour = COLOURS[scales.index(cell["scale"]) % len(COLOURS)]
        x, y, half = across(cell["l0"]), at(cell[column] * factor), cell[spread] or 0
        top, bottom = (at((cell[column] + s * half) * factor) for s in (1, -1))
        fill = colour if cell["is_pareto"] else "white"
        about = f"k {cell['k']}, scale {_text(cell['scale'])}, lr {_text(cell['lr'])}"
        yield f'<path d="M{x:.1f} {top:.1f}V{bottom:.1f}" stroke="{colour}"/>'
        yield (
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{fill}" stroke="{colour}">'
            f"<title>{about}: {cell[column] * factor:.4g}</title></circle>"
        )
