"""Pictures drawn by matplotlib, which is an optional extra."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from recsae.errors import UsageError
from recsae.report.sweep import COLOURS, PANELS
from recsae.report.text import printable

FORMATS = ("png", "svg")
MEASURES = (("recall", 0.2), ("specificity", 0.2), ("confidence", 0.1))
"""What is drawn, and the width of its bins."""


def check_format(suffix: str) -> str:
    """``png`` or ``svg`` of a file name's end; UsageError for another or without matplotlib."""
    form = suffix.removeprefix(".").lower()
    if form not in FORMATS:
        raise UsageError(
            f"--plot {suffix or 'without an end'}: no such picture", "use .png or .svg"
        )
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UsageError("--plot needs matplotlib", "pip install 'recsae[plot]'") from None
    return form


def sweep_panels(title: str, cells: Sequence[Mapping[str, Any]]) -> bytes:
    """The panels of ``recsae.report.sweep.drawing`` as PNG, for rows of report.sweep."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    scales = sorted({cell["scale"] for cell in cells}, key=lambda scale: scale or 0)
    with rc_context({"text.usetex": False}):
        figure = Figure(figsize=(10, 5), layout="constrained")
        FigureCanvasAgg(figure)  # no window, whatever the user's settings
        for ax, (name, column, spread, factor) in zip(figure.subplots(1, 2), PANELS, strict=True):
            shown = [cell for cell in cells if cell[column] is not None and cell["l0"]]
            for i, scale in enumerate(scales):
                colour, label = COLOURS[i % len(COLOURS)], f"scale {scale or '-'}"
                for cell in (cell for cell in shown if cell["scale"] == scale):
                    ax.errorbar(
                        cell["l0"],
                        cell[column] * factor,
                        yerr=(cell[spread] or 0) * factor,
                        color=colour,
                        marker="o",
                        markerfacecolor=colour if cell["is_pareto"] else "white",
                        label=label,
                    )
                    label = "_"  # one line of a scale in the legend
            if shown:
                ax.set_xscale("log", base=2)
                ax.legend()
            ax.set(title=name, xlabel="L0")
        figure.suptitle(printable(title), parse_math=False)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=120)
    return buffer.getvalue()


def judge_histograms(title: str, rows: Sequence[Mapping[str, Any]], form: str) -> bytes:
    """The three histograms of ``report.judge_histogram`` side by side, as PNG or SVG.

    The same rows give the same bytes: no date is written and no id is random.
    """
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "recsae", "svg.fonttype": "path", "text.usetex": False}):
        figure = Figure(figsize=(12, 4), layout="constrained")
        FigureCanvasAgg(figure)  # no window, whatever the user's settings
        axes = figure.subplots(1, 3, width_ratios=[2, 2, 3])
        for ax, (measure, width) in zip(axes, MEASURES, strict=True):
            own = [row for row in rows if row["measure"] == measure]
            heights = [100 * (row["share"] or 0.0) for row in own]
            centres = [row["centre"] for row in own]
            ax.bar(centres, heights, width=width, color="tab:green", edgecolor="black")
            ax.set(title=measure, xlabel=measure, xticks=centres)
            ax.set_ylabel("latents (%)")
        figure.suptitle(printable(title), parse_math=False)
        buffer = io.BytesIO()
        metadata: dict[str, Any] = {"Date": None} if form == "svg" else {}
        figure.savefig(buffer, format=form, dpi=120, metadata=metadata)
    return buffer.getvalue()
