"""Figures as inline SVG: colours follow the page (light or dark), text stays text."""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

from loop.reports.facts import Facts, MethodCurve

COLOURS = {
    "live": "#0b7a75",
    "label-free": "#2f6fde",
    "label-free first": "#2f6fde",
    "active": "#b4530a",
    "all labels": "#8a4fbf",
    "random": "#6b7280",
    "coreset": "#0b7a75",
    "control": "#9d174d",
}
STYLES = ("-", "--", "-.", ":")


def learning_curve(curves: Sequence[MethodCurve], metric: str = "accuracy") -> str:
    """The metric against labels, one line per method with a band of its 95 % interval."""
    measured = [curve for curve in curves if curve.points]
    columns = 1 if any(len(_name(curve)) > 32 for curve in measured) else 2
    legend_rows = -(-len(measured) // columns)
    bottom = 0.57 + 0.17 * legend_rows
    figure, axes = _figure(5.2, 2.7 + bottom, bottom=bottom)
    drawn: Counter[str] = Counter()  # curves of one colour get different lines
    for curve in measured:
        colour = "random" if curve.name == "random" else curve.kind
        _draw(axes, curve, COLOURS.get(colour, "#444"), STYLES[drawn[colour] % len(STYLES)])
        drawn[colour] += 1
    axes.set_xlabel("labels")
    axes.set_ylabel(f"{metric}, %")
    ticks = _apart(sorted({point.labels for curve in measured for point in curve.points}))
    if len(ticks) <= 8:
        axes.set_xticks(ticks)
    figure.legend(frameon=False, fontsize=8, loc="lower center", ncols=columns)
    return _svg(figure)


def _apart(labels: list[int]) -> list[int]:
    """The numbers of labels whose ticks do not run into each other, from the largest on."""
    kept: list[int] = []
    for number in reversed(labels):
        if not kept or kept[-1] - number > 0.06 * (labels[-1] - labels[0]):
            kept.append(number)
    return kept[::-1]


def _draw(axes: Any, curve: MethodCurve, colour: str, style: str) -> None:
    live = curve.kind == "live"
    labels = [point.labels for point in curve.points]
    accuracy = [100 * point.accuracy for point in curve.points]
    lower = [100 * point.low for point in curve.points]
    upper = [100 * point.high for point in curve.points]
    line: dict[str, Any] = {"color": colour, "lw": 2.4 if live else 1.5, "label": _name(curve)}
    axes.plot(labels, accuracy, style, marker="o", ms=4, **line)
    axes.fill_between(labels, lower, upper, color=colour, alpha=0.12, lw=0)
    outdated = [point for point in curve.points if point.outdated]
    hollow: dict[str, Any] = {"mfc": "white", "mec": colour, "ms": 6}
    axes.plot([p.labels for p in outdated], [100 * p.accuracy for p in outdated], "o", **hollow)


def _name(curve: MethodCurve) -> str:
    name = f"{curve.name}, this project" if curve.kind == "live" else curve.name
    return f"{name} (hindsight)" if curve.mode == "hindsight" else name


def confusion(facts: Facts) -> str:
    """Confusion matrix, true class by row, share of the row."""
    import numpy as np

    assert facts.metrics is not None
    table = np.array(facts.metrics["confusion"], dtype=float)
    share = table / np.maximum(table.sum(axis=1, keepdims=True), 1)
    names = [name if len(name) <= 14 else name[:13] + "…" for name in facts.classes[: len(table)]]
    side = min(6.5, 1.6 + 0.38 * len(names))
    character = 0.07 if all(name.isascii() for name in facts.classes) else 0.12  # inches, at 8 pt
    longest = character * max(map(len, names), default=0)
    figure, axes = _figure(side + 0.6, side, left=0.4 + longest, bottom=0.4 + longest)
    axes.imshow(share, cmap="GnBu", vmin=0, vmax=1)
    text: dict[str, Any] = {"fontsize": 8, "parse_math": False}  # $ in a name is no formula
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", **text)
    axes.set_yticks(range(len(names)), names, **text)
    if len(names) <= 20:
        for row, column in np.argwhere(table):
            colour = "white" if share[row, column] > 0.6 else "#222"
            count = f"{table[row, column]:.0f}"
            axes.text(column, row, count, ha="center", va="center", fontsize=7, color=colour)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.grid(False)
    return _svg(figure)


def calibration(facts: Facts) -> str:
    """Reliability diagram: accuracy against confidence, calibrated on the diagonal."""
    assert facts.metrics is not None
    figure, axes = _figure(3.6, 3.2)
    axes.plot([0, 100], [0, 100], color="#999", lw=1, ls="--")
    confidence, accuracy, counts = zip(*facts.metrics["calibration"], strict=True)
    axes.scatter(
        [100 * value for value in confidence],
        [100 * value for value in accuracy],
        s=[12 + 160 * count / facts.metrics["n"] for count in counts],
        color=COLOURS["live"],
        alpha=0.8,
        lw=0,
    )
    axes.set_xlabel("confidence, %")
    axes.set_ylabel("correct, %")
    return _svg(figure)


def _figure(
    width: float, height: float, *, left: float = 0.65, bottom: float = 0.6
) -> tuple[Any, Any]:
    """A figure and its axes, in inches. A layout engine would draw everything twice to find the
    margins, for twice the time."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height))
    right = top = 0.1
    size = ((width - left - right) / width, (height - bottom - top) / height)
    axes = figure.add_axes((left / width, bottom / height, *size))
    axes.grid(True, alpha=0.25, lw=0.6)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _svg(figure: Any) -> str:
    """The figure as an ``svg`` element without size or fixed black, so that it fits the page."""
    import warnings

    import matplotlib

    out = io.StringIO()
    with (
        matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "coreloop"}),
        warnings.catch_warnings(),
    ):
        # text stays text: the reader's browser has fonts for it
        warnings.filterwarnings("ignore", "Glyph .* missing")
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.S)
    text = re.sub(r'font: ([^;"]*)\'[^"]*"', r'font: \1sans-serif"', text)
    return text.replace("#000000", "currentColor").replace("<text ", '<text fill="currentColor" ')
